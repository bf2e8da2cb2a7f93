//! The replicas of the operator: they are restarted when they end, as the kubelet does, and their usage is sampled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use environment::operator::get;
use environment::{Operator, RunningOperator, Usage};
use nix::sys::signal::Signal;
use tokio::sync::Mutex;

use crate::action::Blow;

/// The interval in which ended replicas are noticed.
const INTERVAL: Duration = Duration::from_millis(500);
/// The time in which a replica must answer to be sampled.
const ANSWER: Duration = Duration::from_secs(1);

/// Both replicas.
#[derive(Debug)]
pub struct Replicas {
    started: Instant,
    sampling: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    slots: Vec<(Operator, RunningOperator)>,
    /// Each process, by its ID.
    processes: BTreeMap<i32, Observed>,
    restarts: usize,
}

/// A process that is or was a replica.
#[derive(Debug, Default)]
struct Observed {
    /// The address for metrics and probes.
    address: Option<String>,
    /// The samples, by their time in seconds.
    samples: Vec<(f64, Sample)>,
}

/// The usage of a process at one time.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub usage: Usage,
    /// The living tasks of the tokio runtime.
    pub tasks: f64,
    pub leads: bool,
}

impl Replicas {
    /// Starts the replicas.
    pub async fn start(operators: Vec<Operator>, started: Instant, sampling: Duration) -> Result<Arc<Self>> {
        let mut state = State::default();
        for operator in operators {
            let running = operator.start().await?;
            state.slots.push((operator, running));
        }
        Ok(Arc::new(Self { started, sampling, state: Mutex::new(state) }))
    }

    /// Restarts ended replicas, and samples their usage, for ever.
    pub async fn supervise(self: Arc<Self>) {
        let mut sampled = Instant::now();
        loop {
            tokio::time::sleep(INTERVAL).await;
            let mut state = self.state.lock().await;
            if let Err(error) = state.restart().await {
                eprintln!("cannot restart the operator: {error:#}");
            }
            if sampled.elapsed() >= self.sampling {
                sampled = Instant::now();
                state.sample(self.started.elapsed().as_secs_f64()).await;
            }
        }
    }

    /// Sends a signal to a replica. Without effect if it has just ended.
    pub async fn strike(&self, replica: usize, blow: Blow) -> bool {
        let signal = match blow {
            Blow::Kill => Signal::SIGKILL,
            Blow::Terminate => Signal::SIGTERM,
            Blow::Stop => Signal::SIGSTOP,
            Blow::Continue => Signal::SIGCONT,
        };
        let state = self.state.lock().await;
        state.slots.get(replica).is_some_and(|(_, running)| running.signal(signal).is_ok())
    }

    /// Lets all replicas run.
    pub async fn resume(&self) {
        let replicas = self.state.lock().await.slots.len();
        for replica in 0..replicas {
            self.strike(replica, Blow::Continue).await;
        }
    }

    /// The number of restarts.
    pub async fn restarts(&self) -> usize {
        self.state.lock().await.restarts
    }

    /// The samples of the process that was the leader for the longest time. It had fewer tasks before.
    pub async fn longest(&self) -> Vec<(f64, Sample)> {
        let state = self.state.lock().await;
        let samples = state.processes.values().map(|process| process.samples.iter().filter(|(_, sample)| sample.leads));
        samples.max_by_key(|samples| samples.clone().count()).into_iter().flatten().copied().collect()
    }

    /// The highest value of all processes.
    pub async fn peak(&self, value: impl Fn(&Sample) -> f64) -> f64 {
        let state = self.state.lock().await;
        let samples = state.processes.values().flat_map(|process| &process.samples);
        samples.map(|(_, sample)| value(sample)).fold(0.0, f64::max)
    }

    /// Fails if a replica has panicked.
    pub async fn ensure_no_panic(&self) -> Result<()> {
        let state = self.state.lock().await;
        for (operator, running) in &state.slots {
            let log = running.output();
            if let Some(line) = log.lines().find(|line| line.contains("panicked at")) {
                bail!("the operator panicked, see {}: {line}", operator.log.display());
            }
        }
        Ok(())
    }

    /// The connections that the replicas reported as left in AWS.
    pub async fn left_in_aws(&self) -> BTreeSet<String> {
        let state = self.state.lock().await;
        let logs = state.slots.iter().map(|(_, running)| running.output());
        logs.flat_map(|log| connections_left(&log)).collect()
    }

    /// The logs of the replicas.
    pub async fn logs(&self) -> Vec<std::path::PathBuf> {
        self.state.lock().await.slots.iter().map(|(operator, _)| operator.log.clone()).collect()
    }
}

impl State {
    async fn restart(&mut self) -> Result<()> {
        for (operator, running) in &mut self.slots {
            if !running.is_running() {
                *running = operator.start().await?;
                self.restarts += 1;
            }
        }
        Ok(())
    }

    /// Takes a sample of each process that runs. One that is stopped does not answer, and has none.
    async fn sample(&mut self, time: f64) {
        for (_, running) in &self.slots {
            let process = self.processes.entry(running.id()).or_default();
            if process.address.is_none() {
                process.address = running.address().ok();
            }
            let Some(address) = &process.address else { continue };
            let metrics = tokio::time::timeout(ANSWER, get(address, "/metrics")).await;
            let Ok((Ok(metrics), Ok(usage))) = metrics.map(|metrics| (metrics, Usage::of(running))) else { continue };
            let (tasks, leads) =
                (value(&metrics, "vpcpeering_tasks"), value(&metrics, "leader_election_master_status"));
            if let Some((tasks, leads)) = tasks.zip(leads) {
                process.samples.push((time, Sample { usage, tasks, leads: leads > 0.0 }));
            }
        }
    }
}

/// The value of the first series of a metric.
fn value(metrics: &str, name: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// The IDs in the reports of connections whose tags stay in AWS.
fn connections_left(log: &str) -> BTreeSet<String> {
    let reports = log.lines().filter(|line| line.contains("reason=\"LeftInAws\""));
    let reports = reports.filter_map(|line| line.split_once("left in AWS: "));
    reports.filter_map(|(_, report)| Some(report.split_once(" with the tags ")?.0.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_the_connection_that_keeps_its_tags() {
        let report = |text: &str| format!("INFO left in AWS: {text} reason=\"LeftInAws\"\n");
        let log = report("pcx-1 with the tags vpcpeering.dev/*, soak; routes through pcx-2: 10.1.0.0/16 in rtb-1")
            + &report("routes through pcx-3: 10.1.0.0/16 in rtb-1")
            + "INFO created pcx-4 reason=\"Created\"";
        assert_eq!(connections_left(&log), ["pcx-1".to_owned()].into());
    }
}

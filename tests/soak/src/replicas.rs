//! The replicas of the operator: they are restarted when they end, as the kubelet does, and their usage is sampled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use environment::{Operator, RunningOperator, Usage};
use nix::sys::signal::Signal;
use tokio::sync::Mutex;

use crate::action::Blow;

/// The interval in which ended replicas are noticed.
const INTERVAL: Duration = Duration::from_millis(500);

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
    /// The samples of each process, by its ID.
    samples: BTreeMap<i32, Vec<(f64, Usage)>>,
    restarts: usize,
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
                state.sample(self.started.elapsed().as_secs_f64());
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

    /// The samples of the process that ran for the longest time.
    pub async fn longest(&self) -> Vec<(f64, Usage)> {
        let state = self.state.lock().await;
        state.samples.values().max_by_key(|samples| samples.len()).cloned().unwrap_or_default()
    }

    /// The highest usage of all processes.
    pub async fn peak(&self) -> Usage {
        let state = self.state.lock().await;
        let zero = Usage { memory: 0.0, descriptors: 0.0, threads: 0.0 };
        state.samples.values().flatten().fold(zero, |peak, (_, sample)| Usage {
            memory: peak.memory.max(sample.memory),
            descriptors: peak.descriptors.max(sample.descriptors),
            threads: peak.threads.max(sample.threads),
        })
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

    fn sample(&mut self, time: f64) {
        for (_, running) in &self.slots {
            if let Ok(usage) = Usage::of(running) {
                self.samples.entry(running.id()).or_default().push((time, usage));
            }
        }
    }
}

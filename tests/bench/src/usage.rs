//! Resource usage: EC2 calls, API server writes, CPU time and memory.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ec2_simulator::journal::Query;
use environment::operator::RunningOperator;
use environment::usage::read_proc;

use super::bench::Bench;

/// Interval between memory samples under load.
pub const UNDER_LOAD: Duration = Duration::from_millis(100);
/// Interval between memory samples when idle. All samples together span two polls.
pub const IDLE: Duration = Duration::from_millis(500);

/// The verbs of mutating requests in the API server's metrics.
const WRITES: [&str; 6] = ["APPLY", "DELETE", "DELETECOLLECTION", "PATCH", "POST", "PUT"];

/// Cumulative usage up to a point in time, or the difference between two points.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Mutating EC2 calls.
    pub mutating: u64,
    /// Read-only EC2 calls.
    pub describes: u64,
    /// Writes to the API server, except to Leases.
    pub writes: u64,
    /// Writes to VpcPeerings, except server-side apply, which only the benchmark uses.
    pub writes_to_resources: u64,
    /// CPU time of the operator in seconds.
    pub cpu: f64,
}

impl Usage {
    pub fn since(self, before: Self) -> Self {
        Self {
            mutating: self.mutating - before.mutating,
            describes: self.describes - before.describes,
            writes: self.writes - before.writes,
            writes_to_resources: self.writes_to_resources - before.writes_to_resources,
            cpu: self.cpu - before.cpu,
        }
    }
}

impl Bench {
    /// The usage of the operator and the API server since their start.
    pub async fn usage(&self, running: &RunningOperator) -> Result<Usage> {
        let metrics = self.control_plane.kubectl(&["get", "--raw", "/metrics"]).await?;
        let counters = self.simulator.journal(&counters_only()).await?.counters;
        let is_read = |action: &str| action.starts_with("Describe") || action.starts_with("Get");
        let calls = |read: bool| {
            counters.iter().filter(|(action, _)| is_read(action) == read).map(|(_, counter)| counter.calls).sum()
        };
        let (mutating, describes, cpu) = (calls(false), calls(true), cpu_time(running)?);
        let is_write = |series: &str| WRITES.iter().any(|verb| series.contains(&format!("verb=\"{verb}\"")));
        let requests = "apiserver_request_total";
        let writes =
            sum(&metrics, requests, |series| is_write(series) && !series.contains("resource=\"leases\""))? as u64;
        ensure!(writes > 0, "{requests} counts no writes, not even those of the benchmark");
        let writes_to_resources = sum(&metrics, requests, |series| {
            is_write(series) && series.contains("resource=\"vpcpeerings\"") && !series.contains("verb=\"APPLY\"")
        })? as u64;
        Ok(Usage { mutating, describes, writes, writes_to_resources, cpu })
    }
}

/// The sum of a metric over the series that `is_included` selects.
pub fn sum(metrics: &str, metric: &str, is_included: impl Fn(&str) -> bool) -> Result<f64> {
    let samples = metrics.lines().filter_map(|line| line.rsplit_once(' '));
    samples
        .filter(|(series, _)| series.split('{').next() == Some(metric) && is_included(series))
        .map(|(series, value)| value.parse::<f64>().with_context(|| format!("{series} is {value}")))
        .sum()
}

/// A query that matches no entry, so that the response has only the counters.
pub fn counters_only() -> Query {
    Query { action: Some("none".into()), ..Query::default() }
}

/// The median of 20 memory samples in MiB. Memory peaks while the operator reads a listing, which the median leaves
/// out: with the default poll interval of a minute, listings are rare.
pub async fn median_memory(running: &RunningOperator, interval: Duration) -> Result<f64> {
    let mut samples = Vec::new();
    for _ in 0..20 {
        tokio::time::sleep(interval).await;
        samples.push(environment::Usage::of(running)?.memory);
    }
    samples.sort_by(f64::total_cmp);
    Ok(samples[samples.len() / 2])
}

/// CPU time of the operator in seconds. The kernel counts in hundredths of a second.
fn cpu_time(running: &RunningOperator) -> Result<f64> {
    let stat = read_proc(running, "stat")?;
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = fields.iter().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / 100.0)
}

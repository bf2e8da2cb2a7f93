//! EC2's documented token buckets: how much of them the operator uses, and how many calls are throttled.

use anyhow::Result;
use serde_json::json;

use super::bench::{Bench, Location};
use super::report::Goal::{self, AtLeast, AtMost};
use super::report::Row;
use super::usage::counters_only;

/// Capacity of the bucket of a mutating action, in tokens, and its refill per second.
const BUCKET: (f64, f64) = (50.0, 5.0);

pub async fn measure(size: usize) -> Result<Vec<Row>> {
    let bench = Bench::start(size, vec![Location::own()], json!({"throttling": {}})).await?;
    let running = bench.operator.start().await?;
    bench.until_serving(&running).await?;
    let took = bench.apply_until_active(0..size).await?.1.as_secs_f64();
    let counters = bench.simulator.journal(&counters_only()).await?.counters;
    let calls: u64 = counters.values().map(|counter| counter.calls).sum();
    let throttled: u64 = counters.values().filter_map(|counter| counter.errors.get("RequestLimitExceeded")).sum();
    let prefix = format!("{size} throttled: ");
    let row = |figure: &str, measured: f64, goal: Option<Goal>| Row::new(&prefix, figure, measured, goal);
    let (capacity, refill) = BUCKET;
    let used = (size as f64 - capacity) / (refill * took) * 100.0;
    Ok(vec![
        row("apply → all active, s", took, None),
        row("refilled tokens used until all active, %", used, Some(AtLeast(90.0))),
        row("throttled calls, % of all", throttled as f64 / calls as f64 * 100.0, Some(AtMost(5.0))),
    ])
}

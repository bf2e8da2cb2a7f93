//! An idle operator with many accounts and regions. Each location needs one page per poll.

use anyhow::Result;
use serde_json::json;

use super::bench::{Bench, Location, OWN_ACCOUNT, REGIONS, until_idle};
use super::report::Goal::{self, AtMost};
use super::report::Row;
use super::usage::{IDLE, median_memory};

const ACCOUNTS: usize = 20;
const RESOURCES_PER_LOCATION: usize = 5;

pub async fn measure() -> Result<Vec<Row>> {
    let account = |number: usize| format!("{:012}", OWN_ACCOUNT.parse::<u64>().unwrap_or_default() + number as u64);
    let locations: Vec<_> =
        (0..ACCOUNTS).flat_map(|number| REGIONS.map(|region| Location { account: account(number), region })).collect();
    let (count, size) = (locations.len(), locations.len() * RESOURCES_PER_LOCATION);
    let bench = Bench::start(size, locations, json!({})).await?;
    let running = bench.operator.start().await?;
    bench.until_serving(&running).await?;
    let (_, settled) = bench.apply_until_active(0..size).await?;
    until_idle(settled).await;
    let (usage, polls) = bench.measure_idle(&running).await?;
    let prefix = format!("{size} in {count} locations: ");
    let row = |figure: &str, measured: f64, goal: Option<Goal>| Row::new(&prefix, figure, measured, goal);
    let calls = usage.describes as f64 / polls / count as f64;
    let cpu = usage.cpu / polls / 60.0 * 100.0;
    Ok(vec![
        row("apply → all active, s", settled.as_secs_f64(), None),
        row("idle: EC2 calls per poll and location", calls, Some(AtMost(1.2))),
        row("idle: CPU polling every minute, % of a core", cpu, Some(AtMost(1.0))),
        row("idle: memory, MiB", median_memory(&running, IDLE).await?, None),
    ])
}

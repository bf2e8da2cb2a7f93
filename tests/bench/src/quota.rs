//! AWS's default quota of outstanding requests: many resources at once, of which only 25 may wait for acceptance.

use anyhow::Result;
use serde_json::json;

use super::bench::{Bench, Location};
use super::report::Goal::{self, AtMost};
use super::report::Row;
use super::usage::counters_only;

/// AWS's default quota of outstanding requests.
/// <https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-peering>
const OUTSTANDING: u64 = 25;

pub async fn measure(size: usize) -> Result<Vec<Row>> {
    let settings = json!({"quotas": {"outstanding": OUTSTANDING}});
    let bench = Bench::start(size, vec![Location::own()], settings).await?;
    let running = bench.operator.start().await?;
    bench.until_serving(&running).await?;
    let took = bench.apply_until_active(0..size).await?.1.as_secs_f64();
    let counters = bench.simulator.journal(&counters_only()).await?.counters;
    let create = counters.get("CreateVpcPeeringConnection");
    let refused = create.map_or(0, |counter| counter.errors.values().sum());
    let prefix = format!("{size} with a quota of {OUTSTANDING} outstanding requests: ");
    let row = |figure: &str, measured: f64, goal: Option<Goal>| Row::new(&prefix, figure, measured, goal);
    Ok(vec![
        row("apply → all active, s", took, Some(AtMost(15.0))),
        row("refused requests", refused as f64, Some(AtMost(0.0))),
    ])
}

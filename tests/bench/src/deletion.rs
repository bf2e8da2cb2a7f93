//! The time of a deletion with the default settings of the operator.

use std::time::Instant;

use anyhow::{Result, ensure};
use environment::eventually;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::bench::{Bench, LIMIT, Location};
use super::report::Goal::AtMost;
use super::report::Row;

pub async fn measure() -> Result<Vec<Row>> {
    let bench = Bench::start(2, vec![Location::own()], json!({})).await?;
    let running = bench.operator.clone().without("POLL_INTERVAL").start().await?;
    bench.until_serving(&running).await?;
    let end = json!({"routes": {"routeTables": {"all": true}}});
    let cases =
        [("without routes", json!({})), ("with routes at both ends", json!({"requester": end, "accepter": end}))];
    let mut rows = Vec::new();
    for (number, (name, spec)) in cases.into_iter().enumerate() {
        let took = bench.apply_and_delete(number, spec).await?;
        rows.push(Row::new("", &format!("deletion {name}, default settings, s"), took, Some(AtMost(5.0))));
    }
    Ok(rows)
}

impl Bench {
    /// Creates a peering, waits until it is ready, and deletes it. Returns the seconds until the resource is gone.
    async fn apply_and_delete(&self, number: usize, spec: Value) -> Result<f64> {
        let name = format!("peering-{number}");
        self.apply_with(&name, number, spec).await?;
        self.until_ready(number).await?;
        let start = Instant::now();
        self.api.delete(&name, &DeleteParams::default()).await?;
        eventually("the resource is gone", LIMIT, async || {
            ensure!(self.api.get_opt(&name).await?.is_none());
            Ok(())
        })
        .await?;
        Ok(start.elapsed().as_secs_f64())
    }
}

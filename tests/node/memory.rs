//! The memory of the container, by its cgroup.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::cluster::{Cluster, container_of, note};
use crate::pods::restarts_of;

/// Resources at the time of the measurement.
const RESOURCES: usize = 12;

const MIB: u64 = 1024 * 1024;

pub async fn the_container_has_the_limit_of_the_chart_and_stays_below(cluster: Arc<Cluster>) -> Result<()> {
    cluster.install(&cluster.values()).await?;
    let mut peerings = Vec::new();
    for number in 0..RESOURCES {
        peerings.push(cluster.create(&format!("orders-{number}")).await?);
    }
    cluster.until_ready(&peerings.iter().collect::<Vec<_>>()).await?;
    for pod in cluster.pods().await? {
        let memory = cluster.cgroups.memory(container_of(&pod)?)?;
        let limit = pod["spec"]["containers"][0]["resources"]["limits"]["memory"].as_str().context("no limit")?;
        let limit: u64 = limit.strip_suffix("Mi").context("the limit is not in Mi")?.parse()?;
        ensure!(memory.limit == limit * MIB, "the limit is {limit} MiB: {memory:?}");
        ensure!(memory.usage < memory.limit && memory.peak.is_none_or(|peak| peak < memory.limit), "{memory:?}");
        ensure!(memory.killed == 0, "{memory:?}");
        ensure!(restarts_of(&pod) == 0, "the container was restarted: {}", pod["status"]);
        let megabytes = |bytes: u64| bytes as f64 / MIB as f64;
        note(&format!(
            "{RESOURCES} resources: {:.1} MiB, at most {:.1} MiB, of {limit} MiB",
            megabytes(memory.usage),
            megabytes(memory.peak.unwrap_or(memory.usage))
        ));
    }
    cluster.delete_all().await
}

//! Two replicas, of which one leads, and the end of the leader without a warning.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cluster::{Cluster, LEASE, NAME, NAMESPACE, container_of, note, pod_of};
use crate::pods::restarts_of;

/// The port of the metrics in the chart.
const METRICS: u16 = 8080;

/// The metrics of a pod, which are read from the node.
async fn metrics(pod: &Value) -> Result<String> {
    let address = pod["status"]["podIP"].as_str().context("the pod has no address")?;
    let mut stream = TcpStream::connect((address, METRICS)).await?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// The names of the pods that say that they lead.
async fn leaders(cluster: &Cluster) -> Result<Vec<String>> {
    let mut leaders = Vec::new();
    for pod in cluster.pods().await? {
        if metrics(&pod).await?.contains(&format!(r#"leader_election_master_status{{name="{NAME}"}} 1.0"#)) {
            leaders.push(pod["metadata"]["name"].as_str().context("no name")?.to_owned());
        }
    }
    Ok(leaders)
}

pub async fn one_replica_leads_and_makes_the_peering(cluster: Arc<Cluster>) -> Result<()> {
    cluster.install(&cluster.values()).await?;
    let leader = cluster
        .until("one leader", async || {
            let leaders = leaders(&cluster).await?;
            ensure!(leaders.len() == 1 && cluster.pods().await?.len() == 2, "the leaders are {leaders:?}");
            Ok(leaders)
        })
        .await?;
    ensure!(pod_of(&cluster.leader().await?) == leader[0], "the metrics and the Lease name different leaders");
    let peering = cluster.create("orders").await?;
    cluster.until_ready(&[&peering]).await?;
    cluster.delete_all().await?;
    ensure!(leaders(&cluster).await? == leader, "the leader changed");
    Ok(())
}

pub async fn another_replica_takes_over_from_a_deleted_pod(cluster: Arc<Cluster>) -> Result<()> {
    cluster.install(&cluster.values()).await?;
    let before = cluster.create("before").await?;
    let made = cluster.until_ready(&[&before]).await?;
    let leader = cluster.leader().await?;
    // The leader may be requesting this connection while it is killed.
    let during = cluster.create("during").await?;
    let force = ["delete", "pod", pod_of(&leader), "--grace-period=0", "--force", "--namespace", NAMESPACE];
    cluster.kubectl(&force).await?;
    let (next, took) = cluster.until_another_leads(&leader).await?;
    ensure!(pod_of(&next) != pod_of(&leader), "the deleted pod leads again");
    note(&format!("another pod led {:.1} s after the deletion", took.as_secs_f64()));
    let after = cluster.create("after").await?;
    let all = cluster.until_ready(&[&before, &during, &after]).await?;
    ensure!(made.is_subset(&all) && all.len() == 3, "{made:?} became {all:?}");
    cluster.delete_all().await
}

pub async fn another_replica_takes_over_from_a_killed_process(cluster: Arc<Cluster>) -> Result<()> {
    cluster.install(&cluster.values()).await?;
    let before = cluster.create("before").await?;
    let made = cluster.until_ready(&[&before]).await?;
    let leader = cluster.leader().await?;
    let pod = cluster.leading_pod().await?;
    let processes = cluster.cgroups.processes(container_of(&pod)?)?;
    let during = cluster.create("during").await?;
    for process in processes {
        kill(Pid::from_raw(process), Signal::SIGKILL)?;
    }
    // The kubelet starts the container again. It is another candidate, because its identity is another one.
    let (_, took) = cluster.until_another_leads(&leader).await?;
    note(&format!("another process led {:.1} s after the kill", took.as_secs_f64()));
    ensure!(took < LEASE * 2, "this took longer than two durations of the Lease");
    let after = cluster.create("after").await?;
    let all = cluster.until_ready(&[&before, &during, &after]).await?;
    ensure!(made.is_subset(&all) && all.len() == 3, "{made:?} became {all:?}");
    let restarted = cluster
        .until("the container is ready again", async || {
            let pods = cluster.pods().await?;
            let same = pods.iter().find(|one| one["metadata"]["name"] == pod["metadata"]["name"]);
            let same = same.context("the pod was replaced")?;
            ensure!(same["status"]["containerStatuses"][0]["ready"] == true, "{}", same["status"]);
            Ok(restarts_of(same))
        })
        .await?;
    ensure!(restarted == 1, "{restarted} restarts");
    cluster.delete_all().await
}

//! The end of a pod that Kubernetes asks to end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::cluster::{Cluster, LEASE, NAME, NAMESPACE, note, pod_of};

/// A finalizer keeps the status of a pod that has ended.
const KEEP: &str = r#"-p={"metadata":{"finalizers":["vpcpeering.dev/test"]}}"#;
const RELEASE: &str = r#"-p={"metadata":{"finalizers":null}}"#;

pub async fn a_pod_ends_in_time_and_releases_the_lease(cluster: Arc<Cluster>) -> Result<()> {
    cluster.install(&cluster.values()).await?;
    let peering = cluster.create("orders").await?;
    cluster.until_ready(&[&peering]).await?;
    let pod = cluster.leading_pod().await?;
    let leader = cluster.leader().await?;
    let grace = Duration::from_secs(pod["spec"]["terminationGracePeriodSeconds"].as_u64().context("no grace period")?);
    let name = pod_of(&leader);
    let patch = async |finalizers: &str| {
        cluster.kubectl(&["patch", "pod", name, "--type=merge", finalizers, "--namespace", NAMESPACE]).await
    };
    patch(KEEP).await?;
    let asked = Timestamp::now();
    cluster.kubectl(&["delete", "pod", name, "--wait=false", "--namespace", NAMESPACE]).await?;
    let (next, followed) = cluster.until_another_leads(&leader).await?;
    ensure!(pod_of(&next) != name, "the ended pod leads again");
    // A Lease that was not released expires after its duration.
    ensure!(followed < LEASE / 2, "the next leader followed after {followed:?}, so the Lease was not released");

    let ended = cluster
        .until("the container ended", async || {
            let pod = cluster.get(&["pod", name, "--namespace", NAMESPACE]).await?;
            let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
            ensure!(ended.is_object(), "{}", pod["status"]);
            Ok(ended.clone())
        })
        .await;
    patch(RELEASE).await?;
    let ended: Value = ended?;
    ensure!(ended["exitCode"] == 0, "{ended}");
    // The kubelet writes whole seconds.
    let finished: Timestamp = ended["finishedAt"].as_str().context("no time")?.parse()?;
    let took = Duration::try_from(finished.duration_since(asked)).unwrap_or_default();
    note(&format!("another pod led {:.1} s after the request to end", followed.as_secs_f64()));
    note(&format!("the pod ended after {} s to {} s, of {} s", took.as_secs(), took.as_secs() + 1, grace.as_secs()));
    ensure!(took < grace / 2, "the pod ended after {took:?} of {grace:?}");

    // Nobody follows the last pod, so the Lease shows that it was released.
    cluster.kubectl(&["scale", "deployment", NAME, "--replicas=0", "--namespace", NAMESPACE]).await?;
    cluster
        .until("all pods ended", async || {
            let left = cluster.pods().await?.len();
            ensure!(left == 0, "{left} pods are left");
            Ok(())
        })
        .await?;
    let holder = cluster.leader().await.ok();
    ensure!(holder.is_none(), "{holder:?} holds the Lease after its end");
    cluster.kubectl(&["scale", "deployment", NAME, "--replicas=2", "--namespace", NAMESPACE]).await?;
    cluster.delete_all().await
}

//! Flux's own helm-controller as a process. It installs the chart from the HelmRelease of the example, and upgrades it.
//! The peerings stay when the release is removed.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use environment::{eventually, repository};
use kube::ResourceExt;
use serde_json::json;
use vpc_peering_operator::api::VpcPeering;

use super::flux::{self, Flux, ready};
use super::world::{Cloud, World};

const LIMIT: Duration = Duration::from_secs(120);
const NAMESPACE: &str = "vpc-peering-system";
/// Name of the HelmRelease, and so of the objects that the chart creates.
const NAME: &str = "vpc-peering-operator";

pub async fn helm_controller_installs_upgrades_and_keeps_peerings(world: World) -> Result<()> {
    let shared = world.shared.with_empty_control_plane().await?;
    let kubectl = async |arguments: &[&str]| shared.control_plane.kubectl(arguments).await;
    let flux = Flux::start(&shared.control_plane, "helm-controller").await?;
    let example = repository().join("deploy/flux/operator");
    kubectl(&["apply", "--server-side", "-k", &example.to_string_lossy()]).await?;

    // helm-controller requests the chart from source-controller, which does not run here.
    let chart = format!("{NAMESPACE}-{NAME}");
    eventually("the HelmChart", LIMIT, async || {
        let asked = flux.get(flux::NAMESPACE, "helmchart", &chart).await?;
        ensure!(asked["spec"]["chart"] == "./charts/vpc-peering-operator", "{asked}");
        Ok(())
    })
    .await
    .map_err(|error| flux.with_log(error))?;
    let charts = repository().join("charts");
    flux.serve("helmchart", &chart, &[Path::new("-C"), &charts, Path::new("vpc-peering-operator")]).await?;
    roll_out(&flux, 2).await?;
    for (kind, name) in [("crd", "vpcpeerings.vpcpeering.dev"), ("clusterrolebinding", NAME), ("rolebinding", NAME)] {
        flux.get(NAMESPACE, kind, name).await?;
    }

    // The operator runs as the service account that the chart has created.
    let world = World::new(shared.clone(), &world.namespace, Cloud::Simulator).await?;
    let operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    let uid = world.until_ready().await?.uid();

    let values = json!({"spec": {"values": {"replicas": 3}}}).to_string();
    kubectl(&["patch", "helmrelease", NAME, "--namespace", NAMESPACE, "--type=merge", "-p", &values]).await?;
    roll_out(&flux, 3).await?;
    world.request_reconcile("after-the-upgrade").await?;
    let handled = |object: &VpcPeering| object.status.as_ref()?.last_handled_reconcile_at.clone();
    world.until("reconciled", |object| handled(object).as_deref() == Some("after-the-upgrade")).await?;
    operator.terminate().await?;

    kubectl(&["delete", "helmrelease", NAME, "--namespace", NAMESPACE, "--timeout=2m"]).await?;
    for (kind, name) in [("deployment", NAME), ("clusterrolebinding", NAME)] {
        let left = flux.get(NAMESPACE, kind, name).await;
        ensure!(left.is_err_and(|error| error.to_string().contains("NotFound")), "the {kind} is left");
    }
    let kept = world.get().await.context("the resource was deleted with the release")?;
    ensure!(kept.uid() == uid && kept.metadata.deletion_timestamp.is_none(), "{:?}", kept.metadata);
    ensure!(world.live_peerings().await?.len() == 1, "the peering was deleted with the release");
    Ok(())
}

/// Writes a Deployment status with this number of ready pods, since no kubelet runs. Only then the release becomes
/// ready.
async fn roll_out(flux: &Flux<'_>, replicas: i32) -> Result<()> {
    let deployment = eventually("deployed", LIMIT, async || {
        let deployment = flux.get(NAMESPACE, "deployment", NAME).await?;
        ensure!(deployment["spec"]["replicas"] == replicas, "{deployment}");
        Ok(deployment)
    })
    .await
    .map_err(|error| flux.with_log(error))?;
    let release = flux.get(NAMESPACE, "helmrelease", NAME).await?;
    ensure!(ready(&release)?["status"] == "Unknown", "the release does not wait for the operator: {release}");
    let true_ = |kind: &str, reason: &str| json!({"type": kind, "status": "True", "reason": reason, "message": ""});
    let status = json!({"status": {
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": replicas, "updatedReplicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas,
        "conditions": [
            true_("Available", "MinimumReplicasAvailable"),
            true_("Progressing", "NewReplicaSetAvailable"),
        ],
    }});
    flux.patch_status(NAMESPACE, "deployment", NAME, &status).await?;
    eventually("released", LIMIT, async || {
        let release = flux.get(NAMESPACE, "helmrelease", NAME).await?;
        let ready = ready(&release)?;
        let is_current = release["status"]["observedGeneration"] == release["metadata"]["generation"];
        ensure!(is_current && ready["status"] == "True", "{ready}");
        Ok(())
    })
    .await
    .map_err(|error| flux.with_log(error))
}

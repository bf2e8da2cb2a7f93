//! A GitOps tool removes the operator and its resources, together or one after the other. Flux's own library deletes
//! them. The test stops the operator as a kubelet would.

use anyhow::{Context, Result, ensure};
use environment::{RunningOperator, eventually, repository};
use serde_json::{Value, json};

use super::gitops::{raw, run_gitops};
use super::world::{Cloud, World};

const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

/// The objects of the operator's Kustomization, without the namespace: its deletion needs a controller that does not
/// run.
async fn operator_objects(world: &World) -> Result<Vec<Value>> {
    let deploy = repository().join("deploy");
    let rendered = world.shared.control_plane.kubectl(&["kustomize", &deploy.to_string_lossy()]).await?;
    let objects: Vec<Value> = serde_saphyr::from_multiple(&rendered)?;
    Ok(objects.into_iter().filter(|object| object["kind"] != "Namespace").collect())
}

async fn prune(world: &World, objects: &[Value]) -> Result<()> {
    run_gitops(world, &["prune"], &json!({"apiVersion": "v1", "kind": "List", "items": objects})).await.map(drop)
}

/// Ends the operator when its Deployment is gone.
async fn end_with_deployment(world: &World, operator: RunningOperator) -> Result<()> {
    let deployment = ["get", "deployment", "vpc-peering-operator", "--namespace=vpc-peering-system"];
    eventually("the Deployment is gone", LIMIT, async || {
        ensure!(world.shared.control_plane.kubectl(&deployment).await.is_err());
        Ok(())
    })
    .await?;
    operator.terminate().await.map(drop)
}

async fn until_no_crd(world: &World) -> Result<()> {
    eventually("no CRD", LIMIT, async || {
        let crd = world.shared.control_plane.kubectl(&["get", "crd", "vpcpeerings.vpcpeering.dev"]).await;
        ensure!(crd.is_err_and(|error| error.to_string().contains("NotFound")));
        Ok(())
    })
    .await
}

pub async fn a_reinstalled_operator_finishes_an_interrupted_prune(world: World) -> Result<()> {
    let world = World::new(world.shared.with_own_control_plane().await?, &world.namespace, Cloud::Simulator).await?;
    let operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    // The operator stops before EC2 has deleted the connection.
    world.simulator().set(&json!({"delays": {"deleting": 5}})).await?;
    let objects = [operator_objects(&world).await?, vec![world.manifest()]].concat();
    prune(&world, &objects).await?;
    end_with_deployment(&world, operator).await?;

    let object = raw(&world).await.context("the resource is gone before its peering is deleted")?;
    ensure!(object["metadata"]["deletionTimestamp"].is_string(), "{object:#}");
    ensure!(object["metadata"]["finalizers"] == json!(["vpcpeering.dev/finalizer"]), "{object:#}");
    let terminating = ["wait", "--for=condition=Terminating", "crd/vpcpeerings.vpcpeering.dev", "--timeout=30s"];
    world.shared.control_plane.kubectl(&terminating).await?;

    // The operator is installed again. The CRD is deleted after its last resource.
    let again: Vec<_> = operator_objects(&world)
        .await?
        .into_iter()
        .filter(|object| object["kind"] != "CustomResourceDefinition")
        .collect();
    let path = world.shared.control_plane.folder().join("again.json");
    std::fs::write(&path, json!({"apiVersion": "v1", "kind": "List", "items": again}).to_string())?;
    world.shared.control_plane.kubectl(&["apply", "--server-side", "-f", &path.to_string_lossy()]).await?;
    let kubeconfig = world.shared.control_plane.operator_kubeconfig().await?;
    let operator = world.operator.clone().with("KUBECONFIG", &kubeconfig.to_string_lossy());
    let _operator = operator.start().await?;
    until_no_crd(&world).await.map_err(|error| world.with_log(error))?;
    ensure!(world.live_peerings().await?.is_empty(), "a peering is left");
    Ok(())
}

pub async fn pruning_peerings_before_the_operator_leaves_nothing_behind(world: World) -> Result<()> {
    let world = World::new(world.shared.with_own_control_plane().await?, &world.namespace, Cloud::Simulator).await?;
    let operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    prune(&world, &[world.manifest()]).await?;
    world.until_gone().await?;
    ensure!(world.live_peerings().await?.is_empty(), "a peering is left");
    prune(&world, &operator_objects(&world).await?).await?;
    end_with_deployment(&world, operator).await?;
    until_no_crd(&world).await
}

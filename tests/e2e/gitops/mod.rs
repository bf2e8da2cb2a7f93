//! The health of resources as GitOps tools compute it: Flux's own libraries, and Argo CD with the health script of this
//! repository. The script is tested with objects in `deploy/argocd` that the operator has written; `UPDATE_TESTDATA=1`
//! writes them again.

pub mod accepter;
mod health;
pub mod vpc_peering;

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use environment::{eventually, prepare, repository};
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Resource};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use vpc_peering_operator::api::VpcPeering;

use super::world::{Cloud, OTHER_ACCOUNT, World};
use health::customization;

const KIND: &str = "VpcPeering";

/// Runs `tests/control-plane/gitops` on an object, and returns its output.
pub async fn run_gitops(world: &World, arguments: &[&str], object: &Value) -> Result<String> {
    let program = prepare("tests/control-plane/build.sh gitops")?.join("gitops");
    let mut process = Command::new(program)
        .args(arguments)
        .env("KUBECONFIG", world.shared.control_plane.kubeconfig())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    process.stdin.take().context("no standard input")?.write_all(object.to_string().as_bytes()).await?;
    let output = process.wait_with_output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim_end());
    Ok(String::from_utf8(output.stdout)?)
}

pub async fn run_gitops_json(world: &World, arguments: &[&str], object: &Value) -> Result<Value> {
    Ok(serde_json::from_str(&run_gitops(world, arguments, object).await?)?)
}

/// The resource as the API server stores it, without the types of this project.
pub async fn raw(world: &World) -> Result<Value> {
    raw_of::<VpcPeering>(world).await
}

pub async fn raw_of<K: Resource<DynamicType = ()>>(world: &World) -> Result<Value> {
    let resource = ApiResource::erase::<K>(&());
    let api = Api::<DynamicObject>::namespaced_with(world.client.clone(), &world.namespace, &resource);
    Ok(serde_json::to_value(api.get(&world.name).await?)?)
}

pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// Waits until `Ready` is current and has this reason, and no creation is under way.
async fn until_reason(world: &World, reason: &str) -> Result<Value> {
    until::<VpcPeering>(world, reason, |object| object["status"]["creationStartedAt"].is_null()).await
}

/// Waits until `Ready` is current and has this reason, and the resource meets another condition.
pub async fn until<K: Resource<DynamicType = ()>>(
    world: &World,
    reason: &str,
    is_so: impl Fn(&Value) -> bool,
) -> Result<Value> {
    eventually(reason, Duration::from_secs(60), async || {
        let object = raw_of::<K>(world).await?;
        let has_reason = condition(&object, "Ready").is_some_and(|ready| ready["reason"] == reason)
            && object["status"]["observedGeneration"] == object["metadata"]["generation"];
        ensure!(has_reason && is_so(&object), "{object:#}");
        Ok(object)
    })
    .await
    .map_err(|error| world.with_log(error))
}

fn recorded_id(object: &Value) -> Result<String> {
    Ok(object["status"]["vpcPeeringConnectionId"].as_str().context("no ID")?.to_owned())
}

pub async fn a_wait_ends_early_if_the_resource_is_stalled(world: World) -> Result<()> {
    let (theirs, vpc) = world.another_account().await?;
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    run_gitops(&world, &["wait", "60s"], &world.manifest()).await?;
    ensure!(condition(&raw(&world).await?, "Ready").is_some_and(|ready| ready["status"] == "True"));

    let foreign = world.with_name("foreign");
    let manifest = foreign.manifest_with(json!({"accepter": {"vpcId": vpc, "ownerId": OTHER_ACCOUNT}}));
    foreign.apply(&manifest).await?;
    let id = recorded_id(&until_reason(&foreign, "PendingAcceptance").await?)?;
    let error = run_gitops(&foreign, &["wait", "1s"], &manifest)
        .await
        .err()
        .context("the wait succeeded without an acceptance")?;
    ensure!(error.to_string().contains("status: 'InProgress'"), "{error}");

    let start = Instant::now();
    let wait = run_gitops(&foreign, &["wait", "5m"], &manifest);
    let reject = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        theirs.reject_vpc_peering_connection().vpc_peering_connection_id(id).send().await?;
        anyhow::Ok(())
    };
    let (waited, rejected) = tokio::join!(wait, reject);
    rejected?;
    let error = waited.err().context("the wait succeeded after a rejection")?;
    ensure!(error.to_string().contains("status: 'Failed'"), "{error}");
    ensure!(start.elapsed() < Duration::from_secs(60), "the wait took {:?} more", start.elapsed());
    Ok(())
}

pub async fn every_identity_state_has_the_right_health(world: World) -> Result<()> {
    // The operators of other tests look after identities, too.
    let world = World::new(world.shared.with_own_control_plane().await?, &world.namespace, Cloud::Simulator).await?;
    world.simulator().set(&json!({"any_role": true})).await?;
    let script = customization(KIND).join("health.lua");
    let kubectl = async |arguments: &[&str]| world.shared.control_plane.kubectl(arguments).await;
    let identity = json!({
        "apiVersion": "vpcpeering.dev/v1alpha1",
        "kind": "AwsIdentity",
        "metadata": {"name": "theirs"},
        "spec": {
            "accountId": OTHER_ACCOUNT,
            "roleArn": format!("arn:aws:iam::{OTHER_ACCOUNT}:role/x"),
            "allowedNamespaces": {"all": true},
            "allowedVpcs": {"all": true},
            "allowedRegions": {"all": true},
            "allowedPeers": {"all": true},
        },
    });
    let path = world.shared.control_plane.folder().join("identity.json");
    std::fs::write(&path, identity.to_string())?;
    kubectl(&["apply", "--server-side", "-f", &path.to_string_lossy()]).await?;
    let health_now = async || {
        let stored: Value = serde_json::from_str(&kubectl(&["get", "awsidentity", "theirs", "-o", "json"]).await?)?;
        let kstatus = run_gitops_json(&world, &["kstatus"], &stored).await?;
        let health = run_gitops_json(&world, &["argocd", &script.to_string_lossy()], &stored).await?;
        anyhow::Ok((kstatus["status"].clone(), health["status"].clone(), stored))
    };
    let (kstatus, health, stored) = health_now().await?;
    ensure!(kstatus == "InProgress" && health == "Progressing", "{kstatus}, {health}: {stored:#}");
    // A namespaced operator does not reconcile cluster-scoped AwsIdentities.
    let _operator = world.operator.clone().without("WATCH_NAMESPACE").start().await?;
    eventually("ready", Duration::from_secs(60), async || {
        let (kstatus, health, stored) = health_now().await?;
        ensure!(kstatus == "Current" && health == "Healthy", "{kstatus}, {health}: {stored:#}");
        Ok(())
    })
    .await
    .map_err(|error| world.with_log(error))
}

pub async fn the_health_script_is_added_to_argocd_cm(world: World) -> Result<()> {
    let kubectl = async |arguments: &[&str]| world.shared.control_plane.kubectl(arguments).await;
    kubectl(&["create", "namespace", "argocd"]).await?;
    kubectl(&[
        "create",
        "configmap",
        "argocd-cm",
        "--namespace=argocd",
        "--from-literal=url=https://argocd.example.com",
    ])
    .await?;
    let deploy = repository().join("deploy/argocd");
    kubectl(&["apply", "--server-side", "-k", &deploy.to_string_lossy()]).await?;
    let stored = kubectl(&["get", "configmap", "argocd-cm", "--namespace=argocd", "-o", "json"]).await?;
    let stored: Value = serde_json::from_str(&stored)?;
    let script = std::fs::read_to_string(customization(KIND).join("health.lua"))?;
    // Argo CD's key for the health script of a kind.
    let mut expected = json!({"url": "https://argocd.example.com"});
    for kind in ["VpcPeering", "VpcPeeringAccepter", "AwsIdentity"] {
        expected[format!("resource.customizations.health.vpcpeering.dev_{kind}")] = json!(script);
    }
    ensure!(stored["data"] == expected, "{}", stored["data"]);
    Ok(())
}

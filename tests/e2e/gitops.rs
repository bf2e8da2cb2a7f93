//! What GitOps tools make of a resource in every state: Flux's own libraries, and Argo CD with our health script.
//! The objects that the script is tested with, in `deploy/argocd`, are those that the operator writes;
//! `UPDATE_TESTDATA=1` writes them anew.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use environment::{ec2, eventually, prepare, repository};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Resource};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use vpc_peering_operator::api::VpcPeering;
use vpc_peering_operator::peering::status::REQUEST_ID;

use super::world::{Cloud, OTHER_ACCOUNT, World};

/// The kind that is asked about.
const KIND: &str = "VpcPeering";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Asks `tests/control-plane/gitops` about an object, and returns what it says.
pub async fn judge(world: &World, arguments: &[&str], object: &Value) -> Result<String> {
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

pub async fn verdict(world: &World, arguments: &[&str], object: &Value) -> Result<Value> {
    Ok(serde_json::from_str(&judge(world, arguments, object).await?)?)
}

/// The resource as the API server has it, with no type of ours between.
pub async fn raw(world: &World) -> Result<Value> {
    raw_of::<VpcPeering>(world).await
}

/// The same of another kind.
pub async fn raw_of<K: Resource<DynamicType = ()>>(world: &World) -> Result<Value> {
    let resource = ApiResource::erase::<K>(&());
    let api = Api::<DynamicObject>::namespaced_with(world.client.clone(), &world.namespace, &resource);
    Ok(serde_json::to_value(api.get(&world.name).await?)?)
}

pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// The resource, once its `Ready` has this reason and speaks of its present generation, and no answer of EC2 is awaited.
async fn until_reason(world: &World, reason: &str) -> Result<Value> {
    until::<VpcPeering>(world, reason, |object| object["status"]["creationStartedAt"].is_null()).await
}

/// The resource, once its `Ready` has this reason and speaks of its present generation, and that is so as well.
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
    .with_context(|| world.log())
}

/// A state, what puts a resource into it, and what it shall be called.
pub struct State {
    pub name: &'static str,
    pub reason: &'static str,
    pub kstatus: &'static str,
    pub argo_cd: &'static str,
}

#[rustfmt::skip]
const STATES: [State; 17] = [
    State { name: "fresh", reason: "", kstatus: "InProgress", argo_cd: "Progressing" },
    State { name: "initiating-request", reason: "InitiatingRequest", kstatus: "InProgress", argo_cd: "Progressing" },
    State { name: "pending-acceptance", reason: "PendingAcceptance", kstatus: "InProgress", argo_cd: "Suspended" },
    State { name: "provisioning", reason: "Provisioning", kstatus: "InProgress", argo_cd: "Progressing" },
    State { name: "active", reason: "Active", kstatus: "Current", argo_cd: "Healthy" },
    State { name: "failed", reason: "Failed", kstatus: "Failed", argo_cd: "Degraded" },
    State { name: "rejected", reason: "Rejected", kstatus: "Failed", argo_cd: "Degraded" },
    State { name: "deleting", reason: "Deleting", kstatus: "InProgress", argo_cd: "Progressing" },
    State { name: "deleted", reason: "Deleted", kstatus: "Failed", argo_cd: "Degraded" },
    State { name: "awaiting-recreation", reason: "AwaitingRecreation", kstatus: "InProgress", argo_cd: "Progressing" },
    State { name: "suspended", reason: "Suspended", kstatus: "InProgress", argo_cd: "Suspended" },
    State { name: "suspended-active", reason: "Active", kstatus: "Current", argo_cd: "Suspended" },
    State { name: "dry-run", reason: "DryRun", kstatus: "InProgress", argo_cd: "Suspended" },
    State { name: "observed", reason: "Active", kstatus: "Current", argo_cd: "Healthy" },
    State { name: "outdated", reason: "", kstatus: "InProgress", argo_cd: "Progressing" },
    // Argo CD asks no script about an object that is being deleted.
    State { name: "terminating", reason: "Deleting", kstatus: "Terminating", argo_cd: "" },
    State { name: "expired", reason: "Expired", kstatus: "Failed", argo_cd: "Degraded" },
];

pub async fn every_state_is_judged_rightly(world: World) -> Result<()> {
    let (theirs, vpc) = world.another_account().await?;
    let operator = world.operator.clone().with("RECREATION_PAUSE", "1h");
    let foreign = json!({"accepter": {"vpcId": vpc, "ownerId": OTHER_ACCOUNT}});
    let mut tests = Vec::new();
    for state in &STATES {
        let judged = async {
            let mut delays = json!({"initiating": 0.2, "provisioning": 0.2, "deleting": 0.2});
            match state.name {
                "initiating-request" => delays["initiating"] = json!(6),
                "provisioning" => delays["provisioning"] = json!(6),
                "deleting" | "terminating" => delays["deleting"] = json!(3),
                _ => {}
            }
            world.simulator().set(&json!({"delays": delays})).await?;
            let spec = match state.name {
                "pending-acceptance" | "rejected" | "expired" => foreign.clone(),
                "awaiting-recreation" => {
                    json!({"accepter": {"vpcId": vpc, "ownerId": OTHER_ACCOUNT}, "recreateOn": ["Rejected"]})
                }
                "failed" => json!({"accepter": {"vpcId": "vpc-0123456789abcdef0", "ownerId": OTHER_ACCOUNT}}),
                "suspended" => json!({"suspend": true}),
                "dry-run" => json!({"dryRun": true}),
                "observed" => json!({"managementPolicy": "Observe"}),
                _ => json!({}),
            };
            let mut operator = if state.name == "fresh" { None } else { Some(operator.start().await?) };
            if state.name == "observed" {
                existing(&world).await?;
            }
            world.apply(&world.manifest_with(spec)).await?;
            match state.name {
                "rejected" | "awaiting-recreation" => {
                    let id = recorded_id(&until_reason(&world, "PendingAcceptance").await?)?;
                    theirs.reject_vpc_peering_connection().vpc_peering_connection_id(id).send().await?;
                }
                "expired" => {
                    until_reason(&world, "PendingAcceptance").await?;
                    world.simulator().advance(7 * DAY).await?;
                }
                "deleting" | "deleted" => {
                    let id = recorded_id(&until_reason(&world, "Active").await?)?;
                    world.ec2.delete_vpc_peering_connection().vpc_peering_connection_id(id).send().await?;
                }
                "suspended-active" => {
                    until_reason(&world, "Active").await?;
                    world.patch(json!({"spec": {"suspend": true}})).await?;
                }
                "outdated" => {
                    until_reason(&world, "Active").await?;
                    operator.take().context("no operator")?.terminate().await?;
                    world.patch(json!({"spec": {"tags": [{"key": "a", "value": "b"}]}})).await?;
                }
                "terminating" => {
                    until_reason(&world, "Active").await?;
                    world.delete().await?;
                }
                _ => {}
            }
            let object = match state.reason {
                "" => raw(&world).await?,
                reason => until_reason(&world, reason).await?,
            };
            let kstatus = verdict(&world, &["kstatus"], &object).await?;
            ensure!(kstatus["status"] == state.kstatus, "kstatus says {kstatus}");
            // By the expressions of the example, a request that waits for a foreign owner is good enough.
            let partners = repository().join("deploy/flux/partners.yaml");
            let expression = verdict(&world, &["kstatus", &partners.to_string_lossy()], &object).await?;
            let expected = match state.name {
                "pending-acceptance" => "Current",
                // Flux asks kstatus first.
                "terminating" => "",
                _ => state.kstatus,
            };
            ensure!(expected.is_empty() || expression["status"] == expected, "the expressions say {expression}");
            if !state.argo_cd.is_empty() {
                tests.push(check_health(&world, KIND, state, generalized(&world, &vpc, object).await?).await?);
            }
            if state.name != "terminating" {
                // A deletion would be suspended as well.
                world.patch(json!({"spec": {"suspend": false}})).await?;
                world.delete().await?;
            }
            if operator.is_none() {
                operator = Some(world.operator.start().await?);
            }
            world.until_gone().await?;
            if let Some(operator) = operator {
                operator.terminate().await?;
            }
            for connection in world.living().await? {
                let id = connection.vpc_peering_connection_id.unwrap_or_default();
                world.ec2.delete_vpc_peering_connection().vpc_peering_connection_id(id).send().await?;
            }
            anyhow::Ok(())
        };
        judged.await.with_context(|| state.name)?;
    }
    check(KIND, "health_test.yaml", &json!({"tests": tests}))
}

/// Makes a connection as somebody else would.
async fn existing(world: &World) -> Result<()> {
    let create = world.ec2.create_vpc_peering_connection().vpc_id(&world.requester).peer_vpc_id(&world.accepter);
    let connection = create.send().await?.vpc_peering_connection.context("no connection")?;
    let id = connection.vpc_peering_connection_id.context("no ID")?;
    eventually("active", Duration::from_secs(30), async || {
        // Refused while EC2 still checks the request, and once it is accepted.
        _ = world.ec2.accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await;
        let codes: Vec<_> = world.living().await?.iter().map(|connection| ec2::code(connection).to_owned()).collect();
        ensure!(codes == ["active"], "{codes:?}");
        Ok(())
    })
    .await
}

fn recorded_id(object: &Value) -> Result<String> {
    Ok(object["status"]["vpcPeeringConnectionId"].as_str().context("no ID")?.to_owned())
}

/// Where Argo CD has what it knows of a kind.
fn customization(kind: &str) -> PathBuf {
    repository().join("deploy/argocd/resource_customizations/vpcpeering.dev").join(kind)
}

/// Compares a file of Argo CD's layout with what it shall hold, or writes it.
pub fn check(kind: &str, file: &str, expected: &Value) -> Result<()> {
    let path = customization(kind).join(file);
    if std::env::var_os("UPDATE_TESTDATA").is_some() {
        std::fs::create_dir_all(path.parent().context("no folder")?)?;
        std::fs::write(&path, serde_saphyr::to_string(expected)?)?;
        return Ok(());
    }
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let found: Value = serde_saphyr::from_str(&text)?;
    if found != *expected {
        bail!("{kind}/{file} has drifted: UPDATE_TESTDATA=1 cargo test --test e2e -- judged_rightly\n{expected:#}");
    }
    Ok(())
}

/// The row of `health_test.yaml` for this state, once the script gives the right answer.
pub async fn check_health(world: &World, kind: &str, state: &State, object: Value) -> Result<Value> {
    let input = format!("testdata/{}.yaml", state.name);
    check(kind, &input, &object)?;
    let script = customization(kind).join("health.lua");
    let health = verdict(world, &["argocd", &script.to_string_lossy()], &object).await?;
    ensure!(health["status"] == state.argo_cd, "Argo CD says {health}");
    Ok(json!({"inputPath": input, "healthStatus": health}))
}

/// The same object with names, IDs and times that are the same in every run.
pub async fn generalized(world: &World, foreign_vpc: &str, mut object: Value) -> Result<Value> {
    let metadata = object["metadata"].as_object_mut().context("no metadata")?;
    metadata.remove("managedFields");
    metadata.remove("resourceVersion");
    let uid = metadata["uid"].as_str().context("no UID")?.to_owned();
    let cluster = Api::<Namespace>::all(world.client.clone()).get("kube-system").await?;
    let status = &object["status"];
    let list = |key: &str| status[key].as_array().into_iter().flatten();
    let connections: Vec<_> = list("history")
        .chain(list("connections"))
        .chain([status])
        .filter_map(|status| status["vpcPeeringConnectionId"].as_str().map(str::to_owned))
        .collect();
    let (cluster, namespace) = (cluster.metadata.uid.context("no UID")?, world.namespace.clone());
    let mut names = vec![
        (world.requester.clone(), "vpc-0a1b2c3d4e5f67890".to_owned()),
        (world.accepter.clone(), "vpc-0f9e8d7c6b5a43210".to_owned()),
        (foreign_vpc.to_owned(), "vpc-0f9e8d7c6b5a43210".to_owned()),
        (cluster, "00000000-0000-4000-8000-000000000000".to_owned()),
        (uid, "11111111-1111-4111-8111-111111111111".to_owned()),
        (namespace, "team-a".to_owned()),
    ];
    names.extend(connections.into_iter().zip(1..).map(|(id, n)| (id, format!("pcx-0000000000000000{n}"))));
    rewrite(&mut object, &|text| {
        let text = names.iter().fold(text, |text, (from, to)| text.replace(from, to));
        let timeless = text.split(' ').map(|word| match word.trim_end_matches('.').parse::<Timestamp>() {
            Ok(_) => format!("2026-01-01T00:00:00Z{}", &word[word.trim_end_matches('.').len()..]),
            Err(_) => word.to_owned(),
        });
        let text = timeless.collect::<Vec<_>>().join(" ");
        match text.split_once(REQUEST_ID).and_then(|(before, rest)| Some((before, rest.split_once(')')?.1))) {
            Some((before, after)) => format!("{before}{REQUEST_ID}22222222-2222-4222-8222-222222222222){after}"),
            None => text,
        }
    });
    Ok(object)
}

fn rewrite(value: &mut Value, change: &impl Fn(String) -> String) {
    match value {
        Value::String(text) => *text = change(std::mem::take(text)),
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite(item, change)),
        Value::Object(fields) => fields.values_mut().for_each(|item| rewrite(item, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

pub async fn a_wait_ends_early_when_nothing_will_come_of_it(world: World) -> Result<()> {
    let (theirs, vpc) = world.another_account().await?;
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    judge(&world, &["wait", "60s"], &world.manifest()).await?;
    ensure!(condition(&raw(&world).await?, "Ready").is_some_and(|ready| ready["status"] == "True"));

    let foreign = world.another("foreign");
    let manifest = foreign.manifest_with(json!({"accepter": {"vpcId": vpc, "ownerId": OTHER_ACCOUNT}}));
    foreign.apply(&manifest).await?;
    let id = recorded_id(&until_reason(&foreign, "PendingAcceptance").await?)?;
    let error = judge(&foreign, &["wait", "1s"], &manifest).await.err().context("nobody has accepted it")?;
    ensure!(error.to_string().contains("status: 'InProgress'"), "{error}");

    let start = Instant::now();
    let wait = judge(&foreign, &["wait", "5m"], &manifest);
    let reject = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        theirs.reject_vpc_peering_connection().vpc_peering_connection_id(id).send().await?;
        anyhow::Ok(())
    };
    let (waited, rejected) = tokio::join!(wait, reject);
    rejected?;
    let error = waited.err().context("it was rejected")?;
    ensure!(error.to_string().contains("status: 'Failed'"), "{error}");
    ensure!(start.elapsed() < Duration::from_secs(60), "it waited on for {:?}", start.elapsed());
    Ok(())
}

pub async fn an_identity_is_judged_rightly(world: World) -> Result<()> {
    // The operators of other tests look after identities, too.
    let world = World::new(world.shared.apart().await?, &world.namespace, Cloud::Simulator).await?;
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
    let judged = async || {
        let stored: Value = serde_json::from_str(&kubectl(&["get", "awsidentity", "theirs", "-o", "json"]).await?)?;
        let kstatus = verdict(&world, &["kstatus"], &stored).await?;
        let health = verdict(&world, &["argocd", &script.to_string_lossy()], &stored).await?;
        anyhow::Ok((kstatus["status"].clone(), health["status"].clone(), stored))
    };
    let (kstatus, health, stored) = judged().await?;
    ensure!(kstatus == "InProgress" && health == "Progressing", "{kstatus}, {health}: {stored:#}");
    // An operator of one namespace leaves identities to that of the whole cluster.
    let _operator = world.operator.clone().without("WATCH_NAMESPACE").start().await?;
    eventually("ready", Duration::from_secs(60), async || {
        let (kstatus, health, stored) = judged().await?;
        ensure!(kstatus == "Current" && health == "Healthy", "{kstatus}, {health}: {stored:#}");
        Ok(())
    })
    .await
    .with_context(|| world.log())
}

pub async fn the_health_script_comes_into_argocd_cm(world: World) -> Result<()> {
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
    // Argo CD's name for the health of a kind of a group.
    let mut expected = json!({"url": "https://argocd.example.com"});
    for kind in ["VpcPeering", "VpcPeeringAccepter", "AwsIdentity"] {
        expected[format!("resource.customizations.health.vpcpeering.dev_{kind}")] = json!(script);
    }
    ensure!(stored["data"] == expected, "{}", stored["data"]);
    Ok(())
}

//! What GitOps tools make of a `VpcPeeringAccepter` in every state, as `gitops.rs` asks them about a `VpcPeering`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::Client as Ec2;
use ec2_simulator::Kind;
use environment::{ec2, eventually};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use vpc_peering_operator::api::VpcPeeringAccepter;

use super::gitops::{State, check, check_health, generalized, raw_of, until, verdict};
use super::world::{OTHER_ACCOUNT, REGION, World};

const KIND: &str = "VpcPeeringAccepter";
const ACCOUNT: &str = "111111111111";
const LIMIT: Duration = Duration::from_secs(60);

#[rustfmt::skip]
const STATES: [State; 12] = [
    State { name: "fresh", reason: "", kstatus: "InProgress", argo_cd: "Progressing" },
    State { name: "idle", reason: "Synced", kstatus: "Current", argo_cd: "Healthy" },
    State { name: "accepted", reason: "Synced", kstatus: "Current", argo_cd: "Healthy" },
    // That a request waits is as the spec wants it.
    State { name: "denied", reason: "Synced", kstatus: "Current", argo_cd: "Healthy" },
    State { name: "at-capacity", reason: "Synced", kstatus: "Current", argo_cd: "Healthy" },
    State { name: "throttled", reason: "Throttled", kstatus: "InProgress", argo_cd: "Progressing" },
    State { name: "unauthorized", reason: "Unauthorized", kstatus: "Failed", argo_cd: "Degraded" },
    State { name: "identity-not-found", reason: "IdentityNotFound", kstatus: "Failed", argo_cd: "Degraded" },
    State { name: "suspended", reason: "Suspended", kstatus: "InProgress", argo_cd: "Suspended" },
    State { name: "suspended-idle", reason: "Synced", kstatus: "Current", argo_cd: "Suspended" },
    State { name: "outdated", reason: "", kstatus: "InProgress", argo_cd: "Progressing" },
    // Argo CD asks no script about an object that is being deleted.
    State { name: "terminating", reason: "Unauthorized", kstatus: "Terminating", argo_cd: "" },
];

pub async fn every_state_of_an_accepter_is_judged_rightly(world: World) -> Result<()> {
    let (theirs, vpc) = world.another_account().await?;
    let mut tests = Vec::new();
    for state in &STATES {
        // What is left of earlier requests would show.
        let mut world = world.clone();
        world.accepter = ec2::create_vpc(&world.ec2, "10.2.0.0/16").await?;
        let judged = judged(&world, &theirs, &vpc, state).await;
        tests.extend(judged.with_context(|| format!("{}: {}", state.name, world.log()))?);
    }
    check(KIND, "health_test.yaml", &json!({"tests": tests}))
}

/// Puts a resource into a state, and returns what Argo CD's test says of it.
async fn judged(world: &World, theirs: &Ec2, vpc: &str, state: &State) -> Result<Option<Value>> {
    let api = Api::<VpcPeeringAccepter>::namespaced(world.client.clone(), &world.namespace);
    let mut operator = if state.name == "fresh" { None } else { Some(world.operator.start().await?) };
    let accept = json!({"accept": [{"ownerId": OTHER_ACCOUNT, "vpcs": {"all": true}, "regions": {"all": true}, "cidrBlocks": {"all": true}}]});
    let spec = match state.name {
        "denied" => {
            json!({"deny": [{"ownerId": OTHER_ACCOUNT}]})
        }
        "at-capacity" => {
            json!({"accept": [{"ownerId": OTHER_ACCOUNT, "vpcs": {"all": true}, "regions": {"all": true}, "cidrBlocks": {"all": true}}], "maxConnections": 0})
        }
        "identity-not-found" => json!({"identityRef": {"name": "no-such-identity"}}),
        "suspended" => {
            json!({"accept": [{"ownerId": OTHER_ACCOUNT, "vpcs": {"all": true}, "regions": {"all": true}, "cidrBlocks": {"all": true}}], "suspend": true})
        }
        "suspended-idle" => json!({"suspend": true}),
        _ => accept,
    };
    // What becomes of the request, if there is one.
    let code = match state.name {
        "accepted" | "terminating" => Some("active"),
        "denied" | "at-capacity" | "throttled" | "unauthorized" | "suspended" => Some("pending-acceptance"),
        _ => None,
    };
    if code.is_some() {
        let request = theirs.create_vpc_peering_connection().vpc_id(vpc).peer_vpc_id(&world.accepter);
        request.peer_owner_id(ACCOUNT).send().await?;
    }
    let refusal = || Kind::Error { code: "UnauthorizedOperation".into(), message: None, status: None };
    let fault = match state.name {
        "throttled" => Some(world.fault("AcceptVpcPeeringConnection", None, Kind::Throttle).await?),
        "unauthorized" => Some(world.fault("AcceptVpcPeeringConnection", None, refusal()).await?),
        "terminating" => Some(world.fault("DeleteTags", None, refusal()).await?),
        _ => None,
    };
    let mut manifest = json!({
        "apiVersion": "vpcpeering.dev/v1alpha1",
        "kind": KIND,
        "metadata": {"name": world.name, "namespace": world.namespace},
        "spec": {"vpcId": world.accepter, "region": REGION},
    });
    for (key, value) in spec.as_object().into_iter().flatten() {
        manifest["spec"][key] = value.clone();
    }
    api.patch(&world.name, &PatchParams::apply("test").force(), &Patch::Apply(manifest)).await?;
    match state.name {
        "outdated" => {
            until_reason(world, "Synced", None).await?;
            operator.take().context("no operator")?.terminate().await?;
            let patch = json!({"spec": {"maxConnections": 1}});
            api.patch(&world.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        "terminating" => {
            until_reason(world, "Synced", code).await?;
            api.delete(&world.name, &DeleteParams::default()).await?;
        }
        _ => {}
    }
    let object = match state.reason {
        "" => raw_of::<VpcPeeringAccepter>(world).await?,
        reason => until_reason(world, reason, code).await?,
    };
    let kstatus = verdict(world, &["kstatus"], &object).await?;
    ensure!(kstatus["status"] == state.kstatus, "kstatus says {kstatus}");
    let test = match state.argo_cd {
        "" => None,
        _ => Some(check_health(world, KIND, state, generalized(world, vpc, object).await?).await?),
    };

    if let Some(fault) = fault {
        world.simulator().remove_fault(fault).await?;
    }
    // Removing tags would be suspended as well.
    let look = json!({"annotations": {"vpcpeering.dev/reconcile-at": "now"}});
    let patch = json!({"metadata": look, "spec": {"suspend": false}});
    api.patch(&world.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    api.delete(&world.name, &DeleteParams::default()).await?;
    if operator.is_none() {
        operator = Some(world.operator.start().await?);
    }
    eventually("gone", LIMIT, async || {
        ensure!(api.get_opt(&world.name).await?.is_none());
        Ok(())
    })
    .await?;
    if let Some(operator) = operator {
        operator.terminate().await?;
    }
    Ok(test)
}

/// The resource, once its `Ready` has this reason and speaks of its present generation, and its one request, if any, has
/// this code.
async fn until_reason(world: &World, reason: &str, code: Option<&str>) -> Result<Value> {
    until::<VpcPeeringAccepter>(world, reason, |object| {
        let connections = object["status"]["connections"].as_array().into_iter().flatten();
        let codes: Vec<_> = connections.map(|connection| connection["code"].as_str()).collect();
        codes == Vec::from_iter(code.map(Some))
    })
    .await
}

//! The health of a `VpcPeeringAccepter` in every state, as kstatus and Argo CD compute it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::Client as Ec2;
use ec2_simulator::Kind;
use environment::{RunningOperator, ec2, eventually};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use vpc_peering_operator::api::VpcPeeringAccepter;

use super::health::{State, check, check_aspects, check_health, generalized};
use super::{raw_of, run_gitops_json, until};
use crate::world::{OTHER_ACCOUNT, REGION, World};

const KIND: &str = "VpcPeeringAccepter";

const ACCOUNT: &str = "111111111111";

const LIMIT: Duration = Duration::from_secs(60);

#[rustfmt::skip]
const STATES: [State; 13] = [
    State { name: "fresh", reason: "", kstatus: "InProgress", argo_cd: "Progressing" },
    State { name: "idle", reason: "Synced", kstatus: "Current", argo_cd: "Healthy" },
    State { name: "accepted", reason: "Synced", kstatus: "Current", argo_cd: "Healthy" },
    // The spec wants these requests to stay pending.
    State { name: "denied", reason: "Synced", kstatus: "Current", argo_cd: "Healthy" },
    State { name: "at-capacity", reason: "Synced", kstatus: "Current", argo_cd: "Healthy" },
    // The connection is active, and its options are not as the spec asks.
    State { name: "options-blocked", reason: "DnsAttributeDisabled", kstatus: "Failed", argo_cd: "Degraded" },
    State { name: "throttled", reason: "Throttled", kstatus: "InProgress", argo_cd: "Progressing" },
    State { name: "unauthorized", reason: "Unauthorized", kstatus: "Failed", argo_cd: "Degraded" },
    State { name: "identity-not-found", reason: "IdentityNotFound", kstatus: "Failed", argo_cd: "Degraded" },
    State { name: "suspended", reason: "Suspended", kstatus: "InProgress", argo_cd: "Suspended" },
    State { name: "suspended-idle", reason: "Synced", kstatus: "Current", argo_cd: "Suspended" },
    State { name: "outdated", reason: "", kstatus: "InProgress", argo_cd: "Progressing" },
    // Argo CD runs no script for an object that is being deleted.
    State { name: "terminating", reason: "Unauthorized", kstatus: "Terminating", argo_cd: "" },
];

pub async fn every_accepter_state_has_the_right_health(world: World) -> Result<()> {
    let (theirs, vpc) = world.another_account().await?;
    let mut tests = Vec::new();
    for state in &STATES {
        // A VPC of its own: connections of earlier states would be listed in the status.
        let mut world = world.clone();
        world.accepter = ec2::create_vpc(&world.ec2, "10.2.0.0/16").await?;
        let judged = check_state(&world, &theirs, &vpc, state).await;
        tests.extend(judged.map_err(|error| world.with_log(error)).with_context(|| state.name)?);
    }
    check(KIND, "health_test.yaml", &json!({"tests": tests}))
}

/// Puts a resource into a state, checks its health, and returns the row of Argo CD's test.
async fn check_state(world: &World, theirs: &Ec2, vpc: &str, state: &State) -> Result<Option<Value>> {
    let api = Api::<VpcPeeringAccepter>::namespaced(world.client.clone(), &world.namespace);
    let mut operator = if state.name == "fresh" { None } else { Some(world.operator.start().await?) };
    // The status code of the request that the other account sends, if it sends one.
    let code = match state.name {
        "accepted" | "options-blocked" | "terminating" => Some("active"),
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
    api.patch(&world.name, &PatchParams::apply("test").force(), &Patch::Apply(manifest(world, state))).await?;
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
    check_aspects(&object, state.name == "options-blocked")?;
    let kstatus = run_gitops_json(world, &["kstatus"], &object).await?;
    ensure!(kstatus["status"] == state.kstatus, "kstatus says {kstatus}");
    let test = match state.argo_cd {
        "" => None,
        _ => Some(check_health(world, KIND, state, generalized(world, vpc, object).await?).await?),
    };
    if let Some(fault) = fault {
        world.simulator().remove_fault(fault).await?;
    }
    clean_up(world, &api, operator).await?;
    Ok(test)
}

/// A resource with the spec that a state needs.
fn manifest(world: &World, state: &State) -> Value {
    let all = json!({"all": true});
    let accept = json!([{"ownerId": OTHER_ACCOUNT, "vpcs": all, "regions": all, "cidrBlocks": all}]);
    let fields = match state.name {
        "denied" => json!({"deny": [{"ownerId": OTHER_ACCOUNT}]}),
        "at-capacity" => json!({"accept": accept, "maxConnections": 0}),
        "identity-not-found" => json!({"identityRef": {"name": "no-such-identity"}}),
        "options-blocked" => json!({"accept": accept, "options": {"allowDnsResolutionFromRemoteVpc": true}}),
        "suspended" => json!({"accept": accept, "suspend": true}),
        "suspended-idle" => json!({"suspend": true}),
        _ => json!({"accept": accept}),
    };
    let mut manifest = json!({
        "apiVersion": "vpcpeering.dev/v1alpha1",
        "kind": KIND,
        "metadata": {"name": world.name, "namespace": world.namespace},
        "spec": {"vpcId": world.accepter, "region": REGION},
    });
    for (key, value) in fields.as_object().into_iter().flatten() {
        manifest["spec"][key] = value.clone();
    }
    manifest
}

async fn clean_up(world: &World, api: &Api<VpcPeeringAccepter>, operator: Option<RunningOperator>) -> Result<()> {
    // A suspended resource keeps its tags.
    let reconcile = json!({"annotations": {"vpcpeering.dev/reconcile-at": "now"}});
    let patch = json!({"metadata": reconcile, "spec": {"suspend": false}});
    api.patch(&world.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    api.delete(&world.name, &DeleteParams::default()).await?;
    let operator = match operator {
        Some(operator) => operator,
        None => world.operator.start().await?,
    };
    eventually("the resource is gone", LIMIT, async || {
        ensure!(api.get_opt(&world.name).await?.is_none());
        Ok(())
    })
    .await?;
    operator.terminate().await?;
    Ok(())
}

/// Waits until `Ready` is current and has this reason, and the request, if there is one, has this status code.
async fn until_reason(world: &World, reason: &str, code: Option<&str>) -> Result<Value> {
    until::<VpcPeeringAccepter>(world, reason, |object| {
        let connections = object["status"]["connections"].as_array().into_iter().flatten();
        let codes: Vec<_> = connections.map(|connection| connection["code"].as_str()).collect();
        codes == Vec::from_iter(code.map(Some))
    })
    .await
}

//! The health of a `VpcPeering` in every state, as kstatus, Flux and Argo CD compute it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::Client as Ec2;
use environment::{RunningOperator, ec2, eventually, repository};
use serde_json::{Value, json};

use super::health::{State, check, check_aspects, check_health, generalized};
use super::{KIND, raw, recorded_id, run_gitops_json, until_reason};
use crate::world::{OTHER_ACCOUNT, World};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[rustfmt::skip]
const STATES: [State; 18] = [
    State { name: "fresh", reason: "", kstatus: "InProgress", argo_cd: "Progressing" },
    State { name: "initiating-request", reason: "InitiatingRequest", kstatus: "InProgress", argo_cd: "Progressing" },
    State { name: "pending-acceptance", reason: "PendingAcceptance", kstatus: "InProgress", argo_cd: "Suspended" },
    State { name: "provisioning", reason: "Provisioning", kstatus: "InProgress", argo_cd: "Progressing" },
    State { name: "active", reason: "Active", kstatus: "Current", argo_cd: "Healthy" },
    // The connection is active, and its options are not as the spec asks.
    State { name: "options-blocked", reason: "DnsAttributeDisabled", kstatus: "Failed", argo_cd: "Degraded" },
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
    // Argo CD runs no script for an object that is being deleted.
    State { name: "terminating", reason: "Deleting", kstatus: "Terminating", argo_cd: "" },
    State { name: "expired", reason: "Expired", kstatus: "Failed", argo_cd: "Degraded" },
];

pub async fn every_vpc_peering_state_has_the_right_health(world: World) -> Result<()> {
    let (theirs, vpc) = world.another_account().await?;
    let mut tests = Vec::new();
    for state in &STATES {
        let row = check_state(&world, &theirs, &vpc, state).await.with_context(|| state.name)?;
        tests.extend(row);
    }
    check(KIND, "health_test.yaml", &json!({"tests": tests}))
}

/// Puts the resource into a state, checks its health, and returns the row of Argo CD's test.
async fn check_state(world: &World, theirs: &Ec2, vpc: &str, state: &State) -> Result<Option<Value>> {
    let mut delays = json!({"initiating": 0.2, "provisioning": 0.2, "deleting": 0.2});
    match state.name {
        "initiating-request" => delays["initiating"] = json!(6),
        "provisioning" => delays["provisioning"] = json!(6),
        "deleting" | "terminating" => delays["deleting"] = json!(3),
        _ => {}
    }
    world.simulator().set(&json!({"delays": delays})).await?;
    let operator = world.operator.clone().with("RECREATION_PAUSE", "1h");
    let mut operator = if state.name == "fresh" { None } else { Some(operator.start().await?) };
    if state.name == "observed" {
        create_connection(world).await?;
    }
    let mut manifest = world.manifest_with(spec(state, vpc));
    if state.name == "options-blocked" {
        // Both VPCs lack `enableDnsHostnames`.
        manifest["spec"]["requester"]["options"] = json!({"allowDnsResolutionFromRemoteVpc": true});
    }
    world.apply(&manifest).await?;
    reach(world, theirs, state, &mut operator).await?;
    let object = match state.reason {
        "" => raw(world).await?,
        reason => until_reason(world, reason).await?,
    };
    check_aspects(&object, state.name == "options-blocked")?;
    check_kstatus(world, state, &object).await?;
    let row = match state.argo_cd {
        "" => None,
        _ => Some(check_health(world, KIND, state, generalized(world, vpc, object).await?).await?),
    };
    clean_up(world, state, operator).await?;
    Ok(row)
}

/// The part of the spec that a state needs.
fn spec(state: &State, vpc: &str) -> Value {
    let foreign = json!({"vpcId": vpc, "ownerId": OTHER_ACCOUNT});
    match state.name {
        "pending-acceptance" | "rejected" | "expired" => json!({"accepter": foreign}),
        "awaiting-recreation" => json!({"accepter": foreign, "recreateOn": ["Rejected"]}),
        "failed" => json!({"accepter": {"vpcId": "vpc-0123456789abcdef0", "ownerId": OTHER_ACCOUNT}}),
        "suspended" => json!({"suspend": true}),
        "dry-run" => json!({"dryRun": true}),
        "observed" => json!({"managementPolicy": "Observe"}),
        _ => json!({}),
    }
}

/// Does what brings the resource from its first state into the wanted one.
async fn reach(world: &World, theirs: &Ec2, state: &State, operator: &mut Option<RunningOperator>) -> Result<()> {
    match state.name {
        "rejected" | "awaiting-recreation" => {
            let id = recorded_id(&until_reason(world, "PendingAcceptance").await?)?;
            theirs.reject_vpc_peering_connection().vpc_peering_connection_id(id).send().await?;
        }
        "expired" => {
            until_reason(world, "PendingAcceptance").await?;
            world.simulator().advance(7 * DAY).await?;
        }
        "deleting" | "deleted" => {
            let id = recorded_id(&until_reason(world, "Active").await?)?;
            world.ec2.delete_vpc_peering_connection().vpc_peering_connection_id(id).send().await?;
        }
        "suspended-active" => {
            until_reason(world, "Active").await?;
            world.patch(json!({"spec": {"suspend": true}})).await?;
        }
        "outdated" => {
            until_reason(world, "Active").await?;
            operator.take().context("no operator")?.terminate().await?;
            world.patch(json!({"spec": {"tags": [{"key": "a", "value": "b"}]}})).await?;
        }
        "terminating" => {
            until_reason(world, "Active").await?;
            world.delete().await?;
        }
        _ => {}
    }
    Ok(())
}

/// Checks kstatus alone, and with the health expressions of the Flux example.
async fn check_kstatus(world: &World, state: &State, object: &Value) -> Result<()> {
    let kstatus = run_gitops_json(world, &["kstatus"], object).await?;
    ensure!(kstatus["status"] == state.kstatus, "kstatus says {kstatus}");
    // The expressions of the example accept a request that waits for a foreign owner.
    let partners = repository().join("deploy/flux/partners.yaml");
    let expression = run_gitops_json(world, &["kstatus", &partners.to_string_lossy()], object).await?;
    let expected = match state.name {
        "pending-acceptance" => "Current",
        // Flux asks kstatus first.
        "terminating" => "",
        _ => state.kstatus,
    };
    ensure!(expected.is_empty() || expression["status"] == expected, "the expressions say {expression}");
    Ok(())
}

async fn clean_up(world: &World, state: &State, operator: Option<RunningOperator>) -> Result<()> {
    if state.name != "terminating" {
        // A suspended resource is not deleted.
        world.patch(json!({"spec": {"suspend": false}})).await?;
        world.delete().await?;
    }
    let operator = match operator {
        Some(operator) => operator,
        None => world.operator.start().await?,
    };
    world.until_gone().await?;
    operator.terminate().await?;
    for connection in world.live_peerings().await? {
        let id = connection.vpc_peering_connection_id.unwrap_or_default();
        world.ec2.delete_vpc_peering_connection().vpc_peering_connection_id(id).send().await?;
    }
    Ok(())
}

/// Creates a connection without the operator, and accepts it.
async fn create_connection(world: &World) -> Result<()> {
    let create = world.ec2.create_vpc_peering_connection().vpc_id(&world.requester).peer_vpc_id(&world.accepter);
    let connection = create.send().await?.vpc_peering_connection.context("no connection")?;
    let id = connection.vpc_peering_connection_id.context("no ID")?;
    eventually("active", Duration::from_secs(30), async || {
        // EC2 refuses the call while it checks the request, and after the acceptance.
        _ = world.ec2.accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await;
        let codes: Vec<_> =
            world.live_peerings().await?.iter().map(|connection| ec2::code(connection).to_owned()).collect();
        ensure!(codes == ["active"], "{codes:?}");
        Ok(())
    })
    .await
}

//! AWS's quotas on peering connections and requests.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use environment::{ec2, eventually};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use ec2_simulator::Kind;

use vpc_peering_operator::api::VpcPeering;

use super::world::{OTHER_ACCOUNT, World, condition};

/// More than AWS's default quota of outstanding requests, four times.
const RESOURCES: usize = 100;

const OUTSTANDING: &str = "OutstandingVpcPeeringConnectionLimitExceeded";

/// The number of requests that EC2 refused because of the quota.
async fn refused(world: &World) -> Result<u64> {
    let counters = world.simulator().journal(&Default::default()).await?.counters;
    let create = counters.get("CreateVpcPeeringConnection");
    Ok(create.and_then(|counter| counter.errors.get(OUTSTANDING).copied()).unwrap_or_default())
}

/// A request of the operator's account, from a VPC of its own to this VPC of the other account.
async fn request_to(world: &World, vpc: &str) -> Result<String> {
    let own = ec2::create_vpc(&world.ec2, "10.4.0.0/16").await?;
    let create = world.ec2.create_vpc_peering_connection().vpc_id(own).peer_vpc_id(vpc);
    let created = create.peer_owner_id(OTHER_ACCOUNT).send().await?.vpc_peering_connection;
    created.and_then(|created| created.vpc_peering_connection_id).context("no ID")
}

async fn until_awaiting_quota(world: &World) -> Result<VpcPeering> {
    let waits = |object: &VpcPeering| condition(object, "Ready").is_some_and(|ready| ready.reason == "AwaitingQuota");
    world.until("AwaitingQuota", waits).await
}

pub async fn many_requests_stay_within_the_quota_of_outstanding_requests(world: World) -> Result<()> {
    let vpcs: Vec<_> = stream::iter(0..RESOURCES)
        .map(|_| ec2::create_vpc(&world.ec2, "10.3.0.0/16"))
        .buffered(16)
        .try_collect()
        .await?;
    world.simulator().set(&json!({"quotas": {"active_per_vpc": 1_000}})).await?;
    let _operator = world.operator.start().await?;
    let worlds: Vec<_> = (0..RESOURCES).map(|number| world.with_name(&format!("peering-{number}"))).collect();
    for (world, vpc) in worlds.iter().zip(&vpcs) {
        world.apply(&world.manifest_with(json!({"accepter": {"vpcId": vpc}}))).await?;
    }
    for world in &worlds {
        eventually("ready", Duration::from_secs(120), async || {
            let object = world.get().await?;
            ensure!(condition(&object, "Ready").is_some_and(|ready| ready.status == "True"));
            Ok(())
        })
        .await?;
    }
    let refused = refused(&world).await?;
    ensure!(refused == 0, "EC2 refused {refused} requests because of the quota");
    Ok(())
}

pub async fn a_request_waits_until_a_quota_has_room(world: World) -> Result<()> {
    let (other, vpc) = world.another_account().await?;
    let mut pending = Vec::new();
    for _ in 0..25 {
        pending.push(request_to(&world, &vpc).await?);
    }
    let operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    let waits = until_awaiting_quota(&world).await?;
    let message = &condition(&waits, "Ready").context("no condition")?.message;
    for part in ["account 111111111111", "25 peering requests", "L-DC9F7029"] {
        ensure!(message.contains(part), "{part}: {message}");
    }
    ensure!(!message.contains("default"), "Service Quotas tells the value: {message}");
    ensure!(condition(&waits, "Reconciling").is_some() && condition(&waits, "Stalled").is_none());
    let metrics = operator.get("/metrics").await?;
    for line in ["vpcpeering_quota_limit", "vpcpeering_quota_used"] {
        let line = format!(r#"{line}{{account="111111111111",region="eu-central-1",quota="outstanding"}} 25"#);
        ensure!(metrics.contains(&line), "{line}\n{metrics}");
    }
    ensure!(world.calls("CreateVpcPeeringConnection").await? == 25, "the request was sent despite the quota");
    other.reject_vpc_peering_connection().vpc_peering_connection_id(&pending[0]).send().await?;
    world.until_ready().await?;
    ensure!(refused(&world).await? == 0);
    Ok(())
}

pub async fn a_vpc_without_room_delays_only_its_own_requests(world: World) -> Result<()> {
    let vpcs = [ec2::create_vpc(&world.ec2, "10.3.0.0/16").await?, ec2::create_vpc(&world.ec2, "10.4.0.0/16").await?];
    world.simulator().set(&json!({"quotas": {"active_per_vpc": 1}})).await?;
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    // The requester has its one connection.
    let second = world.with_name("second");
    second.apply(&second.manifest_with(json!({"accepter": {"vpcId": vpcs[0]}}))).await?;
    let waits = until_awaiting_quota(&second).await?;
    let message = &condition(&waits, "Ready").context("no condition")?.message;
    ensure!(message.contains(&world.requester) && message.contains("L-7E9ECCDB"), "{message}");
    let third = world.with_name("third");
    let between = json!({"requester": {"vpcId": vpcs[0], "region": "eu-central-1"}, "accepter": {"vpcId": vpcs[1]}});
    third.apply(&third.manifest_with(between)).await?;
    third.until_ready().await?;
    third.delete().await?;
    third.until_gone().await?;
    world.delete().await?;
    second.until_ready().await?;
    Ok(())
}

pub async fn without_service_quotas_the_defaults_hold_and_ec2_decides(world: World) -> Result<()> {
    let denied = Kind::Error { code: "AccessDeniedException".into(), message: None, status: None };
    world.fault("GetServiceQuota", None, denied).await?;
    world.simulator().set(&json!({"quotas": {"outstanding": 1}})).await?;
    let (other, vpc) = world.another_account().await?;
    let pending = request_to(&world, &vpc).await?;
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    let refused = until_awaiting_quota(&world).await?;
    ensure!(condition(&refused, "Stalled").is_none(), "room may come without a person");
    other.accept_vpc_peering_connection().vpc_peering_connection_id(&pending).send().await?;
    world.until_ready().await?;
    Ok(())
}

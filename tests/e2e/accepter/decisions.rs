//! The requests that a `VpcPeeringAccepter` accepts, rejects or leaves pending.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use environment::ec2;
use serde_json::{Value, json};
use vpc_peering_operator::api::AccepterDecision;

use super::end::{
    ACCOUNT, AccepterEnd, NAME, accept_any, condition, entry, everything, has_condition, is_stalled, request,
    request_by_resource,
};
use crate::world::World;

pub async fn a_request_without_a_full_match_is_not_accepted(world: World) -> Result<()> {
    let accepter = AccepterEnd::of_another_account(&world).await?;
    let _operator = world.operator.start().await?;
    accepter.apply(json!({})).await?;
    let id = request(&world, &accepter, &world.requester).await?;
    let left = async |accept: Value, why: &str| {
        accepter.apply(json!({"accept": accept})).await?;
        accepter.until_not_accepted(&id, AccepterDecision::Pending, why).await
    };
    left(json!([]), "no entry of spec.accept is for account 111111111111").await?;
    left(json!([accept_any("333333333333", json!({}))]), "no entry of spec.accept is for account 111111111111").await?;
    let entry = |fields: Value| json!([accept_any(ACCOUNT, fields)]);
    left(entry(json!({"vpcs": {"list": ["vpc-00000000"]}})), "spec.accept[0].vpcs does not list").await?;
    left(entry(json!({"regions": {"list": ["eu-west-1"]}})), "spec.accept[0].regions does not list").await?;
    left(entry(json!({"cidrBlocks": {"list": ["10.1.0.0/24"]}})), "is not within a block of").await?;
    ensure!(world.calls("AcceptVpcPeeringConnection").await? == 0);
    accepter.apply(json!({"accept": entry(json!({"cidrBlocks": {"list": ["10.0.0.0/8"]}}))})).await?;
    accepter.until_accepted(&id).await?;
    // An accepted connection stays when the list changes.
    accepter.apply(json!({"accept": []})).await?;
    accepter.until_accepted(&id).await?;
    Ok(())
}

/// A request that shows the primary block only. The accepted connection also has a block that the spec does not allow,
/// so it gets no routes until the spec allows the block.
pub async fn a_connection_is_judged_again_once_all_its_blocks_are_shown(world: World) -> Result<()> {
    let accepter = AccepterEnd::of_another_account(&world).await?;
    world.simulator().set(&json!({"blocks_of_requests": "primary"})).await?;
    let add = world.ec2.associate_vpc_cidr_block().vpc_id(&world.requester).cidr_block("10.200.0.0/16");
    add.send().await?;
    let _operator = world.operator.start().await?;
    let spec = |blocks: Value| {
        let accept = json!([accept_any(ACCOUNT, json!({"cidrBlocks": {"list": blocks}}))]);
        json!({"accept": accept, "routes": {"routeTables": {"main": true}}})
    };
    accepter.apply(spec(json!(["10.1.0.0/16"]))).await?;
    let id = request(&world, &accepter, &world.requester).await?;
    let object = accepter.until("stalled", |object| is_stalled(object, "UnexpectedCidrBlock")).await?;
    for type_ in ["Ready", "RoutesReady"] {
        let shown = condition(&object, type_).context("no condition")?;
        ensure!(shown.status == "False" && shown.reason == "UnexpectedCidrBlock", "{shown:?}");
        for part in [id.as_str(), "10.200.0.0/16", "spec.accept[0].cidrBlocks"] {
            ensure!(shown.message.contains(part), "{shown:?}");
        }
    }
    let message = entry(&object, &id).and_then(|entry| entry.message.as_ref()).context("no message")?;
    ensure!(message.contains("10.200.0.0/16"), "{message}");
    world.until_events(&["Accepted", "UnexpectedCidrBlock"]).await?;
    accepter
        .until("active without routes", |object| {
            is_stalled(object, "UnexpectedCidrBlock")
                && entry(object, &id).is_some_and(|entry| entry.code.as_deref() == Some("active"))
        })
        .await?;
    ensure!(accepter.routes().await?.is_empty(), "{:?}", accepter.routes().await?);
    ensure!(ec2::code(&accepter.connection(&id).await?) == "active", "the connection must stay");
    accepter.apply(spec(json!(["10.1.0.0/16", "10.200.0.0/16"]))).await?;
    accepter.until_accepted(&id).await?;
    let mut routes = accepter.routes().await?;
    routes.sort();
    ensure!(routes == ["10.1.0.0/16", "10.200.0.0/16"], "{routes:?}");
    Ok(())
}

pub async fn a_denied_request_is_rejected_if_reject_is_set(world: World) -> Result<()> {
    let accepter = AccepterEnd::of_another_account(&world).await?;
    let _operator = world.operator.start().await?;
    let id = request_by_resource(&world, &accepter).await?;
    let spec = |reject: bool| {
        json!({
            "accept": [accept_any(ACCOUNT, json!({}))],
            "deny": [{"vpcIds": [world.requester]}],
            "reject": reject,
        })
    };
    accepter.apply(spec(false)).await?;
    accepter.until_not_accepted(&id, AccepterDecision::Denied, "spec.deny[0] matches it").await?;
    ensure!(world.calls("RejectVpcPeeringConnection").await? == 0);
    accepter.apply(spec(true)).await?;
    accepter
        .until("rejected", |object| {
            entry(object, &id).is_some_and(|entry| entry.decision == AccepterDecision::Rejected)
        })
        .await?;
    world.until_stalled("Rejected").await?;
    ensure!(world.calls("AcceptVpcPeeringConnection").await? == 0);
    ensure!(world.calls("RejectVpcPeeringConnection").await? == 1);
    Ok(())
}

pub async fn no_more_than_max_connections_are_accepted(world: World) -> Result<()> {
    let accepter = AccepterEnd::of_another_account(&world).await?;
    let _operator = world.operator.start().await?;
    let spec = |number: i32| json!({"accept": [accept_any(ACCOUNT, json!({}))], "maxConnections": number});
    accepter.apply(spec(1)).await?;
    let first = request(&world, &accepter, &world.requester).await?;
    accepter.until_accepted(&first).await?;
    let vpc = ec2::create_vpc(&world.ec2, "10.9.0.0/16").await?;
    let second = request(&world, &accepter, &vpc).await?;
    let object = accepter
        .until_not_accepted(
            &second,
            AccepterDecision::Pending,
            "the number of live connections has reached spec.maxConnections",
        )
        .await?;
    ensure!(
        condition(&object, "AtCapacity").is_some_and(|condition| condition.message.contains(&second)),
        "{object:?}"
    );
    ensure!(world.calls("AcceptVpcPeeringConnection").await? == 1);
    accepter.apply(spec(2)).await?;
    let object = accepter.until_accepted(&second).await?;
    ensure!(condition(&object, "AtCapacity").is_none(), "{object:?}");
    ensure!(object.status.is_some_and(|status| status.accepted == Some(2)));
    Ok(())
}

pub async fn the_older_of_two_accepters_decides(world: World) -> Result<()> {
    let accepter = AccepterEnd::of_another_account(&world).await?;
    let _operator = world.operator.start().await?;
    accepter.apply(json!({})).await?;
    accepter.until("ready", |object| has_condition(object, "Ready", "True")).await?;
    // Creation times have a resolution of one second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    accepter.apply_as("younger", json!({"accept": [accept_any(ACCOUNT, json!({}))]})).await?;
    let object = accepter.until_of("younger", "stalled", |object| is_stalled(object, "ConnectionNotOwned")).await?;
    let message = &condition(&object, "Ready").context("no condition")?.message;
    ensure!(message.contains(&format!("VpcPeeringAccepter {}/{NAME}", accepter.world.namespace)), "{message}");
    let id = request(&world, &accepter, &world.requester).await?;
    accepter.until_not_accepted(&id, AccepterDecision::Pending, "no entry of spec.accept").await?;
    ensure!(world.calls("AcceptVpcPeeringConnection").await? == 0);
    accepter.delete().await?;
    accepter.until_gone().await?;
    accepter
        .until_of("younger", "accepted", |object| {
            entry(object, &id).is_some_and(|entry| entry.decision == AccepterDecision::Accepted)
                && has_condition(object, "Ready", "True")
        })
        .await?;
    Ok(())
}

/// A `VpcPeering` that acts for both ends, and an accepter of the same VPC.
pub async fn a_connection_of_a_vpc_peering_is_ignored(world: World) -> Result<()> {
    let accepter = AccepterEnd::own(&world);
    let _operator = world.operator.start().await?;
    accepter.apply(everything()).await?;
    world.apply(&world.manifest_with(json!({"acceptance": "Manual"}))).await?;
    let object = world.until_code("pending-acceptance").await?;
    let id = object.status.and_then(|status| status.vpc_peering_connection_id).context("no ID")?;
    accepter.until_not_accepted(&id, AccepterDecision::Ignored, "it belongs to VpcPeering").await?;
    ensure!(world.calls("AcceptVpcPeeringConnection").await? == 0);
    Ok(())
}

//! Routes: CIDR blocks that somebody else adds, destinations that are too wide, and routes that somebody has changed.

use anyhow::{Context, Result, ensure};
use environment::eventually;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use vpc_peering_operator::api::VpcPeeringAccepter;

use super::{LIMIT, LONG_ENOUGH};
use crate::routes::through_peerings;
use crate::world::{OTHER_ACCOUNT, REGION, World, condition, connection_id};

pub async fn a_cidr_block_added_by_another_account_needs_approval(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let (theirs, vpc) = world.another_account().await?;
    let mut manifest = world.manifest();
    manifest["spec"]["requester"]["routes"] = json!({"routeTables": {"all": true}});
    manifest["spec"]["accepter"] = json!({"vpcId": vpc, "ownerId": OTHER_ACCOUNT});
    world.apply(&manifest).await?;
    let object = world.until_code("pending-acceptance").await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    eventually("accepted", LIMIT, async || {
        theirs.accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
        Ok(())
    })
    .await?;
    let object = world.until_ready().await?;
    let blocks = object.status.and_then(|status| status.accepted_cidr_blocks).context("no acceptedCidrBlocks")?;
    ensure!(blocks.iter().map(|block| block.as_str()).eq(["10.3.0.0/16"]), "{blocks:?}");
    let routed = async || -> Result<Vec<String>> {
        let routes = through_peerings(&world.ec2, &world.requester).await?;
        Ok(routes.into_iter().map(|(_, destination, _)| destination).collect())
    };
    ensure!(routed().await? == ["10.3.0.0/16"]);
    theirs.associate_vpc_cidr_block().vpc_id(&vpc).cidr_block("10.200.0.0/16").send().await?;
    let object = world.until_stalled("UnexpectedCidrBlock").await?;
    let told = condition(&object, "RoutesReady").context("no RoutesReady")?;
    let line = "spec.requester.routes.destinationCidrBlocks: [10.3.0.0/16, 10.200.0.0/16]";
    for named in ["10.200.0.0/16", "rtb-", line] {
        ensure!(told.message.contains(named), "{named}: {told:?}");
    }
    ensure!(routed().await? == ["10.3.0.0/16"], "the new block has a route");
    world.until_events(&["UnexpectedCidrBlock"]).await?;
    let allowed = json!({"routeTables": {"all": true}, "destinationCidrBlocks": ["10.3.0.0/16", "10.200.0.0/16"]});
    world.patch(json!({"spec": {"requester": {"routes": allowed}}})).await?;
    world.until_ready().await?;
    ensure!(routed().await? == ["10.200.0.0/16", "10.3.0.0/16"], "{:?}", routed().await?);
    Ok(())
}

/// At the accepter's end, the `accept` entry allows the block. Without the entry, all routes are removed.
pub async fn a_cidr_block_added_by_a_requester_needs_approval(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let (theirs, vpc) = world.another_account().await?;
    let api = Api::<VpcPeeringAccepter>::namespaced(world.client.clone(), &world.namespace);
    let all = json!({"all": true});
    let apply = async |blocks: Option<Value>| -> Result<()> {
        let entry = |blocks| json!({"ownerId": OTHER_ACCOUNT, "vpcs": all, "regions": all, "cidrBlocks": blocks});
        let manifest = json!({
            "apiVersion": "vpcpeering.dev/v1alpha1",
            "kind": "VpcPeeringAccepter",
            "metadata": {"name": "accepter", "namespace": world.namespace},
            "spec": {
                "vpcId": world.accepter,
                "region": REGION,
                "accept": blocks.map(entry).into_iter().collect::<Vec<_>>(),
                "routes": {"routeTables": {"all": true}},
            },
        });
        api.patch("accepter", &PatchParams::apply("test").force(), &Patch::Apply(manifest)).await?;
        Ok(())
    };
    let until = async |what: &str, destinations: &[&str], reason: &str| {
        eventually(what, LIMIT, async || {
            let routes = through_peerings(&world.ec2, &world.accepter).await?;
            let routed: Vec<_> = routes.iter().map(|(_, destination, _)| destination.as_str()).collect();
            ensure!(routed == destinations, "{routed:?}");
            let status = api.get("accepter").await?.status.context("no status")?;
            let told = status.conditions.iter().find(|condition| condition.type_ == "RoutesReady");
            let told = told.context("no RoutesReady")?;
            ensure!(told.reason == reason, "{told:?}");
            Ok(told.message.clone())
        })
        .await
        .map_err(|error| world.with_log(error))
    };
    apply(Some(json!({"list": ["10.3.0.0/16"]}))).await?;
    let request = theirs.create_vpc_peering_connection().vpc_id(&vpc).peer_vpc_id(&world.accepter);
    request.peer_owner_id("111111111111").send().await?;
    until("routed", &["10.3.0.0/16"], "Synced").await?;
    theirs.associate_vpc_cidr_block().vpc_id(&vpc).cidr_block("10.200.0.0/16").send().await?;
    let message = until("UnexpectedCidrBlock", &["10.3.0.0/16"], "UnexpectedCidrBlock").await?;
    ensure!(message.contains("10.200.0.0/16") && message.contains("cidrBlocks.list"), "{message}");
    // `all: true` allows only the blocks that the requester had at the acceptance.
    apply(Some(all.clone())).await?;
    tokio::time::sleep(LONG_ENOUGH).await;
    until("as before", &["10.3.0.0/16"], "UnexpectedCidrBlock").await?;
    apply(Some(json!({"list": ["10.3.0.0/16", "10.200.0.0/16"]}))).await?;
    until("allowed", &["10.200.0.0/16", "10.3.0.0/16"], "Synced").await?;
    apply(None).await?;
    until("withdrawn", &[], "Synced").await?;
    Ok(())
}

/// A destination wider than the peer's VPC would also route traffic for other networks.
pub async fn a_destination_must_lie_within_the_other_end(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let mut manifest = world.manifest();
    let routes = json!({"routeTables": {"main": true}, "destinationCidrBlocks": ["0.0.0.0/1", "10.2.1.0/24"]});
    manifest["spec"]["requester"]["routes"] = routes;
    world.apply(&manifest).await?;
    let object = world.until_stalled("InvalidRequest").await?;
    let told = condition(&object, "RoutesReady").context("no RoutesReady")?;
    for named in ["spec.requester.routes.destinationCidrBlocks", "0.0.0.0/1", "10.2.0.0/16"] {
        ensure!(told.message.contains(named), "{named}: {told:?}");
    }
    let created: Vec<_> = world.journal("CreateRoute").await?;
    ensure!(created.len() == 1 && created[0].parameters.values().any(|value| value == "10.2.1.0/24"), "{created:?}");
    Ok(())
}

/// Somebody replaces the route after the last poll. The operator must see that before it deletes the route.
pub async fn a_route_is_described_again_before_its_deletion(world: World) -> Result<()> {
    let _operator = world.operator.clone().with("POLL_INTERVAL", "1h").start().await?;
    let mut manifest = world.manifest();
    manifest["spec"]["requester"]["routes"] = json!({"routeTables": {"main": true}});
    world.apply(&manifest).await?;
    world.until_ready().await?;
    let routes = through_peerings(&world.ec2, &world.requester).await?;
    let (table, destination, _) = routes.first().context("no route")?;
    // The operator's own polls after the creation have ended.
    tokio::time::sleep(LONG_ENOUGH).await;
    let replace = world.ec2.replace_route().route_table_id(table).destination_cidr_block(destination);
    replace.gateway_id("igw-0123456789abcdef0").send().await?;
    world.patch(json!({"spec": {"requester": {"routes": null}}})).await?;
    eventually("no route in the status", LIMIT, async || {
        let object = world.get().await?;
        ensure!(object.status.is_some_and(|status| status.routes.is_empty()));
        Ok(())
    })
    .await?;
    let tables =
        world.ec2.describe_route_tables().route_table_ids(table).send().await?.route_tables.unwrap_or_default();
    let mut left = tables.iter().flat_map(|table| table.routes());
    ensure!(left.any(|route| route.gateway_id() == Some("igw-0123456789abcdef0")), "the replaced route was deleted");
    ensure!(world.calls("DeleteRoute").await? == 0);
    Ok(())
}

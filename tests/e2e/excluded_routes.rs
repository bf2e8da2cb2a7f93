//! Routes that the spec excludes, and route tables without room.

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::Client as Ec2;
use aws_sdk_ec2::types::Tag;
use serde_json::json;

use vpc_peering_operator::api::VpcPeering;

use super::both_ends::BothEnds;
use super::routes::{main_table, until_routes};
use super::world::{World, condition, connection_id};

/// The quota of routes per route table.
const FULL: usize = 10;

/// A new route table, with the tag `role`.
async fn tagged_table(ec2: &Ec2, vpc: &str, role: &str) -> Result<String> {
    let answer = ec2.create_route_table().vpc_id(vpc).send().await?;
    let id = answer.route_table.and_then(|table| table.route_table_id).context("no table")?;
    let tag = Tag::builder().key("role").value(role).build();
    ec2.create_tags().resources(&id).tags(tag).send().await?;
    Ok(id)
}

pub async fn excluded_destinations_and_tables_get_no_route(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let mut ends = BothEnds::far_apart(&world).await?;
    let requester_vpc = ends.world.requester.clone();
    let requester_table = main_table(&world.ec2, &requester_vpc).await?;
    let accepter_table = main_table(&ends.accepter, &ends.accepter_vpc).await?;
    let by_id = tagged_table(&world.ec2, &requester_vpc, "data").await?;
    let by_tag = tagged_table(&ends.accepter, &ends.accepter_vpc, "data").await?;
    let by_tags = json!({"all": true, "exclude": {"tags": {"role": "data"}}});
    world.ec2.associate_vpc_cidr_block().vpc_id(&requester_vpc).cidr_block("10.8.0.0/16").send().await?;
    ends.accepter.associate_vpc_cidr_block().vpc_id(&ends.accepter_vpc).cidr_block("10.9.0.0/16").send().await?;
    let of_requester =
        json!({"routeTables": {"all": true, "exclude": {"ids": [by_id]}}, "excludeCidrBlocks": ["10.9.0.0/16"]});
    ends.manifest["spec"]["requester"]["routes"] = of_requester;
    ends.manifest["spec"]["accepter"]["routes"] = json!({"routeTables": by_tags, "excludeCidrBlocks": ["10.8.0.0/15"]});
    ends.apply().await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    let requester = [(requester_table.as_str(), "10.2.0.0/16", id.as_str())];
    let accepter = [(accepter_table.as_str(), "10.1.0.0/16", id.as_str())];
    until_routes("not excluded", &world.ec2, &requester_vpc, &requester).await?;
    until_routes("not excluded", &ends.accepter, &ends.accepter_vpc, &accepter).await?;

    // A table that is no longer excluded, and one that is excluded from now on.
    let role = Tag::builder().key("role").build();
    ends.accepter.delete_tags().resources(&by_tag).tags(role).send().await?;
    world.request_reconcile("1").await?;
    let both = [accepter[0], (by_tag.as_str(), accepter[0].1, accepter[0].2)];
    until_routes("without the tag", &ends.accepter, &ends.accepter_vpc, &both).await?;
    let exclude = json!({"exclude": {"ids": [requester_table]}});
    world.patch(json!({"spec": {"requester": {"routes": {"routeTables": exclude}}}})).await?;
    let moved = [(by_id.as_str(), "10.2.0.0/16", id.as_str())];
    until_routes("another table", &world.ec2, &requester_vpc, &moved).await?;

    // An exclusion that is smaller than the block of the other end is reported, and changes no route.
    world.until_ready().await?;
    let part = json!({"excludeCidrBlocks": ["10.2.3.0/24", "10.9.0.0/16"]});
    world.patch(json!({"spec": {"requester": {"routes": part}}})).await?;
    let object = world.until_stalled("InvalidRequest").await?;
    let ready = condition(&object, "RoutesReady").context("no RoutesReady")?;
    for part in ["spec.requester.routes.excludeCidrBlocks", "10.2.3.0/24", "10.2.0.0/16"] {
        ensure!(ready.message.contains(part), "{part}: {ready:?}");
    }
    until_routes("unchanged", &world.ec2, &requester_vpc, &moved).await?;

    // A block that is excluded later loses its routes.
    let exclude = json!({"excludeCidrBlocks": ["10.2.0.0/16"]});
    world.patch(json!({"spec": {"requester": {"routes": exclude}}})).await?;
    let with_second = [(by_id.as_str(), "10.9.0.0/16", id.as_str())];
    until_routes("the other block", &world.ec2, &requester_vpc, &with_second).await?;
    world.until_ready().await?;
    Ok(())
}

/// One full table does not delay the routes of the others, and the condition names it. Until Service Quotas answers, EC2
/// refuses; then the operator no longer asks.
pub async fn a_full_route_table_is_named_and_delays_no_other(world: World) -> Result<()> {
    world.simulator().set(&json!({"quotas": {"routes_per_table": FULL}})).await?;
    let full = main_table(&world.ec2, &world.requester).await?;
    let free = tagged_table(&world.ec2, &world.requester, "data").await?;
    for number in 0..FULL {
        let create =
            world.ec2.create_route().route_table_id(&full).destination_cidr_block(format!("10.100.{number}.0/24"));
        create.gateway_id("igw-0123456789abcdef0").send().await?;
    }
    let _operator = world.operator.start().await?;
    let mut manifest = world.manifest();
    manifest["spec"]["requester"]["routes"] = json!({"routeTables": {"all": true}});
    world.apply(&manifest).await?;
    let names = |object: &VpcPeering| {
        condition(object, "RoutesReady").is_some_and(|ready| ready.status == "False" && ready.message.contains(&full))
    };
    let object = world.until("the full table is named", names).await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    until_routes("the free table", &world.ec2, &world.requester, &[(&free, "10.2.0.0/16", &id)]).await?;
    // A table that is created while the other one is full gets its route, too.
    let later = tagged_table(&world.ec2, &world.requester, "later").await?;
    let both = [(free.as_str(), "10.2.0.0/16", id.as_str()), (later.as_str(), "10.2.0.0/16", id.as_str())];
    until_routes("a later table", &world.ec2, &world.requester, &both).await?;
    let is_known = |object: &VpcPeering| {
        names(object) && condition(object, "RoutesReady").is_some_and(|ready| ready.reason == "RouteTableFull")
    };
    let object = world.until("the quota is known", is_known).await?;
    let message = condition(&object, "RoutesReady").map(|ready| ready.message.clone()).unwrap_or_default();
    for part in ["(10)", "L-93826ACB", "10.2.0.0/16", "spec.requester.routes.routeTables.exclude"] {
        ensure!(message.contains(part), "{part}: {message}");
    }
    world.ec2.delete_route().route_table_id(&full).destination_cidr_block("10.100.0.0/24").send().await?;
    world.until_ready().await?;
    let counters = world.simulator().journal(&Default::default()).await?.counters;
    let refused = counters.get("CreateRoute").and_then(|counter| counter.errors.get("RouteLimitExceeded"));
    ensure!(refused.copied().unwrap_or_default() <= 2, "{refused:?} refused requests");
    Ok(())
}

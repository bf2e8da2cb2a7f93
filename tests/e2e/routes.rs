//! Routes: created when the peering is active, repaired, and deleted before the peering. Other routes are not touched.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::Client as Ec2;
use ec2_simulator::Kind;
use environment::eventually;
use serde_json::{Value, json};

use super::both_ends::BothEnds;
use super::world::{World, condition, connection_id};

const LIMIT: Duration = Duration::from_secs(30);

/// Every route of a VPC through a peering: table, destination, peering.
pub async fn through_peerings(ec2: &Ec2, vpc: &str) -> Result<BTreeSet<(String, String, String)>> {
    let tables = ec2.describe_route_tables().send().await?.route_tables.unwrap_or_default();
    let tables = tables.into_iter().filter(|table| table.vpc_id.as_deref() == Some(vpc));
    Ok(tables
        .flat_map(|table| {
            let id = table.route_table_id.unwrap_or_default();
            table.routes.unwrap_or_default().into_iter().filter_map(move |route| {
                let block = route.destination_cidr_block.or(route.destination_ipv6_cidr_block);
                let destination = block.or(route.destination_prefix_list_id)?;
                Some((id.clone(), destination, route.vpc_peering_connection_id?))
            })
        })
        .collect())
}

pub async fn main_table(ec2: &Ec2, vpc: &str) -> Result<String> {
    let tables = ec2.describe_route_tables().send().await?.route_tables.unwrap_or_default();
    let table = tables.into_iter().find(|table| table.vpc_id.as_deref() == Some(vpc)).context("no table")?;
    table.route_table_id.context("no ID")
}

pub async fn until_routes(what: &str, ec2: &Ec2, vpc: &str, expected: &[(&str, &str, &str)]) -> Result<()> {
    let expected: BTreeSet<_> = expected.iter().map(|(a, b, c)| ((*a).into(), (*b).into(), (*c).into())).collect();
    eventually(what, LIMIT, async || {
        let shown = through_peerings(ec2, vpc).await?;
        ensure!(shown == expected, "{shown:?} instead of {expected:?}");
        Ok(())
    })
    .await
}

pub async fn routes_of_both_ends_are_created_and_deleted_with_the_peering(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let mut ends = BothEnds::far_apart(&world).await?;
    ends.manifest["spec"]["requester"]["routes"] = json!({"routeTables": {"main": true}});
    ends.manifest["spec"]["accepter"]["routes"] = json!({"routeTables": {"all": true}});
    let requester_vpc = ends.world.requester.clone();
    let requester_table = main_table(&world.ec2, &requester_vpc).await?;
    let accepter_table = main_table(&ends.accepter, &ends.accepter_vpc).await?;
    ends.apply().await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    ensure!(condition(&object, "RoutesReady").is_some_and(|ready| ready.status == "True"), "{object:?}");
    let requester = [(requester_table.as_str(), "10.2.0.0/16", id.as_str())];
    let accepter = [(accepter_table.as_str(), "10.1.0.0/16", id.as_str())];
    until_routes("made", &world.ec2, &requester_vpc, &requester).await?;
    until_routes("made", &ends.accepter, &ends.accepter_vpc, &accepter).await?;

    // A route table that is created later.
    let answer = ends.accepter.create_route_table().vpc_id(&ends.accepter_vpc).send().await?;
    let later = answer.route_table.and_then(|table| table.route_table_id).context("no table")?;
    let with_later = [accepter[0], (later.as_str(), "10.1.0.0/16", id.as_str())];
    until_routes("picked up", &ends.accepter, &ends.accepter_vpc, &with_later).await?;

    // A route that somebody removes.
    world.ec2.delete_route().route_table_id(&requester_table).destination_cidr_block("10.2.0.0/16").send().await?;
    until_routes("repaired", &world.ec2, &requester_vpc, &requester).await?;

    // Routes that the spec no longer wants.
    world.patch(json!({"spec": {"accepter": {"routes": null}}})).await?;
    until_routes("removed", &ends.accepter, &ends.accepter_vpc, &[]).await?;
    world.patch(json!({"spec": {"accepter": {"routes": {"routeTables": {"ids": [later]}}}}})).await?;
    until_routes("again", &ends.accepter, &ends.accepter_vpc, &[with_later[1]]).await?;

    world.until_ready().await?;
    world.delete().await?;
    world.until_gone().await?;
    until_routes("gone", &world.ec2, &requester_vpc, &[]).await?;
    until_routes("gone", &ends.accepter, &ends.accepter_vpc, &[]).await?;
    Ok(())
}

pub async fn routes_are_deleted_before_the_peering(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let mut manifest = world.manifest();
    for end in ["requester", "accepter"] {
        manifest["spec"][end]["routes"] = json!({"routeTables": {"all": true}});
    }
    world.apply(&manifest).await?;
    world.until_ready().await?;
    world.delete().await?;
    world.until_gone().await?;
    let last_route =
        world.journal("DeleteRoute").await?.iter().map(|call| call.time).max().context("no route removed")?;
    let deletes = world.journal("DeleteVpcPeeringConnection").await?;
    ensure!(deletes.iter().all(|call| call.time >= last_route), "the peering was deleted before its routes");
    Ok(())
}

pub async fn an_added_cidr_block_gets_a_route_and_a_removed_one_loses_it(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let mut manifest = world.manifest();
    manifest["spec"]["requester"]["routes"] = json!({"routeTables": {"main": true}});
    world.apply(&manifest).await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    let table = main_table(&world.ec2, &world.requester).await?;
    let answer = world.ec2.associate_vpc_cidr_block().vpc_id(&world.accepter).cidr_block("10.9.0.0/16").send().await?;
    let both = [(table.as_str(), "10.2.0.0/16", id.as_str()), (table.as_str(), "10.9.0.0/16", id.as_str())];
    until_routes("the later one", &world.ec2, &world.requester, &both).await?;
    let association = answer.cidr_block_association.and_then(|block| block.association_id).context("no ID")?;
    world.ec2.disassociate_vpc_cidr_block().association_id(association).send().await?;
    until_routes("the earlier one", &world.ec2, &world.requester, &both[..1]).await
}

pub async fn a_route_with_another_target_is_never_touched(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let mut manifest = world.manifest();
    for end in ["requester", "accepter"] {
        manifest["spec"][end]["routes"] = json!({"routeTables": {"all": true}});
    }
    let table = main_table(&world.ec2, &world.requester).await?;
    let answer = world.ec2.create_route_table().vpc_id(&world.requester).send().await?;
    let free = answer.route_table.and_then(|table| table.route_table_id).context("no table")?;
    let destination = "10.2.0.0/16";
    let create = world.ec2.create_route().route_table_id(&table).destination_cidr_block(destination);
    create.gateway_id("igw-0123456789abcdef0").send().await?;
    world.apply(&manifest).await?;
    let object = world.until_stalled("RouteConflict").await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    let told = condition(&object, "RoutesReady").context("no RoutesReady")?;
    ensure!(told.status == "False" && told.reason == "RouteConflict", "{told:?}");
    for named in [table.as_str(), destination, "igw-0123456789abcdef0"] {
        ensure!(told.message.contains(named), "{named}: {told:?}");
    }
    // The other routes are created.
    until_routes("the other table", &world.ec2, &world.requester, &[(free.as_str(), destination, id.as_str())]).await?;
    let touching = async || -> Result<Vec<_>> {
        let mut calls = world.journal("ReplaceRoute").await?;
        calls.extend(world.journal("DeleteRoute").await?);
        calls.retain(|call| call.parameters.get("RouteTableId") == Some(&table));
        Ok(calls)
    };
    ensure!(touching().await?.is_empty());
    // When the other route is gone, the operator creates its own.
    world.ec2.delete_route().route_table_id(&table).destination_cidr_block(destination).send().await?;
    world.until_ready().await?;
    let both = [(table.as_str(), destination, id.as_str()), (free.as_str(), destination, id.as_str())];
    until_routes("both", &world.ec2, &world.requester, &both).await?;
    Ok(())
}

/// Changes each route table of the simulator, as a scene describes it.
async fn change_tables(world: &World, change: impl Fn(&mut Value)) -> Result<()> {
    let mut scene = serde_json::to_value(world.simulator().save().await?)?;
    scene["route_tables"].as_array_mut().context("no route tables")?.iter_mut().for_each(change);
    world.simulator().load(&serde_json::from_value(scene)?).await?;
    Ok(())
}

pub async fn a_propagated_route_is_no_conflict(world: World) -> Result<()> {
    let propagated = json!({
        "destination": "10.2.0.0/16",
        "target": {"gateway": "vgw-0123456789abcdef0"},
        "origin": "enable-vgw-route-propagation",
    });
    change_tables(&world, |table| table["routes"] = json!([propagated])).await?;
    let _operator = world.operator.start().await?;
    let mut manifest = world.manifest();
    manifest["spec"]["requester"]["routes"] = json!({"routeTables": {"all": true}});
    world.apply(&manifest).await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    let table = main_table(&world.ec2, &world.requester).await?;
    until_routes("beside it", &world.ec2, &world.requester, &[(table.as_str(), "10.2.0.0/16", id.as_str())]).await?;
    world.delete().await?;
    world.until_gone().await?;
    let shown = world.ec2.describe_route_tables().route_table_ids(&table).send().await?;
    let routes = shown.route_tables().iter().flat_map(|table| table.routes());
    let left = routes.filter(|route| route.destination_cidr_block() == Some("10.2.0.0/16"));
    ensure!(left.count() == 1, "only the propagated route is left: {shown:?}");
    Ok(())
}

pub async fn a_gateway_route_table_gets_no_route(world: World) -> Result<()> {
    let answer = world.ec2.create_route_table().vpc_id(&world.requester).send().await?;
    let of_gateway = answer.route_table.and_then(|table| table.route_table_id).context("no table")?;
    change_tables(&world, |table| {
        if table["id"] == *of_gateway {
            table["gateway_id"] = json!("igw-0123456789abcdef0");
        }
    })
    .await?;
    let _operator = world.operator.start().await?;
    let mut manifest = world.manifest();
    manifest["spec"]["requester"]["routes"] = json!({"routeTables": {"all": true}});
    world.apply(&manifest).await?;
    let object = world.until_ready().await?;
    ensure!(condition(&object, "RoutesReady").is_some_and(|ready| ready.status == "True"), "{object:?}");
    ensure!(world.calls("CreateRoute").await? == 1);

    let named = json!({"all": null, "ids": [of_gateway]});
    world.patch(json!({"spec": {"requester": {"routes": {"routeTables": named}}}})).await?;
    let object = world.until_stalled("InvalidRequest").await?;
    let ready = condition(&object, "RoutesReady").context("no RoutesReady")?;
    for part in ["spec.requester.routes.routeTables.ids", of_gateway.as_str(), "igw-0123456789abcdef0"] {
        ensure!(ready.message.contains(part), "{part}: {ready:?}");
    }
    ensure!(world.calls("CreateRoute").await? == 1);
    Ok(())
}

pub async fn routes_of_a_deleted_peering_return_with_the_new_one(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let mut manifest = world.manifest();
    manifest["spec"]["requester"]["routes"] = json!({"routeTables": {"main": true}});
    manifest["spec"]["recreateOn"] = json!(["Deleted"]);
    world.apply(&manifest).await?;
    let object = world.until_ready().await?;
    let first = connection_id(&object).context("no ID")?.to_owned();
    world.ec2.delete_vpc_peering_connection().vpc_peering_connection_id(&first).send().await?;
    let object = world
        .until("ready again", |object| {
            connection_id(object).is_some_and(|id| id != first)
                && condition(object, "Ready").is_some_and(|ready| ready.status == "True")
        })
        .await?;
    let second = connection_id(&object).context("no ID")?.to_owned();
    let table = main_table(&world.ec2, &world.requester).await?;
    until_routes("again", &world.ec2, &world.requester, &[(table.as_str(), "10.2.0.0/16", second.as_str())]).await?;
    Ok(())
}

/// The upper limit of a deletion with default settings. Measured: about 2 s.
const DELETION: Duration = Duration::from_secs(20);

/// With default settings, a wait for EC2's eventual consistency takes 60 s.
pub async fn a_peering_with_routes_is_deleted_within_seconds_with_default_settings(world: World) -> Result<()> {
    let defaults = ["POLL_INTERVAL", "CONSISTENCY_WINDOW", "RECREATION_PAUSE"];
    let operator = defaults.into_iter().fold(world.operator.clone(), |operator, name| operator.without(name));
    let _operator = operator.start().await?;
    let mut ends = BothEnds::far_apart(&world).await?;
    for end in ["requester", "accepter"] {
        ends.manifest["spec"][end]["routes"] = json!({"routeTables": {"all": true}});
    }
    ends.apply().await?;
    world.until_ready().await?;
    world.delete().await?;
    let start = std::time::Instant::now();
    world.until_gone().await?;
    ensure!(start.elapsed() < DELETION, "the deletion took {:?}", start.elapsed());
    until_routes("gone", &world.ec2, &ends.world.requester, &[]).await?;
    until_routes("gone", &ends.accepter, &ends.accepter_vpc, &[]).await?;
    Ok(())
}

/// A VPC with an IPv6 block from Amazon's pool. Returns the VPC and the block.
async fn dual_stack_vpc(ec2: &Ec2, cidr_block: &str) -> Result<(String, String)> {
    let answer = ec2.create_vpc().cidr_block(cidr_block).amazon_provided_ipv6_cidr_block(true).send().await?;
    let vpc = answer.vpc.context("no VPC")?;
    let block = vpc.ipv6_cidr_block_association_set().first().and_then(|block| block.ipv6_cidr_block());
    Ok((vpc.vpc_id().context("no ID")?.to_owned(), block.context("no IPv6 block")?.to_owned()))
}

pub async fn a_vpc_without_ipv6_gets_no_ipv6_route(world: World) -> Result<()> {
    let (accepter, block) = dual_stack_vpc(&world.ec2, "10.2.0.0/16").await?;
    let _operator = world.operator.start().await?;
    let mut manifest = world.manifest_with(json!({"accepter": {"vpcId": accepter}}));
    manifest["spec"]["requester"]["routes"] = json!({"routeTables": {"main": true}});
    world.apply(&manifest).await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    let table = main_table(&world.ec2, &world.requester).await?;
    let ipv4 = (table.as_str(), "10.2.0.0/16", id.as_str());
    until_routes("IPv4", &world.ec2, &world.requester, &[ipv4]).await?;

    // A destination that the user names is reported.
    let named = json!({"destinationCidrBlocks": ["10.2.0.0/16", block]});
    world.patch(json!({"spec": {"requester": {"routes": named}}})).await?;
    let object = world.until_stalled("InvalidRequest").await?;
    let told = condition(&object, "RoutesReady").context("no RoutesReady")?;
    for part in ["spec.requester.routes.destinationCidrBlocks", block.as_str(), world.requester.as_str(), "IPv6"] {
        ensure!(told.message.contains(part), "{part}: {told:?}");
    }
    let calls = world.journal("CreateRoute").await?;
    ensure!(calls.iter().all(|call| !call.parameters.contains_key("DestinationIpv6CidrBlock")), "{calls:?}");

    // With an IPv6 block, the VPC gets the route.
    let associate = world.ec2.associate_vpc_cidr_block().vpc_id(&world.requester);
    associate.amazon_provided_ipv6_cidr_block(true).send().await?;
    world.until_ready().await?;
    until_routes("both", &world.ec2, &world.requester, &[ipv4, (ipv4.0, &block, ipv4.2)]).await
}

/// EC2 returns `InvalidParameterException` for a route while another change to the table is under way.
pub async fn an_invalid_parameter_exception_of_a_route_call_is_retried(world: World) -> Result<()> {
    let kind = Kind::Error { code: "InvalidParameterException".into(), message: None, status: None };
    world.fault("CreateRoute", Some(2), kind.clone()).await?;
    world.fault("DeleteRoute", Some(1), kind).await?;
    let _operator = world.operator.start().await?;
    let mut manifest = world.manifest();
    manifest["spec"]["requester"]["routes"] = json!({"routeTables": {"main": true}});
    world.apply(&manifest).await?;
    let object = world
        .until("ready", |object| {
            let stalled = condition(object, "Stalled");
            assert!(stalled.is_none(), "{stalled:?}");
            condition(object, "Ready").is_some_and(|ready| ready.status == "True")
        })
        .await?;
    ensure!(condition(&object, "RoutesReady").is_some_and(|ready| ready.status == "True"), "{object:?}");
    ensure!(world.calls("CreateRoute").await? == 3);
    world.delete().await?;
    world.until_gone().await?;
    ensure!(world.calls("DeleteRoute").await? == 2);
    Ok(())
}

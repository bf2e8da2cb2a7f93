use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::types::Route;

use crate::cloud::{Cloud, HERE, filter, id_of, refused_with};

const PEER: &str = "10.1.0.0/16";

/// Creates an active connection, and a route table in the requester's VPC.
async fn table_and_connection(cloud: &Cloud) -> Result<(String, String)> {
    let id = cloud.active().await?;
    let shown = cloud.describe(HERE, &id).await?;
    let vpc = shown.requester_vpc_info().and_then(|end| end.vpc_id()).context("no VPC")?;
    let table = cloud.ec2(HERE).create_route_table().vpc_id(vpc).send().await?;
    Ok((table.route_table.and_then(|table| table.route_table_id).context("no table")?, id))
}

/// Adds an IPv6 block to the requester's VPC.
async fn add_ipv6_block(cloud: &Cloud, id: &str) -> Result<()> {
    let shown = cloud.describe(HERE, id).await?;
    let vpc = shown.requester_vpc_info().and_then(|end| end.vpc_id()).context("no VPC")?;
    let add = cloud.ec2(HERE).associate_vpc_cidr_block().vpc_id(vpc);
    add.amazon_provided_ipv6_cidr_block(true).send().await?;
    Ok(())
}

/// The route to the peer, if the table has it.
async fn route(cloud: &Cloud, table: &str) -> Result<Option<Route>> {
    let shown = cloud.ec2(HERE).describe_route_tables().route_table_ids(table).send().await?;
    let table = shown.route_tables().first().context("no table")?;
    Ok(table.routes().iter().find(|route| route.destination_cidr_block() == Some(PEER)).cloned())
}

pub(super) async fn ipv4_routes_are_created_replaced_and_deleted(cloud: &Cloud) -> Result<()> {
    let (ec2, (table, id)) = (cloud.ec2(HERE), table_and_connection(cloud).await?);
    let create = ec2.create_route().route_table_id(&table).destination_cidr_block(PEER);
    let created = create.vpc_peering_connection_id(&id).send().await?;
    ensure!(created.r#return() == Some(true), "{created:?}");
    let shown = route(cloud, &table).await?.context("no route")?;
    ensure!(shown.vpc_peering_connection_id() == Some(id.as_str()), "{shown:?}");
    ensure!(shown.state().map(|state| state.as_str()) == Some("active"), "{shown:?}");
    ensure!(shown.origin().map(|origin| origin.as_str()) == Some("CreateRoute"), "{shown:?}");
    let by_peering = filter("route.vpc-peering-connection-id", &[&id]);
    let tables = ec2.describe_route_tables().filters(by_peering).send().await?;
    ensure!(tables.route_tables().len() == 1, "{tables:?}");

    let vpc = tables.route_tables().first().and_then(|table| table.vpc_id()).context("no VPC")?;
    let peer = cloud.vpc(HERE, "10.2.0.0/16").await?;
    let other = id_of(&cloud.request(vpc, &peer).await?)?;
    let replace = ec2.replace_route().route_table_id(&table).destination_cidr_block(PEER);
    replace.vpc_peering_connection_id(&other).send().await?;
    let shown = route(cloud, &table).await?.context("no route")?;
    ensure!(shown.vpc_peering_connection_id() == Some(other.as_str()), "{shown:?}");

    ec2.delete_route().route_table_id(&table).destination_cidr_block(PEER).send().await?;
    ensure!(route(cloud, &table).await?.is_none());
    Ok(())
}

pub(super) async fn a_route_through_an_ended_peering_is_a_black_hole(cloud: &Cloud) -> Result<()> {
    let (ec2, (table, id)) = (cloud.ec2(HERE), table_and_connection(cloud).await?);
    let create = ec2.create_route().route_table_id(&table).destination_cidr_block(PEER);
    create.vpc_peering_connection_id(&id).send().await?;
    ec2.delete_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
    cloud.settle(HERE, &id, "deleted").await?;
    let shown = route(cloud, &table).await?.context("no route")?;
    ensure!(shown.state().map(|state| state.as_str()) == Some("blackhole"), "{shown:?}");
    Ok(())
}

pub(super) async fn a_duplicate_route_is_rejected(cloud: &Cloud) -> Result<()> {
    let (ec2, (table, id)) = (cloud.ec2(HERE), table_and_connection(cloud).await?);
    let create = || ec2.create_route().route_table_id(&table).destination_cidr_block(PEER);
    create().vpc_peering_connection_id(&id).send().await?;
    refused_with(create().vpc_peering_connection_id(&id).send().await, "RouteAlreadyExists")?;
    Ok(())
}

pub(super) async fn an_unknown_route_is_not_found(cloud: &Cloud) -> Result<()> {
    let (ec2, (table, id)) = (cloud.ec2(HERE), table_and_connection(cloud).await?);
    let delete = ec2.delete_route().route_table_id(&table).destination_cidr_block(PEER).send().await;
    refused_with(delete, "InvalidRoute.NotFound")?;
    let replace = ec2.replace_route().route_table_id(&table).destination_cidr_block(PEER);
    refused_with(replace.vpc_peering_connection_id(&id).send().await, "InvalidParameterValue")?;
    let unknown = "rtb-0123456789abcdef0";
    let delete = ec2.delete_route().route_table_id(unknown).destination_cidr_block(PEER).send().await;
    refused_with(delete, "InvalidRouteTableID.NotFound")?;
    Ok(())
}

pub(super) async fn a_route_table_is_deleted_unless_it_is_the_main_one(cloud: &Cloud) -> Result<()> {
    let (ec2, (table, id)) = (cloud.ec2(HERE), table_and_connection(cloud).await?);
    let create = ec2.create_route().route_table_id(&table).destination_cidr_block(PEER);
    create.vpc_peering_connection_id(&id).send().await?;
    let shown = ec2.describe_route_tables().route_table_ids(&table).send().await?;
    let vpc = shown.route_tables().first().and_then(|table| table.vpc_id()).context("no VPC")?.to_owned();
    ec2.delete_route_table().route_table_id(&table).send().await?;
    refused_with(ec2.delete_route_table().route_table_id(&table).send().await, "InvalidRouteTableID.NotFound")?;
    let tables = ec2.describe_route_tables().filters(filter("vpc-id", &[&vpc])).send().await?;
    let [main] = tables.route_tables() else { anyhow::bail!("{tables:?}") };
    let main = main.route_table_id().context("no ID")?;
    refused_with(ec2.delete_route_table().route_table_id(main).send().await, "DependencyViolation")?;
    Ok(())
}

pub(super) async fn a_local_route_cannot_be_deleted(cloud: &Cloud) -> Result<()> {
    let (ec2, (table, _)) = (cloud.ec2(HERE), table_and_connection(cloud).await?);
    let delete = ec2.delete_route().route_table_id(&table).destination_cidr_block("10.0.0.0/16").send().await;
    refused_with(delete, "InvalidParameterValue")?;
    Ok(())
}

pub(super) async fn ipv6_routes_are_created_replaced_and_deleted(cloud: &Cloud) -> Result<()> {
    const PEER: &str = "2001:db8:1::/56";
    let (ec2, (table, id)) = (cloud.ec2(HERE), table_and_connection(cloud).await?);
    add_ipv6_block(cloud, &id).await?;
    let targets = async || -> Result<Vec<String>> {
        let shown = ec2.describe_route_tables().route_table_ids(&table).send().await?;
        let routes = shown.route_tables().iter().flat_map(|table| table.routes());
        let routes = routes.filter(|route| route.destination_ipv6_cidr_block() == Some(PEER));
        Ok(routes.filter_map(|route| route.vpc_peering_connection_id().map(str::to_owned)).collect())
    };
    let create = ec2.create_route().route_table_id(&table).destination_ipv6_cidr_block(PEER);
    create.vpc_peering_connection_id(&id).send().await?;
    ensure!(targets().await? == [id.as_str()]);
    let shown = cloud.describe(HERE, &id).await?;
    let vpc = shown.requester_vpc_info().and_then(|end| end.vpc_id()).context("no VPC")?;
    let peer = cloud.vpc(HERE, "10.2.0.0/16").await?;
    let other = id_of(&cloud.request(vpc, &peer).await?)?;
    let replace = ec2.replace_route().route_table_id(&table).destination_ipv6_cidr_block(PEER);
    replace.vpc_peering_connection_id(&other).send().await?;
    ensure!(targets().await? == [other]);
    ec2.delete_route().route_table_id(&table).destination_ipv6_cidr_block(PEER).send().await?;
    ensure!(targets().await?.is_empty());
    Ok(())
}

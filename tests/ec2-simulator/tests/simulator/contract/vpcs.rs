use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::types::{AttributeBooleanValue, Vpc, VpcAttributeName, VpcPeeringConnectionVpcInfo};

use crate::cloud::{Cloud, HERE, filter, refused_with};

pub(super) async fn vpcs_are_created_and_deleted(cloud: &Cloud) -> Result<()> {
    let ec2 = cloud.ec2(HERE);
    let made = ec2.create_vpc().cidr_block("10.0.0.0/16").send().await?.vpc.context("no VPC")?;
    let id = made.vpc_id().context("no ID")?;
    ensure!(made.cidr_block() == Some("10.0.0.0/16"), "{made:?}");
    let shown = ec2.describe_vpcs().vpc_ids(id).send().await?;
    let shown = shown.vpcs().first().context("not shown")?;
    ensure!(shown.state().map(|state| state.as_str()) == Some("available"), "{shown:?}");
    ensure!(shown.owner_id() == Some(cloud.account().await?.as_str()), "{shown:?}");
    ensure!(shown.cidr_block_association_set().len() == 1, "{shown:?}");
    ec2.delete_vpc().vpc_id(id).send().await?;
    refused_with(ec2.describe_vpcs().vpc_ids(id).send().await, "InvalidVpcID.NotFound")?;
    refused_with(ec2.delete_vpc().vpc_id(id).send().await, "InvalidVpcID.NotFound")?;
    Ok(())
}

pub(super) async fn a_vpc_has_a_main_route_table(cloud: &Cloud) -> Result<()> {
    let vpc = cloud.vpc(HERE, "10.0.0.0/16").await?;
    let tables = cloud.ec2(HERE).describe_route_tables().filters(filter("vpc-id", &[&vpc])).send().await?;
    let [table] = tables.route_tables() else { anyhow::bail!("{tables:?}") };
    ensure!(table.associations().iter().any(|association| association.main() == Some(true)), "{table:?}");
    let local = table.routes().first().context("no route")?;
    ensure!(local.gateway_id() == Some("local"), "{local:?}");
    ensure!(local.destination_cidr_block() == Some("10.0.0.0/16"), "{local:?}");
    Ok(())
}

pub(super) async fn block_sizes_are_limited(cloud: &Cloud) -> Result<()> {
    for block in ["10.0.0.0/15", "10.0.0.0/29"] {
        let outcome = cloud.ec2(HERE).create_vpc().cidr_block(block).send().await;
        ensure!(refused_with(outcome, "InvalidVpcRange")?.status == 400);
    }
    Ok(())
}

pub(super) async fn dns_attributes_are_set_separately(cloud: &Cloud) -> Result<()> {
    let (ec2, vpc) = (cloud.ec2(HERE), cloud.vpc(HERE, "10.0.0.0/16").await?);
    let hostnames = async || -> Result<Option<bool>> {
        let attribute = VpcAttributeName::EnableDnsHostnames;
        let shown = ec2.describe_vpc_attribute().vpc_id(&vpc).attribute(attribute).send().await?;
        Ok(shown.enable_dns_hostnames().and_then(AttributeBooleanValue::value))
    };
    ensure!(hostnames().await? == Some(false));
    let yes = AttributeBooleanValue::builder().value(true).build();
    ec2.modify_vpc_attribute().vpc_id(&vpc).enable_dns_hostnames(yes).send().await?;
    ensure!(hostnames().await? == Some(true));
    let attribute = VpcAttributeName::EnableDnsSupport;
    let support = ec2.describe_vpc_attribute().vpc_id(&vpc).attribute(attribute).send().await?;
    ensure!(support.enable_dns_support().and_then(AttributeBooleanValue::value) == Some(true), "{support:?}");
    Ok(())
}

pub(super) async fn an_amazon_ipv6_block_is_shown(cloud: &Cloud) -> Result<()> {
    let make = cloud.ec2(HERE).create_vpc().cidr_block("10.0.0.0/16").amazon_provided_ipv6_cidr_block(true);
    let made = make.send().await?.vpc.context("no VPC")?;
    let shown = cloud.ec2(HERE).describe_vpcs().vpc_ids(made.vpc_id.context("no ID")?).send().await?;
    let blocks = shown.vpcs().first().context("not shown")?.ipv6_cidr_block_association_set();
    let block = blocks.first().and_then(|block| block.ipv6_cidr_block()).context("no block")?;
    ensure!(block.ends_with("::/56"), "{block}");
    Ok(())
}

pub(super) async fn malformed_and_unknown_ids_have_different_errors(cloud: &Cloud) -> Result<()> {
    let ec2 = cloud.ec2(HERE);
    refused_with(ec2.describe_vpcs().vpc_ids("vpc-0123456789abcdef0").send().await, "InvalidVpcID.NotFound")?;
    refused_with(ec2.describe_vpcs().vpc_ids("nonsense").send().await, "InvalidVpcID.Malformed")?;
    let peering = ec2.describe_vpc_peering_connections().vpc_peering_connection_ids("nonsense").send().await;
    refused_with(peering, "InvalidVpcPeeringConnectionId.Malformed")?;
    Ok(())
}

pub(super) async fn a_vpc_with_a_peering_cannot_be_deleted(cloud: &Cloud) -> Result<()> {
    let id = cloud.active().await?;
    let connection = cloud.describe(HERE, &id).await?;
    let vpc = connection.requester_vpc_info().and_then(|end| end.vpc_id()).context("no VPC")?;
    refused_with(cloud.ec2(HERE).delete_vpc().vpc_id(vpc).send().await, "DependencyViolation")?;
    Ok(())
}

async fn show(cloud: &Cloud, id: &str) -> Result<Vpc> {
    let shown = cloud.ec2(HERE).describe_vpcs().vpc_ids(id).send().await?;
    shown.vpcs.unwrap_or_default().pop().context("not shown")
}

/// The associated CIDR blocks, IPv4 and IPv6.
fn blocks(vpc: &Vpc) -> Vec<&str> {
    let associated = |state: Option<&str>| state == Some("associated");
    let ipv4 = vpc.cidr_block_association_set().iter();
    let ipv4 =
        ipv4.filter(|block| associated(block.cidr_block_state().and_then(|state| Some(state.state()?.as_str()))));
    let ipv6 = vpc.ipv6_cidr_block_association_set().iter();
    let ipv6 =
        ipv6.filter(|block| associated(block.ipv6_cidr_block_state().and_then(|state| Some(state.state()?.as_str()))));
    ipv4.filter_map(|block| block.cidr_block()).chain(ipv6.filter_map(|block| block.ipv6_cidr_block())).collect()
}

pub(super) async fn ipv4_blocks_are_associated_and_disassociated(cloud: &Cloud) -> Result<()> {
    let (ec2, id) = (cloud.ec2(HERE), cloud.vpc(HERE, "10.0.0.0/16").await?);
    let added = ec2.associate_vpc_cidr_block().vpc_id(&id).cidr_block("10.1.0.0/24").send().await?;
    ensure!(added.vpc_id() == Some(id.as_str()), "{added:?}");
    let association = added.cidr_block_association().context("no association")?;
    ensure!(association.cidr_block() == Some("10.1.0.0/24"), "{added:?}");
    let association = association.association_id().context("no ID")?;
    let vpc = show(cloud, &id).await?;
    ensure!(blocks(&vpc) == ["10.0.0.0/16", "10.1.0.0/24"], "{vpc:?}");
    ensure!(vpc.cidr_block() == Some("10.0.0.0/16"), "{vpc:?}");
    let tables = ec2.describe_route_tables().filters(filter("vpc-id", &[&id])).send().await?;
    let mut local = tables.route_tables().iter().flat_map(|table| table.routes());
    ensure!(local.any(|route| route.destination_cidr_block() == Some("10.1.0.0/24")), "{tables:?}");

    let removed = ec2.disassociate_vpc_cidr_block().association_id(association).send().await?;
    let state = removed.cidr_block_association().and_then(|block| block.cidr_block_state()?.state());
    ensure!(state.map(|state| state.as_str()) == Some("disassociating"), "{removed:?}");
    let vpc = show(cloud, &id).await?;
    ensure!(blocks(&vpc) == ["10.0.0.0/16"], "{vpc:?}");
    Ok(())
}

pub(super) async fn ipv6_blocks_are_associated_and_disassociated(cloud: &Cloud) -> Result<()> {
    let (ec2, id) = (cloud.ec2(HERE), cloud.vpc(HERE, "10.0.0.0/16").await?);
    let add = ec2.associate_vpc_cidr_block().vpc_id(&id).amazon_provided_ipv6_cidr_block(true);
    let added = add.send().await?;
    let association = added.ipv6_cidr_block_association().context("no association")?;
    let block = association.ipv6_cidr_block().context("no block")?;
    ensure!(block.ends_with("::/56"), "{added:?}");
    let vpc = show(cloud, &id).await?;
    ensure!(blocks(&vpc) == ["10.0.0.0/16", block], "{vpc:?}");
    let association = association.association_id().context("no ID")?;
    ec2.disassociate_vpc_cidr_block().association_id(association).send().await?;
    let vpc = show(cloud, &id).await?;
    ensure!(blocks(&vpc) == ["10.0.0.0/16"], "{vpc:?}");
    Ok(())
}

pub(super) async fn the_primary_block_cannot_be_disassociated(cloud: &Cloud) -> Result<()> {
    let vpc = show(cloud, &cloud.vpc(HERE, "10.0.0.0/16").await?).await?;
    let primary = vpc.cidr_block_association_set().first().and_then(|block| block.association_id()).context("no ID")?;
    let outcome = cloud.ec2(HERE).disassociate_vpc_cidr_block().association_id(primary).send().await;
    refused_with(outcome, "OperationNotPermitted")?;
    Ok(())
}

pub(super) async fn an_unknown_association_is_not_found(cloud: &Cloud) -> Result<()> {
    let unknown = "vpc-cidr-assoc-0123456789abcdef0";
    let outcome = cloud.ec2(HERE).disassociate_vpc_cidr_block().association_id(unknown).send().await;
    refused_with(outcome, "InvalidVpcCidrBlockAssociationID.NotFound")?;
    Ok(())
}

pub(super) async fn a_vpc_has_at_most_five_blocks(cloud: &Cloud) -> Result<()> {
    let (ec2, id) = (cloud.ec2(HERE), cloud.vpc(HERE, "10.0.0.0/16").await?);
    let add = |number: u8| ec2.associate_vpc_cidr_block().vpc_id(&id).cidr_block(format!("10.{number}.0.0/16")).send();
    for number in 1..5 {
        add(number).await?;
    }
    refused_with(add(5).await, "CidrLimitExceeded")?;
    Ok(())
}

pub(super) async fn sizes_of_associated_blocks_are_limited(cloud: &Cloud) -> Result<()> {
    let (ec2, id) = (cloud.ec2(HERE), cloud.vpc(HERE, "10.0.0.0/16").await?);
    for block in ["10.2.0.0/15", "10.1.0.0/29"] {
        let outcome = ec2.associate_vpc_cidr_block().vpc_id(&id).cidr_block(block).send().await;
        refused_with(outcome, "InvalidVpcRange")?;
    }
    Ok(())
}

pub(super) async fn an_associated_block_must_not_overlap(cloud: &Cloud) -> Result<()> {
    let (ec2, peering) = (cloud.ec2(HERE), cloud.active().await?);
    let shown = cloud.describe(HERE, &peering).await?;
    let id = shown.requester_vpc_info().and_then(|end| end.vpc_id()).context("no VPC")?;
    let table = ec2.create_route_table().vpc_id(id).send().await?;
    let table = table.route_table().and_then(|table| table.route_table_id()).context("no table")?;
    let route = ec2.create_route().route_table_id(table).destination_cidr_block("10.9.1.0/24");
    route.vpc_peering_connection_id(&peering).send().await?;
    // Overlaps the VPC's block, overlaps the peer's block, equals the destination of a route, and contains it.
    for block in ["10.0.128.0/17", "10.1.3.0/24", "10.9.1.0/24", "10.9.0.0/16"] {
        let refused = ec2.associate_vpc_cidr_block().vpc_id(id).cidr_block(block).send().await;
        ensure!(refused.is_err(), "{block} was not refused");
    }
    ec2.associate_vpc_cidr_block().vpc_id(id).cidr_block("10.9.1.0/25").send().await?;
    Ok(())
}

pub(super) async fn a_requester_cannot_associate_a_block_while_pending(cloud: &Cloud) -> Result<()> {
    let (ec2, id) = (cloud.ec2(HERE), cloud.pending().await?);
    let shown = cloud.describe(HERE, &id).await?;
    let vpc = |end: Option<&VpcPeeringConnectionVpcInfo>| end.and_then(|end| end.vpc_id()).map(str::to_owned);
    let requester = vpc(shown.requester_vpc_info()).context("no VPC")?;
    let accepter = vpc(shown.accepter_vpc_info()).context("no VPC")?;
    let add = |vpc: String| ec2.associate_vpc_cidr_block().vpc_id(vpc).cidr_block("10.9.0.0/16").send();
    ensure!(add(requester).await.is_err(), "it was not refused");
    add(accepter).await?;
    Ok(())
}

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::types::{AttributeBooleanValue, VpcAttributeName};

use crate::cloud::{Cloud, HERE, filter, refused_with};

pub(super) async fn a_vpc_comes_and_goes(cloud: &Cloud) -> Result<()> {
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

pub(super) async fn a_block_is_a_16_to_a_28(cloud: &Cloud) -> Result<()> {
    for block in ["10.0.0.0/15", "10.0.0.0/29"] {
        let outcome = cloud.ec2(HERE).create_vpc().cidr_block(block).send().await;
        ensure!(refused_with(outcome, "InvalidVpcRange")?.status == 400);
    }
    Ok(())
}

pub(super) async fn dns_attributes_are_set_one_by_one(cloud: &Cloud) -> Result<()> {
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

pub(super) async fn a_malformed_id_is_told_from_an_unknown_one(cloud: &Cloud) -> Result<()> {
    let ec2 = cloud.ec2(HERE);
    refused_with(ec2.describe_vpcs().vpc_ids("vpc-0123456789abcdef0").send().await, "InvalidVpcID.NotFound")?;
    refused_with(ec2.describe_vpcs().vpc_ids("nonsense").send().await, "InvalidVpcID.Malformed")?;
    let peering = ec2.describe_vpc_peering_connections().vpc_peering_connection_ids("nonsense").send().await;
    refused_with(peering, "InvalidVpcPeeringConnectionId.Malformed")?;
    Ok(())
}

pub(super) async fn a_vpc_with_a_peering_stays(cloud: &Cloud) -> Result<()> {
    let id = cloud.active().await?;
    let connection = cloud.describe(HERE, &id).await?;
    let vpc = connection.requester_vpc_info().and_then(|end| end.vpc_id()).context("no VPC")?;
    refused_with(cloud.ec2(HERE).delete_vpc().vpc_id(vpc).send().await, "DependencyViolation")?;
    Ok(())
}

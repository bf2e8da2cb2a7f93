use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use aws_sdk_ec2::operation::RequestId;
use aws_sdk_ec2::types::Filter;

use crate::cloud::{Cloud, HERE, filter, id_of, refusal, refused_with, tag, tags_of};

/// The IDs of the connections that match the filters.
async fn select(cloud: &Cloud, filters: Vec<Filter>) -> Result<Vec<String>> {
    let all = cloud.ec2(HERE).describe_vpc_peering_connections().set_filters(Some(filters)).send().await?;
    all.vpc_peering_connections().iter().map(id_of).collect()
}

pub(super) async fn filters_match(cloud: &Cloud) -> Result<()> {
    let (active, pending) = (cloud.active().await?, cloud.pending().await?);
    let ec2 = cloud.ec2(HERE);
    ec2.create_tags().resources(&active).tags(tag("team", "a")).send().await?;
    ec2.create_tags().resources(&pending).tags(tag("team", "b")).send().await?;
    let shown = cloud.describe(HERE, &active).await?;
    let vpc_of = |end: Option<&aws_sdk_ec2::types::VpcPeeringConnectionVpcInfo>| {
        end.and_then(|end| end.vpc_id()).unwrap_or_default().to_owned()
    };
    let (requester, accepter) = (vpc_of(shown.requester_vpc_info()), vpc_of(shown.accepter_vpc_info()));
    let account = cloud.account().await?;
    let both = BTreeSet::from([active.clone(), pending.clone()]);
    let one = BTreeSet::from([active.clone()]);
    let other = BTreeSet::from([pending.clone()]);
    let none = BTreeSet::new();
    for (filters, expected) in [
        (vec![filter("status-code", &["active"])], &one),
        (vec![filter("status-code", &["active", "pending-acceptance"])], &both),
        (vec![filter("status-message", &["Active"])], &one),
        (vec![filter("vpc-peering-connection-id", &[&active])], &one),
        (vec![filter("requester-vpc-info.vpc-id", &[&requester])], &one),
        (vec![filter("accepter-vpc-info.vpc-id", &[&accepter])], &one),
        (vec![filter("requester-vpc-info.owner-id", &[&account])], &both),
        (vec![filter("accepter-vpc-info.owner-id", &["999999999999"])], &none),
        (vec![filter("requester-vpc-info.cidr-block", &["10.0.0.0/16"])], &both),
        (vec![filter("accepter-vpc-info.cidr-block", &["10.1.0.0/16"])], &one),
        (vec![filter("accepter-vpc-info.cidr-block", &["10.9.0.0/16"])], &none),
        (vec![filter("expiration-time", &["20??-*Z"])], &other),
        (vec![filter("tag:team", &["a"])], &one),
        (vec![filter("tag-key", &["team"])], &both),
        (vec![filter("tag:team", &["a"]), filter("status-code", &["pending-acceptance"])], &none),
    ] {
        let selected: BTreeSet<_> = select(cloud, filters.clone()).await?.into_iter().collect();
        ensure!(selected == *expected, "{filters:?}: {selected:?}");
    }
    Ok(())
}

pub(super) async fn filters_match_wildcards(cloud: &Cloud) -> Result<()> {
    let id = cloud.pending().await?;
    ensure!(select(cloud, vec![filter("status-code", &["pending-*"])]).await? == std::slice::from_ref(&id));
    ensure!(select(cloud, vec![filter("status-code", &["?ending-acceptance"])]).await? == [id]);
    ensure!(select(cloud, vec![filter("status-code", &["active-*"])]).await?.is_empty());
    Ok(())
}

pub(super) async fn an_unknown_filter_is_rejected(cloud: &Cloud) -> Result<()> {
    let ask = cloud.ec2(HERE).describe_vpc_peering_connections().filters(filter("nonsense", &["x"]));
    let refused = refused_with(ask.send().await, "InvalidParameterValue")?;
    ensure!(refused.message == "The filter 'nonsense' is invalid", "{refused:?}");
    Ok(())
}

pub(super) async fn pages_list_all_connections(cloud: &Cloud) -> Result<()> {
    let vpc = cloud.vpc(HERE, "10.0.0.0/16").await?;
    let mut made = BTreeSet::new();
    for number in 1..=12 {
        let peer = cloud.vpc(HERE, &format!("10.{number}.0.0/16")).await?;
        made.insert(id_of(&cloud.request(&vpc, &peer).await?)?);
    }
    let ec2 = cloud.ec2(HERE);
    let mut pages = ec2.describe_vpc_peering_connections().max_results(5).into_paginator().send();
    let (mut sizes, mut seen) = (Vec::new(), BTreeSet::new());
    while let Some(page) = pages.next().await {
        let page = page?;
        sizes.push(page.vpc_peering_connections().len());
        seen.extend(page.vpc_peering_connections().iter().filter_map(|one| one.vpc_peering_connection_id.clone()));
    }
    ensure!(sizes == [5, 5, 2], "{sizes:?}");
    ensure!(seen == made, "{seen:?}");
    Ok(())
}

pub(super) async fn page_sizes_are_limited(cloud: &Cloud) -> Result<()> {
    for size in [4, 1001] {
        let outcome = cloud.ec2(HERE).describe_vpc_peering_connections().max_results(size).send().await;
        refused_with(outcome, "InvalidParameterValue")?;
    }
    let outcome = cloud.ec2(HERE).describe_vpc_peering_connections().next_token("nonsense").send().await;
    refused_with(outcome, "InvalidNextToken")?;
    Ok(())
}

pub(super) async fn vpcs_are_filtered(cloud: &Cloud) -> Result<()> {
    let tags = tags_of("vpc", [tag("purpose", "filter")]);
    let make = cloud.ec2(HERE).create_vpc().cidr_block("10.77.0.0/16").tag_specifications(tags);
    let vpc = make.send().await?.vpc.and_then(|vpc| vpc.vpc_id).unwrap_or_default();
    for filter in [
        filter("cidr", &["10.77.0.0/16"]),
        filter("cidr-block-association.cidr-block", &["10.77.0.0/16"]),
        filter("tag:purpose", &["filter"]),
        filter("vpc-id", &[&vpc]),
    ] {
        let shown = cloud.ec2(HERE).describe_vpcs().filters(filter.clone()).send().await?;
        let ids: Vec<_> = shown.vpcs().iter().filter_map(|vpc| vpc.vpc_id()).collect();
        ensure!(ids == [vpc.as_str()], "{filter:?}: {ids:?}");
    }
    Ok(())
}

pub(super) async fn an_unknown_action_is_invalid(cloud: &Cloud) -> Result<()> {
    let refused = refused_with(cloud.ec2(HERE).describe_mac_hosts().send().await, "InvalidAction")?;
    ensure!(refused.status == 400 && refused.message.contains("DescribeMacHosts"), "{refused:?}");
    Ok(())
}

pub(super) async fn every_answer_has_a_request_id(cloud: &Cloud) -> Result<()> {
    let ec2 = cloud.ec2(HERE);
    let good = ec2.describe_vpcs().send().await?;
    ensure!(good.request_id().is_some_and(|id| !id.is_empty()), "{good:?}");
    let bad = refusal(ec2.describe_vpcs().vpc_ids("vpc-0123456789abcdef0").send().await)?;
    ensure!(bad.request_id.as_ref().is_some_and(|id| !id.is_empty()), "{bad:?}");
    Ok(())
}

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::types::{AttributeBooleanValue, PeeringConnectionOptionsRequest, VpcPeeringConnectionVpcInfo};

use crate::cloud::{Cloud, ELSEWHERE, HERE, code_of, id_of, refusal, refused_with, tag};

const UNKNOWN: &str = "pcx-0123456789abcdef0";

pub(super) async fn a_request_is_validated_and_then_pending(cloud: &Cloud) -> Result<()> {
    let (vpc, peer) = cloud.pair().await?;
    let made = cloud.request(&vpc, &peer).await?;
    ensure!(code_of(&made) == "initiating-request", "{made:?}");
    let id = id_of(&made)?;
    ensure!(id.starts_with("pcx-"), "{id}");
    let shown = cloud.settle(HERE, &id, "pending-acceptance").await?;
    let account = cloud.account().await?;
    for (end, vpc) in [(shown.requester_vpc_info(), &vpc), (shown.accepter_vpc_info(), &peer)] {
        let end = end.context("no end")?;
        ensure!(end.vpc_id() == Some(vpc), "{end:?}");
        ensure!(end.owner_id() == Some(&account) && end.region() == Some(cloud.region(HERE)), "{end:?}");
    }
    let message = shown.status().and_then(|status| status.message());
    ensure!(message == Some(&format!("Pending Acceptance by {account}")), "{message:?}");
    Ok(())
}

pub(super) async fn a_request_expires_in_seven_days(cloud: &Cloud) -> Result<()> {
    let (vpc, peer) = cloud.pair().await?;
    let made = cloud.request(&vpc, &peer).await?;
    let expires: SystemTime = (*made.expiration_time().context("no time")?).try_into()?;
    let days = expires.duration_since(SystemTime::now())?.as_secs_f64() / Duration::from_hours(24).as_secs_f64();
    ensure!((6.9..7.1).contains(&days), "{days}");
    Ok(())
}

pub(super) async fn an_accepted_request_becomes_active(cloud: &Cloud) -> Result<()> {
    let id = cloud.active().await?;
    let shown = cloud.describe(HERE, &id).await?;
    ensure!(shown.status().and_then(|status| status.message()) == Some("Active"), "{shown:?}");
    for (end, block) in [(shown.requester_vpc_info(), "10.0.0.0/16"), (shown.accepter_vpc_info(), "10.1.0.0/16")] {
        ensure!(end.and_then(|end| end.cidr_block()) == Some(block), "{end:?}");
    }
    Ok(())
}

pub(super) async fn accepting_provisions_first(cloud: &Cloud) -> Result<()> {
    let id = cloud.pending().await?;
    let accepted = cloud.ec2(HERE).accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
    let accepted = accepted.vpc_peering_connection().context("no connection")?;
    ensure!(code_of(accepted) == "provisioning", "{accepted:?}");
    ensure!(accepted.expiration_time().is_none(), "an accepted request does not expire: {accepted:?}");
    Ok(())
}

pub(super) async fn each_phase_shows_its_blocks_and_options(cloud: &Cloud) -> Result<()> {
    let (ec2, id) = (cloud.ec2(HERE), cloud.pending().await?);
    ec2.create_tags().resources(&id).tags(tag("a", "1")).send().await?;
    // Requester first. Whether an end has a primary block, its list of blocks, and options.
    let shown = async || -> Result<[[bool; 3]; 2]> {
        let shown = cloud.describe(HERE, &id).await?;
        ensure!(shown.tags() == [tag("a", "1")], "tags: {shown:?}");
        let details = |end: Option<&VpcPeeringConnectionVpcInfo>| -> Result<[bool; 3]> {
            let end = end.context("no end")?;
            ensure!(end.owner_id().is_some() && end.vpc_id().is_some() && end.region().is_some(), "{end:?}");
            Ok([end.cidr_block().is_some(), !end.cidr_block_set().is_empty(), end.peering_options().is_some()])
        };
        Ok([details(shown.requester_vpc_info())?, details(shown.accepter_vpc_info())?])
    };
    ensure!(shown().await? == [[true; 3], [false; 3]], "while pending");
    let accepted = ec2.accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
    let accepted = accepted.vpc_peering_connection().context("no connection")?;
    ensure!(accepted.accepter_vpc_info().and_then(|end| end.cidr_block()).is_some(), "while provisioning");
    cloud.settle(HERE, &id, "active").await?;
    ensure!(shown().await? == [[true; 3]; 2], "while active");
    ec2.delete_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
    cloud.settle(HERE, &id, "deleted").await?;
    ensure!(shown().await? == [[false; 3]; 2], "once deleted");
    Ok(())
}

pub(super) async fn a_rejected_request_stays_visible(cloud: &Cloud) -> Result<()> {
    let id = cloud.pending().await?;
    let rejected = cloud.ec2(HERE).reject_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
    ensure!(rejected.r#return() == Some(true), "{rejected:?}");
    cloud.settle(HERE, &id, "rejected").await?;
    Ok(())
}

pub(super) async fn a_deleted_connection_stays_visible(cloud: &Cloud) -> Result<()> {
    let id = cloud.active().await?;
    let deleted = cloud.ec2(HERE).delete_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
    ensure!(deleted.r#return() == Some(true), "{deleted:?}");
    let shown = cloud.settle(HERE, &id, "deleted").await?;
    let message = format!("Deleted by {}", cloud.account().await?);
    ensure!(shown.status().and_then(|status| status.message()) == Some(&message), "{shown:?}");
    Ok(())
}

async fn rejected(cloud: &Cloud) -> Result<String> {
    let id = cloud.pending().await?;
    cloud.ec2(HERE).reject_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
    Ok(id)
}

pub(super) async fn a_rejected_request_cannot_be_accepted(cloud: &Cloud) -> Result<()> {
    let id = rejected(cloud).await?;
    let outcome = cloud.ec2(HERE).accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await;
    ensure!(refused_with(outcome, "InvalidStateTransition")?.status == 400);
    Ok(())
}

pub(super) async fn the_error_names_the_invalid_transition(cloud: &Cloud) -> Result<()> {
    let id = rejected(cloud).await?;
    let outcome = cloud.ec2(HERE).accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await;
    let message = refusal(outcome)?.message;
    let text = format!("Invalid state transition for {id}, attempted to transition from rejected to provisioning");
    ensure!(message == text, "{message}");
    Ok(())
}

pub(super) async fn a_rejected_request_cannot_be_deleted(cloud: &Cloud) -> Result<()> {
    let id = rejected(cloud).await?;
    let outcome = cloud.ec2(HERE).delete_vpc_peering_connection().vpc_peering_connection_id(&id).send().await;
    refused_with(outcome, "InvalidStateTransition")?;
    Ok(())
}

pub(super) async fn an_unknown_connection_is_not_found(cloud: &Cloud) -> Result<()> {
    let (ec2, code) = (cloud.ec2(HERE), "InvalidVpcPeeringConnectionID.NotFound");
    refused_with(ec2.accept_vpc_peering_connection().vpc_peering_connection_id(UNKNOWN).send().await, code)?;
    refused_with(ec2.reject_vpc_peering_connection().vpc_peering_connection_id(UNKNOWN).send().await, code)?;
    refused_with(ec2.delete_vpc_peering_connection().vpc_peering_connection_id(UNKNOWN).send().await, code)?;
    refused_with(ec2.describe_vpc_peering_connections().vpc_peering_connection_ids(UNKNOWN).send().await, code)?;
    Ok(())
}

pub(super) async fn overlapping_blocks_fail_later(cloud: &Cloud) -> Result<()> {
    let (vpc, peer) = (cloud.vpc(HERE, "10.0.0.0/16").await?, cloud.vpc(HERE, "10.0.1.0/24").await?);
    let made = cloud.request(&vpc, &peer).await?;
    ensure!(code_of(&made) == "initiating-request", "{made:?}");
    let shown = cloud.settle(HERE, &id_of(&made)?, "failed").await?;
    let message = shown.status().and_then(|status| status.message()).context("no message")?;
    ensure!(message.contains("overlapping CIDR range"), "{message}");
    Ok(())
}

pub(super) async fn a_request_to_an_unknown_vpc_fails_later(cloud: &Cloud) -> Result<()> {
    let (vpc, peer) = cloud.pair().await?;
    for (owner, peer) in [(cloud.account().await?, "vpc-0123456789abcdef0"), ("999999999999".to_owned(), &peer)] {
        let ask = cloud.ec2(HERE).create_vpc_peering_connection().vpc_id(&vpc).peer_vpc_id(peer).peer_owner_id(owner);
        let made = ask.send().await?.vpc_peering_connection.context("no connection")?;
        cloud.settle(HERE, &id_of(&made)?, "failed").await?;
    }
    Ok(())
}

pub(super) async fn a_repeated_request_returns_the_same_connection(cloud: &Cloud) -> Result<()> {
    let (vpc, peer) = cloud.pair().await?;
    let first = id_of(&cloud.request(&vpc, &peer).await?)?;
    let again = id_of(&cloud.request(&vpc, &peer).await?)?;
    ensure!(first == again, "{first} {again}");
    Ok(())
}

pub(super) async fn a_request_in_the_opposite_direction_cannot_be_accepted(cloud: &Cloud) -> Result<()> {
    let (vpc, peer) = cloud.pair().await?;
    let ec2 = cloud.ec2(HERE);
    let first = id_of(&cloud.request(&vpc, &peer).await?)?;
    cloud.settle(HERE, &first, "pending-acceptance").await?;
    ec2.accept_vpc_peering_connection().vpc_peering_connection_id(&first).send().await?;
    let swapped = id_of(&cloud.request(&peer, &vpc).await?)?;
    ensure!(first != swapped, "{first}");
    cloud.settle(HERE, &swapped, "pending-acceptance").await?;
    let outcome = ec2.accept_vpc_peering_connection().vpc_peering_connection_id(&swapped).send().await;
    refused_with(outcome, "VpcPeeringConnectionAlreadyExists")?;
    Ok(())
}

/// A request to a VPC of another account, in this region.
async fn across_accounts(cloud: &Cloud) -> Result<(Cloud, String)> {
    let another = cloud.another().await?;
    let (vpc, peer) = (cloud.vpc(HERE, "10.0.0.0/16").await?, another.vpc(HERE, "10.1.0.0/16").await?);
    let ask = cloud.ec2(HERE).create_vpc_peering_connection().vpc_id(vpc).peer_vpc_id(peer);
    let made =
        ask.peer_owner_id(another.account().await?).send().await?.vpc_peering_connection.context("no connection")?;
    let id = id_of(&made)?;
    cloud.settle(HERE, &id, "pending-acceptance").await?;
    Ok((another, id))
}

pub(super) async fn another_account_can_accept(cloud: &Cloud) -> Result<()> {
    let (another, id) = across_accounts(cloud).await?;
    let shown = another.describe(HERE, &id).await?;
    let owner = shown.accepter_vpc_info().and_then(|end| end.owner_id());
    ensure!(owner == Some(&another.account().await?), "{shown:?}");
    another.ec2(HERE).accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
    cloud.settle(HERE, &id, "active").await?;
    another.settle(HERE, &id, "active").await?;
    Ok(())
}

pub(super) async fn the_requester_cannot_accept_for_another_account(cloud: &Cloud) -> Result<()> {
    let (_, id) = across_accounts(cloud).await?;
    let ec2 = cloud.ec2(HERE);
    let outcome = ec2.accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await;
    let refused = refused_with(outcome, "OperationNotPermitted")?;
    ensure!(refused.message.ends_with(&format!("cannot accept peering {id}")), "{refused:?}");
    let outcome = ec2.reject_vpc_peering_connection().vpc_peering_connection_id(&id).send().await;
    refused_with(outcome, "OperationNotPermitted")?;
    Ok(())
}

/// A request to a VPC in another region, within the account.
async fn across_regions(cloud: &Cloud) -> Result<String> {
    let (vpc, peer) = (cloud.vpc(HERE, "10.0.0.0/16").await?, cloud.vpc(ELSEWHERE, "10.1.0.0/16").await?);
    let ask = cloud
        .ec2(HERE)
        .create_vpc_peering_connection()
        .vpc_id(vpc)
        .peer_vpc_id(peer)
        .peer_region(cloud.region(ELSEWHERE));
    let id = id_of(&ask.send().await?.vpc_peering_connection.context("no connection")?)?;
    cloud.settle(HERE, &id, "pending-acceptance").await?;
    Ok(id)
}

pub(super) async fn another_region_can_accept(cloud: &Cloud) -> Result<()> {
    let id = across_regions(cloud).await?;
    cloud.ec2(ELSEWHERE).accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
    cloud.settle(HERE, &id, "active").await?;
    let shown = cloud.settle(ELSEWHERE, &id, "active").await?;
    ensure!(shown.accepter_vpc_info().and_then(|end| end.region()) == Some(cloud.region(ELSEWHERE)), "{shown:?}");
    Ok(())
}

pub(super) async fn the_wrong_region_cannot_accept(cloud: &Cloud) -> Result<()> {
    let id = across_regions(cloud).await?;
    let outcome = cloud.ec2(HERE).accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await;
    let refused = refused_with(outcome, "OperationNotPermitted")?;
    let text = format!(
        "Incorrect region ({}) specified for this request. VPC peering connection {id} must be accepted in region {}",
        cloud.region(HERE),
        cloud.region(ELSEWHERE)
    );
    ensure!(refused.message == text, "{refused:?}");
    Ok(())
}

fn dns(allowed: bool) -> PeeringConnectionOptionsRequest {
    PeeringConnectionOptionsRequest::builder().allow_dns_resolution_from_remote_vpc(allowed).build()
}

pub(super) async fn options_are_set_on_an_active_connection(cloud: &Cloud) -> Result<()> {
    let (ec2, id) = (cloud.ec2(HERE), cloud.active().await?);
    let shown = cloud.describe(HERE, &id).await?;
    for end in [shown.requester_vpc_info(), shown.accepter_vpc_info()].into_iter().flatten() {
        let yes = AttributeBooleanValue::builder().value(true).build();
        let vpc = end.vpc_id().context("no VPC")?;
        ec2.modify_vpc_attribute().vpc_id(vpc).enable_dns_hostnames(yes).send().await?;
    }
    let modify = ec2.modify_vpc_peering_connection_options().vpc_peering_connection_id(&id);
    let modified = modify.requester_peering_connection_options(dns(true)).send().await?;
    let answered = modified.requester_peering_connection_options();
    ensure!(answered.and_then(|options| options.allow_dns_resolution_from_remote_vpc()) == Some(true), "{modified:?}");
    let shown = cloud.describe(HERE, &id).await?;
    for (end, allowed) in [(shown.requester_vpc_info(), true), (shown.accepter_vpc_info(), false)] {
        let options = end.and_then(|end| end.peering_options()).context("no options")?;
        ensure!(options.allow_dns_resolution_from_remote_vpc() == Some(allowed), "{shown:?}");
    }
    Ok(())
}

pub(super) async fn options_need_an_active_connection(cloud: &Cloud) -> Result<()> {
    let id = cloud.pending().await?;
    let modify = cloud.ec2(HERE).modify_vpc_peering_connection_options().vpc_peering_connection_id(&id);
    let outcome = modify.requester_peering_connection_options(dns(true)).send().await;
    let refused = refused_with(outcome, "OperationNotPermitted")?;
    let text = format!("Peering {id} is not active. Peering options can be added only to active peerings.");
    ensure!(refused.message == text, "{refused:?}");
    Ok(())
}

pub(super) async fn options_need_dns_host_names(cloud: &Cloud) -> Result<()> {
    let id = cloud.active().await?;
    let modify = cloud.ec2(HERE).modify_vpc_peering_connection_options().vpc_peering_connection_id(&id);
    let outcome = modify.accepter_peering_connection_options(dns(true)).send().await;
    refused_with(outcome, "InvalidVpcPeeringConnectionState.DnsHostnamesDisabled")?;
    Ok(())
}

pub(super) async fn options_of_another_account_cannot_be_set(cloud: &Cloud) -> Result<()> {
    let (another, id) = across_accounts(cloud).await?;
    another.ec2(HERE).accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
    cloud.settle(HERE, &id, "active").await?;
    let modify = cloud.ec2(HERE).modify_vpc_peering_connection_options().vpc_peering_connection_id(&id);
    let outcome = modify.accepter_peering_connection_options(dns(false)).send().await;
    refused_with(outcome, "OperationNotPermitted")?;
    Ok(())
}

pub(super) async fn options_are_set_in_the_region_of_their_end(cloud: &Cloud) -> Result<()> {
    let id = across_regions(cloud).await?;
    cloud.ec2(ELSEWHERE).accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
    cloud.settle(HERE, &id, "active").await?;
    let modify =
        |region: &'static str| cloud.ec2(region).modify_vpc_peering_connection_options().vpc_peering_connection_id(&id);
    let outcome = modify(HERE).accepter_peering_connection_options(dns(false)).send().await;
    refused_with(outcome, "OperationNotPermitted")?;
    let outcome = modify(ELSEWHERE).requester_peering_connection_options(dns(false)).send().await;
    refused_with(outcome, "OperationNotPermitted")?;
    modify(HERE).requester_peering_connection_options(dns(false)).send().await?;
    modify(ELSEWHERE).accepter_peering_connection_options(dns(false)).send().await?;
    Ok(())
}

pub(super) async fn an_associated_block_is_shown(cloud: &Cloud) -> Result<()> {
    let id = cloud.active().await?;
    let shown = cloud.describe(HERE, &id).await?;
    let vpc = shown.accepter_vpc_info().and_then(|end| end.vpc_id()).context("no VPC")?;
    let blocks = async || -> Result<Vec<String>> {
        let shown = cloud.describe(HERE, &id).await?;
        let blocks = shown.accepter_vpc_info().map(|end| end.cidr_block_set()).unwrap_or_default();
        Ok(blocks.iter().filter_map(|block| block.cidr_block().map(str::to_owned)).collect())
    };
    let add = cloud.ec2(HERE).associate_vpc_cidr_block().vpc_id(vpc).cidr_block("10.9.0.0/16");
    let added = add.send().await?;
    ensure!(blocks().await? == ["10.1.0.0/16", "10.9.0.0/16"], "the new block is not shown");
    let association = added.cidr_block_association().and_then(|block| block.association_id()).context("no ID")?;
    cloud.ec2(HERE).disassociate_vpc_cidr_block().association_id(association).send().await?;
    ensure!(blocks().await? == ["10.1.0.0/16"], "the block that is gone is shown");
    Ok(())
}

pub(super) async fn a_dry_run_changes_nothing(cloud: &Cloud) -> Result<()> {
    let (ec2, (vpc, peer)) = (cloud.ec2(HERE), cloud.pair().await?);
    let ask = ec2.create_vpc_peering_connection().vpc_id(&vpc).peer_vpc_id(&peer);
    let refused = refused_with(ask.dry_run(true).send().await, "DryRunOperation")?;
    ensure!(refused.status == 412, "{refused:?}");
    let all = ec2.describe_vpc_peering_connections().send().await?;
    ensure!(all.vpc_peering_connections().is_empty(), "{all:?}");
    let unknown = ec2.create_vpc_peering_connection().vpc_id("vpc-0123456789abcdef0").peer_vpc_id(&peer);
    refused_with(unknown.dry_run(true).send().await, "InvalidVpcID.NotFound")?;
    let id = cloud.active().await?;
    let delete = ec2.delete_vpc_peering_connection().vpc_peering_connection_id(&id);
    refused_with(delete.dry_run(true).send().await, "DryRunOperation")?;
    ensure!(code_of(&cloud.describe(HERE, &id).await?) == "active");
    refused_with(ec2.describe_vpc_peering_connections().dry_run(true).send().await, "DryRunOperation")?;
    Ok(())
}

pub(super) async fn the_error_names_the_missing_parameter(cloud: &Cloud) -> Result<()> {
    let vpc = cloud.vpc(HERE, "10.0.0.0/16").await?;
    let outcome = cloud.ec2(HERE).create_vpc_peering_connection().vpc_id(vpc).send().await;
    let refused = refused_with(outcome, "MissingParameter")?;
    ensure!(refused.message.ends_with("peerVpcId"), "{refused:?}");
    Ok(())
}

//! Facts that EC2 may show late or not at all: CIDR blocks of requests, tags in answers, lags, and shared VPCs.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_ec2::types::{AttributeBooleanValue, PeeringConnectionOptionsRequest, VpcPeeringConnection};
use ec2_simulator::{Client, Server, Settings};
use serde_json::json;

use crate::cloud::{
    ANOTHER_ACCOUNT, Cloud, HERE, at_once, code_of, frozen, id_of, refused_with, simulator, tag, tags_of,
};

async fn start(settings: Settings) -> (Server, Cloud, Client) {
    let server = simulator(settings, frozen()).await;
    let (cloud, client) = (Cloud::at(server.url()), Client::new(&server.url()));
    (server, cloud, client)
}

fn requester_blocks(shown: &VpcPeeringConnection) -> (usize, usize) {
    let end = shown.requester_vpc_info().unwrap();
    assert!(shown.accepter_vpc_info().unwrap().cidr_block().is_none());
    (end.cidr_block_set().len(), end.ipv6_cidr_block_set().len())
}

#[tokio::test]
async fn a_pending_request_shows_all_blocks_of_the_requester_or_the_primary_one() {
    let (_server, cloud, client) = start(at_once()).await;
    let (vpc, peer) = cloud.pair().await.unwrap();
    let ec2 = cloud.ec2(HERE);
    ec2.associate_vpc_cidr_block().vpc_id(&vpc).cidr_block("10.9.0.0/16").send().await.unwrap();
    ec2.associate_vpc_cidr_block().vpc_id(&vpc).amazon_provided_ipv6_cidr_block(true).send().await.unwrap();
    let id = id_of(&cloud.request(&vpc, &peer).await.unwrap()).unwrap();
    assert_eq!(requester_blocks(&cloud.describe(HERE, &id).await.unwrap()), (2, 1));
    client.set(&json!({ "blocks_of_requests": "primary" })).await.unwrap();
    assert_eq!(requester_blocks(&cloud.describe(HERE, &id).await.unwrap()), (1, 0));
}

#[tokio::test]
async fn the_answer_to_a_request_may_have_no_tags() {
    let (_server, cloud, client) = start(at_once()).await;
    let (vpc, peer) = cloud.pair().await.unwrap();
    client.set(&json!({ "create_answer_without_tags": true })).await.unwrap();
    let ask = cloud.ec2(HERE).create_vpc_peering_connection().vpc_id(vpc).peer_vpc_id(peer);
    let ask = ask.tag_specifications(tags_of("vpc-peering-connection", [tag("a", "1")]));
    let made = ask.send().await.unwrap().vpc_peering_connection.unwrap();
    assert!(made.tags().is_empty(), "{made:?}");
    let shown = cloud.describe(HERE, &id_of(&made).unwrap()).await.unwrap();
    assert_eq!(shown.tags(), [tag("a", "1")]);
}

#[tokio::test]
async fn tags_and_options_are_shown_after_their_lag() {
    let (_server, cloud, client) = start(at_once()).await;
    let (ec2, id) = (cloud.ec2(HERE), cloud.active().await.unwrap());
    let shown = cloud.describe(HERE, &id).await.unwrap();
    for end in [shown.requester_vpc_info(), shown.accepter_vpc_info()] {
        let on = AttributeBooleanValue::builder().value(true).build();
        let vpc = end.and_then(|end| end.vpc_id()).unwrap();
        ec2.modify_vpc_attribute().vpc_id(vpc).enable_dns_hostnames(on).send().await.unwrap();
    }
    client.set(&json!({ "lags": { "tags": 5, "options": 5 } })).await.unwrap();
    let state = async || {
        let shown = cloud.describe(HERE, &id).await.unwrap();
        let options = shown.requester_vpc_info().and_then(|end| end.peering_options());
        (shown.tags().len(), options.and_then(|options| options.allow_dns_resolution_from_remote_vpc()).unwrap())
    };
    let on = PeeringConnectionOptionsRequest::builder().allow_dns_resolution_from_remote_vpc(true).build();
    let modify = ec2.modify_vpc_peering_connection_options().vpc_peering_connection_id(&id);
    modify.requester_peering_connection_options(on).send().await.unwrap();
    ec2.create_tags().resources(&id).tags(tag("a", "1")).send().await.unwrap();
    assert_eq!(state().await, (0, false));
    assert!(ec2.describe_tags().send().await.unwrap().tags().is_empty());
    client.advance(Duration::from_secs(5)).await.unwrap();
    assert_eq!(state().await, (1, true));
    ec2.delete_tags().resources(&id).tags(tag("a", "1")).send().await.unwrap();
    assert_eq!(state().await, (1, true));
    client.advance(Duration::from_secs(5)).await.unwrap();
    assert_eq!(state().await, (0, true));
}

#[tokio::test]
async fn a_call_that_follows_a_new_phase_may_be_too_early() {
    let (_server, cloud, client) = start(at_once()).await;
    client.set(&json!({ "lags": { "acceptance": 5, "activation": 5 } })).await.unwrap();
    let (ec2, id) = (cloud.ec2(HERE), cloud.pending().await.unwrap());
    let accept = || ec2.accept_vpc_peering_connection().vpc_peering_connection_id(&id).send();
    refused_with(accept().await, "InvalidVpcPeeringConnectionID.NotFound").unwrap();
    client.advance(Duration::from_secs(5)).await.unwrap();
    accept().await.unwrap();
    assert_eq!(code_of(&cloud.describe(HERE, &id).await.unwrap()), "active");
    let off = PeeringConnectionOptionsRequest::builder().allow_dns_resolution_from_remote_vpc(false).build();
    let modify = ec2.modify_vpc_peering_connection_options().vpc_peering_connection_id(&id);
    let modify = modify.requester_peering_connection_options(off);
    let refused = refused_with(modify.clone().send().await, "OperationNotPermitted").unwrap();
    assert!(refused.message.starts_with(&format!("Peering {id} is not active.")), "{refused:?}");
    client.advance(Duration::from_secs(5)).await.unwrap();
    modify.send().await.unwrap();
}

#[tokio::test]
async fn a_participant_sees_a_shared_vpc_and_cannot_peer_it() {
    let (_server, cloud, client) = start(at_once()).await;
    let (shared, peer) = cloud.pair().await.unwrap();
    let mut scene = client.save().await.unwrap();
    let vpc = scene.vpcs.iter_mut().find(|vpc| vpc.id == shared).unwrap();
    vpc.shared_with = vec![ANOTHER_ACCOUNT.into()];
    client.load(&scene).await.unwrap();
    let key = client.create_key(ANOTHER_ACCOUNT).await.unwrap();
    let participant = cloud.ec2_as(HERE, Credentials::from_keys(key.access_key_id, key.secret_access_key, None));
    let shown = participant.describe_vpcs().send().await.unwrap();
    let [vpc] = shown.vpcs() else { panic!("{shown:?}") };
    assert_eq!((vpc.vpc_id(), vpc.owner_id()), (Some(shared.as_str()), Some("111111111111")));
    let ask = participant.create_vpc_peering_connection().vpc_id(&shared).peer_vpc_id(peer);
    refused_with(ask.peer_owner_id("111111111111").send().await, "InvalidVpcID.NotFound").unwrap();
}

#[tokio::test]
async fn a_dry_run_does_not_check_quotas() {
    let mut settings = at_once();
    settings.quotas.outstanding = 0;
    let (_server, cloud, _client) = start(settings).await;
    let (vpc, peer) = cloud.pair().await.unwrap();
    let ask = cloud.ec2(HERE).create_vpc_peering_connection().vpc_id(vpc).peer_vpc_id(peer);
    refused_with(ask.clone().dry_run(true).send().await, "DryRunOperation").unwrap();
    refused_with(ask.send().await, "OutstandingVpcPeeringConnectionLimitExceeded").unwrap();
}

//! Each kind of fault, as an SDK sees it.

use std::time::{Duration, Instant};

use aws_sdk_ec2::error::SdkError;
use ec2_simulator::clock::Clock;
use ec2_simulator::journal::Query;
use ec2_simulator::{Client, Fault, Kind, Matching, Server};
use jiff::Timestamp;
use serde_json::json;

use crate::cloud::{Cloud, ELSEWHERE, HERE, at_once, code_of, frozen, refused_with, simulator};

async fn start() -> (Server, Cloud, Client) {
    let server = simulator(at_once(), frozen()).await;
    let (cloud, client) = (Cloud::at(server.url()), Client::new(&server.url()));
    (server, cloud, client)
}

fn error(code: &str) -> Kind {
    Kind::Error { code: code.to_owned(), message: None, status: None }
}

/// The number of VPCs.
async fn vpcs(cloud: &Cloud) -> usize {
    cloud.ec2(HERE).describe_vpcs().send().await.unwrap().vpcs().len()
}

/// Whether a call ended without a complete response.
fn has_no_response<T, E>(outcome: &Result<T, SdkError<E>>) -> bool {
    matches!(outcome, Err(SdkError::DispatchFailure(_) | SdkError::ResponseError(_)))
}

/// Waits until the first fault has affected a call.
async fn until_hit(client: &Client) {
    let hit = async { while client.faults().await.unwrap()[0].hits == 0 {} };
    tokio::time::timeout(Duration::from_secs(10), hit).await.expect("the fault affected no call");
}

#[tokio::test]
async fn an_error_affects_its_count_of_calls_and_has_no_effect() {
    let (_server, cloud, client) = start().await;
    client.add_fault(&Fault::new(error("InternalError")).on("CreateVpc").times(2)).await.unwrap();
    let create = || cloud.ec2(HERE).create_vpc().cidr_block("10.0.0.0/16").send();
    for _ in 0..2 {
        assert_eq!(refused_with(create().await, "InternalError").unwrap().status, 500);
    }
    assert_eq!(vpcs(&cloud).await, 0);
    create().await.unwrap();
    let faults = client.faults().await.unwrap();
    assert_eq!(faults.iter().map(|fault| fault.hits).collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn a_denied_call_is_denied_in_a_dry_run_too() {
    let (_server, cloud, client) = start().await;
    let id = cloud.active().await.unwrap();
    let fault = client.add_fault(&Fault::new(error("UnauthorizedOperation")).on("Delete*")).await.unwrap();
    let ec2 = cloud.ec2(HERE);
    let delete = || ec2.delete_vpc_peering_connection().vpc_peering_connection_id(&id);
    for dry_run in [true, false] {
        let refused = refused_with(delete().dry_run(dry_run).send().await, "UnauthorizedOperation").unwrap();
        assert_eq!(refused.status, 403);
        assert!(refused.message.starts_with("You are not authorized"), "{refused:?}");
    }
    client.remove_fault(fault).await.unwrap();
    assert!(client.remove_fault(fault).await.is_err(), "the fault does not exist any more");
    refused_with(delete().dry_run(true).send().await, "DryRunOperation").unwrap();
}

#[tokio::test]
async fn an_error_can_have_any_message_and_be_limited_to_an_account_and_region() {
    let (_server, cloud, client) = start().await;
    let another = cloud.another().await.unwrap();
    let kind = Kind::Error { code: "X".into(), message: Some("a <b>".into()), status: Some(418) };
    let matching =
        Matching { account: Some(another.account().await.unwrap()), region: Some(HERE.into()), ..Matching::default() };
    client.add_fault(&Fault { matching, ..Fault::new(kind) }).await.unwrap();
    let refused = refused_with(another.ec2(HERE).describe_vpcs().send().await, "X").unwrap();
    assert_eq!((refused.message.as_str(), refused.status), ("a <b>", 418));
    another.ec2(ELSEWHERE).describe_vpcs().send().await.unwrap();
    cloud.ec2(HERE).describe_vpcs().send().await.unwrap();
}

#[tokio::test]
async fn throttling_has_the_error_code_of_the_service() {
    let (_server, cloud, client) = start().await;
    client.add_fault(&Fault::new(Kind::Throttle)).await.unwrap();
    let refused = refused_with(cloud.ec2(HERE).describe_vpcs().send().await, "RequestLimitExceeded").unwrap();
    assert_eq!(refused.status, 503);
    refused_with(cloud.sts().get_caller_identity().send().await, "Throttling").unwrap();
}

#[tokio::test]
async fn token_buckets_throttle_each_action_separately() {
    let (_server, cloud, client) = start().await;
    let bucket = json!({ "capacity": 3, "refill": 1 });
    client.set(&json!({ "throttling": { "non_mutating": bucket, "mutating": bucket } })).await.unwrap();
    let ec2 = cloud.ec2(HERE);
    for _ in 0..3 {
        ec2.describe_vpcs().send().await.unwrap();
    }
    refused_with(ec2.describe_vpcs().send().await, "RequestLimitExceeded").unwrap();
    ec2.describe_tags().send().await.unwrap();
    cloud.ec2(ELSEWHERE).describe_vpcs().send().await.unwrap();
    client.advance(Duration::from_secs(1)).await.unwrap();
    ec2.describe_vpcs().send().await.unwrap();
    refused_with(ec2.describe_vpcs().send().await, "RequestLimitExceeded").unwrap();
}

#[tokio::test]
async fn latency_delays_the_call() {
    let (_server, cloud, client) = start().await;
    client.add_fault(&Fault::new(Kind::Latency { seconds: 0.3 }).on("DescribeVpcs").times(1)).await.unwrap();
    let before = Instant::now();
    assert_eq!(vpcs(&cloud).await, 0);
    assert!(before.elapsed() >= Duration::from_millis(300), "{:?}", before.elapsed());
}

#[tokio::test]
async fn a_hanging_call_has_no_response_and_no_effect() {
    let (_server, cloud, client) = start().await;
    let fault = client.add_fault(&Fault::new(Kind::Hang).on("CreateVpc")).await.unwrap();
    let ec2 = cloud.ec2(HERE);
    let create = tokio::spawn(async move { ec2.create_vpc().cidr_block("10.0.0.0/16").send().await });
    until_hit(&client).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!create.is_finished());
    client.remove_fault(fault).await.unwrap();
    let outcome = create.await.unwrap();
    assert!(has_no_response(&outcome), "{outcome:?}");
    assert_eq!(vpcs(&cloud).await, 0);
}

#[tokio::test]
async fn a_call_at_a_gate_continues_when_the_gate_is_removed() {
    let (_server, cloud, client) = start().await;
    let gate = client.add_fault(&Fault::new(Kind::Gate).on("CreateVpc").times(1)).await.unwrap();
    let ec2 = cloud.ec2(HERE);
    let create = tokio::spawn(async move { ec2.create_vpc().cidr_block("10.0.0.0/16").send().await });
    until_hit(&client).await;
    assert_eq!(vpcs(&cloud).await, 0);
    assert!(!create.is_finished());
    client.remove_fault(gate).await.unwrap();
    create.await.unwrap().unwrap();
    assert_eq!(vpcs(&cloud).await, 1);
}

#[tokio::test]
async fn a_call_with_a_lost_reply_takes_effect() {
    let (_server, cloud, client) = start().await;
    client.add_fault(&Fault::new(Kind::LostReply).on("CreateVpc").times(1)).await.unwrap();
    let outcome = cloud.ec2(HERE).create_vpc().cidr_block("10.0.0.0/16").send().await;
    assert!(has_no_response(&outcome), "{outcome:?}");
    assert_eq!(vpcs(&cloud).await, 1);
    let query = Query { action: Some("CreateVpc".into()), ..Query::default() };
    let journal = client.journal(&query).await.unwrap();
    assert_eq!(journal.entries[0].faults, ["lost-reply"]);
    assert_eq!(journal.entries[0].status, 200);
}

#[tokio::test]
async fn a_crash_cuts_off_the_response() {
    let (_server, cloud, client) = start().await;
    client.add_fault(&Fault::new(Kind::CrashMidAnswer).on("CreateVpc").times(1)).await.unwrap();
    let outcome = cloud.ec2(HERE).create_vpc().cidr_block("10.0.0.0/16").send().await;
    assert!(
        matches!(outcome, Err(SdkError::ResponseError(_))),
        "the headers arrived, and only half of the body: {outcome:?}"
    );
    assert_eq!(vpcs(&cloud).await, 1);
}

#[tokio::test]
async fn a_stale_describe_shows_the_past_for_a_while() {
    let (_server, cloud, client) = start().await;
    let (vpc, peer) = cloud.pair().await.unwrap();
    client.add_fault(&Fault::new(Kind::StaleDescribe { seconds: 5.0 })).await.unwrap();
    let made = cloud.request(&vpc, &peer).await.unwrap();
    let id = made.vpc_peering_connection_id().unwrap();
    let describe = || cloud.ec2(HERE).describe_vpc_peering_connections().vpc_peering_connection_ids(id).send();
    let not_found = "InvalidVpcPeeringConnectionID.NotFound";
    refused_with(describe().await, not_found).unwrap();
    cloud.ec2(HERE).accept_vpc_peering_connection().vpc_peering_connection_id(id).send().await.unwrap();
    client.advance(Duration::from_secs_f64(4.9)).await.unwrap();
    refused_with(describe().await, not_found).unwrap();
    client.advance(Duration::from_secs_f64(0.1)).await.unwrap();
    assert_eq!(code_of(&cloud.describe(HERE, id).await.unwrap()), "active");
}

#[tokio::test]
async fn probabilities_are_deterministic() {
    let run = async || {
        let server = simulator(at_once(), Clock::new(Timestamp::UNIX_EPOCH, 0.0)).await;
        let (cloud, client) = (Cloud::at(server.url()), Client::new(&server.url()));
        client.add_fault(&Fault { probability: 0.5, ..Fault::new(Kind::Throttle) }).await.unwrap();
        let ec2 = cloud.ec2(HERE);
        let mut refused = Vec::new();
        for _ in 0..40 {
            refused.push(ec2.describe_vpcs().send().await.is_err());
        }
        refused
    };
    let (one, two) = (run().await, run().await);
    assert_eq!(one, two);
    let share = one.iter().filter(|refused| **refused).count();
    assert!((8..=32).contains(&share), "{share} of 40");
}

#[tokio::test]
async fn a_fault_with_a_value_out_of_range_is_rejected() {
    let (_server, _cloud, client) = start().await;
    for fault in [
        Fault { probability: 1.5, ..Fault::new(Kind::Hang) },
        Fault::new(Kind::Latency { seconds: -1.0 }),
        Fault::new(Kind::StaleDescribe { seconds: f64::MAX }),
        Fault::new(Kind::Error { code: "X".into(), message: None, status: Some(200) }),
    ] {
        assert!(client.add_fault(&fault).await.is_err(), "{fault:?}");
    }
    assert!(client.faults().await.unwrap().is_empty());
}

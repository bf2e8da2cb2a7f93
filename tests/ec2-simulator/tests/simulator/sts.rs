//! AssumeRole: session tags and their packed size, opt-in regions and partitions.

use std::collections::BTreeMap;

use aws_sdk_sts::operation::assume_role::AssumeRoleOutput;
use aws_sdk_sts::types::Tag;
use ec2_simulator::{Client, Server, Settings};
use serde_json::json;

use crate::cloud::{ANOTHER_ACCOUNT, Cloud, HERE, at_once, frozen, refused_with, simulator};
use crate::control::in_session;

const ROLE: &str = "arn:aws:iam::222222222222:role/vpc-peering/operator";
const OPT_IN: &str = "eu-south-1";

async fn start() -> (Server, Cloud, Client) {
    let server = simulator(Settings { any_role: true, ..at_once() }, frozen()).await;
    let (cloud, client) = (Cloud::at(server.url()), Client::new(&server.url()));
    (server, cloud, client)
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build().unwrap()
}

#[tokio::test]
async fn session_tags_have_the_limits_of_the_api_reference() {
    let (_server, cloud, _) = start().await;
    let ask = |tags: &[(&str, &str)]| {
        let tags = tags.iter().map(|(key, value)| tag(key, value)).collect();
        cloud.sts().assume_role().role_arn(ROLE).role_session_name("team.peering").set_tags(Some(tags)).send()
    };
    let (longest_key, longest_value) = ("k".repeat(128), "v".repeat(256));
    for valid in [("größe 5", "集群①"), ("a:b/c=d+e-f@g.h_i", ""), (&longest_key, &longest_value)] {
        ask(&[valid]).await.unwrap();
    }
    for (key, value) in
        [("team", "R&D"), ("R&D", ""), ("", "a"), (&format!("{longest_key}k"), ""), ("k", &format!("{longest_value}v"))]
    {
        let refused = refused_with(ask(&[(key, value)]).await, "ValidationError").unwrap();
        assert!(refused.message.contains("failed to satisfy constraint"), "{refused:?}");
    }
    for keys in [["aws:team", "b"], ["AWS:team", "b"], ["team", "Team"]] {
        refused_with(ask(&keys.map(|key| (key, ""))).await, "InvalidParameterValue").unwrap();
    }
    let keys: Vec<_> = (0..51).map(|number| number.to_string()).collect();
    let tags: Vec<_> = keys.iter().map(|key| (key.as_str(), "")).collect();
    ask(&tags[..50]).await.unwrap();
    refused_with(ask(&tags).await, "ValidationError").unwrap();
}

/// The packed size in percent. The SDK deprecates it in favour of the size of the token, which the simulator lacks.
#[allow(deprecated)]
fn packed(answer: &AssumeRoleOutput) -> Option<i32> {
    answer.packed_policy_size
}

/// The six tags of EKS Pod Identity are transitive.
/// <https://docs.aws.amazon.com/eks/latest/userguide/pod-id-abac.html>
#[tokio::test]
async fn inherited_tags_count_towards_the_packed_size() {
    let (_server, cloud, _) = start().await;
    let of_pod_identity = [
        ("eks-cluster-arn", "arn:aws:eks:eu-central-1:111111111111:cluster/production-1"),
        ("eks-cluster-name", "production-1"),
        ("kubernetes-namespace", "vpc-peering-system"),
        ("kubernetes-service-account", "vpc-peering-operator"),
        ("kubernetes-pod-name", "vpc-peering-operator-7d4b9c6f5d-x2x7k"),
        ("kubernetes-pod-uid", "11111111-2222-3333-4444-555555555555"),
    ];
    let own = cloud.sts().assume_role().role_arn("arn:aws:iam::111111111111:role/operator").role_session_name("pod");
    let own = of_pod_identity.iter().fold(own, |ask, (key, value)| ask.tags(tag(key, value)).transitive_tag_keys(*key));
    let own = own.send().await.unwrap();
    assert_eq!(packed(&own), Some(74));
    let operator = in_session(&cloud, own);
    let ask = |by: &Cloud, length| {
        let ask = by.sts().assume_role().role_arn(ROLE).role_session_name("team.peering");
        ask.tags(tag("k", &"v".repeat(length))).send()
    };
    assert_eq!(packed(&ask(&operator, 100).await.unwrap()), Some(99));
    let refused = refused_with(ask(&operator, 150).await, "PackedPolicyTooLarge").unwrap();
    assert_eq!(
        (refused.status, refused.message.as_str()),
        (400, "Packed size of session tags consumes 112% of allotted space.")
    );
    assert_eq!(packed(&ask(&cloud, 150).await.unwrap()), Some(38), "without inherited tags");
    let untagged = cloud.sts().assume_role().role_arn(ROLE).role_session_name("team.peering").send().await.unwrap();
    assert_eq!(packed(&untagged), None);
}

/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_enable-regions.html>
#[tokio::test]
async fn an_opt_in_region_must_be_enabled_in_both_accounts() {
    let (_server, cloud, client) = start().await;
    let ask = || cloud.sts_in(OPT_IN).assume_role().role_arn(ROLE).role_session_name("team.peering").send();
    let enable = |accounts: &[&str]| {
        let enabled: BTreeMap<_, _> = accounts.iter().map(|account| (*account, [OPT_IN])).collect();
        json!({ "enabled_regions": enabled })
    };
    client.set(&enable(&[ANOTHER_ACCOUNT])).await.unwrap();
    // The region does not know the keys of an account that has not enabled it.
    assert_eq!(refused_with(ask().await, "InvalidClientTokenId").unwrap().status, 403);
    refused_with(cloud.sts_in(OPT_IN).get_caller_identity().send().await, "InvalidClientTokenId").unwrap();
    refused_with(cloud.ec2(OPT_IN).describe_vpcs().send().await, "AuthFailure").unwrap();
    // Tokens of a regional endpoint are valid in all regions that are enabled in the account of the role.
    let theirs = cloud.another().await.unwrap();
    theirs.ec2(OPT_IN).describe_vpcs().send().await.unwrap();

    client.set(&enable(&["111111111111"])).await.unwrap();
    client.set(&json!({"enabled_regions": {ANOTHER_ACCOUNT: []}})).await.unwrap();
    let refused = refused_with(ask().await, "RegionDisabledException").unwrap();
    assert!(refused.status == 403 && refused.message.contains(ANOTHER_ACCOUNT), "{refused:?}");
    cloud.ec2(OPT_IN).describe_vpcs().send().await.unwrap();

    client.set(&enable(&["111111111111", ANOTHER_ACCOUNT])).await.unwrap();
    ask().await.unwrap();
}

#[tokio::test]
async fn a_role_is_assumed_only_in_its_partition() {
    let (_server, cloud, _) = start().await;
    for (region, partition) in
        [(HERE, "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("eusc-de-east-1", "aws-eusc")]
    {
        let ask = |partition: &str| {
            let role = format!("arn:{partition}:iam::222222222222:role/peer");
            cloud.sts_in(region).assume_role().role_arn(role).role_session_name("test").send()
        };
        let opened = ask(partition).await.unwrap();
        let arn = format!("arn:{partition}:sts::222222222222:assumed-role/peer/test");
        assert_eq!(opened.assumed_role_user().map(|user| user.arn()), Some(arn.as_str()));
        let other = if partition == "aws" { "aws-cn" } else { "aws" };
        refused_with(ask(other).await, "AccessDenied").unwrap();
    }
}

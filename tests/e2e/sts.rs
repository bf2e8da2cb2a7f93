//! How the operator assumes roles: session tags, the region of STS, and refusals.

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sts::types::Tag;
use ec2_simulator::world::identity::Role;
use environment::ec2;
use serde_json::{Value, json};
use vpc_peering_operator::api::VpcPeering;

use super::both_ends::BothEnds;
use super::world::{OTHER_ACCOUNT, REGION, TEST_SESSION, World, condition};

/// A region that an account must enable.
const OPT_IN_REGION: &str = "eu-south-1";

/// The longest message of a condition about missing credentials.
const MAX_MESSAGE: usize = 300;

pub async fn session_tags_that_sts_refuses_are_rejected(world: World) -> Result<()> {
    let tag = |key: &str, value: &str| json!({"key": key, "value": value});
    let many: Vec<_> = (0..49).map(|number| tag(&number.to_string(), "")).collect();
    let characters = "letters, digits, spaces and _.:/=+-@ only";
    for (tags, expected) in [
        (json!([tag("R&D", "")]), characters),
        (json!([tag("team", "R&D")]), characters),
        (json!([tag("team\n", "")]), characters),
        (json!([tag("", "")]), "spec.sessionTags[0].key"),
        (json!([tag("aws:team", "")]), "AWS reserves tag keys"),
        (json!([tag("AWS:team", "")]), "AWS reserves tag keys"),
        (json!([tag("vpcpeering.dev/namespace", "other")]), "reserved for the operator"),
        (json!([tag("VpcPeering.dev/Namespace", "other")]), "reserved for the operator"),
        (json!([tag("team", "a"), tag("Team", "b")]), "must differ not only in case"),
        (json!([tag("team", "a"), tag("team", "b")]), "uplicate"),
        (json!([tag(&"k".repeat(129), "")]), "may not be more than 128"),
        (json!([tag("k", &"v".repeat(257))]), "may not be more than 256"),
        (json!([tag("a", &"v".repeat(99)), tag("b", &"v".repeat(100))]), "at most 200 characters together"),
        (json!(many), "must have at most 48 items"),
    ] {
        let refusal = world.apply_identity(OTHER_ACCOUNT, json!({"sessionTags": tags})).await.err();
        let refusal = format!("{:#}", refusal.with_context(|| format!("{tags} is accepted"))?);
        ensure!(refusal.contains(expected), "{tags} is refused with {refusal}");
    }
    for tags in [
        json!([tag("größe 5", "集群①"), tag("a:b/c=d+e-f@g.h_i", "")]),
        json!([tag("a", &"v".repeat(99)), tag("b", &"ä".repeat(99))]),
        json!([{"key": "team"}]),
        json!(many[..48]),
    ] {
        world.apply_identity(OTHER_ACCOUNT, json!({"sessionTags": tags})).await.with_context(|| tags.to_string())?;
    }
    let refusal = world.apply_identity(OTHER_ACCOUNT, json!({"stsRegion": "Frankfurt"})).await.err();
    ensure!(refusal.is_some_and(|refusal| refusal.to_string().contains("spec.stsRegion")), "the region is accepted");
    Ok(())
}

/// Credentials as EKS Pod Identity issues them: with six session tags that pass on to every role.
/// <https://docs.aws.amazon.com/eks/latest/userguide/pod-id-abac.html>
async fn credentials_of_pod_identity(world: &World) -> Result<Credentials> {
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::from_keys("test", "any", None))
        .endpoint_url(&world.endpoint)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .region(Region::new(REGION))
        .build();
    let role = create_bare_role(world, "111111111111").await?;
    let ask = aws_sdk_sts::Client::from_conf(config).assume_role().role_arn(role).role_session_name(TEST_SESSION);
    let tags = [
        ("eks-cluster-arn", "arn:aws:eks:eu-central-1:111111111111:cluster/production-1"),
        ("eks-cluster-name", "production-1"),
        ("kubernetes-namespace", "vpc-peering-system"),
        ("kubernetes-service-account", "vpc-peering-operator"),
        ("kubernetes-pod-name", "vpc-peering-operator-7d4b9c6f5d-x2x7k"),
        ("kubernetes-pod-uid", "11111111-2222-3333-4444-555555555555"),
    ];
    let ask = tags.iter().try_fold(ask, |ask, (key, value)| {
        anyhow::Ok(ask.tags(Tag::builder().key(*key).value(*value).build()?).transitive_tag_keys(*key))
    })?;
    let session = ask.send().await?.credentials.context("no credentials")?;
    Ok(Credentials::from_keys(session.access_key_id, session.secret_access_key, Some(session.session_token)))
}

/// A role without the policies of `deploy/iam`, which need the operator's session tags.
async fn create_bare_role(world: &World, account: &str) -> Result<String> {
    let arn = format!("arn:aws:iam::{account}:role/bare/{}", world.namespace);
    let role = Role { arn: arn.clone(), trusted: vec!["111111111111".into()], external_id: None };
    world.simulator().put_role(&role).await?;
    Ok(arn)
}

pub async fn session_tags_can_be_disabled_if_those_of_pod_identity_leave_no_room(world: World) -> Result<()> {
    let pod = credentials_of_pod_identity(&world).await?;
    let operator = world.operator.clone().with("AWS_ACCESS_KEY_ID", pod.access_key_id());
    let operator = operator.with("AWS_SECRET_ACCESS_KEY", pod.secret_access_key());
    let operator = operator.with("AWS_SESSION_TOKEN", pod.session_token().context("no token")?);
    let role = create_bare_role(&world, OTHER_ACCOUNT).await?;
    let ends = BothEnds::far_apart(&world).await?;
    let all = json!({"allowedNamespaces": {"all": true}, "roleArn": role, "externalId": null});
    world.apply_identity(OTHER_ACCOUNT, all).await?;

    let running = operator.start().await?;
    ends.apply().await?;
    let object = world.until_stalled("Unauthorized").await?;
    let message = &condition(&object, "Ready").context("no Ready")?.message;
    for part in ["AssumeRole", "PackedPolicyTooLarge", "spec.sessionTags", "disableSessionTags", "EKS Pod Identity"] {
        ensure!(message.contains(part), "{message}");
    }
    running.kill().await?;

    world.clear_journal().await?;
    let _operator = operator.with("DISABLE_SESSION_TAGS", "true").start().await?;
    world.until_ready().await?;
    let assumed = world.journal("AssumeRole").await?;
    let is_tagged = assumed.iter().flat_map(|call| call.parameters.keys()).any(|name| name.starts_with("Tags."));
    ensure!(!assumed.is_empty() && !is_tagged, "{assumed:?}");
    Ok(())
}

/// The region of the VPC must be enabled in the account of the role only.
pub async fn a_role_is_assumed_in_the_region_of_the_operator(world: World) -> Result<()> {
    world.simulator().set(&json!({"enabled_regions": {OTHER_ACCOUNT: [OPT_IN_REGION]}})).await?;
    let operator = world.operator.start().await?;
    let vpc = ec2::create_vpc(&world.client_in_account(OTHER_ACCOUNT, OPT_IN_REGION).await?, "10.3.0.0/16").await?;
    world.clear_journal().await?;
    let identity = |sts_region: Value| {
        json!({
            "allowedNamespaces": {"all": true}, "defaultRegion": OPT_IN_REGION, "stsRegion": sts_region,
        })
    };
    let name = world.apply_identity(OTHER_ACCOUNT, identity(Value::Null)).await?;
    let accepter = json!({"vpcId": vpc, "ownerId": OTHER_ACCOUNT, "identityRef": {"name": name}});
    world.apply(&world.manifest_with(json!({"accepter": accepter}))).await?;
    world.until_ready().await?;
    let assumed = world.journal("AssumeRole").await?;
    ensure!(!assumed.is_empty() && assumed.iter().all(|call| call.region == REGION), "{assumed:?}");

    // The account of the operator has not enabled this region.
    world.apply_identity(OTHER_ACCOUNT, identity(json!(OPT_IN_REGION))).await?;
    world.request_reconcile("opt-in").await?;
    let object = world.until_stalled("Unauthorized").await?;
    let message = &condition(&object, "Ready").context("no Ready")?.message;
    ensure!(message.contains("InvalidClientTokenId") && message.contains("spec.stsRegion"), "{message}");
    let metrics = operator.get("/metrics").await?;
    let counted = format!(
        r#"vpcpeering_aws_requests_total{{action="AssumeRole",account="{OTHER_ACCOUNT}",region="{OPT_IN_REGION}",code="InvalidClientTokenId"}}"#
    );
    ensure!(metrics.contains(&counted), "{metrics}");

    // The account of the role has not enabled this region.
    world.simulator().set(&json!({"enabled_regions": {"111111111111": ["eu-south-2"]}})).await?;
    world.apply_identity(OTHER_ACCOUNT, identity(json!("eu-south-2"))).await?;
    world.request_reconcile("disabled").await?;
    let is_told = |object: &VpcPeering| {
        let message = condition(object, "Ready").map_or("", |ready| ready.message.as_str());
        message.contains("RegionDisabledException") && message.contains("spec.stsRegion")
    };
    world.until("RegionDisabledException", is_told).await?;

    world.apply_identity(OTHER_ACCOUNT, identity(json!("us-west-2"))).await?;
    world.request_reconcile("enabled").await?;
    world.until_ready().await?;
    Ok(())
}

/// A default region would be in the wrong partition for some users.
pub async fn without_a_region_the_operator_ends(world: World) -> Result<()> {
    let operator = world.operator.clone().without("AWS_REGION").with("AWS_EC2_METADATA_DISABLED", "true");
    let mut running = operator.start().await?;
    let status = running.ended().await?;
    let output = running.output();
    ensure!(!status.success() && output.contains("set the environment variable AWS_REGION"), "{status}: {output}");
    Ok(())
}

/// The condition has one sentence. The log has the text of the SDK.
pub async fn missing_credentials_are_reported_in_one_sentence(world: World) -> Result<()> {
    let operator = world.operator.clone().without("AWS_ACCESS_KEY_ID").without("AWS_SECRET_ACCESS_KEY");
    let running = operator.clone().with("AWS_EC2_METADATA_DISABLED", "true").start().await?;
    world.apply(&world.manifest()).await?;
    let is_stalled =
        |object: &VpcPeering| condition(object, "Stalled").is_some_and(|stalled| stalled.reason == "Unauthorized");
    let object = world.until("no credentials", is_stalled).await?;
    let message = &condition(&object, "Ready").context("no Ready")?.message;
    ensure!(message.contains("set up IRSA, EKS Pod Identity or an access key"), "{message}");
    ensure!(message.chars().count() < MAX_MESSAGE && !message.contains('{'), "{message}");
    ensure!(running.output().contains("there are no AWS credentials"), "the log lacks the details");
    running.kill().await?;

    // A network without AWS: no server listens there.
    let unreachable = world.operator.clone().with("AWS_ENDPOINT_URL", "http://127.0.0.1:1").start().await?;
    world.request_reconcile("unreachable").await?;
    let is_told = |object: &VpcPeering| {
        let message = condition(object, "Ready").map_or("", |ready| ready.message.as_str());
        message.contains("AWS cannot be reached") && message.chars().count() < MAX_MESSAGE && !message.contains('{')
    };
    world.until("AWS cannot be reached", is_told).await?;
    unreachable.kill().await
}

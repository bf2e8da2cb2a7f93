//! EC2 that shows a change late, acts late on a state that it shows, or shows VPCs of other accounts.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::types::AttributeBooleanValue;
use environment::eventually;
use serde_json::{Value, json};

use super::accepter::end::{AccepterEnd, condition as condition_of, is_stalled};
use super::world::{OTHER_ACCOUNT, World, condition, connection_id};

const LIMIT: Duration = Duration::from_secs(30);

/// Both VPCs need this for `allowDnsResolutionFromRemoteVpc`.
async fn enable_dns_hostnames(world: &World) -> Result<()> {
    for vpc in [&world.requester, &world.accepter] {
        let enabled = AttributeBooleanValue::builder().value(true).build();
        world.ec2.modify_vpc_attribute().vpc_id(vpc).enable_dns_hostnames(enabled).send().await?;
    }
    Ok(())
}

/// Tags and options of the requester's end.
fn manifest(world: &World, tags: Value) -> Value {
    let options = json!({"allowDnsResolutionFromRemoteVpc": true});
    let requester = json!({"vpcId": world.requester, "region": "eu-central-1", "options": options});
    world.manifest_with(json!({"requester": requester, "tags": tags}))
}

pub async fn a_change_that_ec2_shows_late_is_made_once(world: World) -> Result<()> {
    enable_dns_hostnames(&world).await?;
    let _operator = world.operator.clone().with("CONSISTENCY_WINDOW", "20s").start().await?;
    world.apply(&world.manifest()).await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?;
    world.simulator().set(&json!({"lags": {"tags": 3, "options": 3}})).await?;
    world.clear_journal().await?;
    world.apply(&manifest(&world, json!([{"key": "a", "value": "1"}]))).await?;
    let object = world
        .until("waiting", |object| {
            condition(object, "Ready").is_some_and(|ready| ready.message.contains("waiting for EC2 to show a change"))
        })
        .await?;
    ensure!(condition(&object, "Reconciling").is_some(), "{:?}", object.status);
    world
        .until("shown", |object| {
            let generation = object.status.as_ref().and_then(|status| status.observed_generation);
            generation == object.metadata.generation
                && condition(object, "Ready").is_some_and(|ready| ready.status == "True")
                && condition(object, "OptionsSynced").is_some_and(|options| options.status == "True")
        })
        .await?;
    world.apply(&manifest(&world, json!([]))).await?;
    eventually("untagged", LIMIT, async || {
        ensure!(world.user_tags(id).await?.is_empty());
        Ok(())
    })
    .await
    .map_err(|error| world.with_log(error))?;
    for action in ["CreateTags", "ModifyVpcPeeringConnectionOptions", "DeleteTags"] {
        let calls = world.calls(action).await?;
        ensure!(calls == 1, "{action}: {calls} calls");
    }
    Ok(())
}

pub async fn an_answer_without_tags_is_no_connection_of_others(world: World) -> Result<()> {
    world.simulator().set(&json!({"create_answer_without_tags": true})).await?;
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest_with(json!({"tags": [{"key": "a", "value": "1"}]}))).await?;
    world.until_ready().await?;
    ensure!(world.calls("CreateVpcPeeringConnection").await? == 1);
    let events = world.events().await?;
    ensure!(!events.iter().any(|reason| reason == "ConnectionNotOwned"), "{events:?}");
    Ok(())
}

pub async fn a_call_that_is_too_early_is_repeated(world: World) -> Result<()> {
    enable_dns_hostnames(&world).await?;
    world.simulator().set(&json!({"lags": {"acceptance": 2, "activation": 2}})).await?;
    let _operator = world.operator.start().await?;
    world.apply(&manifest(&world, json!([]))).await?;
    world.until_ready().await?;
    for (action, code) in [
        ("AcceptVpcPeeringConnection", "InvalidVpcPeeringConnectionID.NotFound"),
        ("ModifyVpcPeeringConnectionOptions", "OperationNotPermitted"),
    ] {
        let calls = world.journal(action).await?;
        ensure!(calls.iter().any(|call| call.code.as_deref() == Some(code)), "{action}: {calls:?}");
    }
    let events = world.events().await?;
    ensure!(!events.iter().any(|reason| ["Unauthorized", "NotFound"].contains(&reason.as_str())), "{events:?}");
    Ok(())
}

/// A participant of a shared VPC sees it, but only the owner can peer it.
pub async fn a_shared_vpc_is_refused_before_ec2_is_asked(world: World) -> Result<()> {
    let (_, shared) = world.another_account().await?;
    let mut scene = world.simulator().save().await?;
    let vpc = scene.vpcs.iter_mut().find(|vpc| vpc.id == shared).context("no VPC")?;
    vpc.shared_with = vec!["111111111111".into()];
    world.simulator().load(&scene).await?;
    let _operator = world.operator.start().await?;
    for end in ["requester", "accepter"] {
        let world = world.with_name(end);
        let mut manifest = world.manifest();
        manifest["spec"][end]["vpcId"] = json!(shared);
        world.apply(&manifest).await?;
        let object = world.until_stalled("IdentityMismatch").await?;
        let message = &condition(&object, "Ready").context("no condition")?.message;
        let remedy = format!("set spec.{end}.identityRef to an AwsIdentity of account {OTHER_ACCOUNT}");
        for part in [shared.as_str(), OTHER_ACCOUNT, &remedy] {
            ensure!(message.contains(part), "{message}");
        }
    }
    let accepter = AccepterEnd { vpc: shared.clone(), ..AccepterEnd::own(&world) };
    accepter.apply(json!({})).await?;
    let object = accepter.until("stalled", |object| is_stalled(object, "IdentityMismatch")).await?;
    let message = &condition_of(&object, "Ready").context("no condition")?.message;
    ensure!(message.contains(&shared) && message.contains("set spec.identityRef"), "{message}");
    ensure!(world.calls("CreateVpcPeeringConnection").await? == 0);
    Ok(())
}

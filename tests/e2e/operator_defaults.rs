//! The defaults that an administrator sets for all resources: tags, deletion policy and region.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use environment::eventually;
use serde_json::{Value, json};
use vpc_peering_operator::api::DeletionPolicy;

use super::accepter::end::{ACCOUNT, AccepterEnd, accept_any, condition as condition_of, request};
use super::world::{REGION, World, condition, connection_id};

const LIMIT: Duration = Duration::from_secs(30);

fn tags(tags: &[(&str, &str)]) -> BTreeMap<String, String> {
    tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn until_tagged(world: &World, id: &str, expected: &[(&str, &str)]) -> Result<()> {
    eventually("tagged", LIMIT, async || {
        let shown = world.user_tags(id).await?;
        ensure!(shown == tags(expected), "{shown:?}");
        Ok(())
    })
    .await
    .map_err(|error| world.with_log(error))
}

/// A resource that names no region and no deletion policy.
fn manifest(world: &World) -> Value {
    let mut manifest = world.manifest_with(json!({"tags": [{"key": "stage", "value": "dev"}]}));
    manifest["spec"]["requester"] = json!({"vpcId": world.requester});
    manifest
}

pub async fn resources_follow_the_defaults_of_the_operator(world: World) -> Result<()> {
    let operator = |tags: &str| world.operator.clone().with("DEFAULT_REGION", REGION).with("DEFAULT_TAGS", tags);
    let running = operator("team=network,stage=prod").with("DEFAULT_DELETION_POLICY", "Retain").start().await?;
    world.apply(&manifest(&world)).await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    until_tagged(&world, &id, &[("stage", "dev"), ("team", "network")]).await?;
    let status = object.status.context("no status")?;
    ensure!(object.spec.deletion_policy.is_none(), "the API server filled in a policy");
    ensure!(status.deletion_policy == Some(DeletionPolicy::Retain), "{:?}", status.deletion_policy);
    ensure!(status.ends.context("no ends")?.requester.region == REGION);
    running.kill().await?;

    // Changed and removed defaults are followed.
    let running = operator("team=core").with("DEFAULT_DELETION_POLICY", "Retain").start().await?;
    until_tagged(&world, &id, &[("stage", "dev"), ("team", "core")]).await?;
    running.kill().await?;
    let running = world.operator.clone().with("DEFAULT_DELETION_POLICY", "Retain").start().await?;
    until_tagged(&world, &id, &[("stage", "dev")]).await?;
    // The recorded region counts although the default is gone.
    world.until_ready().await?;

    world.delete().await?;
    world.until_gone().await?;
    ensure!(world.live_peerings().await?.len() == 1, "Retain is the default");
    running.kill().await?;
    Ok(())
}

pub async fn without_a_default_the_region_is_required(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    world.apply(&manifest(&world)).await?;
    let object = world.until_stalled("InvalidRequest").await?;
    let ready = condition(&object, "Ready").context("no Ready")?;
    ensure!(ready.message.contains("spec.requester.region") && ready.message.contains("--region"), "{}", ready.message);
    let status = object.status.as_ref().context("no status")?;
    ensure!(status.deletion_policy == Some(DeletionPolicy::Delete), "{status:?}");
    Ok(())
}

pub async fn an_accepter_without_a_region_is_in_the_default_region(world: World) -> Result<()> {
    let accepter = AccepterEnd::own(&world);
    let spec = || json!({"accept": [accept_any(ACCOUNT, json!({}))], "region": null});
    let running = world.operator.start().await?;
    accepter.apply(spec()).await?;
    let is_refused = |object: &vpc_peering_operator::api::VpcPeeringAccepter| {
        condition_of(object, "Stalled").is_some_and(|stalled| {
            stalled.reason == "InvalidRequest"
                && ["spec.region", "--region"].iter().all(|part| stalled.message.contains(part))
        })
    };
    accepter.until("the region is missing", is_refused).await?;
    running.kill().await?;
    // The accepter's VPC is in this region, and no other one has it.
    let running = world.operator.clone().with("DEFAULT_REGION", REGION).start().await?;
    let id = request(&world, &accepter, &world.requester).await?;
    accepter.until_accepted(&id).await?;
    running.kill().await?;
    // The recorded region counts although the default is gone.
    let _running = world.operator.start().await?;
    let mut tagged = spec();
    tagged["tags"] = json!([{"key": "stage", "value": "dev"}]);
    accepter.apply(tagged).await?;
    until_tagged(&world, &id, &[("stage", "dev")]).await?;
    let object = accepter.until_accepted(&id).await?;
    let end = object.status.and_then(|status| status.vpc).context("no VPC in the status")?;
    ensure!(object.spec.region.is_none() && end.region == REGION, "{end:?}");
    Ok(())
}

pub async fn an_accepter_follows_the_defaults_of_the_operator(world: World) -> Result<()> {
    let defaults = world.operator.clone().with("DEFAULT_TAGS", "team=network,stage=prod");
    let running = defaults.with("DEFAULT_DELETION_POLICY", "Retain").start().await?;
    let accepter = AccepterEnd::own(&world);
    let spec = json!({
        "accept": [accept_any(ACCOUNT, json!({}))],
        "tags": [{"key": "stage", "value": "dev"}],
    });
    accepter.apply(spec).await?;
    let id = request(&world, &accepter, &world.requester).await?;
    until_tagged(&world, &id, &[("stage", "dev"), ("team", "network")]).await?;
    let is_shown = |object: &vpc_peering_operator::api::VpcPeeringAccepter| {
        object.status.as_ref().is_some_and(|status| status.deletion_policy == Some(DeletionPolicy::Retain))
    };
    accepter.until("the policy in effect", is_shown).await?;
    running.kill().await?;
    let _running = world.operator.start().await?;
    until_tagged(&world, &id, &[("stage", "dev")]).await
}

//! Tags: the operator's own follow the spec, other tags are not touched.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::types::Tag;
use environment::eventually;
use serde_json::json;

use vpc_peering_operator::api::{AccepterDecision, VpcPeeringAccepter};

use super::accepter::end::{ACCOUNT, AccepterEnd, accept_any, condition as condition_of, entry, request};
use super::world::{World, condition, connection_id};

/// Waits until EC2 shows these tags beside the ownership tags.
async fn until_tags(world: &World, id: &str, expected: &[(&str, &str)]) -> Result<()> {
    let expected: BTreeMap<_, _> =
        expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    eventually("tags", Duration::from_secs(30), async || {
        let shown = world.user_tags(id).await?;
        ensure!(shown == expected, "EC2 shows {shown:?} instead of {expected:?}");
        Ok(())
    })
    .await
    .map_err(|error| world.with_log(error))
}

pub async fn spec_edits_change_only_the_operators_tags(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let tags = |tags: &[(&str, &str)]| {
        let tags: Vec<_> = tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
        world.manifest_with(json!({"tags": tags}))
    };
    world.apply(&tags(&[("kept", "1"), ("removed", "1")])).await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?;
    until_tags(&world, id, &[("kept", "1"), ("removed", "1")]).await?;

    let theirs = Tag::builder().key("theirs").value("1").build();
    world.ec2.create_tags().resources(id).tags(theirs).send().await?;
    world.apply(&tags(&[("kept", "2"), ("added", "1")])).await?;
    until_tags(&world, id, &[("added", "1"), ("kept", "2"), ("theirs", "1")]).await?;

    // Drift is repaired, also of ownership tags.
    let kept = Tag::builder().key("kept").build();
    let uid = Tag::builder().key("vpcpeering.dev/uid").build();
    world.ec2.delete_tags().resources(id).tags(kept).tags(uid).send().await?;
    until_tags(&world, id, &[("added", "1"), ("kept", "2"), ("theirs", "1")]).await?;

    world.apply(&tags(&[])).await?;
    until_tags(&world, id, &[("theirs", "1")]).await?;
    world.until_ready().await?;
    world
        .until("the ownership tag", |object| {
            let tags = object.status.as_ref().map(|status| &*status.tags).unwrap_or_default();
            tags.iter().any(|tag| tag.key == "vpcpeering.dev/uid")
        })
        .await?;
    Ok(())
}

/// The limits of each field allow more tags than EC2 does. Nothing is sent until they fit.
pub async fn more_tags_than_ec2_allows_are_reported_before_any_call(world: World) -> Result<()> {
    let defaults = (0..30).map(|number| format!("default-{number}=x")).collect::<Vec<_>>().join(",");
    let _operator = world.operator.clone().with("DEFAULT_TAGS", &defaults).start().await?;
    let tags =
        |count| (0..count).map(|number| json!({"key": format!("own-{number}"), "value": "x"})).collect::<Vec<_>>();
    world.apply(&world.manifest_with(json!({"tags": tags(17)}))).await?;
    let object = world.until_stalled("InvalidRequest").await?;
    let ready = condition(&object, "Ready").context("no Ready")?;
    for part in ["51 different tags", "allows 50", "30 of --default-tags", "17 of spec.tags", "4 ownership tags"] {
        ensure!(ready.message.contains(part), "{part}: {}", ready.message);
    }
    ensure!(world.calls("CreateVpcPeeringConnection").await? == 0 && world.calls("CreateTags").await? == 0);
    world.apply(&world.manifest_with(json!({"tags": tags(16)}))).await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?;
    ensure!(world.user_tags(id).await?.len() == 46);

    // An existing connection keeps its tags, and can be deleted.
    world.apply(&world.manifest_with(json!({"tags": tags(20)}))).await?;
    world.until_stalled("InvalidRequest").await?;
    ensure!(world.user_tags(id).await?.len() == 46);
    world.delete().await?;
    world.until_gone().await?;
    ensure!(world.live_peerings().await?.is_empty());

    // A request is not accepted while its tags do not fit.
    let accepted = world.calls("AcceptVpcPeeringConnection").await?;
    let accepter = AccepterEnd::own(&world);
    let spec = |count| json!({"accept": [accept_any(ACCOUNT, json!({}))], "tags": tags(count)});
    accepter.apply(spec(17)).await?;
    let id = request(&world, &accepter, &world.requester).await?;
    let waits = |object: &VpcPeeringAccepter| {
        entry(object, &id).is_some_and(|entry| {
            entry.decision == AccepterDecision::Pending
                && entry.message.as_ref().is_some_and(|message| message.contains("51 different tags"))
        })
    };
    let object = accepter.until("the request waits", waits).await?;
    ensure!(world.calls("AcceptVpcPeeringConnection").await? == accepted, "it was accepted");
    let stalled = condition_of(&object, "Stalled").context("not stalled")?;
    ensure!(stalled.reason == "InvalidRequest" && stalled.message.contains("17 of spec.tags"), "{stalled:?}");
    accepter.apply(spec(16)).await?;
    accepter.until_accepted(&id).await?;
    Ok(())
}

pub async fn retain_removes_the_ownership_tags(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    world
        .apply(&world.manifest_with(json!({"deletionPolicy": "Retain", "tags": [{"key": "Name", "value": "x"}]})))
        .await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?;
    world.delete().await?;
    world.until_gone().await?;
    let peerings = world.live_peerings().await?;
    ensure!(peerings.len() == 1 && peerings[0].vpc_peering_connection_id() == Some(id));
    let keys: Vec<_> = peerings[0].tags().iter().filter_map(|tag| tag.key()).collect();
    ensure!(keys == ["Name"], "{keys:?}");
    Ok(())
}

//! Forged records in the status, and forged ownership tags.

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::Client as Ec2;
use aws_sdk_ec2::types::Tag;
use environment::{ec2, eventually};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use vpc_peering_operator::api::VpcPeering;

use super::{LIMIT, LONG_ENOUGH};
use crate::routes::through_peerings;
use crate::world::{World, condition, connection_id};

/// Writes a status in the operator's name.
async fn forge(world: &World, status: Value) -> Result<()> {
    let client = world.shared.control_plane.admin_as_operator().await?;
    let api = Api::<VpcPeering>::namespaced(client, &world.namespace);
    api.patch_status(&world.name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await?;
    Ok(())
}

/// An active connection of somebody else, between other VPCs.
async fn foreign_connection(world: &World) -> Result<String> {
    let (one, other) =
        (ec2::create_vpc(&world.ec2, "10.31.0.0/16").await?, ec2::create_vpc(&world.ec2, "10.32.0.0/16").await?);
    let answer = world.ec2.create_vpc_peering_connection().vpc_id(&one).peer_vpc_id(&other).send().await?;
    let id =
        answer.vpc_peering_connection.and_then(|connection| connection.vpc_peering_connection_id).context("no ID")?;
    eventually("accepted", LIMIT, async || {
        world.ec2.accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
        Ok(())
    })
    .await?;
    eventually("active", LIMIT, async || {
        ensure!(code_and_tags(&world.ec2, &id).await?.0 == "active");
        Ok(())
    })
    .await?;
    Ok(id)
}

async fn code_and_tags(ec2: &Ec2, id: &str) -> Result<(String, Vec<(String, String)>)> {
    let answer = ec2.describe_vpc_peering_connections().vpc_peering_connection_ids(id).send().await?;
    let connection = answer.vpc_peering_connections.unwrap_or_default().pop().context("not shown")?;
    let tags = connection.tags().iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())));
    Ok((ec2::code(&connection).to_owned(), tags.collect()))
}

/// Fails if a call of the operator changed this connection.
async fn ensure_untouched(world: &World, id: &str) -> Result<()> {
    for action in ["CreateTags", "DeleteTags", "DeleteVpcPeeringConnection", "ModifyVpcPeeringConnectionOptions"] {
        let calls = world.journal(action).await?;
        let names = calls.iter().filter(|call| call.parameters.values().any(|value| value == id));
        let by_operator = names.filter(|call| call.access_key_id.as_deref() == Some(world.key()));
        let by_operator: Vec<_> = by_operator.collect();
        ensure!(by_operator.is_empty(), "{by_operator:?}");
    }
    Ok(())
}

/// The status names a foreign connection as the resource's own. The operator must neither tag nor delete it.
pub async fn a_forged_connection_id_is_not_trusted(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let foreign = foreign_connection(&world).await?;
    world.apply(&world.manifest_with(json!({"suspend": true}))).await?;
    world.until("suspended", |object| condition(object, "Suspended").is_some()).await?;
    forge(&world, json!({"vpcPeeringConnectionId": foreign, "ownership": "Owned"})).await?;
    world.patch(json!({"spec": {"suspend": false, "tags": [{"key": "a", "value": "b"}]}})).await?;
    let object = world.until_stalled("ConnectionMismatch").await?;
    let message = &condition(&object, "Ready").context("no Ready")?.message;
    ensure!(message.contains(&foreign) && message.contains("spec.requester.vpcId"), "{message}");
    world.delete().await?;
    world.until_gone().await?;
    ensure!(code_and_tags(&world.ec2, &foreign).await? == ("active".to_owned(), Vec::new()));
    ensure_untouched(&world, &foreign).await
}

/// The status names a route of another resource. The operator must neither delete nor replace it.
pub async fn a_forged_route_record_is_not_trusted(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let third = ec2::create_vpc(&world.ec2, "10.3.0.0/16").await?;
    let other = world.with_name("other");
    let routes = json!({"routeTables": {"main": true}});
    let mut manifest = world.manifest();
    manifest["spec"]["requester"]["routes"] = routes.clone();
    world.apply(&manifest).await?;
    let mut others = other.manifest();
    others["spec"]["requester"]["routes"] = routes;
    others["spec"]["accepter"]["vpcId"] = json!(third);
    other.apply(&others).await?;
    let victim = world.until_ready().await?;
    other.until_ready().await?;
    let before = through_peerings(&world.ec2, &world.requester).await?;
    ensure!(before.len() == 2, "{before:?}");
    let route = serde_json::to_value(victim.status.context("no status")?.routes)?;
    forge(&other, json!({"routes": route, "managedTags": [{"key": "vpcpeering.dev/name", "value": "x"}]})).await?;
    other.request_reconcile("forged").await?;
    tokio::time::sleep(LONG_ENOUGH).await;
    ensure!(world.calls("DeleteRoute").await? + world.calls("ReplaceRoute").await? == 0, "a route was changed");
    ensure!(through_peerings(&world.ec2, &world.requester).await? == before);
    // The same holds when the resource with the forged status is deleted.
    other.delete().await?;
    other.until_gone().await?;
    let after = through_peerings(&world.ec2, &world.requester).await?;
    ensure!(after.iter().all(|(_, destination, _)| destination == "10.2.0.0/16") && after.len() == 1, "{after:?}");
    Ok(())
}

/// The operator removes a recorded tag only if it has the value that the operator set.
pub async fn a_forged_tag_record_is_not_trusted(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    let tag = Tag::builder().key("Owner").value("somebody").build();
    world.ec2.create_tags().resources(&id).tags(tag).send().await?;
    forge(&world, json!({"managedTags": [{"key": "Owner", "value": "us"}], "managedTagKeys": ["Owner"]})).await?;
    world.request_reconcile("forged").await?;
    tokio::time::sleep(LONG_ENOUGH).await;
    ensure!(world.user_tags(&id).await?.get("Owner").is_some_and(|value| value == "somebody"));
    ensure!(world.calls("DeleteTags").await? == 0);
    Ok(())
}

/// Ownership tags on a connection between other VPCs have no effect, neither with the resource's UID nor with that of
/// an earlier resource of the same name.
pub async fn forged_ownership_tags_are_not_trusted(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    let (_, tags) = code_and_tags(&world.ec2, &id).await?;
    let mut forged = Vec::new();
    for uid in [None, Some("00000000-0000-4000-8000-000000000000")] {
        let foreign = foreign_connection(&world).await?;
        for (key, value) in &tags {
            let value = if key == "vpcpeering.dev/uid" { uid.unwrap_or(value) } else { value };
            let tag = Tag::builder().key(key).value(value).build();
            world.ec2.create_tags().resources(&foreign).tags(tag).send().await?;
        }
        forged.push(foreign);
    }
    world.request_reconcile("forged").await?;
    let object =
        world.until("UnexpectedConnection", |object| condition(object, "UnexpectedConnection").is_some()).await?;
    let message = &condition(&object, "UnexpectedConnection").context("no condition")?.message;
    ensure!(forged.iter().any(|id| message.contains(id)), "{message}");
    ensure!(condition(&object, "Ready").is_some_and(|ready| ready.status == "True"), "{:?}", object.status);
    world.until_events(&["UnexpectedConnection"]).await?;
    world.delete().await?;
    world.until_gone().await?;
    for foreign in &forged {
        ensure!(code_and_tags(&world.ec2, foreign).await?.0 == "active", "{foreign} was deleted");
        ensure_untouched(&world, foreign).await?;
    }
    ensure!(world.live_peerings().await?.is_empty());
    Ok(())
}

//! The life of one resource with one operator.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use environment::ec2::code;
use serde_json::json;

use super::world::{World, condition, connection_id, status_code};

pub async fn a_peering_becomes_active(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest_with(json!({"tags": [{"key": "Name", "value": "the name"}]}))).await?;
    let object = world.until_ready().await?;
    let peerings = world.peerings().await?;
    ensure!(peerings.len() == 1, "{peerings:?}");
    ensure!(code(&peerings[0]) == "active" && status_code(&object) == Some("active"));
    ensure!(peerings[0].vpc_peering_connection_id() == connection_id(&object));
    let tag = |key: &str| peerings[0].tags().iter().find(|tag| tag.key() == Some(key)).and_then(|tag| tag.value());
    ensure!(tag("Name") == Some("the name"));
    ensure!(tag("vpcpeering.dev/uid") == object.metadata.uid.as_deref());
    ensure!(tag("vpcpeering.dev/namespace") == Some(world.namespace.as_str()));
    let status = object.status.context("no status")?;
    ensure!(status.observed_generation == object.metadata.generation);
    ensure!(status.creation_started_at.is_none());
    let ends = [status.requester_vpc_info, status.accepter_vpc_info].map(|end| end.and_then(|end| end.vpc_id));
    ensure!(ends.map(|id| id.unwrap_or_default()) == [world.requester.as_str(), world.accepter.as_str()]);
    let events = world.until_events(&["Created", "Accepted", "Active"]).await?;
    for reason in ["Created", "Accepted", "Active"] {
        ensure!(events.iter().filter(|event| *event == reason).count() == 1, "{reason} in {events:?}");
    }
    let table = world.shared.control_plane.kubectl(&["get", "pcx", "--namespace", &world.namespace]).await?;
    let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    ensure!(words[0] == ["NAME", "ID", "CODE", "READY", "REQUESTER", "ACCEPTER", "AGE"], "{table}");
    ensure!(words[1][2..6] == ["active", "True", &world.requester, &world.accepter], "{table}");
    Ok(())
}

pub async fn a_new_object_has_no_observed_generation(world: World) -> Result<()> {
    let object = world.apply(&world.manifest()).await?;
    ensure!(object.status.and_then(|status| status.observed_generation) == Some(-1));
    Ok(())
}

pub async fn a_vpc_that_does_not_exist_is_reported(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let missing = "vpc-0123456789abcdef0";
    world.apply(&world.manifest_with(json!({"accepter": {"vpcId": missing}}))).await?;
    let object = world.until_stalled("InvalidRequest").await?;
    let message = &condition(&object, "Ready").context("no condition")?.message;
    ensure!(message.contains(missing) && message.contains("spec.accepter.vpcId"), "{message}");
    ensure!(connection_id(&object).is_none() && world.peerings().await?.is_empty());
    world.delete().await?;
    world.until_gone().await
}

pub async fn deletion_deletes_the_peering(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    world.delete().await?;
    world.until_gone().await?;
    ensure!(world.peerings().await?.iter().all(|connection| code(connection) == "deleted"));
    Ok(())
}

pub async fn retain_keeps_the_peering(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest_with(json!({"deletionPolicy": "Retain"}))).await?;
    world.until_ready().await?;
    world.delete().await?;
    world.until_gone().await?;
    let peerings = world.peerings().await?;
    ensure!(peerings.len() == 1 && code(&peerings[0]) == "active", "{peerings:?}");
    Ok(())
}

pub async fn a_peering_deleted_in_ec2_is_reported(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?;
    world.ec2.delete_vpc_peering_connection().vpc_peering_connection_id(id).send().await?;
    let object = world.until_stalled("Deleted").await?;
    ensure!(status_code(&object) == Some("deleted") && connection_id(&object) == Some(id));
    ensure!(world.peerings().await?.len() == 1, "the operator made a new request");
    world.delete().await?;
    world.until_gone().await
}

pub async fn a_peering_of_another_owner_is_not_touched(world: World) -> Result<()> {
    let create = world.ec2.create_vpc_peering_connection().vpc_id(&world.accepter).peer_vpc_id(&world.requester);
    let foreign = create.send().await?.vpc_peering_connection.context("no connection")?;
    let id = foreign.vpc_peering_connection_id().context("no ID")?;
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    let object = world.until_stalled("ConnectionNotOwned").await?;
    ensure!(condition(&object, "Ready").is_some_and(|ready| ready.message.contains(id)));
    ensure!(connection_id(&object).is_none());
    world.delete().await?;
    world.until_gone().await?;
    let peerings = world.peerings().await?;
    ensure!(peerings.len() == 1 && code(&peerings[0]) == "pending-acceptance", "{peerings:?}");
    Ok(())
}

pub async fn a_settled_resource_causes_no_writes(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    // The reconciliations that its own last write triggered have ended.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, events) = (world.get().await?, world.until_events(&["Active"]).await?);
    tokio::time::sleep(Duration::from_secs(4)).await;
    ensure!(before.metadata.resource_version == world.get().await?.metadata.resource_version);
    ensure!(events == world.events().await?);
    Ok(())
}

pub async fn manual_acceptance_waits_for_a_person(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest_with(json!({"acceptance": "Manual"}))).await?;
    let pending = world.until("pending", |object| status_code(object) == Some("pending-acceptance")).await?;
    ensure!(condition(&pending, "Reconciling").is_some_and(|condition| condition.reason == "PendingAcceptance"));
    let id = connection_id(&pending).context("no ID")?;
    world.ec2.accept_vpc_peering_connection().vpc_peering_connection_id(id).send().await?;
    world.until_ready().await?;
    let events = world.until_events(&["Active"]).await?;
    ensure!(!events.contains(&"Accepted".to_owned()), "{events:?}");
    Ok(())
}

pub async fn the_final_state_depends_only_on_the_last_spec(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest_with(json!({"tags": [{"key": "a", "value": "1"}]}))).await?;
    let before = world.until_ready().await?;
    let id = connection_id(&before).context("no ID")?;
    let changes = [
        (json!({"acceptance": "Manual"}), json!({"acceptance": "Auto"})),
        (json!({"tags": []}), json!({"tags": [{"key": "a", "value": "1"}]})),
        (json!({"dryRun": true}), json!({"dryRun": false})),
        (json!({"deletionPolicy": "Retain"}), json!({"deletionPolicy": "Delete"})),
        (json!({"recreateOn": ["Deleted"]}), json!({"recreateOn": []})),
        (json!({"managementPolicy": "Observe"}), json!({"managementPolicy": "Full"})),
        (json!({"suspend": true}), json!({"suspend": false})),
    ];
    for (change, revert) in changes {
        for (spec, pause) in [(&change, 700), (&revert, 0)] {
            world.patch(json!({"spec": spec})).await?;
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        let settled = |object: &vpc_peering_operator::api::VpcPeering| {
            let status = object.status.clone().unwrap_or_default();
            let mut expected = before.status.clone().unwrap_or_default();
            for condition in &mut expected.conditions {
                condition.observed_generation = object.metadata.generation;
            }
            expected.observed_generation = object.metadata.generation;
            let without_times = |status: &vpc_peering_operator::api::VpcPeeringStatus| {
                let mut status = status.clone();
                for condition in &mut status.conditions {
                    condition.last_transition_time.0 = Default::default();
                }
                status
            };
            without_times(&status) == without_times(&expected)
        };
        world.until(&format!("the status before {change}"), settled).await?;
        ensure!(world.user_tags(id).await?.get("a").is_some_and(|value| value == "1"));
        ensure!(world.peerings().await?.len() == 1);
    }
    world.delete().await?;
    world.until_gone().await?;
    ensure!(world.live_peerings().await?.is_empty());
    Ok(())
}

const OTHER_REGION: &str = "eu-west-1";

/// A manifest whose accepter is in another region, and a client there.
async fn to_another_region(world: &World, acceptance: &str) -> Result<(serde_json::Value, aws_sdk_ec2::Client)> {
    let there = environment::ec2::client(&world.endpoint, OTHER_REGION);
    let vpc = environment::ec2::create_vpc(&there, "10.9.0.0/16").await?;
    let accepter = json!({"accepter": {"vpcId": vpc, "region": OTHER_REGION}, "acceptance": acceptance});
    Ok((world.manifest_with(accepter), there))
}

pub async fn a_request_to_another_region_is_accepted_there(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let (manifest, _) = to_another_region(&world, "Auto").await?;
    world.apply(&manifest).await?;
    let object = world.until_ready().await?;
    let accepter = object.status.and_then(|status| status.accepter_vpc_info).context("no accepter")?;
    ensure!(accepter.region.as_deref() == Some(OTHER_REGION));
    world.delete().await?;
    world.until_gone().await
}

pub async fn a_request_to_another_region_waits_for_a_person(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let (manifest, there) = to_another_region(&world, "Manual").await?;
    world.apply(&manifest).await?;
    let object = world.until_code("pending-acceptance").await?;
    let id = connection_id(&object).context("no ID")?;
    there.accept_vpc_peering_connection().vpc_peering_connection_id(id).send().await?;
    world.until_ready().await?;
    Ok(())
}

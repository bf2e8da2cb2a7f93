//! Failures of the API server and etcd, and resources that the operator cannot read.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::types::Tag;
use environment::ec2::code;
use serde_json::json;

use super::both_ends::BothEnds;
use super::world::{Cloud, World, condition, connection_id};

/// The same environment with a control plane of its own.
async fn with_own_control_plane(world: World) -> Result<World> {
    World::new(world.shared.with_own_control_plane().await?, &world.namespace, Cloud::Simulator).await
}

pub async fn the_operator_survives_an_api_server_outage(world: World) -> Result<()> {
    let world = with_own_control_plane(world).await?;
    let operator = world.operator.start().await?;
    // The API server stops while EC2 provisions the connection.
    world.simulator().set(&json!({"delays": {"provisioning": 8}})).await?;
    world.apply(&world.manifest()).await?;
    world.until_code("provisioning").await?;
    world.shared.control_plane.stop_kube_apiserver().await?;
    tokio::time::sleep(Duration::from_secs(30)).await;
    world.shared.control_plane.start_kube_apiserver().await?;
    world.until_ready().await?;
    ensure!(world.peerings().await?.len() == 1);
    world.delete().await?;
    world.until_gone().await?;
    ensure!(world.live_peerings().await?.is_empty());
    // The operator has not restarted.
    operator.terminate().await?;
    Ok(())
}

pub async fn a_status_lost_with_etcd_makes_no_second_peering(world: World) -> Result<()> {
    let world = with_own_control_plane(world).await?;
    for running in [true, false] {
        world.apply(&world.manifest()).await?;
        world.shared.control_plane.save().await?;
        let operator = world.operator.start().await?;
        let before = world.until_ready().await?;
        let id = connection_id(&before).context("no ID")?;
        let peerings = world.peerings().await?.len();
        let operator = if running {
            Some(operator)
        } else {
            operator.terminate().await?;
            None
        };
        world.shared.control_plane.restore().await?;
        let _operator = match operator {
            Some(operator) => operator,
            None => world.operator.start().await?,
        };
        let after = world.until_ready().await.with_context(|| format!("running: {running}"))?;
        ensure!(connection_id(&after) == Some(id), "running: {running}: a second peering");
        ensure!(
            world.peerings().await?.len() == peerings && world.live_peerings().await?.len() == 1,
            "running: {running}"
        );
        world.delete().await?;
        world.until_gone().await?;
        ensure!(world.live_peerings().await?.is_empty());
    }
    Ok(())
}

/// Simulates a downgrade: a stored resource may have a value that this version does not know.
async fn with_an_unknown_value(world: World) -> Result<World> {
    let world = with_own_control_plane(world).await?;
    let pointer = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/acceptance/enum/-";
    let patch = json!([{"op": "add", "path": pointer, "value": "Perhaps"}]).to_string();
    let crd = "vpcpeerings.vpcpeering.dev";
    world.shared.control_plane.kubectl(&["patch", "crd", crd, "--type=json", "--patch", &patch]).await?;
    let probe = world.with_name("unreadable");
    environment::eventually("the CRD accepts the value", Duration::from_secs(30), async || {
        probe.apply_text(&probe.manifest_with(json!({"acceptance": "Perhaps"}))).await
    })
    .await?;
    Ok(world)
}

pub async fn an_unreadable_resource_blocks_no_other(world: World) -> Result<()> {
    let world = with_an_unknown_value(world).await?;
    let unreadable = world.with_name("unreadable");
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    world.until_events(&["Unreadable"]).await?;
    // The corrected resource is reconciled.
    unreadable.apply_text(&unreadable.manifest()).await?;
    unreadable.until_stalled("ConnectionNotOwned").await?;
    Ok(())
}

pub async fn a_resource_that_becomes_unreadable_is_not_touched(world: World) -> Result<()> {
    let world = with_an_unknown_value(world).await?;
    world.with_name("unreadable").delete().await?;
    let _operator = world.operator.start().await?;
    let tagged = json!({"tags": [{"key": "team", "value": "blue"}]});
    world.apply_text(&world.manifest_with(tagged.clone())).await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?;
    ensure!(world.user_tags(id).await?.len() == 1);
    let reasons = world.events().await?;
    ensure!(!reasons.contains(&"Unreadable".to_owned()), "{reasons:?}");

    // The unreadable spec may want something else, so the operator must not repair the last readable one.
    let mut odd = tagged.clone();
    odd["acceptance"] = json!("Perhaps");
    world.apply_text(&world.manifest_with(odd)).await?;
    world.until_events(&["Unreadable"]).await?;
    world.ec2.delete_tags().resources(id).tags(Tag::builder().key("team").build()).send().await?;
    // Six polls.
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(world.user_tags(id).await?.is_empty(), "the operator acted on the last readable spec");

    world.apply_text(&world.manifest_with(tagged)).await?;
    environment::eventually("tagged again", Duration::from_secs(30), async || {
        ensure!(world.user_tags(id).await?.len() == 1, "no tag");
        Ok(())
    })
    .await
    .map_err(|error| world.with_log(error))?;
    world.delete().await?;
    world.until_gone().await?;
    ensure!(world.live_peerings().await?.is_empty());
    Ok(())
}

/// This test is long because each step needs the state that the step before it has left.
pub async fn a_recreated_resource_adopts_its_orphaned_peering(world: World) -> Result<()> {
    let operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    let old = world.until_ready().await?;
    operator.kill().await?;
    world.delete().await?;
    // Somebody removes the finalizer.
    world.shared.control_plane.remove_finalizers("vpcpeering", &world.namespace, &world.name).await?;
    world.until_gone().await?;
    // The new resource has another UID. With `--cluster-id`, another cluster may use the same ID, so the operator
    // adopts nothing and reports the connection.
    let uid = world.client.clone();
    let uid = kube::Api::<k8s_openapi::api::core::v1::Namespace>::all(uid).get("kube-system").await?.metadata.uid;
    let cautious = world.operator.clone().with("CLUSTER_ID", &uid.context("no UID")?);
    world.apply(&world.manifest()).await?;
    let operator = cautious.start().await?;
    let new = world.until_stalled("ConnectionNotOwned").await?;
    let message = condition(&new, "Ready").map(|ready| ready.message.clone()).unwrap_or_default();
    ensure!(message.contains(connection_id(&old).context("no ID")?), "{message}");
    world.delete().await?;
    world.until_gone().await?;
    ensure!(code(&world.peerings().await?[0]) == "active");
    // It adopts nothing even with `spec.vpcPeeringConnectionId`: the other cluster may use the connection.
    let id = connection_id(&old).context("no ID")?.to_owned();
    let asking = world.manifest_with(json!({"vpcPeeringConnectionId": id, "deletionPolicy": "Retain"}));
    world.apply(&asking).await?;
    world.until_stalled("ConnectionNotOwned").await?;
    operator.kill().await?;
    world.delete().await?;
    world.shared.control_plane.remove_finalizers("vpcpeering", &world.namespace, &world.name).await?;
    world.until_gone().await?;
    // Without `--cluster-id`, the cluster's ID is unique, and the operator adopts the connection.
    let operator = world.operator.start().await?;
    world.apply(&asking).await?;
    let object = world.until_ready().await?;
    operator.kill().await?;
    world.delete().await?;
    world.shared.control_plane.remove_finalizers("vpcpeering", &world.namespace, &world.name).await?;
    world.until_gone().await?;
    ensure!(connection_id(&object) == Some(id.as_str()));
    // And nobody has to ask: no second peering, no cut.
    world.apply(&world.manifest()).await?;
    let operator = world.operator.start().await?;
    let object = world.until_ready().await?;
    ensure!(connection_id(&object) == Some(id.as_str()), "not taken over: {object:?}");
    operator.kill().await?;
    world.delete().await?;
    world.shared.control_plane.remove_finalizers("vpcpeering", &world.namespace, &world.name).await?;
    world.until_gone().await?;
    // An orphan between other VPCs is only reported: its tags prove nothing.
    let third = environment::ec2::create_vpc(&world.ec2, "10.3.0.0/16").await?;
    world.apply(&world.manifest_with(json!({"accepter": {"vpcId": third}}))).await?;
    let _operator = world.operator.start().await?;
    let told = world.until("told", |object| condition(object, "UnexpectedConnection").is_some()).await?;
    let message = condition(&told, "UnexpectedConnection").map(|told| told.message.clone()).unwrap_or_default();
    ensure!(message.contains(&id) && message.contains("earlier resource"), "{message}");
    world.until_ready().await?;
    world.delete().await?;
    world.until_gone().await?;
    let living = world.live_peerings().await?;
    ensure!(living.len() == 1 && living[0].vpc_peering_connection_id() == Some(id.as_str()), "{living:?}");
    Ok(())
}

/// Each end has tags of its own, which name the UID of the resource before the restore.
pub async fn a_restored_resource_takes_over_both_ends(world: World) -> Result<()> {
    let ends = BothEnds::far_apart(&world).await?;
    let world = &ends.world;
    let operator = world.operator.start().await?;
    ends.apply().await?;
    let old = world.until_ready().await?;
    operator.terminate().await?;
    world.delete().await?;
    world.shared.control_plane.remove_finalizers("vpcpeering", &world.namespace, &world.name).await?;
    world.until_gone().await?;
    ends.apply().await?;
    let _operator = world.operator.start().await?;
    let new = world.until_ready().await.map_err(|error| world.with_log(error))?;
    ensure!(new.metadata.uid != old.metadata.uid && connection_id(&new) == connection_id(&old));
    let uid = new.metadata.uid.context("no UID")?;
    for shown in ends.shown().await? {
        let of_new = |tag: &Tag| tag.key() == Some("vpcpeering.dev/uid") && tag.value() == Some(&uid);
        ensure!(code(&shown) == "active" && shown.tags().iter().any(of_new), "{shown:?}");
    }
    world.delete().await?;
    world.until_gone().await?;
    ensure!(world.live_peerings().await?.is_empty());
    Ok(())
}

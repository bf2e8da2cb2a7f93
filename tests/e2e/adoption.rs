//! Connections that exist before the resource.

use anyhow::{Context, Result, ensure};
use environment::ec2::code;
use serde_json::json;

use super::world::{World, condition, connection_id, status_code};

/// Creates a connection without the operator, and accepts it.
async fn create_connection(world: &World) -> Result<String> {
    let create = world.ec2.create_vpc_peering_connection().vpc_id(&world.requester).peer_vpc_id(&world.accepter);
    let connection = create.send().await?.vpc_peering_connection.context("no connection")?;
    let id = connection.vpc_peering_connection_id.context("no ID")?;
    environment::eventually("acceptable", std::time::Duration::from_secs(30), async || {
        world.ec2.accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
        Ok(())
    })
    .await?;
    Ok(id)
}

pub async fn an_existing_connection_is_adopted(world: World) -> Result<()> {
    let id = create_connection(&world).await?;
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest_with(json!({"vpcPeeringConnectionId": id}))).await?;
    let object = world.until_ready().await?;
    ensure!(connection_id(&object) == Some(id.as_str()));
    let peerings = world.peerings().await?;
    ensure!(peerings.len() == 1, "{peerings:?}");
    ensure!(
        peerings[0].tags().iter().any(|tag| tag.value() == object.metadata.uid.as_deref()),
        "no ownership tags: {peerings:?}"
    );
    world.delete().await?;
    world.until_gone().await?;
    ensure!(code(&world.peerings().await?[0]) == "deleted");
    Ok(())
}

pub async fn a_connection_that_does_not_match_is_not_touched(world: World) -> Result<()> {
    let id = create_connection(&world).await?;
    let _operator = world.operator.start().await?;
    let swapped = json!({
        "vpcPeeringConnectionId": id,
        "requester": {"vpcId": world.accepter, "region": "eu-central-1"},
        "accepter": {"vpcId": world.requester},
    });
    world.apply(&world.manifest_with(swapped)).await?;
    let object = world.until_stalled("ConnectionMismatch").await?;
    let message = &condition(&object, "Ready").context("no condition")?.message;
    ensure!(message.contains("spec.requester.vpcId"), "{message}");
    world.delete().await?;
    world.until_gone().await?;

    world.apply(&world.manifest_with(json!({"vpcPeeringConnectionId": "pcx-0123456789abcdef0"}))).await?;
    world.until_stalled("NotFound").await?;
    world.delete().await?;
    world.until_gone().await?;

    let peerings = world.peerings().await?;
    ensure!(peerings.len() == 1 && peerings[0].tags().is_empty(), "{peerings:?}");
    for action in ["CreateTags", "DeleteVpcPeeringConnection", "DeleteTags"] {
        ensure!(world.calls(action).await? == 0, "{action}");
    }
    Ok(())
}

pub async fn observe_never_writes_to_aws(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    world
        .apply(&world.manifest_with(json!({"managementPolicy": "Observe", "tags": [{"key": "a", "value": "b"}]})))
        .await?;
    world.until_stalled("NotFound").await?;
    let id = create_connection(&world).await?;
    world.request_reconcile("1").await?;
    let object = world.until_ready().await?;
    ensure!(connection_id(&object) == Some(id.as_str()) && status_code(&object) == Some("active"));
    // The resource does not own the connection, so the operator must not change it after a switch to Full.
    world.patch(json!({"spec": {"managementPolicy": "Full"}})).await?;
    world.until_stalled("ConnectionNotOwned").await?;
    world.patch(json!({"spec": {"managementPolicy": "Observe"}})).await?;
    world.until_ready().await?;
    world.delete().await?;
    world.until_gone().await?;
    ensure!(code(&world.peerings().await?[0]) == "active");
    ensure!(world.calls("CreateVpcPeeringConnection").await? == 1, "only the test creates a connection");
    for action in ["CreateTags", "DeleteVpcPeeringConnection", "DeleteTags"] {
        ensure!(world.calls(action).await? == 0, "{action}");
    }
    Ok(())
}

//! Two resources for the same pair of VPCs. One owns the peering, however EC2 answers a repeated request. The deletion
//! of the other one must not affect it.

use anyhow::{Context, Result, bail, ensure};
use environment::ec2::code;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use serde_json::{Value, json};

use super::world::{REGION, REPEATS, World, condition, connection_id};

fn swapped(world: &World) -> Value {
    world.manifest_with(json!({
        "requester": {"vpcId": world.accepter, "region": REGION},
        "accepter": {"vpcId": world.requester},
    }))
}

pub async fn two_resources_share_no_peering(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let younger = world.with_name("younger");
    for repeat in REPEATS {
        world.simulator().set(&json!({"repeat_request": repeat})).await?;
        for manifest in [younger.manifest(), swapped(&younger)] {
            world.apply(&world.manifest()).await?;
            // Creation times have a resolution of one second.
            tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
            younger.apply(&manifest).await?;
            let owner = world.until_ready().await?;
            let object = younger.until_stalled("ConnectionNotOwned").await?;
            let message = &condition(&object, "Ready").context("no condition")?.message;
            ensure!(message.contains(&format!("{}/peering", world.namespace)), "{message}");
            ensure!(connection_id(&object).is_none());
            younger.delete().await?;
            younger.until_gone().await?;
            let living = world.live_peerings().await?;
            ensure!(living.len() == 1 && code(&living[0]) == "active", "{repeat}: {living:?}");
            ensure!(living[0].vpc_peering_connection_id() == connection_id(&owner));
            world.delete().await?;
            world.until_gone().await?;
        }
    }
    Ok(())
}

pub async fn the_younger_resource_follows_after_the_older_is_deleted(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    let younger = world.with_name("younger");
    younger.apply(&younger.manifest()).await?;
    younger.until_stalled("ConnectionNotOwned").await?;
    world.delete().await?;
    world.until_gone().await?;
    younger.until_ready().await?;
    ensure!(world.live_peerings().await?.len() == 1);
    Ok(())
}

pub async fn two_clusters_share_no_peering(world: World) -> Result<()> {
    let namespace = format!("{}-b", world.namespace);
    let object = Namespace {
        metadata: ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() },
        ..Namespace::default()
    };
    Api::all(world.client.clone()).create(&PostParams::default(), &object).await?;
    let another = world.in_another_cluster(&namespace, "another");
    let _operators = (world.operator.start().await?, another.operator.start().await?);
    for repeat in REPEATS {
        world.simulator().set(&json!({"repeat_request": repeat})).await?;
        tokio::try_join!(apply(&world), apply(&another))?;
        let (owner, other) = until_one_is_ready(&world, &another).await.with_context(|| repeat)?;
        other.delete().await?;
        other.until_gone().await?;
        let object = owner.until_ready().await?;
        let living = world.live_peerings().await?;
        let active: Vec<_> = living.iter().filter(|connection| code(connection) == "active").collect();
        ensure!(
            active.len() == 1 && active[0].vpc_peering_connection_id() == connection_id(&object),
            "{repeat}: {living:?}"
        );
        owner.delete().await?;
        owner.until_gone().await?;
        ensure!(world.live_peerings().await?.is_empty(), "{repeat}");
    }
    Ok(())
}

async fn apply(world: &World) -> Result<()> {
    world.apply(&world.manifest()).await?;
    Ok(())
}

/// Waits until one of the two is ready and the other one stalled.
async fn until_one_is_ready<'a>(one: &'a World, other: &'a World) -> Result<(&'a World, &'a World)> {
    environment::eventually("one ready, the other stalled", std::time::Duration::from_secs(60), async || {
        let (first, second) = (one.get().await?, other.get().await?);
        let is = |object, kind| condition(object, kind).is_some_and(|condition| condition.status == "True");
        if is(&first, "Ready") && is(&second, "Stalled") {
            return Ok((one, other));
        }
        if is(&second, "Ready") && is(&first, "Stalled") {
            return Ok((other, one));
        }
        bail!("{:?} and {:?}", first.status, second.status)
    })
    .await
}

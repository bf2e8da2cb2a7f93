//! Requests and peerings that end, and the deletion of their resources.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use environment::ec2;
use serde_json::{Value, json};

use super::world::{OTHER_ACCOUNT, REGION, World, condition, connection_id, status_code};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn message(object: &vpc_peering_operator::api::VpcPeering) -> String {
    condition(object, "Ready").map(|ready| ready.message.clone()).unwrap_or_default()
}

pub async fn overlapping_cidr_blocks_are_reported_without_a_request(world: World) -> Result<()> {
    let overlapping = ec2::create_vpc(&world.ec2, "10.1.128.0/20").await?;
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest_with(json!({"accepter": {"vpcId": overlapping}}))).await?;
    let object = world.until_stalled("OverlappingCidrBlocks").await?;
    let message = message(&object);
    ensure!(message.contains("10.1.0.0/16") && message.contains("10.1.128.0/20"), "{message}");
    ensure!(world.calls("CreateVpcPeeringConnection").await? == 0);
    Ok(())
}

pub async fn a_disassociated_cidr_block_does_not_overlap(world: World) -> Result<()> {
    let requester = ec2::create_vpc(&world.ec2, "10.71.0.0/16").await?;
    let accepter = ec2::create_vpc(&world.ec2, "10.72.0.0/16").await?;
    let block = world.ec2.associate_vpc_cidr_block().vpc_id(&accepter).cidr_block("10.71.128.0/20").send().await?;
    let association = block.cidr_block_association.and_then(|block| block.association_id).context("no ID")?;
    world.ec2.disassociate_vpc_cidr_block().association_id(association).send().await?;
    let shown = world.ec2.describe_vpcs().vpc_ids(&accepter).send().await?;
    let blocks = shown.vpcs().first().context("no VPC")?.cidr_block_association_set();
    ensure!(blocks.len() == 2, "EC2 no longer shows the disassociated block: {blocks:?}");
    let _operator = world.operator.start().await?;
    let ends = json!({"requester": {"vpcId": requester, "region": REGION}, "accepter": {"vpcId": accepter}});
    world.apply(&world.manifest_with(ends)).await?;
    world.until_ready().await?;
    Ok(())
}

pub async fn a_failed_request_is_reported(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let nowhere = json!({"accepter": {"vpcId": "vpc-0123456789abcdef0", "ownerId": OTHER_ACCOUNT}});
    world.apply(&world.manifest_with(nowhere)).await?;
    let object = world.until_stalled("Failed").await?;
    ensure!(status_code(&object) == Some("failed") && message(&object).contains("EC2 says"), "{}", message(&object));
    world.delete().await?;
    world.until_gone().await?;
    ensure!(world.calls("DeleteVpcPeeringConnection").await? == 0, "EC2 cannot delete a failed connection");
    Ok(())
}

pub async fn a_rejected_request_is_reported_and_repeated_on_demand(world: World) -> Result<()> {
    let (theirs, vpc) = world.another_account().await?;
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest_with(json!({"accepter": {"vpcId": vpc, "ownerId": OTHER_ACCOUNT}}))).await?;
    let object = world.until_code("pending-acceptance").await?;
    let first = connection_id(&object).context("no ID")?.to_owned();
    theirs.reject_vpc_peering_connection().vpc_peering_connection_id(&first).send().await?;
    let object = world.until_stalled("Rejected").await?;
    ensure!(message(&object).contains("vpcpeering.dev/reconcile-at"), "{}", message(&object));
    // The operator does not repeat a rejected request on its own.
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(world.peerings().await?.len() == 1);

    world.request_reconcile("now").await?;
    let object = world.until_code("pending-acceptance").await?;
    let second = connection_id(&object).context("no ID")?.to_owned();
    let status = object.status.context("no status")?;
    ensure!(second != first && status.last_handled_reconcile_at.as_deref() == Some("now"));
    ensure!(status.history.len() == 1 && status.history[0].vpc_peering_connection_id == first);
    ensure!(status.history[0].code == "rejected");
    theirs.accept_vpc_peering_connection().vpc_peering_connection_id(&second).send().await?;
    world.until_ready().await?;
    Ok(())
}

pub async fn a_pending_request_is_reported_before_it_expires(world: World) -> Result<()> {
    world.simulator().set(&json!({"delays": {"expiry": 23 * 60 * 60}})).await?;
    let (_, vpc) = world.another_account().await?;
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest_with(json!({"accepter": {"vpcId": vpc, "ownerId": OTHER_ACCOUNT}}))).await?;
    let object = world.until("ExpiringSoon", |object| condition(object, "ExpiringSoon").is_some()).await?;
    ensure!(
        condition(&object, "Reconciling").is_some()
            && object.status.is_some_and(|status| status.expiration_time.is_some())
    );
    world.simulator().advance(DAY).await?;
    let object = world.until_stalled("Expired").await?;
    ensure!(status_code(&object) == Some("expired") && condition(&object, "ExpiringSoon").is_none());
    let events = world.until_events(&["ExpiringSoon", "Expired"]).await?;
    for reason in ["ExpiringSoon", "Expired"] {
        ensure!(events.iter().filter(|event| *event == reason).count() == 1, "{reason} in {events:?}");
    }
    Ok(())
}

/// EC2's clock is ten minutes ahead or behind. The operator must believe EC2's status code, not its own clock.
pub async fn clock_skew_does_no_harm(world: World) -> Result<()> {
    let (theirs, vpc) = world.another_account().await?;
    let _operator = world.operator.start().await?;
    // By the operator's clock the request expired five minutes ago, or expires in fifteen minutes.
    for (minutes, end) in [(-5, "accepted"), (15, "accepted"), (-5, "expired"), (15, "expired")] {
        let case = async {
            let skew = if minutes < 0 { -10 * 60 } else { 10 * 60 };
            let ours = k8s_openapi::jiff::Timestamp::now();
            let there = ours + k8s_openapi::jiff::SignedDuration::from_secs(skew);
            let mut scene = world.simulator().save().await?;
            scene.now = Some(there);
            world.simulator().load(&scene).await?;
            world.simulator().set(&json!({"delays": {"expiry": 5 * 60}})).await?;
            world.apply(&world.manifest_with(json!({"accepter": {"vpcId": vpc, "ownerId": OTHER_ACCOUNT}}))).await?;
            let object = world.until_code("pending-acceptance").await?;
            ensure!(condition(&object, "Reconciling").is_some(), "{:?}", object.status);
            let id = connection_id(&object).context("no ID")?;
            if end == "accepted" {
                theirs.accept_vpc_peering_connection().vpc_peering_connection_id(id).send().await?;
                world.until_ready().await?;
            } else {
                world.simulator().advance(Duration::from_secs(5 * 60)).await?;
                let object = world.until_stalled("Expired").await?;
                ensure!(status_code(&object) == Some("expired"));
            }
            world.delete().await?;
            world.until_gone().await
        };
        case.await.with_context(|| format!("{minutes} minutes, {end}"))?;
    }
    Ok(())
}

pub async fn recreate_on_makes_a_new_request_and_keeps_the_history(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest_with(json!({"recreateOn": ["Deleted"]}))).await?;
    let mut ids = Vec::new();
    for round in 0..3 {
        let fresh = |object: &vpc_peering_operator::api::VpcPeering| {
            condition(object, "Ready").is_some_and(|ready| ready.status == "True")
                && connection_id(object).is_some_and(|id| !ids.contains(&id.to_owned()))
        };
        let object = world.until("a new active peering", fresh).await?;
        let id = connection_id(&object).context("no ID")?.to_owned();
        let history = object.status.map(|status| status.history).unwrap_or_default();
        let history: Vec<_> = history.into_iter().map(|ended| ended.vpc_peering_connection_id).collect();
        ensure!(history == ids, "round {round}: {history:?}");
        world.ec2.delete_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
        ids.push(id);
    }
    Ok(())
}

/// Brings a resource into each status code, and deletes it.
pub async fn deletion_completes_from_every_status_code(world: World) -> Result<()> {
    let (theirs, vpc) = world.another_account().await?;
    let _operator = world.operator.start().await?;
    let foreign = json!({"accepter": {"vpcId": vpc, "ownerId": OTHER_ACCOUNT}});
    // The operator does not write a status code that lasts less than two seconds.
    let slow = |which: &str| json!({"delays": {which: 5}});
    let cases: [(&str, Value, Value); 10] = [
        ("initiating-request", slow("initiating"), json!({})),
        ("pending-acceptance", json!({}), foreign.clone()),
        ("provisioning", slow("provisioning"), json!({})),
        ("active", json!({}), json!({})),
        ("failed", json!({}), json!({"accepter": {"vpcId": "vpc-0123456789abcdef0", "ownerId": OTHER_ACCOUNT}})),
        ("rejected", json!({}), foreign.clone()),
        ("expired", json!({}), foreign),
        ("deleting", slow("deleting"), json!({})),
        ("deleted", json!({}), json!({})),
        ("not found", json!({}), json!({})),
    ];
    for (code, settings, spec) in cases {
        let reach = async {
            world.simulator().set(&settings).await?;
            world.apply(&world.manifest_with(spec)).await?;
            let first = match code {
                "rejected" | "expired" => "pending-acceptance",
                "deleting" | "deleted" | "not found" => "active",
                _ => code,
            };
            let object = world.until_code(first).await?;
            let id = connection_id(&object).context("no ID")?;
            match code {
                "rejected" => drop(theirs.reject_vpc_peering_connection().vpc_peering_connection_id(id).send().await?),
                "expired" => drop(world.simulator().advance(7 * DAY).await?),
                "deleting" | "deleted" | "not found" => {
                    drop(world.ec2.delete_vpc_peering_connection().vpc_peering_connection_id(id).send().await?);
                }
                _ => {}
            }
            if code == "not found" {
                world.until_code("deleted").await?;
                world.simulator().advance(3 * DAY).await?;
                world.until_stalled("NotFound").await?;
            } else {
                world.until_code(code).await?;
            }
            world.delete().await?;
            world.until_gone().await?;
            let living = world.live_peerings().await?;
            ensure!(living.is_empty(), "{living:?}");
            anyhow::Ok(())
        };
        reach.await.with_context(|| code.to_owned())?;
    }
    Ok(())
}

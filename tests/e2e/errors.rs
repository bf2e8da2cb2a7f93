//! Errors, lost replies and delays of AWS.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ec2_simulator::Kind;
use serde_json::json;

use super::world::{REPEATS, World, condition, connection_id};

fn refusal(code: &str) -> Kind {
    Kind::Error { code: code.to_owned(), message: None, status: None }
}

pub async fn a_dry_run_reports_the_answer_and_creates_nothing(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let answered = |status: &'static str| {
        move |object: &vpc_peering_operator::api::VpcPeering| {
            condition(object, "DryRunSucceeded").is_some_and(|condition| condition.status == status)
        }
    };
    let fault = world.fault("CreateVpcPeeringConnection", None, refusal("UnauthorizedOperation")).await?;
    world.apply(&world.manifest_with(json!({"dryRun": true}))).await?;
    world.until("refused", answered("False")).await?;
    let object = world.until_stalled("Unauthorized").await?;
    ensure!(condition(&object, "Ready").is_some_and(|ready| ready.message.contains("UnauthorizedOperation")));
    world.simulator().remove_fault(fault).await?;
    world.request_reconcile("1").await?;
    let object = world.until("allowed", answered("True")).await?;
    ensure!(
        condition(&object, "Stalled").is_none()
            && condition(&object, "Ready").is_some_and(|ready| ready.reason == "DryRun")
    );
    ensure!(world.peerings().await?.is_empty() && connection_id(&object).is_none());

    world.patch(json!({"spec": {"dryRun": false}})).await?;
    let object = world.until_ready().await?;
    ensure!(condition(&object, "DryRunSucceeded").is_none());
    Ok(())
}

pub async fn a_missing_permission_is_reported_and_retried(world: World) -> Result<()> {
    let fault = world.fault("CreateVpcPeeringConnection", None, refusal("UnauthorizedOperation")).await?;
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    let object = world.until_stalled("Unauthorized").await?;
    let message = &condition(&object, "Ready").context("no condition")?.message;
    for part in ["CreateVpcPeeringConnection", "UnauthorizedOperation", "request ID"] {
        ensure!(message.contains(part), "{message}");
    }
    // The request was refused for certain, so the intent is removed. The operator does not retry it at once.
    ensure!(object.status.is_some_and(|status| status.creation_started_at.is_none()));
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(world.calls("CreateVpcPeeringConnection").await? == 1);
    let events = world.until_events(&["Unauthorized"]).await?;
    ensure!(events.iter().filter(|reason| *reason == "Unauthorized").count() == 1, "{events:?}");
    world.simulator().remove_fault(fault).await?;
    world.request_reconcile("granted").await?;
    world.until_ready().await?;
    Ok(())
}

pub async fn a_tag_policy_violation_names_the_tag(world: World) -> Result<()> {
    let sentence = "The tag policy does not allow the specified value for the following tag key: 'CostCenter'.";
    let kind = Kind::Error { code: "TagPolicyViolation".into(), message: Some(sentence.into()), status: None };
    let fault = world.fault("CreateVpcPeeringConnection", None, kind).await?;
    let _operator = world.operator.start().await?;
    world
        .apply(&world.manifest_with(json!({"dryRun": true, "tags": [{"key": "CostCenter", "value": "none"}]})))
        .await?;
    let object = world.until_stalled("InvalidRequest").await?;
    ensure!(condition(&object, "DryRunSucceeded").is_some_and(|condition| condition.status == "False"), "{object:?}");
    world.patch(json!({"spec": {"dryRun": false}})).await?;
    let is_requested = |object: &vpc_peering_operator::api::VpcPeering| {
        condition(object, "DryRunSucceeded").is_none() && condition(object, "Stalled").is_some()
    };
    let object = world.until("refused", is_requested).await?;
    let message = &condition(&object, "Ready").context("no condition")?.message;
    for part in ["TagPolicyViolation", "CostCenter", "spec.tags"] {
        ensure!(message.contains(part), "{message}");
    }
    world.simulator().remove_fault(fault).await?;
    world.request_reconcile("corrected").await?;
    world.until_ready().await?;
    Ok(())
}

pub async fn a_refused_deletion_keeps_the_finalizer_and_is_reported(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    let fault = world.fault("DeleteVpcPeeringConnection", None, refusal("UnauthorizedOperation")).await?;
    world.delete().await?;
    let object = world.until_stalled("Unauthorized").await?;
    ensure!(!object.metadata.finalizers.unwrap_or_default().is_empty());
    world.simulator().remove_fault(fault).await?;
    world.request_reconcile("granted").await?;
    world.until_gone().await?;
    ensure!(world.live_peerings().await?.is_empty());
    Ok(())
}

pub async fn a_quota_that_is_nearly_used_up_is_reported(world: World) -> Result<()> {
    let (_, vpc) = world.another_account().await?;
    for _ in 0..23 {
        let other = environment::ec2::create_vpc(&world.ec2, "10.4.0.0/16").await?;
        let create = world.ec2.create_vpc_peering_connection().vpc_id(other).peer_vpc_id(&vpc);
        create.peer_owner_id(super::world::OTHER_ACCOUNT).send().await?;
    }
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    world.until_events(&["NearQuota"]).await?;
    Ok(())
}

async fn ensure_one_peering_despite(world: &World, kind: Kind) -> Result<()> {
    world.fault("CreateVpcPeeringConnection", Some(1), kind).await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    ensure!(world.peerings().await?.len() == 1 && world.calls("CreateVpcPeeringConnection").await? == 1);
    world.delete().await?;
    world.until_gone().await?;
    ensure!(world.live_peerings().await?.is_empty());
    Ok(())
}

pub async fn a_lost_reply_makes_no_second_peering(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    ensure_one_peering_despite(&world, Kind::LostReply).await
}

pub async fn a_truncated_reply_makes_no_second_peering(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    ensure_one_peering_despite(&world, Kind::CrashMidAnswer).await
}

pub async fn a_stale_listing_makes_no_second_peering(world: World) -> Result<()> {
    let _operator = world.operator.clone().with("CONSISTENCY_WINDOW", "6s").start().await?;
    for (round, repeat) in REPEATS.into_iter().enumerate() {
        world.simulator().set(&json!({"repeat_request": repeat})).await?;
        // The reply is lost, and EC2 does not show the new connection for longer than the pause after an error.
        world.fault("DescribeVpcPeeringConnections", None, Kind::StaleDescribe { seconds: 4.5 }).await?;
        world.fault("CreateVpcPeeringConnection", Some(1), Kind::LostReply).await?;
        world.apply(&world.manifest()).await?;
        world.until_ready().await.with_context(|| repeat)?;
        ensure!(world.live_peerings().await?.len() == 1 && world.peerings().await?.len() == round + 1, "{repeat}");
        world.delete().await?;
        world.until_gone().await?;
        world.simulator().clear_faults().await?;
    }
    Ok(())
}

pub async fn throttled_calls_are_retried(world: World) -> Result<()> {
    world.fault("CreateVpcPeeringConnection", Some(2), Kind::Throttle).await?;
    world.fault("DescribeVpcPeeringConnections", Some(5), Kind::Throttle).await?;
    world.fault("AcceptVpcPeeringConnection", Some(4), Kind::Throttle).await?;
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    ensure!(world.peerings().await?.len() == 1);
    let before = world.get().await?;
    // An active peering stays Ready while EC2 throttles the polls.
    world.fault("DescribeVpcPeeringConnections", Some(12), Kind::Throttle).await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    ensure!(before.metadata.resource_version == world.get().await?.metadata.resource_version);
    Ok(())
}

/// Uses many regions at once, since one region would take minutes to be throttled this often.
pub async fn the_operator_recovers_from_five_hundred_throttled_calls(world: World) -> Result<()> {
    const REFUSALS: u32 = 500;
    let mut worlds = Vec::new();
    for number in 10..50 {
        let (region, mut world) = (format!("eu-west-{number}"), world.with_name(&format!("peering-{number}")));
        world.ec2 = environment::ec2::client(&world.endpoint, &region);
        world.requester = environment::ec2::create_vpc(&world.ec2, "10.1.0.0/16").await?;
        world.accepter = environment::ec2::create_vpc(&world.ec2, "10.2.0.0/16").await?;
        let mut manifest = world.manifest();
        manifest["spec"]["requester"]["region"] = region.into();
        worlds.push((world, manifest));
    }
    let fault = world.fault("DescribeVpcPeeringConnections", Some(REFUSALS), Kind::Throttle).await?;
    // These regions do not exist, so they are allowed only by name.
    let regions = (10..50).map(|number| format!("eu-west-{number}")).collect::<Vec<_>>().join(",");
    let _operator = world.operator.clone().with("OWN_CREDENTIALS_REGIONS", &regions).start().await?;
    for (world, manifest) in &worlds {
        world.apply(manifest).await?;
    }
    for (world, _) in &worlds {
        world.until_ready().await?;
        ensure!(world.peerings().await?.len() == 1, "{}", world.name);
    }
    let faults = world.simulator().faults().await?;
    let hits = faults.iter().find(|installed| installed.id == fault).map(|installed| installed.hits);
    ensure!(hits.is_none_or(|hits| hits == REFUSALS), "only {hits:?} were refused");
    let journal = world.simulator().journal(&ec2_simulator::journal::Query::default()).await?;
    let refused = journal
        .counters
        .get("DescribeVpcPeeringConnections")
        .and_then(|counter| counter.errors.get("RequestLimitExceeded").copied());
    ensure!(refused == Some(u64::from(REFUSALS)), "{refused:?}");
    Ok(())
}

pub async fn the_operator_recovers_from_expired_credentials(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let fault = world.fault("*", None, refusal("RequestExpired")).await?;
    world.apply(&world.manifest()).await?;
    let object = world.until_stalled_unknown("Unauthorized").await?;
    ensure!(condition(&object, "Ready").is_some_and(|ready| ready.message.contains("RequestExpired")));
    world.simulator().remove_fault(fault).await?;
    world.until_ready().await?;
    ensure!(world.peerings().await?.len() == 1);
    Ok(())
}

pub async fn suspension_stops_all_writes(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let suspended = |object: &vpc_peering_operator::api::VpcPeering| {
        condition(object, "Suspended").is_some()
            && condition(object, "Ready").is_some_and(|ready| ready.reason == "Suspended")
    };
    world.apply(&world.manifest_with(json!({"suspend": true}))).await?;
    world.until("suspended", suspended).await?;
    ensure!(world.peerings().await?.is_empty());
    world.patch(json!({"spec": {"suspend": false}})).await?;
    let object = world.until_ready().await?;
    ensure!(condition(&object, "Suspended").is_none());
    world.patch(json!({"spec": {"suspend": true}})).await?;
    world
        .until("suspended and ready", |object| {
            condition(object, "Suspended").is_some()
                && condition(object, "Ready").is_some_and(|ready| ready.status == "True")
        })
        .await?;
    world.delete().await?;
    world.until("suspended", suspended).await?;
    ensure!(world.calls("DeleteVpcPeeringConnection").await? == 0);
    world.patch(json!({"spec": {"suspend": false}})).await?;
    world.until_gone().await?;
    ensure!(world.live_peerings().await?.is_empty());
    Ok(())
}

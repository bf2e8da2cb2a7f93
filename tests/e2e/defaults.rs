//! The waits that a user sees, with the operator's default settings. `docs/performance.md` promises these bounds.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};
use environment::{Operator, ec2, eventually};
use kube::api::DeleteParams;
use serde_json::json;
use tokio::time::Instant;
use vpc_peering_operator::api::{AccepterDecision, VpcPeering};

use super::accepter::end::{ACCOUNT, AccepterEnd, NAME, accept_any, entry, has_condition, is_stalled, request};
use super::leader;
use super::world::{OTHER_ACCOUNT, World, condition, connection_id};

/// Time for the operator's own work on a busy machine, beside the wait.
const WORK: Duration = Duration::from_secs(15);

/// Default of `--poll-interval`.
const POLL_INTERVAL: Duration = Duration::from_secs(60);

/// Default of `--consistency-window`.
const CONSISTENCY_WINDOW: Duration = Duration::from_secs(60);

/// Default of `--recreation-pause`.
const RECREATION_PAUSE: Duration = Duration::from_secs(60);

/// Default of `--lease-duration`.
const LEASE_DURATION: Duration = Duration::from_secs(15);

/// The longest pause between polls while a connection changes, and between looks at another resource.
const SECONDS: Duration = Duration::from_secs(5);

const DAY: Duration = Duration::from_hours(24);

/// The operator without the settings that shorten the other tests.
fn operator(world: &World) -> Operator {
    let settings = ["POLL_INTERVAL", "CONSISTENCY_WINDOW", "RECREATION_PAUSE"];
    settings.into_iter().fold(world.operator.clone(), Operator::without)
}

/// Waits until the resource meets a condition, for at most this wait and the operator's own work. Returns the time that
/// it took.
async fn within(
    world: &World,
    what: &str,
    wait: Duration,
    is_so: impl Fn(&VpcPeering) -> bool,
) -> Result<(VpcPeering, Duration)> {
    let began = Instant::now();
    let object = eventually(what, wait + WORK, async || {
        let object = world.get().await?;
        ensure!(is_so(&object), "status is {}", serde_json::to_string_pretty(&object.status)?);
        Ok(object)
    });
    let object = object.await.map_err(|error| world.with_log(error))?;
    Ok((object, began.elapsed()))
}

fn is_ready(object: &VpcPeering) -> bool {
    condition(object, "Ready").is_some_and(|ready| ready.status == "True")
}

fn has_stalled(object: &VpcPeering, reason: &str) -> bool {
    condition(object, "Stalled").is_some_and(|stalled| stalled.reason == reason)
}

/// A request that another account has to accept. Returns its client and the ID.
async fn pending(world: &World, spec: serde_json::Value) -> Result<(aws_sdk_ec2::Client, String)> {
    let (theirs, vpc) = world.another_account().await?;
    let mut manifest = world.manifest_with(spec);
    manifest["spec"]["accepter"] = json!({"vpcId": vpc, "ownerId": OTHER_ACCOUNT});
    world.apply(&manifest).await?;
    let object = world.until_code("pending-acceptance").await?;
    Ok((theirs, connection_id(&object).context("no ID")?.to_owned()))
}

pub async fn an_acceptance_by_others_is_seen_within_seconds(world: World) -> Result<()> {
    let _operator = operator(&world).start().await?;
    let (theirs, id) = pending(&world, json!({})).await?;
    // The pause between polls has grown to its limit.
    tokio::time::sleep(SECONDS * 4).await;
    theirs.accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
    within(&world, "active", SECONDS, is_ready).await?;
    Ok(())
}

pub async fn drift_is_repaired_within_a_poll_interval(world: World) -> Result<()> {
    let _operator = operator(&world).start().await?;
    let mut manifest = world.manifest_with(json!({"tags": [{"key": "Name", "value": "wanted"}]}));
    manifest["spec"]["requester"]["routes"] = json!({"routeTables": {"main": true}});
    world.apply(&manifest).await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    let drifted = Tag::builder().key("Name").value("drifted").build();
    world.ec2.create_tags().resources(&id).tags(drifted).send().await?;
    let routed = async || {
        let by_peering = aws_sdk_ec2::types::Filter::builder().name("route.vpc-peering-connection-id").values(&id);
        let tables = world.ec2.describe_route_tables().filters(by_peering.build()).send().await?;
        anyhow::Ok(tables.route_tables().first().and_then(|table| table.route_table_id().map(str::to_owned)))
    };
    let table = routed().await?.context("no route")?;
    world.ec2.delete_route().route_table_id(table).destination_cidr_block("10.2.0.0/16").send().await?;
    eventually("repaired", POLL_INTERVAL + WORK, async || {
        let tags = world.user_tags(&id).await?;
        ensure!(tags.get("Name").is_some_and(|value| value == "wanted"), "{tags:?}");
        ensure!(routed().await?.is_some(), "no route");
        Ok(())
    })
    .await
    .map_err(|error| world.with_log(error))
}

/// The condition `ExpiringSoon` and the reason `Expired` follow EC2's clock, which jumps over most of the seven days.
pub async fn an_expiry_is_reported_on_time(world: World) -> Result<()> {
    let ahead = Duration::from_secs(20);
    world.simulator().set(&json!({"delays": {"expiry": (DAY + ahead).as_secs()}})).await?;
    let _operator = operator(&world).start().await?;
    let (_, _) = pending(&world, json!({})).await?;
    ensure!(condition(&world.get().await?, "ExpiringSoon").is_none(), "too early");
    // Nothing changes in EC2: only the time passes.
    within(&world, "ExpiringSoon", ahead, |object| condition(object, "ExpiringSoon").is_some()).await?;
    world.simulator().advance(DAY).await?;
    within(&world, "expired", SECONDS, |object| has_stalled(object, "Expired")).await?;
    Ok(())
}

pub async fn a_missing_connection_is_reported_after_the_consistency_window(world: World) -> Result<()> {
    let running = operator(&world).start().await?;
    world.apply(&world.manifest()).await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    running.kill().await?;
    world.ec2.delete_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
    // EC2 no longer shows the deleted connection.
    world.simulator().advance(DAY * 3).await?;
    let _running = operator(&world).start().await?;
    let gone = |object: &VpcPeering| has_stalled(object, "NotFound");
    let (_, took) = within(&world, "not found", CONSISTENCY_WINDOW, gone).await?;
    ensure!(took > CONSISTENCY_WINDOW - SECONDS, "reported after {took:?}");
    Ok(())
}

pub async fn a_new_request_follows_after_the_recreation_pause(world: World) -> Result<()> {
    let _operator = operator(&world).start().await?;
    let (theirs, first) = pending(&world, json!({"recreateOn": ["Rejected"]})).await?;
    theirs.reject_vpc_peering_connection().vpc_peering_connection_id(&first).send().await?;
    let is_second = |object: &VpcPeering| connection_id(object).is_some_and(|id| id != first);
    let (_, took) = within(&world, "requested again", SECONDS + RECREATION_PAUSE, is_second).await?;
    ensure!(took > RECREATION_PAUSE - SECONDS, "requested after {took:?}");
    Ok(())
}

/// No event reports a new VPC.
pub async fn a_vpc_that_appears_is_found_within_a_minute(world: World) -> Result<()> {
    let _operator = operator(&world).start().await?;
    let mut manifest = world.manifest();
    manifest["spec"]["accepter"] = json!({"vpcSelector": {"tags": {"Name": world.namespace}}});
    world.apply(&manifest).await?;
    world.until_stalled("VpcNotFound").await?;
    let name = Tag::builder().key("Name").value(&world.namespace).build();
    let tags = TagSpecification::builder().resource_type(ResourceType::Vpc).tags(name).build();
    world.ec2.create_vpc().cidr_block("10.7.0.0/16").tag_specifications(tags).send().await?;
    within(&world, "ready", Duration::from_secs(60), is_ready).await?;
    Ok(())
}

/// A new request is seen at the next poll. When the older of two accepters is gone, the younger one decides on it.
pub async fn a_new_request_is_seen_and_a_younger_accepter_follows(world: World) -> Result<()> {
    let accepter = AccepterEnd::of_another_account(&world).await?;
    let _operator = operator(&world).start().await?;
    accepter.apply(json!({})).await?;
    // Creation times have a resolution of one second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    accepter.apply_as("younger", json!({"accept": [accept_any(ACCOUNT, json!({}))]})).await?;
    accepter.until_of("younger", "stalled", |object| is_stalled(object, "ConnectionNotOwned")).await?;
    let id = request(&world, &accepter, &world.requester).await?;
    eventually("seen", POLL_INTERVAL + WORK, async || {
        let object = accepter.api().get(NAME).await?;
        ensure!(entry(&object, &id).is_some(), "{:?}", object.status);
        Ok(())
    })
    .await
    .map_err(|error| world.with_log(error))?;
    accepter.api().delete(NAME, &DeleteParams::default()).await?;
    eventually("accepted", SECONDS + WORK, async || {
        let object = accepter.api().get("younger").await?;
        let is_accepted = entry(&object, &id).is_some_and(|entry| entry.decision == AccepterDecision::Accepted);
        ensure!(is_accepted && has_condition(&object, "Ready", "True"), "{:?}", object.status);
        ensure!(ec2::code(&accepter.connection(&id).await?) == "active", "not active");
        Ok(())
    })
    .await
    .map_err(|error| world.with_log(error))
}

pub async fn a_standby_takes_over_when_the_lease_expires(world: World) -> Result<()> {
    world.shared.control_plane.allow_lease(&world.namespace).await?;
    let candidate = |name| leader::candidate(&world, name).without("LEASE_DURATION");
    let first = candidate("first").start().await?;
    leader::until_leading(&first).await?;
    let second = candidate("second").start().await?;
    eventually("ready to take over", Duration::from_secs(60), async || second.get("/readyz").await.map(drop)).await?;
    first.kill().await?;
    let killed = Instant::now();
    leader::until_leading(&second).await?;
    // Candidates wait a random time.
    let limit = LEASE_DURATION + SECONDS;
    ensure!(killed.elapsed() < limit, "took over after {:?}", killed.elapsed());
    Ok(())
}

//! A `VpcPeeringAccepter` with missing permissions, under EC2's rate limit, and with an operator that crashes.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ec2_simulator::Kind;
use ec2_simulator::journal::Query;
use environment::{Interceptor, Moment, Tripwire, ec2, eventually};
use futures::{StreamExt, stream};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::end::{
    ACCOUNT, AccepterEnd, LIMIT, NAME, accept_any, condition, entry, everything, has_condition, is_stalled, request,
};
use crate::world::{Cloud, World};

/// AWS refuses the tags. The condition reports it, and options and routes are set.
pub async fn a_missing_permission_blocks_nothing_else(world: World) -> Result<()> {
    let accepter = AccepterEnd::of_another_account(&world).await?;
    let refusal = Kind::Error { code: "UnauthorizedOperation".into(), message: None, status: None };
    let fault = world.fault("CreateTags", None, refusal).await?;
    let _operator = world.operator.start().await?;
    accepter.apply(everything()).await?;
    let id = request(&world, &accepter, &world.requester).await?;
    let object = accepter
        .until("the rest done", |object| {
            is_stalled(object, "Unauthorized")
                && has_condition(object, "OptionsSynced", "True")
                && has_condition(object, "RoutesReady", "True")
        })
        .await?;
    let message = &condition(&object, "Ready").context("no condition")?.message;
    for part in ["CreateTags", "UnauthorizedOperation", "role/peering"] {
        ensure!(message.contains(part), "{message}");
    }
    // The conditions are also True without a connection, so check the route itself.
    eventually("the route is made", Duration::from_secs(30), async || {
        ensure!(accepter.routes().await? == ["10.1.0.0/16"]);
        Ok(())
    })
    .await?;
    world.simulator().remove_fault(fault).await?;
    let look = json!({"metadata": {"annotations": {"vpcpeering.dev/reconcile-at": "granted"}}});
    accepter.api().patch(NAME, &PatchParams::default(), &Patch::Merge(look)).await?;
    accepter.until_accepted(&id).await?;
    accepter.until_configured(&id).await
}

/// The operator makes no call before the permission is given, after it is withdrawn, and at the deletion.
pub async fn a_namespace_that_is_not_allowed_makes_no_call(world: World) -> Result<()> {
    let accepter = AccepterEnd::of_another_account(&world).await?;
    accepter.allow(json!({"list": ["another"]})).await?;
    let id = request(&world, &accepter, &world.requester).await?;
    world.clear_journal().await?;
    let _operator = world.operator.clone().with("OWN_CREDENTIALS_NAMESPACES", "none").start().await?;
    accepter.apply(everything()).await?;
    accepter.until("not allowed", |object| is_stalled(object, "IdentityNotAllowed")).await?;
    let own = AccepterEnd { identity: None, ..AccepterEnd::own(&world) };
    own.apply_as("own", everything()).await?;
    own.until_of("own", "not allowed", |object| is_stalled(object, "IdentityNotAllowed")).await?;
    accepter.delete().await?;
    accepter.until_gone().await?;
    ensure!(world.ec2_calls().await? == 0);

    accepter.allow(json!({"list": [accepter.world.namespace]})).await?;
    accepter.apply(everything()).await?;
    accepter.until_accepted(&id).await?;
    accepter.until_configured(&id).await?;
    accepter.allow(json!({"list": ["another"]})).await?;
    accepter.until("no longer allowed", |object| is_stalled(object, "IdentityNotAllowed")).await?;
    // Calls that were under way have ended.
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.clear_journal().await?;
    accepter.delete().await?;
    accepter
        .until("kept", |object| {
            condition(object, "Ready").is_some_and(|ready| ready.message.contains("not removed until this is solved"))
        })
        .await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(world.ec2_calls().await? == 0);
    accepter.allow(json!({"list": [accepter.world.namespace]})).await?;
    accepter.until_gone().await?;
    ensure!(accepter.tags(&id).await?.is_empty() && accepter.routes().await?.is_empty(), "tags or routes are left");
    Ok(())
}

pub async fn requests_beyond_the_ec2_rate_limit_are_accepted_in_turn(world: World) -> Result<()> {
    const ACCEPTERS: usize = 24;
    world.simulator().set(&json!({"quotas": {"outstanding": 1_000}})).await?;
    let mut accepters = Vec::new();
    for number in 0..ACCEPTERS {
        let vpc = ec2::create_vpc(&world.ec2, &format!("10.{}.0.0/16", 100 + number)).await?;
        let accepter = AccepterEnd { vpc, ..AccepterEnd::own(&world) };
        request(&world, &accepter, &world.requester).await?;
        accepters.push((format!("accepter-{number}"), accepter));
    }
    world.simulator().set(&json!({"throttling": {"mutating": {"capacity": 4, "refill": 4}}})).await?;
    world.clear_journal().await?;
    let _operator = world.operator.start().await?;
    for (name, accepter) in &accepters {
        accepter.apply_as(name, json!({"accept": [accept_any("111111111111", json!({}))]})).await?;
    }
    for (name, accepter) in &accepters {
        accepter
            .until_of(name, "accepted", |object| {
                has_condition(object, "Ready", "True")
                    && object.status.as_ref().and_then(|status| status.accepted) == Some(1)
            })
            .await?;
    }
    let counters = world.simulator().journal(&Query::default()).await?.counters;
    let refused: u64 = counters.get("AcceptVpcPeeringConnection").map_or(0, |calls| calls.errors.values().sum());
    // Calls that were under way at the first refusal, and a few that test whether the limit still holds.
    ensure!((1..=12).contains(&refused), "{refused} refused: {counters:?}");
    Ok(())
}

/// Crashes before and after each call that changes something. The connection is configured all the same, and no tags or
/// routes are left after the deletion.
pub async fn a_crash_at_any_call_is_safe(world: World) -> Result<()> {
    let requests = run_with_trip(&world, None).await.context("the run without a crash")?;
    for expected in ["AcceptVpcPeeringConnection", "CreateTags", "DeleteTags"] {
        ensure!(requests.iter().any(|request| request == expected), "{expected} is not in {requests:?}");
    }
    let accept = requests.iter().position(|request| request == "AcceptVpcPeeringConnection");
    let intent = requests.iter().position(|request| request.ends_with("/status"));
    ensure!(intent < accept, "the acceptance is not recorded before the call: {requests:?}");
    let moments = [Moment::Before, Moment::After];
    let trips = moments.into_iter().flat_map(|moment| (0..requests.len()).map(move |number| (number, moment)));
    let lives = trips.map(|(number, moment)| {
        let (shared, name) = (world.shared.clone(), format!("{}-{moment:?}-{number}", world.namespace).to_lowercase());
        async move {
            let world = World::new(shared, &name, Cloud::Simulator).await?;
            run_with_trip(&world, Some((number, moment))).await.with_context(|| format!("request {number}, {moment:?}"))
        }
    });
    let outcomes: Vec<Result<Vec<String>>> = stream::iter(lives).buffer_unordered(4).collect().await;
    outcomes.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(())
}

/// Runs one resource from creation to deletion, with one crash at most. Returns the calls that changed something.
async fn run_with_trip(world: &World, trip: Option<(usize, Moment)>) -> Result<Vec<String>> {
    let tripwire = Tripwire::new(trip, true);
    let control_plane = &world.shared.control_plane;
    let kubernetes = Interceptor::of_kubernetes(control_plane.operator().await?, tripwire.clone()).await?;
    let ec2 = Interceptor::of_ec2(&world.endpoint, tripwire.clone()).await?;
    let kubeconfig = control_plane.open_kubeconfig(&world.namespace, &kubernetes.url)?;
    let operator = world
        .operator
        .clone()
        .with("KUBECONFIG", &kubeconfig.to_string_lossy())
        .with("AWS_ENDPOINT_URL", &ec2.url)
        .with("CONSISTENCY_WINDOW", "1s");
    let mut running = operator.start().await?;
    let restart = async {
        loop {
            tripwire.tripped().await;
            running.kill().await?;
            running = operator.start().await?;
        }
    };
    tokio::select! {
        outcome = run_life(world) => outcome,
        outcome = restart => { let _: Result<()> = outcome; bail!("cannot restart the operator") }
    }
    .with_context(|| format!("{trip:?} in {:?}", tripwire.seen()))?;
    Ok(tripwire.seen())
}

async fn run_life(world: &World) -> Result<()> {
    let accepter = AccepterEnd::own(world);
    let id = request(world, &accepter, &world.requester).await?;
    accepter
        .apply(json!({"accept": [accept_any(ACCOUNT, json!({}))], "routes": {"routeTables": {"main": true}}}))
        .await?;
    let object = accepter.until_accepted(&id).await?;
    ensure!(entry(&object, &id).is_some_and(|entry| entry.accepted_at.is_some()), "{:?}", object.status);
    eventually("kept", LIMIT, async || {
        let (tags, routes) = (accepter.tags(&id).await?, accepter.routes().await?);
        ensure!(tags.len() == 4 && routes == ["10.1.0.0/16"], "{tags:?}, {routes:?}");
        Ok(())
    })
    .await?;
    accepter.delete().await?;
    accepter.until_gone().await?;
    ensure!(accepter.tags(&id).await?.is_empty() && accepter.routes().await?.is_empty(), "tags or routes are left");
    ensure!(ec2::code(&accepter.connection(&id).await?) == "active");
    Ok(())
}

//! Crashes and other faults in the life of a resource: creation, an edit, deletion. A crash is tested at each call that
//! changes something in EC2 or in Kubernetes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ec2_simulator::{Fault, Kind, Matching};
use environment::{Interceptor, Moment, Tripwire, eventually};
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::world::{Cloud, REGION, World, connection_id};

/// Resources that are tested at the same time.
const CONCURRENCY: usize = 4;

/// The prefix list with the requester's block, to which the accepter's end has a route.
const LIST: &str = "pl-0000000000000000c";

pub async fn a_crash_before_any_call_is_safe(world: World) -> Result<()> {
    every_request(world, Moment::Before, true).await
}

pub async fn a_crash_after_any_call_is_safe(world: World) -> Result<()> {
    every_request(world, Moment::After, true).await
}

pub async fn a_lost_reply_to_any_call_is_safe(world: World) -> Result<()> {
    every_request(world, Moment::After, false).await
}

/// Two operators without leader election: the write of the intent fails for the second one, because it has an old
/// resourceVersion.
pub async fn two_operators_at_once_make_one_peering(world: World) -> Result<()> {
    let _operators = (world.operator.start().await?, world.operator.start().await?);
    world.simulator().set(&json!({"repeat_request": "mint-new"})).await?;
    for round in 1..=5 {
        world.apply(&world.manifest()).await?;
        world.until_ready().await?;
        ensure!(world.peerings().await?.len() == round, "round {round}: a second peering");
        world.delete().await?;
        world.until_gone().await?;
        ensure!(world.live_peerings().await?.is_empty());
    }
    Ok(())
}

/// Each call fails with some probability, in several ways. When the faults end, the resource becomes ready in time.
pub async fn the_operator_recovers_from_random_faults(world: World) -> Result<()> {
    let _operator = world.operator.clone().with("CONSISTENCY_WINDOW", "4s").start().await?;
    let kinds = [
        Kind::Throttle,
        Kind::LostReply,
        Kind::CrashMidAnswer,
        Kind::Latency { seconds: 0.5 },
        Kind::Error { code: "InternalError".into(), message: None, status: None },
        Kind::Error { code: "UnauthorizedOperation".into(), message: None, status: None },
    ];
    for kind in kinds {
        let matching = Matching::default();
        world.simulator().add_fault(&Fault { matching, count: None, probability: 0.1, kind }).await?;
    }
    for round in 1..=3 {
        world.apply(&world.manifest()).await?;
        tokio::time::sleep(Duration::from_secs(4)).await;
        if round == 3 {
            world.simulator().clear_faults().await?;
            world.request_reconcile("now").await?;
            world.until_ready().await?;
        }
        ensure!(count_live_peerings(&world).await? <= 1, "round {round}: a second peering");
        world.delete().await?;
        world.request_reconcile(&format!("deleted {round}")).await.ok();
        if round == 3 {
            world.until_gone().await?;
        } else {
            // After a permission error the operator waits minutes, unless a reconciliation is requested.
            eventually("gone", Duration::from_secs(90), async || {
                world.request_reconcile(&format!("{:?}", std::time::Instant::now())).await.ok();
                tokio::time::sleep(Duration::from_secs(1)).await;
                ensure!(world.api().get_opt(&world.name).await?.is_none(), "{}", world.log());
                Ok(())
            })
            .await?;
        }
        ensure!(count_live_peerings(&world).await? == 0, "round {round}: a peering is left");
    }
    Ok(())
}

/// Number of live connections. Reads the simulator's state directly, since EC2 calls may fail.
async fn count_live_peerings(world: &World) -> Result<usize> {
    Ok(world.simulator().save().await?.peerings.iter().filter(|peering| peering.phase.is_live()).count())
}

async fn every_request(world: World, moment: Moment, kill: bool) -> Result<()> {
    let requests = run_with_trip(&world, None, kill).await.context("the run without a crash")?;
    for expected in [
        "CreateVpcPeeringConnection",
        "AcceptVpcPeeringConnection",
        "CreateTags",
        "DeleteTags",
        "CreateRoute",
        "DeleteRoute",
        "ModifyVpcPeeringConnectionOptions",
        "DeleteVpcPeeringConnection",
    ] {
        ensure!(requests.iter().any(|request| request == expected), "{expected} is not in {requests:?}");
    }
    ensure!(requests.iter().any(|request| request.ends_with("/status")), "no status in {requests:?}");
    let lives = (0..requests.len()).map(|number| {
        let (shared, name) = (Arc::clone(&world.shared), format!("{}-{number}", world.namespace));
        async move {
            let world = World::new(shared, &name, Cloud::Simulator).await?;
            let requests = run_with_trip(&world, Some((number, moment)), kill)
                .await
                .with_context(|| format!("crash at call {number}"))?;
            anyhow::Ok(requests.len() > number)
        }
    });
    let outcomes: Vec<Result<bool>> = stream::iter(lives).buffer_unordered(CONCURRENCY).collect().await;
    let mut reached = 0;
    for outcome in outcomes {
        reached += usize::from(outcome?);
    }
    // The order of polls and writes varies, so a run may have one or two calls fewer.
    ensure!(reached + 2 >= requests.len(), "only {reached} of {} calls were disturbed", requests.len());
    Ok(())
}

/// The cache is always two seconds old. The API server rejects writes that are based on it, before any call to EC2.
pub async fn a_stale_cache_makes_no_second_peering(world: World) -> Result<()> {
    world.simulator().set(&json!({"repeat_request": "mint-new"})).await?;
    let tripwire = Tripwire::lagging(Duration::from_secs(2));
    run(&world, &tripwire, false).await
}

/// Each watch ends with 410 Gone after one second.
pub async fn expired_watches_are_restarted(world: World) -> Result<()> {
    run(&world, &Tripwire::expiring(Duration::from_secs(1)), false).await?;
    let log = std::fs::read_to_string(&world.operator.log)?;
    let cuts = log.lines().filter(|line| line.contains("too old resource version")).count();
    ensure!(cuts > 3, "only {cuts} watches were cut off: {}", world.log());
    Ok(())
}

/// Runs one resource from creation to deletion, with one disturbance at most. Returns the calls that changed something.
async fn run_with_trip(world: &World, trip: Option<(usize, Moment)>, kill: bool) -> Result<Vec<String>> {
    let tripwire = Tripwire::new(trip, kill);
    run(world, &tripwire, kill).await.with_context(|| format!("{trip:?} in {:?}", tripwire.seen()))?;
    Ok(tripwire.seen())
}

async fn run(world: &World, tripwire: &Arc<Tripwire>, kill: bool) -> Result<()> {
    let control_plane = &world.shared.control_plane;
    let kubernetes = Interceptor::of_kubernetes(control_plane.operator().await?, Arc::clone(tripwire)).await?;
    let ec2 = Interceptor::of_ec2(&world.endpoint, Arc::clone(tripwire)).await?;
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
            if kill {
                running.kill().await?;
                running = operator.start().await?;
            }
        }
    };
    tokio::select! {
        outcome = run_life(world) => outcome,
        outcome = restart => { let _: Result<()> = outcome; bail!("cannot restart the operator") }
    }
}

async fn run_life(world: &World) -> Result<()> {
    let on = aws_sdk_ec2::types::AttributeBooleanValue::builder().value(true).build();
    for vpc in [&world.requester, &world.accepter] {
        world.ec2.modify_vpc_attribute().vpc_id(vpc).enable_dns_hostnames(on.clone()).send().await?;
    }
    super::prefix_lists::put(world, &[(LIST, "111111111111", REGION, &["10.1.0.0/16"])]).await?;
    let manifest = |tags: Value| {
        let mut manifest = world.manifest_with(json!({"tags": tags}));
        manifest["spec"]["requester"]["options"] = json!({"allowDnsResolutionFromRemoteVpc": true});
        manifest["spec"]["requester"]["routes"] = json!({"routeTables": {"main": true}});
        let to_list = json!({"routeTables": {"main": true}, "destinationPrefixListIds": [LIST]});
        manifest["spec"]["accepter"]["routes"] = to_list;
        manifest
    };
    world.apply(&manifest(json!([{"key": "a", "value": "1"}, {"key": "b", "value": "1"}]))).await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?;
    ensure!(world.peerings().await?.len() == 1, "a second peering");
    let routes = super::routes::through_peerings(&world.ec2, &world.requester).await?;
    ensure!(routes.len() == 1, "{routes:?}");
    let routes = super::routes::through_peerings(&world.ec2, &world.accepter).await?;
    ensure!(routes.len() == 1 && routes.iter().all(|(_, to, _)| to == LIST), "{routes:?}");
    world.apply(&manifest(json!([{"key": "a", "value": "2"}]))).await?;
    eventually("tags", Duration::from_secs(60), async || {
        let tags = world.user_tags(id).await?;
        ensure!(tags.len() == 1 && tags.get("a").is_some_and(|value| value == "2"), "{tags:?}");
        Ok(())
    })
    .await
    .map_err(|error| world.with_log(error))?;
    world.delete().await?;
    world.until_gone().await?;
    ensure!(world.peerings().await?.len() == 1, "a second peering");
    ensure!(world.live_peerings().await?.is_empty(), "a peering is left");
    for vpc in [&world.requester, &world.accepter] {
        let routes = super::routes::through_peerings(&world.ec2, vpc).await?;
        ensure!(routes.is_empty(), "routes are left: {routes:?}");
    }
    Ok(())
}

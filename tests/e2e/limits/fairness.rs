//! One namespace with a crowd of resources, another with a single one.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ec2_simulator::{Fault, Kind, Matching};
use environment::{RunningOperator, eventually};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use vpc_peering_operator::api::VpcPeering;

use super::PROMPT;
use crate::memory_limit::MemoryLimit;
use crate::world::{Cloud, OTHER_REGION, REGION, World, condition};

const LIMIT: Duration = Duration::from_secs(60);

/// The time within which the single resource is ready on a machine that has room for the operator.
const GOAL: Duration = Duration::from_secs(5);

/// Resources of the crowd in the large test. `CROWD` sets another number.
const CROWD: usize = 1_000;

fn is_ready(object: &VpcPeering) -> bool {
    condition(object, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Creates a second namespace, and an operator that watches both.
async fn with_crowd_namespace(world: &World) -> Result<(World, String)> {
    let crowd = format!("{}-1", world.namespace);
    let metadata = ObjectMeta { name: Some(crowd.clone()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    Api::all(world.client.clone()).create(&PostParams::default(), &namespace).await?;
    let both = format!("{crowd},{}", world.namespace);
    let mut world = world.clone();
    world.operator = world.operator.with("WATCH_NAMESPACE", &both).with("OWN_CREDENTIALS_NAMESPACES", &both);
    Ok((world, crowd))
}

/// A VPC of the crowd.
fn vpc(number: usize) -> String {
    format!("vpc-{number:017x}")
}

/// Creates resources in the namespace of the crowd. Each has VPCs of its own.
async fn create_crowd(world: &World, namespace: &str, region: &str, size: usize) -> Result<()> {
    let api = Api::<VpcPeering>::namespaced(world.client.clone(), namespace);
    let create = async |number: usize| -> Result<()> {
        let name = format!("peering-{number}");
        let mut manifest = world.manifest_with(json!({
            "requester": {"vpcId": vpc(2 * number), "region": region},
            "accepter": {"vpcId": vpc(2 * number + 1)},
        }));
        manifest["metadata"] = json!({"name": name, "namespace": namespace});
        api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(manifest)).await?;
        Ok(())
    };
    stream::iter(0..size).map(create).buffer_unordered(16).try_collect().await
}

/// Creates the single resource, and waits until it is ready.
async fn single(world: &World) -> Result<Duration> {
    let start = Instant::now();
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    Ok(start.elapsed())
}

async fn active_workers(operator: &RunningOperator) -> Result<f64> {
    let metrics = operator.get("/metrics").await?;
    let line =
        metrics.lines().find(|line| line.starts_with("controller_runtime_active_workers{controller=\"vpcpeering\""));
    Ok(line.and_then(|line| line.rsplit(' ').next()).context("no sample")?.parse()?)
}

/// The crowd takes every reconcile slot that it can get, and each waits for a listing of a slow region.
pub async fn a_crowd_at_a_slow_region_delays_no_other(world: World) -> Result<()> {
    const SLOTS: usize = 20;
    let (world, crowd) = with_crowd_namespace(&world).await?;
    let fault = Fault {
        matching: Matching { region: Some(OTHER_REGION.into()), ..Matching::default() },
        ..Fault::new(Kind::Latency { seconds: 10.0 })
    };
    let fault = world.simulator().add_fault(&fault).await?;
    let operator = world.operator.clone().with("MAX_CONCURRENT_RECONCILES", &SLOTS.to_string()).start().await?;
    create_crowd(&world, &crowd, OTHER_REGION, 3 * SLOTS).await?;
    eventually("the crowd waits", LIMIT, async || {
        let active = active_workers(&operator).await?;
        ensure!(active >= SLOTS as f64 * 0.8, "{active} active workers");
        Ok(())
    })
    .await?;
    let took = single(&world).await?;
    ensure!(took < PROMPT, "the resource of the other namespace was ready after {took:?}");
    ensure!(active_workers(&operator).await? >= SLOTS as f64 * 0.8, "the crowd did not wait any more");
    world.simulator().remove_fault(fault).await?;
    // A shutdown does not wait for the resources that have no slot yet.
    let (status, took) = operator.terminate().await?;
    ensure!(status.success() && took < LIMIT / 2, "{status} after {took:?}");
    Ok(())
}

/// With the default settings, under the memory limit of the chart.
pub async fn a_crowd_of_one_namespace_delays_no_other(world: World) -> Result<()> {
    let size = std::env::var("CROWD").ok().map_or(Ok(CROWD), |size| size.parse())?;
    let world = World::new(world.shared.with_own_control_plane().await?, &world.namespace, Cloud::Simulator).await?;
    let (world, crowd) = with_crowd_namespace(&world).await?;
    add_vpcs(&world, 2 * size).await?;
    let memory_limit = MemoryLimit::of_chart(&world)?;
    let operator = memory_limit.apply_to(
        world.operator.clone().without("POLL_INTERVAL").with("LOG_LEVEL", "warn,vpc_peering_operator::operator=info"),
    );
    // The crowd exists before the operator starts, so that all of it is due at once.
    create_crowd(&world, &crowd, REGION, size).await?;
    let running = operator.start().await?;
    eventually("operator ready", LIMIT, async || running.get("/readyz").await.map(drop)).await?;
    let crowd = Api::<VpcPeering>::namespaced(world.client.clone(), &crowd);
    let ready = async || -> Result<usize> {
        Ok(crowd.list(&ListParams::default()).await?.items.iter().filter(|object| is_ready(object)).count())
    };
    eventually("the crowd is being worked on", LIMIT * 5, async || {
        let served = ready().await?;
        ensure!(served > 0, "none of the crowd is ready");
        Ok(())
    })
    .await?;
    let (took, probe) = (single(&world).await?, Instant::now());
    running.get("/readyz").await?;
    let probe = probe.elapsed();
    let served = ready().await?;
    eprintln!(
        "{size} in one namespace: the single one was ready after {took:?}, with {served} of the crowd; readyz {probe:?}"
    );
    // On a slow machine the order decides: without turns, the single one would come after the whole crowd.
    ensure!(
        took < GOAL || served < size / 4 * 3,
        "the resource of the other namespace was ready after {took:?} and {served} of the crowd"
    );
    ensure!(probe < Duration::from_secs(5), "/readyz took {probe:?}");
    let start = Instant::now();
    eventually("the crowd", LIMIT * 10, async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        running.get("/readyz").await?;
        let served = ready().await?;
        ensure!(served == size, "{served} of {size} are ready");
        Ok(())
    })
    .await
    .map_err(|error| world.with_log(error))?;
    eprintln!("{size} in one namespace: all ready {:?} later", start.elapsed());
    memory_limit.check(&running)
}

/// Adds VPCs for the crowd, and quotas for its connections.
async fn add_vpcs(world: &World, count: usize) -> Result<()> {
    let mut scene = serde_json::to_value(world.simulator().save().await?)?;
    let place = json!({"account": "111111111111", "region": REGION});
    let with = |mut entry: Value| -> Value {
        for (key, value) in place.as_object().into_iter().flatten() {
            entry[key] = value.clone();
        }
        entry
    };
    let tags = scene["settings"]["tags_of_vpcs"].clone();
    let vpcs = scene["vpcs"].as_array_mut().context("no VPCs")?;
    vpcs.extend(
        (0..count)
            .map(|number| with(json!({"id": vpc(number), "cidr_blocks": [format!("10.{}.0.0/16", 3 + number % 2)]}))),
    );
    let sets = scene["tags"].as_array_mut().context("no tags")?;
    sets.extend((0..count).map(|number| with(json!({"resource": vpc(number), "tags": tags}))));
    world.simulator().load(&serde_json::from_value(scene)?).await?;
    world.simulator().set(&json!({"quotas": {"outstanding": 1_000_000, "active_per_vpc": 100_000}})).await.map(drop)
}

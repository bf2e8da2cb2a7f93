//! Cost of many resources, and fairness between namespaces.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ec2_simulator::journal::Query;
use environment::{ec2, eventually};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;
use vpc_peering_operator::api::VpcPeering;

use super::world::{REGION, World, condition, connection_id};

fn is_ready(object: &VpcPeering) -> bool {
    condition(object, "Ready").is_some_and(|ready| ready.status == "True")
}

pub async fn a_peering_costs_at_most_four_writes(world: World) -> Result<()> {
    let mut objects = watcher(world.api(), watcher::Config::default()).applied_objects().boxed();
    let versions = tokio::spawn(async move {
        let mut versions = BTreeSet::new();
        while let Some(object) = objects.try_next().await? {
            versions.insert(object.resource_version());
            if is_ready(&object) {
                break;
            }
        }
        anyhow::Ok(versions)
    });
    // Time for the watch to start.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    let versions = tokio::time::timeout(Duration::from_secs(60), versions).await.context("not ready in time")???;
    // The user's version, then finalizer, intent and result; the ID has a write of its own if EC2 was slow.
    ensure!((4..=5).contains(&versions.len()), "{} writes", versions.len() - 1);
    Ok(())
}

pub async fn the_id_of_a_slow_request_is_written(world: World) -> Result<()> {
    world.simulator().set(&json!({"delays": {"initiating": 60}})).await?;
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    let object = world.until_code("initiating-request").await?;
    let id = connection_id(&object).context("no ID")?;
    ensure!(world.peerings().await?.iter().any(|connection| connection.vpc_peering_connection_id() == Some(id)));
    ensure!(object.status.is_some_and(|status| status.creation_started_at.is_none()));
    Ok(())
}

pub async fn a_long_provisioning_is_written(world: World) -> Result<()> {
    world.simulator().set(&json!({"delays": {"provisioning": 30}})).await?;
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    world.until_code("provisioning").await.map(drop)
}

/// Resources of the first namespace: the bucket's capacity, and its refill of fifty seconds.
const RESOURCES: usize = 150;
/// EC2's documented bucket size, in calls. The refill is two calls a second, so that a slow machine exceeds it, too.
const CAPACITY: usize = 50;
const REFILL: usize = 2;

/// This test is long because most of it prepares one large environment.
pub async fn namespaces_take_turns_at_the_ec2_rate_limit(world: World) -> Result<()> {
    let quotas = json!({"quotas": {"outstanding": 100_000, "active_per_vpc": 100_000}});
    world.simulator().set(&quotas).await?;
    let vpcs: Vec<_> = stream::iter(0..=RESOURCES)
        .map(|number| {
            let (ec2, block) = (&world.ec2, format!("10.{}.0.0/16", 3 + number % 200));
            async move { ec2::create_vpc(ec2, &block).await }
        })
        .buffered(16)
        .try_collect()
        .await?;
    let other = format!("{}-2", world.namespace);
    let metadata = ObjectMeta { name: Some(other.clone()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    Api::all(world.client.clone()).create(&PostParams::default(), &namespace).await?;
    let mutating = json!({"capacity": CAPACITY, "refill": REFILL});
    world.simulator().set(&json!({"throttling": {"mutating": mutating}})).await?;
    let both = format!("{},{other}", world.namespace);
    let operator = world.operator.clone().with("WATCH_NAMESPACE", &both).with("POLL_INTERVAL", "5s");
    let operator = operator.with("OWN_CREDENTIALS_NAMESPACES", &both);
    let _operator = operator.with("LOG_LEVEL", "warn").start().await?;

    let apply = async |namespace: &str, number: usize| -> Result<()> {
        let api = Api::<VpcPeering>::namespaced(world.client.clone(), namespace);
        let name = format!("peering-{number}");
        let mut manifest = world.manifest_with(json!({"accepter": {"vpcId": vpcs[number]}}));
        manifest["metadata"] = json!({"name": name, "namespace": namespace});
        api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(manifest)).await?;
        Ok(())
    };
    let ready = async |namespace: &str| -> Result<usize> {
        let api = Api::<VpcPeering>::namespaced(world.client.clone(), namespace);
        Ok(api.list(&ListParams::default()).await?.items.iter().filter(|object| is_ready(object)).count())
    };
    for number in 0..RESOURCES {
        apply(&world.namespace, number).await?;
    }
    eventually("EC2 refuses", Duration::from_secs(60), async || {
        let refused = count_throttled(&world).await?.0;
        ensure!(refused > 0, "no call was throttled yet");
        Ok(())
    })
    .await?;
    apply(&other, RESOURCES).await?;
    eventually("the resource of the other namespace", Duration::from_secs(180), async || {
        ensure!(ready(&other).await? == 1, "{} of the first namespace are ready", ready(&world.namespace).await?);
        Ok(())
    })
    .await
    .map_err(|error| world.with_log(error))?;
    let crowd = ready(&world.namespace).await?;
    ensure!(crowd < RESOURCES * 9 / 10, "the first namespace was served first: {crowd} ready");

    eventually("all", Duration::from_secs(300), async || {
        // A list of all resources is expensive for the API server.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let crowd = ready(&world.namespace).await?;
        ensure!(crowd == RESOURCES, "{crowd} are ready: {:?}", count_throttled(&world).await?);
        Ok(())
    })
    .await
    .map_err(|error| world.with_log(error))?;
    let (refused, calls) = count_throttled(&world).await?;
    // Most calls are throttled at the beginning, before the operator knows the limit. `make bench` measures a longer
    // time.
    ensure!(refused * 10 <= calls, "{refused} of {calls} calls were refused");
    Ok(())
}

/// Number of throttled calls, and of all calls.
async fn count_throttled(world: &World) -> Result<(u64, u64)> {
    let query = Query { code: Some("RequestLimitExceeded".into()), ..Query::default() };
    let journal = world.simulator().journal(&query).await?;
    let made = ["CreateVpc"];
    let calls = journal.counters.iter().filter(|(action, _)| !made.contains(&action.as_str()));
    Ok((journal.entries.len() as u64, calls.map(|(_, counter)| counter.calls).sum()))
}

pub async fn watch_selectors_divide_a_namespace(world: World) -> Result<()> {
    let of = |shard: &str| {
        let operator = world.operator.clone().with("WATCH_SELECTOR", &format!("shard={shard}"));
        operator.with_log(&format!("shard-{shard}"))
    };
    let second = world.with_name("second");
    let manifest = |world: &World, shard: &str| {
        let mut manifest = world.manifest();
        manifest["metadata"]["labels"] = json!({"shard": shard});
        manifest
    };
    let two = of("2").start().await?;
    let vpc = ec2::create_vpc(&world.ec2, "10.7.0.0/16").await?;
    let mut other = manifest(&second, "2");
    other["spec"]["accepter"]["vpcId"] = json!(vpc);
    world.apply(&manifest(&world, "1")).await?;
    second.apply(&other).await?;
    second.until_ready().await?;
    ensure!(world.get().await?.finalizers().is_empty(), "an operator with another selector reconciled the resource");
    let one = of("1").start().await?;
    world.until_ready().await?;

    // The new label hands the resource over to the other operator.
    world.patch(json!({"metadata": {"labels": {"shard": "2"}}})).await?;
    one.terminate().await?;
    world.delete().await?;
    world.until_gone().await?;
    ensure!(world.live_peerings().await?.len() == 1, "the other peering is gone");
    two.terminate().await?;
    Ok(())
}

pub async fn a_large_region_is_polled_with_filters(world: World) -> Result<()> {
    // More than two pages, with none of the test's connections.
    const OTHERS: usize = 2_500;
    let mut scene = serde_json::to_value(world.simulator().save().await?)?;
    let end =
        |number: usize| json!({"account": "111111111111", "region": REGION, "vpc_id": format!("vpc-{number:017x}")});
    let peerings = (0..OTHERS).map(|number| {
        let (requester, accepter) = (end(2 * number), end(2 * number + 1));
        json!({
            "id": format!("pcx-{number:017x}"),
            "requester": requester,
            "accepter": accepter,
            "phase": {"code": "active"},
        })
    });
    scene["peerings"] = peerings.collect();
    world.simulator().load(&serde_json::from_value(scene)?).await?;
    // The second full listing would come after the end of the test.
    let operator = world.operator.clone().with("POLL_INTERVAL", "1h");
    let running = operator.start().await?;
    world.apply(&world.manifest()).await?;
    let one = world.until_ready().await?;
    world.delete().await?;
    world.until_gone().await?;
    let query = Query { action: Some("DescribeVpcPeeringConnections".into()), ..Query::default() };
    let entries = world.simulator().journal(&query).await?.entries;
    let filtered = entries.iter().filter(|entry| entry.parameters.contains_key("Filter.1.Name")).count();
    // The operator lists everything once, and then only its own connections. The test's own calls have no `MaxResults`.
    let pages = entries.iter().filter(|entry| entry.parameters.contains_key("MaxResults")).count() - filtered;
    ensure!(pages == OTHERS.div_ceil(1_000) && (4..40).contains(&filtered), "{pages} pages, {filtered} filtered calls");

    // An orphaned connection between other VPCs is not touched, and blocks nothing.
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    running.kill().await?;
    world.delete().await?;
    world.shared.control_plane.remove_finalizers("vpcpeering", &world.namespace, &world.name).await?;
    world.until_gone().await?;
    world.clear_journal().await?;
    let requester = ec2::create_vpc(&world.ec2, "10.3.0.0/16").await?;
    let accepter = ec2::create_vpc(&world.ec2, "10.4.0.0/16").await?;
    let ends = json!({"requester": {"vpcId": requester, "region": REGION}, "accepter": {"vpcId": accepter}});
    world.apply(&world.manifest_with(ends)).await?;
    let _running = operator.start().await?;
    let other = world.until_ready().await?;
    ensure!(connection_id(&one) != connection_id(&other));
    let counters = world.simulator().journal(&Query::default()).await?.counters;
    let deletions = counters.get("DeleteVpcPeeringConnection").map_or(0, |calls| calls.calls);
    ensure!(deletions == 0, "{counters:?}");
    Ok(())
}

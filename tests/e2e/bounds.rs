//! Large resources must not exhaust the operator's memory. These tests use the largest ones that the API server
//! accepts, under the memory limit of the chart.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::memory_limit::MemoryLimit;
use super::world::{self, Cloud, World, condition};

/// Number of large resources.
const LARGE_RESOURCES: usize = 200;

/// Size of an object that still fits into etcd, in bytes. etcd accepts requests of up to 1.5 MiB, and the API server
/// adds `managedFields`.
const LARGEST: usize = 1_400_000;

/// Size of the largest field that the operator still reads, in bytes. The rest of the object needs the difference to 1
/// MiB.
const READ: usize = (1 << 20) - 20_000;

/// Maximum size of all annotations of an object together, in bytes.
/// <https://github.com/kubernetes/apimachinery/blob/master/pkg/api/validation/objectmeta.go>
const ANNOTATIONS: usize = 256 * 1024;

pub async fn the_largest_resources_fit_into_the_memory_limit(world: World) -> Result<()> {
    let world = World::new(world.shared.with_own_control_plane().await?, &world.namespace, Cloud::Simulator).await?;
    let crowd = stream::iter(0..LARGE_RESOURCES).map(|number| create(&world, number)).buffer_unordered(4);
    crowd.try_collect::<()>().await?;
    let memory_limit = MemoryLimit::of_chart(&world)?;
    let operator = memory_limit.apply_to(world.operator.clone().with("LOG_LEVEL", "info"));
    // At the second start, the resources contain the status that the first run has written.
    for start in 1..=2 {
        let running = operator.start().await?;
        environment::eventually("operator ready", Duration::from_secs(60), async || {
            running.get("/readyz").await.map(drop)
        })
        .await?;
        let applied = Instant::now();
        world.apply(&world.manifest()).await?;
        // Under the memory limit, the kernel drops the code of the debug build and reads it from the disk again.
        let outcome = environment::eventually("ready", Duration::from_secs(180), async || {
            let object = world.get().await?;
            ensure!(condition(&object, "Ready").is_some_and(|ready| ready.status == "True"));
            Ok(())
        })
        .await;
        memory_limit.check(&running).with_context(|| format!("start {start}"))?;
        outcome?;
        eprintln!("{LARGE_RESOURCES} of the largest: the ordinary one was ready after {:?}", applied.elapsed());
        for number in 0..8 {
            environment::eventually("the condition", Duration::from_secs(60), async || {
                let object = api(&world, number).get(&format!("large-{number}")).await?;
                let has_condition = object.data["status"]["conditions"].is_array();
                ensure!(has_condition == is_read(number), "large-{number}: has conditions: {has_condition}");
                Ok(())
            })
            .await?;
        }
        memory_limit.check(&running)?;
        running.get("/livez").await?;
        running.kill().await?;
        world.delete().await?;
        world.shared.control_plane.remove_finalizers("vpcpeering", &world.namespace, &world.name).await?;
        world.until_gone().await?;
        for connection in world.live_peerings().await? {
            let id = connection.vpc_peering_connection_id().unwrap_or_default();
            world.ec2.delete_vpc_peering_connection().vpc_peering_connection_id(id).send().await?;
        }
    }
    Ok(())
}

/// Whether a large resource is small enough for the operator to read. Only then it gets conditions.
fn is_read(number: usize) -> bool {
    ![2, 4].contains(&(number % 8))
}

fn api(world: &World, number: usize) -> Api<DynamicObject> {
    api_as(world.client.clone(), world, number)
}

fn api_as(client: kube::Client, world: &World, number: usize) -> Api<DynamicObject> {
    let (kind, plural) = kind_of(number);
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("vpcpeering.dev", "v1alpha1", kind), plural);
    Api::namespaced_with(client, &world.namespace, &resource)
}

fn kind_of(number: usize) -> (&'static str, &'static str) {
    match number % 8 {
        3 => ("VpcPeeringAccepter", "vpcpeeringaccepters"),
        _ => ("VpcPeering", "vpcpeerings"),
    }
}

/// Creates a large resource. Some have the maximum size of the API server, others that of the operator.
async fn create(world: &World, number: usize) -> Result<()> {
    let (api, kind) = (api(world, number), kind_of(number).0);
    let name = format!("large-{number}");
    let end = |side: usize| json!({"vpcId": format!("vpc-{:017x}", 2 * number + side), "region": world::REGION});
    let mut manifest = json!({
        "apiVersion": "vpcpeering.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": world.namespace},
        "spec": {"requester": end(0), "accepter": end(1)},
    });
    // This identity does not exist. The test measures only the memory for reading the resource.
    manifest["spec"]["requester"]["identityRef"] = json!({"name": "no-such-identity"});
    let metadata = &mut manifest["metadata"];
    match number % 8 {
        // Each label takes 131 bytes, and 70 bytes in `managedFields`.
        0 => {
            metadata["labels"] =
                (0..READ / 202).map(|number| (format!("{number:063}"), json!("v".repeat(63)))).collect()
        }
        1 | 7 => metadata["annotations"] = json!({"notes": "n".repeat(ANNOTATIONS - 100)}),
        3 => manifest["spec"] = largest_spec(number),
        _ => {}
    }
    match number % 8 {
        1 => manifest["metadata"]["ownerReferences"] = owner(READ - ANNOTATIONS),
        2 => manifest["metadata"]["ownerReferences"] = owner(LARGEST),
        _ => {}
    }
    api.create(&PostParams::default(), &serde_json::from_value(manifest)?).await.with_context(|| name.clone())?;
    // Large statuses, within the schema.
    let route =
        json!({"side": "Accepter", "routeTableId": "", "destinationCidrBlock": "", "vpcPeeringConnectionId": ""});
    let status = match number % 8 {
        4 => json!({"status": {"code": "active", "message": "m".repeat(LARGEST)}}),
        5 => json!({"routes": vec![route; 3_200]}),
        6 => json!({"managedTags": vec![json!({"key": "", "value": ""}); 5_000]}),
        7 => json!({"status": {"code": "active", "message": "m".repeat(600_000)}}),
        _ => return Ok(()),
    };
    let patch = Patch::Merge(json!({"status": status}));
    // The admission policy allows only the operator to write the status.
    let client = world.shared.control_plane.admin_as_operator().await?;
    let api = api_as(client, world, number);
    api.patch_status(&name, &PatchParams::default(), &patch).await.with_context(|| name)?;
    Ok(())
}

/// The size limits of the schema that `validation` does not cover.
pub async fn the_schema_limits_the_size_of_resources(world: World) -> Result<()> {
    let kubectl = async |manifest: &Value| {
        let file = world.shared.control_plane.folder().join(format!("{}.json", world.namespace));
        std::fs::write(&file, manifest.to_string())?;
        world.shared.control_plane.kubectl(&["create", "--dry-run=server", "-f", &file.to_string_lossy()]).await
    };
    let accepter = |accept: usize, deny: usize| {
        let entries = |number: usize, entry: fn(Vec<String>) -> Value| {
            // Fifty IDs in each entry.
            let ids = |first: usize| (first..number.min(first + 50)).map(|number| format!("vpc-{number:017x}"));
            (0..number).step_by(50).map(|first| entry(ids(first).collect())).collect::<Value>()
        };
        let accepted = |ids| {
            let all = json!({"all": true});
            json!({"ownerId": "222222222222", "vpcs": {"list": ids}, "regions": all, "cidrBlocks": all})
        };
        let denied = |ids| json!({"ownerId": "222222222222", "vpcIds": ids});
        json!({
            "apiVersion": "vpcpeering.dev/v1alpha1",
            "kind": "VpcPeeringAccepter",
            "metadata": {"name": "many", "namespace": world.namespace},
            "spec": {
                "vpcId": world.requester,
                "region": world::REGION,
                "accept": entries(accept, accepted),
                "deny": entries(deny, denied),
            },
        })
    };
    kubectl(&accepter(1_000, 1_000)).await?;
    let identity = |selector: Value| {
        json!({
            "apiVersion": "vpcpeering.dev/v1alpha1",
            "kind": "AwsIdentity",
            "metadata": {"name": "many"},
            "spec": {
                "accountId": "222222222222",
                "roleArn": "arn:aws:iam::222222222222:role/peering",
                "allowedNamespaces": {"selector": selector},
            },
        })
    };
    let many: Value = (0..33).map(|number| (format!("k{number}"), json!(""))).collect();
    let refused = [
        (accepter(1_001, 1), "accept must list at most 1000 VPC IDs, regions and CIDR blocks"),
        (accepter(1, 1_001), "deny must list at most 1000 VPC IDs, regions and CIDR blocks"),
        (identity(json!({"matchLabels": {"k".repeat(318): ""}})), "a label key must have at most 317 characters"),
        (identity(json!({"matchLabels": many})), "must have at most 32 "),
    ];
    for (manifest, expected) in refused {
        let refusal = kubectl(&manifest).await.err().with_context(|| format!("accepted: {expected}"))?.to_string();
        ensure!(refusal.contains(expected), "refused with {refusal}, not {expected}");
    }
    Ok(())
}

fn owner(length: usize) -> Value {
    json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "n".repeat(length), "uid": "u"}])
}

/// A spec with every list and every text at the maximum that the schema allows.
fn largest_spec(number: usize) -> Value {
    let text = |length: usize, number: usize| {
        let number = number.to_string();
        // Four bytes in UTF-8: the schema counts characters.
        "\u{1F578}".repeat(length - number.len()) + &number
    };
    let tags = |number: usize| -> Value {
        (0..number).map(|number| json!({"key": text(127, number), "value": text(256, number)})).collect()
    };
    let selector =
        |number: usize| -> Value { (0..number).map(|number| (text(127, number), json!(text(256, number)))).collect() };
    let vpcs = || (0..10).map(|number| format!("vpc-{number:017x}")).collect::<Vec<_>>();
    let regions = || (0..5).map(|number| format!("eu-central-{number}")).collect::<Vec<_>>();
    let blocks =
        || (0..5).map(|number| format!("2001:0db8:0000:0000:0000:0000:{number:04x}:0000/112")).collect::<Vec<_>>();
    let accepted = |number: usize| {
        json!({
            "ownerId": format!("{number:012}"),
            "vpcs": {"list": vpcs()},
            "regions": {"list": regions()},
            "cidrBlocks": {"list": blocks()},
        })
    };
    let denied = |number: usize| {
        json!({
            "ownerId": format!("{number:012}"),
            "vpcIds": vpcs(),
            "regions": regions(),
            "cidrBlocks": blocks(),
        })
    };
    json!({
        "vpcId": format!("vpc-{number:017x}"),
        "identityRef": {"name": "n".repeat(253)},
        "accept": (0..50).map(accepted).collect::<Vec<_>>(),
        "deny": (0..50).map(denied).collect::<Vec<_>>(),
        "tags": tags(36),
        "routes": {"routeTables": {"tags": selector(10)}},
    })
}

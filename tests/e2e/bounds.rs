//! What others write must not exhaust the operator: the largest resources that the API server takes, under the memory
//! limit of the chart.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use environment::RunningOperator;
use futures::{StreamExt, TryStreamExt, stream};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::world::{self, Cloud, World};

/// How many large resources there are.
const CROWD: usize = 200;

/// What fits into etcd, in bytes: it takes requests of up to 1.5 MiB, and the API server adds `managedFields`.
const LARGEST: usize = 1_400_000;

/// What the operator still reads, in bytes, with something left for the rest of the object.
const READ: usize = (1 << 20) - 20_000;

/// The most bytes of all annotations of an object together.
/// <https://github.com/kubernetes/apimachinery/blob/master/pkg/api/validation/objectmeta.go>
const ANNOTATIONS: usize = 256 * 1024;

pub async fn the_largest_resources_leave_the_operator_its_memory(world: World) -> Result<()> {
    let world = World::new(world.shared.apart().await?, &world.namespace, Cloud::Simulator).await?;
    let crowd = stream::iter(0..CROWD).map(|number| create(&world, number)).buffer_unordered(4);
    crowd.try_collect::<()>().await?;
    let limit = chart_limit()?;
    let jail = Jail::new(&world, limit)?;
    let mut operator = world.operator.clone().with("LOG_LEVEL", "info");
    if let Some(program) = &jail.program {
        operator.program.clone_from(program);
    }
    // The second start finds what the first one has written to the resources.
    for start in 1..=2 {
        let running = operator.start().await?;
        world.apply(&world.manifest()).await?;
        let outcome = world.until_ready().await.map(drop);
        jail.check(&running, limit).with_context(|| format!("start {start}"))?;
        outcome?;
        for number in 0..8 {
            environment::eventually("told", Duration::from_secs(60), async || {
                let object = api(&world, number).get(&format!("large-{number}")).await?;
                let is_told = object.data["status"]["conditions"].is_array();
                ensure!(is_told == is_read(number), "large-{number}: told: {is_told}");
                Ok(())
            })
            .await?;
        }
        jail.check(&running, limit)?;
        running.get("/livez").await?;
        running.kill().await?;
        world.delete().await?;
        world.shared.control_plane.remove_finalizers("vpcpeering", &world.namespace, &world.name).await?;
        world.until_gone().await?;
        for connection in world.living().await? {
            let id = connection.vpc_peering_connection_id().unwrap_or_default();
            world.ec2.delete_vpc_peering_connection().vpc_peering_connection_id(id).send().await?;
        }
    }
    Ok(())
}

/// Whether the operator reads one of the crowd, and so says in its status what stands in its way.
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

/// Creates one of the crowd. Some are as large as the API server takes them, others as the operator reads or keeps them.
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
    // There is no such identity: what matters is what it costs to find that out.
    manifest["spec"]["requester"]["identityRef"] = json!({"name": "nobodys"});
    let metadata = &mut manifest["metadata"];
    match number % 8 {
        // Each takes 131 bytes, and 70 more in `managedFields`.
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
    // What anybody may write who may write to the status.
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
    // Only the operator writes the status.
    let client = world.shared.control_plane.admin_as_operator().await?;
    let api = api_as(client, world, number);
    api.patch_status(&name, &PatchParams::default(), &patch).await.with_context(|| name)?;
    Ok(())
}

/// What the schema limits beside the rows of `validation`.
pub async fn what_takes_memory_is_limited_by_the_schema(world: World) -> Result<()> {
    let kubectl = async |manifest: &Value| {
        let file = world.shared.control_plane.folder().join(format!("{}.json", world.namespace));
        std::fs::write(&file, manifest.to_string())?;
        world.shared.control_plane.kubectl(&["create", "--dry-run=server", "-f", &file.to_string_lossy()]).await
    };
    let accepter = |accept: usize, deny: usize| {
        let entries = |number: usize, entry: fn(Vec<String>) -> Value| {
            // Fifty to an entry.
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
            "spec": {"vpcId": world.requester, "region": world::REGION, "accept": entries(accept, accepted), "deny": entries(deny, denied)},
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

/// Every list as long, and every text as large, as the schema allows.
fn largest_spec(number: usize) -> Value {
    let text = |length: usize, number: usize| {
        let number = number.to_string();
        // Four bytes each.
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

/// The memory limit of the chart, in bytes.
fn chart_limit() -> Result<u64> {
    let values = std::fs::read_to_string(environment::repository().join("charts/vpc-peering-operator/values.yaml"))?;
    let values: Value = serde_saphyr::from_str(&values)?;
    let limit = values["resources"]["limits"]["memory"].as_str().context("the chart has no memory limit")?;
    let mebibytes: u64 = limit.strip_suffix("Mi").context("the limit is not in MiB")?.parse()?;
    Ok(mebibytes << 20)
}

/// A memory cgroup, or, where none can be made, a look at what the process has taken.
///
/// The test's binary is a debug build. Its code takes some hundred MiB more than that of a release, but code is mapped
/// from a file: the kernel counts it, and drops it before it kills anybody. So the limit is the chart's, to the byte.
struct Jail {
    folder: Option<PathBuf>,
    /// What starts the operator in it.
    program: Option<PathBuf>,
}

impl Jail {
    fn new(world: &World, limit: u64) -> Result<Self> {
        let name = format!("vpc-peering-operator-{}", std::process::id());
        // Version 1 of cgroups, or version 2.
        for (parent, file) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
            let folder = Path::new(parent).join(&name);
            if std::fs::create_dir(&folder).is_err() {
                continue;
            }
            let mut jail = Self { folder: Some(folder.clone()), program: None };
            if std::fs::write(folder.join(file), limit.to_string()).is_err() {
                continue;
            }
            let program = world.shared.control_plane.folder().join("jailed.sh");
            let (processes, operator) = (folder.join("cgroup.procs"), &world.operator.program);
            let script =
                format!("#!/bin/sh\necho $$ > {} && exec {} \"$@\"\n", processes.display(), operator.display());
            std::fs::write(&program, script)?;
            std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
            jail.program = Some(program);
            return Ok(jail);
        }
        eprintln!("no memory cgroup can be made; the operator's peak is measured instead");
        Ok(Self { folder: None, program: None })
    }

    /// Fails if the operator took more than the limit.
    fn check(&self, operator: &RunningOperator, limit: u64) -> Result<()> {
        let Some(folder) = &self.folder else {
            let status = std::fs::read_to_string(format!("/proc/{}/status", operator.id())).context("it has ended")?;
            let (peak, code) = (kibibytes(&status, "VmHWM")?, kibibytes(&status, "RssFile")?);
            ensure!((peak - code) * 1024 <= limit, "it took {peak} KiB, of which {code} KiB are code");
            return Ok(());
        };
        let kills = ["memory.oom_control", "memory.events"].iter().find_map(|file| {
            let text = std::fs::read_to_string(folder.join(file)).ok()?;
            text.lines().find_map(|line| line.strip_prefix("oom_kill ")).map(str::to_owned)
        });
        ensure!(kills.as_deref() == Some("0"), "the kernel killed it: oom_kill {kills:?}");
        Ok(())
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        // It is empty once the operator has ended, which was asked for by then.
        if let Some(folder) = &self.folder {
            let ended = (0..100).any(|_| {
                std::thread::sleep(Duration::from_millis(20));
                std::fs::remove_dir(folder).is_ok()
            });
            if !ended {
                eprintln!("{} is left", folder.display());
            }
        }
    }
}

fn kibibytes(status: &str, field: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let text = line.and_then(|line| line.trim().strip_suffix(" kB")).with_context(|| format!("no {field}"))?;
    Ok(text.trim().parse()?)
}

//! What it costs: figures of the operator's release build on a real API server and a simulated EC2, beside what was
//! aimed at. Prints a table, and writes it as JSON.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ec2_simulator::clock::Clock;
use ec2_simulator::journal::Query;
use ec2_simulator::{Client as Simulator, Scene, Server};
use environment::operator::RunningOperator;
use environment::{ControlPlane, Operator, repository};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::watcher::Config;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::watch;
use vpc_peering_operator::api::VpcPeering;

const REGION: &str = "eu-central-1";
/// As long as the slowest of all steps may take.
const LIMIT: Duration = Duration::from_secs(300);
/// For how long the operator is watched at rest.
const REST: Duration = Duration::from_secs(30);
/// How often it polls at rest.
const POLL: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<()> {
    let quick = std::env::var("BENCH").is_ok_and(|bench| bench == "quick");
    let sizes: &[usize] = if quick { &[1_000] } else { &[1_000, 10_000] };
    let mut rows = Vec::new();
    for size in sizes {
        println!("{size} resources …");
        rows.extend(measure(*size).await?);
    }
    println!("\n{:<54} {:>12} {:>12}", "figure", "measured", "goal");
    for row in &rows {
        let goal = row.goal.map(|goal| format!("≤ {goal}")).unwrap_or_default();
        let missed = if row.goal.is_some_and(|goal| row.measured > goal) { "  missed" } else { "" };
        println!("{:<54} {:>12.3} {goal:>12}{missed}", row.figure, row.measured);
    }
    let rows: Vec<Value> =
        rows.iter().map(|row| json!({"figure": row.figure, "measured": row.measured, "goal": row.goal})).collect();
    let file = repository().join("target/bench.json");
    std::fs::write(&file, serde_json::to_string_pretty(&rows)?)?;
    Ok(())
}

struct Row {
    figure: String,
    measured: f64,
    goal: Option<f64>,
}

/// The API server, EC2 and the operator, and what is asked of them.
struct Bench {
    control_plane: ControlPlane,
    simulator: Simulator,
    _server: Server,
    operator: Operator,
    api: Api<VpcPeering>,
    /// The names of those that are ready.
    ready: watch::Receiver<HashSet<String>>,
}

/// What had been spent by some time.
#[derive(Clone, Copy, Debug)]
struct Spent {
    mutating: u64,
    describes: u64,
    /// Writes to the resources: every one of them raises a resource version.
    cpu: f64,
}

async fn measure(size: usize) -> Result<Vec<Row>> {
    let bench = Bench::start(size).await?;
    let mut rows = Vec::new();
    let mut row = |figure: &str, measured: f64, goal: Option<f64>| {
        rows.push(Row { figure: format!("{size}: {figure}"), measured, goal });
    };
    let mut running = bench.operator.start().await?;
    bench.apply(0).await?;
    bench.until_active(1).await?;
    row("memory with one resource, MiB", memory(&running)?, Some(15.0));

    let before = bench.spent(&running).await?;
    let start = Instant::now();
    stream::iter(1..=size).map(|number| bench.apply(number)).buffer_unordered(64).try_collect::<Vec<_>>().await?;
    let applied = start.elapsed();
    bench.until_active(size + 1).await?;
    let settled = start.elapsed();
    let after = bench.spent(&running).await?;
    let each = |spent: u64| spent as f64 / size as f64;
    row("apply itself, s", applied.as_secs_f64(), None);
    row("apply → all active, s", settled.as_secs_f64(), (size == 1_000).then_some(15.0));
    row("mutating EC2 calls until then, per resource", each(after.mutating - before.mutating), Some(2.0));
    row("Describe calls until then, per resource", each(after.describes - before.describes), Some(0.1));
    row("CPU time until then, s", after.cpu - before.cpu, None);
    row("memory then, MiB", memory(&running)?, (size == 10_000).then_some(60.0));

    let one = Instant::now();
    bench.apply(size + 1).await?;
    bench.until_ready(size + 1).await?;
    let own = 0.7;
    row("apply → Ready of one more, beyond EC2's own time, s", one.elapsed().as_secs_f64() - own, Some(1.0));

    tokio::time::sleep(POLL * 2).await;
    let (before, versions) = (bench.spent(&running).await?, bench.versions().await?);
    tokio::time::sleep(REST).await;
    let (after, later) = (bench.spent(&running).await?, bench.versions().await?);
    let polls = REST.as_secs_f64() / POLL.as_secs_f64();
    let pages = (size + 2).div_ceil(1_000) as f64;
    row("EC2 calls at rest, per poll and page", (after.describes - before.describes) as f64 / polls / pages, Some(1.2));
    row("mutating EC2 calls at rest", (after.mutating - before.mutating) as f64, Some(0.0));
    row(
        "writes to the API server at rest",
        versions.iter().zip(&later).filter(|(one, two)| one != two).count() as f64,
        Some(0.0),
    );
    row("CPU at rest, % of a core", (after.cpu - before.cpu) / REST.as_secs_f64() * 100.0, Some(1.0));

    let before = bench.spent(&running).await?;
    running.kill().await?;
    running = bench.operator.start().await?;
    let start = Instant::now();
    tokio::time::sleep(Duration::from_millis(500)).await;
    // Busy until every resource has been looked at.
    let mut cpu = 0.0;
    loop {
        let now = bench.spent(&running).await?.cpu;
        if now - cpu < 0.02 {
            break;
        }
        cpu = now;
        ensure!(start.elapsed() < LIMIT, "the operator does not come to rest after its restart");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    row("restart → at rest again, s", start.elapsed().as_secs_f64(), Some(10.0));
    row("mutating EC2 calls of a restart", (bench.spent(&running).await?.mutating - before.mutating) as f64, Some(0.0));
    let writes = later.iter().zip(bench.versions().await?).filter(|(one, two)| *one != two).count();
    row("writes to the API server of a restart", writes as f64, Some(0.0));
    Ok(rows)
}

impl Bench {
    async fn start(size: usize) -> Result<Self> {
        let control_plane = ControlPlane::start().await?;
        let simulator = ec2_simulator::Simulator::new(Default::default(), Clock::new(Timestamp::now(), 1.0), 1);
        let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), simulator).await?;
        let simulator = Simulator::new(&server.url());
        let vpc = |id: String, block: &str| json!({"id": id, "account": "111111111111", "region": REGION, "cidr_blocks": [block]});
        let vpcs: Vec<_> = (0..=size + 1)
            .flat_map(|number| [vpc(requester(number), "10.1.0.0/16"), vpc(accepter(number), "10.2.0.0/16")])
            .collect();
        let settings = json!({"quotas": {"outstanding": 1_000_000}});
        let scene: Scene = serde_json::from_value(json!({"vpcs": vpcs, "settings": settings}))?;
        simulator.load(&scene).await?;
        let program = std::env::var_os("OPERATOR")
            .map_or_else(|| repository().join("target/release/vpc-peering-operator"), PathBuf::from);
        ensure!(program.exists(), "{} is missing; use `make bench`", program.display());
        let operator = Operator::new(&program, &control_plane, &server.url(), "operator.log")
            .await?
            .with("POLL_INTERVAL", &format!("{}s", POLL.as_secs()))
            .with("LOG_LEVEL", "warn");
        let api = Api::namespaced(control_plane.admin().await?, "default");
        let ready = follow(api.clone());
        Ok(Self { control_plane, simulator, _server: server, operator, api, ready })
    }

    async fn apply(&self, number: usize) -> Result<()> {
        let name = format!("peering-{number}");
        let manifest = json!({
            "apiVersion": "vpcpeering.dev/v1alpha1",
            "kind": "VpcPeering",
            "metadata": {"name": name},
            "spec": {"requester": {"vpcId": requester(number), "region": REGION}, "accepter": {"vpcId": accepter(number)}},
        });
        self.api.patch(&name, &PatchParams::apply("bench").force(), &Patch::Apply(manifest)).await?;
        Ok(())
    }

    async fn until_ready(&self, number: usize) -> Result<()> {
        let name = format!("peering-{number}");
        self.until(|ready| ready.contains(&name)).await
    }

    async fn until_active(&self, number: usize) -> Result<()> {
        self.until(|ready| ready.len() >= number).await
    }

    async fn until(&self, is_so: impl Fn(&HashSet<String>) -> bool) -> Result<()> {
        let mut ready = self.ready.clone();
        let ready = tokio::time::timeout(LIMIT, ready.wait_for(is_so)).await;
        ready.context("not ready in time")?.map(drop).context("the watch has ended")
    }

    async fn versions(&self) -> Result<Vec<Option<String>>> {
        let mut objects = self.api.list(&ListParams::default()).await?.items;
        objects.sort_by(|one, two| one.metadata.name.cmp(&two.metadata.name));
        Ok(objects.into_iter().map(|object| object.metadata.resource_version).collect())
    }

    async fn spent(&self, running: &RunningOperator) -> Result<Spent> {
        let nothing = Query { action: Some("none".into()), ..Query::default() };
        let counters = self.simulator.journal(&nothing).await?.counters;
        let calls = |describe: bool| {
            counters
                .iter()
                .filter(|(action, _)| action.starts_with("Describe") == describe)
                .map(|(_, counter)| counter.calls)
                .sum()
        };
        // The folder is the bench's own, so that this is the place to keep it alive.
        ensure!(self.control_plane.folder().exists());
        Ok(Spent { mutating: calls(false), describes: calls(true), cpu: cpu(running)? })
    }
}

/// Watches which resources are ready; a list of all of them, again and again, would cost more than what is measured.
fn follow(api: Api<VpcPeering>) -> watch::Receiver<HashSet<String>> {
    let (sender, ready) = watch::channel(HashSet::new());
    tokio::spawn(async move {
        let mut objects = watcher(api, Config::default()).default_backoff().applied_objects().boxed();
        while let Some(object) = objects.next().await {
            if let Ok(object) = object
                && is_active(&object)
            {
                sender.send_if_modified(|ready| ready.insert(object.name_any()));
            }
        }
    });
    ready
}

fn is_active(object: &VpcPeering) -> bool {
    let conditions = object.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn requester(number: usize) -> String {
    format!("vpc-{:017x}", number * 2)
}

fn accepter(number: usize) -> String {
    format!("vpc-{:017x}", number * 2 + 1)
}

/// Resident memory in MiB.
fn memory(running: &RunningOperator) -> Result<f64> {
    let status = proc(running, "status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes / 1024.0)
}

/// CPU time in seconds, by the kernel's hundredths.
fn cpu(running: &RunningOperator) -> Result<f64> {
    let stat = proc(running, "stat")?;
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = fields.iter().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / 100.0)
}

fn proc(running: &RunningOperator, file: &str) -> Result<String> {
    let path = Path::new("/proc").join(running.id().to_string()).join(file);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

//! What it costs: figures of the operator's release build on a real API server and a simulated EC2, beside what was
//! aimed at. Prints a table, and writes it as JSON.

mod others;
mod resources;

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ec2_simulator::clock::Clock;
use ec2_simulator::journal::Query;
use ec2_simulator::world::Role;
use ec2_simulator::{Client as Simulator, Scene, Server};
use environment::operator::RunningOperator;
use environment::{ControlPlane, Operator, eventually, repository};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::Config;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::watch;

use resources::{AwsIdentity, VpcPeering};

/// The account of the operator's own credentials.
const OWN_ACCOUNT: &str = "111111111111";
const REGIONS: [&str; 4] = ["eu-central-1", "eu-west-1", "us-east-1", "ap-southeast-2"];
/// As long as the slowest of all steps may take.
const LIMIT: Duration = Duration::from_secs(600);
/// For how long the operator is watched at rest.
const REST: Duration = Duration::from_secs(30);
/// What EC2 takes by itself from request to active.
const OF_EC2: f64 = 0.7;
/// How many more are made one after the other, of which the median counts.
const MORE: usize = 5;
const PAUSE: Duration = Duration::from_secs(2);
/// How long the last Events take at least, and at most.
const EVENTS: (Duration, Duration) = (Duration::from_millis(12_500), Duration::from_secs(50));
/// How often it polls at rest.
const POLL: Duration = Duration::from_secs(5);
/// How much later it is in EC2 with each: an hour in all.
const POLL_OF_EC2: Duration = Duration::from_secs(600);
/// How often memory is looked at: while much goes on, and through two polls.
const SOON: Duration = Duration::from_millis(100);
const SELDOM: Duration = Duration::from_millis(500);
/// What the API server calls requests that change something.
const WRITES: [&str; 6] = ["APPLY", "DELETE", "DELETECOLLECTION", "PATCH", "POST", "PUT"];

#[tokio::main]
async fn main() -> Result<()> {
    let bench = std::env::var("BENCH").unwrap_or_default();
    let (sizes, at_the_limit_of) = match (bench.as_str(), bench.parse()) {
        ("quick", _) => (vec![1_000], 240),
        (_, Ok(size)) => (vec![size], size),
        ("", _) => (vec![1_000, 10_000], 500),
        _ => anyhow::bail!("BENCH is {bench:?}; leave it out, or use quick or a number of resources"),
    };
    let start = Instant::now();
    let mut rows = Vec::new();
    for size in sizes {
        println!("{size} resources …");
        rows.extend(measure(size).await?);
    }
    if bench != "quick" {
        println!("{ACCOUNTS} accounts, {} regions each …", REGIONS.len());
        rows.extend(in_many_places().await?);
    }
    println!("{at_the_limit_of} resources at EC2's documented limits, and what others do …");
    // Both wait far more than they work.
    let (at_the_limit, by_others) = tokio::try_join!(at_the_limit(at_the_limit_of), async {
        if bench == "quick" { Ok(Vec::new()) } else { others::measure().await }
    })?;
    rows.extend(at_the_limit.into_iter().chain(by_others));
    println!("\n{:<64} {:>10} {:>8} {:>8}", "figure", "measured", "goal", "ACK");
    for row in &rows {
        let goal = match row.goal {
            None => String::new(),
            Some(Goal::AtMost(goal)) => format!("≤ {goal}"),
            Some(Goal::AtLeast(goal)) => format!("≥ {goal}"),
        };
        let ack = row.ack.map(|ack| ack.to_string()).unwrap_or_default();
        let missed = if row.is_missed() { "  missed" } else { "" };
        println!("{:<64} {:>10.3} {goal:>8} {ack:>8}{missed}", row.figure, row.measured);
    }
    println!("in {:.0} s", start.elapsed().as_secs_f64());
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let (limit, goal) = match row.goal {
                None => (None, None),
                Some(Goal::AtMost(goal)) => (Some("at most"), Some(goal)),
                Some(Goal::AtLeast(goal)) => (Some("at least"), Some(goal)),
            };
            json!({
                "figure": row.figure, "measured": row.measured, "limit": limit, "goal": goal, "ack": row.ack,
                "missed": row.is_missed(),
            })
        })
        .collect();
    let file = repository().join("target/bench.json");
    std::fs::write(&file, serde_json::to_string_pretty(&rows)?)?;
    Ok(())
}

/// An account and a region.
#[derive(Clone)]
struct Place {
    account: String,
    region: &'static str,
}

struct Row {
    figure: String,
    measured: f64,
    goal: Option<Goal>,
    /// The same of ACK's ec2-controller 1.20 on the same kind of machine, with moto and 1,000 resources.
    ack: Option<f64>,
}

#[derive(Clone, Copy)]
enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

use Goal::{AtLeast, AtMost};

impl Row {
    fn is_missed(&self) -> bool {
        match self.goal {
            None => false,
            Some(AtMost(goal)) => self.measured > goal,
            Some(AtLeast(goal)) => self.measured < goal,
        }
    }
}

/// The API server, EC2 and the operator, and what is asked of them.
struct Bench {
    control_plane: ControlPlane,
    simulator: Simulator,
    /// Where it answers.
    endpoint: String,
    _server: Server,
    operator: Operator,
    /// The resources are spread over these.
    places: Vec<Place>,
    api: Api<VpcPeering>,
    /// The names of those that are ready.
    ready: watch::Receiver<HashSet<String>>,
}

/// What had been spent by some time, or in between.
#[derive(Clone, Copy, Debug)]
struct Spent {
    mutating: u64,
    describes: u64,
    /// What the API server was asked to change, Leases aside.
    writes: u64,
    /// The same of the resources, but for applying them, which only the bench does.
    writes_to_resources: u64,
    /// CPU time in seconds.
    cpu: f64,
}

impl Spent {
    fn since(self, before: Self) -> Self {
        Self {
            mutating: self.mutating - before.mutating,
            describes: self.describes - before.describes,
            writes: self.writes - before.writes,
            writes_to_resources: self.writes_to_resources - before.writes_to_resources,
            cpu: self.cpu - before.cpu,
        }
    }
}

async fn measure(size: usize) -> Result<Vec<Row>> {
    let bench = Bench::start(size, one_place(), json!({})).await?;
    let mut rows = Vec::new();
    let mut row = |figure: &str, measured: f64, goal: Option<Goal>, ack: Option<f64>| {
        // ACK's figures are of a thousand.
        let ack = ack.filter(|_| size == 1_000);
        println!("  {figure}: {measured:.3}");
        rows.push(Row { figure: format!("{size}: {figure}"), measured, goal, ack });
    };
    let started = Instant::now();
    let mut running = bench.operator.start().await?;
    bench.until_serving(&running).await?;
    row("start → the first listing, s", started.elapsed().as_secs_f64(), Some(AtMost(1.0)), None);
    tokio::time::sleep(Duration::from_secs(2)).await;
    row("memory with no resource, MiB", memory(&running)?, Some(AtMost(15.0)), None);
    let one = Instant::now();
    bench.apply(0).await?;
    bench.until_ready(0).await?;
    let beyond = one.elapsed().as_secs_f64() - OF_EC2;
    row("apply → Ready of the first, beyond EC2's own time, s", beyond, Some(AtMost(1.0)), Some(30.0));

    let before = bench.spent(&running).await?;
    let (applied, settled) = bench.settle(1..size + 1).await?;
    let spent = bench.spent(&running).await?.since(before);
    let each = |spent: u64| spent as f64 / size as f64;
    row("apply itself, s", applied.as_secs_f64(), None, None);
    let goal = (size == 1_000).then_some(AtMost(15.0));
    row("apply → all active, s", settled.as_secs_f64(), goal, Some(100.0));
    row("EC2 calls until then, each", each(spent.mutating + spent.describes), Some(AtMost(2.1)), Some(6.0));
    row("mutating EC2 calls until then, each", each(spent.mutating), Some(AtMost(2.0)), Some(2.0));
    row("Describe calls until then, each", each(spent.describes), Some(AtMost(0.1)), Some(4.0));
    row("writes to the API server until then, each", each(spent.writes_to_resources), Some(AtMost(4.0)), None);
    row("CPU time until then, s", spent.cpu, None, Some(16.3));
    let of_memory = (size == 10_000).then_some(AtMost(60.0));
    row("memory then, MiB", usual_memory(&running, SOON).await?, of_memory, Some(79.0));

    until_rest(settled).await;
    let (spent, polls) = bench.rest(&running).await?;
    let pages = (size + 1).div_ceil(1_000) as f64;
    let calls = spent.describes as f64 / polls / pages;
    row("EC2 calls at rest, per poll and page", calls, Some(AtMost(1.2)), None);
    row("mutating EC2 calls at rest", spent.mutating as f64, Some(AtMost(0.0)), None);
    row("writes to the API server at rest", spent.writes as f64, Some(AtMost(0.0)), None);
    row("CPU at rest, polled each minute, % of a core", spent.cpu / polls / 60.0 * 100.0, Some(AtMost(1.0)), None);
    row("memory at rest, MiB", usual_memory(&running, SELDOM).await?, of_memory, None);

    let mut beyond = Vec::new();
    for number in size + 1..=size + MORE {
        // Each of them finds all at rest.
        tokio::time::sleep(PAUSE).await;
        let one = Instant::now();
        bench.apply(number).await?;
        bench.until_ready(number).await?;
        beyond.push(one.elapsed().as_secs_f64() - OF_EC2);
    }
    beyond.sort_by(f64::total_cmp);
    let median = beyond[MORE / 2];
    row("apply → Ready of one more, beyond EC2's own time, s", median, Some(AtMost(1.0)), Some(30.0));
    tokio::time::sleep(POLL).await;

    let before = bench.spent(&running).await?;
    running.kill().await?;
    let start = Instant::now();
    running = bench.operator.start().await?;
    bench.until_verified(&running, size + 1 + MORE).await?;
    row("restart → every one verified, s", start.elapsed().as_secs_f64(), Some(AtMost(10.0)), None);
    let spent = bench.spent(&running).await?.since(before);
    row("mutating EC2 calls of a restart", spent.mutating as f64, Some(AtMost(0.0)), None);
    row("writes to the API server of a restart", spent.writes as f64, Some(AtMost(0.0)), None);
    row("memory after a restart, MiB", usual_memory(&running, SELDOM).await?, of_memory, None);
    if size == 1_000 {
        running.kill().await?;
        let alone = bench.writes_alone(size).await?.as_secs_f64();
        row("the same writes by nobody in particular, s", alone, None, None);
        row("apply → all active, times that", settled.as_secs_f64() / alone, None, None);
    }
    Ok(rows)
}

fn one_place() -> Vec<Place> {
    vec![Place { account: OWN_ACCOUNT.into(), region: REGIONS[0] }]
}

const ACCOUNTS: usize = 20;
/// Resources of each account and region.
const OF_EACH: usize = 5;

/// What rest costs with many accounts and regions, beside what the arithmetic says: a page each.
async fn in_many_places() -> Result<Vec<Row>> {
    let account = |number: usize| format!("{:012}", OWN_ACCOUNT.parse::<u64>().unwrap_or_default() + number as u64);
    let places: Vec<_> =
        (0..ACCOUNTS).flat_map(|number| REGIONS.map(|region| Place { account: account(number), region })).collect();
    let (number_of_places, size) = (places.len(), places.len() * OF_EACH);
    let bench = Bench::start(size, places, json!({})).await?;
    let running = bench.operator.start().await?;
    bench.until_serving(&running).await?;
    let (_, settled) = bench.settle(0..size).await?;
    until_rest(settled).await;
    let (spent, polls) = bench.rest(&running).await?;
    let row = |figure: &str, measured: f64, goal: Option<Goal>| {
        println!("  {figure}: {measured:.3}");
        Row { figure: format!("{size} in {number_of_places} places: {figure}"), measured, goal, ack: None }
    };
    let calls = spent.describes as f64 / polls / number_of_places as f64;
    let cpu = spent.cpu / polls / 60.0 * 100.0;
    Ok(vec![
        row("apply → all active, s", settled.as_secs_f64(), None),
        row("EC2 calls at rest, per poll and place", calls, Some(AtMost(1.2))),
        row("CPU at rest, polled each minute, % of a core", cpu, Some(AtMost(1.0))),
        row("memory at rest, MiB", usual_memory(&running, SELDOM).await?, None),
    ])
}

/// With EC2's documented token buckets: how much of them is used, and how much refused.
async fn at_the_limit(size: usize) -> Result<Vec<Row>> {
    let bench = Bench::start(size, one_place(), json!({"throttling": {}})).await?;
    let running = bench.operator.start().await?;
    bench.until_serving(&running).await?;
    let took = bench.settle(0..size).await?.1.as_secs_f64();
    let (capacity, refill) = (50.0, 5.0);
    let counters = bench.simulator.journal(&nothing()).await?.counters;
    let calls: u64 = counters.values().map(|counter| counter.calls).sum();
    let refused: u64 = counters.values().filter_map(|counter| counter.errors.get("RequestLimitExceeded")).sum();
    let row = |figure: &str, measured: f64, goal: Option<Goal>| Row {
        figure: format!("{size} at the limit: {figure}"),
        measured,
        goal,
        ack: None,
    };
    let used = (size as f64 - capacity) / (refill * took) * 100.0;
    Ok(vec![
        row("apply → all active, s", took, None),
        row("of what the bucket takes in until then, used, %", used, Some(AtLeast(90.0))),
        row("calls refused, % of all", refused as f64 / calls as f64 * 100.0, Some(AtMost(5.0))),
    ])
}

impl Bench {
    async fn start(size: usize, places: Vec<Place>, settings: Value) -> Result<Self> {
        let control_plane = ControlPlane::start().await?;
        let simulator = ec2_simulator::Simulator::new(Default::default(), Clock::new(Timestamp::now(), 1.0), 1);
        let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), simulator).await?;
        let simulator = Simulator::new(&server.url());
        let vpcs: Vec<_> = (0..=size + MORE)
            .flat_map(|number| {
                let Place { account, region } = &places[number % places.len()];
                [(requester(number), "10.1.0.0/16"), (accepter(number), "10.2.0.0/16")]
                    .map(|(id, block)| json!({"id": id, "account": account, "region": region, "cidr_blocks": [block]}))
            })
            .collect();
        let mut settings = settings;
        settings["quotas"] = json!({"outstanding": 1_000_000});
        let scene: Scene = serde_json::from_value(json!({"vpcs": vpcs, "settings": settings}))?;
        simulator.load(&scene).await?;
        let program = std::env::var_os("OPERATOR")
            .map_or_else(|| repository().join("target/release/vpc-peering-operator"), PathBuf::from);
        ensure!(program.exists(), "{} is missing; use `make bench`", program.display());
        let operator = Operator::new(&program, &control_plane, &server.url(), "operator.log")
            .await?
            .with("POLL_INTERVAL", &format!("{}s", POLL.as_secs()))
            .with("OWN_CREDENTIALS_NAMESPACES", "*")
            .with("LOG_LEVEL", "warn,vpc_peering_operator::operator=info");
        let api = Api::namespaced(control_plane.admin().await?, "default");
        let ready = follow(api.clone());
        let endpoint = server.url();
        let bench = Self { control_plane, simulator, endpoint, _server: server, operator, places, api, ready };
        bench.make_identities().await?;
        Ok(bench)
    }

    async fn apply(&self, number: usize) -> Result<()> {
        self.make(&format!("peering-{number}"), number, json!({})).await
    }

    /// Applies these at once; how long that took, and how long until they and all before them were active.
    async fn settle(&self, numbers: Range<usize>) -> Result<(Duration, Duration)> {
        let (start, all) = (Instant::now(), numbers.end);
        stream::iter(numbers).map(|number| self.apply(number)).buffer_unordered(64).try_collect::<Vec<_>>().await?;
        let applied = start.elapsed();
        self.until_active(all).await?;
        Ok((applied, start.elapsed()))
    }

    /// One for each account that is not the operator's own.
    async fn make_identities(&self) -> Result<()> {
        let accounts: HashSet<_> = self.places.iter().map(|place| &place.account).collect();
        let api = Api::<AwsIdentity>::all(self.control_plane.admin().await?);
        for account in accounts.into_iter().filter(|account| *account != OWN_ACCOUNT) {
            let arn = format!("arn:aws:iam::{account}:role/peering");
            self.simulator
                .put_role(&Role { arn: arn.clone(), trusted: vec![OWN_ACCOUNT.into()], external_id: None })
                .await?;
            let identity = json!({
                "apiVersion": "vpcpeering.dev/v1alpha1",
                "kind": "AwsIdentity",
                "metadata": {"name": account},
                "spec": {"accountId": account, "roleArn": arn, "allowedNamespaces": {"all": true},
                    "allowedVpcs": {"all": true}, "allowedRegions": {"all": true}, "allowedPeers": {"all": true},
                    "allowRoutes": true, "allowOptions": true},
            });
            api.patch(account, &PatchParams::apply("bench").force(), &Patch::Apply(identity)).await?;
        }
        Ok(())
    }

    /// A resource with this in its spec beside the two ends.
    async fn make(&self, name: &str, number: usize, mut spec: Value) -> Result<()> {
        let Place { account, region } = &self.places[number % self.places.len()];
        let mut requester = json!({"vpcId": requester(number), "region": region});
        if account != OWN_ACCOUNT {
            requester["identityRef"] = json!({"name": account});
        }
        spec["requester"] = requester;
        spec["accepter"] = json!({"vpcId": accepter(number)});
        let manifest = json!({
            "apiVersion": "vpcpeering.dev/v1alpha1",
            "kind": "VpcPeering",
            "metadata": {"name": name},
            "spec": spec,
        });
        self.api.patch(name, &PatchParams::apply("bench").force(), &Patch::Apply(manifest)).await?;
        Ok(())
    }

    /// What the API server takes for the writes alone: as many resources, each made and written three times, as the
    /// operator does, with nobody looking at EC2.
    async fn writes_alone(&self, size: usize) -> Result<Duration> {
        let object = self.control_plane.kubectl(&["get", "vpcpeering", "peering-0", "--output=json"]).await?;
        let mut object: Value = serde_json::from_str(&object)?;
        let status = object["status"].take();
        let as_operator = Api::<VpcPeering>::namespaced(self.control_plane.admin_as_operator().await?, "default");
        let start = Instant::now();
        let each = async |number: usize| -> Result<()> {
            let name = format!("written-{number}");
            self.make(&name, number, json!({})).await?;
            let finalizer = json!({"metadata": {"finalizers": ["vpcpeering.dev/bench"]}});
            let parameters = PatchParams::default();
            self.api.patch(&name, &parameters, &Patch::Merge(finalizer)).await?;
            for write in ["first", "second"] {
                let mut status = json!({"status": status});
                status["status"]["status"]["message"] = json!(write);
                as_operator.patch_status(&name, &parameters, &Patch::Merge(status)).await?;
            }
            Ok(())
        };
        stream::iter(0..size).map(each).buffer_unordered(64).try_collect::<Vec<_>>().await?;
        Ok(start.elapsed())
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

    /// Until the operator has seen what the API server holds.
    async fn until_serving(&self, running: &RunningOperator) -> Result<()> {
        eventually("ready", LIMIT, async || running.get("/readyz").await.map(drop)).await
    }

    /// Until it has looked at so many resources.
    async fn until_verified(&self, running: &RunningOperator, number: usize) -> Result<()> {
        eventually("verified", LIMIT, async || {
            let metrics = running.get("/metrics").await?;
            let looks =
                sum(&metrics, "controller_runtime_reconcile_total", |series| series.contains("\"vpcpeering\""))?;
            ensure!(looks >= number as f64, "{looks} of {number}");
            Ok(())
        })
        .await
    }

    /// What is spent in a rest, and how many polls it has.
    async fn rest(&self, running: &RunningOperator) -> Result<(Spent, f64)> {
        let before = self.spent(running).await?;
        let start = Instant::now();
        while start.elapsed() < REST {
            tokio::time::sleep(POLL).await;
            self.simulator.advance(POLL_OF_EC2).await?;
        }
        let spent = self.spent(running).await?.since(before);
        Ok((spent, start.elapsed().as_secs_f64() / POLL.as_secs_f64()))
    }

    async fn spent(&self, running: &RunningOperator) -> Result<Spent> {
        let metrics = self.control_plane.kubectl(&["get", "--raw", "/metrics"]).await?;
        let counters = self.simulator.journal(&nothing()).await?.counters;
        let looks = |action: &str| action.starts_with("Describe") || action.starts_with("Get");
        let calls = |looking: bool| {
            counters.iter().filter(|(action, _)| looks(action) == looking).map(|(_, counter)| counter.calls).sum()
        };
        let (mutating, describes, cpu) = (calls(false), calls(true), cpu(running)?);
        let is_write = |series: &str| WRITES.iter().any(|verb| series.contains(&format!("verb=\"{verb}\"")));
        let requests = "apiserver_request_total";
        let writes =
            sum(&metrics, requests, |series| is_write(series) && !series.contains("resource=\"leases\""))? as u64;
        ensure!(writes > 0, "the API server counts no writes, those of the bench included");
        let writes_to_resources = sum(&metrics, requests, |series| {
            is_write(series) && series.contains("resource=\"vpcpeerings\"") && !series.contains("verb=\"APPLY\"")
        })? as u64;
        Ok(Spent { mutating, describes, writes, writes_to_resources, cpu })
    }
}

/// What a metric comes to, over those of its series that count.
fn sum(metrics: &str, metric: &str, counts: impl Fn(&str) -> bool) -> Result<f64> {
    let samples = metrics.lines().filter_map(|line| line.rsplit_once(' '));
    samples
        .filter(|(series, _)| series.split('{').next() == Some(metric) && counts(series))
        .map(|(series, value)| value.parse::<f64>().with_context(|| format!("{series} is {value}")))
        .sum()
}

/// The counters alone.
fn nothing() -> Query {
    Query { action: Some("none".into()), ..Query::default() }
}

/// Watches which resources are ready; a list of all of them, again and again, would cost more than what is measured.
fn follow(api: Api<VpcPeering>) -> watch::Receiver<HashSet<String>> {
    let (sender, ready) = watch::channel(HashSet::new());
    tokio::spawn(async move {
        let mut objects = watcher(api, Config::default()).default_backoff().applied_objects().boxed();
        while let Some(object) = objects.next().await {
            let Ok(object) = object else { continue };
            if is_active(&object) {
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

/// Until the last Events are published, of as many resources as took so long, and EC2 is polled at rest.
async fn until_rest(settled: Duration) {
    tokio::time::sleep((settled / 2).clamp(EVENTS.0, EVENTS.1) + POLL * 2).await;
}

/// Resident memory in MiB.
fn memory(running: &RunningOperator) -> Result<f64> {
    let status = proc(running, "status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes / 1024.0)
}

/// The same at most times: a listing takes more while it is read, which is seldom where it is polled each minute.
async fn usual_memory(running: &RunningOperator, pause: Duration) -> Result<f64> {
    let mut samples = Vec::new();
    for _ in 0..20 {
        tokio::time::sleep(pause).await;
        samples.push(memory(running)?);
    }
    samples.sort_by(f64::total_cmp);
    Ok(samples[samples.len() / 2])
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

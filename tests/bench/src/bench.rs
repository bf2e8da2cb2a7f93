//! The environment of a benchmark: API server, simulated EC2, operator and resources.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ec2_simulator::clock::Clock;
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

use super::resources::{AwsIdentity, VpcPeering};
use super::usage::{Usage, sum};

/// The account of the operator's own credentials.
pub const OWN_ACCOUNT: &str = "111111111111";
pub const REGIONS: [&str; 4] = ["eu-central-1", "eu-west-1", "us-east-1", "ap-southeast-2"];
/// Timeout of every wait.
pub const LIMIT: Duration = Duration::from_secs(600);
/// Resources that are applied one by one after the others, of which the median counts.
pub const EXTRA: usize = 5;
/// Interval at which the idle operator polls EC2.
pub const POLL: Duration = Duration::from_secs(5);
/// How far EC2's clock moves with each poll: an hour over the idle period.
const CLOCK_STEP: Duration = Duration::from_secs(600);
/// How long the idle operator is measured.
const IDLE_PERIOD: Duration = Duration::from_secs(30);
/// Minimum and maximum time to wait for the last Events.
const EVENTS: (Duration, Duration) = (Duration::from_millis(12_500), Duration::from_secs(50));

/// An account and a region.
#[derive(Clone)]
pub struct Location {
    pub account: String,
    pub region: &'static str,
}

impl Location {
    /// The only location of most benchmarks: the operator's own account, in one region.
    pub fn own() -> Self {
        Self { account: OWN_ACCOUNT.into(), region: REGIONS[0] }
    }
}

pub struct Bench {
    pub control_plane: ControlPlane,
    pub simulator: Simulator,
    /// The endpoint URL of the simulator.
    pub endpoint: String,
    _server: Server,
    pub operator: Operator,
    /// The resources are distributed over these locations.
    locations: Vec<Location>,
    pub api: Api<VpcPeering>,
    /// The names of the resources that are ready.
    ready: watch::Receiver<HashSet<String>>,
}

impl Bench {
    /// Starts everything except the operator. `size` is the number of resources, and `settings` are those of the
    /// simulator.
    pub async fn start(size: usize, locations: Vec<Location>, settings: Value) -> Result<Self> {
        let control_plane = ControlPlane::start().await?;
        let simulator = ec2_simulator::Simulator::new(Default::default(), Clock::new(Timestamp::now(), 1.0), 1);
        let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), simulator).await?;
        let simulator = Simulator::new(&server.url());
        let vpcs: Vec<_> = (0..=size + EXTRA)
            .flat_map(|number| {
                let Location { account, region } = &locations[number % locations.len()];
                [(requester(number), "10.1.0.0/16"), (accepter(number), "10.2.0.0/16")]
                    .map(|(id, block)| json!({"id": id, "account": account, "region": region, "cidr_blocks": [block]}))
            })
            .collect();
        let mut settings = settings;
        if settings["quotas"].is_null() {
            settings["quotas"] = json!({"outstanding": 1_000_000});
        }
        let scene: Scene = serde_json::from_value(json!({"vpcs": vpcs, "settings": settings}))?;
        simulator.load(&scene).await?;
        let program = std::env::var_os("OPERATOR")
            .map_or_else(|| repository().join("target/release/vpc-peering-operator"), PathBuf::from);
        ensure!(program.exists(), "{} does not exist; run `make bench`, which builds it", program.display());
        let operator = Operator::new(&program, &control_plane, &server.url(), "operator.log")
            .await?
            .with("POLL_INTERVAL", &format!("{}s", POLL.as_secs()))
            .with("OWN_CREDENTIALS_NAMESPACES", "*")
            .with("LOG_LEVEL", "warn,vpc_peering_operator::operator=info");
        let api = Api::namespaced(control_plane.admin().await?, "default");
        let ready = watch_ready(api.clone());
        let endpoint = server.url();
        let bench = Self { control_plane, simulator, endpoint, _server: server, operator, locations, api, ready };
        bench.create_identities().await?;
        Ok(bench)
    }

    pub async fn apply(&self, number: usize) -> Result<()> {
        self.apply_with(&format!("peering-{number}"), number, json!({})).await
    }

    /// Applies resources concurrently. Returns the time until all are applied, and until all resources so far are
    /// active.
    pub async fn apply_until_active(&self, numbers: Range<usize>) -> Result<(Duration, Duration)> {
        let (start, all) = (Instant::now(), numbers.end);
        stream::iter(numbers).map(|number| self.apply(number)).buffer_unordered(64).try_collect::<Vec<_>>().await?;
        let applied = start.elapsed();
        self.until_active(all).await?;
        Ok((applied, start.elapsed()))
    }

    /// Creates an AwsIdentity for each account except the operator's own.
    async fn create_identities(&self) -> Result<()> {
        let accounts: HashSet<_> = self.locations.iter().map(|location| &location.account).collect();
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

    /// Applies a resource. `spec` has the fields besides the VPCs, the region and the identity.
    pub async fn apply_with(&self, name: &str, number: usize, mut spec: Value) -> Result<()> {
        let Location { account, region } = &self.locations[number % self.locations.len()];
        spec["requester"]["vpcId"] = requester(number).into();
        spec["requester"]["region"] = (*region).into();
        if account != OWN_ACCOUNT {
            spec["requester"]["identityRef"] = json!({"name": account});
        }
        spec["accepter"]["vpcId"] = accepter(number).into();
        let manifest = json!({
            "apiVersion": "vpcpeering.dev/v1alpha1",
            "kind": "VpcPeering",
            "metadata": {"name": name},
            "spec": spec,
        });
        self.api.patch(name, &PatchParams::apply("bench").force(), &Patch::Apply(manifest)).await?;
        Ok(())
    }

    /// The time that the same API server writes take without the operator: for each resource a creation and three
    /// writes.
    pub async fn writes_without_operator(&self, size: usize) -> Result<Duration> {
        let object = self.control_plane.kubectl(&["get", "vpcpeering", "peering-0", "--output=json"]).await?;
        let mut object: Value = serde_json::from_str(&object)?;
        let status = object["status"].take();
        let as_operator = Api::<VpcPeering>::namespaced(self.control_plane.admin_as_operator().await?, "default");
        let start = Instant::now();
        let write = async |number: usize| -> Result<()> {
            let name = format!("written-{number}");
            self.apply_with(&name, number, json!({})).await?;
            let finalizer = json!({"metadata": {"finalizers": ["vpcpeering.dev/bench"]}});
            let parameters = PatchParams::default();
            self.api.patch(&name, &parameters, &Patch::Merge(finalizer)).await?;
            for message in ["first", "second"] {
                let mut status = json!({"status": status});
                status["status"]["status"]["message"] = json!(message);
                as_operator.patch_status(&name, &parameters, &Patch::Merge(status)).await?;
            }
            Ok(())
        };
        stream::iter(0..size).map(write).buffer_unordered(64).try_collect::<Vec<_>>().await?;
        Ok(start.elapsed())
    }

    pub async fn until_ready(&self, number: usize) -> Result<()> {
        let name = format!("peering-{number}");
        self.until(|ready| ready.contains(&name)).await
    }

    async fn until_active(&self, number: usize) -> Result<()> {
        self.until(|ready| ready.len() >= number).await
    }

    async fn until(&self, is_done: impl Fn(&HashSet<String>) -> bool) -> Result<()> {
        let mut ready = self.ready.clone();
        let ready = tokio::time::timeout(LIMIT, ready.wait_for(is_done)).await;
        ready.context("the resources did not become ready in time")?.map(drop).context("the watch has ended")
    }

    /// Waits until the operator is ready, which includes its first listing of all resources.
    pub async fn until_serving(&self, running: &RunningOperator) -> Result<()> {
        eventually("operator ready", LIMIT, async || running.get("/readyz").await.map(drop)).await
    }

    /// Waits until the operator has reconciled this number of resources since its start.
    pub async fn until_reconciled(&self, running: &RunningOperator, number: usize) -> Result<()> {
        eventually("resources reconciled", LIMIT, async || {
            let metrics = running.get("/metrics").await?;
            let reconciled =
                sum(&metrics, "controller_runtime_reconcile_total", |series| series.contains("\"vpcpeering\""))?;
            ensure!(reconciled >= number as f64, "{reconciled} of {number}");
            Ok(())
        })
        .await
    }

    /// Measures the usage of an idle operator. Returns the usage and the number of polls in that time.
    pub async fn measure_idle(&self, running: &RunningOperator) -> Result<(Usage, f64)> {
        let before = self.usage(running).await?;
        let start = Instant::now();
        while start.elapsed() < IDLE_PERIOD {
            tokio::time::sleep(POLL).await;
            self.simulator.advance(CLOCK_STEP).await?;
        }
        let usage = self.usage(running).await?.since(before);
        Ok((usage, start.elapsed().as_secs_f64() / POLL.as_secs_f64()))
    }
}

/// Watches which resources become ready. Repeated lists of all resources would cost more than the operator itself.
fn watch_ready(api: Api<VpcPeering>) -> watch::Receiver<HashSet<String>> {
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

pub fn is_active(object: &VpcPeering) -> bool {
    let conditions = object.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn requester(number: usize) -> String {
    format!("vpc-{:017x}", number * 2)
}

fn accepter(number: usize) -> String {
    format!("vpc-{:017x}", number * 2 + 1)
}

/// Waits until the operator is idle: it has published the last Events, and polls EC2 at its longest interval. `settled`
/// is the time that the resources took to become active.
pub async fn until_idle(settled: Duration) {
    tokio::time::sleep((settled / 2).clamp(EVENTS.0, EVENTS.1) + POLL * 2).await;
}

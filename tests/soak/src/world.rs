//! The environment: a control plane, EC2, and two replicas of the operator behind a proxy.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use aws_sdk_ec2::Client as Ec2;
use ec2_simulator::clock::Clock;
use ec2_simulator::world::identity::Role;
use ec2_simulator::{Client as Simulator, Fault, Matching, Scene, Server, Settings};
use environment::{ControlPlane, Disturbances, Interceptor, Operator, Process, Tripwire, ec2};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::faults;
use crate::journal::{Journal, TEST_KEY};
use crate::ledger::Ledger;
use crate::replicas::Replicas;
use crate::resources::{ACCOUNTS, LEFT, NAMESPACES, OTHER_REGION, OWN, REGION, RIGHT, Resource};
use crate::scale::Scale;
use crate::snapshot::{Peering, Snapshot};

/// The operator's consistency window. Longer than any stale listing.
const WINDOW: &str = "5s";

/// The environment of a run.
pub struct World {
    pub control_plane: ControlPlane,
    pub admin: kube::Client,
    /// May write statuses and finalizers.
    pub as_operator: kube::Client,
    pub simulator: Simulator,
    pub disturbances: Arc<Disturbances>,
    pub replicas: Arc<Replicas>,
    pub journal: Arc<Journal>,
    pub started: Instant,
    ledger: Mutex<Ledger>,
    ec2: BTreeMap<(String, String), Ec2>,
    _server: Server,
    _interceptor: Interceptor,
    _namespace_controller: Process,
}

impl World {
    /// Starts everything, with the VPCs and namespaces of the resources.
    pub async fn start(program: &Path, scale: &Scale, seed: u64) -> Result<Self> {
        let control_plane = ControlPlane::start().await?;
        let namespace_controller = control_plane.start_controllers("namespace-controller").await?;
        let started = Instant::now();
        let settings = serde_json::from_value::<Settings>(json!({
            "repeat_request": "mint-new",
            "quotas": {"outstanding": 100_000, "active_per_vpc": 1_000},
        }))?;
        let simulator = ec2_simulator::Simulator::new(settings, Clock::new(Timestamp::now(), 1.0), seed);
        let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), simulator).await?;
        let simulator = Simulator::new(&server.url());
        simulator.add(&scene(scale.resources)?).await?;
        for (account, name) in [(LEFT, "left"), (RIGHT, "right")] {
            let role = Role { arn: role(account, name), trusted: vec![OWN.into()], external_id: None };
            simulator.put_role(&role).await?;
        }
        let key = simulator.create_key(OWN).await?.access_key_id;
        let disturbances = Arc::new(Disturbances::default());
        let tripwire = Tripwire::disturbing(Arc::clone(&disturbances));
        let interceptor = Interceptor::of_kubernetes(control_plane.operator().await?, tripwire).await?;
        let kubeconfig = control_plane.open_kubeconfig("replicas", &interceptor.url)?;
        let operator = Operator::new(program, &control_plane, &server.url(), "operator.log").await?;
        let operator = operator
            .with("KUBECONFIG", &kubeconfig.to_string_lossy())
            .with("AWS_ACCESS_KEY_ID", &key)
            .with("POLL_INTERVAL", &format!("{}s", scale.poll.as_secs()))
            .with("CONSISTENCY_WINDOW", WINDOW)
            .with("RECREATION_PAUSE", "1s")
            .with("OWN_CREDENTIALS_NAMESPACES", "team-a,doomed")
            .with("LEADER_ELECTION", "true")
            .with("LEASE_NAMESPACE", "vpc-peering-system")
            .with("LEASE_DURATION", &format!("{}s", scale.lease.as_secs()))
            .with("LOG_LEVEL", "info");
        let replicas = ["first", "second"].map(|name| operator.clone().with("POD_NAME", name).with_log(name));
        let replicas = Replicas::start(replicas.to_vec(), started, scale.sampling).await?;
        let ec2 = ACCOUNTS.iter().flat_map(|account| [REGION, OTHER_REGION].map(|region| (*account, region)));
        let ec2 = ec2.map(|(account, region)| {
            let client = ec2::client_as(&server.url(), region, &format!("{TEST_KEY}{account}"));
            ((account.to_owned(), region.to_owned()), client)
        });
        let this = Self {
            admin: control_plane.admin().await?,
            as_operator: control_plane.admin_as_operator().await?,
            journal: Journal::new(simulator.clone(), started),
            ec2: ec2.collect(),
            ledger: Mutex::default(),
            control_plane,
            simulator,
            disturbances,
            replicas,
            started,
            _server: server,
            _interceptor: interceptor,
            _namespace_controller: namespace_controller,
        };
        for namespace in NAMESPACES {
            this.create_namespace(namespace).await?;
        }
        this.apply_identities(true, 0).await?;
        Ok(this)
    }

    /// The time of the run in seconds.
    pub fn now(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client of somebody in an account, who is not the operator.
    pub fn ec2(&self, account: &str, region: &str) -> Result<&Ec2> {
        self.ec2.get(&(account.to_owned(), region.to_owned())).with_context(|| format!("no client of {account}"))
    }

    pub async fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::of(&self.simulator.save().await?)
    }

    /// The living connection of a resource, or one of those of a `VpcPeeringAccepter`.
    pub async fn connection(&self, resource: Resource) -> Result<Option<Peering>> {
        let snapshot = self.snapshot().await?;
        let ledger = self.ledger();
        let (requester, accepter) = (resource.requester().vpc, resource.accepter().vpc);
        let is_accepter = resource.kind() == "VpcPeeringAccepter";
        let mut own = snapshot.peerings.into_iter().filter(|peering| {
            let is_of = if is_accepter { peering.accepter == accepter } else { peering.joins(&requester, &accepter) };
            is_of && peering.is_living() && !ledger.is_foreign(&peering.id)
        });
        Ok(own.next())
    }

    /// Adds a fault to the calls of the operator, and only to them.
    pub async fn add_ec2_fault(&self, number: usize) -> Result<()> {
        let (_, action, probability, kind) = faults::of_ec2(number);
        let user = format!("arn:aws:iam::{OWN}:user/simulated");
        for role in [user, role(LEFT, "left"), role(RIGHT, "right")] {
            let matching = Matching { action: Some(action.into()), role: Some(role), ..Matching::default() };
            self.simulator.add_fault(&Fault { matching, count: None, probability, kind: kind.clone() }).await?;
        }
        Ok(())
    }

    /// Ends all faults.
    pub async fn calm(&self) -> Result<()> {
        self.disturbances.set(Vec::new());
        self.simulator.clear_faults().await
    }
}

/// The ARN of the role of an identity.
pub fn role(account: &str, name: &str) -> String {
    format!("arn:aws:iam::{account}:role/{name}")
}

/// The VPCs, and the access keys of the test. The operator's user has another ARN, so that faults spare the test.
fn scene(resources: usize) -> Result<Scene> {
    let (mut vpcs, mut tables, mut tags) = (Vec::new(), Vec::new(), Vec::new());
    for resource in (0..resources).map(Resource) {
        let (one, two, three) = resource.scene();
        vpcs.extend(one);
        tables.extend(two);
        tags.extend(three);
    }
    let keys = ACCOUNTS.map(|account| {
        json!({
            "id": format!("{TEST_KEY}{account}"),
            "account": account,
            "arn": format!("arn:aws:iam::{account}:user/somebody"),
            "user_id": "AIDASOMEBODY",
        })
    });
    let scene: Value = json!({"vpcs": vpcs, "route_tables": tables, "tags": tags, "keys": keys});
    serde_json::from_value(scene).context("the scene")
}

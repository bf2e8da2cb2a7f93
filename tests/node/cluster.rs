//! The parts that all tests share: the control plane, the node, Helm and a simulated EC2, and the steps that they repeat.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::Client as Ec2;
use ec2_simulator::clock::Clock;
use ec2_simulator::journal::Query;
use ec2_simulator::{Client as Simulator, Server};
use environment::control_plane::KUBERNETES_SERVICE;
use environment::{ControlPlane, Helm, Process, ec2, eventually};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::cgroups::Hierarchies;
use crate::image::Image;
use crate::node::Node;
use crate::sandbox::Inside;

/// The namespace of the release. It enforces the restricted Pod Security Standard.
pub const NAMESPACE: &str = "install";

/// The namespace of the resources.
pub const PEERINGS: &str = "peerings";

/// The full name of the release `operator`: the name of its Deployment and of its Lease.
pub const NAME: &str = "operator-vpc-peering-operator";

/// The selector of the operator's pods.
const SELECTOR: &str = "--selector=app.kubernetes.io/name=vpc-peering-operator";

/// The duration of the Lease in the chart.
pub const LEASE: Duration = Duration::from_secs(15);

/// The time for everything that has no limit of its own.
pub const LIMIT: Duration = Duration::from_secs(120);

/// The time between two attempts of a step that starts a process.
const PAUSE: Duration = Duration::from_millis(300);

const REGION: &str = "eu-central-1";

/// The running cluster. Dropping it stops its processes.
pub struct Cluster {
    pub control_plane: ControlPlane,
    pub helm: Helm,
    pub ec2: Ec2,
    pub cgroups: Hierarchies,
    simulator: Simulator,
    server: Server,
    _node: Node,
    _controllers: Process,
}

/// A VpcPeering and the VPC that requests.
pub struct Peering {
    pub name: String,
    pub requester: String,
}

impl Cluster {
    /// Starts the control plane, the node and the simulated EC2.
    ///
    /// # Errors
    /// If a process does not start.
    pub async fn start(inside: &Inside) -> Result<Self> {
        let control_plane = ControlPlane::listening_on(SocketAddrV4::new(KUBERNETES_SERVICE, 443)).await?;
        let controllers = control_plane.start_controllers("*").await?;
        let names = ["current", "previous"].map(|tag| format!("docker.io/library/vpc-peering-operator:{tag}"));
        let image = Image::of_dockerfile(&inside.operator, &[&names[0], &names[1]])?;
        let node = Node::start(&control_plane, inside, &image).await?;
        let simulator = ec2_simulator::Simulator::new(Default::default(), Clock::new(Timestamp::now(), 1.0), 1);
        let server = Server::start((KUBERNETES_SERVICE, 0).into(), simulator).await?;
        for namespace in [NAMESPACE, PEERINGS] {
            control_plane.kubectl(&["create", "namespace", namespace]).await?;
        }
        let restricted = "pod-security.kubernetes.io/enforce=restricted";
        control_plane.kubectl(&["label", "namespace", NAMESPACE, restricted]).await?;
        Ok(Self {
            helm: Helm::new(&control_plane, NAMESPACE)?,
            ec2: ec2::client(&server.url(), REGION),
            cgroups: Hierarchies::find()?,
            simulator: Simulator::new(&server.url()),
            control_plane,
            server,
            _node: node,
            _controllers: controllers,
        })
    }

    /// Runs kubectl as the administrator.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.control_plane.kubectl(arguments).await
    }

    /// Reads objects with kubectl.
    pub async fn get(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.kubectl(&[&["get", "-o", "json"], arguments].concat()).await?;
        Ok(serde_json::from_str(&text)?)
    }

    /// The environment variables with which the operator reaches the simulated EC2.
    pub fn environment(&self) -> Vec<Value> {
        let variable = |name: &str, value: &str| json!({"name": name, "value": value});
        vec![
            variable("AWS_ENDPOINT_URL", &self.server.url()),
            variable("AWS_ACCESS_KEY_ID", "test"),
            variable("AWS_SECRET_ACCESS_KEY", "test"),
        ]
    }

    /// The values of the release: the defaults of the chart, apart from AWS and shorter intervals.
    pub fn values(&self) -> Value {
        json!({
            "image": {"tag": "current"},
            "env": self.environment(),
            "operator": {
                "awsRegion": REGION,
                "ownCredentialsNamespaces": PEERINGS,
                "pollInterval": "2s",
                "consistencyWindow": "5s",
            },
        })
    }

    /// Installs the chart in a clean cluster, and waits until its pods are ready.
    pub async fn install(&self, values: &Value) -> Result<()> {
        self.clean().await?;
        self.helm.run(&["install", "operator", "--wait", "--timeout=3m"], values).await?;
        Ok(())
    }

    /// Removes the release and the resources of an earlier test, even if it failed.
    pub async fn clean(&self) -> Result<()> {
        self.helm.on_release(&["uninstall", "operator", "--ignore-not-found", "--wait", "--timeout=2m"]).await?;
        eventually("no pods", LIMIT, async || {
            let pods = self.pods().await?;
            ensure!(pods.is_empty(), "{} pods are left", pods.len());
            Ok(())
        })
        .await?;
        self.kubectl(&["delete", "lease,pod", "--all", "--namespace", NAMESPACE]).await?;
        if self.kubectl(&["get", "crd", "vpcpeerings.vpcpeering.dev"]).await.is_err() {
            return Ok(());
        }
        self.kubectl(&["delete", "vpcpeerings", "--all", "--wait=false", "--namespace", PEERINGS]).await?;
        eventually("no resources", LIMIT, async || {
            let left = self.kubectl(&["get", "vpcpeerings", "--namespace", PEERINGS, "-o", "name"]).await?;
            for name in left.lines() {
                let patch = ["patch", name, "--type=merge", r#"-p={"metadata":{"finalizers":null}}"#];
                self.kubectl(&[&patch[..], &["--namespace", PEERINGS]].concat()).await?;
            }
            Ok(())
        })
        .await?;
        self.kubectl(&["delete", "crd", "--selector=app.kubernetes.io/instance=operator"]).await.map(drop)
    }

    /// The operator's pods, also those that end.
    pub async fn pods(&self) -> Result<Vec<Value>> {
        let pods = self.get(&["pods", SELECTOR, "--namespace", NAMESPACE]).await?;
        Ok(pods["items"].as_array().cloned().unwrap_or_default())
    }

    /// The Lease of the operator.
    pub async fn lease(&self) -> Result<Value> {
        self.get(&["lease", NAME, "--namespace", NAMESPACE]).await
    }

    /// The identity of the leader, which begins with the name of its pod.
    pub async fn leader(&self) -> Result<String> {
        let lease = self.lease().await?;
        let holder = lease["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty());
        Ok(holder.context("the Lease has no holder")?.to_owned())
    }

    /// The pod of the leader. Waits for one.
    pub async fn leading_pod(&self) -> Result<Value> {
        self.until("a leader", async || {
            let (leader, pods) = (self.leader().await?, self.pods().await?);
            let is_leader = |pod: &&Value| pod["metadata"]["name"].as_str() == Some(pod_of(&leader));
            pods.iter().find(is_leader).cloned().with_context(|| format!("no pod of {leader}"))
        })
        .await
    }

    /// Waits until another identity leads. Returns it, and the time that it took.
    pub async fn until_another_leads(&self, previous: &str) -> Result<(String, Duration)> {
        let start = tokio::time::Instant::now();
        let leader = self
            .until("another leader", async || {
                let leader = self.leader().await?;
                ensure!(leader != previous, "{leader} still leads");
                Ok(leader)
            })
            .await?;
        Ok((leader, start.elapsed()))
    }

    /// Retries a step that starts a process.
    pub async fn until<T>(&self, what: &str, attempt: impl AsyncFn() -> Result<T>) -> Result<T> {
        eventually(what, LIMIT, async || {
            let outcome = attempt().await;
            if outcome.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
            outcome
        })
        .await
    }

    /// Creates a VpcPeering between two new VPCs.
    pub async fn create(&self, name: &str) -> Result<Peering> {
        let requester = ec2::create_vpc(&self.ec2, "10.1.0.0/16").await?;
        let accepter = ec2::create_vpc(&self.ec2, "10.2.0.0/16").await?;
        let object = json!({
            "apiVersion": "vpcpeering.dev/v1alpha1",
            "kind": "VpcPeering",
            "metadata": {"name": name, "namespace": PEERINGS},
            "spec": {"requester": {"vpcId": requester, "region": REGION}, "accepter": {"vpcId": accepter}},
        });
        let path = self.control_plane.folder().join(format!("{name}.json"));
        std::fs::write(&path, object.to_string())?;
        self.kubectl(&["create", "-f", &path.to_string_lossy()]).await?;
        Ok(Peering { name: name.to_owned(), requester })
    }

    /// Waits until all these resources are ready. Checks that EC2 has made one connection for each, ever, and that all
    /// are active. Returns their IDs.
    pub async fn until_ready(&self, peerings: &[&Peering]) -> Result<BTreeSet<String>> {
        let mut ids = BTreeSet::new();
        for peering in peerings {
            let wait = ["wait", "--for=condition=Ready", "--timeout=120s", "--namespace", PEERINGS, "vpcpeering"];
            self.kubectl(&[&wait[..], &[&peering.name]].concat()).await?;
            let connections = ec2::peerings_of(&self.ec2, &peering.requester).await?;
            let [connection] = &connections[..] else {
                anyhow::bail!("{}: EC2 has {} connections instead of one", peering.name, connections.len());
            };
            ensure!(ec2::code(connection) == "active", "{}: {}", peering.name, ec2::code(connection));
            ids.insert(connection.vpc_peering_connection_id().context("no ID")?.to_owned());
        }
        Ok(ids)
    }

    /// Deletes all resources, and waits until the operator has deleted their connections.
    pub async fn delete_all(&self) -> Result<()> {
        self.kubectl(&["delete", "vpcpeerings", "--all", "--timeout=120s", "--namespace", PEERINGS]).await?;
        Ok(())
    }

    /// The successful calls that changed something in EC2, by their actions.
    pub async fn changes(&self) -> Result<Vec<String>> {
        let journal = self.simulator.journal(&Query::default()).await?;
        let changes = journal.entries.into_iter().filter(|entry| {
            let is_trial = entry.parameters.get("DryRun").is_some_and(|value| value == "true");
            entry.code.is_none()
                && !is_trial
                && !["Describe", "Get", "Assume"].iter().any(|one| entry.action.starts_with(one))
        });
        Ok(changes.map(|entry| entry.action).collect())
    }

    /// Clears the record of the calls.
    pub async fn forget_changes(&self) -> Result<()> {
        self.simulator.clear_journal().await
    }

    /// The state of the cluster, for the message of a failed test.
    pub async fn describe(&self) -> String {
        let mut text = String::new();
        let install = ["--namespace", NAMESPACE];
        for arguments in [
            &["get", "pods,lease,vpcpeerings", "--all-namespaces", "-o", "wide"][..],
            &[&["events"][..], &install].concat(),
            &[&["logs", SELECTOR, "--tail=5", "--prefix"][..], &install].concat(),
        ] {
            let shown = self.kubectl(arguments).await.unwrap_or_else(|error| format!("{error:#}"));
            text.push_str(&format!("\n» kubectl {}\n{shown}", arguments.join(" ")));
        }
        text
    }
}

/// The pod of an identity in the Lease.
#[must_use]
pub fn pod_of(identity: &str) -> &str {
    identity.rsplit_once('_').map_or(identity, |(pod, _)| pod)
}

/// The ID of the only container of a pod.
pub fn container_of(pod: &Value) -> Result<&str> {
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str();
    id.and_then(|id| id.strip_prefix("containerd://")).context("the pod has no running container")
}

/// Prints a measurement below the name of the running test.
pub fn note(text: &str) {
    print!("\n  {text}");
}

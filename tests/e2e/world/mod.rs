//! The private part of the environment that each test gets: a namespace, two VPCs, and an operator that reconciles only
//! that namespace.

mod aws;
mod kubernetes;

use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Error, Result, anyhow};
use aws_sdk_ec2::Client as Ec2;
use ec2_simulator::clock::Clock;
use ec2_simulator::{Client as Simulator, Server};
use environment::{Operator, ec2};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

use super::{Shared, iam};
pub use kubernetes::{condition, connection_id, status_code};

pub const REGION: &str = "eu-central-1";

pub const OTHER_REGION: &str = "us-west-2";

/// How EC2 may answer a repeated request for the same peering: the simulator's names.
pub const REPEATS: [&str; 3] = ["return-existing", "return-existing-with-new-tags", "mint-new"];

pub const OTHER_ACCOUNT: &str = "222222222222";

/// The operator's secret access key.
pub const SECRET: &str = "a-secret-that-nobody-may-see";

/// The session name of the tests' own role sessions.
pub const TEST_SESSION: &str = "test";

/// The EC2 that a test runs on.
#[derive(Clone, Copy, Debug)]
pub enum Cloud {
    Moto,
    Simulator,
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Moto => "moto",
            Self::Simulator => "simulator",
        })
    }
}

#[derive(Clone)]
pub struct World {
    /// The name of the `VpcPeering` under test.
    pub name: String,
    pub shared: Arc<Shared>,
    pub client: Client,
    pub namespace: String,
    pub ec2: Ec2,
    /// EC2's URL.
    pub endpoint: String,
    pub requester: String,
    pub accepter: String,
    /// Configured, but not started.
    pub operator: Operator,
    simulator: Option<(Arc<Server>, Simulator)>,
    /// The operator's access key ID.
    key: String,
    pub policies: iam::Policies,
}

impl World {
    pub async fn new(shared: Arc<Shared>, test: &str, cloud: Cloud) -> Result<Self> {
        let client = shared.control_plane.admin().await?;
        let short = test.rsplit("::").next().unwrap_or_default().replace('_', "-");
        let namespace = format!("{cloud}-{short}").chars().take(60).collect::<String>();
        let namespace = namespace.trim_end_matches('-').to_owned();
        let object = Namespace {
            metadata: ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        Api::all(client.clone()).create(&PostParams::default(), &object).await?;
        let simulator = match cloud {
            Cloud::Moto => None,
            Cloud::Simulator => {
                let clock = Clock::new(Timestamp::now(), 1.0);
                let simulator = ec2_simulator::Simulator::new(iam::settings(), clock, 1);
                let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), simulator).await?;
                let simulator = Simulator::new(&server.url());
                Some((Arc::new(server), simulator))
            }
        };
        let endpoint = simulator.as_ref().map_or_else(|| shared.moto.url.clone(), |(server, _)| server.url());
        let ec2 = ec2::client(&endpoint, REGION);
        let requester = ec2::create_vpc(&ec2, "10.1.0.0/16").await?;
        let accepter = ec2::create_vpc(&ec2, "10.2.0.0/16").await?;
        let program = Path::new(env!("CARGO_BIN_EXE_vpc-peering-operator"));
        let operator = Operator::new(program, &shared.control_plane, &endpoint, &format!("{namespace}.log"))
            .await?
            .with("WATCH_NAMESPACE", &namespace)
            .with("POLL_INTERVAL", "500ms")
            .with("CONSISTENCY_WINDOW", "2s")
            .with("RECREATION_PAUSE", "1s")
            .with("OWN_CREDENTIALS_NAMESPACES", &namespace)
            .with("OWN_CREDENTIALS_ALLOW_ADOPTION", "true")
            .with("LOG_LEVEL", "info,vpc_peering_operator=debug");
        // An access key of its own separates its calls in the journal from those of the test.
        let key = match &simulator {
            Some((_, simulator)) => simulator.create_key("111111111111").await?.access_key_id,
            None => "test".to_owned(),
        };
        let policies = iam::Policies::new(&client, test).await?;
        if let Some((_, simulator)) = &simulator {
            policies.bind_key(simulator, &key).await?;
        }
        let operator = operator.with("AWS_ACCESS_KEY_ID", &key).with("AWS_SECRET_ACCESS_KEY", SECRET);
        let name = "peering".to_owned();
        Ok(Self {
            key,
            policies,
            name,
            shared,
            client,
            namespace,
            ec2,
            endpoint,
            requester,
            accepter,
            operator,
            simulator,
        })
    }

    /// The same environment, for another resource.
    pub fn with_name(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    /// The same environment, for the operator of another cluster in another namespace.
    pub fn in_another_cluster(&self, namespace: &str, cluster: &str) -> Self {
        let operator = self
            .operator
            .clone()
            .with("WATCH_NAMESPACE", namespace)
            .with("OWN_CREDENTIALS_NAMESPACES", namespace)
            .with("CLUSTER_ID", cluster);
        Self { namespace: namespace.to_owned(), operator, ..self.clone() }
    }

    /// Adds the end of the operator's log to an error, after the reason.
    pub fn with_log(&self, error: Error) -> Error {
        anyhow!("{error:#}\n{}", self.log())
    }

    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(&self.operator.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        format!("the end of the operator's log:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"))
    }
}

//! `vpc-peering-operator check`: whether the operator can work in this cluster and in AWS. It only reads.

mod api_server;
mod aws;
mod clock;
mod crds;
mod finding;
mod lease;
mod permissions;
mod probes;
mod report;
pub mod rights;
mod usage;

use std::sync::Arc;

use clap::Args;
use futures::stream::{self, StreamExt};
use kube::api::ListParams;
use kube::{Api, Client};

use self::clock::AwsClock;
use self::finding::{Finding, Subject};
use self::report::Report;
use self::rights::Needs;
use self::usage::Resources;
use super::Outcome;
use super::kubernetes::KubeArgs;
use super::output::{OutputArgs, Progress};
use crate::api::{AwsIdentity, VpcPeering, VpcPeeringAccepter};
use crate::aws::{Accounts, SdkConfig, SessionTags, configuration};
use crate::operator::cluster_uid;

/// Identities that are checked at the same time.
const CONCURRENCY: usize = 8;

/// Checks whether the operator can work in this cluster and in AWS.
///
/// Reads the API server and AWS, and changes nothing: writes are checked by access reviews and by dry runs. The
/// environment variables of the operator have the same effect here. `docs/checks.md` explains each line.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Check only what must hold before the installation.
    #[arg(long)]
    pre: bool,

    /// The namespaces whose resources the operator reconciles, separated by commas. Defaults to all namespaces.
    #[arg(long, env = "WATCH_NAMESPACE", value_delimiter = ',')]
    watch_namespaces: Vec<String>,

    /// The URL of the SQS queue of the operator.
    #[arg(long, env = "EVENT_QUEUE_URL")]
    event_queue_url: Option<String>,

    /// The ID of this cluster in the ownership tags. Defaults to the UID of the namespace kube-system.
    #[arg(long, env = "CLUSTER_ID")]
    cluster_id: Option<String>,

    /// The operator's default region of ends that use its own AWS credentials.
    #[arg(long, env = "DEFAULT_REGION")]
    region: Option<String>,

    /// The operator adds no session tags to the sessions of AwsIdentity roles.
    #[arg(long, env = "DISABLE_SESSION_TAGS")]
    disable_session_tags: bool,

    /// The operator uses leader election, so that a missing Lease is a failure.
    #[arg(long, env = "LEADER_ELECTION")]
    leader_election: bool,

    /// The name of the Lease for leader election.
    #[arg(long, env = "LEASE_NAME", default_value = super::NAME)]
    lease_name: String,

    /// The namespace of the Lease. Defaults to --namespace.
    #[arg(long, env = "LEASE_NAMESPACE")]
    lease_namespace: Option<String>,

    /// The operator serves metrics over TLS, so that it needs the right to review tokens.
    #[arg(long, env = "SECURE_METRICS_ADDRESS", value_name = "ADDRESS")]
    secure_metrics_address: Option<String>,

    /// The URL of a running operator, for example http://localhost:8080.
    #[arg(long, env = "OPERATOR_URL", value_name = "URL")]
    operator_url: Option<String>,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    kube: KubeArgs,
}

impl Check {
    pub(super) fn execute(self) -> anyhow::Result<Outcome> {
        let output = self.output;
        let report = Report::new(super::block_on(self.findings())?);
        output.print(&report)?;
        Ok(if report.is_ok() { Outcome::Success } else { Outcome::Failure })
    }

    async fn findings(self) -> Vec<Finding> {
        let progress = Progress::start();
        let client = self.kube.connect().await;
        progress.show("asking the API server…");
        let mut findings = match &client {
            Ok(client) => self.check_cluster(client).await,
            Err(error) => {
                vec![Finding::fail(Subject::ApiServer, format!("{error:#}"), "correct --kubeconfig and --context")]
            }
        };
        progress.show("asking AWS…");
        match configuration::from_environment().await {
            Ok(config) => findings.extend(self.check_aws(config, client.as_ref().ok()).await),
            Err(error) => {
                findings.push(Finding::fail(Subject::Credentials, error.problem(), error.remedy()));
            }
        }
        if !self.pre {
            findings.push(probes::check(self.operator_url.as_deref().filter(|url| !url.is_empty())).await);
        }
        findings
    }

    async fn check_aws(&self, config: SdkConfig, client: Option<&Client>) -> Vec<Finding> {
        let cluster = self.cluster(client).await;
        let clock = Arc::new(AwsClock::default());
        let session_tags = SessionTags::from_flag(self.disable_session_tags);
        let accounts = aws::accounts(config, session_tags, &cluster, Arc::clone(&clock));
        let mut findings = aws::check_own(&accounts, &clock).await;
        if let Some(client) = client.filter(|_| !self.pre) {
            findings.extend(self.check_permissions(&accounts, client, &cluster).await);
        }
        findings.push(aws::check_queue(&accounts, self.event_queue_url.as_deref().filter(|url| !url.is_empty())).await);
        findings
    }

    async fn check_cluster(&self, client: &Client) -> Vec<Finding> {
        let namespace = self.lease_namespace.as_deref().filter(|name| !name.is_empty());
        let namespace = namespace.unwrap_or_else(|| client.default_namespace());
        let watched = self.watch_namespaces.iter().filter(|name| !name.is_empty()).cloned().collect();
        let has_lease = self.leader_election || self.pre;
        let lease = has_lease.then(|| (namespace.to_owned(), self.lease_name.clone()));
        let needs = Needs { watched, lease, secure_metrics: self.secure_metrics_address.is_some() };
        let mut findings = api_server::check(client).await;
        if self.pre {
            findings.extend(rights::check_installation(client, &needs).await);
            return findings;
        }
        findings.extend(crds::check(client).await);
        findings.extend(rights::check(client, &needs).await);
        findings.push(lease::check(client, namespace, &self.lease_name, self.leader_election).await);
        findings
    }

    /// Checks the roles of the identities, and the permissions of all credentials that the resources use.
    async fn check_permissions(&self, accounts: &Accounts, client: &Client, cluster: &str) -> Vec<Finding> {
        let identities = Api::<AwsIdentity>::all(client.clone()).list(&ListParams::default()).await;
        let identities = match identities {
            Ok(identities) => identities.items,
            Err(error) => {
                let message = format!("cannot list the AwsIdentities: {error}");
                return vec![Finding::skip(
                    Subject::Identities,
                    message,
                    "correct the failures of the API server above",
                )];
            }
        };
        let resources = self.resources(client, identities).await;
        let mut findings = aws::check_own_permissions(accounts, &resources, cluster).await;
        let check = |identity| aws::check_identity(accounts, identity, &resources, cluster);
        let checked: Vec<_> = stream::iter(&resources.identities).map(check).buffered(CONCURRENCY).collect().await;
        findings.extend(checked.into_iter().flatten());
        findings
    }

    /// The resources that the operator reconciles, as far as this user may list them.
    async fn resources(&self, client: &Client, identities: Vec<AwsIdentity>) -> Resources {
        let own_region = self.region.clone().filter(|region| !region.is_empty());
        let mut resources = Resources { identities, own_region, ..Resources::default() };
        let all = ListParams::default();
        let watched = self.watch_namespaces.iter().filter(|name| !name.is_empty()).map(|name| Some(name.as_str()));
        let watched: Vec<_> = watched.collect();
        for namespace in if watched.is_empty() { vec![None] } else { watched } {
            let (peerings, accepters) = match namespace {
                Some(name) => (
                    Api::<VpcPeering>::namespaced(client.clone(), name),
                    Api::<VpcPeeringAccepter>::namespaced(client.clone(), name),
                ),
                None => (Api::all(client.clone()), Api::all(client.clone())),
            };
            let (peerings, accepters) = tokio::join!(peerings.list(&all), accepters.list(&all));
            resources.peerings.extend(peerings.into_iter().flatten());
            resources.accepters.extend(accepters.into_iter().flatten());
        }
        resources
    }

    /// The cluster ID in session tags. Before the installation, or without the right to read it, a placeholder.
    async fn cluster(&self, client: Option<&Client>) -> String {
        if let Some(id) = self.cluster_id.clone().filter(|id| !id.is_empty()) {
            return id;
        }
        let id = match client {
            Some(client) => cluster_uid(client.clone()).await.ok(),
            None => None,
        };
        id.unwrap_or_else(|| "unknown".to_owned())
    }
}

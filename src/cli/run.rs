//! `vpc-peering-operator run`

use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::decisions::{DecisionArgs, duration, is_namespace_name};
use super::http::HttpArgs;
use crate::aws::configuration;
use crate::controller::{Scope, Settings};
use crate::operator::leader::{self, Election};
use crate::operator::logs::{self, Format};
use crate::operator::traces::Traces;
use crate::operator::{self, Service};

/// Maximum number of worker threads. The operator mostly waits, and each thread reserves memory of its own.
const THREADS: usize = 4;

/// Runs the operator.
///
/// The operator finds the API server by the kubeconfig file, as kubectl does, or by in-cluster credentials. It finds
/// its AWS credentials by the default chain of the AWS SDK: environment, profile, web identity (IRSA), EKS Pod
/// Identity, instance metadata. Its own region, to which it sends requests to STS, is AWS_REGION, or the region of the
/// profile or of instance metadata. It calls the endpoint in AWS_ENDPOINT_URL, if that is set.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The namespaces whose resources are reconciled, separated by commas. Defaults to all namespaces.
    #[arg(
        long,
        visible_alias = "namespace",
        env = "WATCH_NAMESPACE",
        value_delimiter = ',',
        value_parser = watched_namespace
    )]
    watch_namespaces: Vec<String>,

    /// Reconcile only the resources that match this label selector, for example `team=blue` or `shard in (1,2)`. If
    /// several operators share a cluster, no resource may match the selectors of two of them, and each needs its own
    /// Lease.
    #[arg(long, env = "WATCH_SELECTOR", value_parser = selector)]
    watch_selector: Option<String>,

    /// The URL of the SQS queue to which EventBridge sends the CloudTrail events of peering connections (see
    /// deploy/events). The operator then sees changes in AWS within seconds. Without a queue it sees them at the next
    /// poll.
    #[arg(long, env = "EVENT_QUEUE_URL", value_parser = queue_url)]
    event_queue_url: Option<String>,

    /// The interval between two listings of the peering connections of a region while none of them is changing. While a
    /// connection is changing, the interval is shorter.
    #[arg(long, env = "POLL_INTERVAL", default_value = "60s", value_parser = duration)]
    poll_interval: Duration,

    /// The maximum number of concurrent reconciliations of each kind of resource. 0 means no limit.
    #[arg(long, env = "MAX_CONCURRENT_RECONCILES", default_value_t = 300)]
    max_concurrent_reconciles: u16,

    /// Warn about rules of security groups that become stale when a peering is deleted, because they name a group of the
    /// other VPC: in status.deletion of the VpcPeering, and with an Event before the deletion. It costs two read calls
    /// for each VPC every six hours, and needs deploy/iam/security-groups.json.
    #[arg(long, env = "SECURITY_GROUP_WARNINGS")]
    security_group_warnings: bool,

    #[command(flatten)]
    decisions: DecisionArgs,

    /// Enable leader election: the operator reconciles only while it holds a Lease, so that several replicas can run.
    #[arg(long, env = "LEADER_ELECTION")]
    leader_election: bool,

    /// The name of the Lease for leader election. Operators that reconcile different namespaces need different Leases.
    #[arg(long, env = "LEASE_NAME", default_value = "vpc-peering-operator")]
    lease_name: String,

    /// The namespace of the Lease. Defaults to the operator's own namespace.
    #[arg(long, env = "LEASE_NAMESPACE")]
    lease_namespace: Option<String>,

    /// The duration of the Lease, in whole seconds, at least 3s. If the leader dies without releasing the Lease,
    /// another replica takes over after this time.
    #[arg(long, env = "LEASE_DURATION", default_value = "15s", value_parser = lease_duration)]
    lease_duration: Duration,

    #[command(flatten)]
    http: HttpArgs,

    /// The format of the log. Defaults to json in a pod, and to text elsewhere.
    #[arg(long, env = "LOG_FORMAT")]
    log_format: Option<Format>,

    /// The log level, or a filter such as `info,vpc_peering_operator=debug`.
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    log_level: String,

    /// The endpoint that receives traces by OTLP over HTTP, for example http://localhost:4318. Without it no traces are
    /// recorded.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
}

impl Run {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(THREADS));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
        let runtime = runtime.context("cannot start tokio")?;
        let endpoint = self.otlp_endpoint.filter(|endpoint| !endpoint.is_empty());
        let traces = endpoint.map(|endpoint| Traces::to(&endpoint, runtime.handle().clone())).transpose()?;
        logs::start(self.log_format.unwrap_or_default(), &self.log_level, traces.as_ref())?;
        let aws = runtime.block_on(configuration::from_environment())?;
        let settings = Settings {
            scope: Scope {
                namespaces: self.watch_namespaces.into_iter().filter(|name| !name.is_empty()).collect(),
                selector: self.watch_selector.filter(|selector| !selector.is_empty()),
            },
            aws,
            session_tags: self.decisions.session_tags(),
            event_queue_url: self.event_queue_url.filter(|url| !url.is_empty()),
            max_concurrent_reconciles: self.max_concurrent_reconciles,
            poll_interval: self.poll_interval,
            own_credentials: self.decisions.own_credentials(),
            defaults: self.decisions.defaults(),
            reference_kinds: self.decisions.reference_kinds(),
            security_group_warnings: self.security_group_warnings,
            decisions: self.decisions.settings(),
        };
        let service = Service {
            cluster_id: self.decisions.cluster_id,
            http: self.http.into(),
            leader_election: self.leader_election,
            election: Election {
                name: self.lease_name,
                namespace: self.lease_namespace,
                duration: self.lease_duration,
            },
        };
        // Spawned, because a task on a worker thread wakes other tasks at less cost than the main thread does.
        let outcome = runtime.block_on(runtime.spawn(operator::run(settings, service)))?;
        traces.into_iter().for_each(Traces::flush);
        // Does not wait for blocking tasks that are left after the drain.
        runtime.shutdown_background();
        outcome
    }
}

/// Parses the duration of a Lease, which the Lease API stores in whole seconds.
fn lease_duration(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    let is_valid = duration >= leader::MIN_LEASE_DURATION && duration.subsec_nanos() == 0;
    if is_valid {
        Ok(duration)
    } else {
        Err(format!("must be whole seconds, at least {:?}", leader::MIN_LEASE_DURATION))
    }
}

/// Parses the name of a namespace to watch. An empty value, as from an unset chart value, means all namespaces.
fn watched_namespace(text: &str) -> Result<String, String> {
    let name = text.trim();
    if name.is_empty() || is_namespace_name(name) {
        Ok(name.to_owned())
    } else {
        Err(format!("{name:?} is not a valid namespace name; list names separated by commas"))
    }
}

/// Checks the characters of a label selector. The API server validates its syntax.
fn selector(text: &str) -> Result<String, String> {
    let is_invalid = |letter: char| !(letter.is_ascii_alphanumeric() || "-_./=!,() ".contains(letter));
    match text.chars().find(|letter| is_invalid(*letter)) {
        None => Ok(text.trim().to_owned()),
        Some(letter) => {
            Err(format!("a label selector cannot contain {letter:?}; use for example team=blue or shard in (1,2)"))
        }
    }
}

fn queue_url(text: &str) -> Result<String, String> {
    let is_url = text.is_empty() || text.starts_with("https://") || text.starts_with("http://");
    if is_url {
        Ok(text.to_owned())
    } else {
        Err("must be the URL of the queue, https://sqs.REGION.amazonaws.com/ACCOUNT/NAME".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_watch_settings_are_rejected() {
        assert_eq!((watched_namespace(" a-1 "), watched_namespace("")), (Ok("a-1".into()), Ok(String::new())));
        assert!(watched_namespace("Team").is_err());
        assert!(selector("shard in (1,2),!old").is_ok() && selector("a=b;c").is_err());
        assert!(queue_url("https://sqs.eu-west-1.amazonaws.com/1/q").is_ok() && queue_url("q").is_err());
    }

    #[test]
    fn lease_durations_are_whole_seconds() {
        assert_eq!(lease_duration("3s"), Ok(Duration::from_secs(3)));
        for text in ["2s", "3500ms", "0s"] {
            assert!(lease_duration(text).is_err(), "{text}");
        }
    }
}

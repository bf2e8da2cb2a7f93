//! `vpc-peering-operator run`

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use regex::Regex;

use crate::api::AllowedRegions;
use crate::controller::{OwnCredentials, OwnNamespaces, Scope, Settings};
use crate::operator::leader::{self, Election};
use crate::operator::logs::{self, Format};
use crate::operator::traces::Traces;
use crate::operator::{self, Service};
use crate::peering;

/// The most threads, whatever the size of the node.
const THREADS: usize = 4;

/// Run the operator.
///
/// The API server is found as kubectl finds it, or by in-cluster credentials; AWS by the SDK's default chain:
/// environment, profile, web identity (IRSA), EKS Pod Identity, instance metadata. AWS_ENDPOINT_URL is honoured.
#[derive(Debug, Args)]
pub struct Run {
    /// The namespaces to look after, with commas between. Defaults to every one.
    #[arg(long, visible_alias = "namespace", env = "WATCH_NAMESPACE", value_delimiter = ',', value_parser = watched)]
    watch_namespaces: Vec<String>,

    /// Look after those resources only whose labels match, such as `team=blue` or `shard in (1,2)`. Operators that share a
    /// cluster need selectors that no resource matches twice, and a Lease each.
    #[arg(long, env = "WATCH_SELECTOR", value_parser = selector)]
    watch_selector: Option<String>,

    /// The URL of an SQS queue to which EventBridge sends CloudTrail's events of peerings (see deploy/events). What
    /// happens in AWS is then seen at once; without it, at the next poll.
    #[arg(long, env = "EVENT_QUEUE_URL", value_parser = queue_url)]
    event_queue_url: Option<String>,

    /// How often to list the peering connections of a region while all are at rest. While one is in motion, EC2 is
    /// asked more often.
    #[arg(long, env = "POLL_INTERVAL", default_value = "60s", value_parser = duration)]
    poll_interval: Duration,

    /// How many resources are looked after at the same time. 0 is no limit.
    #[arg(long, env = "MAX_CONCURRENT_RECONCILES", default_value_t = 300)]
    max_concurrent_reconciles: u16,

    /// How long EC2 may take to show what it has already done. What is missing for longer is believed to be gone.
    #[arg(long, env = "CONSISTENCY_WINDOW", default_value = "60s", value_parser = duration)]
    consistency_window: Duration,

    /// The pause before a peering that has ended is requested anew, where spec.recreateOn asks for that. It doubles
    /// with each time in a row, up to an hour.
    #[arg(long, env = "RECREATION_PAUSE", default_value = "60s", value_parser = duration)]
    recreation_pause: Duration,

    /// The namespaces whose resources may use the operator's own AWS credentials, where they name no AwsIdentity: `none`, a
    /// list such as `team-a,team-b`, or `*` for every one.
    #[arg(long, env = "OWN_CREDENTIALS_NAMESPACES", default_value = "none", value_parser = own_namespaces)]
    own_credentials_namespaces: OwnNamespaces,

    /// The regions in which the operator's own AWS credentials may be used: `*` for every one that this release knows, or a
    /// list such as `eu-central-1,us-west-2`.
    #[arg(long, env = "OWN_CREDENTIALS_REGIONS", default_value = "*", value_parser = own_regions)]
    own_credentials_regions: AllowedRegions,

    /// Allow resources that use the operator's own AWS credentials to take over existing connections by
    /// spec.vpcPeeringConnectionId. Deleting such a resource then deletes the connection.
    #[arg(long, env = "OWN_CREDENTIALS_ALLOW_ADOPTION")]
    own_credentials_allow_adoption: bool,

    /// The ID of this cluster in the ownership tags. Defaults to the UID of the namespace kube-system, which no other cluster
    /// has, unless it is a clone. Only with the default does a resource take over the peering of an earlier resource of the
    /// same name between the same VPCs. Keep the ID when the cluster is rebuilt from a backup; give a clone another one.
    #[arg(long, env = "CLUSTER_ID", value_parser = cluster_id)]
    cluster_id: Option<String>,

    /// Act only while holding a Lease, so that several operators may run and one acts.
    #[arg(long, env = "LEADER_ELECTION")]
    leader_election: bool,

    /// The name of that Lease. Operators that look after different namespaces need different ones.
    #[arg(long, env = "LEASE_NAME", default_value = "vpc-peering-operator")]
    lease_name: String,

    /// The namespace of that Lease. Defaults to the operator's own.
    #[arg(long, env = "LEASE_NAMESPACE")]
    lease_namespace: Option<String>,

    /// How long nobody acts after an operator that held the Lease has died without releasing it.
    #[arg(long, env = "LEASE_DURATION", default_value = "15s", value_parser = lease_duration)]
    lease_duration: Duration,

    /// Where /metrics, /healthz, /livez and /readyz are served; `off` serves them nowhere.
    #[arg(long, env = "METRICS_ADDRESS", default_value = "0.0.0.0:8080", value_parser = address)]
    metrics_address: Address,

    /// How the log looks. Defaults to json in a pod, and to text elsewhere.
    #[arg(long, env = "LOG_FORMAT")]
    log_format: Option<Format>,

    /// What is logged, for example `debug` or `info,vpc_peering_operator=debug`.
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    log_level: String,

    /// Where traces go by OTLP over HTTP, for example http://localhost:4318. Without it they go nowhere.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
}

impl Run {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        // It waits far more than it works, and each thread keeps memory to itself.
        let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(THREADS));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
        let runtime = runtime.context("cannot start tokio")?;
        let endpoint = self.otlp_endpoint.filter(|endpoint| !endpoint.is_empty());
        let traces = endpoint.map(|endpoint| Traces::to(&endpoint, runtime.handle().clone())).transpose()?;
        logs::start(self.log_format.unwrap_or_default(), &self.log_level, traces.as_ref())?;
        let settings = Settings {
            scope: Scope {
                namespaces: self.watch_namespaces.into_iter().filter(|name| !name.is_empty()).collect(),
                selector: self.watch_selector.filter(|selector| !selector.is_empty()),
            },
            event_queue_url: self.event_queue_url.filter(|url| !url.is_empty()),
            max_concurrent_reconciles: self.max_concurrent_reconciles,
            poll_interval: self.poll_interval,
            own_credentials: OwnCredentials {
                namespaces: self.own_credentials_namespaces,
                regions: self.own_credentials_regions,
                adoption: self.own_credentials_allow_adoption,
            },
            decisions: peering::Settings {
                consistency_window: self.consistency_window,
                recreation_pause: self.recreation_pause,
                is_cluster_unique: self.cluster_id.is_none(),
            },
        };
        let service = Service {
            cluster_id: self.cluster_id,
            metrics_address: self.metrics_address.0,
            leader_election: self.leader_election,
            election: Election {
                name: self.lease_name,
                namespace: self.lease_namespace,
                duration: self.lease_duration,
            },
        };
        // A worker wakes what is on a worker for less.
        let outcome = runtime.block_on(runtime.spawn(operator::run(settings, service)))?;
        traces.into_iter().for_each(Traces::flush);
        // What still blocks after the drain is not waited for.
        runtime.shutdown_background();
        outcome
    }
}

/// An address, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Address(Option<SocketAddr>);

fn address(text: &str) -> Result<Address, String> {
    if text == "off" {
        return Ok(Address(None));
    }
    let parsed = text.parse().map_err(|_| "use an address with a port, for example 0.0.0.0:8080, or off")?;
    Ok(Address(Some(parsed)))
}

/// A positive duration as people write it: `500ms`, `90s`, `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let parsed = units.iter().find_map(|(unit, milliseconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*milliseconds)
    });
    match parsed {
        Some(0) | None => Err("use a positive whole number with a unit, for example 500ms, 90s, 2m or 1h".into()),
        Some(milliseconds) => Ok(Duration::from_millis(milliseconds)),
    }
}

/// What the API server takes as a Lease's duration: whole seconds.
fn lease_duration(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    let takes = duration >= leader::SHORTEST && duration.subsec_nanos() == 0;
    if takes { Ok(duration) } else { Err(format!("use whole seconds, at least {:?}", leader::SHORTEST)) }
}

/// Whether a namespace may be called so.
fn is_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-')
}

/// A namespace's name; nothing, as charts leave it, stands for every one.
fn watched(text: &str) -> Result<String, String> {
    let name = text.trim();
    if name.is_empty() || is_name(name) {
        Ok(name.to_owned())
    } else {
        Err(format!("{name:?} is no namespace's name; use names with commas between"))
    }
}

/// A label selector, as kubectl takes it. What only the API server can judge, it judges.
fn selector(text: &str) -> Result<String, String> {
    let is_odd = |letter: char| !(letter.is_ascii_alphanumeric() || "-_./=!,() ".contains(letter));
    match text.chars().find(|letter| is_odd(*letter)) {
        None => Ok(text.trim().to_owned()),
        Some(letter) => Err(format!("no label selector has a {letter:?}; use for example team=blue or shard in (1,2)")),
    }
}

fn queue_url(text: &str) -> Result<String, String> {
    let is_url = text.is_empty() || text.starts_with("https://") || text.starts_with("http://");
    if is_url {
        Ok(text.to_owned())
    } else {
        Err("use the queue's URL, https://sqs.REGION.amazonaws.com/ACCOUNT/NAME".into())
    }
}

/// `*`, `none`, or names of namespaces.
fn own_namespaces(text: &str) -> Result<OwnNamespaces, String> {
    match text {
        "*" => Ok(OwnNamespaces::All),
        "none" => Ok(OwnNamespaces::List(Default::default())),
        list => {
            let names: BTreeSet<String> = list.split(',').map(|name| name.trim().to_owned()).collect();
            let unreadable = names.iter().find(|name| !is_name(name));
            match unreadable {
                None => Ok(OwnNamespaces::List(names)),
                Some(name) => {
                    Err(format!("{name:?} is no namespace's name; use * or none or names with commas between"))
                }
            }
        }
    }
}

/// `*`, or names of regions.
fn own_regions(text: &str) -> Result<AllowedRegions, String> {
    if text == "*" {
        return Ok(AllowedRegions { all: true, list: None });
    }
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    let is_region = |name: &str| {
        name.len() <= 32
            && name.split('-').count() >= 3
            && name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-')
    };
    match names.iter().find(|name| !is_region(name)) {
        None => Ok(AllowedRegions { all: false, list: Some(names) }),
        Some(name) => Err(format!("{name:?} is no region's name; use * or names such as eu-central-1,us-west-2")),
    }
}

/// It becomes the value of a tag, and of a session tag, which allows less.
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_Tag.html>
fn cluster_id(text: &str) -> Result<String, String> {
    let allowed = Regex::new(r"^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$").map_err(|error| error.to_string())?;
    if !(1..=256).contains(&text.chars().count()) {
        Err("use 1 to 256 characters".into())
    } else if !allowed.is_match(text) {
        Err("use letters, digits, spaces and _.:/=+-@, as AWS allows in session tags".into())
    } else {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_credentials_are_everybodys_nobodys_or_some_namespaces() {
        let namespaces =
            |names: &[&str]| Ok(OwnNamespaces::List(names.iter().map(|name| (*name).to_owned()).collect()));
        assert_eq!(own_namespaces("*"), Ok(OwnNamespaces::All));
        assert_eq!(own_namespaces("none"), namespaces(&[]));
        assert_eq!(own_namespaces("team-a, team-b"), namespaces(&["team-a", "team-b"]));
        for text in ["", "team-a,", "Team", "*,team-a"] {
            assert!(own_namespaces(text).is_err(), "{text}");
        }
    }

    #[test]
    fn regions_are_all_or_named() {
        assert_eq!(own_regions("*"), Ok(AllowedRegions { all: true, list: None }));
        let two = own_regions("eu-central-1, us-west-2").map(|regions| regions.list.unwrap_or_default());
        assert_eq!(two, Ok(vec!["eu-central-1".to_owned(), "us-west-2".to_owned()]));
        for text in ["", "eu-central-1,", "Frankfurt", "*,eu-central-1"] {
            assert!(own_regions(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_watched_is_refused() {
        assert_eq!((watched(" a-1 "), watched("")), (Ok("a-1".into()), Ok(String::new())));
        assert!(watched("Team").is_err());
        assert!(selector("shard in (1,2),!old").is_ok() && selector("a=b;c").is_err());
        assert!(queue_url("https://sqs.eu-west-1.amazonaws.com/1/q").is_ok() && queue_url("q").is_err());
    }

    #[test]
    fn a_cluster_id_is_what_a_session_tag_may_be() {
        let longest = "ä".repeat(256);
        for text in ["0b8e-4f", "team A/b_c.d:e=f+g@h", "größe 5", "集群①", longest.as_str()] {
            assert_eq!(cluster_id(text), Ok(text.to_owned()));
        }
        let too_long = "a".repeat(257);
        for text in ["", "R&D", "a\nb", "a\tb", "a*", "\u{7f}", "a\u{301}", "a\n", too_long.as_str()] {
            assert!(cluster_id(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn leases_last_whole_seconds() {
        assert_eq!(lease_duration("3s"), Ok(Duration::from_secs(3)));
        for text in ["2s", "3500ms", "0s"] {
            assert!(lease_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_have_a_port_or_are_off() {
        assert_eq!(address("off"), Ok(Address(None)));
        assert!(address("[::]:9090").is_ok_and(|address| address.0.is_some_and(|address| address.port() == 9090)));
        for text in ["", ":8080", "8080", "localhost"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_positive_and_have_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for text in ["0s", "5", "s", "-1s", "1.5s", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}

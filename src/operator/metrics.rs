//! The Prometheus metrics: each is defined here once, and documented from here. Where controller-runtime has a metric of
//! the same meaning, its name is used, so that dashboards made for it work.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::api::Reason;
use crate::aws::error::is_known_code;
use crate::aws::{CompletedRequest, regions};
use crate::peering::StatusCode;

/// What a metric is.
#[derive(Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name.
    pub name: &'static str,
    /// Prometheus' type.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it tells, without a full stop.
    pub help: &'static str,
}

/// Defines every metric once, as a constant and as a row of [`DEFINITIONS`].
macro_rules! definitions {
    ($($id:ident: $kind:literal $name:literal $labels:expr, $help:literal;)*) => {
        $(const $id: Definition = Definition { name: $name, kind: $kind, labels: &$labels, help: $help };)*

        /// Every metric.
        pub const DEFINITIONS: &[Definition] = &[$($id),*];
    };
}

definitions! {
    RECONCILES: "counter" "controller_runtime_reconcile_total" ["controller", "result"],
        "Reconciliations, by result: success, requeue_after or error";
    RECONCILE_ERRORS: "counter" "controller_runtime_reconcile_errors_total" ["controller"],
        "Reconciliations that the API server cut short; what AWS refuses is told by the reason of the resource";
    RECONCILE_TIME: "histogram" "controller_runtime_reconcile_time_seconds" ["controller"],
        "How long reconciliations took";
    ACTIVE_WORKERS: "gauge" "controller_runtime_active_workers" ["controller"],
        "Reconciliations in hand";
    WORK_TIME: "histogram" "workqueue_work_duration_seconds" ["name", "controller"],
        "How long the work on an item of the queue took, which is one reconciliation";
    UNFINISHED_WORK: "gauge" "workqueue_unfinished_work_seconds" ["name", "controller"],
        "The time that the reconciliations in hand have taken so far, added up";
    LONGEST_WORK: "gauge" "workqueue_longest_running_processor_seconds" ["name", "controller"],
        "The time that the longest of the reconciliations in hand has taken so far";
    RETRIES: "counter" "workqueue_retries_total" ["name", "controller"],
        "Items put back into the queue after an error";
    LEADER: "gauge" "leader_election_master_status" ["name"],
        "1 while this process holds the Lease of that name and acts, else 0";
    AWS_REQUESTS: "counter" "vpcpeering_aws_requests_total" ["action", "account", "region", "code"],
        "Requests to EC2 and STS, retries included, by AWS's error code; OK, Timeout and NoAnswer where there is none";
    AWS_REQUEST_TIME: "histogram" "vpcpeering_aws_request_duration_seconds" ["action", "account", "region"],
        "How long AWS took to answer";
    AWS_THROTTLES: "counter" "vpcpeering_aws_throttles_total" ["action", "account", "region"],
        "Requests that AWS refused since there were too many";
    INVENTORY_AGE: "gauge" "vpcpeering_inventory_age_seconds" ["account", "region"],
        "The time since the newest listing of the peerings of the account and region that succeeded began";
    PEERINGS: "gauge" "vpcpeering_peerings" ["code"],
        "VpcPeering resources, by EC2's status code of their peering; none where there is no peering";
    RESOURCES: "gauge" "vpcpeering_resources" ["kind", "ready", "reason"],
        "VpcPeering and VpcPeeringAccepter resources, by status and reason of their condition Ready";
    EXPIRY: "gauge" "vpcpeering_pending_expiry_seconds" [],
        "The time until the first of the requests that are pending acceptance expires; absent where none is pending";
    DELETION: "gauge" "vpcpeering_deletion_age_seconds" ["kind"],
        "The time since the longest-standing deletion of a resource of the kind was asked for; absent where none is";
    BUILD: "gauge" "vpcpeering_build_info" ["version"],
        "1, for this version of the operator";
}

/// What is asked at the time of a scrape.
#[derive(Debug, Default)]
pub struct Observed {
    /// How long the reconciliations in hand of each controller have taken so far.
    pub in_hand: BTreeMap<&'static str, Vec<Duration>>,
    /// The Lease's name, and whether this process acts.
    pub leader: (String, bool),
    /// The time since each account's region was listed.
    pub inventory_ages: BTreeMap<(String, String), Duration>,
    /// The number of resources of each status code.
    pub peerings: BTreeMap<String, u32>,
    /// The number of resources of each kind, and status and reason of `Ready`.
    pub resources: BTreeMap<(String, String, String), u32>,
    /// Seconds until the first pending request expires.
    pub expiry: Option<f64>,
    /// Seconds since the longest-standing deletion of each kind was asked for.
    pub deletions: BTreeMap<String, f64>,
}

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

/// What is counted as it happens.
#[derive(Debug)]
pub struct Metrics {
    reconciles: Family<Labels, Counter>,
    reconcile_errors: Family<Labels, Counter>,
    reconcile_time: Family<Labels, Histogram, fn() -> Histogram>,
    aws_requests: Family<Labels, Counter>,
    work_time: Family<Labels, Histogram, fn() -> Histogram>,
    retries: Family<Labels, Counter>,
    aws_request_time: Family<Labels, Histogram, fn() -> Histogram>,
    aws_throttles: Family<Labels, Counter>,
    values: Labelled,
}

impl Default for Metrics {
    fn default() -> Self {
        let reconciles = || Histogram::new([0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]);
        let requests = || Histogram::new([0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0]);
        Self {
            reconciles: Family::default(),
            reconcile_errors: Family::default(),
            reconcile_time: Family::new_with_constructor(reconciles),
            work_time: Family::new_with_constructor(reconciles),
            retries: Family::default(),
            aws_requests: Family::default(),
            aws_throttles: Family::default(),
            aws_request_time: Family::new_with_constructor(requests),
            values: Labelled::default(),
        }
    }
}

impl Metrics {
    /// A reconciliation has ended.
    pub fn reconciled(&self, controller: &str, result: &str, took: Duration) {
        self.reconciles.get_or_create(&RECONCILES.labels([controller, result])).inc();
        let errors = self.reconcile_errors.get_or_create_owned(&RECONCILE_ERRORS.labels([controller]));
        let retries = self.retries.get_or_create_owned(&RETRIES.labels([controller; 2]));
        if result == "error" {
            errors.inc();
            retries.inc();
        }
        self.reconcile_time.get_or_create(&RECONCILE_TIME.labels([controller])).observe(took.as_secs_f64());
        self.work_time.get_or_create(&WORK_TIME.labels([controller; 2])).observe(took.as_secs_f64());
    }

    /// AWS has answered a request.
    pub fn answered(&self, request: &CompletedRequest<'_>) {
        let Labelled { accounts, regions, codes } = &self.values;
        let account = accounts.label(request.account, |_| false);
        let region = regions.label(request.region, regions::is_known);
        let code = codes.label(request.code, is_known_code);
        self.aws_requests.get_or_create(&AWS_REQUESTS.labels([request.action, account, region, code])).inc();
        let throttles =
            self.aws_throttles.get_or_create_owned(&AWS_THROTTLES.labels([request.action, account, region]));
        if request.is_throttled() {
            throttles.inc();
        }
        let time =
            self.aws_request_time.get_or_create_owned(&AWS_REQUEST_TIME.labels([request.action, account, region]));
        time.observe(request.took.as_secs_f64());
    }

    /// Prometheus' text format, version 0.0.4.
    ///
    /// # Errors
    /// None that a string can give.
    pub fn text(&self, observed: &Observed) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        RECONCILES.register(&mut registry, self.reconciles.clone());
        RECONCILE_ERRORS.register(&mut registry, self.reconcile_errors.clone());
        RECONCILE_TIME.register(&mut registry, self.reconcile_time.clone());
        WORK_TIME.register(&mut registry, self.work_time.clone());
        RETRIES.register(&mut registry, self.retries.clone());
        AWS_REQUESTS.register(&mut registry, self.aws_requests.clone());
        AWS_REQUEST_TIME.register(&mut registry, self.aws_request_time.clone());
        AWS_THROTTLES.register(&mut registry, self.aws_throttles.clone());
        let in_hand = || observed.in_hand.iter();
        let number = |times: &Vec<Duration>| f64::from(u32::try_from(times.len()).unwrap_or(u32::MAX));
        ACTIVE_WORKERS.gauge(&mut registry, in_hand().map(|(controller, times)| ([*controller], number(times))));
        let all = |times: &Vec<Duration>| times.iter().sum::<Duration>().as_secs_f64();
        UNFINISHED_WORK.gauge(&mut registry, in_hand().map(|(controller, times)| ([*controller; 2], all(times))));
        let longest = |times: &Vec<Duration>| times.iter().max().map_or(0.0, Duration::as_secs_f64);
        LONGEST_WORK.gauge(&mut registry, in_hand().map(|(controller, times)| ([*controller; 2], longest(times))));
        let (name, leads) = &observed.leader;
        LEADER.gauge(&mut registry, [([name.as_str()], f64::from(u8::from(*leads)))]);
        let mut ages: BTreeMap<_, Duration> = BTreeMap::new();
        for ((account, region), age) in &observed.inventory_ages {
            let Labelled { accounts, regions, .. } = &self.values;
            let labels = [accounts.label(account, |_| false), regions.label(region, regions::is_known)];
            // Of several that share a label the oldest counts.
            let oldest = ages.entry(labels).or_default();
            *oldest = age.max(oldest).to_owned();
        }
        INVENTORY_AGE.gauge(&mut registry, ages.into_iter().map(|(labels, age)| (labels, age.as_secs_f64())));
        let peerings = observed.peerings.iter().map(|(code, number)| ([status_code(code)], f64::from(*number)));
        PEERINGS.gauge(&mut registry, peerings);
        let resources = observed.resources.iter().map(|((kind, ready, reason), number)| {
            ([kind.as_str(), condition_status(ready), condition_reason(reason)], f64::from(*number))
        });
        RESOURCES.gauge(&mut registry, resources);
        EXPIRY.gauge(&mut registry, observed.expiry.map(|seconds| ([], seconds)));
        DELETION.gauge(&mut registry, observed.deletions.iter().map(|(kind, seconds)| ([kind.as_str()], *seconds)));
        BUILD.gauge(&mut registry, [([env!("CARGO_PKG_VERSION")], 1.0)]);
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Definition {
    fn labels<const N: usize>(&self, values: [&str; N]) -> Labels {
        debug_assert_eq!(self.labels.len(), N, "{}", self.name);
        self.labels.iter().copied().zip(values.map(str::to_owned)).collect()
    }

    fn register(&self, registry: &mut Registry, metric: impl Metric) {
        // The encoder puts the suffix of counters back.
        registry.register(self.name.strip_suffix("_total").unwrap_or(self.name), self.help, metric);
    }

    fn gauge<'a, const N: usize>(
        &self,
        registry: &mut Registry,
        values: impl IntoIterator<Item = ([&'a str; N], f64)>,
    ) {
        let gauges = Gauges::default();
        for (labels, value) in values {
            // Several values may share what is left of a label that was cut.
            gauges.get_or_create(&self.labels(labels)).inc_by(value);
        }
        self.register(registry, gauges);
    }
}

/// What stands for every value that a label does not take.
const OTHER: &str = "other";

/// The most values of a label that are not of a known set. A scrape must not grow for ever because somebody invents
/// accounts, regions or codes; each label has a budget of its own, and what is known needs none.
const INVENTED: usize = 256;

/// The values that labels have taken so far.
#[derive(Debug, Default)]
struct Labelled {
    accounts: Bounded,
    regions: Bounded,
    codes: Bounded,
}

#[derive(Debug, Default)]
struct Bounded(Mutex<BTreeSet<String>>);

impl Bounded {
    fn label<'a>(&self, value: &'a str, is_known: impl Fn(&str) -> bool) -> &'a str {
        if is_known(value) {
            return value;
        }
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if values.contains(value) {
            return value;
        }
        if values.len() == INVENTED {
            return OTHER;
        }
        values.insert(value.to_owned());
        value
    }
}

/// EC2's code in a status, which may have been forged.
fn status_code(code: &str) -> &str {
    let is_known = code == "none" || !matches!(StatusCode::from(code), StatusCode::Unknown(_));
    if is_known { code } else { OTHER }
}

/// The status of a condition, which may have been forged.
fn condition_status(status: &str) -> &str {
    if ["True", "False"].contains(&status) { status } else { "Unknown" }
}

/// The reason of a condition, which may have been forged.
fn condition_reason(reason: &str) -> &str {
    let is_known = reason == "none" || Reason::ALL.iter().any(|known| known.as_str() == reason);
    if is_known { reason } else { OTHER }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered<'a>(account: &'a str, region: &'a str, code: &'a str) -> CompletedRequest<'a> {
        CompletedRequest {
            action: "DescribeVpcs",
            account,
            region,
            code,
            request_id: None,
            took: Duration::from_secs(1),
        }
    }

    #[test]
    fn invented_values_are_bounded_and_push_no_known_one_out() {
        let metrics = Metrics::default();
        for number in 0..2_000 {
            let account = format!("{number:012}");
            metrics.answered(&answered(&account, &format!("region-{number}"), &format!("Code{number}")));
        }
        metrics.answered(&answered("000000000000", "eu-central-1", "UnauthorizedOperation"));
        let invented = |number: usize| format!("Invented{number}");
        let mut observed = Observed::default();
        for number in 0..2_000 {
            let status = ("VpcPeering".to_owned(), invented(number), invented(number));
            observed.resources.insert(status, 1);
            observed.peerings.insert(invented(number), 1);
            let age = Duration::from_secs(number as u64);
            observed.inventory_ages.insert((format!("{number:012}"), format!("region-{number}")), age);
        }
        let unauthorized = ("VpcPeering".to_owned(), "False".to_owned(), Reason::Unauthorized.to_string());
        observed.resources.insert(unauthorized, 3);
        observed.peerings.insert("active".into(), 2);
        let text = metrics.text(&observed).unwrap_or_default();
        let series = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
        assert!(series(AWS_REQUESTS.name) <= INVENTED + 2, "{}", series(AWS_REQUESTS.name));
        assert!(series(INVENTORY_AGE.name) <= INVENTED + 1, "{}", series(INVENTORY_AGE.name));
        assert_eq!((series(RESOURCES.name), series(PEERINGS.name)), (2, 2));
        for line in [
            r#"vpcpeering_aws_requests_total{action="DescribeVpcs",account="000000000000",region="eu-central-1",code="UnauthorizedOperation"} 1"#,
            r#"vpcpeering_resources{kind="VpcPeering",ready="False",reason="Unauthorized"} 3"#,
            r#"vpcpeering_resources{kind="VpcPeering",ready="Unknown",reason="other"} 2000"#,
            r#"vpcpeering_peerings{code="active"} 2"#,
            r#"vpcpeering_peerings{code="other"} 2000"#,
            r#"vpcpeering_inventory_age_seconds{account="other",region="other"} 1999"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn names_follow_prometheus() {
        for Definition { name, kind, help, .. } in DEFINITIONS {
            assert_eq!(name.ends_with("_total"), *kind == "counter", "{name}");
            assert!(!help.ends_with('.') && !help.contains(['|', '\n']), "{name}: the help gets its full stop later");
            assert!(*kind != "histogram" || name.ends_with("_seconds"), "{name}");
        }
    }
}

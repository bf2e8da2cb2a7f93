//! The Prometheus metrics. docs/metrics.md is generated from their definitions. A metric with the meaning of one of
//! controller-runtime has its name, so that dashboards for controller-runtime work.

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

/// The definition of a metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Definition {
    /// The name of the metric.
    pub name: &'static str,
    /// The Prometheus type.
    pub kind: &'static str,
    /// The names of the labels.
    pub labels: &'static [&'static str],
    /// The help text, without a full stop.
    pub help: &'static str,
}

/// Defines each metric as a constant and as an entry of [`DEFINITIONS`].
macro_rules! definitions {
    ($($id:ident: $kind:literal $name:literal $labels:expr, $help:literal;)*) => {
        $(const $id: Definition = Definition { name: $name, kind: $kind, labels: &$labels, help: $help };)*

        /// The definitions of all metrics.
        pub const DEFINITIONS: &[Definition] = &[$($id),*];
    };
}

definitions! {
    RECONCILES: "counter" "controller_runtime_reconcile_total" ["controller", "result"],
        "Number of reconciliations by result: success, requeue_after or error";
    RECONCILE_ERRORS: "counter" "controller_runtime_reconcile_errors_total" ["controller"],
        "Number of reconciliations that failed because of an error of the API server. Errors of AWS appear as the reason in vpcpeering_resources";
    RECONCILE_TIME: "histogram" "controller_runtime_reconcile_time_seconds" ["controller"],
        "Duration of reconciliations";
    ACTIVE_WORKERS: "gauge" "controller_runtime_active_workers" ["controller"],
        "Number of running reconciliations";
    WORK_TIME: "histogram" "workqueue_work_duration_seconds" ["name", "controller"],
        "Duration of the work on an item of the queue, which is one reconciliation";
    UNFINISHED_WORK: "gauge" "workqueue_unfinished_work_seconds" ["name", "controller"],
        "Sum of the durations of the running reconciliations so far";
    LONGEST_WORK: "gauge" "workqueue_longest_running_processor_seconds" ["name", "controller"],
        "Duration of the longest running reconciliation so far";
    RETRIES: "counter" "workqueue_retries_total" ["name", "controller"],
        "Number of items that were requeued after an error";
    LEADER: "gauge" "leader_election_master_status" ["name"],
        "1 if this process is the leader, that is, holds the Lease of this name; otherwise 0";
    AWS_REQUESTS: "counter" "vpcpeering_aws_requests_total" ["action", "account", "region", "code"],
        "Number of requests to EC2 and STS, including retries, by AWS error code. Without an error code: OK, Timeout or NoAnswer";
    AWS_REQUEST_TIME: "histogram" "vpcpeering_aws_request_duration_seconds" ["action", "account", "region"],
        "Duration of requests to EC2 and STS";
    AWS_THROTTLES: "counter" "vpcpeering_aws_throttles_total" ["action", "account", "region"],
        "Number of requests that AWS throttled";
    INVENTORY_AGE: "gauge" "vpcpeering_inventory_age_seconds" ["account", "region"],
        "Time since the start of the last successful listing of the peering connections of the account and region";
    QUOTA_LIMIT: "gauge" "vpcpeering_quota_limit" ["account", "region", "quota"],
        "AWS quota: active_per_vpc, outstanding or routes_per_table. The default until Service Quotas tells the account's own value";
    QUOTA_USED: "gauge" "vpcpeering_quota_used" ["account", "region", "quota"],
        "Use of the AWS quota; for active_per_vpc and routes_per_table, that of the fullest VPC or route table whose routes the operator manages";
    PEERINGS: "gauge" "vpcpeering_peerings" ["code"],
        "Number of VpcPeering resources by EC2 status code of their peering connection; none if there is no connection";
    RESOURCES: "gauge" "vpcpeering_resources" ["kind", "ready", "reason"],
        "Number of VpcPeering and VpcPeeringAccepter resources by status and reason of the condition Ready";
    EXPIRY: "gauge" "vpcpeering_pending_expiry_seconds" [],
        "Time until the first expiry of a request with the status code pending-acceptance; absent if there is none";
    DELETION: "gauge" "vpcpeering_deletion_age_seconds" ["kind"],
        "Time since the oldest deletionTimestamp of a resource of the kind; absent if no resource is being deleted";
    TASKS: "gauge" "vpcpeering_tasks" [],
        "Number of living tasks of the tokio runtime. An unchanged number of resources needs an unchanged number of tasks";
    BUILD: "gauge" "vpcpeering_build_info" ["version"],
        "Constant 1, with the version of the operator";
}

/// The values that are read at the time of a scrape.
#[derive(Debug, Default)]
pub(super) struct ScrapeValues {
    /// The durations of the running reconciliations so far, by controller.
    pub(super) running: BTreeMap<&'static str, Vec<Duration>>,
    /// The name of the Lease, and whether this process holds it.
    pub(super) leader: (String, bool),
    /// The time since the last successful listing, by account and region.
    pub(super) inventory_ages: BTreeMap<(String, String), Duration>,
    /// The use and the limit of each quota, by account and region.
    pub(super) quotas: BTreeMap<(String, String, &'static str), QuotaUse>,
    /// The number of `VpcPeering` resources by EC2 status code.
    pub(super) peerings: BTreeMap<String, u32>,
    /// The number of resources by kind, and by status and reason of `Ready`.
    pub(super) resources: BTreeMap<(String, String, String), u32>,
    /// Seconds until the first pending request expires.
    pub(super) expiry: Option<f64>,
    /// Seconds since the oldest deletionTimestamp, by kind.
    pub(super) deletions: BTreeMap<String, f64>,
    /// The number of living tasks of the tokio runtime.
    pub(super) tasks: usize,
}

/// The use of a quota.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct QuotaUse {
    pub(super) used: usize,
    pub(super) limit: usize,
}

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

/// The counters and histograms, which are updated when something happens.
#[derive(Debug)]
pub(super) struct Metrics {
    reconciles: Family<Labels, Counter>,
    reconcile_errors: Family<Labels, Counter>,
    reconcile_time: Family<Labels, Histogram, fn() -> Histogram>,
    aws_requests: Family<Labels, Counter>,
    work_time: Family<Labels, Histogram, fn() -> Histogram>,
    retries: Family<Labels, Counter>,
    aws_request_time: Family<Labels, Histogram, fn() -> Histogram>,
    aws_throttles: Family<Labels, Counter>,
    label_values: LabelValues,
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
            label_values: LabelValues::default(),
        }
    }
}

impl Metrics {
    /// Records a reconciliation.
    pub(super) fn reconciled(&self, controller: &str, result: &str, took: Duration) {
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

    /// Records a request to AWS.
    pub(super) fn answered(&self, request: &CompletedRequest<'_>) {
        let LabelValues { accounts, regions, codes } = &self.label_values;
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

    /// The metrics in the Prometheus text format, version 0.0.4.
    ///
    /// # Errors
    /// If the metrics cannot be encoded.
    pub(super) fn text(&self, scraped: &ScrapeValues) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        RECONCILES.register(&mut registry, self.reconciles.clone());
        RECONCILE_ERRORS.register(&mut registry, self.reconcile_errors.clone());
        RECONCILE_TIME.register(&mut registry, self.reconcile_time.clone());
        WORK_TIME.register(&mut registry, self.work_time.clone());
        RETRIES.register(&mut registry, self.retries.clone());
        AWS_REQUESTS.register(&mut registry, self.aws_requests.clone());
        AWS_REQUEST_TIME.register(&mut registry, self.aws_request_time.clone());
        AWS_THROTTLES.register(&mut registry, self.aws_throttles.clone());
        let running = || scraped.running.iter();
        let number = |times: &Vec<Duration>| f64::from(u32::try_from(times.len()).unwrap_or(u32::MAX));
        ACTIVE_WORKERS.gauge(&mut registry, running().map(|(controller, times)| ([*controller], number(times))));
        let all = |times: &Vec<Duration>| times.iter().sum::<Duration>().as_secs_f64();
        UNFINISHED_WORK.gauge(&mut registry, running().map(|(controller, times)| ([*controller; 2], all(times))));
        let longest = |times: &Vec<Duration>| times.iter().max().map_or(0.0, Duration::as_secs_f64);
        LONGEST_WORK.gauge(&mut registry, running().map(|(controller, times)| ([*controller; 2], longest(times))));
        let (name, leads) = &scraped.leader;
        LEADER.gauge(&mut registry, [([name.as_str()], f64::from(u8::from(*leads)))]);
        self.register_inventories(&mut registry, scraped);
        let peerings = scraped.peerings.iter().map(|(code, number)| ([status_code(code)], f64::from(*number)));
        PEERINGS.gauge(&mut registry, peerings);
        let resources = scraped.resources.iter().map(|((kind, ready, reason), number)| {
            ([kind.as_str(), condition_status(ready), condition_reason(reason)], f64::from(*number))
        });
        RESOURCES.gauge(&mut registry, resources);
        EXPIRY.gauge(&mut registry, scraped.expiry.map(|seconds| ([], seconds)));
        DELETION.gauge(&mut registry, scraped.deletions.iter().map(|(kind, seconds)| ([kind.as_str()], *seconds)));
        TASKS.gauge(&mut registry, [([], scraped.tasks as f64)]);
        BUILD.gauge(&mut registry, [([env!("CARGO_PKG_VERSION")], 1.0)]);
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Metrics {
    /// Registers the metrics that have one value for each account and region.
    fn register_inventories(&self, registry: &mut Registry, scraped: &ScrapeValues) {
        let LabelValues { accounts, regions, .. } = &self.label_values;
        let mut ages: BTreeMap<_, Duration> = BTreeMap::new();
        for ((account, region), age) in &scraped.inventory_ages {
            let labels = [accounts.label(account, |_| false), regions.label(region, regions::is_known)];
            // Several inventories may share the label `other`: the oldest counts.
            let oldest = ages.entry(labels).or_default();
            *oldest = age.max(oldest).to_owned();
        }
        INVENTORY_AGE.gauge(registry, ages.into_iter().map(|(labels, age)| (labels, age.as_secs_f64())));
        let mut quotas: BTreeMap<_, QuotaUse> = BTreeMap::new();
        for ((account, region, quota), value) in &scraped.quotas {
            let labels = [accounts.label(account, |_| false), regions.label(region, regions::is_known), quota];
            // Of those that share the label `other`, the one with the least room counts.
            let fullest = quotas.entry(labels).or_insert(*value);
            if value.used * fullest.limit > fullest.used * value.limit {
                *fullest = *value;
            }
        }
        let of = |number: fn(&QuotaUse) -> usize| {
            quotas.iter().map(move |(labels, value)| (*labels, number(value) as f64)).collect::<Vec<_>>()
        };
        QUOTA_LIMIT.gauge(registry, of(|value| value.limit));
        QUOTA_USED.gauge(registry, of(|value| value.used));
    }
}

impl Definition {
    fn labels<const N: usize>(&self, values: [&str; N]) -> Labels {
        debug_assert_eq!(self.labels.len(), N, "{}", self.name);
        self.labels.iter().copied().zip(values.map(str::to_owned)).collect()
    }

    fn register(&self, registry: &mut Registry, metric: impl Metric) {
        // The encoder appends the suffix to the names of counters.
        registry.register(self.name.strip_suffix("_total").unwrap_or(self.name), self.help, metric);
    }

    fn gauge<'a, const N: usize>(
        &self,
        registry: &mut Registry,
        values: impl IntoIterator<Item = ([&'a str; N], f64)>,
    ) {
        let gauges = Gauges::default();
        for (labels, value) in values {
            // Several values may share the label `other`.
            gauges.get_or_create(&self.labels(labels)).inc_by(value);
        }
        self.register(registry, gauges);
    }
}

/// The label value that replaces unknown values.
const OTHER: &str = "other";

/// Maximum unknown values of each label. Further values become [`OTHER`], so that invented accounts, regions or codes
/// cannot make a scrape grow without limit. Known values are always kept.
const MAX_UNKNOWN_VALUES: usize = 256;

/// The unknown values of the labels so far.
#[derive(Debug, Default)]
struct LabelValues {
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
        if values.len() == MAX_UNKNOWN_VALUES {
            return OTHER;
        }
        values.insert(value.to_owned());
        value
    }
}

/// The label value of a status code in a status, which may be forged.
fn status_code(code: &str) -> &str {
    let is_known = code == "none" || !matches!(StatusCode::from(code), StatusCode::Unknown(_));
    if is_known { code } else { OTHER }
}

/// The label value of the status of a condition, which may be forged.
fn condition_status(status: &str) -> &str {
    if ["True", "False"].contains(&status) { status } else { "Unknown" }
}

/// The label value of the reason of a condition, which may be forged.
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
            date: None,
            took: Duration::from_secs(1),
        }
    }

    #[test]
    fn unknown_values_are_bounded_and_known_values_are_kept() {
        let metrics = Metrics::default();
        for number in 0..2_000 {
            let account = format!("{number:012}");
            metrics.answered(&answered(&account, &format!("region-{number}"), &format!("Code{number}")));
        }
        metrics.answered(&answered("000000000000", "eu-central-1", "UnauthorizedOperation"));
        let invented = |number: usize| format!("Invented{number}");
        let mut scraped = ScrapeValues::default();
        for number in 0..2_000 {
            let status = ("VpcPeering".to_owned(), invented(number), invented(number));
            scraped.resources.insert(status, 1);
            scraped.peerings.insert(invented(number), 1);
            let age = Duration::from_secs(number as u64);
            scraped.inventory_ages.insert((format!("{number:012}"), format!("region-{number}")), age);
        }
        let unauthorized = ("VpcPeering".to_owned(), "False".to_owned(), Reason::Unauthorized.to_string());
        scraped.resources.insert(unauthorized, 3);
        scraped.peerings.insert("active".into(), 2);
        let text = metrics.text(&scraped).unwrap_or_default();
        let series = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
        assert!(series(AWS_REQUESTS.name) <= MAX_UNKNOWN_VALUES + 2, "{}", series(AWS_REQUESTS.name));
        assert!(series(INVENTORY_AGE.name) <= MAX_UNKNOWN_VALUES + 1, "{}", series(INVENTORY_AGE.name));
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
    fn names_follow_the_conventions_of_prometheus() {
        for Definition { name, kind, help, .. } in DEFINITIONS {
            assert_eq!(name.ends_with("_total"), *kind == "counter", "{name}");
            assert!(!help.ends_with('.') && !help.contains(['|', '\n']), "{name}: the encoder appends the full stop");
            assert!(*kind != "histogram" || name.ends_with("_seconds"), "{name}");
        }
    }
}

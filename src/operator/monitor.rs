//! The state of the running operator, for its metrics and probes, and for the check whether it is still the leader.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::reflector::Store;
use tokio::runtime::Handle;
use tokio::sync::SetOnce;
use tokio::time::{Instant, sleep};

use super::leader::Leadership;
use super::metrics::{Metrics, QuotaUse, ScrapeValues};
use crate::api::{ConditionType, VpcPeering};
use crate::aws::{Account, CompletedRequest, Interceptor, Inventory};
use crate::controller::{Context, Kind, ReconcileHooks, Status as _};
use crate::peering::quota::QuotaKind;
use crate::peering::{Snapshot, conditions};

/// Time after which a reconciliation or a listing counts as stuck. It is longer than either takes with all retries and
/// timeouts.
const STUCK_AFTER: Duration = Duration::from_secs(600);

/// Delay after a failed check of the operator's own credentials.
const CREDENTIALS_RETRY_DELAY: Duration = Duration::from_secs(5);

/// The state of the running operator.
pub(super) struct Monitor {
    leadership: Leadership,
    poll_interval: Duration,
    metrics: Metrics,
    /// The start times of the running reconciliations, by controller.
    running: Mutex<BTreeMap<&'static str, Vec<Instant>>>,
    context: SetOnce<Arc<Context>>,
}

impl Monitor {
    pub(super) fn new(leadership: Leadership, poll_interval: Duration) -> Self {
        let (metrics, running, context) = Default::default();
        Self { leadership, poll_interval, metrics, running, context }
    }

    /// Calls `GetCallerIdentity` with the operator's own credentials until it succeeds, so that readiness does not
    /// depend on a first resource.
    pub(super) async fn verify_credentials(&self) {
        let own = self.context.wait().await.accounts.own();
        while let Err(error) = own.id().await {
            tracing::warn!(%error, "AWS has not accepted the operator's own credentials; retrying");
            sleep(CREDENTIALS_RETRY_DELAY).await;
        }
    }

    /// Whether the operator is ready: it has listed its resources, and AWS has accepted its own credentials. Later
    /// failures raise alerts instead, because no other replica would do better. Standby replicas are always ready.
    ///
    /// # Errors
    /// The reason why it is not ready, as a line of text. Everybody who reaches the port may read it, so it shows no
    /// name and no error.
    pub(super) fn ready(&self) -> Result<(), &'static str> {
        if !self.leadership.is_known() {
            return Err("the Lease has not been read yet\n");
        }
        if !self.leadership.is_held() {
            return Ok(());
        }
        let context = self.context.get().ok_or("the controllers have not started yet\n")?;
        if !is_listed(&context.peerings.store) || !is_listed(&context.accepters.store) {
            return Err("the resources have not been listed yet; the log says why\n");
        }
        if context.accounts.own().known_id().is_none() {
            return Err("AWS has not accepted the operator's own credentials yet; the log says why\n");
        }
        Ok(())
    }

    /// Whether no reconciliation and no poll is stuck.
    ///
    /// # Errors
    /// A line of text that names the stuck part. The log has the details.
    pub(super) fn live(&self) -> Result<(), &'static str> {
        let oldest = self.running().values().flatten().map(Instant::elapsed).max().unwrap_or_default();
        if oldest > STUCK_AFTER {
            tracing::error!(seconds = oldest.as_secs(), "a reconciliation is stuck");
            return Err("a reconciliation is stuck; the log says more\n");
        }
        let accounts = self.context.get().map(|context| context.accounts.all()).unwrap_or_default();
        for (account, region, inventory) in inventories(&accounts) {
            let age = inventory.latest().map(|listing| listing.last_polled.elapsed()).unwrap_or_default();
            if age > self.poll_interval + STUCK_AFTER {
                tracing::error!(
                    account,
                    region,
                    seconds = age.as_secs(),
                    "the listing of peering connections is stuck"
                );
                return Err("a listing of peering connections is stuck; the log says more\n");
            }
        }
        Ok(())
    }

    /// The metrics in the Prometheus text format.
    ///
    /// # Errors
    /// If the metrics cannot be encoded.
    pub(super) fn metrics(&self) -> Result<String, fmt::Error> {
        let elapsed = |began: &Vec<Instant>| began.iter().map(Instant::elapsed).collect();
        let mut values = ScrapeValues {
            running: self.running().iter().map(|(controller, began)| (*controller, elapsed(began))).collect(),
            leader: (self.leadership.lease().to_owned(), self.leadership.is_held()),
            tasks: Handle::try_current().map_or(0, |runtime| runtime.metrics().num_alive_tasks()),
            ..ScrapeValues::default()
        };
        if let Some(context) = self.context.get() {
            let accounts = context.accounts.all();
            for (account, region, inventory) in inventories(&accounts) {
                let fresh = inventory.latest().and_then(|listing| listing.last_complete);
                // Until the first successful listing, the age counts from the start of the controllers.
                let age = fresh.unwrap_or(context.started).elapsed();
                let oldest = values.inventory_ages.entry((account, region)).or_default();
                *oldest = age.max(*oldest);
            }
            accounts.iter().for_each(|account| values.add_quotas(account));
            let now = Timestamp::now();
            context.peerings.store.state().iter().for_each(|object| values.count_peering(object, now));
            context.accepters.store.state().iter().for_each(|object| values.count(&**object, now));
        }
        self.metrics.text(&values)
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<&'static str, Vec<Instant>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the watch of a kind has listed its resources.
fn is_listed<K: Kind>(store: &Store<K>) -> bool {
    store.wait_until_ready().now_or_never().is_some_and(|outcome| outcome.is_ok())
}

/// The inventory of peering connections of every account and region.
fn inventories(accounts: &[Arc<Account>]) -> Vec<(String, String, Arc<Inventory<Snapshot>>)> {
    let of_account = |account: &Arc<Account>| {
        let id = account.known_id().unwrap_or("unknown").to_owned();
        account.peerings.all().into_iter().map(move |(region, inventory)| (id.clone(), region, inventory))
    };
    accounts.iter().flat_map(of_account).collect()
}

impl ScrapeValues {
    /// Adds the quotas of an account in each region in use. Two identities may act in one account: they see the same.
    fn add_quotas(&mut self, account: &Account) {
        let Some(id) = account.known_id() else { return };
        let tables = account.route_tables.all();
        for (region, inventory) in account.peerings.all() {
            let Some(snapshot) = inventory.latest().and_then(|listing| listing.outcome.ok()) else { continue };
            let quotas = account.quotas.of(&region);
            let tables = tables.iter().find(|(of, _)| *of == region).and_then(|(_, tables)| tables.latest());
            let tables = tables.and_then(|listing| listing.outcome.ok()).unwrap_or_default();
            for kind in QuotaKind::ALL {
                let used = kind.most_used(&snapshot, &tables, id, &region);
                let value = QuotaUse { used, limit: quotas.get(kind).limit_beside(kind, used) };
                self.quotas.insert((id.to_owned(), region.clone(), kind.label()), value);
            }
        }
    }

    /// Counts a resource of either kind.
    fn count<K: Kind>(&mut self, object: &K, now: Timestamp) {
        let kind = K::kind(&()).into_owned();
        let ready = object.status().and_then(|status| conditions::find(status.conditions(), ConditionType::Ready));
        let (ready, reason) = ready.map_or(("Unknown", "none"), |ready| (&*ready.status, &*ready.reason));
        *self.resources.entry((kind.clone(), ready.to_owned(), reason.to_owned())).or_default() += 1;
        if let Some(asked) = &object.meta().deletion_timestamp {
            let oldest = self.deletions.entry(kind).or_default();
            *oldest = oldest.max(seconds(asked.0, now));
        }
    }

    /// Counts a `VpcPeering`.
    fn count_peering(&mut self, object: &VpcPeering, now: Timestamp) {
        self.count(object, now);
        let status = object.status.as_ref();
        let code = status.and_then(|status| status.status.as_ref()).map_or("none", |status| status.code.as_str());
        *self.peerings.entry(code.to_owned()).or_default() += 1;
        if code == "pending-acceptance"
            && let Some(expires) = status.and_then(|status| status.expiration_time.as_ref())
        {
            let left = seconds(now, expires.0);
            self.expiry = Some(self.expiry.map_or(left, |least| least.min(left)));
        }
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

impl ReconcileHooks for Monitor {
    fn started(&self, context: &Arc<Context>) {
        // A process starts its controllers once.
        _ = self.context.set(Arc::clone(context));
    }

    fn began(&self, controller: &'static str, at: Instant) {
        self.running().entry(controller).or_default().push(at);
    }

    fn ended(&self, controller: &'static str, began: Instant, outcome: Result<&Action, &kube::Error>) {
        if let Some(running) = self.running().get_mut(controller)
            && let Some(position) = running.iter().position(|other| *other == began)
        {
            running.swap_remove(position);
        }
        let result = match outcome {
            Err(_) => "error",
            Ok(action) if *action == Action::await_change() => "success",
            Ok(_) => "requeue_after",
        };
        self.metrics.reconciled(controller, result, began.elapsed());
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("leadership", &self.leadership).finish_non_exhaustive()
    }
}

impl Interceptor for Monitor {
    fn may_send(&self) -> bool {
        self.leadership.is_held()
    }

    fn completed(&self, request: &CompletedRequest<'_>) {
        self.metrics.answered(request);
        let CompletedRequest { action, account, region, code, request_id, took, date: _ } = request;
        if request.is_write() {
            tracing::info!(action, account, region, code, request_id, ?took, "EC2 answered");
        } else {
            tracing::debug!(action, account, region, code, request_id, ?took, "EC2 answered");
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::api::{PeeringStatus, VpcPeeringStatus};
    use crate::peering::testing::spec;

    #[test]
    fn a_stuck_reconciliation_fails_the_liveness_probe() {
        let monitor = Monitor::new(Leadership::always("test"), Duration::from_secs(60));
        let Some(long_ago) = Instant::now().checked_sub(STUCK_AFTER * 2) else { return };
        monitor.began("vpcpeering", Instant::now());
        assert_eq!(monitor.live(), Ok(()));
        monitor.began("vpcpeering", long_ago);
        assert!(monitor.live().is_err());
        monitor.ended("vpcpeering", long_ago, Ok(&Action::await_change()));
        assert_eq!(monitor.live(), Ok(()));
    }

    #[test]
    fn a_forged_expiry_does_not_overflow() {
        let of = |expires: Timestamp| {
            let mut object = VpcPeering::new("a", spec());
            let status = PeeringStatus { code: "pending-acceptance".into(), message: None };
            object.status = Some(VpcPeeringStatus {
                status: Some(status),
                expiration_time: Some(Time(expires)),
                ..VpcPeeringStatus::default()
            });
            object
        };
        for (first, second) in [(Timestamp::MAX, Timestamp::MIN), (Timestamp::MIN, Timestamp::MAX)] {
            for now in [Timestamp::now(), Timestamp::MAX, Timestamp::MIN] {
                let mut values = ScrapeValues::default();
                values.count_peering(&of(first), now);
                values.count_peering(&of(second), now);
                let left = seconds(now, Timestamp::MIN);
                assert_eq!(values.expiry, Some(left), "the earliest expiry counts");
                assert!(Metrics::default().text(&values).is_ok_and(|text| text.contains("vpcpeering_pending_expiry")));
            }
        }
    }
}

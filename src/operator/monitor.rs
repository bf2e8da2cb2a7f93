//! What is known of the running operator: for its metrics, for its probes, and for who asks whether it may act.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::reflector::Store;
use tokio::sync::SetOnce;
use tokio::time::{Instant, sleep};

use super::leader::Hold;
use super::metrics::{Metrics, Observed};
use crate::api::{ConditionType, VpcPeering};
use crate::aws::{Account, AwsError, CompletedRequest, Interceptor, Inventory};
use crate::controller::kept::Status as _;
use crate::controller::{Context, Managed, Observer};
use crate::peering::{Snapshot, status};

/// Longer than any reconciliation or listing takes, all its retries and time-outs included.
const STUCK: Duration = Duration::from_secs(600);

/// The pause before AWS is asked again whose credentials the operator has.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What is known of the running operator.
pub struct Monitor {
    hold: Hold,
    poll_interval: Duration,
    metrics: Metrics,
    /// When the reconciliations in hand of each controller began.
    in_hand: Mutex<BTreeMap<&'static str, Vec<Instant>>>,
    context: SetOnce<Arc<Context>>,
    /// Why AWS did not tell, the last time, whose credentials the operator has.
    refusal: Mutex<Option<AwsError>>,
}

impl Monitor {
    /// Of an operator that has done nothing yet.
    #[must_use]
    pub fn new(hold: Hold, poll_interval: Duration) -> Self {
        let (metrics, in_hand, context, refusal) = Default::default();
        Self { hold, poll_interval, metrics, in_hand, context, refusal }
    }

    /// Asks AWS whose credentials the operator has, from the controller's start until AWS tells: readiness must not wait
    /// for the first resource.
    pub async fn identify(&self) {
        let own = self.context.wait().await.accounts.own();
        while let Err(error) = own.id().await {
            tracing::warn!(%error, "AWS does not tell whose the operator's own credentials are");
            *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            sleep(ASK_AGAIN).await;
        }
    }

    /// Why it is not ready: it has yet to see its resources, or to learn from AWS that its own credentials work. What
    /// happens to them later is told by alerts, since no other replica would do better. Whoever does not lead is ready to.
    ///
    /// # Errors
    /// What it waits for.
    pub fn ready(&self) -> Result<(), String> {
        if !self.hold.is_known() {
            return Err("it is not known yet who leads".into());
        }
        if !self.hold.is_held() {
            return Ok(());
        }
        let context = self.context.get().ok_or("the controller has not started yet")?;
        listed(&context.peerings.store)?;
        listed(&context.accepters.store)?;
        if context.accounts.own().known_id().is_some() {
            return Ok(());
        }
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        let why = refusal.as_ref().map_or_else(|| "no answer yet".to_owned(), AwsError::to_string);
        Err(format!("AWS has not told yet whose the operator's own credentials are: {why}"))
    }

    /// Whether every loop moves.
    ///
    /// # Errors
    /// Which one is stuck.
    pub fn live(&self) -> Result<(), String> {
        let oldest = self.in_hand().values().flatten().map(Instant::elapsed).max().unwrap_or_default();
        if oldest > STUCK {
            return Err(format!("a reconciliation has been in hand for {} s", oldest.as_secs()));
        }
        let accounts = self.context.get().map(|context| context.accounts.all()).unwrap_or_default();
        for (account, region, inventory) in peerings(&accounts) {
            let age = inventory.latest().map(|listing| listing.last_polled.elapsed()).unwrap_or_default();
            if age > self.poll_interval + STUCK {
                return Err(format!("{region} of {account} has not been listed for {} s", age.as_secs()));
            }
        }
        Ok(())
    }

    /// The metrics as text.
    ///
    /// # Errors
    /// None that a string can give.
    pub fn metrics(&self) -> Result<String, fmt::Error> {
        let so_far = |began: &Vec<Instant>| began.iter().map(Instant::elapsed).collect();
        let mut observed = Observed {
            in_hand: self.in_hand().iter().map(|(controller, began)| (*controller, so_far(began))).collect(),
            leader: (self.hold.name().to_owned(), self.hold.is_held()),
            ..Observed::default()
        };
        if let Some(context) = self.context.get() {
            for (account, region, inventory) in peerings(&context.accounts.all()) {
                let fresh = inventory.latest().and_then(|listing| listing.last_complete);
                // Until the first success the age is that of the process.
                let age = fresh.unwrap_or(context.started).elapsed();
                let oldest = observed.inventory_ages.entry((account, region)).or_default();
                *oldest = age.max(*oldest);
            }
            let now = Timestamp::now();
            context.peerings.store.state().iter().for_each(|object| observed.count_peering(object, now));
            context.accepters.store.state().iter().for_each(|object| observed.count(&**object, now));
        }
        self.metrics.text(&observed)
    }

    fn in_hand(&self) -> MutexGuard<'_, BTreeMap<&'static str, Vec<Instant>>> {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a watch has listed its resources.
fn listed<K: Managed>(store: &Store<K>) -> Result<(), String> {
    match store.wait_until_ready().now_or_never() {
        Some(outcome) => outcome.map_err(|error| error.to_string()),
        None => Err(format!("the watch of {} has not listed them yet", K::plural(&()))),
    }
}

/// Every listing of peerings, with its account and region.
fn peerings(accounts: &[Arc<Account>]) -> Vec<(String, String, Arc<Inventory<Snapshot>>)> {
    let of_account = |account: &Arc<Account>| {
        let id = account.known_id().unwrap_or("unknown").to_owned();
        account.peerings.all().into_iter().map(move |(region, inventory)| (id.clone(), region, inventory))
    };
    accounts.iter().flat_map(of_account).collect()
}

impl Observed {
    /// Takes a resource of either kind in.
    fn count<K: Managed>(&mut self, object: &K, now: Timestamp) {
        let kind = K::kind(&()).into_owned();
        let ready = object.status().and_then(|status| status::find(status.conditions(), ConditionType::Ready));
        let (ready, reason) = ready.map_or(("Unknown", "none"), |ready| (&*ready.status, &*ready.reason));
        *self.resources.entry((kind.clone(), ready.to_owned(), reason.to_owned())).or_default() += 1;
        if let Some(asked) = &object.meta().deletion_timestamp {
            let oldest = self.deletions.entry(kind).or_default();
            *oldest = oldest.max(seconds(asked.0, now));
        }
    }

    /// Takes a `VpcPeering` in.
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

impl Observer for Monitor {
    fn started(&self, context: &Arc<Context>) {
        // A process starts its controller once.
        _ = self.context.set(Arc::clone(context));
    }

    fn began(&self, controller: &'static str, at: Instant) {
        self.in_hand().entry(controller).or_default().push(at);
    }

    fn ended(&self, controller: &'static str, began: Instant, outcome: Result<&Action, &kube::Error>) {
        if let Some(in_hand) = self.in_hand().get_mut(controller)
            && let Some(position) = in_hand.iter().position(|other| *other == began)
        {
            in_hand.swap_remove(position);
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
        f.debug_struct("Monitor").field("hold", &self.hold).finish_non_exhaustive()
    }
}

impl Interceptor for Monitor {
    fn may_send(&self) -> bool {
        self.hold.is_held()
    }

    fn completed(&self, request: &CompletedRequest<'_>) {
        self.metrics.answered(request);
        let CompletedRequest { action, account, region, code, request_id, took } = request;
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
    fn a_reconciliation_without_end_is_noticed() {
        let monitor = Monitor::new(Hold::always("test"), Duration::from_secs(60));
        let Some(long_ago) = Instant::now().checked_sub(STUCK * 2) else { return };
        monitor.began("vpcpeering", Instant::now());
        assert_eq!(monitor.live(), Ok(()));
        monitor.began("vpcpeering", long_ago);
        assert!(monitor.live().is_err());
        monitor.ended("vpcpeering", long_ago, Ok(&Action::await_change()));
        assert_eq!(monitor.live(), Ok(()));
    }

    #[test]
    fn a_forged_expiry_breaks_no_arithmetic() {
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
                let mut observed = Observed::default();
                observed.count_peering(&of(first), now);
                observed.count_peering(&of(second), now);
                let left = seconds(now, Timestamp::MIN);
                assert_eq!(observed.expiry, Some(left), "the first of them counts");
                assert!(
                    Metrics::default().text(&observed).is_ok_and(|text| text.contains("vpcpeering_pending_expiry"))
                );
            }
        }
    }
}

//! The reconcile state: what this process remembers of an object. A restart loses it without harm, because the status
//! holds the record that has to last.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use super::deferred_writes::Deferral;
use crate::api::ManagedRoute;
use crate::aws::{Class, Inventory};
use crate::peering::plan::{Refusal, Step, Unseen};
use crate::peering::routes::{DeletedRoutes, RouteAnswers, RouteChange, RouteTables, Subnets};
use crate::peering::{Authorized, Blocker, Preflight, Snapshot};

/// Time for which the result of a check of the VPCs counts.
const PREFLIGHT_VALID: Duration = Duration::from_secs(30);

/// The longest wait for the watch to show the last write.
const CACHE_WAIT: Duration = Duration::from_secs(5);

/// The longest pause before a refused step is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// The state of one object.
#[derive(Debug)]
pub(crate) struct ReconcileState<S: Step> {
    /// The end of the last call that changed EC2. An older listing may not show its effect.
    pub last_write: Option<Instant>,
    /// The end of the last call that created or replaced a route, whether EC2 refused it or not.
    last_route: Option<Instant>,
    deleted_routes: DeletedRoutes,
    pub deferral: Deferral,
    /// The start of the first poll that lacked a recorded connection, by connection ID. A `VpcPeering` has one entry,
    /// with the empty ID.
    pub missing_since: BTreeMap<String, Instant>,
    /// The connections of recorded routes that EC2 has shown as the object's own.
    pub proven: BTreeSet<Authorized>,
    /// The resource version of the last write, and its time.
    written: Option<(u64, Instant)>,
    pub preflight: Option<CheckedVpcs>,
    /// The inventories that the object uses. Those that no object uses are not polled.
    pub listings: Listings,
    /// The steps that AWS has refused, by aspect. Only steps that can be refused in part have more than one.
    failures: BTreeMap<Option<S::Aspect>, Vec<Failure<S>>>,
    /// The last successful change of each aspect whose effect EC2 may show late, and its time.
    sent: BTreeMap<S::Aspect, (S, Instant)>,
}

impl<S: Step> Default for ReconcileState<S> {
    fn default() -> Self {
        Self {
            last_write: None,
            last_route: None,
            deleted_routes: DeletedRoutes::default(),
            deferral: Deferral::default(),
            missing_since: BTreeMap::new(),
            proven: BTreeSet::new(),
            written: None,
            preflight: None,
            listings: Listings::default(),
            failures: BTreeMap::new(),
            sent: BTreeMap::new(),
        }
    }
}

/// The inventories that an object uses.
#[derive(Debug, Default)]
pub(crate) struct Listings {
    /// The inventories of connections. That of the requester's end is first.
    pub connections: Vec<Arc<Inventory<Snapshot>>>,
    /// The inventories of route tables and subnets. An inventory is polled until its last reference is dropped.
    pub _route_tables: Vec<Arc<Inventory<RouteTables>>>,
    pub _subnets: Vec<Arc<Inventory<Subnets>>>,
}

/// The result of a check of the two VPCs.
#[derive(Debug)]
pub(crate) struct CheckedVpcs {
    /// The generation of the spec that was checked.
    pub generation: Option<i64>,
    pub at: Instant,
    pub preflight: Preflight,
}

/// A step, or the part of it, that AWS has refused.
#[derive(Debug)]
struct Failure<S> {
    step: S,
    generation: Option<i64>,
    class: Class,
    blocker: Blocker,
    backoff: ExponentialBackoff,
    until: Instant,
}

impl<S: Step> ReconcileState<S> {
    /// Time for which this step must not be repeated. Every status write wakes its object. Without a pause, the same
    /// call would follow an error at once.
    pub(super) fn pause_before(&self, step: &S, generation: Option<i64>) -> Option<Duration> {
        let mut failures = self.failures.get(&step.aspect())?.iter();
        let failure = failures.find(|failure| failure.step == *step && failure.generation == generation)?;
        Some(failure.until.saturating_duration_since(Instant::now())).filter(|pause| !pause.is_zero())
    }

    /// The refusals whose next attempt is not due yet.
    pub(super) fn refused(&self, generation: Option<i64>) -> BTreeMap<S::Aspect, Vec<Refusal<S>>> {
        let now = Instant::now();
        let refusals = |failures: &Vec<Failure<S>>| {
            let refused = failures.iter().filter(|failure| failure.generation == generation && failure.until > now);
            let refusals = refused.map(|failure| {
                let blocker = Blocker { requeue_after: Some(failure.until - now), ..failure.blocker.clone() };
                Refusal { step: failure.step.clone(), blocker }
            });
            refusals.collect::<Vec<_>>()
        };
        let by_aspect =
            self.failures.iter().filter_map(|(aspect, failures)| Some((aspect.clone()?, refusals(failures))));
        by_aspect.filter(|(_, refusals)| !refusals.is_empty()).collect()
    }

    /// Time to wait for the watch to show the last write: an older object would only cause a conflict. The wait ends
    /// when versions cannot be compared, or have gone backwards as after a restored backup.
    /// <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>
    pub(super) fn until_cached(&self, version: Option<&str>) -> Option<Duration> {
        let (written, at) = self.written?;
        let shown: u64 = version?.parse().ok()?;
        if shown >= written { None } else { CACHE_WAIT.checked_sub(at.elapsed()) }
    }

    /// Time until the next reconcile, if a poll of EC2 will show the effect of the last call before.
    pub(super) fn until_polled(&self, now: Instant) -> Option<Duration> {
        let listings = self.listings.connections.iter().filter_map(|inventory| inventory.latest());
        self.deferral.until_polled(listings.map(|listing| listing.last_polled).max(), now)
    }

    /// A call that changes EC2 has ended.
    pub(super) fn wrote_to_ec2(&mut self, now: Instant) {
        self.last_write = Some(now);
        self.deferral.reset();
    }

    /// EC2 has answered route calls. The flag of each is whether it has succeeded.
    pub(super) fn changed_routes(&mut self, changes: &[(RouteChange, bool)], now: Instant) {
        for (change, has_succeeded) in changes {
            self.deleted_routes.answered(change, *has_succeeded);
            if !matches!(change, RouteChange::Delete(_)) {
                self.last_route = Some(now);
            }
        }
    }

    /// EC2's answers to the route calls of this process. `started` is the start of the process: before it, the time of
    /// the last call is unknown.
    pub(super) fn route_answers(
        &mut self,
        recorded: &BTreeSet<ManagedRoute>,
        started: Instant,
        consistency_window: Duration,
    ) -> RouteAnswers {
        self.deleted_routes.retain(recorded);
        let is_settled = self.last_route.unwrap_or(started).elapsed() > consistency_window;
        RouteAnswers { is_settled, deleted: self.deleted_routes.clone() }
    }

    /// The API server has accepted a write.
    pub(super) fn wrote(&mut self, version: Option<&str>) {
        self.written = version.and_then(|version| version.parse().ok()).map(|version| (version, Instant::now()));
    }

    /// The time for which EC2 has not shown a connection, by connection ID. It includes the poll that began at
    /// `polled`.
    pub(super) fn missing_for<'a>(
        &mut self,
        missing: impl IntoIterator<Item = &'a str>,
        polled: Instant,
    ) -> BTreeMap<String, Duration> {
        let missing: BTreeSet<&str> = missing.into_iter().collect();
        self.missing_since.retain(|id, _| missing.contains(id.as_str()));
        let times = missing.into_iter().map(|id| {
            let since = *self.missing_since.entry(id.to_owned()).or_insert(polled);
            (id.to_owned(), polled.saturating_duration_since(since))
        });
        times.collect()
    }

    /// Adds connections that EC2 shows as the object's own, and returns all that recorded routes still need. EC2 shows
    /// an ended connection for some hours only.
    pub(super) fn proven(
        &mut self,
        shown: impl IntoIterator<Item = Authorized>,
        is_needed: impl Fn(&str) -> bool,
    ) -> BTreeSet<Authorized> {
        self.proven.extend(shown);
        self.proven.retain(|id| is_needed(id));
        self.proven.clone()
    }

    /// The result of the last check of the VPCs, if it is recent and of this spec.
    pub(super) fn preflight(&self, generation: Option<i64>) -> Option<Preflight> {
        let checked = self.preflight.as_ref()?;
        let is_valid = checked.generation == generation && checked.at.elapsed() < PREFLIGHT_VALID;
        is_valid.then(|| checked.preflight.clone())
    }

    /// A person asks to try again now.
    pub(super) fn start_over(&mut self) {
        self.failures.clear();
        self.preflight = None;
    }

    /// AWS has refused this step, or this part of a step.
    pub(super) fn failed(&mut self, step: S, generation: Option<i64>, class: Class, blocker: Blocker) {
        let now = Instant::now();
        let failures = self.failures.entry(step.aspect()).or_default();
        // Failures that were due have been tried again with this step.
        let is_held = |failure: &Failure<S>| {
            failure.generation == generation
                && failure.until > now
                && failure.step.beside(&step).as_ref() == Some(&failure.step)
        };
        let (held, tried): (Vec<_>, Vec<_>) = std::mem::take(failures).into_iter().partition(is_held);
        let is_same =
            |failure: &Failure<S>| failure.step == step && failure.generation == generation && failure.class == class;
        let mut backoff = tried.into_iter().find(is_same).map_or_else(|| backoff(class), |failure| failure.backoff);
        let until = now + backoff.next().unwrap_or(LONGEST_PAUSE);
        *failures = held;
        failures.push(Failure { step, generation, class, blocker, backoff, until });
    }

    pub(super) fn succeeded(&mut self, step: &S) {
        if let Some(failures) = self.failures.get_mut(&step.aspect()) {
            let now = Instant::now();
            failures.retain(|failure| failure.until > now && failure.step.beside(step).as_ref() == Some(&failure.step));
            if failures.is_empty() {
                self.failures.remove(&step.aspect());
            }
        }
        if let Some(aspect) = step.aspect().filter(|_| step.covers(step)) {
            self.sent.insert(aspect, (step.clone(), Instant::now()));
        }
    }

    /// The changes whose effect EC2 does not show yet, until the consistency window is over. `is_shown` answers by a
    /// view of EC2 that is newer than the change.
    pub(super) fn unseen(&mut self, window: Duration, is_shown: impl Fn(&S) -> bool) -> BTreeMap<S::Aspect, Unseen<S>> {
        self.sent.retain(|_, (step, at)| at.elapsed() < window && !is_shown(step));
        let unseen = self.sent.iter().map(|(aspect, (step, at))| {
            (aspect.clone(), Unseen { step: step.clone(), left: window.saturating_sub(at.elapsed()) })
        });
        unseen.collect()
    }
}

/// An error that passes by itself is retried soon. One that a person has to fix is retried slowly.
fn backoff(class: Class) -> ExponentialBackoff {
    let (first, last) = match class {
        Class::Wait | Class::Gone | Class::Broken => (Duration::from_secs(1), Duration::from_secs(300)),
        Class::FixSpec | Class::FixPermissions => (Duration::from_secs(30), LONGEST_PAUSE),
    };
    ExponentialBuilder::default().with_min_delay(first).with_max_delay(last).with_jitter().without_max_times().build()
}

/// The states of all objects of one kind, by UID.
#[derive(Debug)]
pub(crate) struct ReconcileStates<S: Step>(Mutex<HashMap<String, Box<ReconcileState<S>>>>);

impl<S: Step> Default for ReconcileStates<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S: Step> ReconcileStates<S> {
    /// Reads or changes the state of one object.
    pub(super) fn with<T>(&self, uid: &str, act: impl FnOnce(&mut ReconcileState<S>) -> T) -> T {
        let mut states = self.lock();
        match states.get_mut(uid) {
            Some(state) => act(state),
            None => act(states.entry(uid.to_owned()).or_default()),
        }
    }

    /// Forgets an object that is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Box<ReconcileState<S>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Reason, Side};
    use crate::peering::plan::Aspect;
    use crate::peering::upkeep::UpkeepStep;
    use crate::peering::vpc_peering::Step;

    fn blocker() -> Blocker {
        Blocker::stalled(Reason::AwsError, "refused".into())
    }

    #[test]
    fn a_refusal_blocks_only_the_steps_of_its_aspect() {
        let mut state = ReconcileState::default();
        let tag = |side| Step::Upkeep {
            side,
            step: UpkeepStep::Tag { id: Authorized::unchecked("pcx-1"), tags: BTreeMap::new() },
        };
        state.failed(tag(Side::Accepter), Some(1), Class::FixPermissions, blocker());
        state.succeeded(&tag(Side::Requester));
        let refused = state.refused(Some(1));
        assert_eq!(refused.keys().collect::<Vec<_>>(), [&Aspect::Tags(Side::Accepter)]);
        assert!(refused.values().flatten().all(|refusal| refusal.blocker.requeue_after.is_some()));
        assert!(state.refused(Some(2)).is_empty(), "an edited spec is tried at once");
        state.succeeded(&tag(Side::Accepter));
        assert!(state.refused(Some(1)).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_created_route_starts_the_consistency_window() {
        let window = Duration::from_secs(60);
        let route = ManagedRoute {
            side: Side::Requester,
            route_table_id: "rtb-1".into(),
            destination_cidr_block: "10.2.0.0/16".into(),
            vpc_peering_connection_id: "pcx-1".into(),
        };
        let (recorded, started) = (BTreeSet::from([route.clone()]), Instant::now());
        let mut state = ReconcileState::<Step>::default();
        assert!(!state.route_answers(&recorded, started, window).is_settled, "calls before the start are unknown");
        tokio::time::advance(window * 2).await;
        state.changed_routes(&[(RouteChange::Delete(route.clone()), true)], Instant::now());
        let answers = state.route_answers(&recorded, started, window);
        assert!(answers.is_settled && answers.deleted != DeletedRoutes::default());
        state.changed_routes(&[(RouteChange::Create(route), false)], Instant::now());
        assert_eq!(state.route_answers(&recorded, started, window), RouteAnswers::default());
        tokio::time::advance(window * 2).await;
        assert!(state.route_answers(&BTreeSet::new(), started, window).is_settled);
    }

    #[test]
    fn a_change_is_unseen_until_ec2_shows_it_or_the_window_is_over() {
        let mut state = ReconcileState::default();
        let id = Authorized::unchecked("pcx-1");
        let tag = |keys: &[&str]| Step::Upkeep {
            side: Side::Requester,
            step: UpkeepStep::Tag {
                id: id.clone(),
                tags: keys.iter().map(|key| ((*key).to_owned(), "1".to_owned())).collect(),
            },
        };
        let sent = tag(&["a", "b"]);
        state.succeeded(&sent);
        state.succeeded(&Step::Preflight);
        let window = Duration::from_secs(60);
        let unseen = state.unseen(window, |_| false);
        assert_eq!(unseen.keys().collect::<Vec<_>>(), [&Aspect::Tags(Side::Requester)]);
        let blocks = |step: &Step| unseen.values().any(|unseen| unseen.blocker(step).is_some());
        assert!(blocks(&sent) && blocks(&tag(&["a"])), "a part of the change is not repeated");
        assert!(!blocks(&tag(&["a", "c"])), "a new tag is set at once");
        assert!(state.unseen(Duration::ZERO, |_| false).is_empty(), "after the window, the change is repeated");
        state.succeeded(&sent);
        assert!(state.unseen(window, |_| true).is_empty());
    }

    #[test]
    fn a_refused_step_waits_and_another_does_not() {
        let mut state = ReconcileState::default();
        state.failed(Step::Create, Some(1), Class::FixSpec, blocker());
        assert!(state.pause_before(&Step::Create, Some(1)).is_some());
        assert_eq!(state.pause_before(&Step::Create, Some(2)), None, "an edited spec is tried at once");
        assert_eq!(state.pause_before(&Step::DryRun, Some(1)), None);
        state.succeeded(&Step::Create);
        assert_eq!(state.pause_before(&Step::Create, Some(1)), None);
    }

    #[test]
    fn an_object_older_than_the_last_write_waits() {
        let mut state = ReconcileState::<Step>::default();
        assert_eq!(state.until_cached(Some("1")), None);
        state.wrote(Some("7"));
        assert!(state.until_cached(Some("6")).is_some());
        for version in [Some("7"), Some("8"), Some("?"), None] {
            assert_eq!(state.until_cached(version), None, "{version:?}");
        }
    }

    #[test]
    fn the_pauses_grow() {
        let mut state = ReconcileState::default();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            state.failed(Step::Create, Some(1), Class::Wait, blocker());
            pauses.push(state.pause_before(&Step::Create, Some(1)).unwrap_or_default());
        }
        assert!(pauses[0] < Duration::from_secs(3), "{pauses:?}");
        assert!(pauses[11] > Duration::from_secs(200), "{pauses:?}");
    }
}

//! The reconcile state: what this process remembers of an object. A restart loses it without harm, because the status
//! holds the record that has to last.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::deferred_writes::Deferral;
use super::refusals::Refusals;
use crate::api::ManagedRoute;
use crate::aws::Inventory;
use crate::peering::plan::{Step, Unseen};
use crate::peering::routes::{DeletedRoutes, PrefixLists, RouteAnswers, RouteChange, RouteTables, Subnets};
use crate::peering::{Authorized, Preflight, Snapshot};

/// Time for which the result of a check of the VPCs counts.
const PREFLIGHT_VALID: Duration = Duration::from_secs(30);

/// The longest wait for the watch to show the last write.
const CACHE_WAIT: Duration = Duration::from_secs(5);

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
    pub refusals: Refusals<S>,
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
            refusals: Refusals::default(),
            sent: BTreeMap::new(),
        }
    }
}

/// The inventories that an object uses.
#[derive(Debug, Default)]
pub(crate) struct Listings {
    /// The inventories of connections. That of the requester's end is first.
    pub connections: Vec<Arc<Inventory<Snapshot>>>,
    /// The inventories of route tables, subnets and prefix lists. An inventory is polled until its last reference is dropped.
    pub _route_tables: Vec<Arc<Inventory<RouteTables>>>,
    pub _subnets: Vec<Arc<Inventory<Subnets>>>,
    pub _prefix_lists: Vec<Arc<Inventory<PrefixLists>>>,
}

/// The result of a check of the two VPCs.
#[derive(Debug)]
pub(crate) struct CheckedVpcs {
    /// The generation of the spec that was checked.
    pub generation: Option<i64>,
    pub at: Instant,
    pub preflight: Preflight,
}

impl<S: Step> ReconcileState<S> {
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
        // A set that has become empty keeps its memory.
        self.proven.extend(shown.into_iter().filter(|id| is_needed(id)));
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
        self.refusals = Refusals::default();
        self.preflight = None;
    }

    pub(super) fn succeeded(&mut self, step: &S) {
        self.refusals.succeeded(step);
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
    use crate::api::Side;
    use crate::peering::plan::Aspect;
    use crate::peering::upkeep::UpkeepStep;
    use crate::peering::vpc_peering::Step;

    #[tokio::test(start_paused = true)]
    async fn only_a_created_route_starts_the_consistency_window() {
        let window = Duration::from_secs(60);
        let route = ManagedRoute {
            side: Side::Requester,
            route_table_id: "rtb-1".into(),
            destination_cidr_block: Some("10.2.0.0/16".into()),
            destination_prefix_list_id: None,
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
    fn an_object_older_than_the_last_write_waits() {
        let mut state = ReconcileState::<Step>::default();
        assert_eq!(state.until_cached(Some("1")), None);
        state.wrote(Some("7"));
        assert!(state.until_cached(Some("6")).is_some());
        for version in [Some("7"), Some("8"), Some("?"), None] {
            assert_eq!(state.until_cached(version), None, "{version:?}");
        }
    }
}

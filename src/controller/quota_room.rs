//! Room in the AWS quotas for one more peering connection. A listing shows a new connection only after some time, so
//! each request reserves its room first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::queued_resource::QueuedResource;
use crate::aws::{Account, AwsError, Inventory, Listing};
use crate::peering::Snapshot;
use crate::peering::quota::{self, Quotas, Shortage};

/// Lifetime of a permit and its reservation that the resource does not claim: the resource is gone, or its next step is
/// another one.
pub(super) const UNCLAIMED_LIFETIME: Duration = Duration::from_secs(15);

/// Lifetime of a claimed reservation while EC2 does not show the connection. EC2 may have carried out the request without
/// an answer.
const UNSEEN_LIFETIME: Duration = Duration::from_secs(60);

/// Pause after EC2 has refused a request because of a quota: others use the account too.
const REFUSAL_PAUSE: Duration = Duration::from_secs(10);

/// The room that a new connection needs.
#[derive(Clone, Debug)]
pub(crate) struct Demand {
    pub(in crate::controller) requester: DemandEnd,
    /// `None` if no identity acts for the accepter. EC2 then judges its quota when somebody accepts.
    pub(in crate::controller) accepter: Option<DemandEnd>,
}

/// One end of a new connection.
#[derive(Clone, Debug)]
pub(super) struct DemandEnd {
    pub(super) account: Arc<Account>,
    pub(super) region: String,
    pub(super) vpc_id: String,
    pub(super) inventory: Arc<Inventory<Snapshot>>,
}

/// The reservations of all resources.
#[derive(Debug, Default)]
pub(super) struct Reservations(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    held: HashMap<QueuedResource, Reserved>,
    /// The time of the last refusal by account and region.
    refused: HashMap<(String, String), Instant>,
}

/// The room for one request.
#[derive(Debug)]
struct Reserved {
    /// The account and the region that make the request.
    location: (String, String),
    vpcs: Vec<String>,
    /// The new connection, once EC2 has answered.
    connection: Option<String>,
    /// The start of the poll whose listing was last searched for the connection. A listing is searched once, because
    /// many reservations may be compared before each of many requests.
    searched: Option<Instant>,
    /// Whether that listing shows a request that nobody has accepted. `None` if it does not show the connection.
    is_outstanding: Option<bool>,
    /// Whether the resource has its permit, and sends the request.
    is_claimed: bool,
    since: Instant,
}

impl Demand {
    /// Announces each new listing at the requester's end.
    pub(super) fn listings(&self) -> watch::Receiver<Option<Listing<Snapshot>>> {
        self.requester.inventory.listings()
    }

    /// Waits until the quotas of both ends are known.
    pub(super) async fn until_known(&self) {
        for end in self.ends() {
            end.account.quotas.known(&end.region).await;
        }
    }

    fn ends(&self) -> impl Iterator<Item = &DemandEnd> {
        std::iter::once(&self.requester).chain(&self.accepter)
    }

    fn location(&self) -> (String, String) {
        (self.requester.account.label(), self.requester.region.clone())
    }
}

impl DemandEnd {
    fn quotas(&self) -> Quotas {
        self.account.quotas.of(&self.region)
    }

    /// The latest listing, and the start of the poll that it shows.
    fn snapshot(&self) -> (Arc<Snapshot>, Option<Instant>) {
        let listing = self.inventory.latest();
        let polled = listing.as_ref().map(|listing| listing.last_polled);
        (listing.and_then(|listing| listing.outcome.ok()).unwrap_or_default(), polled)
    }
}

impl Reservations {
    /// Reserves room for a new connection, and returns a warning if a quota is nearly used up.
    ///
    /// # Errors
    /// The quota that has no room.
    pub(super) fn reserve(&self, resource: &QueuedResource, demand: &Demand) -> Result<Option<String>, Shortage> {
        let (mut state, now) = (self.state(), Instant::now());
        let warning = state.check(resource, demand, now)?;
        let reserved = Reserved {
            location: demand.location(),
            vpcs: demand.ends().map(|end| end.vpc_id.clone()).collect(),
            connection: None,
            searched: None,
            is_outstanding: None,
            is_claimed: false,
            since: now,
        };
        state.held.insert(resource.clone(), reserved);
        Ok(warning)
    }

    /// The resource has claimed its permit, and sends the request.
    pub(super) fn claimed(&self, resource: &QueuedResource) {
        let mut state = self.state();
        if let Some(reserved) = state.held.get_mut(resource) {
            (reserved.is_claimed, reserved.since) = (true, Instant::now());
        }
    }

    /// The resource is deleted. The room of a request that was sent stays reserved.
    pub(super) fn forget(&self, resource: &QueuedResource) {
        let mut state = self.state();
        if state.held.get(resource).is_some_and(|reserved| !reserved.is_claimed) {
            state.held.remove(resource);
        }
    }

    /// The shortage that a resource waits for. Reserves nothing.
    pub(super) fn shortage(&self, resource: &QueuedResource, demand: &Demand) -> Option<Shortage> {
        self.state().check(resource, demand, Instant::now()).err()
    }

    /// EC2 has answered the request with this connection. The reservation ends when nobody has to accept it any more.
    pub(super) fn created(&self, resource: &QueuedResource, id: Option<&str>) {
        let mut state = self.state();
        if let Some(reserved) = state.held.get_mut(resource) {
            (reserved.connection, reserved.since) = (id.map(str::to_owned), Instant::now());
            reserved.searched = None;
        }
    }

    /// EC2 has refused the request.
    pub(super) fn refused(&self, resource: &QueuedResource, error: &AwsError) {
        if error.ambiguous {
            return;
        }
        let mut state = self.state();
        if let Some(reserved) = state.held.remove(resource)
            && error.is_quota_exceeded()
        {
            state.refused.insert(reserved.location, Instant::now());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&mut self, resource: &QueuedResource, demand: &Demand, now: Instant) -> Result<Option<String>, Shortage> {
        let (location, end) = (demand.location(), &demand.requester);
        let (quotas, (snapshot, polled)) = (end.quotas(), end.snapshot());
        self.held.retain(|_, reserved| {
            reserved.location != location || {
                reserved.search(&snapshot, polled);
                reserved.is_needed(now)
            }
        });
        self.refused.retain(|_, at| now.duration_since(*at) < REFUSAL_PAUSE);
        if self.refused.contains_key(&location) {
            return Err(quota::refused(&location.0, &location.1));
        }
        let others = || self.held.iter().filter(|(other, _)| *other != resource).map(|(_, reserved)| reserved);
        let coming = others().filter(|other| other.location == location && other.is_outstanding.is_none()).count();
        let used = snapshot.outstanding_of(&location.0, &location.1) + coming;
        let mut warning = quota::outstanding_room(used, quotas.outstanding, &location.0, &location.1)?;
        for end in demand.ends() {
            let ((snapshot, _), quota) = (end.snapshot(), end.quotas().active_per_vpc);
            let is_shown = |id: &String| quota::is_counted(&snapshot, id, &end.vpc_id);
            let is_coming = |other: &&Reserved| {
                other.vpcs.contains(&end.vpc_id) && !other.connection.as_ref().is_some_and(is_shown)
            };
            let coming = quota::requested(&snapshot, &end.vpc_id) + others().filter(is_coming).count();
            let used = (quota::active(&snapshot, &end.vpc_id), coming);
            warning = warning.or(quota::active_room(used, quota, &end.vpc_id, &end.region)?);
        }
        Ok(warning)
    }
}

impl Reserved {
    /// Searches the listing of the requester's end for the connection, unless it was searched before.
    fn search(&mut self, snapshot: &Snapshot, polled: Option<Instant>) {
        if polled.is_none() || self.searched != polled {
            let shown = self.connection.as_ref().and_then(|id| snapshot.get(id));
            (self.searched, self.is_outstanding) = (polled, shown.map(|connection| connection.code.is_outstanding()));
        }
    }

    /// Whether the reservation counts beside the listing that was searched last.
    fn is_needed(&self, now: Instant) -> bool {
        self.is_outstanding.unwrap_or_else(|| {
            let lifetime = if self.is_claimed { UNSEEN_LIFETIME } else { UNCLAIMED_LIFETIME };
            now.duration_since(self.since) < lifetime
        })
    }
}

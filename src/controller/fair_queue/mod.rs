//! A fair queue for EC2 calls that change something. While EC2 limits the rate, or a quota has no room, namespaces take
//! turns, so that the many resources of one namespace do not delay those of another.

pub(super) mod order;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use self::order::FairOrder;
use super::namespace_share::{NamespaceShare, Share};
use super::queued_resource::QueuedResource;
use super::quota_room::{Demand, Reservations, UNCLAIMED_LIFETIME};
use crate::aws::{AwsError, Listing, RateLimit};
use crate::peering::Snapshot;
use crate::peering::quota::Shortage;

/// Maximum concurrent EC2 writes per (account, region, action). Until throttling is first seen, only this bounds the
/// rate.
const MAX_CONCURRENT_CALLS: usize = 8;

/// Maximum concurrent EC2 writes per (account, region, action) of one namespace.
const MAX_PER_NAMESPACE: usize = 6;

/// Pause between checks whether a quota has room again, for changes that no listing of the requester's end reports.
const ROOM_RECHECK: Duration = Duration::from_secs(5);

/// Account, region and action. EC2 has a rate limit for each.
pub(crate) type Bucket = (String, String, &'static str);

type Notify = Arc<dyn Fn(QueuedResource) + Send + Sync>;

/// The queues of all buckets.
pub(crate) struct FairQueue {
    buckets: Mutex<HashMap<Bucket, Arc<BucketQueue>>>,
    reservations: Arc<Reservations>,
    notify: Notify,
}

/// A step that needs a permit.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// The number of EC2 calls.
    pub calls: usize,
    /// The quotas that need room for the step.
    pub demand: Option<Demand>,
}

#[derive(Debug)]
struct BucketQueue {
    running: NamespaceShare,
    reservations: Arc<Reservations>,
    /// A resource was queued, or a reservation has ended.
    changed: tokio::sync::Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rate: RateLimit,
    queue: FairOrder<Wish>,
    /// Permits that no resource has claimed yet.
    unclaimed: HashMap<QueuedResource, Granted>,
    /// A task serves the queue.
    is_served: bool,
}

#[derive(Clone, Debug)]
struct Granted {
    at: Instant,
    /// A quota of which the permit uses nearly the last part.
    near_quota: Option<String>,
}

/// The answer to a request for a permit.
#[derive(Debug)]
pub(crate) enum Acquired {
    Permit(Permit),
    Queued(Queued),
}

/// A place in the queue. The resource is notified when its permit is ready. It then calls [`FairQueue::acquire`] again.
#[derive(Debug)]
pub(crate) struct Queued {
    /// The time from which the resource has waited.
    pub since: Instant,
    /// The quota that has no room. `None` if the rate limit alone delays the resource.
    pub shortage: Option<Shortage>,
}

/// Permission to make the EC2 calls of one step.
#[derive(Debug)]
pub(crate) struct Permit {
    queue: Arc<BucketQueue>,
    resource: QueuedResource,
    calls: usize,
    /// Whether the permit holds room in quotas.
    is_reserved: bool,
    granted: Granted,
    _running: Share,
}

/// The turn that the queue gives next.
enum Next {
    Granted(QueuedResource),
    /// The rate allows the next call after this time.
    RateLimited(Duration),
    /// No quota has room for any resource of the queue.
    NoRoom(Option<Demand>),
    Empty,
}

impl Permit {
    /// The warning that the step uses nearly the last part of a quota.
    pub(super) fn near_quota(&self) -> Option<&str> {
        self.granted.near_quota.as_deref()
    }

    /// Reports the answer of EC2: the connection of the resource, or the error.
    pub(super) fn complete(self, answer: Result<Option<&str>, &AwsError>) {
        if self.is_reserved {
            match answer {
                Ok(connection) => self.queue.reservations.created(&self.resource, connection),
                Err(error) => self.queue.reservations.refused(&self.resource, error),
            }
            self.queue.changed.notify_one();
        }
        let (mut state, now) = (self.queue.state(), Instant::now());
        if answer.is_err_and(AwsError::is_throttling) {
            state.rate.throttled(self.granted.at, now);
        } else {
            state.rate.accepted(self.calls as f64, self.granted.at, now);
        }
    }
}

impl FairQueue {
    /// An empty queue. It calls `notify` when a queued resource gets its permit.
    pub(super) fn new(notify: impl Fn(QueuedResource) + Send + Sync + 'static) -> Self {
        Self { buckets: Mutex::default(), reservations: Arc::default(), notify: Arc::new(notify) }
    }

    /// Requests a permit for a step.
    pub(super) async fn acquire(&self, bucket: Bucket, resource: QueuedResource, wish: Wish) -> Acquired {
        let queue = {
            let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(BucketQueue::new(Arc::clone(&self.reservations)));
            Arc::clone(buckets.entry(bucket).or_insert_with(new))
        };
        let running = queue.running.acquire(&resource.namespace).await;
        let now = Instant::now();
        let mut state = queue.state();
        let shortage = match state.claim(&queue.reservations, &resource, &wish, now) {
            Ok(granted) => {
                drop(state);
                let (calls, is_reserved) = (wish.calls, wish.demand.is_some());
                return Acquired::Permit(Permit { queue, resource, calls, is_reserved, granted, _running: running });
            }
            Err(shortage) => shortage,
        };
        let since = state.queue.add(resource, wish, now);
        if !std::mem::replace(&mut state.is_served, true) {
            tokio::spawn(serve(Arc::clone(&queue), Arc::clone(&self.notify)));
        }
        queue.changed.notify_one();
        Acquired::Queued(Queued { since, shortage })
    }

    /// Drops the places and permits of a deleted resource, so that they delay no other.
    pub(super) fn forget(&self, resource: &QueuedResource) {
        let buckets: Vec<_> = {
            let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
            buckets.values().cloned().collect()
        };
        self.reservations.forget(resource);
        for queue in buckets {
            let mut state = queue.state();
            state.queue.remove(resource);
            state.unclaimed.remove(resource);
            queue.changed.notify_one();
        }
    }
}

impl BucketQueue {
    fn new(reservations: Arc<Reservations>) -> Self {
        Self {
            running: NamespaceShare::new(MAX_CONCURRENT_CALLS, MAX_PER_NAMESPACE),
            reservations,
            changed: tokio::sync::Notify::new(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The permit that the queue has granted to a resource, or a new one if nothing delays it. The error is the quota that
    /// has no room, if any.
    fn claim(
        &mut self,
        reservations: &Reservations,
        resource: &QueuedResource,
        wish: &Wish,
        now: Instant,
    ) -> Result<Granted, Option<Shortage>> {
        let unclaimed = self.unclaimed.remove(resource);
        let unclaimed = unclaimed.filter(|granted| now.duration_since(granted.at) < UNCLAIMED_LIFETIME);
        if let Some(granted) = unclaimed {
            reservations.claimed(resource);
            return Ok(granted);
        }
        if self.rate.is_limited(now) || wish.demand.is_some() && !self.queue.is_empty() {
            return Err(wish.demand.as_ref().and_then(|demand| reservations.shortage(resource, demand)));
        }
        let near_quota = reserve(reservations, resource, wish).map_err(Some)?;
        reservations.claimed(resource);
        Ok(Granted { at: now, near_quota })
    }

    /// Grants the next resource its permit.
    fn grant_next(&mut self, reservations: &Reservations, now: Instant) -> Next {
        if self.queue.is_empty() {
            return Next::Empty;
        }
        if let Err(wait) = self.rate.check(now) {
            return Next::RateLimited(wait);
        }
        let mut near_quota = None;
        let next = self.queue.take(|resource, wish| {
            let room = reserve(reservations, resource, wish);
            room.map(|warning| near_quota = warning).is_ok()
        });
        let Some((resource, wish)) = next else {
            return Next::NoRoom(self.queue.first().and_then(|wish| wish.demand.clone()));
        };
        self.rate.acquire(wish.calls as f64);
        self.unclaimed.retain(|_, granted| now.duration_since(granted.at) < UNCLAIMED_LIFETIME);
        self.unclaimed.insert(resource.clone(), Granted { at: now, near_quota });
        Next::Granted(resource)
    }
}

fn reserve(reservations: &Reservations, resource: &QueuedResource, wish: &Wish) -> Result<Option<String>, Shortage> {
    match &wish.demand {
        Some(demand) => reservations.reserve(resource, demand),
        None => Ok(None),
    }
}

/// Grants permits, at the rate that EC2 allows and within the quotas, until the queue is empty.
async fn serve(queue: Arc<BucketQueue>, notify: Notify) {
    let mut listings = None;
    loop {
        let next = {
            let mut state = queue.state();
            let next = state.grant_next(&queue.reservations, Instant::now());
            state.is_served = !matches!(next, Next::Empty);
            next
        };
        match next {
            Next::Granted(resource) => notify(resource),
            Next::RateLimited(wait) => tokio::time::sleep(wait).await,
            Next::NoRoom(demand) => match &mut listings {
                // A listing may have arrived since the check.
                None => listings = demand.as_ref().map(Demand::listings),
                Some(changes) => tokio::select! {
                    () = queue.changed.notified() => {}
                    () = next_listing(changes) => {}
                    () = tokio::time::sleep(ROOM_RECHECK) => listings = None,
                },
            },
            Next::Empty => return,
        }
    }
}
/// Waits for a new listing. Without its poller there is none any more.
async fn next_listing(listings: &mut watch::Receiver<Option<Listing<Snapshot>>>) {
    if listings.changed().await.is_err() {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn resource(namespace: &str, number: usize) -> QueuedResource {
        QueuedResource { kind: "VpcPeering".into(), namespace: namespace.to_owned(), name: number.to_string() }
    }

    fn bucket(action: &'static str) -> Bucket {
        ("111111111111".into(), "eu-central-1".into(), action)
    }

    fn throttled() -> AwsError {
        AwsError { code: Some("RequestLimitExceeded".into()), ..AwsError::incomplete("Create", "too many calls") }
    }

    fn one_call() -> Wish {
        Wish { calls: 1, demand: None }
    }

    async fn permit(queue: &FairQueue, resource: QueuedResource) -> Option<Permit> {
        match queue.acquire(bucket("Create"), resource, one_call()).await {
            Acquired::Permit(permit) => Some(permit),
            Acquired::Queued(_) => None,
        }
    }

    #[tokio::test]
    async fn one_namespace_does_not_delay_another() {
        let (sender, mut notified) = mpsc::unbounded_channel();
        let queue = FairQueue::new(move |resource| _ = sender.send(resource));
        if let Some(first) = permit(&queue, resource("crowd", 0)).await {
            first.complete(Err(&throttled()));
        }
        for number in 0..5_000 {
            assert!(
                permit(&queue, resource("crowd", number)).await.is_none(),
                "{number} has a permit despite throttling"
            );
        }
        assert!(permit(&queue, resource("single", 0)).await.is_none());
        assert!(permit(&queue, resource("crowd", 7)).await.is_none(), "a queued resource keeps its one place");
        let mut granted = Vec::new();
        for _ in 0..4 {
            granted.extend(notified.recv().await);
        }
        assert!(granted.contains(&resource("single", 0)), "{granted:?}");
        assert!(granted.contains(&resource("crowd", 0)) && granted.contains(&resource("crowd", 1)), "{granted:?}");
        let namesake = QueuedResource { kind: "VpcPeeringAccepter".into(), ..resource("single", 0) };
        assert!(permit(&queue, namesake).await.is_none(), "the permit belongs to another kind");
        assert!(permit(&queue, resource("single", 0)).await.is_some(), "the granted permit can be claimed");
        assert!(permit(&queue, resource("single", 0)).await.is_none(), "a permit can be claimed only once");
        assert!(
            matches!(queue.acquire(bucket("Accept"), resource("crowd", 0), one_call()).await, Acquired::Permit(_)),
            "another action has a rate limit of its own"
        );
    }

    #[tokio::test]
    async fn a_deleted_resource_leaves_the_queue() {
        let (sender, mut notified) = mpsc::unbounded_channel();
        let queue = FairQueue::new(move |resource| _ = sender.send(resource));
        if let Some(first) = permit(&queue, resource("a", 0)).await {
            first.complete(Err(&throttled()));
        }
        for number in [1, 2] {
            assert!(permit(&queue, resource("a", number)).await.is_none());
        }
        queue.forget(&resource("a", 1));
        assert_eq!(notified.recv().await, Some(resource("a", 2)));
    }
}

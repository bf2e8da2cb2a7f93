//! A fair queue for EC2 calls that change something. While EC2 limits the rate, namespaces take turns, so that the many
//! resources of one namespace do not delay those of another.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::{Resource, ResourceExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::aws::RateLimit;

/// Maximum concurrent EC2 writes per (account, region, action). Until throttling is first seen, only this bounds the
/// rate.
const MAX_CONCURRENT_CALLS: usize = 8;

/// Lifetime of a permit that its resource does not claim: the resource is gone, or its next step is another one.
const UNCLAIMED_PERMIT_LIFETIME: Duration = Duration::from_secs(15);

/// Account, region and action. EC2 has a rate limit for each.
pub(crate) type Bucket = (String, String, &'static str);

/// A resource that waits for a permit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct QueuedResource {
    pub kind: Cow<'static, str>,
    pub namespace: String,
    pub name: String,
}

impl QueuedResource {
    pub(super) fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        Self { kind: K::kind(&()), namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}

type Notify = Arc<dyn Fn(QueuedResource) + Send + Sync>;

/// The queues of all buckets.
pub(crate) struct FairQueue {
    buckets: Mutex<HashMap<Bucket, Arc<BucketQueue>>>,
    notify: Notify,
}

#[derive(Debug)]
struct BucketQueue {
    running: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rate: RateLimit,
    /// The queue: namespaces in the order of their turns, each with its resources and their number of calls.
    namespaces: VecDeque<(String, VecDeque<(QueuedResource, f64)>)>,
    /// The queued resources, and the time from which each has waited.
    queued: HashMap<QueuedResource, Instant>,
    /// Permits that no resource has claimed yet, and the time of each.
    unclaimed: HashMap<QueuedResource, Instant>,
    /// A task serves the queue.
    is_served: bool,
}

/// The answer to a request for a permit.
#[derive(Debug)]
pub(crate) enum Acquired {
    Permit(Permit),
    /// The resource is notified when its permit is ready. It then calls [`FairQueue::acquire`] again.
    Queued {
        /// The time from which the resource has waited.
        since: Instant,
    },
}

/// Permission to make the EC2 calls of one step.
#[derive(Debug)]
pub(crate) struct Permit {
    queue: Arc<BucketQueue>,
    calls: f64,
    granted: Instant,
    _running: Option<OwnedSemaphorePermit>,
}

impl Permit {
    /// Reports the outcome of the calls to the rate limiter.
    pub(super) fn complete(self, throttled: bool) {
        let (mut state, now) = (self.queue.state(), Instant::now());
        if throttled {
            state.rate.throttled(self.granted, now);
        } else {
            state.rate.accepted(self.calls, self.granted, now);
        }
    }
}

impl FairQueue {
    /// An empty queue. It calls `notify` when a queued resource gets its permit.
    pub(super) fn new(notify: impl Fn(QueuedResource) + Send + Sync + 'static) -> Self {
        Self { buckets: Mutex::default(), notify: Arc::new(notify) }
    }

    /// Requests a permit for a step that makes this number of calls.
    pub(super) async fn acquire(&self, bucket: Bucket, resource: QueuedResource, calls: usize) -> Acquired {
        let queue = {
            let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(buckets.entry(bucket).or_default())
        };
        // The semaphore is never closed.
        let running = Arc::clone(&queue.running).acquire_owned().await.ok();
        let (now, calls) = (Instant::now(), calls as f64);
        let mut state = queue.state();
        let unclaimed = state.unclaimed.remove(&resource);
        let unclaimed = unclaimed.filter(|granted| now.duration_since(*granted) < UNCLAIMED_PERMIT_LIFETIME);
        if let Some(granted) = unclaimed.or_else(|| (!state.rate.is_limited(now)).then_some(now)) {
            drop(state);
            return Acquired::Permit(Permit { queue, calls, granted, _running: running });
        }
        let since = state.enqueue(resource, calls, now);
        if !std::mem::replace(&mut state.is_served, true) {
            tokio::spawn(serve(Arc::clone(&queue), Arc::clone(&self.notify)));
        }
        Acquired::Queued { since }
    }
}

impl BucketQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for BucketQueue {
    fn default() -> Self {
        Self { running: Arc::new(Semaphore::new(MAX_CONCURRENT_CALLS)), state: Mutex::default() }
    }
}

impl State {
    /// Appends a resource to the queue of its namespace, and returns the time from which it has waited. A resource that
    /// is queued already keeps its place.
    fn enqueue(&mut self, resource: QueuedResource, calls: f64, now: Instant) -> Instant {
        if let Some(since) = self.queued.get(&resource) {
            return *since;
        }
        self.queued.insert(resource.clone(), now);
        let position = self.namespaces.iter().position(|(namespace, _)| *namespace == resource.namespace);
        match position.and_then(|position| self.namespaces.get_mut(position)) {
            Some((_, resources)) => resources.push_back((resource, calls)),
            None => self.namespaces.push_back((resource.namespace.clone(), VecDeque::from([(resource, calls)]))),
        }
        now
    }

    /// Grants the next resource its permit, or returns the time to wait until the rate allows that. `None` if the queue
    /// is empty.
    fn grant_next(&mut self, now: Instant) -> Option<Result<QueuedResource, Duration>> {
        let (namespace, mut resources) = self.namespaces.pop_front()?;
        let calls = resources.front().map_or(1.0, |(_, calls)| *calls);
        if let Err(wait) = self.rate.try_acquire(calls, now) {
            self.namespaces.push_front((namespace, resources));
            return Some(Err(wait));
        }
        let next = resources.pop_front();
        if !resources.is_empty() {
            self.namespaces.push_back((namespace, resources));
        }
        let (resource, _) = next?;
        self.queued.remove(&resource);
        self.unclaimed.retain(|_, granted| now.duration_since(*granted) < UNCLAIMED_PERMIT_LIFETIME);
        self.unclaimed.insert(resource.clone(), now);
        Some(Ok(resource))
    }
}

/// Grants permits at the rate that EC2 allows until the queue is empty.
async fn serve(queue: Arc<BucketQueue>, notify: Notify) {
    loop {
        let next = {
            let mut state = queue.state();
            let next = state.grant_next(Instant::now());
            state.is_served = next.is_some();
            next
        };
        match next {
            Some(Ok(resource)) => notify(resource),
            Some(Err(wait)) => tokio::time::sleep(wait).await,
            None => return,
        }
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

    async fn permit(queue: &FairQueue, resource: QueuedResource) -> Option<Permit> {
        match queue.acquire(bucket("Create"), resource, 1).await {
            Acquired::Permit(permit) => Some(permit),
            Acquired::Queued { .. } => None,
        }
    }

    #[tokio::test]
    async fn one_namespace_does_not_delay_another() {
        let (sender, mut notified) = mpsc::unbounded_channel();
        let queue = FairQueue::new(move |resource| _ = sender.send(resource));
        if let Some(first) = permit(&queue, resource("crowd", 0)).await {
            first.complete(true);
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
            matches!(queue.acquire(bucket("Accept"), resource("crowd", 0), 1).await, Acquired::Permit(_)),
            "another action has a rate limit of its own"
        );
    }

    #[test]
    fn a_resource_is_queued_only_once() {
        let (mut state, now) = (State::default(), Instant::now());
        state.enqueue(resource("a", 1), 1.0, now);
        state.enqueue(resource("a", 1), 1.0, now);
        assert!(matches!(state.grant_next(now), Some(Ok(_))) && state.grant_next(now).is_none());
        assert!(state.queued.is_empty() && state.unclaimed.len() == 1);
    }
}

//! The reconcile slots of one kind. kube-runtime has a limit of concurrent reconciles, but one order for all. Here,
//! namespaces take turns, so that the many resources of one namespace do not delay those of another.
//!
//! A resource that finds no slot waits without a task: its reconcile ends, and it is reconciled again when it has one.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::fair_queue::order::FairOrder;
use super::queued_resource::QueuedResource;

/// The share of the slots that is kept for namespaces that hold none: one in this many. Without it, resources that wait
/// long for EC2 could hold all slots.
const RESERVED_SHARE: usize = 10;

/// Lifetime of a granted slot that the resource does not claim, because it was deleted meanwhile.
const UNCLAIMED_LIFETIME: Duration = Duration::from_secs(10);

/// A limit of concurrent reconciles.
pub(super) struct ReconcileSlots {
    state: Mutex<State>,
    /// Causes the reconcile of a resource that has a slot now. It returns false if the resource is gone.
    wake: Box<dyn Fn(&QueuedResource) -> bool + Send + Sync>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// The number of slots that only a namespace without a slot may take.
    reserved: usize,
    /// The slots that each namespace holds, including the granted ones.
    held: HashMap<String, usize>,
    /// The resources without a slot. None of them may have one of the free slots.
    waiting: FairOrder<()>,
    /// The resources that have a slot and are not reconciled yet, and the time of the grant.
    granted: HashMap<QueuedResource, Instant>,
}

/// A place among the concurrent reconciles. It is free again when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<ReconcileSlots>,
    namespace: String,
}

impl ReconcileSlots {
    pub(super) fn new(count: usize, wake: impl Fn(&QueuedResource) -> bool + Send + Sync + 'static) -> Arc<Self> {
        let state = State {
            free: count,
            reserved: count / RESERVED_SHARE,
            held: HashMap::new(),
            waiting: FairOrder::default(),
            granted: HashMap::new(),
        };
        Arc::new(Self { state: Mutex::new(state), wake: Box::new(wake) })
    }

    /// A slot, or `None` if the resource has to wait. It is woken when it has one.
    pub(super) fn enter(self: &Arc<Self>, resource: QueuedResource) -> Option<Slot> {
        let (mut state, now) = (self.state(), Instant::now());
        if state.granted.remove(&resource).is_none() {
            if state.reclaim(now) {
                self.serve(&mut state, now);
            }
            if !state.take(&resource.namespace) {
                state.waiting.add(resource, (), now);
                return None;
            }
            state.waiting.remove(&resource);
        }
        Some(Slot { slots: Arc::clone(self), namespace: resource.namespace })
    }

    /// Grants free slots to waiting resources, until none of them may have one.
    fn serve(&self, state: &mut State, now: Instant) {
        while let Some(resource) = state.next() {
            if (self.wake)(&resource) {
                state.granted.insert(resource, now);
            } else {
                state.give_back(&resource.namespace);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes a slot for a resource of this namespace, if it may have one.
    fn take(&mut self, namespace: &str) -> bool {
        let held = self.held.get(namespace).copied().unwrap_or_default();
        let may_take = self.free > self.reserved || (self.free > 0 && held == 0);
        if may_take {
            self.free -= 1;
            self.held.insert(namespace.to_owned(), held + 1);
        }
        may_take
    }

    fn give_back(&mut self, namespace: &str) {
        self.free += 1;
        if let Some(held) = self.held.get_mut(namespace) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(namespace);
            }
        }
    }

    /// Takes a slot for the first waiting resource that may have one, in the order of the turns.
    fn next(&mut self) -> Option<QueuedResource> {
        let Self { free, reserved, held, .. } = self;
        let may_take = |namespace: &str| *free > *reserved || (*free > 0 && !held.contains_key(namespace));
        let (resource, ()) = self.waiting.take_of(may_take)?;
        self.take(&resource.namespace).then_some(resource)
    }

    /// Takes back the granted slots that nobody claims. Returns whether there were any.
    fn reclaim(&mut self, now: Instant) -> bool {
        let is_unclaimed = |_: &QueuedResource, at: &mut Instant| now.duration_since(*at) >= UNCLAIMED_LIFETIME;
        let unclaimed: Vec<_> = self.granted.extract_if(is_unclaimed).collect();
        unclaimed.iter().for_each(|(resource, _)| self.give_back(&resource.namespace));
        !unclaimed.is_empty()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.slots.state();
        state.give_back(&self.namespace);
        self.slots.serve(&mut state, Instant::now());
    }
}

impl fmt::Debug for ReconcileSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, wake: _ } = self;
        f.debug_struct("ReconcileSlots").field("state", state).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn resource(namespace: &str, number: usize) -> QueuedResource {
        QueuedResource { kind: "VpcPeering".into(), namespace: namespace.to_owned(), name: number.to_string() }
    }

    /// Slots, and the names of the resources that were woken.
    fn slots(count: usize) -> (Arc<ReconcileSlots>, Arc<Mutex<Vec<QueuedResource>>>) {
        let woken = Arc::<Mutex<Vec<_>>>::default();
        let log = Arc::clone(&woken);
        let wake = move |resource: &QueuedResource| {
            log.lock().unwrap_or_else(PoisonError::into_inner).push(resource.clone());
            resource.namespace != "gone"
        };
        (ReconcileSlots::new(count, wake), woken)
    }

    fn fill(slots: &Arc<ReconcileSlots>, namespace: &str, count: usize) -> Vec<Slot> {
        (0..count).filter_map(|number| slots.enter(resource(namespace, number))).collect()
    }

    #[tokio::test]
    async fn a_namespace_without_a_slot_gets_a_reserved_one() {
        let (slots, woken) = slots(20);
        let crowd = fill(&slots, "crowd", 5_000);
        assert_eq!(crowd.len(), 18, "two slots are reserved");
        let singles = [slots.enter(resource("one", 0)), slots.enter(resource("two", 0))];
        assert!(singles.iter().all(Option::is_some));
        assert!(slots.enter(resource("three", 0)).is_none(), "all slots are in use");
        drop(singles);
        let woken = std::mem::take(&mut *woken.lock().unwrap_or_else(PoisonError::into_inner));
        assert_eq!(woken, [resource("three", 0)], "the other free slot is reserved");
        assert!(slots.enter(resource("three", 0)).is_some());
        drop(crowd);
        let state = slots.state();
        assert!(state.free <= 2 && state.granted.len() >= 18, "{} free", state.free);
    }

    #[tokio::test]
    async fn waiting_namespaces_take_turns() {
        let (slots, woken) = slots(1);
        let mut held = slots.enter(resource("a", 0));
        for (namespace, number) in [("a", 1), ("a", 2), ("gone", 1), ("b", 1), ("a", 1), ("a", 3)] {
            assert!(slots.enter(resource(namespace, number)).is_none(), "{namespace} {number}");
        }
        let mut served = Vec::new();
        while held.is_some() {
            drop(held.take());
            let next = std::mem::take(&mut *woken.lock().unwrap_or_else(PoisonError::into_inner)).pop();
            held = next.and_then(|next| {
                served.push(format!("{} {}", next.namespace, next.name));
                slots.enter(next)
            });
        }
        assert_eq!(served, ["a 1", "b 1", "a 2", "a 3"], "the resource that is gone holds no slot");
        assert_eq!(slots.state().free, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unclaimed_slot_goes_to_the_next_resource() {
        let (slots, _) = slots(1);
        let held = slots.enter(resource("a", 0));
        assert!(slots.enter(resource("deleted", 0)).is_none() && slots.enter(resource("a", 1)).is_none());
        drop(held);
        assert!(slots.enter(resource("a", 1)).is_none(), "the deleted resource has the slot");
        tokio::time::advance(UNCLAIMED_LIFETIME).await;
        assert!(slots.enter(resource("b", 0)).is_none(), "the resource that waits comes first");
        assert!(slots.enter(resource("a", 1)).is_some());
    }

    #[tokio::test]
    async fn every_resource_of_a_crowd_gets_its_turn() {
        let (slots, woken) = slots(30);
        let (mut running, mut served) = (fill(&slots, "crowd", 500), BTreeSet::new());
        assert!((0..running.len()).all(|number| served.insert(number.to_string())));
        while let Some(slot) = running.pop() {
            drop(slot);
            for next in std::mem::take(&mut *woken.lock().unwrap_or_else(PoisonError::into_inner)) {
                assert!(served.insert(next.name.clone()), "{} was served twice", next.name);
                running.extend(slots.enter(next));
            }
        }
        assert_eq!(served.len(), 500);
        assert_eq!(slots.state().free, 30);
    }
}

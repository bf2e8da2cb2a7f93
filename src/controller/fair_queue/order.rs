//! The order of a fair queue: namespaces take turns, and the resources of one namespace come in the order of their
//! arrival.

use std::collections::{HashMap, VecDeque};

use tokio::time::Instant;

use crate::controller::queued_resource::QueuedResource;

/// Resources that wait, each with what it waits for.
#[derive(Debug)]
pub(in crate::controller) struct FairOrder<T> {
    /// The namespaces in the order of their turns.
    namespaces: VecDeque<(String, VecDeque<(QueuedResource, T)>)>,
    /// The time from which each resource has waited.
    since: HashMap<QueuedResource, Instant>,
}

impl<T> Default for FairOrder<T> {
    fn default() -> Self {
        Self { namespaces: VecDeque::new(), since: HashMap::new() }
    }
}

impl<T> FairOrder<T> {
    pub(in crate::controller) fn is_empty(&self) -> bool {
        self.since.is_empty()
    }

    /// Appends a resource to those of its namespace, and returns the time from which it has waited. A resource that
    /// waits already keeps its place.
    pub(in crate::controller) fn add(&mut self, resource: QueuedResource, wish: T, now: Instant) -> Instant {
        if let Some(since) = self.since.get(&resource) {
            return *since;
        }
        self.since.insert(resource.clone(), now);
        let position = self.namespaces.iter().position(|(namespace, _)| *namespace == resource.namespace);
        match position.and_then(|position| self.namespaces.get_mut(position)) {
            Some((_, resources)) => resources.push_back((resource, wish)),
            None => self.namespaces.push_back((resource.namespace.clone(), VecDeque::from([(resource, wish)]))),
        }
        now
    }

    /// The wish of the resource whose turn it is.
    pub(in crate::controller) fn first(&self) -> Option<&T> {
        self.namespaces.front()?.1.front().map(|(_, wish)| wish)
    }

    /// Removes the first resource that can be served, in the order of the turns. Its namespace then waits for all
    /// others.
    pub(in crate::controller) fn take(
        &mut self,
        mut can_serve: impl FnMut(&QueuedResource, &T) -> bool,
    ) -> Option<(QueuedResource, T)> {
        let found = self.namespaces.iter().enumerate().find_map(|(turn, (_, resources))| {
            let position = resources.iter().position(|(resource, wish)| can_serve(resource, wish))?;
            Some((turn, position))
        });
        let (turn, position) = found?;
        self.remove_at(turn, position)
    }

    /// Removes the first resource of a namespace that may be served, in the order of the turns. Its namespace then
    /// waits for all others.
    pub(in crate::controller) fn take_of(&mut self, may_serve: impl Fn(&str) -> bool) -> Option<(QueuedResource, T)> {
        let turn = self.namespaces.iter().position(|(namespace, _)| may_serve(namespace))?;
        self.remove_at(turn, 0)
    }

    /// Removes a resource. Its namespace keeps its turn.
    pub(in crate::controller) fn remove(&mut self, resource: &QueuedResource) {
        if self.since.remove(resource).is_none() {
            return;
        }
        for (_, resources) in self.namespaces.iter_mut().filter(|(namespace, _)| *namespace == resource.namespace) {
            resources.retain(|(other, _)| other != resource);
        }
        self.namespaces.retain(|(_, resources)| !resources.is_empty());
    }

    fn remove_at(&mut self, turn: usize, position: usize) -> Option<(QueuedResource, T)> {
        let (namespace, mut resources) = self.namespaces.remove(turn)?;
        let (resource, wish) = resources.remove(position)?;
        if !resources.is_empty() {
            self.namespaces.push_back((namespace, resources));
        }
        self.since.remove(&resource);
        Some((resource, wish))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(namespace: &str, number: usize) -> QueuedResource {
        QueuedResource { kind: "VpcPeering".into(), namespace: namespace.to_owned(), name: number.to_string() }
    }

    #[test]
    fn namespaces_take_turns_and_a_resource_is_queued_only_once() {
        let (mut order, now) = (FairOrder::default(), Instant::now());
        for number in [1, 2, 1] {
            order.add(resource("a", number), (), now);
        }
        order.add(resource("b", 1), (), now);
        let taken: Vec<_> = std::iter::from_fn(|| order.take(|_, ()| true).map(|(taken, ())| taken)).collect();
        assert_eq!(taken, [resource("a", 1), resource("b", 1), resource("a", 2)]);
        assert!(order.is_empty() && order.first().is_none());
    }

    #[test]
    fn a_removed_resource_leaves_the_turn_to_its_namespace() {
        let (mut order, now) = (FairOrder::default(), Instant::now());
        for (namespace, number) in [("a", 1), ("b", 1), ("a", 2)] {
            order.add(resource(namespace, number), (), now);
        }
        order.remove(&resource("a", 1));
        order.remove(&resource("c", 1));
        assert_eq!(order.take_of(|namespace| namespace != "b"), Some((resource("a", 2), ())));
        assert_eq!(order.take_of(|namespace| namespace == "a"), None);
        order.remove(&resource("b", 1));
        assert!(order.is_empty() && order.first().is_none());
    }

    #[test]
    fn a_resource_that_cannot_be_served_delays_no_other() {
        let (mut order, now) = (FairOrder::default(), Instant::now());
        for (namespace, is_blocked) in [("a", true), ("a", false), ("b", true)] {
            order.add(resource(namespace, usize::from(is_blocked)), is_blocked, now);
        }
        assert_eq!(order.take(|_, is_blocked| !is_blocked), Some((resource("a", 0), false)));
        assert_eq!(order.take(|_, is_blocked| !is_blocked), None);
        assert_eq!(order.take(|_, _| true), Some((resource("b", 1), true)), "the turn of namespace a is over");
    }
}

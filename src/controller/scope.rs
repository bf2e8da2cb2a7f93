//! The resources that this operator reconciles, and one watch for several namespaces.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use kube::Resource;
use kube::runtime::reflector::Store;
use kube::runtime::watcher::Event;

use super::index::{Key, key};

/// The resources that this operator reconciles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    /// Only resources in these namespaces. Empty: all namespaces.
    pub namespaces: BTreeSet<String>,
    /// Only resources that this label selector matches. `None`: all labels.
    pub selector: Option<String>,
}

/// The progress of several watches, one per namespace.
struct Watches<K> {
    /// Namespaces whose first listing is not complete.
    unlisted: BTreeSet<String>,
    /// The objects of each listing in progress.
    listings: BTreeMap<String, Vec<K>>,
    /// Events to yield.
    events: VecDeque<Event<K>>,
    /// Events to yield after the first listing of all namespaces. That listing would undo them.
    deferred: Vec<Event<K>>,
}

/// Merges the watches of several namespaces into one. The first listings become one listing. A later listing becomes
/// changes: a delete for each object of `store` that it lacks, and an apply for each other object.
pub(super) fn merge<K>(
    watches: Vec<(String, BoxStream<'static, Event<K>>)>,
    store: Store<K>,
) -> impl Stream<Item = Event<K>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let state = Watches {
        unlisted: watches.iter().map(|(namespace, _)| namespace.clone()).collect(),
        listings: BTreeMap::new(),
        events: VecDeque::from([Event::Init]),
        deferred: Vec::new(),
    };
    let known = move |namespace: &str| {
        let objects = store.state().into_iter();
        let objects = objects.filter(|object| object.meta().namespace.as_deref() == Some(namespace));
        objects.map(|object| (*object).clone()).collect()
    };
    let named = |(namespace, watch): (String, BoxStream<'static, _>)| {
        watch.map(move |event| (namespace.clone(), event)).boxed()
    };
    let all = stream::select_all(watches.into_iter().map(named));
    stream::unfold((all, state, known), |(mut all, mut state, known)| async move {
        loop {
            if let Some(event) = state.events.pop_front() {
                return Some((event, (all, state, known)));
            }
            let (namespace, event) = all.next().await?;
            state.follow(namespace, event, &known);
        }
    })
}

impl<K: Resource> Watches<K> {
    fn follow(&mut self, namespace: String, event: Event<K>, known: impl Fn(&str) -> Vec<K>) {
        match event {
            Event::Apply(_) | Event::Delete(_) if self.unlisted.is_empty() => self.events.push_back(event),
            Event::Apply(_) | Event::Delete(_) => self.deferred.push(event),
            // A listing that starts again replaces the incomplete one.
            Event::Init => _ = self.listings.insert(namespace, Vec::new()),
            Event::InitApply(object) => self.listings.entry(namespace).or_default().push(object),
            Event::InitDone => {
                let listed = self.listings.remove(&namespace).unwrap_or_default();
                if self.unlisted.is_empty() {
                    let present: BTreeSet<Key> = listed.iter().map(key).collect();
                    let gone = known(&namespace).into_iter().filter(|object| !present.contains(&key(object)));
                    self.events.extend(gone.map(Event::Delete));
                    self.events.extend(listed.into_iter().map(Event::Apply));
                } else {
                    self.events.extend(listed.into_iter().map(Event::InitApply));
                    if self.unlisted.remove(&namespace) && self.unlisted.is_empty() {
                        self.events.push_back(Event::InitDone);
                        self.events.extend(self.deferred.drain(..));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kube::ResourceExt;
    use serde_json::json;

    use super::*;
    use crate::api::VpcPeering;

    fn object(namespace: &str, name: &str) -> VpcPeering {
        let spec = json!({"requester": {"vpcId": "vpc-1", "region": "r"}, "accepter": {"vpcId": "vpc-2"}});
        let metadata = json!({"namespace": namespace, "name": name});
        serde_json::from_value(json!({
            "apiVersion": "vpcpeering.dev/v1alpha1", "kind": "VpcPeering", "metadata": metadata, "spec": spec,
        }))
        .unwrap()
    }

    fn yielded(watches: &mut Watches<VpcPeering>) -> Vec<String> {
        let text = |event: Event<VpcPeering>| match event {
            Event::Apply(object) => format!("apply {}", object.name_any()),
            Event::Delete(object) => format!("delete {}", object.name_any()),
            Event::InitApply(object) => format!("list {}", object.name_any()),
            Event::Init => "begin".into(),
            Event::InitDone => "done".into(),
        };
        watches.events.drain(..).map(text).collect()
    }

    #[test]
    fn the_watches_of_several_namespaces_merge_into_one() {
        let mut watches = Watches {
            unlisted: BTreeSet::from(["a".to_owned(), "b".to_owned()]),
            listings: BTreeMap::new(),
            events: VecDeque::new(),
            deferred: Vec::new(),
        };
        let nothing = |_: &str| Vec::new();
        for event in
            [Event::Init, Event::InitApply(object("a", "gone")), Event::Init, Event::InitApply(object("a", "x"))]
        {
            watches.follow("a".into(), event, nothing);
        }
        assert!(yielded(&mut watches).is_empty(), "an incomplete listing was yielded");
        watches.follow("a".into(), Event::InitDone, nothing);
        assert_eq!(yielded(&mut watches), ["list x"]);
        watches.follow("a".into(), Event::Apply(object("a", "new")), nothing);
        assert!(yielded(&mut watches).is_empty(), "the first listing would undo the change");
        for event in [Event::Init, Event::InitApply(object("b", "y")), Event::InitDone] {
            watches.follow("b".into(), event, nothing);
        }
        assert_eq!(yielded(&mut watches), ["list y", "done", "apply new"]);
        // A later listing of one namespace.
        for event in [Event::Init, Event::InitApply(object("a", "z")), Event::InitDone] {
            watches.follow("a".into(), event, |namespace| vec![object(namespace, "x"), object(namespace, "z")]);
        }
        assert_eq!(yielded(&mut watches), ["delete x", "apply z"]);
    }
}

//! Which resources are looked after: those of some namespaces or of every one, with certain labels or whatever theirs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use kube::ResourceExt;
use kube::runtime::reflector::Store;
use kube::runtime::watcher::Event;

use super::kept::Managed;

/// Which resources are looked after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only those of these namespaces; of every one where there is none.
    pub namespaces: BTreeSet<String>,
    /// Only those with such labels.
    pub selector: Option<String>,
}

/// What several watches, one a namespace, have shown so far.
struct Watches<K> {
    /// Those that have not shown all of theirs yet.
    unread: BTreeSet<String>,
    /// What a watch lists, until the list is complete.
    listed: BTreeMap<String, Vec<K>>,
    /// What to tell.
    events: VecDeque<Event<K>>,
    /// What to tell after the common beginning, which would undo it.
    later: Vec<Event<K>>,
}

/// The events of several watches, one a namespace, as if they were one's: the beginning of all is their common one, and
/// what a later listing lacks, and `store` has, is gone.
pub fn merge<K: Managed>(
    watches: Vec<(String, BoxStream<'static, Event<K>>)>,
    store: Store<K>,
) -> impl Stream<Item = Event<K>> + Send + use<K> {
    let state = Watches {
        unread: watches.iter().map(|(namespace, _)| namespace.clone()).collect(),
        listed: BTreeMap::new(),
        events: VecDeque::from([Event::Init]),
        later: Vec::new(),
    };
    let known = move |namespace: &str| {
        let objects = store.state().into_iter();
        let objects = objects.filter(|object| object.namespace().as_deref() == Some(namespace));
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

impl<K: Managed> Watches<K> {
    fn follow(&mut self, namespace: String, event: Event<K>, known: impl Fn(&str) -> Vec<K>) {
        match event {
            Event::Apply(_) | Event::Delete(_) if self.unread.is_empty() => self.events.push_back(event),
            Event::Apply(_) | Event::Delete(_) => self.later.push(event),
            Event::Init => _ = self.listed.insert(namespace, Vec::new()),
            Event::InitApply(object) => self.listed.entry(namespace).or_default().push(object),
            Event::InitDone => {
                let listed = self.listed.remove(&namespace).unwrap_or_default();
                if self.unread.is_empty() {
                    let there: BTreeSet<_> = listed.iter().map(|object| key(object)).collect();
                    let gone = known(&namespace).into_iter().filter(|object| !there.contains(&key(object)));
                    self.events.extend(gone.map(Event::Delete));
                    self.events.extend(listed.into_iter().map(Event::Apply));
                } else {
                    self.events.extend(listed.into_iter().map(Event::InitApply));
                    if self.unread.remove(&namespace) && self.unread.is_empty() {
                        self.events.push_back(Event::InitDone);
                        self.events.extend(self.later.drain(..));
                    }
                }
            }
        }
    }
}

fn key(object: &impl Managed) -> (Option<String>, String) {
    (object.namespace(), object.name_any())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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

    fn told(watches: &mut Watches<VpcPeering>) -> Vec<String> {
        let name = |object: VpcPeering| key(&object).1;
        let text = |event| match event {
            Event::Apply(object) => format!("apply {}", name(object)),
            Event::Delete(object) => format!("delete {}", name(object)),
            Event::InitApply(object) => format!("list {}", name(object)),
            Event::Init => "begin".into(),
            Event::InitDone => "done".into(),
        };
        watches.events.drain(..).map(text).collect()
    }

    #[test]
    fn many_watches_look_like_one() {
        let mut watches = Watches {
            unread: BTreeSet::from(["a".to_owned(), "b".to_owned()]),
            listed: BTreeMap::new(),
            events: VecDeque::new(),
            later: Vec::new(),
        };
        let nothing = |_: &str| Vec::new();
        for event in
            [Event::Init, Event::InitApply(object("a", "gone")), Event::Init, Event::InitApply(object("a", "x"))]
        {
            watches.follow("a".into(), event, nothing);
        }
        assert!(told(&mut watches).is_empty(), "a listing that broke off");
        watches.follow("a".into(), Event::InitDone, nothing);
        assert_eq!(told(&mut watches), ["list x"]);
        watches.follow("a".into(), Event::Apply(object("a", "new")), nothing);
        assert!(told(&mut watches).is_empty(), "the beginning would take it back");
        for event in [Event::Init, Event::InitApply(object("b", "y")), Event::InitDone] {
            watches.follow("b".into(), event, nothing);
        }
        assert_eq!(told(&mut watches), ["list y", "done", "apply new"]);
        // Later one of them lists anew.
        for event in [Event::Init, Event::InitApply(object("a", "z")), Event::InitDone] {
            watches.follow("a".into(), event, |namespace| vec![object(namespace, "x"), object(namespace, "z")]);
        }
        assert_eq!(told(&mut watches), ["delete x", "apply z"]);
    }
}

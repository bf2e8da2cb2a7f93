//! Turns later listings into changes, and updates the store before anyone learns of a change.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use kube::Resource;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};

use super::decode::{Undecodable, Wire};
use crate::controller::index::{Key, key};

/// A change that the store shows already.
#[derive(Debug)]
pub(super) enum Change<K> {
    /// The object was created or changed.
    Present(Arc<K>),
    Gone(Arc<K>),
}

/// The object, if it is present.
pub(super) async fn present<K: Clone>(change: Change<K>) -> Option<Result<K, watcher::Error>> {
    match change {
        Change::Present(object) => Some(Ok(Arc::unwrap_or_clone(object))),
        Change::Gone(_) => None,
    }
}

/// Fills the store, and yields each change once the store shows it. The changes of a listing follow when it is
/// complete. kube-runtime's `reflect` yields them before, so that a reader of the store could find the previous object,
/// or none.
pub(super) fn stored<K>(
    events: impl Stream<Item = Event<K>> + Send,
    mut store: Writer<K>,
) -> impl Stream<Item = Change<K>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let shown = store.as_reader();
    events.flat_map(move |event| {
        let before = if matches!(event, Event::InitDone) { shown.state() } else { Vec::new() };
        store.apply_watcher_event(&event);
        let changes: Vec<_> = match event {
            Event::Apply(object) => vec![Change::Present(Arc::new(object))],
            Event::Delete(object) => vec![Change::Gone(Arc::new(object))],
            Event::InitDone => {
                let gone = before.into_iter().filter(|object| shown.get(&ObjectRef::from_obj(object)).is_none());
                gone.map(Change::Gone).chain(shown.state().into_iter().map(Change::Present)).collect()
            }
            Event::Init | Event::InitApply(_) => Vec::new(),
        };
        stream::iter(changes)
    })
}

/// Passes the first listing through, and turns each later one into changes: an apply for each object, and at its end a
/// delete for each known object that it lacks. So no object is in memory twice during a listing. Calls `listed` once
/// the store shows a complete listing.
pub(super) fn as_changes<K>(
    events: impl Stream<Item = Event<K>> + Send,
    known: impl Fn() -> Vec<Arc<K>> + Send,
    listed: impl Fn() + Send,
) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync,
{
    let state = (Box::pin(events), Listing::default(), VecDeque::new(), known, listed);
    stream::unfold(state, |(mut events, mut listing, mut pending, known, listed)| async move {
        loop {
            if let Some(event) = pending.pop_front() {
                return Some((event, (events, listing, pending, known, listed)));
            }
            // The consumer has applied the last event, so the store shows the whole listing.
            if std::mem::take(&mut listing.has_ended) {
                listed();
            }
            let event: Event<K> = events.next().await?;
            pending.extend(listing.follow(event, &known));
        }
    })
}

/// A listing in progress.
#[derive(Default)]
struct Listing {
    /// Whether a complete listing came before.
    is_later: bool,
    /// The objects so far.
    shown: HashSet<Key>,
    /// Whether it has just become complete.
    has_ended: bool,
}

impl Listing {
    fn follow<K>(&mut self, event: Event<K>, known: impl Fn() -> Vec<Arc<K>>) -> Vec<Event<K>>
    where
        K: Resource<DynamicType = ()> + Clone,
    {
        self.has_ended = matches!(event, Event::InitDone);
        match event {
            _ if !self.is_later => {
                self.is_later = self.has_ended;
                vec![event]
            }
            Event::Init => {
                self.shown.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                self.shown.insert(key(&object));
                vec![Event::Apply(object)]
            }
            Event::InitDone => {
                let shown = std::mem::take(&mut self.shown);
                let gone = known().into_iter().filter(|object| !shown.contains(&key(&**object)));
                gone.map(|object| Event::Delete(Arc::unwrap_or_clone(object))).collect()
            }
            Event::Apply(_) | Event::Delete(_) => vec![event],
        }
    }
}

/// The event, if its object can be decoded. A known object whose new version cannot be decoded is deleted from the
/// store: a step for its old version could undo what its new version asks for.
pub(super) fn decodable<K, const LABELS: bool>(
    event: Event<Wire<K, LABELS>>,
    known: &Store<K>,
    report: impl Fn(&Undecodable),
) -> Option<Event<K>>
where
    K: Resource<DynamicType = ()> + Clone,
{
    let is_present = !matches!(event, Event::Delete(_));
    let (wire, wrap): (_, fn(K) -> Event<K>) = match event {
        Event::Apply(wire) => (wire, Event::Apply),
        Event::InitApply(wire) => (wire, Event::InitApply),
        Event::Delete(wire) => (wire, Event::Delete),
        Event::Init => return Some(Event::Init),
        Event::InitDone => return Some(Event::InitDone),
    };
    match wire.0 {
        Ok(object) => Some(wrap(object)),
        Err(undecodable) => {
            if is_present {
                report(&undecodable);
            }
            let metadata = &undecodable.metadata;
            let name = ObjectRef::new(metadata.name.as_deref().unwrap_or_default());
            let name = metadata.namespace.iter().fold(name, |name, namespace| name.within(namespace));
            known.get(&name).map(|object| Event::Delete(Arc::unwrap_or_clone(object)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use k8s_openapi::api::core::v1::Namespace;
    use kube::ResourceExt;
    use kube::runtime::reflector;

    use super::*;
    use crate::controller::watch::testing::{namespace, text};

    #[tokio::test]
    async fn the_store_shows_a_change_before_it_is_yielded() {
        let (store, writer) = reflector::store();
        let listing = |objects: &[(&str, &str)]| {
            let objects = objects.iter().map(|(name, label)| Event::InitApply(namespace(name, label)));
            [Event::Init].into_iter().chain(objects).chain([Event::InitDone]).collect::<Vec<_>>()
        };
        let first = listing(&[("stays", "1"), ("goes", "1")]);
        let then = vec![Event::Apply(namespace("leaves", "1")), Event::Delete(namespace("leaves", "1"))];
        let again = listing(&[("stays", "2"), ("comes", "1")]);
        let events = stream::iter(first.into_iter().chain(then).chain(again));
        let reported = stored(events, writer).map(|change| {
            let (name, is_present, object) = match change {
                Change::Present(object) => (object.name_any(), true, Some(object)),
                Change::Gone(object) => (object.name_any(), false, None),
            };
            let shown = store.get(&ObjectRef::new(&name));
            assert_eq!(shown, object, "{name}");
            (name, is_present)
        });
        let mut reported: Vec<_> = reported.collect().await;
        reported[..2].sort();
        reported[5..].sort();
        let reported: Vec<_> = reported.iter().map(|(name, is_present)| (name.as_str(), *is_present)).collect();
        let expected = [
            ("goes", true),
            ("stays", true),
            ("leaves", true),
            ("leaves", false),
            ("goes", false),
            ("comes", true),
            ("stays", true),
        ];
        assert_eq!(reported, expected);
    }

    /// An object that can or cannot be decoded.
    fn wire(name: &str, is_decodable: bool) -> Wire<Namespace> {
        let object = namespace(name, if is_decodable { "2" } else { "" });
        Wire(if is_decodable {
            Ok(object)
        } else {
            Err(Undecodable { error: "odd".into(), remedy: "", metadata: object.metadata }.into())
        })
    }

    #[test]
    fn an_undecodable_object_leaves_the_store_until_it_can_be_decoded() {
        let (store, mut writer) = reflector::store();
        let reported = std::cell::Cell::new(0);
        let mut read = |event| {
            let event = decodable(event, &store, |_| reported.set(reported.get() + 1));
            event.iter().for_each(|event| writer.apply_watcher_event(event));
            (event.as_ref().map(text), store.state().len(), reported.get())
        };
        let expect = |text: &str| Some(text.to_owned());
        assert_eq!(read(Event::Apply(wire("a", true))), (expect("apply a"), 1, 0));
        assert_eq!(read(Event::Apply(wire("b", false))), (None, 1, 1), "it was never in the store");
        assert_eq!(read(Event::Apply(wire("a", false))), (expect("delete a"), 0, 2));
        assert_eq!(read(Event::Apply(wire("a", false))), (None, 0, 3));
        assert_eq!(read(Event::Apply(wire("a", true))), (expect("apply a"), 1, 3));
        assert_eq!(
            read(Event::Delete(wire("a", false))),
            (expect("delete a"), 0, 3),
            "a deleted object is not reported"
        );
    }

    #[tokio::test]
    async fn a_later_listing_becomes_changes_and_is_then_complete() {
        let list = |names: &[&str]| {
            let objects = names.iter().map(|name| Event::InitApply(namespace(name, "1")));
            [Event::Init].into_iter().chain(objects).collect::<Vec<_>>()
        };
        let done = || vec![Event::InitDone];
        // The second listing breaks off.
        let events = [list(&["a", "b"]), done(), list(&["a", "x"]), list(&["c", "b"]), done()].concat();
        let known = || ["a", "b", "c", "x"].map(|name| Arc::new(namespace(name, "1"))).into();
        let seen = Mutex::new(Vec::new());
        let record = |text: String| seen.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        let changes = as_changes(stream::iter(events), known, || record("listed".into()));
        changes.for_each(async |event| record(text(&event))).await;
        let expected = [
            "begin", "list a", "list b", "done", "listed", "apply a", "apply x", "apply c", "apply b", "delete a",
            "delete x", "listed",
        ];
        assert_eq!(seen.into_inner().unwrap_or_default(), expected);
    }
}

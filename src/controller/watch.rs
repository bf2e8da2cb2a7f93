//! The watches. An object that this version cannot read is reported, and holds up no other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{DeserializeGuard, PartialObjectMeta, PartialObjectMetaExt};
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, predicates, watcher};
use kube::{Api, Resource, ResourceExt};
use smol_str::SmolStr;
use tokio::sync::mpsc;

use super::Context;
use super::kept::Managed;
use super::scope::{self, Scope};
use crate::api::{AwsIdentity, StepEvent};

/// An object, or why it cannot be read.
type Guarded<K> = DeserializeGuard<K>;

/// How many resources are listed at once. A page is held three times over while it is read.
const PAGE: u32 = 100;

/// Fills the store, and yields each resource that changes.
pub fn resources<K: Managed>(
    context: Arc<Context>,
    scope: Scope,
    store: Writer<K>,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send {
    let Scope { namespaces, selector } = scope;
    let watch = |api: Api<Guarded<K>>| {
        let config =
            watcher::Config { label_selector: selector.clone(), page_size: Some(PAGE), ..watcher::Config::default() };
        let context = Arc::clone(&context);
        events(move || watcher(api.clone(), config.clone()))
            .filter_map(move |event| readable(Arc::clone(&context), event))
            .boxed()
    };
    let of = |namespace: &String| watch(Api::namespaced(context.client.clone(), namespace));
    let events = match Vec::from_iter(&namespaces).as_slice() {
        [] => watch(Api::all(context.client.clone())),
        [namespace] => of(namespace),
        several => {
            let watches = several.iter().map(|namespace| ((*namespace).clone(), of(namespace))).collect();
            scope::merge(watches, K::kept(&context).store.clone()).boxed()
        }
    };
    let (cluster, follower) = (context.cluster.clone(), Arc::clone(&context));
    let events = events
        .inspect(move |event| K::follow(&follower, event))
        .map(move |event| event.modify(|object| slim(object, &cluster)));
    let forget = move |change: &Change<K>| {
        // Or not ours to look after any more.
        if let Change::Gone(object) = change {
            context.forget(&**object);
        }
    };
    stored(events, store).inspect(forget).filter_map(there)
}

/// What became of an object, as the store shows it by now.
#[derive(Debug)]
enum Change<K> {
    /// It came, or changed.
    There(Arc<K>),
    /// It went.
    Gone(Arc<K>),
}

/// The object, where it is there.
async fn there<K: Clone>(change: Change<K>) -> Option<Result<K, watcher::Error>> {
    match change {
        Change::There(object) => Some(Ok(Arc::unwrap_or_clone(object))),
        Change::Gone(_) => None,
    }
}

/// Fills the store, and tells of each change once it shows it: what a listing brings, and what it lacks, when it is
/// complete. kube-runtime's `reflect` tells of it before: who looks then finds what was there earlier, or nothing.
fn stored<K>(events: impl Stream<Item = Event<K>> + Send, mut store: Writer<K>) -> impl Stream<Item = Change<K>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let shown = store.as_reader();
    events.flat_map(move |event| {
        let before = if matches!(event, Event::InitDone) { shown.state() } else { Vec::new() };
        store.apply_watcher_event(&event);
        let changes: Vec<_> = match event {
            Event::Apply(object) => vec![Change::There(Arc::new(object))],
            Event::Delete(object) => vec![Change::Gone(Arc::new(object))],
            Event::InitDone => {
                let gone = before.into_iter().filter(|object| shown.get(&ObjectRef::from_obj(object)).is_none());
                gone.map(Change::Gone).chain(shown.state().into_iter().map(Change::There)).collect()
            }
            Event::Init | Event::InitApply(_) => Vec::new(),
        };
        stream::iter(changes)
    })
}

/// Lets go of what nobody here reads: it would be most of what a resource takes in memory.
fn slim<K: Managed>(object: &mut K, cluster: &SmolStr) {
    object.managed_fields_mut().clear();
    object.annotations_mut().remove("kubectl.kubernetes.io/last-applied-configuration");
    object.share(cluster);
    // What was read has room for more; a copy has none.
    *object = object.clone();
}

/// Fills the store, tells `touched` of each identity that came, changed or went, and yields those that are there. One
/// that cannot be read is no identity: what it allowed before, it allows no more.
pub fn identities(
    api: Api<Guarded<AwsIdentity>>,
    store: Writer<AwsIdentity>,
    touched: mpsc::UnboundedSender<Touched>,
) -> impl Stream<Item = Result<AwsIdentity, watcher::Error>> + Send {
    let mut generations = HashMap::new();
    // Its status changes nothing for its users. Nobody listens any more only at shutdown.
    let mut tell = move |identity: &AwsIdentity, generation: Option<i64>| {
        let name = identity.name_any();
        if generations.insert(name.clone(), generation) != Some(generation) {
            _ = touched.send(Touched::Identity(name));
        }
    };
    let events = events(move || watcher(api.clone(), watcher::Config::default())).map(|event| {
        let gone = |metadata: ObjectMeta| Event::Delete(AwsIdentity { metadata, ..AwsIdentity::nobody() });
        let read = |guarded: Guarded<AwsIdentity>, wrap: fn(AwsIdentity) -> Event<AwsIdentity>| match guarded.0 {
            Ok(identity) => wrap(identity),
            Err(invalid) => {
                tracing::warn!(name = invalid.metadata.name, error = %invalid.error, "an AwsIdentity cannot be read");
                gone(invalid.metadata)
            }
        };
        match event {
            Event::Apply(identity) => read(identity, Event::Apply),
            Event::InitApply(identity) => read(identity, Event::InitApply),
            Event::Delete(identity) => read(identity, Event::Delete),
            Event::Init => Event::Init,
            Event::InitDone => Event::InitDone,
        }
    });
    stored(events, store)
        .inspect(move |change| match change {
            Change::There(identity) => tell(identity, identity.metadata.generation),
            Change::Gone(identity) => tell(identity, None),
        })
        .filter_map(there)
        // Where several operators share a cluster, one's status must not be the other's event.
        .predicate_filter(predicates::generation, Default::default())
}

/// Fills the store with what is known of each namespace, and tells `touched` of those that changed.
pub async fn namespaces(
    api: Api<PartialObjectMeta<Namespace>>,
    store: Writer<PartialObjectMeta<Namespace>>,
    touched: mpsc::UnboundedSender<Touched>,
) {
    let events = events(move || watcher(api.clone(), watcher::Config::default()));
    let mut changes = std::pin::pin!(stored(events, store));
    while let Some(Change::There(namespace) | Change::Gone(namespace)) = changes.next().await {
        // Nobody listens any more only at shutdown.
        _ = touched.send(Touched::Namespace(namespace.name_any()));
    }
}

/// What changed beside the resources themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    /// The identity of this name.
    Identity(String),
    /// The namespace of this name.
    Namespace(String),
}

/// Watches without end. After an error everything is listed anew instead of going on from the last version seen: an
/// API server that comes back with an older memory would never tell us what it has forgotten.
fn events<T, S>(start: impl Fn() -> S + Clone + Send) -> impl Stream<Item = Event<T>> + Send
where
    T: Send,
    S: Stream<Item = Result<Event<T>, watcher::Error>> + Send + 'static,
{
    stream::unfold((None, pauses()), move |(mut watch, mut pause)| {
        let start = start.clone();
        async move {
            loop {
                let watching = watch.get_or_insert_with(|| start().boxed());
                match watching.next().await {
                    Some(Ok(event)) => {
                        // `Init` only tells of the attempt.
                        if !matches!(event, Event::Init) {
                            pause = pauses();
                        }
                        return Some((event, (watch, pause)));
                    }
                    Some(Err(error)) => tracing::warn!(%error, "the watch is interrupted"),
                    None => tracing::warn!("the watch has ended"),
                }
                watch = None;
                tokio::time::sleep(pause.next().unwrap_or(LONGEST_PAUSE)).await;
            }
        }
    })
}

const LONGEST_PAUSE: Duration = Duration::from_secs(5);

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}

async fn readable<K: Managed>(context: Arc<Context>, event: Event<Guarded<K>>) -> Option<Event<K>> {
    let (guarded, wrap): (_, fn(K) -> Event<K>) = match event {
        Event::Apply(guarded) => (guarded, Event::Apply),
        Event::InitApply(guarded) => (guarded, Event::InitApply),
        Event::Delete(guarded) => (guarded, Event::Delete),
        Event::Init => return Some(Event::Init),
        Event::InitDone => return Some(Event::InitDone),
    };
    match guarded.0 {
        Ok(object) => Some(wrap(object)),
        Err(invalid) => {
            let note = format!("this version of the operator cannot read the resource: {}", invalid.error);
            let object = invalid.metadata.into_response_partial::<K>();
            tracing::warn!(namespace = object.namespace(), object = %object.name_any(), note);
            context.announcer.announce(&object, EventType::Warning, StepEvent::Unreadable.as_str(), &note);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector;

    use super::*;

    fn namespace(name: &str, label: &str) -> Namespace {
        let labels = [("label".to_owned(), label.to_owned())].into();
        Namespace {
            metadata: ObjectMeta { name: Some(name.into()), labels: Some(labels), ..ObjectMeta::default() },
            ..Namespace::default()
        }
    }

    #[tokio::test]
    async fn what_is_told_is_in_the_store() {
        let (store, writer) = reflector::store();
        let listing = |objects: &[(&str, &str)]| {
            let objects = objects.iter().map(|(name, label)| Event::InitApply(namespace(name, label)));
            [Event::Init].into_iter().chain(objects).chain([Event::InitDone]).collect::<Vec<_>>()
        };
        let first = listing(&[("stays", "1"), ("goes", "1")]);
        let then = vec![Event::Apply(namespace("leaves", "1")), Event::Delete(namespace("leaves", "1"))];
        let again = listing(&[("stays", "2"), ("comes", "1")]);
        let events = stream::iter(first.into_iter().chain(then).chain(again));
        let told = stored(events, writer).map(|change| {
            let (name, is_there, object) = match change {
                Change::There(object) => (object.name_any(), true, Some(object)),
                Change::Gone(object) => (object.name_any(), false, None),
            };
            let shown = store.get(&ObjectRef::new(&name));
            assert_eq!(shown, object, "{name}");
            (name, is_there)
        });
        let mut told: Vec<_> = told.collect().await;
        told[..2].sort();
        told[5..].sort();
        let told: Vec<_> = told.iter().map(|(name, is_there)| (name.as_str(), *is_there)).collect();
        let expected = [
            ("goes", true),
            ("stays", true),
            ("leaves", true),
            ("leaves", false),
            ("goes", false),
            ("comes", true),
            ("stays", true),
        ];
        assert_eq!(told, expected);
    }
}

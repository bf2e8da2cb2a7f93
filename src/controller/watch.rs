//! The watches. An object that this version cannot read is reported, leaves the store, and holds up no other.

pub mod wire;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Display;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::core::{PartialObjectMeta, PartialObjectMetaExt};
use kube::runtime::events::EventType;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, predicates, watcher};
use kube::{Api, Resource, ResourceExt};
use smol_str::SmolStr;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::Instant;

use super::Context;
use super::index::Key;
use super::kept::Managed;
use super::scope::{self, Scope};
use crate::api::{AwsIdentity, StepEvent};
use wire::{Unreadable, Wire};

/// How many objects are listed at once. Each may have 1.5 MiB of JSON, and a page is held up to three times over while it
/// is read.
const PAGE: u32 = 10;

/// Concurrent listings of resources. There is a watch for each kind, and for each namespace where only some are watched.
static LISTINGS: Semaphore = Semaphore::const_new(2);

/// How often identities and namespaces are listed anew: a watch that is silently broken must not keep a permission that
/// was withdrawn.
const LIST_ANEW: Duration = Duration::from_secs(300);

/// How old a cache may be taken to be: the time since its last complete listing ended.
#[derive(Clone, Debug, Default)]
pub struct Freshness(Arc<Mutex<Option<Instant>>>);

impl Freshness {
    /// The time since the last complete listing ended; [`Duration::MAX`] before the first one has.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map_or(Duration::MAX, |listed| listed.elapsed())
    }

    /// A complete listing has ended.
    pub(super) fn listed(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// Fills the store, and yields each resource that changes.
pub fn resources<K: Managed>(
    context: Arc<Context>,
    scope: Scope,
    store: Writer<K>,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send {
    let Scope { namespaces, selector } = scope;
    let watch = |api: Api<Wire<K>>, namespace: Option<&String>| {
        let config = watcher::Config { label_selector: selector.clone(), ..config() };
        let (context, store) = (Arc::clone(&context), K::kept(&context).store.clone());
        let (known, namespace) = (store.clone(), namespace.cloned());
        let readable =
            events(move || watcher(api.clone(), config.clone()), None, Some(&LISTINGS)).filter_map(move |event| {
                std::future::ready(readable(event, &store, |unreadable| report::<K>(&context, unreadable)))
            });
        let is_watched = move |object: &Arc<K>| namespace.is_none() || object.meta().namespace == namespace;
        let known = move || known.state().into_iter().filter(|object| is_watched(object)).collect();
        as_changes(readable, known, || {}).boxed()
    };
    let of = |namespace: &String| watch(Api::namespaced(context.client.clone(), namespace), Some(namespace));
    let events = match Vec::from_iter(&namespaces).as_slice() {
        [] => watch(Api::all(context.client.clone()), None),
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

/// Lets go of what nobody here needs.
fn slim<K: Managed>(object: &mut K, cluster: &SmolStr) {
    object.share(cluster);
    // What was read has room for more; a copy has none.
    *object = object.clone();
}

/// Fills the store, tells `touched` of each identity that came, changed or went, and yields those that are there. One
/// that cannot be read is no identity: what it allowed before, it allows no more.
pub fn identities(
    api: Api<Wire<AwsIdentity>>,
    store: Writer<AwsIdentity>,
    touched: mpsc::UnboundedSender<Touched>,
    freshness: Freshness,
) -> impl Stream<Item = Result<AwsIdentity, watcher::Error>> + Send {
    // Its status changes nothing for its users.
    let mut generations = HashMap::new();
    let mut tell = move |change: &Change<AwsIdentity>| {
        let (name, is_news) = news(&mut generations, change, |identity| identity.metadata.generation);
        if is_news {
            // Nobody listens any more only at shutdown.
            _ = touched.send(Touched::Identity(name));
        }
    };
    let events = cached(move || watcher(api.clone(), config()), store.as_reader(), freshness);
    stored(events, store)
        .inspect(move |change| tell(change))
        .filter_map(there)
        // Where several operators share a cluster, one's status must not be the other's event.
        .predicate_filter(predicates::generation, Default::default())
}

/// Fills the store with what is known of each namespace, and tells `touched` of those that changed. One that cannot be
/// read has no labels that allow it anything.
pub async fn namespaces(
    api: Api<Wire<PartialObjectMeta<Namespace>, true>>,
    store: Writer<PartialObjectMeta<Namespace>>,
    touched: mpsc::UnboundedSender<Touched>,
    freshness: Freshness,
) {
    // Only its labels matter.
    let mut labels = HashMap::new();
    let events = cached(move || watcher(api.clone(), config()), store.as_reader(), freshness);
    let mut changes = std::pin::pin!(stored(events, store));
    while let Some(change) = changes.next().await {
        let hash = |namespace: &PartialObjectMeta<Namespace>| {
            BuildHasherDefault::<DefaultHasher>::default().hash_one(namespace.labels())
        };
        let (name, is_news) = news(&mut labels, &change, hash);
        if is_news {
            // Nobody listens any more only at shutdown.
            _ = touched.send(Touched::Namespace(name));
        }
    }
}

/// The object's name, and whether something came, changed or went that matters. `known` is what mattered of each before.
fn news<K: Resource, T: PartialEq>(
    known: &mut HashMap<String, T>,
    change: &Change<K>,
    matter: impl Fn(&K) -> T,
) -> (String, bool) {
    let (Change::There(object) | Change::Gone(object)) = change;
    let name = object.name_any();
    let is_news = match change {
        Change::There(object) => {
            let new = matter(object);
            let is_known = known.get(&name) == Some(&new);
            known.insert(name.clone(), new);
            !is_known
        }
        Change::Gone(_) => known.remove(&name).is_some(),
    };
    (name, is_news)
}

/// How everything is watched.
fn config() -> watcher::Config {
    watcher::Config { page_size: Some(PAGE), ..watcher::Config::default() }
}

/// The events of what permissions are read from, listed anew at times; `freshness` tells when.
fn cached<K, S, const LABELS: bool>(
    start: impl Fn() -> S + Clone + Send,
    known: Store<K>,
    freshness: Freshness,
) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
    S: Stream<Item = Result<Event<Wire<K, LABELS>>, watcher::Error>> + Send + 'static,
{
    let store = known.clone();
    let readable = events(start, Some(LIST_ANEW), None).filter_map(move |event| {
        let report = |unreadable: &Unreadable| {
            let (kind, name) = (K::kind(&()), unreadable.metadata.name.as_deref());
            tracing::warn!(%kind, name, error = unreadable.error, "cannot be read, and allows nothing");
        };
        std::future::ready(readable(event, &store, report))
    });
    as_changes(readable, move || known.state(), move || freshness.listed())
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
/// API server that comes back with an older memory would never tell us what it has forgotten. The same where the last
/// complete listing is older than `list_anew`. A listing waits for a permit of `listings`.
fn events<T, S>(
    start: impl Fn() -> S + Clone + Send,
    list_anew: Option<Duration>,
    listings: Option<&'static Semaphore>,
) -> impl Stream<Item = Event<T>> + Send
where
    T: Send,
    S: Stream<Item = Result<Event<T>, watcher::Error>> + Send + 'static,
{
    let state = Watch { stream: None, permit: None, due: None, pause: pauses() };
    stream::unfold(state, move |mut watch| {
        let start = start.clone();
        async move {
            loop {
                if watch.stream.is_none() {
                    // The semaphore is never closed.
                    watch.permit = match listings {
                        Some(listings) => listings.acquire().await.ok(),
                        None => None,
                    };
                }
                let next = watch.stream.get_or_insert_with(|| start().boxed()).next();
                let outcome = match watch.due {
                    Some(due) => tokio::time::timeout_at(due, next).await,
                    None => Ok(next.await),
                };
                match outcome {
                    Ok(Some(Ok(event))) => {
                        // `Init` only tells of the attempt.
                        if !matches!(event, Event::Init) {
                            watch.pause = pauses();
                        }
                        if matches!(event, Event::InitDone) {
                            watch.permit = None;
                            watch.due = list_anew.map(|interval| Instant::now() + interval);
                        }
                        return Some((event, watch));
                    }
                    Ok(None) => watch.interrupted(&"it has ended").await,
                    Ok(Some(Err(error))) => watch.interrupted(&error).await,
                    Err(_) => watch = Watch { stream: None, due: None, ..watch },
                }
            }
        }
    })
}

/// A watch, and what it waits for.
struct Watch<T> {
    stream: Option<BoxStream<'static, Result<Event<T>, watcher::Error>>>,
    /// To list everything; until that is complete.
    permit: Option<SemaphorePermit<'static>>,
    /// When to list everything anew.
    due: Option<Instant>,
    pause: ExponentialBackoff,
}

impl<T> Watch<T> {
    async fn interrupted(&mut self, why: &impl Display) {
        tracing::warn!(error = %why, "the watch is interrupted");
        (self.stream, self.permit, self.due) = (None, None, None);
        tokio::time::sleep(self.pause.next().unwrap_or(LONGEST_PAUSE)).await;
    }
}

/// The first listing as it is, and each later one as changes: each object that it shows, and, at its end, that those which
/// it lacks are gone. So no object is held twice while everything is listed anew, and what is known of others stays. Then
/// `listed` is called.
fn as_changes<K>(
    events: impl Stream<Item = Event<K>> + Send,
    known: impl Fn() -> Vec<Arc<K>> + Send,
    listed: impl Fn() + Send,
) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync,
{
    let state = (Box::pin(events), Listing::default(), VecDeque::new(), known, listed);
    stream::unfold(state, |(mut events, mut listing, mut told, known, listed)| async move {
        loop {
            if let Some(event) = told.pop_front() {
                return Some((event, (events, listing, told, known, listed)));
            }
            // Only now the store shows all of it.
            if std::mem::take(&mut listing.has_ended) {
                listed();
            }
            let event: Event<K> = events.next().await?;
            told.extend(listing.follow(event, &known));
        }
    })
}

/// A listing under way.
#[derive(Default)]
struct Listing {
    /// One was complete before.
    is_later: bool,
    /// What it has shown so far.
    shown: HashSet<Key>,
    /// It has just become complete.
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

fn key(object: &impl Resource) -> Key {
    let metadata = object.meta();
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    (text(&metadata.namespace), text(&metadata.name))
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

/// The event, where its object can be read. One that no longer can is gone as far as anybody here is concerned: to act on
/// it as it was last seen could undo what its new version asks for.
fn readable<K, const LABELS: bool>(
    event: Event<Wire<K, LABELS>>,
    known: &Store<K>,
    report: impl Fn(&Unreadable),
) -> Option<Event<K>>
where
    K: Resource<DynamicType = ()> + Clone,
{
    let is_there = !matches!(event, Event::Delete(_));
    let (wire, wrap): (_, fn(K) -> Event<K>) = match event {
        Event::Apply(wire) => (wire, Event::Apply),
        Event::InitApply(wire) => (wire, Event::InitApply),
        Event::Delete(wire) => (wire, Event::Delete),
        Event::Init => return Some(Event::Init),
        Event::InitDone => return Some(Event::InitDone),
    };
    match wire.0 {
        Ok(object) => Some(wrap(object)),
        Err(unreadable) => {
            if is_there {
                report(&unreadable);
            }
            let metadata = &unreadable.metadata;
            let name = ObjectRef::new(metadata.name.as_deref().unwrap_or_default());
            let name = metadata.namespace.iter().fold(name, |name, namespace| name.within(namespace));
            known.get(&name).map(|object| Event::Delete(Arc::unwrap_or_clone(object)))
        }
    }
}

/// Tells the user that a resource cannot be read.
fn report<K: Managed>(context: &Context, unreadable: &Unreadable) {
    let note = unreadable.to_string();
    let object = unreadable.metadata.clone().into_response_partial::<K>();
    tracing::warn!(namespace = object.namespace(), object = %object.name_any(), note);
    context.announcer.announce(&object, EventType::Warning, StepEvent::Unreadable.as_str(), &note);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
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

    /// An object that can be read, or not, as the watch shows it.
    fn wire(name: &str, is_readable: bool) -> Wire<Namespace> {
        let object = namespace(name, if is_readable { "2" } else { "" });
        Wire(if is_readable {
            Ok(object)
        } else {
            Err(Unreadable { error: "odd".into(), metadata: object.metadata }.into())
        })
    }

    fn text(event: &Event<Namespace>) -> String {
        match event {
            Event::Apply(object) => format!("apply {}", object.name_any()),
            Event::Delete(object) => format!("delete {}", object.name_any()),
            Event::InitApply(object) => format!("list {}", object.name_any()),
            Event::Init => "begin".into(),
            Event::InitDone => "done".into(),
        }
    }

    #[test]
    fn what_can_no_longer_be_read_leaves_the_store_until_it_can() {
        let (store, mut writer) = reflector::store();
        let reported = std::cell::Cell::new(0);
        let mut read = |event| {
            let event = readable(event, &store, |_| reported.set(reported.get() + 1));
            event.iter().for_each(|event| writer.apply_watcher_event(event));
            (event.as_ref().map(text), store.state().len(), reported.get())
        };
        let told = |text: &str| Some(text.to_owned());
        assert_eq!(read(Event::Apply(wire("a", true))), (told("apply a"), 1, 0));
        assert_eq!(read(Event::Apply(wire("b", false))), (None, 1, 1), "it was never there");
        assert_eq!(read(Event::Apply(wire("a", false))), (told("delete a"), 0, 2));
        assert_eq!(read(Event::Apply(wire("a", false))), (None, 0, 3));
        assert_eq!(read(Event::Apply(wire("a", true))), (told("apply a"), 1, 3));
        assert_eq!(
            read(Event::Delete(wire("a", false))),
            (told("delete a"), 0, 3),
            "nobody is to read of what is gone"
        );
    }

    #[tokio::test]
    async fn a_later_listing_comes_as_changes_and_is_then_called_complete() {
        let list = |names: &[&str]| {
            let objects = names.iter().map(|name| Event::InitApply(namespace(name, "1")));
            [Event::Init].into_iter().chain(objects).collect::<Vec<_>>()
        };
        let done = || vec![Event::InitDone];
        // The second listing breaks off.
        let events = [list(&["a", "b"]), done(), list(&["a", "x"]), list(&["c", "b"]), done()].concat();
        let known = || ["a", "b", "c", "x"].map(|name| Arc::new(namespace(name, "1"))).into();
        let told = Mutex::new(Vec::new());
        let tell = |text: String| told.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        let changes = as_changes(stream::iter(events), known, || tell("listed".into()));
        changes.for_each(async |event| tell(text(&event))).await;
        let expected = [
            "begin", "list a", "list b", "done", "listed", "apply a", "apply x", "apply c", "apply b", "delete a",
            "delete x", "listed",
        ];
        assert_eq!(told.into_inner().unwrap_or_default(), expected);
    }

    #[tokio::test]
    async fn a_cache_that_cannot_be_listed_anew_grows_old() {
        // Every tenth of a second instead of every five minutes; the third listing never ends.
        let interval = Duration::from_millis(100);
        let (listings, freshness) = (Arc::new(AtomicUsize::new(0)), Freshness::default());
        assert_eq!(freshness.age(), Duration::MAX, "nothing has been listed");
        let count = Arc::clone(&listings);
        let watch = move || {
            let number = count.fetch_add(1, Ordering::Relaxed);
            let events = [Event::Init, Event::InitApply(namespace("a", "1")), Event::InitDone];
            stream::iter(events.into_iter().take(if number < 2 { 3 } else { 2 }).map(Ok)).chain(stream::pending())
        };
        let fresh = freshness.clone();
        let mut changes = Box::pin(as_changes(events(watch, Some(interval), None), Vec::new, move || fresh.listed()));
        let mut told = Vec::new();
        while let Ok(Some(event)) = tokio::time::timeout(interval * 5, changes.next()).await {
            told.push(text(&event));
            if told.len() == 3 {
                assert_eq!(freshness.age(), Duration::MAX, "the store does not show it yet");
            }
        }
        assert_eq!(told, ["begin", "list a", "done", "apply a", "apply a"]);
        assert_eq!(listings.load(Ordering::Relaxed), 3);
        let age = freshness.age();
        assert!((interval * 5..Duration::from_secs(60)).contains(&age), "{age:?}");
    }

    #[tokio::test]
    async fn one_listing_waits_for_another() {
        static ONE: Semaphore = Semaphore::const_new(1);
        // A page that never comes, and a listing that ends.
        let start = |events: &[Event<Namespace>]| {
            let events = events.to_vec();
            Box::pin(super::events(
                move || stream::iter(events.clone().into_iter().map(Ok)).chain(stream::pending()),
                None,
                Some(&ONE),
            ))
        };
        let mut slow = start(&[Event::Init]);
        let mut quick = start(&[Event::Init, Event::InitDone]);
        assert!(matches!(slow.next().await, Some(Event::Init)));
        let pause = Duration::from_millis(100);
        assert!(tokio::time::timeout(pause, quick.next()).await.is_err(), "it did not wait");
        drop(slow);
        assert!(matches!((quick.next().await, quick.next().await), (Some(Event::Init), Some(Event::InitDone))));
        let mut third = start(&[Event::Init]);
        assert!(matches!(third.next().await, Some(Event::Init)), "only the listing is waited for");
    }
}

//! The watches of identities and namespaces, which permissions depend on. Both are listed regularly: a watch that is
//! silently broken must not keep a permission that was withdrawn.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::Store;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, predicates, watcher};
use kube::{Api, Resource, ResourceExt};

use super::changes::{Change, as_changes, decodable, present, stored};
use super::decode::{Undecodable, Wire};
use super::relist;
use crate::api::AwsIdentity;
use crate::controller::cache_age::CacheAge;

/// Interval between complete listings.
const RELIST_AFTER: Duration = Duration::from_secs(300);

/// Fills the store, and yields each identity. Calls `changed` with the name of each identity that was created, changed
/// or deleted. One that cannot be decoded allows nothing any more.
pub(in crate::controller) fn identities(
    api: Api<Wire<AwsIdentity>>,
    store: Writer<AwsIdentity>,
    changed: impl Fn(String) + Send + 'static,
    cache_age: CacheAge,
) -> impl Stream<Item = Result<AwsIdentity, watcher::Error>> + Send {
    // The status of an identity changes nothing for its users.
    let mut generations = HashMap::new();
    let mut report = move |change: &Change<AwsIdentity>| {
        let (name, is_news) = news(&mut generations, change, |identity| identity.metadata.generation);
        if is_news {
            changed(name);
        }
    };
    let events = cached(move || watcher(api.clone(), relist::config()), store.as_reader(), cache_age);
    stored(events, store)
        .inspect(move |change| report(change))
        .filter_map(present)
        // Another operator in the cluster may write the status. That is no reason to reconcile.
        .predicate_filter(predicates::generation, Default::default())
}

/// Fills the store with the metadata of each namespace. Calls `changed` with the name of each namespace whose labels
/// changed. One that cannot be decoded has no labels, so that no selector matches it.
pub(in crate::controller) async fn namespaces(
    api: Api<Wire<PartialObjectMeta<Namespace>, true>>,
    store: Writer<PartialObjectMeta<Namespace>>,
    changed: impl Fn(String) + Send + 'static,
    cache_age: CacheAge,
) {
    let mut labels = HashMap::new();
    let events = cached(move || watcher(api.clone(), relist::config()), store.as_reader(), cache_age);
    let mut changes = std::pin::pin!(stored(events, store));
    while let Some(change) = changes.next().await {
        let hash = |namespace: &PartialObjectMeta<Namespace>| {
            BuildHasherDefault::<DefaultHasher>::default().hash_one(namespace.labels())
        };
        let (name, is_news) = news(&mut labels, &change, hash);
        if is_news {
            changed(name);
        }
    }
}

/// The name of the object, and whether the part that is relevant to others has changed. `known` holds the previous
/// parts.
fn news<K: Resource, T: PartialEq>(
    known: &mut HashMap<String, T>,
    change: &Change<K>,
    relevant: impl Fn(&K) -> T,
) -> (String, bool) {
    let (Change::Present(object) | Change::Gone(object)) = change;
    let name = object.name_any();
    let is_news = match change {
        Change::Present(object) => {
            let new = relevant(object);
            let is_known = known.get(&name) == Some(&new);
            known.insert(name.clone(), new);
            !is_known
        }
        Change::Gone(_) => known.remove(&name).is_some(),
    };
    (name, is_news)
}

/// The events of a cache that permissions are read from, with regular complete listings. `cache_age` records each
/// listing.
fn cached<K, S, const LABELS: bool>(
    start: impl Fn() -> S + Clone + Send,
    known: Store<K>,
    cache_age: CacheAge,
) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
    S: Stream<Item = Result<Event<Wire<K, LABELS>>, watcher::Error>> + Send + 'static,
{
    let store = known.clone();
    let decoded = relist::events(start, Some(RELIST_AFTER), None).filter_map(move |event| {
        let report = |undecodable: &Undecodable| {
            let (kind, name) = (K::kind(&()), undecodable.metadata.name.as_deref());
            tracing::warn!(%kind, name, error = undecodable.error, "cannot decode the object; it allows nothing");
        };
        std::future::ready(decodable(event, &store, report))
    });
    as_changes(decoded, move || known.state(), move || cache_age.listed())
}

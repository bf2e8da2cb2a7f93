//! The watches of referenced objects. They only tell that an object has changed; the reconcile reads it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use kube::api::{ApiResource, DynamicObject};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::task::JoinSet;

use crate::api::VpcReference;

/// A referenced object that was created, changed or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::controller) struct Referenced {
    group: String,
    kind: String,
    /// `None` for an object of a cluster-scoped kind.
    namespace: Option<String>,
    name: String,
}

impl Referenced {
    /// Whether a reference names this object. `from` is the namespace of the resource.
    pub(in crate::controller) fn is_named_by(&self, reference: &VpcReference, from: Option<&str>) -> bool {
        let namespace = reference.namespace.as_deref().or(from);
        reference.name.as_deref() == Some(&self.name)
            && reference.kind.as_deref() == Some(&self.kind)
            && reference.group.as_deref() == Some(&self.group)
            && (self.namespace.is_none() || self.namespace.as_deref() == namespace)
    }
}

/// Receives each object that changes.
pub(super) type OnChange = Arc<dyn Fn(Referenced) + Send + Sync>;

/// A kind and a namespace. `None` for a cluster-scoped kind.
type Place = (ApiResource, Option<String>);

/// One watch for each kind and namespace that a resource refers to.
pub(super) struct Watches {
    client: Client,
    /// `None` in a command, which ends before an object changes.
    on_change: Option<OnChange>,
    running: Arc<Mutex<HashSet<Place>>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Watches {
    pub(super) fn new(client: Client, on_change: Option<OnChange>) -> Self {
        Self { client, on_change, running: Arc::default(), tasks: Mutex::default() }
    }

    /// Watches the objects of this kind and namespace, unless a watch is running. A watch ends at its first error: the
    /// kind may be gone, or the right to watch it. The next look at an object starts it again.
    pub(super) fn start(&self, resource: &ApiResource, namespace: Option<&str>) {
        let Some(on_change) = self.on_change.clone() else { return };
        let place = (resource.clone(), namespace.map(str::to_owned));
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if !running.insert(place.clone()) {
            return;
        }
        drop(running);
        let (client, running) = (self.client.clone(), Arc::clone(&self.running));
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // Tasks that have ended.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            watch(client, &place, &*on_change).await;
            running.lock().unwrap_or_else(PoisonError::into_inner).remove(&place);
        });
    }
}

async fn watch(client: Client, (resource, namespace): &Place, on_change: &(dyn Fn(Referenced) + Send + Sync)) {
    let api: Api<PartialObjectMeta<DynamicObject>> = match namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, resource),
        None => Api::all_with(client, resource),
    };
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
    while let Some(event) = events.next().await {
        let object = match event {
            Ok(Event::Apply(object) | Event::InitApply(object) | Event::Delete(object)) => object,
            Ok(Event::Init | Event::InitDone) => continue,
            Err(error) => {
                tracing::warn!(kind = resource.kind, group = resource.group, %error, "the watch of references has ended");
                return;
            }
        };
        let metadata = object.metadata;
        on_change(Referenced {
            group: resource.group.clone(),
            kind: resource.kind.clone(),
            namespace: metadata.namespace,
            name: metadata.name.unwrap_or_default(),
        });
    }
}

//! The watch of all resources. One that this version cannot read is reported, and holds up no other.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::events::EventType;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};

use super::Context;
use crate::api::{StepEvent, VpcPeering};

/// A resource, or why it cannot be read.
type Guarded = DeserializeGuard<VpcPeering>;

/// Fills the store, and yields each resource that changes.
pub fn resources(
    context: Arc<Context>,
    api: Api<Guarded>,
    store: Writer<VpcPeering>,
) -> impl Stream<Item = Result<VpcPeering, watcher::Error>> + Send {
    events(api)
        .filter_map(move |event| readable(Arc::clone(&context), event))
        .map(Ok)
        .modify(|object: &mut VpcPeering| object.managed_fields_mut().clear())
        .reflect(store)
        .applied_objects()
}

/// Watches without end. After an error everything is listed anew instead of going on from the last version seen: an
/// API server that comes back with an older memory would never tell us what it has forgotten.
fn events(api: Api<Guarded>) -> impl Stream<Item = Event<Guarded>> + Send {
    stream::unfold((None, pauses()), move |(mut watch, mut pause)| {
        let api = api.clone();
        async move {
            loop {
                let watching = watch.get_or_insert_with(|| watcher(api.clone(), watcher::Config::default()).boxed());
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

async fn readable(context: Arc<Context>, event: Event<Guarded>) -> Option<Event<VpcPeering>> {
    let (guarded, wrap): (_, fn(VpcPeering) -> Event<VpcPeering>) = match event {
        Event::Apply(guarded) => (guarded, Event::Apply),
        Event::InitApply(guarded) => (guarded, Event::InitApply),
        Event::Delete(guarded) => (guarded, Event::Delete),
        Event::Init => return Some(Event::Init),
        Event::InitDone => return Some(Event::InitDone),
    };
    match guarded.0 {
        Ok(object) => Some(wrap(object)),
        Err(invalid) => {
            let reference = reference(&invalid.metadata);
            let name = (&reference.namespace, &reference.name);
            let note = format!("this version of the operator cannot read the resource: {}", invalid.error);
            tracing::warn!(?name, note);
            context.announce(&reference, EventType::Warning, StepEvent::Unreadable.as_str(), &note).await;
            None
        }
    }
}

fn reference(metadata: &ObjectMeta) -> ObjectReference {
    ObjectReference {
        api_version: Some(VpcPeering::api_version(&()).into_owned()),
        kind: Some(VpcPeering::kind(&()).into_owned()),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

//! Publishes Kubernetes Events in the background, so that no reconcile waits for them. While many reconciles run,
//! Events wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use smol_str::SmolStr;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

use super::truncate::truncate;

/// Maximum concurrent requests that publish Events. It is low, so that status writes have priority.
const MAX_CONCURRENT_REQUESTS: usize = 4;

/// Number of running reconciles above which Events wait: a burst of resources loads the API server enough.
const BUSY_RECONCILES: usize = 20;

/// The longest time for which an Event waits while many reconciles run.
const MAX_WAIT: Duration = Duration::from_secs(15);

/// Number of queued Events from which they no longer wait for running reconciles.
const MAX_WAITING: usize = 4_000;

/// Interval between checks whether many reconciles still run.
const BUSY_POLL: Duration = Duration::from_millis(50);

/// Number of Events after which kube's recorder is replaced. It searches all Events in its cache for each new one.
const EVENTS_PER_RECORDER: usize = 256;

/// Capacity of the queue. An Event beyond it is lost; the status holds the same information.
const QUEUE_CAPACITY: usize = 10_000;

/// Time at shutdown to publish the queued Events.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum bytes of a note. The API server rejects longer ones.
/// <https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/#Event>
const MAX_NOTE_BYTES: usize = 1024;

/// The publisher of Events.
pub(crate) struct EventPublisher {
    background: Mutex<Option<Background>>,
    work: Arc<()>,
}

/// Counts as a running reconcile until it is dropped.
pub(crate) type Work = Arc<()>;

/// The task that publishes, and the queue to it.
struct Background {
    /// The task ends when this sender is dropped and the queue is empty.
    queue: mpsc::Sender<QueuedEvent>,
    task: JoinHandle<()>,
}

/// An Event until the background task publishes it.
struct QueuedEvent {
    at: Instant,
    type_: EventType,
    reason: String,
    note: String,
    object: Object,
}

/// The object of an Event. It is smaller than an [`ObjectReference`]: this saves 3.0 MiB while 10,000 Events wait.
struct Object {
    namespace: Option<SmolStr>,
    name: SmolStr,
    uid: Option<Uuid>,
    reference: fn(&Object) -> ObjectReference,
}

impl Object {
    fn new<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        let metadata = object.meta();
        Self {
            namespace: metadata.namespace.as_ref().map(Into::into),
            name: metadata.name.as_deref().unwrap_or_default().into(),
            uid: metadata.uid.as_deref().and_then(|uid| Uuid::try_parse(uid).ok()),
            reference: Self::reference::<K>,
        }
    }

    fn reference<K: Resource<DynamicType = ()>>(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(K::kind(&()).into_owned()),
            namespace: self.namespace.as_ref().map(ToString::to_string),
            name: Some(self.name.to_string()),
            uid: self.uid.map(|uid| uid.to_string()),
            ..ObjectReference::default()
        }
    }
}

impl EventPublisher {
    /// Starts the background task.
    pub(super) fn start(client: Client, reporter: Reporter) -> Self {
        let (queue, events) = mpsc::channel(QUEUE_CAPACITY);
        let work = Arc::default();
        let task = tokio::spawn(run(client, reporter, events, Arc::downgrade(&work)));
        Self { background: Mutex::new(Some(Background { queue, task })), work }
    }

    /// Marks the start of a reconcile.
    pub(super) fn work(&self) -> Work {
        Arc::clone(&self.work)
    }

    /// Logs an Event now, and publishes it later. The note is truncated to the length that the API server accepts.
    pub(super) fn publish<K>(&self, object: &K, type_: EventType, reason: &str, note: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        let note = truncate(note, MAX_NOTE_BYTES);
        tracing::info!(reason, "{note}");
        let event = QueuedEvent {
            at: Instant::now(),
            type_,
            reason: reason.into(),
            note: note.into(),
            object: Object::new(object),
        };
        let is_queued = |background: &Background| background.queue.try_send(event).is_ok();
        if !self.background().as_ref().is_some_and(is_queued) {
            tracing::warn!(reason, "an Event was dropped: the queue of Events is full or closed");
        }
    }

    /// Publishes the queued Events, for a limited time. Later Events are dropped.
    pub(super) async fn finish(&self) {
        let Some(Background { queue, task }) = self.background().take() else { return };
        drop(queue);
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, task).await.is_err() {
            tracing::warn!("some Events were not published before the shutdown");
        }
    }

    fn background(&self) -> MutexGuard<'_, Option<Background>> {
        self.background.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(client: Client, reporter: Reporter, queue: mpsc::Receiver<QueuedEvent>, work: Weak<()>) {
    let events = stream::unfold((queue, work), |(mut queue, work)| async move {
        let QueuedEvent { at, type_, reason, note, object } = queue.recv().await?;
        let may_wait =
            |queue: &mpsc::Receiver<_>| queue.len() < MAX_WAITING && !queue.is_closed() && at.elapsed() < MAX_WAIT;
        while work.strong_count() > BUSY_RECONCILES && may_wait(&queue) {
            tokio::time::sleep(BUSY_POLL).await;
        }
        let event = Event { type_, reason, note: Some(note), action: "Reconcile".into(), secondary: None };
        Some(((event, (object.reference)(&object)), (queue, work)))
    });
    let mut events = std::pin::pin!(events.peekable());
    while events.as_mut().peek().await.is_some() {
        let recorder = Recorder::new(client.clone(), reporter.clone());
        events
            .by_ref()
            .take(EVENTS_PER_RECORDER)
            .for_each_concurrent(MAX_CONCURRENT_REQUESTS, async |(event, object)| {
                if let Err(error) = recorder.publish(&event, &object).await {
                    report(&error, &event.reason);
                }
            })
            .await;
    }
}

fn report(error: &kube::Error, reason: &str) {
    if is_namespace_deleted(error) {
        tracing::debug!(reason, "the API server refuses Events in a namespace that is being deleted");
    } else {
        tracing::warn!(%error, reason, "cannot publish an Event");
    }
}

/// Whether the API server refuses an Event because its namespace is being deleted, or is gone.
/// <https://pkg.go.dev/k8s.io/api/core/v1#NamespaceTerminatingCause>
fn is_namespace_deleted(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 404 || (status.code == 403 && causes.any(|cause| cause.reason == "NamespaceTerminating"))
}

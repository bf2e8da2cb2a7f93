//! Events. They are published beside the work, which waits for none of them; where there is much of it, they wait.

use std::fmt;
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

use super::watch::wire::cut;

/// How many are published at once: few, so that the work itself goes first.
const AT_ONCE: usize = 4;

/// With more work than so much in hand, they wait: the API server has other things to do when many resources come at
/// once.
const MUCH: usize = 20;

/// How long they wait at most.
const LONGEST: Duration = Duration::from_secs(15);

/// How many do so at most.
const MANY: usize = 4_000;

/// How often to see whether they still have to.
const PAUSE: Duration = Duration::from_millis(50);

/// After so many, kube's recorder starts anew: it goes through all that it remembers with each one.
const REMEMBERED: usize = 256;

/// How many may wait. Whatever is lost then, the status tells.
const WAITING: usize = 10_000;

/// For how long to go on publishing at the end.
const AT_THE_END: Duration = Duration::from_secs(2);

/// The API server takes notes of at most so many bytes.
/// <https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/#Event>
const NOTE_LENGTH: usize = 1024;

/// Who publishes Events.
pub struct Announcer {
    publisher: Mutex<Option<Publisher>>,
    work: Arc<()>,
}

/// Work in hand, for as long as it is held.
pub type Work = Arc<()>;

struct Publisher {
    /// Dropped when there are no more.
    waiting: mpsc::Sender<Box<Announcement>>,
    task: JoinHandle<()>,
}

/// An Event to be, as small as may be: thousands may wait.
struct Announcement {
    at: Instant,
    type_: EventType,
    reason: SmolStr,
    note: Box<str>,
    object: Object,
}

/// Whom an Event is about: an `ObjectReference` takes three times as much.
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

impl Announcer {
    /// Publishes from now on.
    #[must_use]
    pub fn start(client: Client, reporter: Reporter) -> Self {
        let (waiting, announcements) = mpsc::channel(WAITING);
        let work = Arc::default();
        let task = tokio::spawn(publish(client, reporter, announcements, Arc::downgrade(&work)));
        Self { publisher: Mutex::new(Some(Publisher { waiting, task })), work }
    }

    /// Some work begins.
    #[must_use]
    pub fn work(&self) -> Work {
        Arc::clone(&self.work)
    }

    /// Publishes an Event soon, and logs it now.
    pub fn announce<K>(&self, object: &K, type_: EventType, reason: &str, note: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        let note = cut(note, NOTE_LENGTH);
        tracing::info!(reason, "{note}");
        let announcement = Announcement {
            at: Instant::now(),
            type_,
            reason: reason.into(),
            note: note.into(),
            object: Object::new(object),
        };
        let is_taken = |publisher: &Publisher| publisher.waiting.try_send(Box::new(announcement)).is_ok();
        if !self.publisher().as_ref().is_some_and(is_taken) {
            tracing::warn!(reason, "too many Events wait to be published; this one is lost");
        }
    }

    /// Publishes what still waits, if that is soon done.
    pub async fn finish(&self) {
        let Some(Publisher { waiting, task }) = self.publisher().take() else { return };
        drop(waiting);
        if tokio::time::timeout(AT_THE_END, task).await.is_err() {
            tracing::warn!("some Events could not be published in time");
        }
    }

    fn publisher(&self) -> MutexGuard<'_, Option<Publisher>> {
        self.publisher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Announcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcer").finish_non_exhaustive()
    }
}

async fn publish(client: Client, reporter: Reporter, announcements: mpsc::Receiver<Box<Announcement>>, work: Weak<()>) {
    let events = stream::unfold((announcements, work), |(mut announcements, work)| async move {
        let Announcement { at, type_, reason, note, object } = *announcements.recv().await?;
        let may_wait =
            |waiting: &mpsc::Receiver<_>| waiting.len() < MANY && !waiting.is_closed() && at.elapsed() < LONGEST;
        while work.strong_count() > MUCH && may_wait(&announcements) {
            tokio::time::sleep(PAUSE).await;
        }
        let (reason, note) = (reason.into(), Some(note.into()));
        let event = Event { type_, reason, note, action: "Reconcile".into(), secondary: None };
        Some(((event, (object.reference)(&object)), (announcements, work)))
    });
    let mut events = std::pin::pin!(events.peekable());
    while events.as_mut().peek().await.is_some() {
        let recorder = Recorder::new(client.clone(), reporter.clone());
        events
            .by_ref()
            .take(REMEMBERED)
            .for_each_concurrent(AT_ONCE, async |(event, object)| {
                if let Err(error) = recorder.publish(&event, &object).await {
                    tracing::warn!(%error, reason = event.reason, "cannot publish an Event");
                }
            })
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_cut_by_bytes_as_the_api_server_counts() {
        for (letter, length) in [("a", 1024), ("é", 1024), ("€", 1023), ("🕸", 1024)] {
            assert_eq!(cut(&letter.repeat(2_000), NOTE_LENGTH).len(), length, "{letter}");
        }
    }
}

//! Events. They are published beside the work, which waits for none of them.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How many are published at once: few, so that the work itself goes first.
const AT_ONCE: usize = 4;

/// The pause between two, while few wait: the API server has other things to do when many resources come at once.
const PAUSE: Duration = Duration::from_millis(10);

/// From so many on, they are published as fast as they come.
const MANY: usize = 2_000;

/// After so many, kube's recorder starts anew: it goes through all that it remembers with each one.
const REMEMBERED: usize = 256;

/// How many may wait. Whatever is lost then, the status tells.
const WAITING: usize = 10_000;

/// For how long to go on publishing at the end.
const AT_THE_END: Duration = Duration::from_secs(2);

/// The API server takes notes of at most 1 KiB; ours are ASCII but for what AWS says.
const NOTE_LENGTH: usize = 512;

/// Who publishes Events.
pub struct Announcer(Mutex<Option<Publisher>>);

struct Publisher {
    /// Dropped when there are no more.
    waiting: mpsc::Sender<Announcement>,
    task: JoinHandle<()>,
}

type Announcement = Box<(Event, ObjectReference)>;

impl Announcer {
    /// Publishes from now on.
    #[must_use]
    pub fn start(client: Client, reporter: Reporter) -> Self {
        let (waiting, announcements) = mpsc::channel(WAITING);
        let task = tokio::spawn(publish(client, reporter, announcements));
        Self(Mutex::new(Some(Publisher { waiting, task })))
    }

    /// Publishes an Event soon, and logs it now.
    pub fn announce(&self, object: &ObjectReference, type_: EventType, reason: &str, note: &str) {
        tracing::info!(reason, "{note}");
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note.chars().take(NOTE_LENGTH).collect()),
            action: "Reconcile".into(),
            secondary: None,
        };
        let is_taken = |publisher: &Publisher| publisher.waiting.try_send(Box::new((event, object.clone()))).is_ok();
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Announcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcer").finish_non_exhaustive()
    }
}

async fn publish(client: Client, reporter: Reporter, announcements: mpsc::Receiver<Announcement>) {
    let events = stream::unfold(announcements, |mut announcements| async move {
        let event = announcements.recv().await?;
        if announcements.len() < MANY && !announcements.is_closed() {
            tokio::time::sleep(PAUSE).await;
        }
        Some((*event, announcements))
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

//! Events. They are published beside the work, which waits for none of them.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
pub struct Announcer {
    waiting: mpsc::Sender<Announcement>,
    is_ending: Arc<AtomicBool>,
    publisher: Mutex<Option<JoinHandle<()>>>,
}

enum Announcement {
    Event(Box<(Event, ObjectReference)>),
    /// There are no more.
    End,
}

impl Announcer {
    /// Publishes from now on.
    #[must_use]
    pub fn start(client: Client, reporter: Reporter) -> Self {
        let (waiting, announcements) = mpsc::channel(WAITING);
        let is_ending = Arc::<AtomicBool>::default();
        let publisher = tokio::spawn(publish(client, reporter, announcements, Arc::clone(&is_ending)));
        Self { waiting, is_ending, publisher: Mutex::new(Some(publisher)) }
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
        if self.waiting.try_send(Announcement::Event(Box::new((event, object.clone())))).is_err() {
            tracing::warn!(reason, "too many Events wait to be published; this one is lost");
        }
    }

    /// Publishes what still waits, if that is soon done.
    pub async fn finish(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        let publisher = self.publisher.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(publisher) = publisher
            && self.waiting.try_send(Announcement::End).is_ok()
            && tokio::time::timeout(AT_THE_END, publisher).await.is_err()
        {
            tracing::warn!("some Events could not be published in time");
        }
    }
}

impl fmt::Debug for Announcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcer").finish_non_exhaustive()
    }
}

async fn publish(
    client: Client,
    reporter: Reporter,
    announcements: mpsc::Receiver<Announcement>,
    is_ending: Arc<AtomicBool>,
) {
    let events = stream::unfold((announcements, is_ending), |(mut announcements, is_ending)| async move {
        let Announcement::Event(event) = announcements.recv().await? else { return None };
        if announcements.len() < MANY && !is_ending.load(Ordering::Relaxed) {
            tokio::time::sleep(PAUSE).await;
        }
        Some((*event, (announcements, is_ending)))
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

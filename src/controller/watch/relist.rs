//! The restart of a watch after an error, and the regular complete listing.

use std::fmt::Display;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use kube::runtime::watcher;
use kube::runtime::watcher::Event;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Objects per page of a listing. Each may have 1.5 MiB of JSON, and a page is in memory up to three times while it is
/// decoded.
const PAGE: u32 = 10;

/// The longest pause before a watch starts again after an error.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}

/// The configuration of every watch.
pub(super) fn config() -> watcher::Config {
    watcher::Config { page_size: Some(PAGE), ..watcher::Config::default() }
}

/// Watches until it is dropped. After an error, and when the last complete listing is older than `relist_after`, it lists
/// everything again. To resume from the last version would miss deletions by an API server that was restored from a backup.
/// A listing waits for a permit of `listings`.
pub(super) fn events<T, S>(
    start: impl Fn() -> S + Clone + Send,
    relist_after: Option<Duration>,
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
                        // `Init` only reports the attempt.
                        if !matches!(event, Event::Init) {
                            watch.pause = pauses();
                        }
                        if matches!(event, Event::InitDone) {
                            watch.permit = None;
                            watch.due = relist_after.map(|interval| Instant::now() + interval);
                        }
                        return Some((event, watch));
                    }
                    Ok(None) => watch.interrupted(&"the stream has ended").await,
                    Ok(Some(Err(error))) => watch.interrupted(&error).await,
                    Err(_) => watch = Watch { stream: None, due: None, ..watch },
                }
            }
        }
    })
}

/// The state of a watch.
struct Watch<T> {
    stream: Option<BoxStream<'static, Result<Event<T>, watcher::Error>>>,
    /// Held during a listing.
    permit: Option<SemaphorePermit<'static>>,
    /// Time of the next complete listing.
    due: Option<Instant>,
    pause: ExponentialBackoff,
}

impl<T> Watch<T> {
    async fn interrupted(&mut self, error: &impl Display) {
        tracing::warn!(%error, "the watch was interrupted");
        (self.stream, self.permit, self.due) = (None, None, None);
        tokio::time::sleep(self.pause.next().unwrap_or(LONGEST_PAUSE)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use k8s_openapi::api::core::v1::Namespace;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use kube::ResourceExt;

    use super::super::changes::as_changes;
    use super::*;
    use crate::controller::freshness::Freshness;

    fn namespace(name: &str, label: &str) -> Namespace {
        let labels = [("label".to_owned(), label.to_owned())].into();
        Namespace {
            metadata: ObjectMeta { name: Some(name.into()), labels: Some(labels), ..ObjectMeta::default() },
            ..Namespace::default()
        }
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

    #[tokio::test]
    async fn a_cache_that_cannot_be_listed_again_ages() {
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
        let mut seen = Vec::new();
        while let Ok(Some(event)) = tokio::time::timeout(interval * 5, changes.next()).await {
            seen.push(text(&event));
            if seen.len() == 3 {
                assert_eq!(freshness.age(), Duration::MAX, "the store does not show it yet");
            }
        }
        assert_eq!(seen, ["begin", "list a", "done", "apply a", "apply a"]);
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

//! The restart of a watch after an error, and the regular complete listing.

use std::fmt::Display;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use kube::runtime::watcher::{self, Event};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Objects per page of a listing. Each may have 1.5 MiB of JSON, and a page is in memory up to three times while it is
/// decoded.
const PAGE_SIZE: u32 = 10;

/// The longest pause before a watch starts again after an error.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// The configuration of every watch.
pub(super) fn config() -> watcher::Config {
    watcher::Config { page_size: Some(PAGE_SIZE), ..watcher::Config::default() }
}

/// Watches until it is dropped. After an error, and when the last complete listing is older than `relist_after`, it
/// lists everything again. It does not resume from the last resource version: an API server that was restored from a
/// backup would never report the objects that it lost. A listing waits for a permit of `listings`.
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
        tokio::time::sleep(self.pause.next().unwrap_or(MAX_PAUSE)).await;
    }
}

/// The pauses after errors in a row.
fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(MAX_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use k8s_openapi::api::core::v1::Namespace;

    use super::*;
    use crate::controller::cache_age::CacheAge;
    use crate::controller::watch::changes::as_changes;
    use crate::controller::watch::testing::{namespace, text};

    #[tokio::test]
    async fn freshness_ages_while_no_listing_completes() {
        // A tenth of a second instead of five minutes. The third listing never ends.
        let interval = Duration::from_millis(100);
        let (listings, cache_age) = (Arc::new(AtomicUsize::new(0)), CacheAge::default());
        assert_eq!(cache_age.age(), Duration::MAX, "nothing has been listed");
        let count = Arc::clone(&listings);
        let watch = move || {
            let number = count.fetch_add(1, Ordering::Relaxed);
            let events = [Event::Init, Event::InitApply(namespace("a", "1")), Event::InitDone];
            stream::iter(events.into_iter().take(if number < 2 { 3 } else { 2 }).map(Ok)).chain(stream::pending())
        };
        let fresh = cache_age.clone();
        let mut changes = Box::pin(as_changes(events(watch, Some(interval), None), Vec::new, move || fresh.listed()));
        let mut seen = Vec::new();
        while let Ok(Some(event)) = tokio::time::timeout(interval * 5, changes.next()).await {
            seen.push(text(&event));
            if seen.len() == 3 {
                assert_eq!(cache_age.age(), Duration::MAX, "the store does not show it yet");
            }
        }
        assert_eq!(seen, ["begin", "list a", "done", "apply a", "apply a"]);
        assert_eq!(listings.load(Ordering::Relaxed), 3);
        let age = cache_age.age();
        assert!((interval * 5..Duration::from_secs(60)).contains(&age), "{age:?}");
    }

    #[tokio::test]
    async fn a_listing_waits_for_a_permit() {
        static ONE: Semaphore = Semaphore::const_new(1);
        // A listing that never ends, and one that ends.
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
        assert!(tokio::time::timeout(pause, quick.next()).await.is_err(), "the second listing did not wait");
        drop(slow);
        assert!(matches!((quick.next().await, quick.next().await), (Some(Event::Init), Some(Event::InitDone))));
        let mut third = start(&[Event::Init]);
        assert!(matches!(third.next().await, Some(Event::Init)), "a watch whose listing is complete holds a permit");
    }
}

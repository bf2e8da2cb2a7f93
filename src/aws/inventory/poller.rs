//! The task that polls one region. It lists everything at an interval. Between complete listings it polls only what
//! pending queries and transient items need, if that takes fewer calls. If it takes more, partial polls serve the newest
//! queries meanwhile, so that a single resource does not wait for the listing that a crowd needs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::FutureExt;
use futures::future::{BoxFuture, Fuse, FusedFuture};
use smol_str::SmolStr;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::filters::{Filters, QueryTimes};
use super::interval::{NextPoll, PollInterval};
use super::view::{Listing, Page, PageTokens, View, all_pages};
use crate::aws::ec2::Ec2;
use crate::aws::error::AwsError;

/// Maximum calls of a partial poll while a complete listing needs fewer calls than everything that is pending. A newly
/// created resource asks by IDs of connections and of VPCs, which are two filters.
const NEWEST_CALLS: usize = 2;

/// Receives the key of each changed item: see [`View::changes_since`]. It must not block.
pub type ChangeListener = Arc<dyn Fn(String) + Send + Sync>;

#[derive(Clone)]
pub struct PollSettings {
    /// While items of this cluster are transient, polls are more frequent.
    pub cluster: SmolStr,
    /// Time between complete listings while nothing is transient.
    pub interval: Duration,
    pub on_change: ChangeListener,
}

impl fmt::Debug for PollSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, interval, on_change: _ } = self;
        f.debug_struct("PollSettings").field("cluster", cluster).field("interval", interval).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub struct Query<V> {
    /// `None` requires a complete listing.
    pub filters: Option<Filters>,
    /// The start of the oldest poll that may answer.
    pub since: Instant,
    /// `None` if nobody waits for the answer.
    pub reply: Option<oneshot::Sender<Listing<V>>>,
}

pub struct Poller<V: View> {
    ec2: Arc<Ec2>,
    region: String,
    settings: PollSettings,
    published: watch::Sender<Option<Listing<V>>>,
    complete: Schedule,
    partial: Schedule,
    failures: ExponentialBackoff,
    known: Arc<V>,
    /// Start of the last successful complete listing.
    last_complete: Option<Instant>,
    /// The partial polls since then.
    query_times: QueryTimes,
    pending: Vec<Query<V>>,
    /// A pending query requires a complete listing.
    needs_complete: bool,
    /// The filters of the other pending queries and of the transient items.
    filters: Filters,
    has_transient: bool,
    /// When a complete listing starts even if nothing is pending.
    complete_due: Instant,
    ongoing: Option<OngoingListing<V>>,
}

struct Schedule {
    interval: PollInterval,
    next: NextPoll,
}

/// A complete listing of which some pages are missing.
struct OngoingListing<V: View> {
    began: Instant,
    /// When the request for the current page was sent.
    page_began: Instant,
    items: Vec<Arc<V::Item>>,
    tokens: PageTokens,
    /// The partial polls that may be newer than the current page.
    overlapping: Vec<PartialResult<V>>,
}

struct PartialResult<V: View> {
    began: Instant,
    filters: Filters,
    items: Vec<Arc<V::Item>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Poll {
    Complete,
    Partial,
}

type InFlight<T> = Fuse<BoxFuture<'static, T>>;
type PageOutcome<V> = Result<Page<<V as View>::Item>, AwsError>;
type PartialOutcome<V> = (Instant, Filters, Result<Vec<<V as View>::Item>, AwsError>);

impl<V: View> Poller<V> {
    pub fn new(
        ec2: Arc<Ec2>,
        region: String,
        settings: PollSettings,
        published: watch::Sender<Option<Listing<V>>>,
    ) -> Self {
        let now = Instant::now();
        let schedule = || Schedule {
            interval: PollInterval::new(settings.interval, now),
            next: NextPoll { earliest: now, latest: now },
        };
        Self {
            ec2,
            region,
            published,
            complete: schedule(),
            partial: schedule(),
            failures: backoff(settings.interval),
            settings,
            known: Arc::default(),
            last_complete: None,
            query_times: QueryTimes::default(),
            pending: Vec::new(),
            needs_complete: false,
            filters: Filters::default(),
            has_transient: false,
            complete_due: now,
            ongoing: None,
        }
    }

    /// Runs until all query senders are dropped.
    pub async fn run(mut self, mut queries: mpsc::UnboundedReceiver<Query<V>>) {
        let (mut page, mut partial): (InFlight<PageOutcome<V>>, InFlight<PartialOutcome<V>>) =
            (Fuse::terminated(), Fuse::terminated());
        loop {
            let next = self.next_poll().filter(|_| partial.is_terminated());
            let until = next.map_or_else(Instant::now, |(time, _)| time);
            tokio::select! {
                query = queries.recv() => match query {
                    Some(query) => self.handle_query(query),
                    None => return,
                },
                outcome = &mut page => {
                    if let Some(token) = self.handle_page(outcome) {
                        page = self.fetch_page(Some(token));
                    }
                }
                (began, filters, outcome) = &mut partial => self.handle_partial(began, filters, outcome),
                () = tokio::time::sleep_until(until), if next.is_some() => match next {
                    Some((_, Poll::Partial)) => partial = self.start_partial(),
                    _ => page = self.start_complete(),
                }
            }
        }
    }

    /// The next poll and its time. `None` if there is none before the end of the ongoing listing.
    fn next_poll(&self) -> Option<(Instant, Poll)> {
        let needed_at = |next: NextPoll| match (self.pending.is_empty(), self.has_transient) {
            (false, _) => Some(next.earliest),
            (true, true) => Some(next.latest),
            (true, false) => None,
        };
        // After a failure the known items may be outdated.
        let is_known = self.published.borrow().as_ref().is_some_and(|listing| listing.outcome.is_ok());
        let is_sufficient = self.is_partial_sufficient();
        let is_useful = is_known && (is_sufficient || self.newest().next().is_some());
        let partial = needed_at(self.partial.next).filter(|_| is_useful);
        let complete_at = match needed_at(self.complete.next).filter(|_| !(is_known && is_sufficient)) {
            Some(time) => time.min(self.complete_due),
            None => self.complete_due,
        };
        match partial {
            Some(time) if self.ongoing.is_some() || time < complete_at => Some((time, Poll::Partial)),
            _ if self.ongoing.is_some() => None,
            _ => Some((complete_at, Poll::Complete)),
        }
    }

    /// Whether a partial poll can answer everything that is pending or transient, with fewer calls than a complete
    /// listing.
    fn is_partial_sufficient(&self) -> bool {
        !self.needs_complete && self.filters.call_count() < page_count::<V>(&self.known)
    }

    /// The filters of the pending queries that a partial poll can answer with fewer calls than a complete listing takes,
    /// from the newest to the oldest.
    fn newest(&self) -> impl Iterator<Item = &Filters> {
        let queries = if page_count::<V>(&self.known) > NEWEST_CALLS { self.pending.as_slice() } else { &[] };
        let filters = queries.iter().rev().filter_map(|query| query.filters.as_ref());
        filters.filter(|filters| filters.call_count() <= NEWEST_CALLS)
    }

    /// The filters of the next partial poll.
    fn partial_filters(&self) -> Filters {
        if self.is_partial_sufficient() {
            return self.filters.clone();
        }
        let mut newest = Filters::default();
        for filters in self.newest() {
            if !newest.extend_within(filters, NEWEST_CALLS) {
                break;
            }
        }
        newest
    }

    fn start_complete(&mut self) -> InFlight<PageOutcome<V>> {
        let now = Instant::now();
        self.complete.interval.begins(now);
        let items = Vec::with_capacity(self.known.items().len());
        let (tokens, overlapping) = Default::default();
        self.ongoing = Some(OngoingListing { began: now, page_began: now, items, tokens, overlapping });
        self.fetch_page(None)
    }

    fn fetch_page(&self, token: Option<String>) -> InFlight<PageOutcome<V>> {
        let (ec2, region) = (Arc::clone(&self.ec2), self.region.clone());
        async move { V::page(&ec2, &region, None, token).await }.boxed().fuse()
    }

    fn start_partial(&mut self) -> InFlight<PartialOutcome<V>> {
        let began = Instant::now();
        self.partial.interval.begins(began);
        let (ec2, region, filters) = (Arc::clone(&self.ec2), self.region.clone(), self.partial_filters());
        async move {
            let found = poll_filters::<V>(&ec2, &region, &filters).await;
            (began, filters, found)
        }
        .boxed()
        .fuse()
    }

    /// Answers the query if the known items are new enough, else makes it pending. IDs can come from statuses and queue
    /// messages, which others can write: values that cannot be IDs are not sent to EC2; a complete listing answers
    /// them.
    fn handle_query(&mut self, mut query: Query<V>) {
        query.filters = query.filters.filter(Filters::are_valid_ids);
        let Some(listing) = self.answer_to(&query) else {
            match &query.filters {
                Some(filters) => self.filters.extend(filters),
                None => self.needs_complete = true,
            }
            self.pending.push(query);
            return;
        };
        if let Some(sender) = query.reply {
            // The receiver is gone if the reconcile was cancelled.
            _ = sender.send(listing);
        }
    }

    fn answer_to(&self, query: &Query<V>) -> Option<Listing<V>> {
        let published = self.published.borrow();
        let listing = published.as_ref()?;
        if listing.outcome.is_err() {
            return (Instant::now() < listing.next_poll).then(|| listing.clone());
        }
        let complete = self.last_complete.filter(|began| *began >= query.since);
        let partial = || self.query_times.oldest(query.filters.as_ref()?).filter(|began| *began >= query.since);
        let as_of = complete.or_else(partial)?;
        Some(Listing { as_of, ..listing.clone() })
    }

    /// Adds a page to the ongoing listing. Returns the token of the next page, or `None` if the listing has ended.
    fn handle_page(&mut self, outcome: PageOutcome<V>) -> Option<String> {
        let mut listing = self.ongoing.take()?;
        let next = outcome.and_then(|page| {
            listing.add(page.items.into_iter().map(|item| self.known.share(item, &self.settings.cluster)));
            listing.tokens.check::<V>(page.next)
        });
        match next {
            Ok(None) => {}
            Ok(next) => {
                listing.page_began = Instant::now();
                self.ongoing = Some(listing);
                return next;
            }
            Err(error) => {
                self.handle_failure(listing.began, error);
                return None;
            }
        }
        let OngoingListing { began, items, .. } = listing;
        self.last_complete = Some(began);
        self.query_times.forget_before(began);
        self.complete_due = began + self.settings.interval;
        self.publish(began, None, items);
        None
    }

    fn handle_partial(&mut self, began: Instant, filters: Filters, outcome: Result<Vec<V::Item>, AwsError>) {
        let found = match outcome {
            Ok(found) => found.into_iter().map(|item| self.known.share(item, &self.settings.cluster)).collect(),
            Err(error) => return self.handle_failure(began, error),
        };
        let result = PartialResult { began, filters, items: found };
        let mut items: Vec<_> = self.known.items().cloned().collect();
        result.apply(&mut items);
        self.query_times.record(&result.filters, began);
        let calls = result.filters.call_count();
        if let Some(listing) = &mut self.ongoing {
            listing.merge(result);
        }
        self.publish(began, Some(calls), items);
    }

    /// Publishes the items after a poll. `partial` is the number of its calls, unless it was a complete listing.
    fn publish(&mut self, began: Instant, partial: Option<usize>, items: Vec<Arc<V::Item>>) {
        let view: V = items.into_iter().collect();
        let changes = view.changes_since(&self.known);
        let transient = view.transient(&self.settings.cluster);
        self.failures = backoff(self.settings.interval);
        self.has_transient = !transient.is_empty();
        self.known = Arc::new(view);
        let after = |schedule: &mut Schedule, calls: usize| {
            let calls = u32::try_from(calls).unwrap_or(u32::MAX);
            schedule.interval.after_poll(began, calls, !changes.is_empty(), self.has_transient)
        };
        let complete = after(&mut self.complete, page_count::<V>(&self.known));
        self.partial.next = after(&mut self.partial, partial.unwrap_or(1));
        if partial.is_none() {
            self.complete.next = complete;
        } else {
            // Partial polls do not delay a complete listing. One that shows a change can bring it forward.
            self.complete.next.latest = self.complete.next.latest.min(complete.latest);
        }
        self.set_listing(began, Ok(Arc::clone(&self.known)), self.complete.next.earliest);
        for key in changes {
            (self.settings.on_change)(key);
        }
        self.filters = transient;
        self.answer_pending();
    }

    /// Answers all queries with the error until the next complete listing.
    fn handle_failure(&mut self, began: Instant, error: AwsError) {
        let delay = self.failures.next().unwrap_or(self.settings.interval);
        tracing::warn!(region = self.region, %error, retry_in = ?delay, "cannot list {}", V::NAME);
        let retry_at = Instant::now() + delay;
        self.complete.next = NextPoll { earliest: retry_at, latest: retry_at };
        self.complete_due = retry_at;
        self.set_listing(began, Err(error), retry_at);
        self.answer_pending();
    }

    fn answer_pending(&mut self) {
        self.needs_complete = false;
        for query in std::mem::take(&mut self.pending) {
            self.handle_query(query);
        }
    }

    fn set_listing(&self, last_polled: Instant, outcome: Result<Arc<V>, AwsError>, next_poll: Instant) {
        let last_complete = self.last_complete;
        let as_of = last_complete.filter(|_| outcome.is_ok()).unwrap_or(last_polled);
        self.published.send_replace(Some(Listing { as_of, last_polled, outcome, last_complete, next_poll }));
    }
}

impl<V: View> OngoingListing<V> {
    fn add(&mut self, page: impl Iterator<Item = Arc<V::Item>>) {
        self.items.extend(page);
        for result in self.overlapping.drain(..) {
            result.apply(&mut self.items);
        }
    }

    /// Merges a partial poll, which is newer than all pages received so far, and maybe newer than the current one.
    fn merge(&mut self, result: PartialResult<V>) {
        result.apply(&mut self.items);
        if result.began >= self.page_began {
            self.overlapping.push(result);
        }
    }
}

impl<V: View> PartialResult<V> {
    /// Replaces all items that match the filters.
    fn apply(&self, items: &mut Vec<Arc<V::Item>>) {
        items.retain(|item| !self.filters.matches(|filter| V::filter_value(item, filter)));
        items.extend(self.items.iter().cloned());
    }
}

/// The number of pages of a complete listing.
fn page_count<V: View>(known: &V) -> usize {
    known.items().len().div_ceil(V::PAGE_SIZE).max(1)
}

async fn poll_filters<V: View>(ec2: &Ec2, region: &str, filters: &Filters) -> Result<Vec<V::Item>, AwsError> {
    let mut found = Vec::new();
    for filter in filters.ec2_filters() {
        found.extend(all_pages::<V>(ec2, region, Some(filter)).await?);
    }
    Ok(found)
}

fn backoff(interval: Duration) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(interval.max(Duration::from_secs(1)))
        .with_jitter()
        .without_max_times()
        .build()
}

//! The task that polls one region: all of it, page by page; and, where that takes fewer calls, in between just what
//! somebody waits for and what is in motion.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::FutureExt;
use futures::future::{BoxFuture, Fuse, FusedFuture};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::inventory::{Listing, Page, Polling, Tokens, View, all_pages};
use super::pace::{Next, Pace};
use super::questions::Answered;
use super::{AwsError, Ec2, Questions};

/// What somebody wants to know.
#[derive(Debug)]
pub(super) struct Ask<V> {
    /// By which filters; none where only a complete listing will do.
    pub questions: Option<Questions>,
    /// The answer must be from after this.
    pub since: Instant,
    /// Who wants to know, where anybody waits for it.
    pub answer: Option<oneshot::Sender<Listing<V>>>,
}

/// What is known of a region, and what is to be asked next.
pub(super) struct Poller<V: View> {
    ec2: Arc<Ec2>,
    region: String,
    polling: Polling,
    published: watch::Sender<Option<Listing<V>>>,
    /// The pace of complete listings, and when the next one may begin, and must because of what is in motion.
    whole: (Pace, Next),
    /// The same of looks at what is wanted alone.
    part: (Pace, Next),
    failures: ExponentialBackoff,
    known: Arc<V>,
    /// When the newest complete listing began.
    complete: Option<Instant>,
    /// What was asked for alone since.
    answered: Answered,
    /// Who waits.
    asks: Vec<Ask<V>>,
    /// One of those wants to know everything.
    is_all_wanted: bool,
    /// What the others ask for, and what is in motion.
    wanted: Questions,
    is_in_motion: bool,
    /// When everything is listed again.
    complete_due: Instant,
    /// The complete listing under way.
    listing: Option<Unfinished<V>>,
}

/// A complete listing under way.
struct Unfinished<V: View> {
    began: Instant,
    /// When the page under way was asked for.
    page_began: Instant,
    seen: Vec<Arc<V::Item>>,
    tokens: Tokens,
    /// What was asked for alone meanwhile, and may be newer than the page under way.
    overlapping: Vec<Answer<V>>,
}

/// The answer to questions.
struct Answer<V: View> {
    began: Instant,
    questions: Questions,
    found: Vec<Arc<V::Item>>,
}

/// What to ask EC2 for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Everything,
    Wanted,
}

type Under<T> = Fuse<BoxFuture<'static, T>>;
type PageOutcome<V> = Result<Page<<V as View>::Item>, AwsError>;
type LookOutcome<V> = (Instant, Questions, Result<Vec<<V as View>::Item>, AwsError>);

impl<V: View> Poller<V> {
    /// Nothing is known yet.
    pub fn new(ec2: Arc<Ec2>, region: String, polling: Polling, published: watch::Sender<Option<Listing<V>>>) -> Self {
        let now = Instant::now();
        let pace = || (Pace::new(polling.interval, now), Next { earliest: now, latest: now });
        Self {
            ec2,
            region,
            published,
            whole: pace(),
            part: pace(),
            failures: backoff(polling.interval),
            polling,
            known: Arc::default(),
            complete: None,
            answered: Answered::default(),
            asks: Vec::new(),
            is_all_wanted: false,
            wanted: Questions::default(),
            is_in_motion: false,
            complete_due: now,
            listing: None,
        }
    }

    /// Goes on for as long as anybody may ask.
    pub async fn run(mut self, mut asks: mpsc::UnboundedReceiver<Ask<V>>) {
        let (mut page, mut look): (Under<PageOutcome<V>>, Under<LookOutcome<V>>) =
            (Fuse::terminated(), Fuse::terminated());
        loop {
            let next = self.next_look().filter(|_| look.is_terminated());
            let until = next.map_or_else(Instant::now, |(time, _)| time);
            tokio::select! {
                ask = asks.recv() => match ask {
                    Some(ask) => self.hear(ask),
                    None => return,
                },
                outcome = &mut page => {
                    if let Some(token) = self.paged(outcome) {
                        page = self.page(Some(token));
                    }
                }
                (began, questions, outcome) = &mut look => self.looked(began, questions, outcome),
                () = tokio::time::sleep_until(until), if next.is_some() => {
                    let now = Instant::now();
                    match next {
                        Some((_, Look::Wanted)) => {
                            self.part.0.begins(now);
                            look = self.look(now);
                        }
                        _ => {
                            self.whole.0.begins(now);
                            let seen = Vec::with_capacity(self.known.items().len());
                            let (tokens, overlapping) = Default::default();
                            self.listing = Some(Unfinished { began: now, page_began: now, seen, tokens, overlapping });
                            page = self.page(None);
                        }
                    }
                }
            }
        }
    }

    /// What to ask for next, and when; nothing while a listing is under way that will tell all that is wanted.
    fn next_look(&self) -> Option<(Instant, Look)> {
        let wanted_at = |next: Next| match (self.asks.is_empty(), self.is_in_motion) {
            (false, _) => Some(next.earliest),
            (true, true) => Some(next.latest),
            (true, false) => None,
        };
        // After a failure what is known may be of long ago.
        let is_known = self.published.borrow().as_ref().is_some_and(|listing| listing.outcome.is_ok());
        let needs_all = self.is_all_wanted || !is_known;
        let in_part = wanted_at(self.part.1).filter(|_| !needs_all && self.wanted.calls() < pages::<V>(&self.known));
        match in_part {
            Some(time) if self.listing.is_some() || time < self.complete_due => Some((time, Look::Wanted)),
            _ if self.listing.is_some() => None,
            _ => {
                let wanted_at = wanted_at(self.whole.1).unwrap_or(self.complete_due);
                Some((wanted_at.min(self.complete_due), Look::Everything))
            }
        }
    }

    /// Answers at once what is known. IDs come from statuses and messages, which others can write: for one that cannot be
    /// EC2's nobody asks EC2, and a complete listing answers.
    fn hear(&mut self, mut ask: Ask<V>) {
        ask.questions = ask.questions.filter(Questions::are_ids);
        let Some(listing) = self.answer_to(&ask) else {
            match &ask.questions {
                Some(questions) => self.wanted.extend(questions),
                None => self.is_all_wanted = true,
            }
            self.asks.push(ask);
            return;
        };
        if let Some(sender) = ask.answer {
            // Who asked may have gone.
            _ = sender.send(listing);
        }
    }

    fn answer_to(&self, ask: &Ask<V>) -> Option<Listing<V>> {
        let published = self.published.borrow();
        let listing = published.as_ref()?;
        if listing.outcome.is_err() {
            return (Instant::now() < listing.next).then(|| listing.clone());
        }
        let complete = self.complete.filter(|began| *began >= ask.since);
        let in_part = || self.answered.oldest(ask.questions.as_ref()?).filter(|began| *began >= ask.since);
        let began = complete.or_else(in_part)?;
        Some(Listing { began, ..listing.clone() })
    }

    fn page(&self, token: Option<String>) -> Under<PageOutcome<V>> {
        let (ec2, region) = (Arc::clone(&self.ec2), self.region.clone());
        async move { V::page(&ec2, &region, None, token).await }.boxed().fuse()
    }

    fn look(&self, began: Instant) -> Under<LookOutcome<V>> {
        let (ec2, region, questions) = (Arc::clone(&self.ec2), self.region.clone(), self.wanted.clone());
        async move {
            let found = look::<V>(&ec2, &region, &questions).await;
            (began, questions, found)
        }
        .boxed()
        .fuse()
    }

    /// A page of the listing under way has come; the token of the next one, where there is one.
    fn paged(&mut self, outcome: PageOutcome<V>) -> Option<String> {
        let mut listing = self.listing.take()?;
        let next = outcome.and_then(|page| {
            listing.add(page.items.into_iter().map(|item| self.known.share(item, &self.polling.cluster)));
            listing.tokens.next::<V>(page.next)
        });
        match next {
            Ok(None) => {}
            Ok(next) => {
                listing.page_began = Instant::now();
                self.listing = Some(listing);
                return next;
            }
            Err(error) => {
                self.refuse(listing.began, error);
                return None;
            }
        }
        let Unfinished { began, seen, .. } = listing;
        self.complete = Some(began);
        self.answered.forget_before(began);
        self.complete_due = began + self.polling.interval;
        self.publish(began, seen);
        None
    }

    /// What was wanted is answered.
    fn looked(&mut self, began: Instant, questions: Questions, outcome: Result<Vec<V::Item>, AwsError>) {
        let found = match outcome {
            Ok(found) => found.into_iter().map(|item| self.known.share(item, &self.polling.cluster)).collect(),
            Err(error) => return self.refuse(began, error),
        };
        let answer = Answer { began, questions, found };
        let mut items: Vec<_> = self.known.items().cloned().collect();
        answer.apply(&mut items);
        self.answered.note(&answer.questions, began);
        if let Some(listing) = &mut self.listing {
            listing.hear(answer);
        }
        self.publish(began, items);
    }

    fn publish(&mut self, looked: Instant, items: Vec<Arc<V::Item>>) {
        let view: V = items.into_iter().collect();
        let changes = view.changes_since(&self.known);
        let in_motion = view.in_motion(&self.polling.cluster);
        self.failures = backoff(self.polling.interval);
        self.is_in_motion = !in_motion.is_empty();
        self.known = Arc::new(view);
        for (kind, calls) in [(&mut self.whole, pages::<V>(&self.known)), (&mut self.part, self.wanted.calls())] {
            let calls = u32::try_from(calls).unwrap_or(u32::MAX);
            kind.1 = kind.0.listed(looked, calls, !changes.is_empty(), self.is_in_motion);
        }
        self.tell(looked, Ok(Arc::clone(&self.known)), self.whole.1.earliest);
        for id in changes {
            // Nobody listens any more only at shutdown.
            _ = self.polling.changed.send(id);
        }
        self.wanted = in_motion;
        self.hear_again();
    }

    /// EC2, or the way to it, has refused: that is the answer to all who ask until everything is listed again.
    fn refuse(&mut self, began: Instant, error: AwsError) {
        let delay = self.failures.next().unwrap_or(self.polling.interval);
        tracing::warn!(region = self.region, %error, retry_in = ?delay, "cannot list the {}", V::WHAT);
        let later = Instant::now() + delay;
        self.whole.1 = Next { earliest: later, latest: later };
        self.complete_due = later;
        self.tell(began, Err(error), later);
        self.hear_again();
    }

    fn hear_again(&mut self) {
        self.is_all_wanted = false;
        for ask in std::mem::take(&mut self.asks) {
            self.hear(ask);
        }
    }

    fn tell(&self, looked: Instant, outcome: Result<Arc<V>, AwsError>, next: Instant) {
        let began = self.complete.filter(|_| outcome.is_ok()).unwrap_or(looked);
        let fresh = self.complete;
        self.published.send_replace(Some(Listing { began, looked, outcome, fresh, next }));
    }
}

impl<V: View> Unfinished<V> {
    fn add(&mut self, items: impl Iterator<Item = Arc<V::Item>>) {
        self.seen.extend(items);
        for answer in self.overlapping.drain(..) {
            answer.apply(&mut self.seen);
        }
    }

    /// What an answer shows is newer than every page before it.
    fn hear(&mut self, answer: Answer<V>) {
        answer.apply(&mut self.seen);
        if answer.began >= self.page_began {
            self.overlapping.push(answer);
        }
    }
}

impl<V: View> Answer<V> {
    /// What it finds takes the place of what it asks for.
    fn apply(&self, items: &mut Vec<Arc<V::Item>>) {
        items.retain(|item| !self.questions.find(|filter| V::value(item, filter)));
        items.extend(self.found.iter().cloned());
    }
}

/// How many pages a complete listing takes.
fn pages<V: View>(known: &V) -> usize {
    known.items().len().div_ceil(V::PAGE).max(1)
}

async fn look<V: View>(ec2: &Ec2, region: &str, questions: &Questions) -> Result<Vec<V::Item>, AwsError> {
    let mut found = Vec::new();
    for filter in questions.filters() {
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

#[cfg(test)]
mod tests;

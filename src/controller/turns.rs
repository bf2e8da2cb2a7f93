//! Whose turn it is to change something in AWS. Where EC2 limits the rate, namespaces take turns, so that the many
//! resources of one hold up no other's.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::ResourceExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use super::kept::Managed;
use crate::aws::RateLimit;

/// How many calls are under way at once while no limit is known: so many are refused together when one shows.
const AT_ONCE: usize = 8;

/// A turn that is not taken by then is lost: its resource is gone, or wants something else by now.
const KEPT: Duration = Duration::from_secs(15);

/// An action in an account and region: EC2 has a bucket for each.
pub type Bucket = (String, String, &'static str);

/// A resource that waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Waiter {
    /// Its kind.
    pub kind: Cow<'static, str>,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Waiter {
    /// This resource.
    #[must_use]
    pub fn of<K: Managed>(object: &K) -> Self {
        Self { kind: K::kind(&()), namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}

/// Who waits for what.
#[derive(Debug)]
pub struct Turns {
    buckets: Mutex<HashMap<Bucket, Arc<Line>>>,
    woken: mpsc::UnboundedSender<Waiter>,
}

#[derive(Debug)]
struct Line {
    under_way: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rate: RateLimit,
    /// Namespaces in the order of their turns, each with its resources in theirs.
    namespaces: VecDeque<(String, VecDeque<(Waiter, f64)>)>,
    waiting: HashMap<Waiter, Instant>,
    /// Whose turn it is, and since when.
    called: HashMap<Waiter, Instant>,
    is_calling: bool,
}

/// What came of asking for a turn.
#[derive(Debug)]
pub enum Answer {
    /// Go ahead.
    Now(Turn),
    /// The resource is woken when its turn comes; it has waited since then.
    Later(Instant),
}

/// Leave to make one step's calls.
#[derive(Debug)]
pub struct Turn {
    line: Arc<Line>,
    calls: f64,
    /// Since when there is leave.
    since: Instant,
    _under_way: Option<OwnedSemaphorePermit>,
}

impl Turn {
    /// EC2 refused a call for its rate, or did not.
    pub fn answered(self, is_refused: bool) {
        let (mut state, now) = (self.line.state(), Instant::now());
        if is_refused {
            state.rate.throttled(self.since, now);
        } else {
            state.rate.accepted(self.calls, self.since, now);
        }
    }
}

impl Turns {
    /// Nobody waits; who is called is sent to `woken`.
    #[must_use]
    pub fn new(woken: mpsc::UnboundedSender<Waiter>) -> Self {
        Self { buckets: Mutex::default(), woken }
    }

    /// A turn for a step of so many calls.
    pub async fn ask(&self, bucket: Bucket, waiter: Waiter, calls: usize) -> Answer {
        let line = {
            let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(buckets.entry(bucket).or_default())
        };
        // Nobody closes it.
        let under_way = Arc::clone(&line.under_way).acquire_owned().await.ok();
        let (now, calls) = (Instant::now(), calls as f64);
        let mut state = line.state();
        let called = state.called.remove(&waiter).filter(|since| now.duration_since(*since) < KEPT);
        if let Some(since) = called.or_else(|| (!state.rate.is_limited(now)).then_some(now)) {
            drop(state);
            return Answer::Now(Turn { line, calls, since, _under_way: under_way });
        }
        let since = state.enter(waiter, calls, now);
        if !std::mem::replace(&mut state.is_calling, true) {
            tokio::spawn(call_all(Arc::clone(&line), self.woken.clone()));
        }
        Answer::Later(since)
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Line {
    fn default() -> Self {
        Self { under_way: Arc::new(Semaphore::new(AT_ONCE)), state: Mutex::default() }
    }
}

impl State {
    /// Takes a place at the end of the namespace's own line; whoever has one keeps it.
    fn enter(&mut self, waiter: Waiter, calls: f64, now: Instant) -> Instant {
        if let Some(since) = self.waiting.get(&waiter) {
            return *since;
        }
        self.waiting.insert(waiter.clone(), now);
        let position = self.namespaces.iter().position(|(namespace, _)| *namespace == waiter.namespace);
        match position.and_then(|position| self.namespaces.get_mut(position)) {
            Some((_, resources)) => resources.push_back((waiter, calls)),
            None => self.namespaces.push_back((waiter.namespace.clone(), VecDeque::from([(waiter, calls)]))),
        }
        now
    }

    /// Whose turn is next, if the rate allows; none when nobody waits.
    fn call(&mut self, now: Instant) -> Option<Result<Waiter, Duration>> {
        let (namespace, mut resources) = self.namespaces.pop_front()?;
        let calls = resources.front().map_or(1.0, |(_, calls)| *calls);
        if let Err(wait) = self.rate.try_acquire(calls, now) {
            self.namespaces.push_front((namespace, resources));
            return Some(Err(wait));
        }
        let next = resources.pop_front();
        if !resources.is_empty() {
            self.namespaces.push_back((namespace, resources));
        }
        let (waiter, _) = next?;
        self.waiting.remove(&waiter);
        self.called.retain(|_, since| now.duration_since(*since) < KEPT);
        self.called.insert(waiter.clone(), now);
        Some(Ok(waiter))
    }
}

async fn call_all(line: Arc<Line>, woken: mpsc::UnboundedSender<Waiter>) {
    loop {
        let next = {
            let mut state = line.state();
            let next = state.call(Instant::now());
            state.is_calling = next.is_some();
            next
        };
        match next {
            // Nobody listens any more only at shutdown.
            Some(Ok(waiter)) => _ = woken.send(waiter),
            Some(Err(wait)) => tokio::time::sleep(wait).await,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(namespace: &str, number: usize) -> Waiter {
        Waiter { kind: "VpcPeering".into(), namespace: namespace.to_owned(), name: number.to_string() }
    }

    fn bucket(action: &'static str) -> Bucket {
        ("111111111111".into(), "eu-central-1".into(), action)
    }

    async fn turn(turns: &Turns, waiter: Waiter) -> Option<Turn> {
        match turns.ask(bucket("Create"), waiter, 1).await {
            Answer::Now(turn) => Some(turn),
            Answer::Later(_) => None,
        }
    }

    #[tokio::test]
    async fn one_namespace_does_not_hold_up_another() {
        let (woken, mut calls) = mpsc::unbounded_channel();
        let turns = Turns::new(woken);
        if let Some(first) = turn(&turns, waiter("crowd", 0)).await {
            first.answered(true);
        }
        for number in 0..5_000 {
            assert!(turn(&turns, waiter("crowd", number)).await.is_none(), "{number} goes though EC2 refuses");
        }
        assert!(turn(&turns, waiter("single", 0)).await.is_none());
        assert!(turn(&turns, waiter("crowd", 7)).await.is_none(), "who waits keeps its place, and has one only");
        let mut called = Vec::new();
        for _ in 0..4 {
            called.extend(calls.recv().await);
        }
        assert!(called.contains(&waiter("single", 0)), "{called:?}");
        assert!(called.contains(&waiter("crowd", 0)) && called.contains(&waiter("crowd", 1)), "{called:?}");
        let namesake = Waiter { kind: "VpcPeeringAccepter".into(), ..waiter("single", 0) };
        assert!(turn(&turns, namesake).await.is_none(), "another was called");
        assert!(turn(&turns, waiter("single", 0)).await.is_some(), "who was called may go");
        assert!(turn(&turns, waiter("single", 0)).await.is_none(), "once");
        assert!(
            matches!(turns.ask(bucket("Accept"), waiter("crowd", 0), 1).await, Answer::Now(_)),
            "a bucket of its own"
        );
    }

    #[test]
    fn nobody_waits_twice() {
        let (mut state, now) = (State::default(), Instant::now());
        state.enter(waiter("a", 1), 1.0, now);
        state.enter(waiter("a", 1), 1.0, now);
        assert!(matches!(state.call(now), Some(Ok(_))) && state.call(now).is_none());
        assert!(state.waiting.is_empty() && state.called.len() == 1);
    }
}

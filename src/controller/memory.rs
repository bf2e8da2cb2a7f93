//! What this process remembers of a resource and may forget: the record that has to last is in the status.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;
use uuid::Uuid;

use crate::aws::{Class, Inventory};
use crate::peering::routes::RouteTables;
use crate::peering::{Authorized, Aspect, Preflight, Snapshot, StatusCode, Step, Blocker};

/// Something that AWS may refuse, and that is not to be repeated at once then.
pub trait Attempt: Clone + Debug + PartialEq + Send + Sync + 'static {
    /// What an attempt keeps up: what is refused of one holds up no other.
    type Aspect: Clone + Debug + Ord + Send + Sync;

    /// What this one keeps up; none where everything else waits for it.
    fn aspect(&self) -> Option<Self::Aspect>;
}

impl Attempt for Step {
    type Aspect = Aspect;

    fn aspect(&self) -> Option<Aspect> {
        self.aspect()
    }
}

/// What is remembered of one resource, for which steps of this kind are taken.
#[derive(Debug)]
pub struct Memory<S: Attempt> {
    /// When our last call that changed EC2 ended: an older listing may not show its effect.
    pub last_write: Option<Instant>,
    /// The connection that EC2 has made at our request, while the status shows no more than the intent.
    pub created: Option<Box<str>>,
    /// EC2 goes on by itself after that call.
    pub is_left_to_ec2: bool,
    /// When the listing began that first lacked what the record says must be there.
    pub missing_since: Option<Instant>,
    /// The same of each connection, where a resource has several.
    pub each_missing_since: Option<Box<BTreeMap<String, Instant>>>,
    /// Connections that recorded routes lead through and that EC2 has shown as this resource's own.
    pub proven: BTreeSet<Authorized>,
    /// The resource version that our last write made, and when.
    pub written: Option<(u64, Instant)>,
    /// The code on its way to another that EC2 shows, and when the first listing began that showed it.
    shown: Option<Box<(StatusCode, Instant)>>,
    /// What the last look at the two VPCs showed.
    pub preflight: Option<Box<Looked>>,
    /// The listings that this resource needs; nothing is listed that nobody needs.
    pub listings: Listings,
    /// By what the step keeps up.
    failures: BTreeMap<Option<S::Aspect>, Failure<S>>,
}

impl<S: Attempt> Default for Memory<S> {
    fn default() -> Self {
        Self {
            last_write: None,
            created: None,
            is_left_to_ec2: false,
            missing_since: None,
            each_missing_since: None,
            proven: BTreeSet::new(),
            written: None,
            shown: None,
            preflight: None,
            listings: Listings::default(),
            failures: BTreeMap::new(),
        }
    }
}

/// The listings that a resource needs.
#[derive(Debug, Default)]
pub struct Listings {
    /// Of peerings, requester first.
    pub peerings: Box<[Arc<Inventory<Snapshot>>]>,
    /// Of route tables.
    pub route_tables: Box<[Arc<Inventory<RouteTables>>]>,
}

/// What a look at the two VPCs showed.
#[derive(Debug)]
pub struct Looked {
    /// The spec that it was made for.
    pub generation: Option<i64>,
    /// When.
    pub at: Instant,
    /// What it showed.
    pub preflight: Preflight,
}

/// For how long a look at the VPCs is believed.
const PREFLIGHT: Duration = Duration::from_secs(30);

/// How long the watch may take to show what we have written.
const CATCH_UP: Duration = Duration::from_secs(5);

/// What lasts no longer is not worth a write to the status.
pub const BRIEF: Duration = Duration::from_secs(2);

/// A step that AWS refused, and is not to be repeated before its time.
#[derive(Debug)]
struct Failure<S> {
    step: S,
    generation: Option<i64>,
    class: Class,
    blocker: Blocker,
    backoff: ExponentialBackoff,
    until: Instant,
}

impl<S: Attempt> Memory<S> {
    /// For how long this step must not be repeated. Every write to the status wakes its resource: without this, an
    /// error would be answered by the same call at once.
    #[must_use]
    pub fn pause_before(&self, step: &S, generation: Option<i64>) -> Option<Duration> {
        let failure = self.failures.get(&step.aspect());
        let failure = failure.filter(|failure| failure.step == *step && failure.generation == generation)?;
        Some(failure.until.saturating_duration_since(Instant::now())).filter(|pause| !pause.is_zero())
    }

    /// What is not to be tried again yet, and why.
    #[must_use]
    pub fn refused(&self, generation: Option<i64>) -> BTreeMap<S::Aspect, Blocker> {
        let now = Instant::now();
        let refused =
            self.failures.iter().filter(|(_, failure)| failure.generation == generation && failure.until > now);
        let refused = refused.filter_map(|(aspect, failure)| {
            Some((aspect.clone()?, Blocker { requeue_after: Some(failure.until - now), ..failure.blocker.clone() }))
        });
        refused.collect()
    }

    /// For how long to wait for the watch to show what we have written: to act on less only ends in a conflict. Versions
    /// are compared as Kubernetes allows; where they cannot be, or go backwards as after a restored backup, the wait ends.
    /// <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>
    #[must_use]
    pub fn behind(&self, version: Option<&str>) -> Option<Duration> {
        let (written, at) = self.written?;
        let shown: u64 = version?.parse().ok()?;
        if shown >= written { None } else { CATCH_UP.checked_sub(at.elapsed()) }
    }

    /// For how long there is nothing to do: EC2 goes on by itself, and has not been looked at since.
    #[must_use]
    pub fn until_looked(&self, now: Instant) -> Option<Duration> {
        let left = self.last_write.filter(|_| self.is_left_to_ec2)?;
        let mut listings = self.listings.peerings.iter().filter_map(|inventory| inventory.latest());
        let is_looked_at = listings.any(|listing| listing.last_polled > left);
        BRIEF.checked_sub(now.duration_since(left)).filter(|_| !is_looked_at)
    }

    /// A call that changes EC2 has ended.
    pub fn wrote_to_ec2(&mut self, now: Instant) {
        (self.last_write, self.is_left_to_ec2) = (Some(now), false);
    }

    /// The API server has taken a write of ours.
    pub fn wrote(&mut self, version: Option<&str>) {
        self.written = version.and_then(|version| version.parse().ok()).map(|version| (version, Instant::now()));
    }

    /// For how long EC2 has shown this code, on its way to another, by a listing that began then.
    pub fn shown_for(&mut self, code: Option<&StatusCode>, began: Instant) -> Duration {
        let Some(code) = code.filter(|code| code.is_in_motion()) else {
            self.shown = None;
            return Duration::ZERO;
        };
        match &self.shown {
            Some(shown) if shown.0 == *code => began.saturating_duration_since(shown.1),
            _ => {
                self.shown = Some(Box::new((code.clone(), began)));
                Duration::ZERO
            }
        }
    }

    /// What a look at the two VPCs showed, if there was one lately, for this spec.
    #[must_use]
    pub fn preflight(&self, generation: Option<i64>) -> Option<Preflight> {
        let looked = self.preflight.as_ref()?;
        let holds = looked.generation == generation && looked.at.elapsed() < PREFLIGHT;
        holds.then(|| looked.preflight.clone())
    }

    /// A person asks to try again now.
    pub fn start_over(&mut self) {
        self.failures.clear();
        self.preflight = None;
    }

    /// AWS refused this step.
    pub fn failed(&mut self, step: S, generation: Option<i64>, class: Class, blocker: Blocker) {
        let same =
            |failure: &Failure<S>| failure.step == step && failure.generation == generation && failure.class == class;
        let mut backoff = match self.failures.remove(&step.aspect()) {
            Some(failure) if same(&failure) => failure.backoff,
            _ => backoff(class),
        };
        let until = Instant::now() + backoff.next().unwrap_or(SLOWEST);
        self.failures.insert(step.aspect(), Failure { step, generation, class, blocker, backoff, until });
    }

    /// AWS did as asked.
    pub fn succeeded(&mut self, step: &S) {
        self.failures.remove(&step.aspect());
    }
}

const SLOWEST: Duration = Duration::from_secs(600);

/// What passes by itself is tried again soon; what a person has to change is looked at again slowly.
fn backoff(class: Class) -> ExponentialBackoff {
    let (first, last) = match class {
        Class::Wait | Class::Gone | Class::Broken => (Duration::from_secs(1), Duration::from_secs(300)),
        Class::FixSpec | Class::FixPermissions => (Duration::from_secs(30), SLOWEST),
    };
    ExponentialBuilder::default().with_min_delay(first).with_max_delay(last).with_jitter().without_max_times().build()
}

/// The memories of all resources, by UID, which Kubernetes makes of a UUID:
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#uids>.
#[derive(Debug)]
pub struct Memories<S: Attempt>(Mutex<HashMap<Uuid, Box<Memory<S>>>>);

impl<S: Attempt> Default for Memories<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S: Attempt> Memories<S> {
    /// Reads or changes what is remembered of one resource.
    pub fn with<T>(&self, uid: &str, act: impl FnOnce(&mut Memory<S>) -> T) -> T {
        act(self.lock().entry(key(uid)).or_default())
    }

    /// Forgets a resource that is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(&key(uid));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Box<Memory<S>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(uid: &str) -> Uuid {
    let hash = || BuildHasherDefault::<DefaultHasher>::default().hash_one(uid);
    Uuid::try_parse(uid).unwrap_or_else(|_| Uuid::from_u64_pair(0, hash()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Reason, Side};

    fn blocker() -> Blocker {
        Blocker::stalled(Reason::AwsError, "refused".into())
    }

    #[test]
    fn what_is_refused_of_one_concern_holds_up_no_other() {
        let mut memory = Memory::default();
        let tag = |side| Step::Tag { side, id: Authorized::unchecked("pcx-1"), tags: BTreeMap::new() };
        memory.failed(tag(Side::Accepter), Some(1), Class::FixPermissions, blocker());
        memory.succeeded(&tag(Side::Requester));
        let refused = memory.refused(Some(1));
        assert_eq!(refused.keys().collect::<Vec<_>>(), [&Aspect::Tags(Side::Accepter)]);
        assert!(refused.values().all(|blocker| blocker.requeue_after.is_some()));
        assert!(memory.refused(Some(2)).is_empty(), "an edited spec is tried at once");
        memory.succeeded(&tag(Side::Accepter));
        assert!(memory.refused(Some(1)).is_empty());
    }

    #[test]
    fn a_refused_step_waits_and_another_does_not() {
        let mut memory = Memory::default();
        memory.failed(Step::Create, Some(1), Class::FixSpec, blocker());
        assert!(memory.pause_before(&Step::Create, Some(1)).is_some());
        assert_eq!(memory.pause_before(&Step::Create, Some(2)), None, "an edited spec is tried at once");
        assert_eq!(memory.pause_before(&Step::DryRun, Some(1)), None);
        memory.succeeded(&Step::Create);
        assert_eq!(memory.pause_before(&Step::Create, Some(1)), None);
    }

    #[test]
    fn an_object_older_than_our_own_write_waits() {
        let mut memory = Memory::<Step>::default();
        assert_eq!(memory.behind(Some("1")), None);
        memory.wrote(Some("7"));
        assert!(memory.behind(Some("6")).is_some());
        for version in [Some("7"), Some("8"), Some("?"), None] {
            assert_eq!(memory.behind(version), None, "{version:?}");
        }
    }

    #[test]
    fn what_is_left_to_ec2_waits_for_a_look_but_not_for_long() {
        let (mut memory, start) = (Memory::<Step>::default(), Instant::now());
        assert_eq!(memory.until_looked(start), None);
        memory.wrote_to_ec2(start);
        assert_eq!(memory.until_looked(start), None);
        memory.is_left_to_ec2 = true;
        assert_eq!(memory.until_looked(start + BRIEF / 4), Some(BRIEF * 3 / 4));
        assert_eq!(memory.until_looked(start + BRIEF * 2), None);
    }

    #[test]
    fn a_code_is_shown_for_as_long_as_listings_show_it() {
        let (mut memory, start) = (Memory::<Step>::default(), Instant::now());
        let mut shown = |code, seconds| memory.shown_for(code, start + Duration::from_secs(seconds)).as_secs();
        assert_eq!((shown(Some(&StatusCode::Provisioning), 1), shown(Some(&StatusCode::Provisioning), 4)), (0, 3));
        // The same listing again proves nothing.
        assert_eq!(shown(Some(&StatusCode::Provisioning), 4), 3);
        assert_eq!((shown(Some(&StatusCode::Active), 5), shown(Some(&StatusCode::Provisioning), 6)), (0, 0));
        assert_eq!((shown(None, 7), shown(Some(&StatusCode::Deleting), 9)), (0, 0));
    }

    #[test]
    fn the_pauses_grow() {
        let mut memory = Memory::default();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            memory.failed(Step::Create, Some(1), Class::Wait, blocker());
            pauses.push(memory.pause_before(&Step::Create, Some(1)).unwrap_or_default());
        }
        assert!(pauses[0] < Duration::from_secs(3), "{pauses:?}");
        assert!(pauses[11] > Duration::from_secs(200), "{pauses:?}");
    }
}

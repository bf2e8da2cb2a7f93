//! The steps that AWS has refused, and the time of their next attempt.

use std::collections::BTreeMap;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use crate::aws::Class;
use crate::peering::Blocker;
use crate::peering::plan::{Refusal, Step};

/// The longest pause before a refused step is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// The refused steps of one object, by aspect. Only steps that can be refused in part have more than one.
#[derive(Debug)]
pub(crate) struct Refusals<S: Step> {
    failures: BTreeMap<Option<S::Aspect>, Vec<Failure<S>>>,
}

impl<S: Step> Default for Refusals<S> {
    fn default() -> Self {
        Self { failures: BTreeMap::new() }
    }
}

/// A step, or the part of it, that AWS has refused.
#[derive(Debug)]
struct Failure<S> {
    step: S,
    generation: Option<i64>,
    class: Class,
    blocker: Blocker,
    backoff: ExponentialBackoff,
    until: Instant,
}

impl<S: Step> Refusals<S> {
    /// Time for which this step must not be repeated. Every status write wakes its object. Without a pause, the same
    /// call would follow an error at once.
    pub(super) fn pause_before(&self, step: &S, generation: Option<i64>) -> Option<Duration> {
        let mut failures = self.failures.get(&step.aspect())?.iter();
        let failure = failures.find(|failure| failure.step == *step && failure.generation == generation)?;
        Some(failure.until.saturating_duration_since(Instant::now())).filter(|pause| !pause.is_zero())
    }

    /// The refusals whose next attempt is not due yet.
    pub(super) fn refused(&self, generation: Option<i64>) -> BTreeMap<S::Aspect, Vec<Refusal<S>>> {
        let now = Instant::now();
        let refusals = |failures: &Vec<Failure<S>>| {
            let refused = failures.iter().filter(|failure| failure.generation == generation && failure.until > now);
            let refusals = refused.map(|failure| {
                let blocker = Blocker { requeue_after: Some(failure.until - now), ..failure.blocker.clone() };
                Refusal { step: failure.step.clone(), blocker }
            });
            refusals.collect::<Vec<_>>()
        };
        let by_aspect =
            self.failures.iter().filter_map(|(aspect, failures)| Some((aspect.clone()?, refusals(failures))));
        by_aspect.filter(|(_, refusals)| !refusals.is_empty()).collect()
    }

    /// AWS has refused this step, or this part of a step.
    pub(super) fn failed(&mut self, step: S, generation: Option<i64>, class: Class, blocker: Blocker) {
        let now = Instant::now();
        let failures = self.failures.entry(step.aspect()).or_default();
        // Failures that were due have been tried again with this step.
        let is_held = |failure: &Failure<S>| {
            failure.generation == generation
                && failure.until > now
                && failure.step.beside(&step).as_ref() == Some(&failure.step)
        };
        let (held, tried): (Vec<_>, Vec<_>) = std::mem::take(failures).into_iter().partition(is_held);
        let is_same =
            |failure: &Failure<S>| failure.step == step && failure.generation == generation && failure.class == class;
        let mut backoff = tried.into_iter().find(is_same).map_or_else(|| backoff(class), |failure| failure.backoff);
        let until = now + backoff.next().unwrap_or(LONGEST_PAUSE);
        *failures = held;
        failures.push(Failure { step, generation, class, blocker, backoff, until });
    }

    /// AWS has carried out this step. Refusals of other parts stay until they are due.
    pub(super) fn succeeded(&mut self, step: &S) {
        if let Some(failures) = self.failures.get_mut(&step.aspect()) {
            let now = Instant::now();
            failures.retain(|failure| failure.until > now && failure.step.beside(step).as_ref() == Some(&failure.step));
            if failures.is_empty() {
                self.failures.remove(&step.aspect());
            }
        }
    }
}

/// An error that passes by itself is retried soon. One that a person has to fix is retried slowly.
fn backoff(class: Class) -> ExponentialBackoff {
    let (first, last) = match class {
        Class::Wait | Class::Gone | Class::Broken => (Duration::from_secs(1), Duration::from_secs(300)),
        Class::FixSpec | Class::FixPermissions => (Duration::from_secs(30), LONGEST_PAUSE),
    };
    ExponentialBuilder::default().with_min_delay(first).with_max_delay(last).with_jitter().without_max_times().build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Reason, Side};
    use crate::peering::Authorized;
    use crate::peering::plan::Aspect;
    use crate::peering::upkeep::UpkeepStep;
    use crate::peering::vpc_peering::Step;

    fn blocker() -> Blocker {
        Blocker::stalled(Reason::AwsError, "refused".into())
    }

    #[test]
    fn a_refusal_blocks_only_the_steps_of_its_aspect() {
        let mut refusals = Refusals::default();
        let tag = |side| Step::Upkeep {
            side,
            step: UpkeepStep::Tag { id: Authorized::unchecked("pcx-1"), tags: BTreeMap::new() },
        };
        refusals.failed(tag(Side::Accepter), Some(1), Class::FixPermissions, blocker());
        refusals.succeeded(&tag(Side::Requester));
        let refused = refusals.refused(Some(1));
        assert_eq!(refused.keys().collect::<Vec<_>>(), [&Aspect::Tags(Side::Accepter)]);
        assert!(refused.values().flatten().all(|refusal| refusal.blocker.requeue_after.is_some()));
        assert!(refusals.refused(Some(2)).is_empty(), "an edited spec is tried at once");
        refusals.succeeded(&tag(Side::Accepter));
        assert!(refusals.refused(Some(1)).is_empty());
    }

    #[test]
    fn a_refused_step_waits_and_another_does_not() {
        let mut refusals = Refusals::default();
        refusals.failed(Step::Create, Some(1), Class::FixSpec, blocker());
        assert!(refusals.pause_before(&Step::Create, Some(1)).is_some());
        assert_eq!(refusals.pause_before(&Step::Create, Some(2)), None, "an edited spec is tried at once");
        assert_eq!(refusals.pause_before(&Step::DryRun, Some(1)), None);
        refusals.succeeded(&Step::Create);
        assert_eq!(refusals.pause_before(&Step::Create, Some(1)), None);
    }

    #[test]
    fn the_pauses_grow() {
        let mut refusals = Refusals::default();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            refusals.failed(Step::Create, Some(1), Class::Wait, blocker());
            pauses.push(refusals.pause_before(&Step::Create, Some(1)).unwrap_or_default());
        }
        assert!(pauses[0] < Duration::from_secs(3), "{pauses:?}");
        assert!(pauses[11] > Duration::from_secs(200), "{pauses:?}");
    }
}

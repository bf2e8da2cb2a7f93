//! A plan: the one next step, or the reason why there is none.

use std::fmt::Debug;
use std::time::Duration;

use super::blocker::{Blocker, Progress};
use super::settings::EFFECT_REQUEUE;
use crate::api::{Reason, Side};

/// The next action for a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan<S> {
    /// Take this step, then observe again.
    Act(S),
    /// EC2 or the operator is working. Reconcile again when something changes, or after this time.
    Wait { reason: Reason, message: String, requeue_after: Option<Duration> },
    /// Everything is as the spec asks.
    Settled { message: String, requeue_after: Option<Duration> },
    /// The dry run that the spec asks for has succeeded.
    DryRunSucceeded,
    /// A step is due, and `spec.suspend` forbids it.
    Suspended { message: String },
    /// A person has to act.
    Stalled { reason: Reason, message: String, requeue_after: Option<Duration> },
    /// No AWS resource of this object is left. The finalizer can go.
    RemoveFinalizer,
}

/// The decision on one observation: the plan, and the status that goes with it.
#[derive(Clone, Debug)]
pub(crate) struct Decision<S, T> {
    pub plan: Plan<S>,
    /// The status to write if the plan is not to act.
    pub status: T,
    /// Time for which the state has to last before the status is worth a write.
    pub defer_write: Option<Duration>,
    /// AWS resources that stay when the finalizer goes, for an Event.
    pub left_in_aws: Vec<String>,
}

/// One effect. Each is safe to repeat.
pub(crate) trait Step: Clone + Debug + PartialEq + Send + Sync + 'static {
    /// Identifies the aspect that a step serves. A refusal blocks the steps of the same aspect only.
    type Aspect: Clone + Debug + Ord + Send + Sync;

    /// The aspect, or `None` for a step that all others wait for.
    fn aspect(&self) -> Option<Self::Aspect>;

    /// The change in AWS, as a verb phrase for messages. `None` for a step that changes nothing in AWS.
    fn change(&self) -> Option<String>;

    /// Whether the step deletes something or redirects traffic. Such a step needs a new read of EC2.
    fn is_destructive(&self) -> bool;

    /// The EC2 calls that change AWS. `None` for a step that changes nothing in AWS.
    fn calls(&self) -> Option<Calls>;

    /// Whether the effect of this step includes that of `other`. Only for calls whose effect EC2 may show late: tags and
    /// options. Such a step covers itself.
    fn covers(&self, other: &Self) -> bool {
        let _ = other;
        false
    }

    /// The part of this step that AWS has not refused. `refused` serves the same aspect.
    fn beside(&self, refused: &Self) -> Option<Self> {
        let _ = refused;
        None
    }

    /// Whether a transient state follows this step, such as `provisioning` after the acceptance.
    fn is_continued_by_ec2(&self) -> bool {
        false
    }
}

/// A step that EC2 has carried out, and whose effect it does not show yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unseen<S> {
    pub step: S,
    /// The rest of the consistency window. After it, the step may be repeated.
    pub left: Duration,
}

impl<S: Step> Unseen<S> {
    /// The wait, if it makes this step unnecessary.
    pub(crate) fn blocker(&self, step: &S) -> Option<Blocker> {
        let change = self.step.change().filter(|_| self.step.covers(step))?;
        let message = format!("waiting for EC2 to show a change that it has accepted (eventual consistency): {change}");
        Some(Blocker::passing(Reason::Updating, message, self.left.min(EFFECT_REQUEUE)))
    }
}

/// A step, or the part of it, that AWS has refused. It is not tried again before a pause is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal<S> {
    pub step: S,
    pub blocker: Blocker,
}

impl<S: Step> Refusal<S> {
    /// The blocker, if the refusal holds back all of a step of the same aspect, or a part of it.
    pub(crate) fn blocker_of(&self, step: &S) -> Option<&Blocker> {
        (step.beside(&self.step).as_ref() != Some(step)).then_some(&self.blocker)
    }
}

/// The EC2 calls of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Calls {
    /// The EC2 action, which has a request rate limit of its own.
    pub action: &'static str,
    /// The end whose identity makes the calls.
    pub side: Side,
    pub count: usize,
}

impl Calls {
    pub(crate) fn one(action: &'static str, side: Side) -> Self {
        Self { action, side, count: 1 }
    }
}

/// One aspect of a live connection. The operator keeps the aspects independently: a blocker of one delays no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Aspect {
    /// The request is accepted.
    Acceptance,
    /// The tags of this end.
    Tags(Side),
    /// The DNS options of this end.
    Options(Side),
    /// The routes of this end.
    Routes(Side),
    /// No connection of an earlier resource of the same name is left.
    Orphans,
}

/// The state of one aspect. With neither a step nor a blocker, the aspect is as the spec asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AspectStatus<S> {
    pub aspect: Aspect,
    pub step: Option<S>,
    pub blocker: Option<Blocker>,
    /// Time until the next look, if no event reports a change.
    pub requeue_after: Option<Duration>,
}

impl<S> Plan<S> {
    /// A plan that waits for a person.
    pub(crate) fn stalled(reason: Reason, message: String) -> Self {
        Self::Stalled { reason, message, requeue_after: None }
    }

    /// Time until the next reconcile, if no event reports a change.
    pub(crate) fn requeue_after(&self) -> Option<Duration> {
        match self {
            Self::Wait { requeue_after, .. }
            | Self::Stalled { requeue_after, .. }
            | Self::Settled { requeue_after, .. } => *requeue_after,
            Self::Act(_) | Self::DryRunSucceeded | Self::Suspended { .. } | Self::RemoveFinalizer => None,
        }
    }

    /// The same plan, with the next reconcile after at most this time.
    pub(crate) fn within(mut self, limit: Option<Duration>) -> Self {
        if let Self::Wait { requeue_after, .. }
        | Self::Stalled { requeue_after, .. }
        | Self::Settled { requeue_after, .. } = &mut self
        {
            *requeue_after = requeue_after.iter().copied().chain(limit).min();
        }
        self
    }
}

impl<S: Step> Plan<S> {
    /// The same plan, if `spec.suspend` allows it: a suspended resource changes nothing in AWS.
    pub(crate) fn unless_suspended(self, suspend: bool) -> Self {
        match &self {
            Self::Act(step) if suspend => match step.change() {
                Some(change) => {
                    Self::Suspended { message: format!("spec.suspend is true; the next step would be to {change}") }
                }
                None => self,
            },
            _ => self,
        }
    }
}

impl<S> From<Blocker> for Plan<S> {
    fn from(blocker: Blocker) -> Self {
        let Blocker { progress, reason, message, requeue_after } = blocker;
        match progress {
            Progress::Stalled => Self::Stalled { reason, message, requeue_after },
            Progress::Settled | Progress::Reconciling => Self::Wait { reason, message, requeue_after },
        }
    }
}

impl<S> AspectStatus<S> {
    /// An aspect that is as the spec asks.
    pub(crate) fn settled(aspect: Aspect) -> Self {
        Self { aspect, step: None, blocker: None, requeue_after: None }
    }

    pub(crate) fn with_step(aspect: Aspect, step: impl Into<Option<S>>) -> Self {
        Self { step: step.into(), ..Self::settled(aspect) }
    }

    pub(crate) fn blocked(aspect: Aspect, blocker: Blocker) -> Self {
        Self { blocker: Some(blocker), ..Self::settled(aspect) }
    }

    /// Time until the next look at the aspect, if no event reports a change.
    pub(crate) fn next_look(&self) -> Option<Duration> {
        let of_blocker = self.blocker.as_ref().and_then(|blocker| blocker.requeue_after);
        self.requeue_after.into_iter().chain(of_blocker).min()
    }

    pub(crate) fn map<T>(self, step: impl FnOnce(S) -> T) -> AspectStatus<T> {
        let Self { aspect, step: own, blocker, requeue_after } = self;
        AspectStatus { aspect, step: own.map(step), blocker, requeue_after }
    }
}

impl<S: Step> AspectStatus<S> {
    /// The same state after AWS has refused the step, or a part of it: the refusal is the blocker until the next
    /// attempt is due.
    pub(crate) fn unless_refused(mut self, refusals: Option<&Vec<Refusal<S>>>) -> Self {
        for refusal in refusals.into_iter().flatten() {
            let Some(step) = &self.step else { break };
            if let Some(blocker) = refusal.blocker_of(step) {
                (self.step, self.blocker) = (step.beside(&refusal.step), Some(blocker.clone()));
            }
        }
        self
    }

    /// The same state while EC2 does not show the effect of the step, which it has carried out.
    pub(crate) fn unless_unseen(self, unseen: Option<&Unseen<S>>) -> Self {
        let blocker = self.step.as_ref().zip(unseen).and_then(|(step, unseen)| unseen.blocker(step));
        match blocker {
            Some(blocker) => Self { step: None, blocker: Some(blocker), ..self },
            None => self,
        }
    }
}

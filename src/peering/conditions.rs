//! Conditions of every kind: how ready a resource is, and how a new condition follows the previous one.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::blocker::{Blocker, Progress};
use super::plan::Plan;
use super::quota::Shortage;
use crate::api::{ConditionType, Reason};

/// Separates the text of an AWS error from the ID of the one request that it belongs to.
pub(crate) const REQUEST_ID: &str = " (request ID ";

/// The summary of a resource: the conditions `Ready`, `Reconciling` and `Stalled`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// The status of `Ready`. `None` is `Unknown`.
    pub ready: Option<bool>,
    pub progress: Progress,
    pub reason: Reason,
    pub message: String,
}

impl Readiness {
    /// The summary under a plan. `None` if the plan is to act: the summary follows when the step is done.
    pub(crate) fn under<S>(plan: &Plan<S>) -> Option<Self> {
        let working = Self::working;
        Some(match plan {
            Plan::RemoveFinalizer | Plan::Act(_) => return None,
            Plan::Suspended { message } => {
                Self { progress: Progress::Settled, ..working(Reason::Suspended, message.clone()) }
            }
            Plan::Wait { reason: Reason::UnknownStatusCode, message, .. } => {
                Self { ready: None, ..working(Reason::UnknownStatusCode, message.clone()) }
            }
            Plan::Wait { reason, message, .. } => working(*reason, message.clone()),
            Plan::DryRunSucceeded => Self::dry_run_succeeded(),
            Plan::Settled { message, .. } => Self {
                ready: Some(true),
                progress: Progress::Settled,
                reason: Reason::Active,
                message: message.clone(),
            },
            Plan::Stalled { reason, message, .. } => {
                Self { progress: Progress::Stalled, ..working(*reason, message.clone()) }
            }
        })
    }

    /// A resource that is not ready yet.
    pub(crate) fn working(reason: Reason, message: impl Into<String>) -> Self {
        Self { ready: Some(false), progress: Progress::Reconciling, reason, message: message.into() }
    }

    /// A resource that waits in the fair queue, for room in a quota or for the rate limit.
    pub(crate) fn queued(shortage: Option<&Shortage>) -> Self {
        match shortage {
            Some(Shortage(message)) => Self::working(Reason::AwaitingQuota, message),
            None => Self::working(
                Reason::Throttled,
                "waiting for a permit: EC2 limits the request rate, and other resources are ahead",
            ),
        }
    }

    /// A resource whose dry run has succeeded.
    pub(crate) fn dry_run_succeeded() -> Self {
        // <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html>
        let message = "the credentials have the permissions for this request; a dry run checks neither quotas nor the VPC of another account; set spec.dryRun to false to make the request".into();
        Self { ready: Some(false), progress: Progress::Settled, reason: Reason::DryRun, message }
    }

    /// A resource that is blocked. `ready` is `None` if EC2 could not be read.
    pub(crate) fn blocked(blocker: Blocker, ready: Option<bool>) -> Self {
        let Blocker { progress, reason, message, .. } = blocker;
        Self { ready, progress, reason, message }
    }

    /// The conditions that show this summary.
    pub(crate) fn conditions(&self, generation: i64, now: Timestamp) -> Vec<Condition> {
        let ready = match self.ready {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let condition = |kind, status| condition(kind, status, self.reason, &self.message, generation, now);
        let progress = match self.progress {
            Progress::Settled => None,
            Progress::Reconciling => Some(ConditionType::Reconciling),
            Progress::Stalled => Some(ConditionType::Stalled),
        };
        let progress = progress.map(|kind| condition(kind, "True"));
        [condition(ConditionType::Ready, ready)].into_iter().chain(progress).collect()
    }
}

/// A condition whose status changes now.
pub(crate) fn condition(
    kind: ConditionType,
    status: &str,
    reason: Reason,
    message: &str,
    generation: i64,
    now: Timestamp,
) -> Condition {
    Condition {
        type_: kind.as_str().to_owned(),
        status: status.to_owned(),
        reason: reason.as_str().to_owned(),
        message: message.to_owned(),
        observed_generation: Some(generation),
        last_transition_time: to_the_second(now),
    }
}

/// The condition of one aspect, such as `RoutesReady`.
pub(crate) fn aspect_condition(
    kind: ConditionType,
    outcome: Result<(), Blocker>,
    generation: i64,
    now: Timestamp,
) -> Condition {
    match outcome {
        Ok(()) => condition(kind, "True", Reason::Synced, "as the spec asks", generation, now),
        Err(Blocker { reason, message, .. }) => condition(kind, "False", reason, &message, generation, now),
    }
}

/// The conditions of the options and routes, which a resource has until its deletion.
pub(crate) const ASPECTS: [ConditionType; 2] = [ConditionType::OptionsSynced, ConditionType::RoutesReady];

/// The condition that replaces `previous`. The transition time stays while the status does. The message stays while
/// only the request ID in it has changed, so that a repeated error costs no write.
pub(crate) fn following(previous: Option<&Condition>, mut condition: Condition) -> Condition {
    if let Some(previous) = previous.filter(|previous| previous.status == condition.status) {
        condition.last_transition_time = previous.last_transition_time.clone();
        if !has_changed(Some(previous), &condition) {
            condition.message.clone_from(&previous.message);
        }
    }
    condition
}

/// All conditions, each of which replaces the previous one of its type.
pub(crate) fn all_following(previous: &[Condition], conditions: impl IntoIterator<Item = Condition>) -> Vec<Condition> {
    let follow =
        |condition: Condition| following(previous.iter().find(|before| before.type_ == condition.type_), condition);
    conditions.into_iter().map(follow).collect()
}

/// Whether a condition differs from the previous one in more than the ID of a request.
pub(crate) fn has_changed(previous: Option<&Condition>, condition: &Condition) -> bool {
    previous.is_none_or(|previous| {
        previous.status != condition.status
            || previous.reason != condition.reason
            || without_request_id(&previous.message) != without_request_id(&condition.message)
    })
}

/// The condition of this type.
pub(crate) fn find(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

/// Whether these conditions show a ready resource.
pub(crate) fn is_ready(conditions: &[Condition]) -> bool {
    find(conditions, ConditionType::Ready).is_some_and(|ready| ready.status == "True")
}

/// A time in whole seconds, as the API server stores it. Otherwise a status would differ from its stored form.
pub(crate) fn to_the_second(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

fn without_request_id(message: &str) -> &str {
    message.split(REQUEST_ID).next().unwrap_or(message)
}

#[cfg(test)]
mod tests;

//! What a resource's status says: a function of what we know and of what was there before.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::{Connection, Plan, Step};
use crate::api::vpc_peering::StatusTag;
use crate::api::{ConditionType, PeeringStatus, Reason, VpcPeeringStatus};

/// Separates what an error says from the ID of the one request that it happened to.
pub const REQUEST_ID: &str = " (request ID ";

/// How a resource stands, as its conditions tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// `Ready`; none is `Unknown`.
    pub ready: Option<bool>,
    /// Whether anything is under way.
    pub progress: Progress,
    /// Why.
    pub reason: Reason,
    /// The same for a person.
    pub message: String,
}

/// Whether anything is under way, as kstatus asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing, and nothing is missing.
    Settled,
    /// We or EC2 are working on it.
    Reconciling,
    /// Somebody has to act.
    Stalled,
}

impl Standing {
    /// How a resource stands under this plan; none where only we are concerned.
    #[must_use]
    pub fn under(plan: &Plan) -> Option<Self> {
        let working = Self::working;
        Some(match plan {
            Plan::Release | Plan::Act(Step::AddFinalizer | Step::DryRun | Step::Create | Step::Record(_)) => {
                return None;
            }
            Plan::Act(Step::Accept { id, .. }) => working(Reason::PendingAcceptance, format!("accepting {id}")),
            Plan::Act(Step::Delete { id }) => working(Reason::Deleting, format!("deleting {id}")),
            Plan::Wait { reason: Reason::UnknownStatusCode, message, .. } => {
                Self { ready: None, ..working(Reason::UnknownStatusCode, message.clone()) }
            }
            Plan::Wait { reason, message, .. } => working(*reason, message.clone()),
            Plan::DryRunSucceeded => Self::dry_run_succeeded(),
            Plan::Steady { message } => Self {
                ready: Some(true),
                progress: Progress::Settled,
                reason: Reason::Active,
                message: message.clone(),
            },
            Plan::Stalled { reason, message } => {
                Self { progress: Progress::Stalled, ..working(*reason, message.clone()) }
            }
        })
    }

    /// A resource that is not ready, and on its way.
    #[must_use]
    pub fn working(reason: Reason, message: impl Into<String>) -> Self {
        Self { ready: Some(false), progress: Progress::Reconciling, reason, message: message.into() }
    }

    /// A resource whose dry run EC2 has answered with success: there is nothing more to do.
    #[must_use]
    pub fn dry_run_succeeded() -> Self {
        let message = "EC2 would accept this request; set spec.dryRun to false to make it".into();
        Self { ready: Some(false), progress: Progress::Settled, reason: Reason::DryRun, message }
    }

    /// The conditions, keeping the transition times of those that have not changed.
    #[must_use]
    pub fn conditions(&self, previous: &[Condition], generation: i64, now: Timestamp) -> Vec<Condition> {
        let ready = match self.ready {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let mut conditions = vec![self.condition(ConditionType::Ready, ready, previous, generation, now)];
        let progress = match self.progress {
            Progress::Settled => None,
            Progress::Reconciling => Some(ConditionType::Reconciling),
            Progress::Stalled => Some(ConditionType::Stalled),
        };
        conditions.extend(progress.map(|kind| self.condition(kind, "True", previous, generation, now)));
        conditions
    }

    fn condition(
        &self,
        kind: ConditionType,
        status: &str,
        previous: &[Condition],
        generation: i64,
        now: Timestamp,
    ) -> Condition {
        let condition = Condition {
            type_: kind.as_str().to_owned(),
            status: status.to_owned(),
            reason: self.reason.as_str().to_owned(),
            message: self.message.clone(),
            observed_generation: Some(generation),
            last_transition_time: to_the_second(now),
        };
        following(find(previous, kind), condition)
    }
}

/// The condition as it follows its predecessor: the transition time stays while the status does, and so do the words
/// of an error that only happened again.
#[must_use]
pub fn following(previous: Option<&Condition>, mut condition: Condition) -> Condition {
    if let Some(previous) = previous.filter(|previous| previous.status == condition.status) {
        condition.last_transition_time = previous.last_transition_time.clone();
        if !is_news(Some(previous), &condition) {
            condition.message.clone_from(&previous.message);
        }
    }
    condition
}

/// Whether a condition says something that its predecessor did not; the ID of a request is no news.
#[must_use]
pub fn is_news(previous: Option<&Condition>, condition: &Condition) -> bool {
    previous.is_none_or(|previous| {
        previous.status != condition.status
            || previous.reason != condition.reason
            || without_request_id(&previous.message) != without_request_id(&condition.message)
    })
}

/// The condition of this type.
#[must_use]
pub fn find(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

/// A time as Kubernetes keeps it, in whole seconds, so that what is read back equals what was written.
#[must_use]
pub fn to_the_second(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

fn without_request_id(message: &str) -> &str {
    message.split(REQUEST_ID).next().unwrap_or(message)
}

/// Writes down what EC2 shows of the connection.
pub fn describe(status: &mut VpcPeeringStatus, connection: &Connection) {
    status.vpc_peering_connection_id = Some(connection.id.clone());
    status.status =
        Some(PeeringStatus { code: connection.code.as_str().to_owned(), message: connection.message.clone() });
    status.expiration_time = connection.expiration_time.map(to_the_second);
    status.requester_vpc_info = Some(connection.requester.clone());
    status.accepter_vpc_info = Some(connection.accepter.clone());
    status.tags =
        connection.tags.iter().map(|(key, value)| StatusTag { key: key.clone(), value: value.clone() }).collect();
    status.creation_started_at = None;
}

#[cfg(test)]
mod tests;

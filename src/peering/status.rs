//! What a resource's status says: a function of what we know and of what was there before.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::{Connection, Plan};
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
    /// How a resource stands under this plan; none where the plan is to act, since the outcome decides then.
    #[must_use]
    pub fn under(plan: &Plan) -> Option<Self> {
        let (ready, progress, reason, message) = match plan {
            Plan::Act(_) | Plan::Release => return None,
            Plan::Wait { reason: Reason::UnknownStatusCode, message, .. } => {
                (None, Progress::Reconciling, Reason::UnknownStatusCode, message)
            }
            Plan::Wait { reason, message, .. } => (Some(false), Progress::Reconciling, *reason, message),
            Plan::Steady { reason, message } => (Some(*reason == Reason::Active), Progress::Settled, *reason, message),
            Plan::Stalled { reason, message } => (Some(false), Progress::Stalled, *reason, message),
        };
        Some(Self { ready, progress, reason, message: message.clone() })
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
        let previous = find(previous, kind);
        let same_status = previous.filter(|previous| previous.status == status);
        // The same error again, but for the request's ID: keep the words, so that nothing is written.
        let same_words = same_status.filter(|previous| {
            previous.reason == self.reason.as_str() && without_request_id(&previous.message) == without_request_id(&self.message)
        });
        Condition {
            type_: kind.as_str().to_owned(),
            status: status.to_owned(),
            reason: self.reason.as_str().to_owned(),
            message: same_words.map_or_else(|| self.message.clone(), |previous| previous.message.clone()),
            observed_generation: Some(generation),
            last_transition_time: same_status
                .map_or_else(|| to_the_second(now), |previous| previous.last_transition_time.clone()),
        }
    }
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

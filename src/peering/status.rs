//! What a resource's status says: a function of what we know and of what was there before.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::decision::EXPIRING_SOON;
use super::routes::cidr_blocks;
use super::{AccepterView, Connection, Plan, StatusCode, Trouble};
use crate::api::vpc_peering::StatusTag;
use crate::api::{ConditionType, EndedConnection, Ownership, PeeringStatus, Reason, VpcPeeringSpec, VpcPeeringStatus};

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
    pub fn under<S>(plan: &Plan<S>) -> Option<Self> {
        let working = Self::working;
        Some(match plan {
            Plan::Release | Plan::Act(_) => return None,
            Plan::Suspended { message } => {
                Self { progress: Progress::Settled, ..working(Reason::Suspended, message.clone()) }
            }
            Plan::Wait { reason: Reason::UnknownStatusCode, message, .. } => {
                Self { ready: None, ..working(Reason::UnknownStatusCode, message.clone()) }
            }
            Plan::Wait { reason, message, .. } => working(*reason, message.clone()),
            Plan::DryRunSucceeded => Self::dry_run_succeeded(),
            Plan::Steady { message, .. } => Self {
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

    /// A resource that is not ready, and on its way.
    #[must_use]
    pub fn working(reason: Reason, message: impl Into<String>) -> Self {
        Self { ready: Some(false), progress: Progress::Reconciling, reason, message: message.into() }
    }

    /// A resource that waits for others to go first.
    #[must_use]
    pub fn queued() -> Self {
        Self::working(Reason::Throttled, "waits for its turn: EC2 limits how fast it may be asked")
    }

    /// A resource whose dry run EC2 has answered with success: there is nothing more to do.
    #[must_use]
    pub fn dry_run_succeeded() -> Self {
        let message = "EC2 would accept this request; set spec.dryRun to false to make it".into();
        Self { ready: Some(false), progress: Progress::Settled, reason: Reason::DryRun, message }
    }

    /// Whether it deserves a warning.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        self.progress == Progress::Stalled || self.ready.is_none() || self.reason.is_trouble()
    }

    /// The conditions that every resource has.
    #[must_use]
    pub fn conditions(&self, generation: i64, now: Timestamp) -> Vec<Condition> {
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

/// A condition as it begins.
#[must_use]
pub fn condition(
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

/// The condition that tells of one concern: all is well, or what stands in the way.
#[must_use]
pub fn outcome_condition(
    kind: ConditionType,
    outcome: Result<(), Trouble>,
    generation: i64,
    now: Timestamp,
) -> Condition {
    match outcome {
        Ok(()) => condition(kind, "True", Reason::Synced, "as the spec wants it", generation, now),
        Err(Trouble { reason, message, .. }) => condition(kind, "False", reason, &message, generation, now),
    }
}

/// The finer conditions that hold of a resource whatever its standing.
#[must_use]
pub fn notes(
    spec: &VpcPeeringSpec,
    previous: &[Condition],
    connection: Option<&Connection>,
    upkeep: Option<Vec<(ConditionType, Result<(), Trouble>)>>,
    unexpected: Option<&str>,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let note = |kind, reason, message: &str| condition(kind, "True", reason, message, generation, now);
    let dry_run = find(previous, ConditionType::DryRunSucceeded).filter(|_| spec.dry_run).cloned();
    let suspended =
        spec.suspend.then(|| note(ConditionType::Suspended, Reason::Suspended, "spec.suspend stops all writes to AWS"));
    let expiring =
        connection.filter(|connection| connection.code == StatusCode::PendingAcceptance).and_then(|connection| {
            let (id, expiration) = (&connection.id, *connection.expiration_time.as_deref()?);
            let message = format!("{id} expires at {expiration} unless it is accepted");
            let soon = expiration > now && expiration.duration_since(now) <= EXPIRING_SOON;
            soon.then(|| note(ConditionType::ExpiringSoon, Reason::PendingAcceptance, &message))
        });
    let unexpected =
        unexpected.map(|message| note(ConditionType::UnexpectedConnection, Reason::ConnectionMismatch, message));
    let upkeep = match upkeep {
        Some(upkeep) => {
            let outcomes = upkeep.into_iter().map(|(kind, outcome)| outcome_condition(kind, outcome, generation, now));
            outcomes.chain(unexpected).collect()
        }
        // Nothing new was seen.
        None => [ConditionType::OptionsSynced, ConditionType::RoutesReady, ConditionType::UnexpectedConnection]
            .into_iter()
            .filter_map(|kind| find(previous, kind).cloned())
            .collect::<Vec<_>>(),
    };
    [dry_run, suspended, expiring].into_iter().flatten().chain(upkeep).collect()
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

/// All conditions, each as it follows its predecessor.
#[must_use]
pub fn all_following(previous: &[Condition], conditions: impl IntoIterator<Item = Condition>) -> Vec<Condition> {
    let follow =
        |condition: Condition| following(previous.iter().find(|before| before.type_ == condition.type_), condition);
    conditions.into_iter().map(follow).collect()
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
pub fn describe(status: &mut VpcPeeringStatus, connection: &Connection, ownership: Ownership) {
    status.vpc_peering_connection_id = Some(connection.id.as_str().into());
    status.ownership = Some(ownership);
    status.status = Some(PeeringStatus {
        code: connection.code.as_str().into(),
        message: connection.message.as_deref().map(Into::into),
    });
    status.expiration_time = connection.expiration_time.as_deref().map(|time| to_the_second(*time));
    status.requester_vpc_info = Some(connection.requester.clone());
    status.accepter_vpc_info = Some(connection.accepter.clone());
    status.tags =
        connection.tags.iter().map(|(key, value)| StatusTag { key: key.clone(), value: value.clone() }).collect();
    status.creation_started_at = None;
    if connection.code == StatusCode::Active {
        status.recreations = None;
    }
}

/// Writes down the accepter's CIDR blocks when the peering is first seen to be active, where nobody acts for the accepter: it
/// may add others later, which get no routes by themselves.
pub fn keep_first_blocks(status: &mut VpcPeeringStatus, view: &AccepterView, connection: &Connection) {
    let is_first = connection.code == StatusCode::Active && status.accepted_cidr_blocks.is_none();
    let blocks = cidr_blocks(&connection.accepter);
    if *view == AccepterView::Nobody && is_first && !blocks.is_empty() {
        status.accepted_cidr_blocks = Some(blocks.iter().map(|block| block.to_string().into()).collect());
    }
}

/// Writes down the tags that the accepter's place shows, where it is one of its own.
pub fn describe_accepter(status: &mut VpcPeeringStatus, view: &AccepterView) {
    match view {
        AccepterView::Nobody | AccepterView::Same => status.accepter_tags = Box::default(),
        AccepterView::Elsewhere(Ok(shown)) => {
            let tags = shown.iter().flat_map(|connection| &connection.tags);
            status.accepter_tags =
                tags.map(|(key, value)| StatusTag { key: key.clone(), value: value.clone() }).collect();
        }
        // Nothing new was seen.
        AccepterView::Elsewhere(Err(_)) => {}
    }
}

/// How many ended connections the status keeps.
const HISTORY: usize = 5;

/// Puts a connection that has ended into the history, so that nothing is recorded any more.
pub fn retire(status: &mut VpcPeeringStatus, id: &str, code: &str, recreations: u32, now: Timestamp) {
    let ended =
        EndedConnection { vpc_peering_connection_id: id.to_owned(), code: code.to_owned(), time: to_the_second(now) };
    let surplus = (status.history.len() + 1).saturating_sub(HISTORY);
    status.history = status.history.iter().skip(surplus).cloned().chain([ended]).collect();
    status.recreations = i32::try_from(recreations).ok().filter(|recreations| *recreations > 0);
    status.vpc_peering_connection_id = None;
    status.ownership = None;
    status.status = None;
    status.expiration_time = None;
    status.requester_vpc_info = None;
    status.accepter_vpc_info = None;
    status.tags = Box::default();
    status.accepter_tags = Box::default();
    status.accepter_managed_tags = Box::default();
    status.accepted_cidr_blocks = None;
}

#[cfg(test)]
mod tests;

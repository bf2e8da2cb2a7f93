//! The decision: from what is wanted, recorded and seen, the one next step.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{Connection, Owner, StatusCode};
use crate::api::{Acceptance, DeletionPolicy, Reason, VpcPeeringSpec};

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Desired<'a> {
    /// Whose peering it is.
    pub owner: &'a Owner,
    /// What the user says.
    pub spec: &'a VpcPeeringSpec,
    /// The resource is being deleted.
    pub deleted: bool,
    /// Our finalizer is on the resource.
    pub finalizer: bool,
}

/// What we wrote down earlier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The connection that the resource owns.
    pub connection_id: Option<String>,
    /// A request may have reached EC2 whose answer we never recorded.
    pub creation_started: bool,
    /// EC2 has answered a dry run of this spec: it would succeed.
    pub dry_run_succeeded: bool,
}

/// What EC2 shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// The connection with the recorded ID.
    pub recorded: Option<Connection>,
    /// Live connections that carry the owner's tags.
    pub owned: Vec<Connection>,
    /// A live connection between the same VPCs that is not the owner's.
    pub rival: Option<Connection>,
    /// For how long we have been looking, in vain, for what the record says must be there.
    pub missing_for: Duration,
}

impl Observation {
    /// Whether EC2 shows nothing that is, or may be, the owner's.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.recorded.is_none() && self.owned.is_empty()
    }

    /// Whether EC2 lacks what the record says must be there.
    #[must_use]
    pub fn lacks(&self, recorded: &Recorded) -> bool {
        match recorded.connection_id {
            Some(_) => self.recorded.is_none(),
            None => recorded.creation_started && self.owned.is_empty(),
        }
    }
}

/// What the decision is tuned by.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long EC2 may take to show what it has already done. EC2 promises no bound:
    /// <https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>.
    pub consistency_window: Duration,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Take this step, then observe again.
    Act(Step),
    /// We, or EC2, are on the way: look again when something changes, or after this time.
    Wait {
        /// What for.
        reason: Reason,
        /// The same for a person.
        message: String,
        /// How long to wait at most.
        look_again: Option<Duration>,
    },
    /// The peering is as the spec wants it.
    Steady {
        /// The same for a person.
        message: String,
    },
    /// The dry run that the spec asks for has succeeded.
    DryRunSucceeded,
    /// Nothing will change until somebody acts.
    Stalled {
        /// Why.
        reason: Reason,
        /// What happened, and what to do.
        message: String,
    },
    /// Nothing of ours is left to look after: the finalizer may go.
    Release,
}

/// One effect, safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Put the finalizer on the resource.
    AddFinalizer,
    /// Ask EC2 whether it would create the peering.
    DryRun,
    /// Record the intent, create the peering, record its ID.
    Create,
    /// Record a connection that is ours already.
    Record(Box<Connection>),
    /// Accept the request, in the accepter's region.
    Accept {
        /// Which request.
        id: String,
        /// The accepter's region.
        region: String,
    },
    /// Delete the peering.
    Delete {
        /// Which one.
        id: String,
    },
}

/// How often to look, while something that must be there is not shown.
const MISSING_LOOK_AGAIN: Duration = Duration::from_secs(2);

/// The next step from here.
#[must_use]
pub fn decide(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    now: Timestamp,
    settings: Settings,
) -> Plan {
    if desired.deleted {
        return towards_release(desired, recorded, observed, settings);
    }
    if !desired.finalizer {
        return Plan::Act(Step::AddFinalizer);
    }
    match (&recorded.connection_id, &observed.recorded) {
        (None, _) => towards_connection(desired, recorded, observed, settings),
        (Some(id), None) => missing(id, observed, settings).unwrap_or_else(|| Plan::Stalled {
            reason: Reason::NotFound,
            message: format!("EC2 no longer knows {id}: it was deleted. Delete this resource, and create it again if the peering is still wanted"),
        }),
        (Some(_), Some(connection)) => towards_active(desired, connection, now),
    }
}

/// No connection is recorded yet.
fn towards_connection(desired: Desired<'_>, recorded: &Recorded, observed: &Observation, settings: Settings) -> Plan {
    match observed.owned.as_slice() {
        [] => {}
        [connection] => return Plan::Act(Step::Record(Box::new(connection.clone()))),
        several => {
            let ids: Vec<_> = several.iter().map(|connection| connection.id.as_str()).collect();
            return Plan::Stalled {
                reason: Reason::MultipleConnections,
                message: format!(
                    "{} all carry this resource's ownership tags; delete all but one of them in EC2",
                    ids.join(", ")
                ),
            };
        }
    }
    if recorded.creation_started
        && let Some(wait) = missing("the requested peering connection", observed, settings)
    {
        return wait;
    }
    if let Some(rival) = &observed.rival {
        return Plan::Stalled { reason: Reason::ConnectionNotOwned, message: not_owned(rival) };
    }
    match (desired.spec.dry_run, recorded.dry_run_succeeded) {
        (false, _) => Plan::Act(Step::Create),
        (true, false) => Plan::Act(Step::DryRun),
        (true, true) => Plan::DryRunSucceeded,
    }
}

/// A connection is recorded and shown.
fn towards_active(desired: Desired<'_>, connection: &Connection, now: Timestamp) -> Plan {
    if is_another_owners(desired.owner, connection) {
        return Plan::Stalled { reason: Reason::ConnectionNotOwned, message: not_owned(connection) };
    }
    let id = &connection.id;
    let wait = |reason, message| Plan::Wait { reason, message, look_again: None };
    let stalled = |reason, what: &str, to_do: &str| Plan::Stalled {
        reason,
        message: match &connection.message {
            Some(said) => format!("{id} {what} (EC2 says: {said}). {to_do}"),
            None => format!("{id} {what}. {to_do}"),
        },
    };
    match &connection.code {
        StatusCode::InitiatingRequest => wait(Reason::InitiatingRequest, format!("EC2 is checking the request {id}")),
        StatusCode::PendingAcceptance => pending(desired, connection, now),
        StatusCode::Provisioning => wait(Reason::Provisioning, format!("{id} is accepted, and EC2 is setting it up")),
        StatusCode::Active => Plan::Steady { message: format!("{id} is active") },
        StatusCode::Failed => stalled(
            Reason::Failed,
            "failed",
            "Check that the accepter's VPC, account and region are right and that no CIDR blocks overlap; then delete this resource and create it again",
        ),
        StatusCode::Rejected => stalled(
            Reason::Rejected,
            "was rejected by the accepter's owner",
            "Talk to them; then delete this resource and create it again",
        ),
        StatusCode::Expired => stalled(
            Reason::Expired,
            "expired: nobody accepted it within seven days",
            "Delete this resource and create it again to make a new request",
        ),
        StatusCode::Deleting => wait(Reason::Deleting, format!("{id} is being deleted, and not by this operator")),
        StatusCode::Deleted => stalled(
            Reason::Deleted,
            "was deleted, and not by this operator",
            "Delete this resource, and create it again if the peering is still wanted",
        ),
        StatusCode::Unknown(code) => wait(
            Reason::UnknownStatusCode,
            format!(
                "EC2 shows {id} with the status code {code:?}, which this version does not know; is a newer version of the operator available?"
            ),
        ),
    }
}

/// The request waits for the accepter's owner.
fn pending(desired: Desired<'_>, connection: &Connection, now: Timestamp) -> Plan {
    let id = &connection.id;
    if desired.spec.acceptance == Acceptance::Auto && connection.is_same_account() && !desired.spec.dry_run {
        let spec = desired.spec;
        let region = spec.accepter.region.as_ref().unwrap_or(&spec.requester.region);
        return Plan::Act(Step::Accept { id: id.clone(), region: region.clone() });
    }
    // Only EC2's own code is proof, and it wakes us; ours is a clock that may be wrong, so nothing is done on it.
    if let Some(expiration) = connection.expiration_time
        && expiration <= now
    {
        return Plan::Stalled {
            reason: Reason::Expired,
            message: format!(
                "{id} was not accepted before {expiration}. Delete this resource and create it again to make a new request"
            ),
        };
    }
    let owner = connection.accepter.owner_id.as_deref().unwrap_or("the accepter's owner");
    Plan::Wait {
        reason: Reason::PendingAcceptance,
        message: match connection.expiration_time {
            Some(expiration) => format!("{id} waits for account {owner} to accept it before {expiration}"),
            None => format!("{id} waits for account {owner} to accept it"),
        },
        look_again: connection.expiration_time.and_then(|expiration| expiration.duration_since(now).try_into().ok()),
    }
}

/// The resource is being deleted. Works from the record and EC2 alone, so that no spec can block it.
fn towards_release(desired: Desired<'_>, recorded: &Recorded, observed: &Observation, settings: Settings) -> Plan {
    if !desired.finalizer || desired.spec.deletion_policy == DeletionPolicy::Retain {
        return Plan::Release;
    }
    match (&recorded.connection_id, &observed.recorded, observed.owned.first()) {
        (None, _, Some(unrecorded)) => Plan::Act(Step::Record(Box::new(unrecorded.clone()))),
        (Some(_), Some(connection), _) if is_another_owners(desired.owner, connection) => Plan::Release,
        (Some(_), Some(connection), other) => {
            towards_deleted(connection).or_else(|| other.and_then(towards_deleted)).unwrap_or(Plan::Release)
        }
        // What else carries our tags is deleted while we make sure that this one is gone.
        (Some(id), None, other) => {
            other.and_then(towards_deleted).or_else(|| missing(id, observed, settings)).unwrap_or(Plan::Release)
        }
        (None, _, None) if recorded.creation_started => {
            missing("the requested peering connection", observed, settings).unwrap_or(Plan::Release)
        }
        (None, _, None) => Plan::Release,
    }
}

/// The next step to see a connection deleted; none when it has ended.
fn towards_deleted(connection: &Connection) -> Option<Plan> {
    let id = connection.id.clone();
    let wait = |message| Some(Plan::Wait { reason: Reason::Deleting, message, look_again: None });
    match &connection.code {
        StatusCode::PendingAcceptance | StatusCode::Active | StatusCode::Unknown(_) => {
            Some(Plan::Act(Step::Delete { id }))
        }
        // EC2 deletes neither; both pass by themselves.
        StatusCode::InitiatingRequest | StatusCode::Provisioning => {
            wait(format!("{id} is {}; it is deleted as soon as EC2 allows", connection.code))
        }
        StatusCode::Deleting => wait(format!("EC2 is deleting {id}")),
        StatusCode::Failed | StatusCode::Rejected | StatusCode::Expired | StatusCode::Deleted => None,
    }
}

/// EC2 does not show what the record says must be there. It may lag, so it is believed only after a while.
fn missing(what: &str, observed: &Observation, settings: Settings) -> Option<Plan> {
    let left = settings.consistency_window.checked_sub(observed.missing_for).filter(|left| !left.is_zero())?;
    Some(Plan::Wait {
        reason: Reason::AwaitingConsistency,
        message: format!(
            "EC2 does not show {what}; that is believed when it has held for {} s, since EC2 may lag",
            settings.consistency_window.as_secs_f32()
        ),
        look_again: Some(left.min(MISSING_LOOK_AGAIN)),
    })
}

/// Missing tags prove nothing, they can be removed by hand; another owner's do.
fn is_another_owners(owner: &Owner, connection: &Connection) -> bool {
    Owner::of(&connection.tags).is_some() && !owner.is_named_by(&connection.tags)
}

/// What to say of a connection that is not ours.
#[must_use]
pub fn not_owned(connection: &Connection) -> String {
    let id = &connection.id;
    let code = &connection.code;
    match Owner::of(&connection.tags) {
        Some(owner) => format!(
            "{id} ({code}) already joins these VPCs and belongs to {owner}. Delete one of the two resources; this one leaves {id} alone"
        ),
        None => format!(
            "{id} ({code}) already joins these VPCs and was not made by this operator. Delete it in EC2, or delete this resource, which leaves {id} alone"
        ),
    }
}

#[cfg(test)]
mod tests;

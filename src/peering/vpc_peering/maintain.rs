//! An owned connection: its upkeep while it is live, and the next step after it has ended.

use k8s_openapi::jiff::Timestamp;

use super::state::{Desired, Recorded};
use super::step::Step;
use crate::api::{Reason, TerminalState};
use crate::peering::blocker::Blocker;
use crate::peering::connection::{Connection, StatusCode};
use crate::peering::plan::{AspectStatus, Plan};
use crate::peering::settings::{CLOCK_SKEW, EXPIRING_SOON, MAX_RECREATIONS};

/// The remedy for a peering that has ended.
const REQUEST_AGAIN: &str =
    "For a new request, annotate this resource with vpcpeering.dev/reconcile-at and the present time as its value";

/// The next step for the recorded connection.
pub(super) fn maintain(
    desired: Desired<'_>,
    recorded: &Recorded,
    connection: &Connection,
    aspects: &[AspectStatus<Step>],
    now: Timestamp,
) -> Plan<Step> {
    match &connection.code {
        StatusCode::PendingAcceptance | StatusCode::Active if desired.spec.dry_run => {
            by_code_and_expiry(connection, now)
        }
        StatusCode::PendingAcceptance | StatusCode::Active => {
            if let Some(step) = aspects.iter().find_map(|status| status.step.clone()) {
                return Plan::Act(step);
            }
            if let Some(blocker) = Blocker::join(aspects.iter().filter_map(|status| status.blocker.as_ref())) {
                return blocker.into();
            }
            match by_code_and_expiry(connection, now) {
                Plan::Settled { message, .. } => Plan::Settled {
                    message,
                    requeue_after: aspects.iter().filter_map(|status| status.requeue_after).min(),
                },
                plan => plan,
            }
        }
        StatusCode::Failed => ended(desired, recorded, TerminalState::Failed, connection),
        StatusCode::Rejected => ended(desired, recorded, TerminalState::Rejected, connection),
        StatusCode::Expired => ended(desired, recorded, TerminalState::Expired, connection),
        StatusCode::Deleted => ended(desired, recorded, TerminalState::Deleted, connection),
        StatusCode::InitiatingRequest | StatusCode::Provisioning | StatusCode::Deleting | StatusCode::Unknown(_) => {
            by_code(connection)
        }
    }
}

fn ended(desired: Desired<'_>, recorded: &Recorded, state: TerminalState, connection: &Connection) -> Plan<Step> {
    recreate(desired, recorded, state, &connection.id, connection.code.as_str()).unwrap_or_else(|| by_code(connection))
}

/// A new request, if the spec or a person asks for it.
fn recreate(
    desired: Desired<'_>,
    recorded: &Recorded,
    state: TerminalState,
    id: &str,
    code: &str,
) -> Option<Plan<Step>> {
    let spec = desired.spec;
    let recreations = if desired.reconcile_requested {
        0
    } else if spec.recreate_on.contains(&state) && recorded.recreations < MAX_RECREATIONS {
        recorded.recreations + 1
    } else {
        return None;
    };
    // An adopted connection was not requested by this resource, so that there is no request to repeat.
    spec.vpc_peering_connection_id
        .is_none()
        .then(|| Plan::Act(Step::Retire { id: id.to_owned(), code: code.to_owned(), recreations }))
}

/// The plan for a recorded connection that EC2 has not shown for the consistency window.
pub(super) fn not_found(desired: Desired<'_>, recorded: &Recorded, id: &str) -> Plan<Step> {
    recreate(desired, recorded, TerminalState::Deleted, id, StatusCode::Deleted.as_str()).unwrap_or_else(|| {
        Plan::stalled(
            Reason::NotFound,
            format!("EC2 no longer shows {id}: it was deleted, or it ended some hours ago. {REQUEST_AGAIN}"),
        )
    })
}

/// The plan by the status code, and for a pending request by its expiry.
pub(super) fn by_code_and_expiry(connection: &Connection, now: Timestamp) -> Plan<Step> {
    if connection.code != StatusCode::PendingAcceptance {
        return by_code(connection);
    }
    let id = &connection.id;
    let owner = connection.accepter.owner_id.as_deref().unwrap_or("the accepter's owner");
    let Some(expiration) = connection.expiration_time else {
        return by_code(connection);
    };
    // EC2's status code is the proof, and its change wakes the resource. The local clock may be wrong.
    if expiration.saturating_add(CLOCK_SKEW).is_ok_and(|expired| expired <= now) {
        return Plan::stalled(Reason::Expired, format!("{id} was not accepted before {expiration}. {REQUEST_AGAIN}"));
    }
    let left = expiration.duration_since(now);
    let until_next = if left > EXPIRING_SOON { left - EXPIRING_SOON } else { left + CLOCK_SKEW };
    Plan::Wait {
        reason: Reason::PendingAcceptance,
        message: format!("waiting for account {owner} to accept {id} before {expiration}"),
        requeue_after: until_next.try_into().ok(),
    }
}

/// The plan by the status code alone.
pub(super) fn by_code(connection: &Connection) -> Plan<Step> {
    let id = &connection.id;
    let wait = |reason, message| Plan::Wait { reason, message, requeue_after: None };
    let ended = |reason, state: &str, remedy: &str| {
        let from_ec2 = connection.message.as_ref().map(|message| format!(" (EC2 says: {message})")).unwrap_or_default();
        Plan::stalled(reason, format!("{id} {state}{from_ec2}. {remedy}{REQUEST_AGAIN}"))
    };
    match &connection.code {
        StatusCode::InitiatingRequest => wait(Reason::InitiatingRequest, format!("EC2 is checking the request {id}")),
        StatusCode::PendingAcceptance => {
            wait(Reason::PendingAcceptance, format!("waiting for the accepter's owner to accept {id}"))
        }
        StatusCode::Provisioning => wait(Reason::Provisioning, format!("{id} is accepted; EC2 is provisioning it")),
        StatusCode::Active => Plan::Settled { message: format!("{id} is active"), requeue_after: None },
        StatusCode::Failed => ended(
            Reason::Failed,
            "failed",
            "Check the accepter's VPC, account and region, and that no CIDR blocks overlap. ",
        ),
        StatusCode::Rejected => {
            ended(Reason::Rejected, "was rejected by the accepter's owner", "Ask the owner for the reason. ")
        }
        StatusCode::Expired => ended(Reason::Expired, "expired: nobody accepted it within seven days", ""),
        StatusCode::Deleting => {
            wait(Reason::Deleting, format!("{id} is being deleted by a person or tool other than this operator"))
        }
        StatusCode::Deleted => ended(Reason::Deleted, "was deleted by a person or tool other than this operator", ""),
        StatusCode::Unknown(code) => wait(
            Reason::UnknownStatusCode,
            format!("EC2 shows {id} with the unknown status code {code:?}; check for a newer version of the operator"),
        ),
    }
}

//! `spec.adopt`: connections that somebody else accepted, and that this resource takes over. EC2 has to show an active
//! connection to the VPC that nobody owns. `spec.deny` overrides every adoption.

use std::collections::BTreeSet;

use super::rules::Rule;
use super::state::{Desired, Observation};
use super::upkeep::ConnectionAspect;
use crate::api::Reason;
use crate::peering::authority::{Authorized, Hint};
use crate::peering::blocker::Blocker;
use crate::peering::connection::{Connection, StatusCode};
use crate::peering::settings::STALLED_REQUEUE;

/// The field that lists connections.
const IDS: &str = "spec.adopt.connectionIds";

/// The reason why a connection is not adopted.
pub(super) enum Refusal {
    /// The spec does not ask for it. The resource can be ready all the same.
    Unasked(String),
    /// The spec asks for it, and something is in the way.
    Blocked(Blocker),
}

impl Refusal {
    pub(super) fn message(&self) -> &str {
        match self {
            Self::Unasked(message) => message,
            Self::Blocked(blocker) => &blocker.message,
        }
    }
}

/// Checks whether the resource adopts a live connection, as EC2 shows it now.
///
/// # Errors
/// If the spec does not ask for it, its lists do not allow it, it is not active, another resource has a claim to it, or
/// the identity may not adopt.
pub(super) fn adopt(
    desired: Desired<'_>,
    observed: &Observation,
    connection: &Connection,
) -> Result<Authorized, Refusal> {
    let id = connection.id.as_str();
    let is_named = is_named(desired, id);
    let matches = desired.spec.adopt.as_ref().is_some_and(|adopt| adopt.matching);
    if !is_named && !matches {
        return Err(Refusal::Unasked("it was not accepted by this resource, which leaves it alone".into()));
    }
    let refuse = |reason, why: String| match refusal(desired, id, reason, &why) {
        Some(blocker) => Err(Refusal::Blocked(blocker)),
        None => Err(Refusal::Unasked(format!("it was accepted by somebody else, and is not adopted: {why}"))),
    };
    if let Some(older) = &observed.older_accepter {
        return refuse(Reason::ConnectionNotOwned, format!("{older} is older and decides on it"));
    }
    if observed.claimed.contains(id) {
        return refuse(Reason::ConnectionNotOwned, "a VpcPeering of this cluster owns it".into());
    }
    match desired.rule(connection) {
        Rule::Deny(reason) => return refuse(Reason::InvalidRequest, reason),
        Rule::Neither(reason) if !is_named => return refuse(Reason::InvalidRequest, reason),
        Rule::Neither(_) | Rule::Accept => {}
    }
    if connection.code != StatusCode::Active {
        return refuse(waits_for(&connection.code), format!("it is {}, not active", connection.code));
    }
    desired.authority().over(connection, Hint::Named).or_else(|blocker| match blocker.reason {
        Reason::ActionNotAllowed if !is_named => Err(Refusal::Blocked(blocker)),
        reason => refuse(reason, blocker.message),
    })
}

/// The blocker, if the spec names the connection.
pub(super) fn refusal(desired: Desired<'_>, id: &str, reason: Reason, why: &str) -> Option<Blocker> {
    let message = || format!("{IDS}: {id} was not adopted, and not changed: {why}; solve this, or remove the ID");
    is_named(desired, id).then(|| match reason {
        Reason::PendingAcceptance | Reason::Provisioning | Reason::Deleting => {
            Blocker::passing(reason, message(), STALLED_REQUEUE)
        }
        _ => Blocker::stalled(reason, message()),
    })
}

/// The listed connections that EC2 does not show at this VPC, or that have ended. The others have a judgement.
pub(super) fn not_live(desired: Desired<'_>, observed: &Observation) -> Vec<ConnectionAspect> {
    let end = desired.end;
    let why_not = |id: &str| match observed.connections.get(id) {
        None => Some((
            Reason::NotFound,
            format!(
                "EC2 shows no such connection with the accepter {} in {}; check the ID, the account and the region. \
                 If {} is the requester, use a VpcPeering with spec.vpcPeeringConnectionId",
                end.vpc_id, end.region, end.vpc_id
            ),
        )),
        Some(connection) if connection.code.has_ended() => {
            Some((waits_for(&connection.code), format!("it has ended, and is {}", connection.code)))
        }
        Some(_) => None,
    };
    let ids: BTreeSet<&String> = desired.spec.adopt.iter().flat_map(|adopt| &adopt.connection_ids).collect();
    let blocked = |id: &String| {
        let (reason, why) = why_not(id)?;
        Some(ConnectionAspect::acceptance(id, None, refusal(desired, id, reason, &why)))
    };
    ids.into_iter().filter_map(blocked).collect()
}

fn is_named(desired: Desired<'_>, id: &str) -> bool {
    desired.spec.adopt.iter().flat_map(|adopt| &adopt.connection_ids).any(|named| named == id)
}

fn waits_for(code: &StatusCode) -> Reason {
    match code {
        StatusCode::InitiatingRequest | StatusCode::PendingAcceptance => Reason::PendingAcceptance,
        StatusCode::Provisioning | StatusCode::Active => Reason::Provisioning,
        StatusCode::Deleting => Reason::Deleting,
        StatusCode::Failed => Reason::Failed,
        StatusCode::Rejected => Reason::Rejected,
        StatusCode::Expired => Reason::Expired,
        StatusCode::Deleted => Reason::Deleted,
        StatusCode::Unknown(_) => Reason::UnknownStatusCode,
    }
}

//! The judgement on one connection to the VPC: its owner, and the decision on the request.

use super::adoption::{self, Refusal};
use super::rules::{RouteRule, Rule};
use super::state::{Desired, Observation, Recorded};
use super::step::Step;
use super::upkeep::{self, ConnectionAspect};
use crate::api::{AccepterDecision, Reason};
use crate::peering::authority::Hint;
use crate::peering::blocker::Blocker;
use crate::peering::connection::{Connection, StatusCode};
use crate::peering::owner::Owner;
use crate::peering::settings::MISSING_REQUEUE;

/// The decision on a connection, for the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub id: String,
    pub decision: AccepterDecision,
    /// The reason of the decision.
    pub message: Option<String>,
    /// Whether the operator keeps the tags, options and routes of the connection.
    pub is_ours: bool,
}

/// A verdict and its consequences.
pub(super) struct Judgement {
    pub verdict: Verdict,
    pub aspects: Vec<ConnectionAspect>,
    /// Whether the request would be accepted if `maxConnections` allowed it.
    pub lacks_room: bool,
}

impl Judgement {
    fn new(id: &str, decision: AccepterDecision, message: Option<String>, is_ours: bool) -> Self {
        let verdict = Verdict { id: id.to_owned(), decision, message, is_ours };
        Self { verdict, aspects: Vec::new(), lacks_room: false }
    }
}

/// The reason why a connection is not to this VPC, or belongs to another resource. `None` if it may be this resource's.
pub(super) fn foreign(desired: Desired<'_>, connection: &Connection) -> Option<String> {
    if let Some(difference) = desired.authority().difference(connection) {
        return Some(difference);
    }
    let tag = |key: &str| connection.tags.get(key).map(ToString::to_string).unwrap_or_default();
    // The name of a resource in another namespace is confidential.
    let owner = |kind: &str, [namespace, name]: [&str; 2]| {
        if tag(namespace) == desired.owner.namespace {
            format!("it belongs to {kind} {}/{}", tag(namespace), tag(name))
        } else {
            format!("it belongs to a {kind} of another namespace or cluster")
        }
    };
    if connection.tags.contains_key(Owner::UID) {
        return Some(owner("VpcPeering", [Owner::NAMESPACE, Owner::NAME]));
    }
    let is_tagged = Owner::accepter_of(&connection.tags).is_some();
    (is_tagged && !is_tagged_ours(desired, connection))
        .then(|| owner("VpcPeeringAccepter", [Owner::ACCEPTER_NAMESPACE, Owner::ACCEPTER_NAME]))
}

/// Whether the tags name this resource, or an earlier one of its name, as the accepter.
pub(super) fn is_tagged_ours(desired: Desired<'_>, connection: &Connection) -> bool {
    let authority = desired.authority();
    authority.is_ours(&connection.tags) || authority.is_predecessors(&connection.tags)
}

/// The judgement on a connection that is no pending request, or that belongs to another resource. `None` if the status
/// does not mention it.
pub(super) fn judge_connection(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    connection: &Connection,
) -> Option<Judgement> {
    let id = connection.id.as_str();
    let has_ended = connection.code.has_ended();
    let is_recorded = recorded.acceptance(id).is_some();
    let ignored = |message| Judgement::new(id, AccepterDecision::Ignored, Some(message), false);
    if let Some(message) = foreign(desired, connection) {
        let blocker = adoption::refusal(desired, id, Reason::ConnectionNotOwned, &message).filter(|_| !has_ended);
        let aspects = blocker.map(|blocker| ConnectionAspect::acceptance(id, None, Some(blocker))).into_iter();
        // The record stays, and so do the routes that it names.
        return (!has_ended || is_recorded).then(|| Judgement { aspects: aspects.collect(), ..ignored(message) });
    }
    let is_tagged = is_tagged_ours(desired, connection);
    if !is_tagged && !has_ended && !counts_as_accepted(desired, recorded, connection) {
        return Some(judge_untagged(desired, recorded, observed, connection));
    }
    if is_recorded || (is_tagged && !has_ended) {
        return Some(judge_accepted(desired, recorded, observed, connection));
    }
    if connection.code == StatusCode::Rejected {
        let before = recorded.connections.get(id).map(|record| record.decision);
        let is_denied = || matches!(desired.rule(connection), Rule::Deny(_)) && desired.spec.reject;
        let is_ours = before == Some(AccepterDecision::Rejected) || is_denied();
        return is_ours.then(|| Judgement::new(id, AccepterDecision::Rejected, None, false));
    }
    None
}

/// Whether the record that this resource accepted the connection counts, although no tags prove it.
fn counts_as_accepted(desired: Desired<'_>, recorded: &Recorded, connection: &Connection) -> bool {
    let is_accepted = recorded.acceptance(&connection.id).is_some_and(|record| record.accepted_at.is_some());
    is_accepted && desired.rule(connection) == Rule::Accept
}

/// The judgement on a live connection whose tags name nobody, and that this resource has not accepted by its record and
/// its lists.
fn judge_untagged(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    connection: &Connection,
) -> Judgement {
    let id = connection.id.as_str();
    let refusal = match adoption::adopt(desired, observed, connection) {
        Ok(_) if recorded.acceptance(id).is_some() => {
            return judge_accepted(desired, recorded, observed, connection);
        }
        Ok(target) => {
            let step = Step::RecordAdoption { id: target };
            let aspects = vec![ConnectionAspect::acceptance(id, Some(step), None)];
            return Judgement { aspects, ..Judgement::new(id, AccepterDecision::Accepted, None, true) };
        }
        Err(refusal) => refusal,
    };
    // A connection whose blocks the lists do not allow is reported, and nothing of it changes.
    if let Some(blocker) = upkeep::violation(desired, recorded, connection) {
        let accepted = Judgement::new(id, AccepterDecision::Accepted, Some(blocker.message.clone()), true);
        return Judgement { aspects: upkeep::withheld(desired, id, &blocker), ..accepted };
    }
    let message = if recorded.acceptance(id).is_some() {
        "the status records it as accepted or adopted, but it has no tags of this resource, and neither spec.accept nor spec.adopt allows it; the operator left it alone".to_owned()
    } else {
        refusal.message().to_owned()
    };
    let aspects = match refusal {
        Refusal::Blocked(blocker) => vec![ConnectionAspect::acceptance(id, None, Some(blocker))],
        Refusal::Unasked(_) => Vec::new(),
    };
    Judgement { aspects, ..Judgement::new(id, AccepterDecision::Ignored, Some(message), false) }
}

/// The judgement on a connection that this resource has accepted.
fn judge_accepted(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    connection: &Connection,
) -> Judgement {
    let id = connection.id.as_str();
    let has_ended = connection.code.has_ended();
    let accepted = |message| Judgement::new(id, AccepterDecision::Accepted, message, true);
    let target = match desired.authority().over(connection, Hint::Requested) {
        Ok(target) => target,
        Err(blocker) => {
            let blocked = ConnectionAspect::acceptance(id, None, Some(blocker));
            let aspects = if has_ended { Vec::new() } else { vec![blocked] };
            return Judgement { aspects, ..accepted(None) };
        }
    };
    let violation = upkeep::violation(desired, recorded, connection).map(|blocker| blocker.message);
    let message = violation.or_else(|| match upkeep::route_rule(desired, recorded, connection) {
        RouteRule::NoRoutes(message) if desired.spec.routes.is_some() && !has_ended => Some(message),
        _ => None,
    });
    let aspects = if connection.code.is_accepted() {
        upkeep::aspects(desired, recorded, observed, (connection, &target))
    } else {
        Vec::new()
    };
    Judgement { aspects, ..accepted(message) }
}

/// The judgement on a pending request. `may_be_accepted` says whether an earlier call may have accepted it already.
pub(super) fn judge_request(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    request: &Connection,
    (has_room, may_be_accepted): (bool, bool),
) -> Judgement {
    let id = request.id.as_str();
    // EC2 may not show yet that the request was accepted. Until then it keeps its upkeep.
    let unless_accepted = |decision, reason: String, step: Option<Step>| {
        if !may_be_accepted {
            let code = request.code.to_string();
            let named = adoption::refusal(desired, id, Reason::PendingAcceptance, &format!("it is {code}: {reason}"));
            let due = step.is_some() || named.is_some();
            let aspects = due.then(|| ConnectionAspect::acceptance(id, step, named)).into_iter().collect();
            return Judgement { aspects, ..Judgement::new(id, decision, Some(reason), false) };
        }
        let message = format!("waiting for EC2 to show whether {id} was accepted (eventual consistency)");
        let waits = Blocker::passing(Reason::AwaitingConsistency, message, MISSING_REQUEUE);
        let aspects = vec![ConnectionAspect::acceptance(id, None, Some(waits))];
        Judgement { aspects, ..Judgement::new(id, AccepterDecision::Accepted, Some(reason), true) }
    };
    if let Some(older) = &observed.older_accepter {
        return unless_accepted(AccepterDecision::Pending, format!("{older} decides on it"), None);
    }
    let target = match desired.authority().over(request, Hint::Requested) {
        Ok(target) => target,
        Err(blocker) => return unless_accepted(AccepterDecision::Pending, blocker.message, None),
    };
    let rule = desired.rule(request);
    if let (Rule::Accept, Some(excess)) = (&rule, desired.excess_tags()) {
        return unless_accepted(AccepterDecision::Pending, excess.message, None);
    }
    match rule {
        Rule::Deny(reason) => {
            let step = desired.spec.reject.then(|| Step::Reject { id: target.clone() });
            unless_accepted(AccepterDecision::Denied, reason, step)
        }
        Rule::Neither(reason) => unless_accepted(AccepterDecision::Pending, reason, None),
        Rule::Accept if !has_room => {
            let reason = "spec.accept allows it, but the number of live connections has reached spec.maxConnections or the AWS quota";
            Judgement { lacks_room: true, ..unless_accepted(AccepterDecision::Pending, reason.into(), None) }
        }
        Rule::Accept => {
            let is_recorded = recorded.acceptance(id).is_some_and(|record| record.accepted_at.is_some());
            let step = if is_recorded { Step::Accept { id: target } } else { Step::RecordAcceptance { id: target } };
            let aspects = vec![ConnectionAspect::acceptance(id, Some(step), None)];
            Judgement { aspects, ..Judgement::new(id, AccepterDecision::Accepted, None, true) }
        }
    }
}

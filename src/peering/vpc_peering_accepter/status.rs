//! What the status says: a function of what was decided, of what we know, and of what was there before.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;

use super::decision::{Decision, is_gone};
use super::review::Verdict;
use super::{Observation, Recorded};
use crate::api::{
    AccepterDecision, ConditionType, Reason, RequestedConnection, Requester, VpcPeeringAccepterSpec,
    VpcPeeringAccepterStatus,
};
use crate::peering::routes::cidr_blocks;
use crate::peering::status::{Readiness, condition, outcome_condition, to_the_second};
use crate::peering::{Connection, Endpoint, Plan, Settings, StatusCode};

/// How many connections that we have not accepted the status lists; it has to fit into an object of the API server's.
const LISTED: usize = 100;

/// How the resource stands under this decision; none where only we are concerned.
#[must_use]
pub fn readiness(decision: &Decision) -> Option<Readiness> {
    let readiness = Readiness::under(&decision.plan)?;
    Some(match &decision.plan {
        Plan::Settled { .. } => Readiness { reason: Reason::Synced, ..readiness },
        _ => readiness,
    })
}

/// The finer conditions that hold whatever the readiness.
#[must_use]
pub fn notes(spec: &VpcPeeringAccepterSpec, decision: &Decision, generation: i64, now: Timestamp) -> Vec<Condition> {
    let note = |kind, reason, message: &str| condition(kind, "True", reason, message, generation, now);
    let suspended =
        spec.suspend.then(|| note(ConditionType::Suspended, Reason::Suspended, "spec.suspend stops all writes to AWS"));
    let at_capacity = decision.at_capacity.as_ref();
    let at_capacity = at_capacity.map(|message| note(ConditionType::AtCapacity, Reason::MaxConnections, message));
    let outcomes = decision.outcomes.iter().cloned();
    let outcomes = outcomes.map(|(kind, outcome)| outcome_condition(kind, outcome, generation, now));
    suspended.into_iter().chain(at_capacity).chain(outcomes).collect()
}

/// Writes down which VPC it is.
pub fn locate(status: &mut VpcPeeringAccepterStatus, end: &Endpoint) {
    status.vpc = Some(end.to_status());
    status.owner_id.clone_from(&end.owner_id);
}

/// Writes down what became of each request.
pub fn describe(
    status: &mut VpcPeeringAccepterStatus,
    verdicts: &[Verdict],
    recorded: &Recorded,
    observed: &Observation,
    settings: Settings,
) {
    let mut listed = BTreeMap::new();
    let mut others = Vec::new();
    for verdict in verdicts {
        let Some(connection) = observed.connections.get(&verdict.id) else { continue };
        let described = described(verdict, connection, recorded.acceptance(&verdict.id));
        if described.accepted_at.is_some() {
            listed.insert(verdict.id.clone(), described);
        } else {
            others.push(described);
        }
    }
    // What EC2 does not show any more is kept until it is certainly gone, and leaves nothing behind.
    for record in recorded.accepted() {
        let id = &record.vpc_peering_connection_id;
        let has_routes = recorded.routes.iter().any(|route| route.vpc_peering_connection_id == *id);
        let is_shown = observed.connections.contains_key(id);
        if !is_shown && (has_routes || !is_gone(observed, settings, record)) {
            listed.insert(id.clone(), record.clone());
        }
    }
    let count = |decision| verdicts.iter().filter(|verdict| verdict.decision == decision).count();
    let number = |count: usize| i32::try_from(count).ok();
    let is_living = |id: &String| observed.connections.get(id).is_some_and(|connection| !connection.code.has_ended());
    let living = verdicts.iter().filter(|verdict| verdict.is_ours && is_living(&verdict.id));
    let (pending, denied) = (count(AccepterDecision::Pending), count(AccepterDecision::Denied));
    status.accepted = number(living.count());
    status.pending = number(pending + denied);
    status.denied = number(denied);
    status.rejected = number(count(AccepterDecision::Rejected));
    status.ignored = number(count(AccepterDecision::Ignored));
    // What waits for somebody comes first.
    let rank = |decision: AccepterDecision| match decision {
        AccepterDecision::Pending => 0,
        AccepterDecision::Denied => 1,
        AccepterDecision::Ignored => 2,
        AccepterDecision::Rejected => 3,
        AccepterDecision::Accepted => 4,
    };
    others.sort_by_key(|other| (rank(other.decision), other.vpc_peering_connection_id.clone()));
    others.truncate(LISTED);
    listed.extend(others.into_iter().map(|other| (other.vpc_peering_connection_id.clone(), other)));
    status.connections = listed.into_values().collect();
}

fn described(verdict: &Verdict, connection: &Connection, record: Option<&RequestedConnection>) -> RequestedConnection {
    // A request that we were about to accept, and that the spec no longer lets in, is forgotten; what was accepted is not.
    let is_kept = verdict.is_ours || connection.code != StatusCode::PendingAcceptance;
    let record = record.filter(|_| is_kept);
    let blocks = record.map(|record| record.accepted_cidr_blocks.clone()).unwrap_or_default();
    let is_first = blocks.is_empty() && record.is_some() && verdict.is_ours;
    RequestedConnection {
        vpc_peering_connection_id: connection.id.clone(),
        requester: Requester {
            owner_id: connection.requester.owner_id.as_deref().map(Into::into),
            vpc_id: connection.requester.vpc_id.as_deref().map(Into::into),
            region: connection.requester.region.as_deref().map(Into::into),
        },
        code: Some(connection.code.as_str().to_owned()),
        decision: verdict.decision,
        message: verdict.message.clone(),
        accepted_at: record.and_then(|record| record.accepted_at.clone()),
        managed_tags: record.map(|record| record.managed_tags.clone()).unwrap_or_default(),
        accepted_cidr_blocks: if is_first { first_blocks(connection) } else { blocks },
    }
}

/// The requester's CIDR blocks when a connection is first seen to be active, where the requester is another account's: it may
/// add others later, which get no routes by themselves.
fn first_blocks(connection: &Connection) -> Vec<String> {
    let is_foreign = connection.requester.owner_id != connection.accepter.owner_id;
    if connection.code != StatusCode::Active || !is_foreign {
        return Vec::new();
    }
    cidr_blocks(&connection.requester).iter().map(ToString::to_string).collect()
}

/// Writes those down before the first route is made.
pub fn keep_first_blocks(status: &mut VpcPeeringAccepterStatus, connection: &Connection) {
    let records = status.connections.iter_mut();
    for record in records.filter(|record| record.vpc_peering_connection_id == connection.id) {
        if record.accepted_cidr_blocks.is_empty() {
            record.accepted_cidr_blocks = first_blocks(connection);
        }
    }
}

/// Writes down that a connection is ours to accept, and to look after.
pub fn record_acceptance(status: &mut VpcPeeringAccepterStatus, connection: &Connection, now: Timestamp) {
    let verdict =
        Verdict { id: connection.id.clone(), decision: AccepterDecision::Accepted, message: None, is_ours: true };
    let record = RequestedConnection { accepted_at: Some(to_the_second(now)), ..described(&verdict, connection, None) };
    status.connections.retain(|other| other.vpc_peering_connection_id != connection.id);
    status.connections.push(record);
    status.connections.sort_by(|one, other| one.vpc_peering_connection_id.cmp(&other.vpc_peering_connection_id));
}

//! The status of a `VpcPeeringAccepter`: a pure function of the stored status and the decision.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;

use super::assessment::Assessment;
use super::deletion_summary::summary;
use super::judge::Verdict;
use super::state::{Desired, Observation, Recorded};
use super::step::Step;
use crate::api::{
    AccepterDecision, ConditionType, Reason, RequestedConnection, Requester, VpcPeeringAccepterSpec,
    VpcPeeringAccepterStatus,
};
use crate::peering::conditions::{ASPECTS, Readiness, all_following, aspect_condition, condition, find, to_the_second};
use crate::peering::connection::{Connection, StatusCode};
use crate::peering::endpoints::Endpoint;
use crate::peering::goal::Goal;
use crate::peering::plan::Plan;
use crate::peering::routes::cidr_blocks;
use crate::peering::settings::Settings;
use crate::peering::upkeep::UpkeepStep;

/// The number of connections of others in the status, which has to fit into one object of the API server.
const LISTED: usize = 100;

/// The status under a decision. It stays as it is if the plan is to act.
pub(super) fn report(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    assessment: &Assessment,
    now: Timestamp,
    settings: Settings,
) -> VpcPeeringAccepterStatus {
    let mut status = desired.status.cloned().unwrap_or_default();
    let Some(mut readiness) = Readiness::under(&assessment.plan) else { return status };
    if matches!(assessment.plan, Plan::Settled { .. }) {
        readiness.reason = Reason::Synced;
    }
    locate(&mut status, desired.end);
    // The verdicts of a deleted resource are not complete.
    if !desired.deleted {
        describe(&mut status, &assessment.verdicts, recorded, observed, settings);
    }
    status.deletion = summary(desired, recorded, observed);
    if readiness.reason != Reason::AwaitingConsistency {
        status.last_handled_reconcile_at = desired.reconcile_at.map(ToOwned::to_owned);
    }
    let generation = desired.generation;
    let present = |kind, reason, message: &str| condition(kind, "True", reason, message, generation, now);
    let at_capacity = assessment.at_capacity.as_ref();
    let at_capacity = at_capacity.map(|message| present(ConditionType::AtCapacity, Reason::MaxConnections, message));
    let aspects = assessment.aspects.iter().cloned();
    let aspects = aspects.map(|(kind, outcome)| aspect_condition(kind, outcome, generation, now));
    let details = at_capacity.into_iter().chain(aspects).collect();
    conclude(status, &desired.goal(), &readiness, details, now)
}

/// The status of a resource about which nothing new was seen. `answered` is the annotation value that the status
/// answers.
pub(crate) fn report_blocked(
    goal: &Goal<'_, VpcPeeringAccepterSpec>,
    status: Option<&VpcPeeringAccepterStatus>,
    readiness: &Readiness,
    answered: Option<&str>,
    now: Timestamp,
) -> VpcPeeringAccepterStatus {
    let mut status = status.cloned().unwrap_or_default();
    if let Some(answered) = answered {
        status.last_handled_reconcile_at = Some(answered.to_owned());
    }
    let aspects = ASPECTS.into_iter().filter(|_| !goal.deleted);
    let kept = aspects.chain([ConditionType::AtCapacity]);
    let kept = kept.filter_map(|kind| find(&status.conditions, kind).cloned()).collect();
    conclude(status, goal, readiness, kept, now)
}

/// The status after a step that only records. `None` for any other step.
pub(crate) fn recorded_step(
    step: &Step,
    desired: Desired<'_>,
    observed: &Observation,
    now: Timestamp,
) -> Option<VpcPeeringAccepterStatus> {
    let mut status = desired.status.cloned().unwrap_or_default();
    locate(&mut status, desired.end);
    match step {
        Step::RecordAcceptance { id } => {
            if let Some(connection) = observed.connections.get(id.as_str()) {
                record_acceptance(&mut status, connection, now);
            }
        }
        Step::RecordAdoption { id } => {
            if let Some(connection) = observed.connections.get(id.as_str()) {
                record_adoption(&mut status, connection, now);
            }
        }
        Step::Upkeep { id, step: UpkeepStep::RecordTags { tags } } => {
            let connections = status.connections.iter_mut();
            for connection in connections.filter(|connection| connection.vpc_peering_connection_id == *id) {
                connection.managed_tags = tags.iter().cloned().collect();
            }
        }
        Step::Upkeep { id, step: UpkeepStep::RecordRoutes { routes } } => {
            if let Some(connection) = observed.connections.get(id) {
                keep_first_blocks(&mut status, connection);
            }
            status.routes = routes.iter().cloned().collect();
        }
        Step::AddFinalizer | Step::Accept { .. } | Step::Reject { .. } | Step::Upkeep { .. } => return None,
    }
    // A record changes no condition. The first status always has one.
    if find(&status.conditions, ConditionType::Ready).is_some() {
        return Some(status);
    }
    let readiness = Readiness::working(Reason::Updating, "deciding on the requests to this VPC");
    Some(conclude(status, &desired.goal(), &readiness, Vec::new(), now))
}

/// Sets the conditions.
fn conclude(
    mut status: VpcPeeringAccepterStatus,
    goal: &Goal<'_, VpcPeeringAccepterSpec>,
    readiness: &Readiness,
    details: Vec<Condition>,
    now: Timestamp,
) -> VpcPeeringAccepterStatus {
    let Goal { spec, deletion_policy, generation, .. } = *goal;
    let previous = std::mem::take(&mut status.conditions);
    let suspended = spec.suspend.then(|| {
        let message = "spec.suspend stops all writes to AWS";
        condition(ConditionType::Suspended, "True", Reason::Suspended, message, generation, now)
    });
    let conditions = readiness.conditions(generation, now).into_iter().chain(suspended).chain(details);
    status.conditions = all_following(&previous, conditions);
    status.observed_generation = Some(generation);
    status.deletion_policy = Some(deletion_policy);
    status
}

/// Records the VPC.
fn locate(status: &mut VpcPeeringAccepterStatus, end: &Endpoint) {
    status.vpc = Some(end.to_status());
    status.owner_id.clone_from(&end.owner_id);
}

/// Copies the verdicts and EC2's view of each connection.
pub(super) fn describe(
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
        if described.is_accepted() {
            listed.insert(verdict.id.clone(), described);
        } else {
            others.push(described);
        }
    }
    // A record outlives EC2's view of its connection until the connection is certainly gone, and so are its routes.
    for record in recorded.accepted() {
        let id = &record.vpc_peering_connection_id;
        let has_routes = recorded.routes.iter().any(|route| route.vpc_peering_connection_id == *id);
        let is_shown = observed.connections.contains_key(id);
        if !is_shown && (has_routes || !observed.is_gone(record, settings)) {
            listed.insert(id.clone(), record.clone());
        }
    }
    count(status, verdicts, observed);
    others.sort_by_key(|other| (rank(other.decision), other.vpc_peering_connection_id.clone()));
    others.truncate(LISTED);
    listed.extend(others.into_iter().map(|other| (other.vpc_peering_connection_id.clone(), other)));
    status.connections = listed.into_values().collect();
}

/// Requests that wait for a person come first in the list.
fn rank(decision: AccepterDecision) -> u8 {
    match decision {
        AccepterDecision::Pending => 0,
        AccepterDecision::Denied => 1,
        AccepterDecision::Ignored => 2,
        AccepterDecision::Rejected => 3,
        AccepterDecision::Accepted => 4,
    }
}

fn count(status: &mut VpcPeeringAccepterStatus, verdicts: &[Verdict], observed: &Observation) {
    let count = |decision| verdicts.iter().filter(|verdict| verdict.decision == decision).count();
    let number = |count: usize| i32::try_from(count).ok();
    let is_live = |id: &String| observed.connections.get(id).is_some_and(|connection| !connection.code.has_ended());
    let live = verdicts.iter().filter(|verdict| verdict.is_ours && is_live(&verdict.id));
    let (pending, denied) = (count(AccepterDecision::Pending), count(AccepterDecision::Denied));
    status.accepted = number(live.count());
    status.pending = number(pending + denied);
    status.denied = number(denied);
    status.rejected = number(count(AccepterDecision::Rejected));
    status.ignored = number(count(AccepterDecision::Ignored));
}

fn described(verdict: &Verdict, connection: &Connection, record: Option<&RequestedConnection>) -> RequestedConnection {
    // The intent to accept a request is dropped when the spec no longer allows it. The record of an accepted one stays.
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
        adopted_at: record.and_then(|record| record.adopted_at.clone()),
        managed_tags: record.map(|record| record.managed_tags.clone()).unwrap_or_default(),
        accepted_cidr_blocks: if is_first { first_blocks(connection) } else { blocks },
    }
}

/// The requester's CIDR blocks when the connection is first active and the requester is another account. Blocks that
/// the other account adds later get no routes without a person's permission.
fn first_blocks(connection: &Connection) -> Vec<String> {
    let is_foreign = connection.requester.owner_id != connection.accepter.owner_id;
    if connection.code != StatusCode::Active || !is_foreign {
        return Vec::new();
    }
    cidr_blocks(&connection.requester).iter().map(ToString::to_string).collect()
}

/// Records those blocks before the first route is created.
fn keep_first_blocks(status: &mut VpcPeeringAccepterStatus, connection: &Connection) {
    let records = status.connections.iter_mut();
    for record in records.filter(|record| record.vpc_peering_connection_id == connection.id) {
        if record.accepted_cidr_blocks.is_empty() {
            record.accepted_cidr_blocks = first_blocks(connection);
        }
    }
}

/// Records that the operator accepts a connection.
pub(crate) fn record_acceptance(status: &mut VpcPeeringAccepterStatus, connection: &Connection, now: Timestamp) {
    let accepted_at = Some(to_the_second(now));
    insert(status, RequestedConnection { accepted_at, ..accepted(connection) });
}

/// Records that the operator adopts an active connection, and the CIDR blocks that the requester has now.
pub(crate) fn record_adoption(status: &mut VpcPeeringAccepterStatus, connection: &Connection, now: Timestamp) {
    let (adopted_at, accepted_cidr_blocks) = (Some(to_the_second(now)), first_blocks(connection));
    insert(status, RequestedConnection { adopted_at, accepted_cidr_blocks, ..accepted(connection) });
}

fn accepted(connection: &Connection) -> RequestedConnection {
    let (id, decision) = (connection.id.clone(), AccepterDecision::Accepted);
    described(&Verdict { id, decision, message: None, is_ours: true }, connection, None)
}

fn insert(status: &mut VpcPeeringAccepterStatus, record: RequestedConnection) {
    status.connections.retain(|other| other.vpc_peering_connection_id != record.vpc_peering_connection_id);
    status.connections.push(record);
    status.connections.sort_by(|one, other| one.vpc_peering_connection_id.cmp(&other.vpc_peering_connection_id));
}

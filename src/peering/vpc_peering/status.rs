//! The status of a `VpcPeering`: a pure function of the stored status and the decision.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;

use super::deletion_summary::summary;
use super::obtain::unexpected_tags;
use super::state::{AccepterView, Desired, Observation, Recorded};
use super::step::Step;
use super::upkeep;
use crate::api::vpc_peering::StatusTag;
use crate::api::{
    ConditionType, EndedConnection, ManagedTag, Ownership, PeeringStatus, Reason, Side, VpcPeeringSpec,
    VpcPeeringStatus,
};
use crate::peering::blocker::Blocker;
use crate::peering::conditions::{
    ASPECTS, Readiness, all_following, aspect_condition, condition, find, following, is_ready, to_the_second,
};
use crate::peering::connection::{Connection, StatusCode};
use crate::peering::goal::Goal;
use crate::peering::owner::Owner;
use crate::peering::plan::{AspectStatus, Plan};
use crate::peering::routes::cidr_blocks;
use crate::peering::settings::{EXPIRING_SOON, TRANSIENT};
use crate::peering::upkeep::UpkeepStep;

/// The number of ended connections in the history.
const HISTORY: usize = 5;

/// The status under a plan. It stays as it is if the plan is to act.
pub(super) fn report(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    plan: &Plan<Step>,
    aspects: &[AspectStatus<Step>],
    now: Timestamp,
) -> VpcPeeringStatus {
    let mut status = stored(desired.status);
    let Some(readiness) = Readiness::under(plan) else { return status };
    let connection = observed.recorded.as_deref();
    if let (Some(ownership), Some(connection)) = (status.ownership, connection) {
        describe(&mut status, connection, ownership);
        describe_accepter(&mut status, &observed.accepter);
        keep_first_blocks(&mut status, &observed.accepter, connection);
    }
    if readiness.reason != Reason::AwaitingConsistency {
        status.last_handled_reconcile_at = desired.reconcile_at.map(ToOwned::to_owned);
    }
    // The wait for the requested connection is over, and another owner has the connection: nothing was created.
    if readiness.reason == Reason::ConnectionNotOwned && !desired.deleted {
        status.creation_started_at = None;
    }
    status.deletion = summary(desired, recorded, observed);
    let is_active = connection.is_some_and(|connection| connection.code == StatusCode::Active);
    let awaited = (!is_active).then(|| upkeep::awaited(&status, plan));
    let seen = Seen {
        connection,
        aspects: upkeep::conditions(desired, aspects, awaited),
        unexpected: unexpected_tags(desired, observed),
    };
    conclude(status, &desired.goal(), &readiness, Some(seen), now)
}

/// The status of a resource about which nothing new was seen. `answered` is the annotation value that the status
/// answers.
pub(crate) fn report_blocked(
    goal: &Goal<'_, VpcPeeringSpec>,
    status: Option<&VpcPeeringStatus>,
    readiness: &Readiness,
    answered: Option<&str>,
    now: Timestamp,
) -> VpcPeeringStatus {
    let mut status = stored(status);
    if let Some(answered) = answered {
        status.last_handled_reconcile_at = Some(answered.to_owned());
    }
    conclude(status, goal, readiness, None, now)
}

/// Time for which the state has to last before it is worth a write: EC2 leaves `initiating-request` and `provisioning`
/// by itself, mostly within two seconds.
pub(super) fn defer_write(desired: Desired<'_>, observed: &Observation, plan: &Plan<Step>) -> Option<Duration> {
    let is_transient = matches!(plan, Plan::Wait { reason: Reason::InitiatingRequest | Reason::Provisioning, .. });
    let observed_generation = desired.status.and_then(|status| status.observed_generation);
    let is_reported = observed_generation != Some(desired.generation)
        || desired.reconcile_requested
        || desired.status.is_some_and(|status| is_ready(&status.conditions));
    let left = TRANSIENT.saturating_sub(observed.transient_for);
    (is_transient && !is_reported && !left.is_zero()).then_some(left)
}

/// The status after a step that only records. `None` for any other step.
pub(crate) fn recorded_step(
    step: &Step,
    desired: Desired<'_>,
    observed: &Observation,
    now: Timestamp,
) -> Option<VpcPeeringStatus> {
    let mut status = stored(desired.status);
    let working = match step {
        Step::Record { connection, ownership } => {
            describe(&mut status, connection, *ownership);
            status.ends = Some(desired.ends.to_status());
            format!("found {}", connection.id)
        }
        Step::Retire { id, code, recreations } => {
            retire(&mut status, id, code, *recreations, now);
            status.last_handled_reconcile_at = desired.reconcile_at.map(ToOwned::to_owned);
            let readiness = Readiness::working(Reason::AwaitingRecreation, format!("{id} ended with the code {code}"));
            return Some(conclude(status, &desired.goal(), &readiness, None, now));
        }
        Step::Upkeep { side, step: UpkeepStep::RecordTags { tags } } => {
            let managed = match side {
                Side::Requester => &mut status.managed_tags,
                Side::Accepter => &mut status.accepter_managed_tags,
            };
            *managed = tags.iter().cloned().collect();
            "setting tags".to_owned()
        }
        Step::Upkeep { step: UpkeepStep::RecordRoutes { routes }, .. } => {
            status.routes = routes.iter().cloned().collect();
            if let Some(connection) = &observed.recorded {
                keep_first_blocks(&mut status, &observed.accepter, connection);
            }
            "changing routes".to_owned()
        }
        Step::AddFinalizer
        | Step::Preflight
        | Step::DryRun
        | Step::Create
        | Step::Accept { .. }
        | Step::Upkeep { .. }
        | Step::DeleteOrphan { .. }
        | Step::Delete { .. } => return None,
    };
    // A record changes no condition. The first status always has one.
    if find(&status.conditions, ConditionType::Ready).is_some() {
        return Some(status);
    }
    let readiness = Readiness::working(Reason::InitiatingRequest, working);
    Some(conclude(status, &desired.goal(), &readiness, None, now))
}

/// The status before a request. It is written first, so that the connection can be found after a crash.
pub(crate) fn requested<'a>(
    desired: Desired<'_>,
    tags: impl Iterator<Item = (&'a String, &'a String)>,
    now: Timestamp,
) -> VpcPeeringStatus {
    let status = VpcPeeringStatus {
        creation_started_at: Some(to_the_second(now)),
        managed_tags: tags
            .filter(|(key, _)| !Owner::is_ownership_key(key))
            .map(|(key, value)| ManagedTag { key: key.into(), value: value.into() })
            .collect(),
        ends: Some(desired.ends.to_status()),
        last_handled_reconcile_at: desired.reconcile_at.map(ToOwned::to_owned),
        ..stored(desired.status)
    };
    let readiness = Readiness::working(Reason::InitiatingRequest, "requesting the peering connection from EC2");
    conclude(status, &desired.goal(), &readiness, None, now)
}

/// The status without the intent, after EC2 has certainly created nothing.
pub(crate) fn without_intent(
    goal: &Goal<'_, VpcPeeringSpec>,
    status: Option<&VpcPeeringStatus>,
    readiness: &Readiness,
    now: Timestamp,
) -> VpcPeeringStatus {
    let status = VpcPeeringStatus { creation_started_at: None, ..stored(status) };
    conclude(status, goal, readiness, None, now)
}

/// The status after EC2 has answered a dry run. `succeeded` is the status of the condition.
pub(crate) fn dry_run_answered(
    desired: Desired<'_>,
    succeeded: &str,
    readiness: &Readiness,
    now: Timestamp,
) -> VpcPeeringStatus {
    let mut status = stored(desired.status);
    let (kind, generation) = (ConditionType::DryRunSucceeded, desired.generation);
    let answer = condition(kind, succeeded, readiness.reason, &readiness.message, generation, now);
    let answer = following(find(&status.conditions, kind), answer);
    status.conditions.retain(|other| other.type_ != answer.type_);
    status.conditions.push(answer);
    status.last_handled_reconcile_at = desired.reconcile_at.map(ToOwned::to_owned);
    conclude(status, &desired.goal(), readiness, None, now)
}

/// The stored status to go on from. The intent ends with the record of its connection.
fn stored(status: Option<&VpcPeeringStatus>) -> VpcPeeringStatus {
    let mut status = status.cloned().unwrap_or_default();
    if status.vpc_peering_connection_id.is_some() {
        status.creation_started_at = None;
    }
    status
}

/// The parts of an observation that have conditions of their own.
struct Seen<'a> {
    connection: Option<&'a Connection>,
    aspects: Vec<(ConditionType, Result<(), Blocker>)>,
    unexpected: Option<String>,
}

/// Sets the conditions. Without a new observation, those that depend on one stay as they are.
fn conclude(
    mut status: VpcPeeringStatus,
    goal: &Goal<'_, VpcPeeringSpec>,
    readiness: &Readiness,
    seen: Option<Seen<'_>>,
    now: Timestamp,
) -> VpcPeeringStatus {
    let previous = std::mem::take(&mut status.conditions);
    let details = details(goal, &previous, seen, now);
    status.conditions = all_following(&previous, readiness.conditions(goal.generation, now).into_iter().chain(details));
    status.observed_generation = Some(goal.generation);
    status.deletion_policy = Some(goal.deletion_policy);
    status
}

/// The conditions beside the summary.
fn details(
    goal: &Goal<'_, VpcPeeringSpec>,
    previous: &[Condition],
    seen: Option<Seen<'_>>,
    now: Timestamp,
) -> Vec<Condition> {
    let Goal { spec, generation, deleted, .. } = *goal;
    let present = |kind, reason, message: &str| condition(kind, "True", reason, message, generation, now);
    let kept = |kinds: &[ConditionType]| -> Vec<Condition> {
        kinds.iter().filter_map(|kind| find(previous, *kind).cloned()).collect()
    };
    let dry_run = find(previous, ConditionType::DryRunSucceeded).filter(|_| spec.dry_run).cloned();
    let suspended = spec
        .suspend
        .then(|| present(ConditionType::Suspended, Reason::Suspended, "spec.suspend stops all writes to AWS"));
    let Some(Seen { connection, aspects, unexpected }) = seen else {
        let aspects = if deleted { Vec::new() } else { kept(&ASPECTS) };
        let kept = aspects.into_iter().chain(kept(&[ConditionType::UnexpectedConnection]));
        return dry_run.into_iter().chain(suspended).chain(kept).collect();
    };
    let pending = connection.filter(|connection| connection.code == StatusCode::PendingAcceptance);
    let expiring = pending.and_then(|connection| {
        let (id, expiration) = (&connection.id, connection.expiration_time?);
        let message = format!("{id} expires at {expiration} unless it is accepted");
        let soon = expiration > now && expiration.duration_since(now) <= EXPIRING_SOON;
        soon.then(|| present(ConditionType::ExpiringSoon, Reason::PendingAcceptance, &message))
    });
    let aspects = aspects.into_iter().map(|(kind, outcome)| aspect_condition(kind, outcome, generation, now));
    let unexpected =
        unexpected.map(|message| present(ConditionType::UnexpectedConnection, Reason::ConnectionMismatch, &message));
    [dry_run, suspended, expiring].into_iter().flatten().chain(aspects).chain(unexpected).collect()
}

/// Copies EC2's view of the connection.
pub(crate) fn describe(status: &mut VpcPeeringStatus, connection: &Connection, ownership: Ownership) {
    status.vpc_peering_connection_id = Some(connection.id.as_str().into());
    status.ownership = Some(ownership);
    status.status = Some(PeeringStatus {
        code: connection.code.as_str().into(),
        message: connection.message.as_deref().map(Into::into),
    });
    status.expiration_time = connection.expiration_time.map(to_the_second);
    status.requester_vpc_info = Some(connection.requester.clone());
    status.accepter_vpc_info = Some(connection.accepter.clone());
    status.tags =
        connection.tags.iter().map(|(key, value)| StatusTag { key: key.clone(), value: value.clone() }).collect();
    status.creation_started_at = None;
    if connection.code == StatusCode::Active {
        status.recreations = None;
    }
}

/// Copies the tags of the accepter's end, if it has tags of its own. After an error the last known ones stay.
fn describe_accepter(status: &mut VpcPeeringStatus, view: &AccepterView) {
    match view {
        AccepterView::Nobody | AccepterView::Same => status.accepter_tags = Vec::new(),
        AccepterView::Elsewhere(Ok(shown)) => {
            let tags = shown.iter().flat_map(|connection| &connection.tags);
            status.accepter_tags =
                tags.map(|(key, value)| StatusTag { key: key.clone(), value: value.clone() }).collect();
        }
        AccepterView::Elsewhere(Err(_)) => {}
    }
}

/// Records the accepter's CIDR blocks when the peering is first active and no identity acts for the accepter. Blocks
/// that the other account adds later get no routes without a person's permission.
fn keep_first_blocks(status: &mut VpcPeeringStatus, view: &AccepterView, connection: &Connection) {
    let is_first = connection.code == StatusCode::Active && status.accepted_cidr_blocks.is_none();
    let blocks = cidr_blocks(&connection.accepter);
    if *view == AccepterView::Nobody && is_first && !blocks.is_empty() {
        status.accepted_cidr_blocks = Some(blocks.iter().map(|block| block.to_string().into()).collect());
    }
}

/// Moves a connection that has ended into the history.
fn retire(status: &mut VpcPeeringStatus, id: &str, code: &str, recreations: u32, now: Timestamp) {
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
    status.tags = Vec::new();
    status.accepter_tags = Vec::new();
    status.accepter_managed_tags = Vec::new();
    status.accepted_cidr_blocks = None;
    status.deletion = None;
}

#[cfg(test)]
mod tests;

//! The decision: the next step for a `VpcPeeringAccepter`, the verdict on each request, and the status.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::adoption;
use super::assessment::Assessment;
use super::deletion::{left_in_aws, plan_deletion};
use super::destinations::unserved;
use super::judge::{Judgement, Verdict, foreign, judge_connection, judge_request};
use super::state::{Desired, Observation, Recorded};
use super::status;
use super::step::Step;
use super::upkeep::{self, ConnectionAspect, withdraw_routes};
use crate::api::{AccepterDecision, DeletionPolicy, Reason, VpcPeeringAccepterSpec, VpcPeeringAccepterStatus};
use crate::peering::blocker::Blocker;
use crate::peering::connection::{Connection, StatusCode};
use crate::peering::goal::Goal;
use crate::peering::plan::{Decision, Plan};
use crate::peering::settings::{MAX_CONNECTIONS, MISSING_REQUEUE, OLDER_ACCEPTER_REQUEUE, Settings};

/// Decides on the next step.
pub(crate) fn decide(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    now: Timestamp,
    settings: Settings,
) -> Decision<Step, VpcPeeringAccepterStatus> {
    let assessment = assess(desired, recorded, observed, now, settings);
    let is_done = assessment.plan == Plan::RemoveFinalizer && desired.finalizer;
    Decision {
        status: status::report(desired, recorded, observed, &assessment, now, settings),
        defer_write: None,
        left_in_aws: if is_done { left_in_aws(desired, recorded, observed, settings) } else { Vec::new() },
        plan: assessment.plan,
    }
}

pub(super) fn assess(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    now: Timestamp,
    settings: Settings,
) -> Assessment {
    let assessment = if desired.deleted {
        plan_deletion(desired, recorded, observed, settings).into()
    } else if !desired.finalizer {
        Plan::Act(Step::AddFinalizer).into()
    } else {
        assess_connections(desired, recorded, observed, now, settings)
    };
    Assessment { plan: assessment.plan.unless_suspended(desired.spec.suspend), ..assessment }
}

/// The plan while the operator must not, or cannot, ask AWS. A deleted resource that owns nothing still loses its
/// finalizer. With `deletionPolicy: Retain`, it waits for what passes by itself, because the operator can then remove
/// the ownership tags.
pub(crate) fn blocked(
    goal: &Goal<'_, VpcPeeringAccepterSpec>,
    finalizer: bool,
    recorded: &Recorded,
    blocker: &Blocker,
) -> Plan<Step> {
    let owns_nothing = recorded.routes.is_empty() && recorded.accepted().next().is_none();
    let retains = goal.deletion_policy == DeletionPolicy::Retain;
    if goal.deleted && (!finalizer || owns_nothing || (retains && blocker.is_stalled())) {
        return Plan::RemoveFinalizer;
    }
    let mut blocker = blocker.clone();
    if goal.deleted {
        blocker.message += if retains {
            ". The operator removes its ownership tags when this has passed"
        } else {
            ". Its routes and tags are not removed until this is solved; to leave them in AWS, set spec.deletionPolicy to Retain"
        };
    }
    blocker.into()
}

fn assess_connections(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    now: Timestamp,
    settings: Settings,
) -> Assessment {
    let (judgements, at_capacity) = judge_all(desired, recorded, observed, now, settings);
    // Routes through ended connections go first: other routes may need their place.
    let ended = recorded.accepted().filter(|record| observed.is_gone(record, settings));
    let mut aspects: Vec<_> = ended
        .filter_map(|record| withdraw_routes(desired, recorded, observed, &record.vpc_peering_connection_id, None))
        .collect();
    let (verdicts, of_connections): (Vec<_>, Vec<_>) =
        judgements.into_iter().map(|judgement| (judgement.verdict, judgement.aspects)).unzip();
    aspects.extend(of_connections.into_iter().flatten());
    aspects.extend(unserved(desired, observed, &verdicts));
    aspects.extend(adoption::not_live(desired, observed));
    let aspects: Vec<_> = aspects.into_iter().map(|aspect| aspect.unless_held(observed)).collect();
    let plan = aspects
        .iter()
        .find_map(|aspect| aspect.status.step.clone())
        .map_or_else(|| plan_at_rest(desired, recorded, observed, &verdicts, &aspects, settings), Plan::Act);
    let conditions = upkeep::conditions(desired, &aspects, not_yet_active(observed, &verdicts));
    Assessment { plan, verdicts, aspects: conditions, at_capacity }
}

/// The judgement on each connection, and the message of `AtCapacity`.
fn judge_all(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    now: Timestamp,
    settings: Settings,
) -> (Vec<Judgement>, Option<String>) {
    let (mut judgements, mut requests): (Vec<Judgement>, Vec<&Connection>) = (Vec::new(), Vec::new());
    let mut live = 0;
    for connection in observed.connections.values() {
        if connection.code == StatusCode::PendingAcceptance && foreign(desired, connection).is_none() {
            requests.push(connection);
        } else if let Some(judgement) = judge_connection(desired, recorded, observed, connection) {
            live += i32::from(judgement.verdict.is_ours && !connection.code.has_ended());
            judgements.push(judgement);
        }
    }
    let limit = desired.spec.max_connections.unwrap_or(MAX_CONNECTIONS);
    let mut at_capacity = None;
    // Requests that the operator was about to accept come first, then those that expire first.
    requests.sort_by_key(|request| {
        (recorded.acceptance(&request.id).is_none(), request.expiration_time, request.id.clone())
    });
    for request in requests {
        let record = recorded.acceptance(&request.id);
        // EC2 may not show yet that the request was accepted.
        let may_be_accepted = record.and_then(|record| record.accepted_at.as_ref()).is_some_and(|began| {
            let since: Duration = now.duration_since(began.0).try_into().unwrap_or_default();
            !observed.is_settled || since < settings.consistency_window
        });
        let judgement = judge_request(desired, recorded, observed, request, (live < limit, may_be_accepted));
        live += i32::from(judgement.verdict.is_ours);
        if judgement.lacks_room {
            at_capacity.get_or_insert_with(|| {
                format!("{} waits: {live} connections are accepted, and the limit is {limit}", request.id)
            });
        }
        judgements.push(judgement);
    }
    (judgements, at_capacity)
}

/// The plan if no step is due.
fn plan_at_rest(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    verdicts: &[Verdict],
    aspects: &[ConnectionAspect],
    settings: Settings,
) -> Plan<Step> {
    let older = observed.older_accepter.as_ref().map(|older| Blocker {
        requeue_after: Some(OLDER_ACCEPTER_REQUEUE),
        ..Blocker::stalled(
            Reason::ConnectionNotOwned,
            format!("{older} is older and decides on requests to {}; delete one of the two", desired.end.vpc_id),
        )
    });
    let excess = desired.excess_tags();
    let missing = recorded.accepted().find(|record| {
        let is_shown = observed.connections.contains_key(&record.vpc_peering_connection_id);
        !is_shown && !observed.is_gone(record, settings)
    });
    let missing = missing.map(|record| {
        let (id, window) = (&record.vpc_peering_connection_id, settings.consistency_window.as_secs_f32());
        let message = format!("waiting up to {window} s for EC2 to show {id} (eventual consistency)");
        Blocker::passing(Reason::AwaitingConsistency, message, MISSING_REQUEUE)
    });
    let blockers = older
        .iter()
        .chain(&missing)
        .chain(&excess)
        .chain(aspects.iter().filter_map(|aspect| aspect.status.blocker.as_ref()));
    if let Some(blocker) = Blocker::join(blockers) {
        return blocker.into();
    }
    if let Some((reason, message)) = verdicts.iter().find_map(|verdict| in_transition(observed, verdict)) {
        return Plan::Wait { reason, message, requeue_after: None };
    }
    let is_active =
        |verdict: &&Verdict| verdict.is_ours && code(observed, verdict).is_some_and(|code| *code == StatusCode::Active);
    let waiting = verdicts
        .iter()
        .filter(|verdict| matches!(verdict.decision, AccepterDecision::Pending | AccepterDecision::Denied));
    Plan::Settled {
        message: format!(
            "{} accepted and active, {} pending",
            verdicts.iter().filter(is_active).count(),
            waiting.count()
        ),
        requeue_after: aspects.iter().filter_map(|aspect| aspect.status.requeue_after).min(),
    }
}

/// The reason to wait for a connection of this resource whose code changes by itself.
fn in_transition(observed: &Observation, verdict: &Verdict) -> Option<(Reason, String)> {
    let code = code(observed, verdict).filter(|_| verdict.is_ours)?;
    let reason = match code {
        StatusCode::Provisioning => Reason::Provisioning,
        StatusCode::Deleting => Reason::Deleting,
        StatusCode::Unknown(_) => Reason::UnknownStatusCode,
        StatusCode::InitiatingRequest
        | StatusCode::PendingAcceptance
        | StatusCode::Active
        | StatusCode::Failed
        | StatusCode::Rejected
        | StatusCode::Expired
        | StatusCode::Deleted => return None,
    };
    Some((reason, format!("{} is {code}", verdict.id)))
}

/// A connection of this resource that has to become active before it has options and routes.
fn not_yet_active<'a>(observed: &Observation, verdicts: &'a [Verdict]) -> Option<&'a str> {
    let is_awaited = |verdict: &&Verdict| {
        verdict.is_ours
            && matches!(code(observed, verdict), Some(StatusCode::PendingAcceptance | StatusCode::Provisioning))
    };
    verdicts.iter().find(is_awaited).map(|verdict| verdict.id.as_str())
}

fn code<'a>(observed: &'a Observation, verdict: &Verdict) -> Option<&'a StatusCode> {
    observed.connections.get(&verdict.id).map(|connection| &connection.code)
}

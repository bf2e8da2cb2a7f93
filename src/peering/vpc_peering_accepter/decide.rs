//! The decision: from what is wanted, recorded and seen, the one next step, and what became of each request.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::review::{self, Review, Verdict};
use super::rules::{self, RouteRule, Rule};
use super::{Desired, Observation, Recorded, Step};
use crate::api::{AccepterDecision, ConditionType, Reason, RequestedConnection};
use crate::peering::decision::MISSING_LOOK_AGAIN;
use crate::peering::{Authorized, Aspect, Connection, Hint, Plan, Settings, StatusCode, Blocker};

/// The default of `spec.maxConnections`: AWS's default quota of active connections of a VPC,
/// <https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-peering>.
const MAX_CONNECTIONS: i32 = 50;

/// How often to look whether the older one is still there: nothing tells of its end, and a look costs neither a call nor a
/// write.
const CLAIM_LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What a decision comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What to do next.
    pub plan: Plan<Step>,
    /// What was decided on each connection.
    pub verdicts: Vec<Verdict>,
    /// How options and routes stand, where the spec asks for any.
    pub outcomes: Vec<(ConditionType, Result<(), Blocker>)>,
    /// Which request waits only because there is no room for it.
    pub at_capacity: Option<String>,
}

impl From<Plan<Step>> for Decision {
    fn from(plan: Plan<Step>) -> Self {
        Self { plan, verdicts: Vec::new(), outcomes: Vec::new(), at_capacity: None }
    }
}

/// The next step from here.
#[must_use]
pub fn decide(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    now: Timestamp,
    settings: Settings,
) -> Decision {
    let mut decision = if desired.deleted {
        towards_release(desired, recorded, observed, settings).into()
    } else if !desired.finalizer {
        Plan::Act(Step::AddFinalizer).into()
    } else {
        towards_peace(desired, recorded, observed, now, settings)
    };
    if let Plan::Act(step) = &decision.plan
        && desired.spec.suspend
        && let Some(change) = step.change()
    {
        decision.plan = Plan::Suspended { message: format!("suspended by spec.suspend; the next step is to {change}") };
    }
    decision
}

/// What follows while AWS must not be asked for anything, or nobody knows where: nothing, but to let go of a resource
/// that has certainly left nothing behind.
#[must_use]
pub fn blocked(deleted: bool, finalizer: bool, recorded: &Recorded, blocker: &Blocker) -> Plan<Step> {
    let has_nothing = recorded.routes.is_empty() && recorded.accepted().next().is_none();
    if deleted && (!finalizer || has_nothing) {
        return Plan::RemoveFinalizer;
    }
    let mut blocker = blocker.clone();
    if deleted {
        blocker.message += ". Its routes and tags are not removed before that is mended; to leave them in AWS, take the finalizer vpcpeering.dev/finalizer off";
    }
    blocker.into()
}

/// What is thought of one connection.
struct Judgement {
    verdict: Verdict,
    reviews: Vec<Review>,
    /// It would be accepted, if there were room.
    lacks_room: bool,
}

fn towards_peace(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    now: Timestamp,
    settings: Settings,
) -> Decision {
    let (mut judgements, mut requests) = (Vec::new(), Vec::new());
    let mut living = 0;
    for connection in observed.connections.values() {
        if connection.code == StatusCode::PendingAcceptance && review::of_others(desired, connection).is_none() {
            requests.push(connection);
        } else if let Some(judgement) = decided(desired, recorded, observed, connection) {
            living += i32::from(judgement.verdict.is_ours && !connection.code.has_ended());
            judgements.push(judgement);
        }
    }
    let limit = desired.spec.max_connections.unwrap_or(MAX_CONNECTIONS);
    let mut at_capacity = None;
    // What we were about to accept comes first, then what waits longest.
    requests.sort_by_key(|request| {
        (recorded.acceptance(&request.id).is_none(), request.expiration_time.as_deref().copied(), request.id.clone())
    });
    for request in requests {
        let record = recorded.acceptance(&request.id);
        // It may be accepted already, and EC2 may not show it yet: what we were about to accept stays ours for a while.
        let may_be_accepted = record.and_then(|record| record.accepted_at.as_ref()).is_some_and(|began| {
            let since: Duration = now.duration_since(began.0).try_into().unwrap_or_default();
            !observed.is_settled || since < settings.consistency_window
        });
        let judgement = requested(desired, recorded, observed, request, living < limit, may_be_accepted);
        living += i32::from(judgement.verdict.is_ours);
        if judgement.lacks_room {
            at_capacity.get_or_insert_with(|| {
                format!("{} waits: {living} connections are accepted, and there may be {limit}", request.id)
            });
        }
        judgements.push(judgement);
    }
    // Routes that lead nowhere go first: they may be in the way of others.
    let mut reviews = Vec::new();
    for record in recorded.accepted() {
        let id = &record.vpc_peering_connection_id;
        if is_gone(observed, settings, record) {
            reviews.extend(review::withdraw_routes(desired, recorded, observed, id, None));
        }
    }
    let (verdicts, of_connections): (Vec<_>, Vec<_>) =
        judgements.into_iter().map(|judgement| (judgement.verdict, judgement.reviews)).unzip();
    reviews.extend(of_connections.into_iter().flatten());
    let reviews: Vec<Review> = reviews.into_iter().map(|review| unless_refused(review, observed)).collect();
    let plan = reviews
        .iter()
        .find_map(|review| review.step.clone())
        .map_or_else(|| at_rest(desired, recorded, observed, &verdicts, &reviews, settings), Plan::Act);
    let outcomes = outcomes(desired, &reviews, on_the_way(observed, &verdicts));
    Decision { plan, outcomes, verdicts, at_capacity }
}

/// How the resource stands when there is nothing to do.
fn at_rest(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    verdicts: &[Verdict],
    reviews: &[Review],
    settings: Settings,
) -> Plan<Step> {
    let claimed = observed.older_claim.as_ref().map(|older| Blocker {
        requeue_after: Some(CLAIM_LOOK_AGAIN),
        ..Blocker::stalled(
            Reason::ConnectionNotOwned,
            format!(
                "{} is older and decides on requests to {}; delete one of the two",
                older.resource, desired.end.vpc_id
            ),
        )
    });
    let missing = recorded.accepted().find(|record| {
        let is_shown = observed.connections.contains_key(&record.vpc_peering_connection_id);
        !is_shown && !is_gone(observed, settings, record)
    });
    let missing = missing.map(|record| {
        let id = &record.vpc_peering_connection_id;
        let message =
            format!("EC2 does not show {id}; that is believed when it has held for a while, since EC2 may lag");
        Blocker::passing(Reason::AwaitingConsistency, message, MISSING_LOOK_AGAIN)
    });
    let ours = || verdicts.iter().filter(|verdict| verdict.is_ours);
    let moving = ours().find_map(|verdict| {
        let connection = observed.connections.get(&verdict.id)?;
        let reason = match &connection.code {
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
        Some((reason, format!("{} is {}", verdict.id, connection.code)))
    });
    let blockers = claimed.iter().chain(&missing).chain(reviews.iter().filter_map(|review| review.blocker.as_ref()));
    if let Some(blocker) = Blocker::together(blockers) {
        return blocker.into();
    }
    if let Some((reason, message)) = moving {
        return Plan::Wait { reason, message, requeue_after: None };
    }
    let active = ours().filter(|verdict| {
        observed.connections.get(&verdict.id).is_some_and(|connection| connection.code == StatusCode::Active)
    });
    let waiting = verdicts
        .iter()
        .filter(|verdict| matches!(verdict.decision, AccepterDecision::Pending | AccepterDecision::Denied));
    Plan::Settled {
        message: format!("{} accepted and active, {} left pending", active.count(), waiting.count()),
        requeue_after: reviews.iter().filter_map(|review| review.requeue_after).min(),
    }
}

/// A connection that is no request any more, or not ours; none where it is of no interest.
fn decided(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    connection: &Connection,
) -> Option<Judgement> {
    let id = &connection.id;
    let has_ended = connection.code.has_ended();
    let is_recorded = recorded.acceptance(id).is_some();
    let verdict = |decision, message: Option<String>, is_ours| Judgement {
        verdict: Verdict { id: id.clone(), decision, message, is_ours },
        reviews: Vec::new(),
        lacks_room: false,
    };
    if let Some(message) = review::of_others(desired, connection) {
        // The record stays, with the routes that it names.
        return (!has_ended || is_recorded).then(|| verdict(AccepterDecision::Ignored, Some(message), false));
    }
    let is_tagged = review::is_tagged_ours(desired, connection);
    if is_recorded && !is_tagged && !has_ended && judge(desired, connection) != Rule::Accept {
        let message = "it is recorded as accepted, but carries no tags of this resource, and spec.accept does not allow it: it was left alone";
        return Some(verdict(AccepterDecision::Ignored, Some(message.to_owned()), false));
    }
    if is_recorded || (is_tagged && !has_ended) {
        let target = match desired.authority().over(connection, Hint::Requested) {
            Ok(target) => target,
            Err(blocker) => {
                let review = |blocker| Review {
                    id: id.clone(),
                    aspect: Aspect::Acceptance,
                    step: None,
                    blocker: Some(blocker),
                    requeue_after: None,
                };
                let reviews = if has_ended { Vec::new() } else { vec![review(blocker)] };
                return Some(Judgement { reviews, ..verdict(AccepterDecision::Accepted, None, true) });
            }
        };
        let message = match review::route_rule(desired, recorded, connection) {
            RouteRule::Nowhere(message) if desired.spec.routes.is_some() && !has_ended => Some(message),
            _ => None,
        };
        let reviews = match &connection.code {
            StatusCode::Provisioning | StatusCode::Active => {
                review::upkeep(desired, recorded, observed, connection, &target)
            }
            StatusCode::InitiatingRequest
            | StatusCode::PendingAcceptance
            | StatusCode::Failed
            | StatusCode::Rejected
            | StatusCode::Expired
            | StatusCode::Deleting
            | StatusCode::Deleted
            | StatusCode::Unknown(_) => Vec::new(),
        };
        return Some(Judgement { reviews, ..verdict(AccepterDecision::Accepted, message, true) });
    }
    if connection.code == StatusCode::Rejected {
        let before = recorded.connections.get(id).map(|record| record.decision);
        let is_denied = || matches!(judge(desired, connection), Rule::Deny(_)) && desired.spec.reject;
        let is_ours = before == Some(AccepterDecision::Rejected) || is_denied();
        return is_ours.then(|| verdict(AccepterDecision::Rejected, None, false));
    }
    let message = "it was not accepted by this resource, which leaves it alone".to_owned();
    (!has_ended).then(|| verdict(AccepterDecision::Ignored, Some(message), false))
}

fn judge(desired: Desired<'_>, connection: &Connection) -> Rule {
    rules::judge(&desired.spec.accept, &desired.spec.deny, &connection.requester)
}

/// A request that waits for us.
fn requested(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    request: &Connection,
    has_room: bool,
    may_be_accepted: bool,
) -> Judgement {
    let id = &request.id;
    let review =
        |step, blocker| Review { id: id.clone(), aspect: Aspect::Acceptance, step, blocker, requeue_after: None };
    let judgement = |decision, message: Option<String>, step: Option<Step>| {
        let is_ours = decision == AccepterDecision::Accepted;
        let verdict = Verdict { id: id.clone(), decision, message, is_ours };
        let reviews = step.into_iter().map(|step| review(Some(step), None)).collect();
        Judgement { verdict, reviews, lacks_room: false }
    };
    let unless_accepted = |decision, why: String, step| {
        if !may_be_accepted {
            return judgement(decision, Some(why), step);
        }
        let message = format!("{id} may have been accepted already, and EC2 may not show it yet");
        let waits = Blocker::passing(Reason::AwaitingConsistency, message, MISSING_LOOK_AGAIN);
        Judgement { reviews: vec![review(None, Some(waits))], ..judgement(AccepterDecision::Accepted, Some(why), None) }
    };
    if let Some(older) = &observed.older_claim {
        return unless_accepted(AccepterDecision::Pending, format!("{} decides on it", older.resource), None);
    }
    let target = match desired.authority().over(request, Hint::Requested) {
        Ok(target) => target,
        Err(blocker) => return unless_accepted(AccepterDecision::Pending, blocker.message, None),
    };
    match judge(desired, request) {
        Rule::Deny(why) => {
            let step = desired.spec.reject.then(|| Step::Reject { id: target.clone() });
            unless_accepted(AccepterDecision::Denied, why, step)
        }
        Rule::Neither(why) => unless_accepted(AccepterDecision::Pending, why, None),
        Rule::Accept if !has_room => {
            let why = "it would be accepted, but as many connections live as spec.maxConnections, or AWS, allows";
            Judgement { lacks_room: true, ..unless_accepted(AccepterDecision::Pending, why.into(), None) }
        }
        Rule::Accept => {
            let step = match recorded.acceptance(id) {
                Some(_) => Step::Accept { id: target },
                None => Step::RecordAcceptance { id: target },
            };
            judgement(AccepterDecision::Accepted, None, Some(step))
        }
    }
}

/// What AWS refused is not tried again yet, and holds up nothing else.
fn unless_refused(review: Review, observed: &Observation) -> Review {
    let aspect = review.step.as_ref().and_then(Step::aspect);
    match aspect.and_then(|aspect| observed.refused.get(&aspect)) {
        Some(refusal) => Review { step: None, blocker: Some(refusal.clone()), ..review },
        None => review,
    }
}

/// A connection of ours that is yet to be active; before, it has neither options nor routes.
fn on_the_way<'a>(observed: &Observation, verdicts: &'a [Verdict]) -> Option<&'a str> {
    let is_on_the_way = |verdict: &&Verdict| {
        let code = observed.connections.get(&verdict.id).map(|connection| &connection.code);
        matches!(code, Some(StatusCode::PendingAcceptance | StatusCode::Provisioning))
    };
    verdicts.iter().filter(|verdict| verdict.is_ours).find(is_on_the_way).map(|verdict| verdict.id.as_str())
}

/// How options and routes stand.
fn outcomes(
    desired: Desired<'_>,
    reviews: &[Review],
    on_the_way: Option<&str>,
) -> Vec<(ConditionType, Result<(), Blocker>)> {
    let about = |is_asked: bool, kind, is_about: fn(Aspect) -> bool| {
        let reviews = || reviews.iter().filter(|review| is_about(review.aspect));
        let steps = reviews().filter_map(|review| review.step.as_ref());
        let next = steps
            .map(|step| Blocker::stalled(Reason::Updating, step.change().unwrap_or_else(|| "writing it down".into())));
        let blocker = Blocker::together(reviews().filter_map(|review| review.blocker.as_ref()));
        let waits = || Some(Blocker::stalled(Reason::Updating, format!("waits for {} to be active", on_the_way?)));
        is_asked.then(|| (kind, blocker.or_else(|| next.into_iter().next()).or_else(waits).map_or(Ok(()), Err)))
    };
    let options = desired.spec.options.is_some_and(|options| options.allow_dns_resolution_from_remote_vpc.is_some());
    [
        about(options, ConditionType::OptionsSynced, |aspect| matches!(aspect, Aspect::Options(_))),
        about(desired.spec.routes.is_some(), ConditionType::RoutesReady, |aspect| {
            matches!(aspect, Aspect::Routes(_))
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whether a connection that we have accepted is gone for certain: EC2 shows its end, has shown it, or has not shown the
/// connection for a while.
pub(super) fn is_gone(observed: &Observation, settings: Settings, record: &RequestedConnection) -> bool {
    let id = &record.vpc_peering_connection_id;
    match observed.connections.get(id) {
        Some(connection) => connection.code.has_ended(),
        None => {
            record.code.as_deref().is_some_and(|code| StatusCode::from(code).has_ended())
                || observed.missing_for.get(id).is_some_and(|missing| *missing >= settings.consistency_window)
        }
    }
}

/// The resource is being deleted: its routes and tags go, the connections stay. Works from the record and EC2 alone, so
/// that no spec can block it.
fn towards_release(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    settings: Settings,
) -> Plan<Step> {
    if !desired.finalizer {
        return Plan::RemoveFinalizer;
    }
    let mut reviews = Vec::new();
    let mut ids: BTreeMap<&String, Option<(Authorized, &Connection)>> =
        recorded.accepted().map(|record| (&record.vpc_peering_connection_id, None)).collect();
    for (id, connection) in &observed.connections {
        let is_free = review::of_others(desired, connection).is_none();
        let is_tagged = review::is_tagged_ours(desired, connection);
        // One without tags is ours only by a record that the lists of the spec bear out.
        let is_ours = is_tagged || (ids.contains_key(id) && judge(desired, connection) == Rule::Accept);
        if is_free && is_ours && !connection.code.has_ended() {
            match desired.authority().over(connection, Hint::Requested) {
                Ok(target) => _ = ids.insert(id, Some((target, connection))),
                Err(blocker) => reviews.push(Review {
                    id: id.clone(),
                    aspect: Aspect::Acceptance,
                    step: None,
                    blocker: Some(blocker),
                    requeue_after: None,
                }),
            }
        }
    }
    for (id, living) in &ids {
        let living = living.as_ref().map(|(target, connection)| (target, *connection));
        reviews.extend(review::withdraw_routes(desired, recorded, observed, id, living));
        let tags = |(target, connection)| review::withdraw_tags(desired, recorded, connection, target);
        reviews.extend(living.and_then(tags));
        let lags = |record: &RequestedConnection| {
            let is_shown = observed.connections.contains_key(*id);
            !is_shown && !is_gone(observed, settings, record)
        };
        if recorded.acceptance(id).is_some_and(lags) {
            let message = format!("EC2 does not show {id}, whose tags have to go; it may lag");
            reviews.push(Review {
                id: (*id).clone(),
                aspect: Aspect::Acceptance,
                step: None,
                blocker: Some(Blocker::passing(Reason::AwaitingConsistency, message, MISSING_LOOK_AGAIN)),
                requeue_after: None,
            });
        }
    }
    let reviews: Vec<Review> = reviews.into_iter().map(|review| unless_refused(review, observed)).collect();
    let next = reviews.iter().find_map(|review| review.step.clone()).map(Plan::Act);
    let blockers = || Blocker::together(reviews.iter().filter_map(|review| review.blocker.as_ref()));
    next.or_else(|| blockers().map(Plan::from)).unwrap_or(Plan::RemoveFinalizer)
}

//! The decision: the next step for a `VpcPeering`, and its status.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::consistency::missing;
use super::deletion::plan_deletion;
use super::maintain::{by_code_and_expiry, maintain, not_found};
use super::obtain::{obtain, record, unknown_connection};
use super::state::{Desired, Observation, Recorded};
use super::step::Step;
use super::{status, upkeep};
use crate::api::{DeletionPolicy, ManagementPolicy, Ownership, Reason, VpcPeeringSpec, VpcPeeringStatus};
use crate::peering::authority::{Authorized, Hint};
use crate::peering::blocker::Blocker;
use crate::peering::connection::Connection;
use crate::peering::goal::Goal;
use crate::peering::plan::{AspectStatus, Decision, Plan, Step as _};
use crate::peering::settings::{STALLED_REQUEUE, Settings};

/// Decides on the next step.
pub(crate) fn decide(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    now: Timestamp,
    settings: Settings,
) -> Decision<Step, VpcPeeringStatus> {
    let aspects = match owned_target(desired, observed) {
        Some((connection, target)) => upkeep::aspects(desired, recorded, observed, (connection, &target), settings),
        None => upkeep::aspects_without_connection(desired, recorded, observed, settings),
    };
    let plan = plan(desired, recorded, observed, &aspects, now, settings);
    Decision {
        status: status::report(desired, recorded, observed, &plan, &aspects, now),
        defer_write: status::defer_write(desired, observed, &plan),
        left_in_aws: match plan {
            Plan::RemoveFinalizer => super::deletion::left_in_aws(desired, recorded, observed),
            _ => Vec::new(),
        },
        plan,
    }
}

fn plan(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    aspects: &[AspectStatus<Step>],
    now: Timestamp,
    settings: Settings,
) -> Plan<Step> {
    // Without a live connection, the aspects are the routes through earlier ones. They go before a new request.
    let leftovers = if owned_target(desired, observed).is_some() { &[] } else { aspects };
    let plan = if desired.deleted {
        plan_deletion(desired, recorded, observed, settings)
    } else if !desired.finalizer {
        Plan::Act(Step::AddFinalizer)
    } else if desired.spec.management_policy == ManagementPolicy::Observe {
        observe_only(desired, recorded, observed, now)
    } else if let Err(blocker) = desired.permissions.admit(&desired.ends.requester, &desired.ends.accepter) {
        blocker.into()
    } else if let Some(step) = leftovers.iter().find_map(|status| status.step.clone()) {
        Plan::Act(step)
    } else {
        let plan = match (recorded.owned_id(), &observed.recorded) {
            (None, _) => obtain(desired, recorded, observed, now, settings),
            (Some(id), None) => missing(id, observed, settings).unwrap_or_else(|| not_found(desired, recorded, id)),
            (Some(_), Some(connection)) => match desired.authority().over(connection, Hint::Recorded) {
                Ok(_) => maintain(desired, recorded, connection, aspects, now),
                // The record is wrong. A connection with the ownership tags takes its place.
                Err(blocker) => match desired.owned(observed).as_slice() {
                    [(connection, _)] => record(connection),
                    _ => blocker.into(),
                },
            },
        };
        plan.within(leftovers.iter().filter_map(AspectStatus::next_look).min())
    };
    let held = match &plan {
        Plan::Act(step) => step.aspect().and_then(|aspect| {
            let unseen = || observed.unseen.get(&aspect)?.blocker(step);
            let mut refusals = observed.refused.get(&aspect).into_iter().flatten();
            refusals.find_map(|refusal| refusal.blocker_of(step)).cloned().or_else(unseen)
        }),
        _ => None,
    };
    held.map_or(plan, Plan::from).unless_suspended(desired.spec.suspend)
}

/// The plan while the operator must not, or cannot, ask AWS. A deleted resource that owns nothing, or whose connection
/// stays anyway, still loses its finalizer. With `deletionPolicy: Retain`, it waits for what passes by itself, because
/// the operator can then remove the ownership tags.
pub(crate) fn blocked(
    goal: &Goal<'_, VpcPeeringSpec>,
    finalizer: bool,
    recorded: &Recorded,
    blocker: &Blocker,
) -> Plan<Step> {
    let owns_nothing = recorded.owned_id().is_none() && !recorded.creation_started && recorded.routes.is_empty();
    let retains = goal.deletion_policy == DeletionPolicy::Retain;
    let keeps = goal.spec.management_policy == ManagementPolicy::Observe || (retains && blocker.is_stalled());
    if goal.deleted && (!finalizer || owns_nothing || keeps) {
        return Plan::RemoveFinalizer;
    }
    let mut blocker = blocker.clone();
    if goal.deleted {
        blocker.message += if retains {
            ". The operator removes the ownership tags of the peering when this has passed"
        } else {
            ". The peering is not deleted until this is solved; to leave it in AWS, set spec.deletionPolicy to Retain"
        };
    }
    blocker.into()
}

/// The recorded connection, if it is live and EC2 proves that it is the resource's own.
fn owned_target<'a>(desired: Desired<'_>, observed: &'a Observation) -> Option<(&'a Connection, Authorized)> {
    let connection = observed.recorded.as_deref().filter(|connection| !connection.code.has_ended())?;
    Some((connection, desired.authority().over(connection, Hint::Recorded).ok()?))
}

/// The plan for `managementPolicy: Observe`: it only records the connection.
fn observe_only(desired: Desired<'_>, recorded: &Recorded, observed: &Observation, now: Timestamp) -> Plan<Step> {
    let target = match &desired.spec.vpc_peering_connection_id {
        Some(id) => match &observed.wanted {
            None => return unknown_connection(desired, id),
            wanted => wanted.as_ref(),
        },
        None => {
            let living = observed.recorded.as_ref().filter(|connection| !connection.code.has_ended());
            living.or(observed.owned.first()).or(observed.conflicting.as_ref()).or(observed.recorded.as_ref())
        }
    };
    let Some(connection) = target else {
        let (requester, accepter) = (&desired.ends.requester, &desired.ends.accepter);
        return Plan::Stalled {
            reason: Reason::NotFound,
            message: format!(
                "EC2 shows no live peering connection between {} and {} in {}, and spec.managementPolicy Observe creates none",
                requester.vpc_id, accepter.vpc_id, requester.region
            ),
            requeue_after: Some(STALLED_REQUEUE),
        };
    };
    let difference = desired.authority().difference(connection);
    if let Some(difference) = difference.filter(|_| desired.spec.vpc_peering_connection_id.is_some()) {
        return Plan::stalled(Reason::ConnectionMismatch, difference);
    }
    if recorded.connection_id.as_ref() != Some(&connection.id) {
        let connection = Arc::clone(connection);
        return Plan::Act(Step::Record { connection, ownership: Ownership::Observed });
    }
    by_code_and_expiry(connection, now)
}

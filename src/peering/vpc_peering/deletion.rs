//! The deletion of a `VpcPeering`, until its finalizer is removed. No step writes the status, so that an object that
//! has grown to the size limit of the API server can still be deleted.

use super::consistency::missing;
use super::routes::{self, SIDES};
use super::state::{AccepterView, Desired, Observation, Recorded};
use super::step::Step;
use crate::api::{DeletionPolicy, ManagementPolicy, Reason, Side};
use crate::peering::authority::{Authorized, Hint};
use crate::peering::blocker::Blocker;
use crate::peering::connection::{Connection, StatusCode};
use crate::peering::plan::Plan;
use crate::peering::settings::Settings;
use crate::peering::upkeep::tags;

pub(super) fn plan_deletion(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    settings: Settings,
) -> Plan<Step> {
    if !desired.finalizer || desired.spec.management_policy == ManagementPolicy::Observe {
        return Plan::RemoveFinalizer;
    }
    let authority = desired.authority();
    let named = observed.recorded.as_ref().filter(|_| recorded.owned_id().is_some());
    let named = named.map(|connection| (connection, authority.over(connection, Hint::Recorded)));
    if let Some((_, Err(blocker))) = &named
        && blocker.reason != Reason::ConnectionMismatch
        && blocker.reason != Reason::ConnectionNotOwned
    {
        // The connection is the resource's own, and a permission is missing.
        return blocker.clone().into();
    }
    let mut ours: Vec<_> =
        named.into_iter().filter_map(|(connection, target)| Some((connection, target.ok()?))).collect();
    // Other connections with the ownership tags must be deleted, too.
    for (connection, target) in desired.owned(observed) {
        if ours.iter().all(|(_, known)| *known != target) {
            ours.push((connection, target));
        }
    }
    let is_lost = match recorded.owned_id() {
        Some(_) => observed.recorded.is_none(),
        None => recorded.creation_started && ours.is_empty(),
    };
    let wait_for_lost = || {
        let subject = recorded.owned_id().map_or("the requested peering connection", String::as_str);
        is_lost.then(|| missing(subject, observed, settings)).flatten()
    };
    if desired.spec.deletion_policy == DeletionPolicy::Delete {
        if ours.is_empty()
            && let Some(wait) = wait_for_lost()
        {
            return wait;
        }
        let target = ours.first().map(|(connection, target)| (target, &***connection));
        let withdraw = |side| routes::withdraw(desired, recorded, observed, target, side);
        let routes: Vec<_> = SIDES.into_iter().filter_map(withdraw).collect();
        // A blocker of one end delays no step of the other.
        if let Some(step) = routes.iter().find_map(|status| status.step.clone()) {
            return Plan::Act(step);
        }
        if let Some(blocker) = Blocker::join(routes.iter().filter_map(|status| status.blocker.as_ref())) {
            return blocker.into();
        }
    }
    let next = ours.iter().find_map(|(connection, target)| delete_or_disown(desired, observed, connection, target));
    next.or_else(wait_for_lost).unwrap_or(Plan::RemoveFinalizer)
}

/// The routes that stay in AWS, because nothing proves that they are the resource's own.
pub(super) fn left_in_aws(desired: Desired<'_>, recorded: &Recorded, observed: &Observation) -> Vec<String> {
    if desired.finalizer && desired.spec.deletion_policy == DeletionPolicy::Delete {
        routes::unproven(desired, recorded, observed)
    } else {
        Vec::new()
    }
}

/// The next step for one connection. `None` if nothing is left to do.
fn delete_or_disown(
    desired: Desired<'_>,
    observed: &Observation,
    connection: &Connection,
    target: &Authorized,
) -> Option<Plan<Step>> {
    if desired.spec.deletion_policy == DeletionPolicy::Retain {
        return disown(desired, observed, connection, target);
    }
    let id = target.clone();
    let wait = |message| Some(Plan::Wait { reason: Reason::Deleting, message, requeue_after: None });
    match &connection.code {
        StatusCode::PendingAcceptance | StatusCode::Active | StatusCode::Unknown(_) => {
            Some(Plan::Act(Step::Delete { id }))
        }
        // EC2 deletes neither of them. Both codes change by themselves.
        StatusCode::InitiatingRequest | StatusCode::Provisioning => {
            wait(format!("{id} is {}; the operator deletes it as soon as EC2 allows", connection.code))
        }
        StatusCode::Deleting => wait(format!("EC2 is deleting {id}")),
        StatusCode::Failed | StatusCode::Rejected | StatusCode::Expired | StatusCode::Deleted => None,
    }
}

/// The removal of the ownership tags from a connection that stays. The accepter's tags go first: the requester's tags
/// are needed to find the connection.
fn disown(
    desired: Desired<'_>,
    observed: &Observation,
    connection: &Connection,
    target: &Authorized,
) -> Option<Plan<Step>> {
    if connection.code.has_ended() {
        return None;
    }
    let authority = desired.authority();
    let untag = |side, target: &Authorized, shown: &Connection| {
        let step = tags::remove(target, tags::ownership_keys(&authority, shown, false))?;
        Some(Plan::Act(Step::Upkeep { side, step }))
    };
    let accepter = match &observed.accepter {
        AccepterView::Elsewhere(Ok(Some(shown))) => {
            let target = authority.over(shown, Hint::Recorded).ok();
            target.and_then(|target| untag(Side::Accepter, &target, shown))
        }
        // Tags of this resource may be there.
        AccepterView::Elsewhere(Err(blocker)) => Some(blocker.clone().into()),
        AccepterView::Nobody | AccepterView::Same | AccepterView::Elsewhere(Ok(None)) => None,
    };
    accepter.or_else(|| untag(Side::Requester, target, connection))
}

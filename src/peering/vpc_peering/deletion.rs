//! The deletion of a `VpcPeering`, until its finalizer is removed. No step writes the status, so that an object that
//! has grown to the size limit of the API server can still be deleted.

use std::sync::Arc;

use super::consistency::missing;
use super::routes;
use super::state::{AccepterView, Desired, Observation, Recorded};
use super::step::Step;
use crate::api::{DeletionPolicy, ManagementPolicy, Reason, Side, VpcPeeringStatus};
use crate::peering::authority::{Authorized, Hint};
use crate::peering::blocker::Blocker;
use crate::peering::connection::{Connection, StatusCode};
use crate::peering::left_in_aws;
use crate::peering::owner::Owner;
use crate::peering::plan::{Aspect, Plan};
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
    let named = named(desired, recorded, observed);
    if let Some(blocker) = missing_permission(&named) {
        return if is_released(desired, blocker) { Plan::RemoveFinalizer } else { blocker.clone().into() };
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
    if desired.deletion_policy() == DeletionPolicy::Delete {
        if ours.is_empty()
            && let Some(wait) = wait_for_lost()
        {
            return wait;
        }
        let target = ours.first().map(|(connection, target)| (target, &***connection));
        let withdraw = |side| routes::withdraw(desired, recorded, observed, target, side);
        let routes: Vec<_> = Side::BOTH.into_iter().filter_map(withdraw).collect();
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

/// The recorded connection, with the result of the check whether the resource may act on it.
type Named<'a> = Option<(&'a Arc<Connection>, Result<Authorized, Blocker>)>;

fn named<'a>(desired: Desired<'_>, recorded: &Recorded, observed: &'a Observation) -> Named<'a> {
    let named = observed.recorded.as_ref().filter(|_| recorded.owned_id().is_some())?;
    Some((named, desired.authority().over(named, Hint::Recorded)))
}

/// The blocker, if the connection is the resource's own and a permission is missing.
fn missing_permission<'a>(named: &'a Named<'_>) -> Option<&'a Blocker> {
    let blocker = named.as_ref()?.1.as_ref().err()?;
    let is_foreign = matches!(blocker.reason, Reason::ConnectionMismatch | Reason::ConnectionNotOwned);
    (!is_foreign).then_some(blocker)
}

/// Whether the resource goes in spite of a blocker: its connection stays anyway, and waiting does not help.
fn is_released(desired: Desired<'_>, blocker: &Blocker) -> bool {
    desired.deletion_policy() == DeletionPolicy::Retain && blocker.is_stalled()
}

/// The AWS resources that stay although the spec asks for their removal: routes that nothing proves to be the
/// resource's own, or with `deletionPolicy: Retain` the ownership tags that the operator may not remove.
pub(super) fn left_in_aws(desired: Desired<'_>, recorded: &Recorded, observed: &Observation) -> Vec<String> {
    if !desired.finalizer || desired.spec.management_policy == ManagementPolicy::Observe {
        return Vec::new();
    }
    if desired.deletion_policy() == DeletionPolicy::Delete {
        return routes::unproven(desired, recorded, observed);
    }
    let named = named(desired, recorded, observed);
    if missing_permission(&named).is_some() {
        return recorded_in_aws(desired.status);
    }
    let live = named.filter(|(connection, _)| !connection.code.has_ended());
    let sides = Side::BOTH.into_iter().filter(|side| keeps_tags(desired, observed, *side));
    let describe = |side, id| format!("{} at the {side}'s end", left_in_aws::connection(id, Owner::PREFIX, []));
    live.map(|(connection, _)| sides.map(|side| describe(side, &connection.id)).collect()).unwrap_or_default()
}

/// The AWS resources that the status records, for a resource that goes without an AWS call.
pub(crate) fn recorded_in_aws(status: Option<&VpcPeeringStatus>) -> Vec<String> {
    let recorded = Recorded::of(status, None);
    let code = status.and_then(|status| status.status.as_ref()).map(|status| StatusCode::from(status.code.as_str()));
    let connection = match recorded.owned_id() {
        Some(_) if code.is_some_and(|code| code.has_ended()) => None,
        Some(id) => {
            let tags = recorded.managed_tags.iter().chain(&recorded.accepter_managed_tags);
            Some(left_in_aws::connection(id, Owner::PREFIX, tags))
        }
        None if recorded.creation_started => Some(left_in_aws::connection(
            "a peering connection that the operator may have requested",
            Owner::PREFIX,
            &recorded.managed_tags,
        )),
        None => None,
    };
    connection.into_iter().chain(left_in_aws::routes(&recorded.routes)).collect()
}

/// Whether the ownership tags of one end stay, because AWS refuses their removal until a person acts.
fn keeps_tags(desired: Desired<'_>, observed: &Observation, side: Side) -> bool {
    let unreadable = match (side, &observed.accepter) {
        (Side::Accepter, AccepterView::Elsewhere(Err(blocker))) => Some(blocker),
        _ => None,
    };
    let refusal = || observed.refused.get(&Aspect::Tags(side))?.first();
    let blocker = unreadable.or_else(|| refusal().map(|refusal| &refusal.blocker));
    blocker.is_some_and(|blocker| is_released(desired, blocker))
}

/// The next step for one connection. `None` if nothing is left to do.
fn delete_or_disown(
    desired: Desired<'_>,
    observed: &Observation,
    connection: &Connection,
    target: &Authorized,
) -> Option<Plan<Step>> {
    if desired.deletion_policy() == DeletionPolicy::Retain {
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
        if keeps_tags(desired, observed, side) {
            return None;
        }
        let step = tags::remove(target, tags::ownership_keys(&authority, shown, false))?;
        Some(Plan::Act(Step::Upkeep { side, step }))
    };
    let accepter = match &observed.accepter {
        AccepterView::Elsewhere(Ok(Some(shown))) => {
            let target = authority.over(shown, Hint::Recorded).ok();
            target.and_then(|target| untag(Side::Accepter, &target, shown))
        }
        AccepterView::Elsewhere(Err(_)) if keeps_tags(desired, observed, Side::Accepter) => None,
        // Tags of this resource may be there.
        AccepterView::Elsewhere(Err(blocker)) => Some(blocker.clone().into()),
        AccepterView::Nobody | AccepterView::Same | AccepterView::Elsewhere(Ok(None)) => None,
    };
    accepter.or_else(|| untag(Side::Requester, target, connection))
}

//! The deletion of a `VpcPeeringAccepter`, until its finalizer is removed. It removes routes and tags, and keeps the
//! connections. With `deletionPolicy: Retain` it removes the ownership tags only. It works from the record and from
//! EC2, so that no spec can block it.

use std::collections::BTreeMap;

use super::judge::{foreign, is_tagged_ours};
use super::rules::Rule;
use super::state::{Desired, Observation, Recorded};
use super::step::Step;
use super::upkeep::{self, ConnectionAspect, withdraw_routes, withdraw_tags};
use crate::api::{DeletionPolicy, Reason, RequestedConnection, VpcPeeringAccepterStatus};
use crate::peering::authority::{Authorized, Hint};
use crate::peering::blocker::Blocker;
use crate::peering::connection::{Connection, StatusCode};
use crate::peering::left_in_aws;
use crate::peering::owner::Owner;
use crate::peering::plan::Plan;
use crate::peering::settings::{MISSING_REQUEUE, Settings};

pub(super) fn plan_deletion(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    settings: Settings,
) -> Plan<Step> {
    if !desired.finalizer {
        return Plan::RemoveFinalizer;
    }
    let aspects = aspects(desired, recorded, observed, settings);
    if let Some(step) = aspects.iter().find_map(|aspect| aspect.status.step.clone()) {
        return Plan::Act(step);
    }
    let blockers = aspects.iter().filter_map(|aspect| aspect.status.blocker.as_ref());
    Blocker::join(blockers.filter(|blocker| !is_released(desired, blocker))).map_or(Plan::RemoveFinalizer, Plan::from)
}

/// Whether the resource goes in spite of a blocker: its connections stay anyway, and waiting does not help.
fn is_released(desired: Desired<'_>, blocker: &Blocker) -> bool {
    retains(desired) && blocker.is_stalled()
}

pub(super) fn retains(desired: Desired<'_>) -> bool {
    desired.deletion_policy() == DeletionPolicy::Retain
}

/// The AWS resources that stay although the spec asks for their removal: routes that nothing proves to be the
/// resource's own, or with `deletionPolicy: Retain` the ownership tags that the operator may not remove.
pub(super) fn left_in_aws(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    settings: Settings,
) -> Vec<String> {
    if !retains(desired) {
        return upkeep::unproven_routes(desired, recorded, observed);
    }
    let aspects = aspects(desired, recorded, observed, settings).into_iter();
    let blocked = aspects.filter(|aspect| aspect.status.blocker.is_some());
    blocked.map(|aspect| left_in_aws::connection(&aspect.id, Owner::ACCEPTER_PREFIX, [])).collect()
}

/// The AWS resources that the status records, for a resource that goes without an AWS call.
pub(crate) fn recorded_in_aws(status: Option<&VpcPeeringAccepterStatus>) -> Vec<String> {
    let recorded = Recorded::of(status);
    let has_ended =
        |record: &&RequestedConnection| record.code.as_deref().is_some_and(|code| StatusCode::from(code).has_ended());
    let live = recorded.accepted().filter(|record| !has_ended(record));
    let connections = live.map(|record| {
        left_in_aws::connection(&record.vpc_peering_connection_id, Owner::ACCEPTER_PREFIX, &record.managed_tags)
    });
    connections.chain(left_in_aws::routes(&recorded.routes)).collect()
}

/// The recorded connections, and those that carry the tags of the resource, by ID. Each is paired with the live
/// connection if EC2 proves that it is the resource's own.
type Targets<'a> = BTreeMap<&'a String, Option<(Authorized, &'a Connection)>>;

/// The connections of the resource, and the blockers of those that the identity does not allow.
pub(super) fn targets<'a>(
    desired: Desired<'_>,
    recorded: &'a Recorded,
    observed: &'a Observation,
) -> (Targets<'a>, Vec<ConnectionAspect>) {
    let mut blocked = Vec::new();
    let mut targets: Targets<'_> =
        recorded.accepted().map(|record| (&record.vpc_peering_connection_id, None)).collect();
    for (id, connection) in &observed.connections {
        let is_free = foreign(desired, connection).is_none();
        let is_tagged = is_tagged_ours(desired, connection);
        // Without tags, a record counts only if the lists of the spec allow the connection. An adopted connection may
        // not have got its tags yet: then its routes are those of others, and nothing of it changes.
        let has_been_kept =
            |record: &RequestedConnection| record.accepted_at.is_some() || !recorded.routes_through(id).0.is_empty();
        let is_recorded = recorded.acceptance(id).is_some_and(has_been_kept);
        let is_ours = is_tagged || (is_recorded && desired.rule(connection) == Rule::Accept);
        if is_free && is_ours && !connection.code.has_ended() {
            match desired.authority().over(connection, Hint::Requested) {
                Ok(target) => _ = targets.insert(id, Some((target, connection))),
                Err(blocker) => blocked.push(ConnectionAspect::acceptance(id, None, Some(blocker))),
            }
        }
    }
    (targets, blocked)
}

/// The state of every connection that the operator has accepted, or that carries its tags.
fn aspects(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    settings: Settings,
) -> Vec<ConnectionAspect> {
    let (targets, mut aspects) = targets(desired, recorded, observed);
    for (id, live) in &targets {
        let live = live.as_ref().map(|(target, connection)| (target, *connection));
        if !retains(desired) {
            aspects.extend(withdraw_routes(desired, recorded, observed, id, live));
        }
        aspects.extend(live.and_then(|(target, connection)| withdraw_tags(desired, recorded, connection, target)));
        let is_lost = |record: &RequestedConnection| {
            !observed.connections.contains_key(*id) && !observed.is_gone(record, settings)
        };
        if recorded.acceptance(id).is_some_and(is_lost) {
            let message =
                format!("waiting for EC2 to show {id} (eventual consistency); the operator has to remove its tags");
            let blocker = Blocker::passing(Reason::AwaitingConsistency, message, MISSING_REQUEUE);
            aspects.push(ConnectionAspect::acceptance(id, None, Some(blocker)));
        }
    }
    aspects.into_iter().map(|aspect| aspect.unless_held(observed)).collect()
}

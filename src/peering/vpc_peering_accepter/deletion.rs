//! The deletion of a `VpcPeeringAccepter`, until its finalizer is removed. It removes routes and tags, and keeps the
//! connections. It works from the record and from EC2, so that no spec can block it.

use std::collections::BTreeMap;

use super::judge::{foreign, is_tagged_ours, rule};
use super::rules::Rule;
use super::state::{Desired, Observation, Recorded};
use super::step::Step;
use super::upkeep::{ConnectionAspect, withdraw_routes, withdraw_tags};
use crate::api::{Reason, RequestedConnection};
use crate::peering::authority::{Authorized, Hint};
use crate::peering::blocker::Blocker;
use crate::peering::connection::Connection;
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
    let mut aspects = Vec::new();
    let mut ids: BTreeMap<&String, Option<(Authorized, &Connection)>> =
        recorded.accepted().map(|record| (&record.vpc_peering_connection_id, None)).collect();
    for (id, connection) in &observed.connections {
        let is_free = foreign(desired, connection).is_none();
        let is_tagged = is_tagged_ours(desired, connection);
        // Without tags, a record counts only if the lists of the spec allow the connection.
        let is_ours = is_tagged || (ids.contains_key(id) && rule(desired, connection) == Rule::Accept);
        if is_free && is_ours && !connection.code.has_ended() {
            match desired.authority().over(connection, Hint::Requested) {
                Ok(target) => _ = ids.insert(id, Some((target, connection))),
                Err(blocker) => aspects.push(ConnectionAspect::acceptance(id, None, Some(blocker))),
            }
        }
    }
    for (id, live) in &ids {
        let live = live.as_ref().map(|(target, connection)| (target, *connection));
        aspects.extend(withdraw_routes(desired, recorded, observed, id, live));
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
    let aspects: Vec<_> = aspects.into_iter().map(|aspect| aspect.unless_held(observed)).collect();
    if let Some(step) = aspects.iter().find_map(|aspect| aspect.status.step.clone()) {
        return Plan::Act(step);
    }
    Blocker::join(aspects.iter().filter_map(|aspect| aspect.status.blocker.as_ref()))
        .map_or(Plan::RemoveFinalizer, Plan::from)
}

//! How a resource gets its connection: it finds one by its tags, adopts one, or requests one.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::consistency::missing;
use super::maintain::by_code;
use super::state::{Desired, Observation, Recorded};
use super::step::Step;
use super::upkeep::sides_tagged_with;
use crate::api::{Ownership, Reason, Side};
use crate::peering::authority::{Authorized, Hint};
use crate::peering::blocker::Blocker;
use crate::peering::connection::{Connection, StatusCode};
use crate::peering::plan::Plan;
use crate::peering::preflight::Preflight;
use crate::peering::settings::{MAX_RECREATION_PAUSE, MAX_RECREATIONS, MISSING_REQUEUE, STALLED_REQUEUE, Settings};
use crate::peering::upkeep::tags;

/// The next step for a resource that owns no connection by its record. The order of the checks keeps it from requesting
/// a second peering.
pub(super) fn obtain(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    now: Timestamp,
    settings: Settings,
) -> Plan<Step> {
    match desired.owned(observed).as_slice() {
        [] => {}
        [(connection, _)] => return record(connection),
        several => {
            let ids: Vec<_> = several.iter().map(|(connection, _)| connection.id.as_str()).collect();
            let message = format!(
                "{} all carry this resource's ownership tags; delete all but one of them in EC2",
                ids.join(", ")
            );
            return Plan::stalled(Reason::MultipleConnections, message);
        }
    }
    // The tags may be forged, or belong to a lost record. Another request could create a second peering.
    if let Some(unexpected) = unexpected_connection(desired, observed) {
        return unexpected.into();
    }
    if recorded.creation_started
        && let Some(wait) = missing("the requested peering connection", observed, settings)
    {
        return wait;
    }
    let excess = |side| desired.excess_tags(sides_tagged_with(side, &observed.accepter));
    let tagged_ends = Side::BOTH.into_iter().filter(|side| *side == Side::Requester || observed.has_accepter_tags());
    if let Some(excess) = Blocker::join(tagged_ends.filter_map(excess).collect::<Vec<_>>().iter()) {
        return excess.into();
    }
    if let Some(older) = &observed.older_claim {
        return Plan::Stalled {
            reason: Reason::ConnectionNotOwned,
            message: format!(
                "{} is older and asks for a peering of the same VPCs; delete one of the two",
                older.resource
            ),
            requeue_after: Some(if older.is_deleted { MISSING_REQUEUE } else { STALLED_REQUEUE }),
        };
    }
    if let Some(id) = &desired.spec.vpc_peering_connection_id {
        return adopt(desired, recorded, observed, id);
    }
    if let Some(plan) = adopt_orphan(desired, recorded, observed) {
        return plan;
    }
    if let Some(conflicting) = &observed.conflicting {
        return Plan::stalled(Reason::ConnectionNotOwned, desired.authority().not_owned(conflicting));
    }
    if let Some(wait) = recreation_pause(desired, recorded, now, settings) {
        return wait;
    }
    request(desired, recorded, observed)
}

/// The request: check the VPCs, then dry run or create.
fn request(desired: Desired<'_>, recorded: &Recorded, observed: &Observation) -> Plan<Step> {
    match (&observed.preflight, desired.spec.dry_run, recorded.dry_run_succeeded) {
        (_, true, true) => Plan::DryRunSucceeded,
        (None, _, _) => Plan::Act(Step::Preflight),
        (Some(Preflight::Refused { reason, message }), _, _) => {
            Plan::Stalled { reason: *reason, message: message.clone(), requeue_after: Some(STALLED_REQUEUE) }
        }
        (Some(Preflight::Passed), true, false) => Plan::Act(Step::DryRun),
        (Some(Preflight::Passed), false, _) => Plan::Act(Step::Create),
    }
}

pub(super) fn record(connection: &Arc<Connection>) -> Plan<Step> {
    Plan::Act(Step::Record { connection: Arc::clone(connection), ownership: Ownership::Owned })
}

/// A connection with the ownership tags that does not join the VPCs of the spec. The tags prove nothing: everybody who
/// may set tags in the account can set these.
fn unexpected_connection(desired: Desired<'_>, observed: &Observation) -> Option<Blocker> {
    let authority = desired.authority();
    let difference = observed.owned.iter().find_map(|connection| authority.difference(connection))?;
    let message = format!(
        "{difference}. It carries this resource's ownership tags (vpcpeering.dev/…): find out who set them, and remove them"
    );
    Some(Blocker::rechecked(Reason::ConnectionMismatch, message))
}

/// The message of the `UnexpectedConnection` condition: such a connection, or one with the tags of an earlier resource
/// of this name.
pub(super) fn unexpected_tags(desired: Desired<'_>, observed: &Observation) -> Option<String> {
    let authority = desired.authority();
    let of_orphan = || {
        let difference = observed.orphaned.iter().find_map(|connection| authority.difference(connection))?;
        Some(format!(
            "{difference}. It carries the ownership tags of an earlier resource of this name: delete it in EC2 if nobody needs it, or remove the tags"
        ))
    };
    unexpected_connection(desired, observed).map(|blocker| blocker.message).or_else(of_orphan)
}

/// Adopts the connection of an earlier resource of this name. That resource lost its finalizer, or was restored under a
/// new UID. Adoption interrupts no traffic.
fn adopt_orphan(desired: Desired<'_>, recorded: &Recorded, observed: &Observation) -> Option<Plan<Step>> {
    if desired.spec.dry_run {
        return None;
    }
    let authority = desired.authority();
    let is_alive = |connection: &&Arc<Connection>| connection.code != StatusCode::Deleting;
    let mut orphans = observed.orphaned.iter().filter(is_alive);
    let (connection, target) =
        orphans.find_map(|connection| Some((connection, authority.over(connection, Hint::Predecessor).ok()?)))?;
    tag(desired, recorded, observed, (&target, connection))
}

/// Adopts the connection that the spec names. Ownership tags come first, and then the record.
fn adopt(desired: Desired<'_>, recorded: &Recorded, observed: &Observation, id: &str) -> Plan<Step> {
    if let Err(blocker) = desired.authority().adoption() {
        return blocker.into();
    }
    let Some(connection) = &observed.wanted else {
        return unknown_connection(desired, id);
    };
    let target = match desired.authority().over(connection, Hint::Named) {
        Ok(target) => target,
        Err(blocker) => return blocker.into(),
    };
    if connection.code.has_ended() || connection.code == StatusCode::Deleting {
        return by_code(connection);
    }
    match tag(desired, recorded, observed, (&target, connection)) {
        Some(plan) if !desired.spec.dry_run => plan,
        _ => Plan::stalled(Reason::DryRun, format!("{id} can be adopted; set spec.dryRun to false to adopt it")),
    }
}

fn tag(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    shown: (&Authorized, &Connection),
) -> Option<Plan<Step>> {
    let wanted = desired.tags(sides_tagged_with(Side::Requester, &observed.accepter));
    let step = tags::repair(wanted, &recorded.managed_tags, shown)?;
    Some(Plan::Act(Step::Upkeep { side: Side::Requester, step }))
}

pub(super) fn unknown_connection(desired: Desired<'_>, id: &str) -> Plan<Step> {
    let region = &desired.ends.requester.region;
    Plan::Stalled {
        reason: Reason::NotFound,
        message: format!(
            "spec.vpcPeeringConnectionId: EC2 shows no {id} in {region} to these credentials; check the ID, spec.requester.region and the account"
        ),
        requeue_after: Some(STALLED_REQUEUE),
    }
}

/// The pause before a new request follows a peering that has ended.
fn recreation_pause(
    desired: Desired<'_>,
    recorded: &Recorded,
    now: Timestamp,
    settings: Settings,
) -> Option<Plan<Step>> {
    let doublings = recorded.recreations.checked_sub(1).filter(|_| !desired.reconcile_requested)?;
    let pause = settings.recreation_pause.saturating_mul(1 << doublings.min(MAX_RECREATIONS)).min(MAX_RECREATION_PAUSE);
    let since: Duration = now.duration_since(recorded.ended_at?).try_into().unwrap_or_default();
    let left = pause.checked_sub(since).filter(|left| !left.is_zero())?;
    let (number, pause) = (recorded.recreations, pause.as_secs_f32());
    Some(Plan::Wait {
        reason: Reason::AwaitingRecreation,
        message: format!(
            "the last peering has ended; request {number} of at most {MAX_RECREATIONS} in a row follows after a pause of {pause} s"
        ),
        requeue_after: Some(left),
    })
}

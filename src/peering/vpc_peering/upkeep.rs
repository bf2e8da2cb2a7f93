//! The aspects of a live connection, in the order in which they are served: acceptance, tags, options, routes, orphans.

use super::routes::{self, no_identity};
use super::state::{AccepterView, Desired, Observation, Recorded};
use super::step::Step;
use crate::api::{
    Acceptance, ConditionType, DeletionPolicy, ManagementPolicy, Ownership, Reason, Side, VpcPeeringStatus,
};
use crate::peering::authority::{Authorized, Hint};
use crate::peering::blocker::Blocker;
use crate::peering::connection::{Connection, StatusCode};
use crate::peering::dns::DnsOfVpc;
use crate::peering::plan::{Aspect, AspectStatus, Plan, Step as _};
use crate::peering::settings::{MISSING_REQUEUE, Settings};
use crate::peering::upkeep::{self, OptionsOfEnd};

/// The state of every aspect.
pub(super) fn aspects(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    (connection, target): (&Connection, &Authorized),
    settings: Settings,
) -> Vec<AspectStatus<Step>> {
    let mut statuses = Vec::new();
    if connection.code == StatusCode::PendingAcceptance {
        statuses.push(acceptance(desired, observed, connection, target));
    }
    statuses.extend(Side::BOTH.into_iter().filter_map(|side| tags(desired, recorded, observed, connection, side)));
    if connection.code == StatusCode::Active {
        statuses.extend(Side::BOTH.into_iter().filter_map(|side| options(desired, observed, connection, target, side)));
        let target = (target, connection);
        statuses.extend(
            Side::BOTH.into_iter().filter_map(|side| routes::repair(desired, recorded, observed, target, side)),
        );
    } else {
        // The blockers of such routes would hide the progress of the connection. They show when it is active.
        let ended = routes::withdraw_ended(desired, recorded, observed, settings);
        statuses.extend(ended.into_iter().filter(|status| status.step.is_some()));
    }
    statuses.extend(orphans(desired, observed));
    unless_held(statuses, observed)
}

/// The aspects of a resource without a live connection: the routes through its earlier connections.
pub(super) fn aspects_without_connection(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    settings: Settings,
) -> Vec<AspectStatus<Step>> {
    unless_held(routes::withdraw_ended(desired, recorded, observed, settings), observed)
}

fn unless_held(statuses: Vec<AspectStatus<Step>>, observed: &Observation) -> Vec<AspectStatus<Step>> {
    let unless_held = |status: AspectStatus<Step>| {
        let aspect = status.aspect;
        status.unless_refused(observed.refused.get(&aspect)).unless_unseen(observed.unseen.get(&aspect))
    };
    statuses.into_iter().map(unless_held).collect()
}

/// The conditions `OptionsSynced` and `RoutesReady`. `awaited` is the reason to wait for an active connection.
pub(super) fn conditions(
    desired: Desired<'_>,
    statuses: &[AspectStatus<Step>],
    awaited: Option<Blocker>,
) -> Vec<(ConditionType, Result<(), Blocker>)> {
    let sides = Side::BOTH.map(|side| desired.spec.side(side));
    let options = sides
        .iter()
        .any(|side| side.options.is_some_and(|options| options.allow_dns_resolution_from_remote_vpc.is_some()));
    let routes = sides.iter().any(|side| side.routes.is_some());
    // Nobody keeps the aspects of a connection that is only observed or being deleted, so that they have no conditions.
    let is_kept = desired.spec.management_policy == ManagementPolicy::Full && !desired.spec.dry_run && !desired.deleted;
    upkeep::conditions(statuses.iter(), (options && is_kept, routes && is_kept), awaited, Step::change)
}

/// The reason why the options and routes wait for an active connection.
pub(super) fn awaited(status: &VpcPeeringStatus, plan: &Plan<Step>) -> Blocker {
    let owned = status.vpc_peering_connection_id.as_ref().filter(|_| status.ownership == Some(Ownership::Owned));
    match (owned, plan) {
        (Some(id), Plan::Stalled { reason: reason @ (Reason::Deleted | Reason::NotFound), .. }) => Blocker::stalled(
            *reason,
            format!(
                "{id} no longer exists, so its routes are removed; the next active connection gets options and routes"
            ),
        ),
        _ => Blocker::stalled(Reason::Updating, "waiting for the peering to become active".into()),
    }
}

/// The ends whose tags this end carries. EC2 keeps the tags of a connection by account and region.
pub(crate) fn sides_tagged_with(side: Side, view: &AccepterView) -> &'static [Side] {
    match (side, view) {
        (Side::Requester, AccepterView::Same) => &Side::BOTH,
        (Side::Requester, _) => &[Side::Requester],
        (Side::Accepter, _) => &[Side::Accepter],
    }
}

/// The request is accepted from the accepter's view, and only if that view shows the same connection.
fn acceptance(
    desired: Desired<'_>,
    observed: &Observation,
    connection: &Connection,
    target: &Authorized,
) -> AspectStatus<Step> {
    let aspect = Aspect::Acceptance;
    let passing = |message| {
        let blocker = Blocker::passing(Reason::AwaitingConsistency, message, MISSING_REQUEUE);
        AspectStatus::blocked(aspect, blocker)
    };
    if desired.spec.acceptance == Acceptance::Manual || desired.spec.dry_run {
        return AspectStatus::settled(aspect);
    }
    let region = &desired.ends.accepter.region;
    let shown = match &observed.accepter {
        AccepterView::Nobody => return AspectStatus::settled(aspect),
        AccepterView::Same => connection,
        AccepterView::Elsewhere(Ok(Some(shown))) => shown,
        AccepterView::Elsewhere(Ok(None)) => {
            return passing(format!("waiting for EC2 to show {target} to the accepter's account in {region}"));
        }
        AccepterView::Elsewhere(Err(blocker)) => return AspectStatus::blocked(aspect, blocker.clone()),
    };
    if let Err(blocker) = over_own_end(desired, shown) {
        return AspectStatus::blocked(aspect, blocker);
    }
    match shown.code {
        StatusCode::PendingAcceptance => {
            AspectStatus::with_step(aspect, Step::Accept { id: target.clone(), region: region.clone() })
        }
        // EC2 shows a change to one end before the other.
        _ => passing(format!(
            "waiting for EC2: {target} is {} at the requester's end and {} at the accepter's end",
            connection.code, shown.code
        )),
    }
}

/// Checks the authority over one end of the recorded connection. Each end has tags of its own, and so an owner of its
/// own. A resource that was restored under a new UID took over the requester's end, and finds the tags of its predecessor
/// at the accepter's.
pub(super) fn over_own_end(desired: Desired<'_>, shown: &Connection) -> Result<Authorized, Blocker> {
    let authority = desired.authority();
    authority
        .over(shown, Hint::Recorded)
        .or_else(|blocker| authority.over(shown, Hint::Predecessor).map_err(|_| blocker))
}

/// The tags of one end. `None` for an end without tags of its own.
fn tags(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    connection: &Connection,
    side: Side,
) -> Option<AspectStatus<Step>> {
    let (shown, managed) = match (side, &observed.accepter) {
        (Side::Requester, _) => (connection, &recorded.managed_tags),
        (Side::Accepter, AccepterView::Elsewhere(Ok(Some(shown)))) => (&**shown, &recorded.accepter_managed_tags),
        (Side::Accepter, AccepterView::Elsewhere(Err(blocker))) => {
            return Some(AspectStatus::blocked(Aspect::Tags(side), blocker.clone()));
        }
        (Side::Accepter, AccepterView::Nobody | AccepterView::Same | AccepterView::Elsewhere(Ok(None))) => return None,
    };
    Some(match over_own_end(desired, shown) {
        Ok(target) => {
            let sides = sides_tagged_with(side, &observed.accepter);
            match desired.excess_tags(sides) {
                Some(excess) => AspectStatus::blocked(Aspect::Tags(side), excess),
                None => upkeep::tags(side, desired.tags(sides), managed, (&target, shown))
                    .map(|step| Step::Upkeep { side, step }),
            }
        }
        Err(blocker) => AspectStatus::blocked(Aspect::Tags(side), blocker),
    })
}

/// The DNS options of one end. `None` if the spec does not ask for any.
fn options(
    desired: Desired<'_>,
    observed: &Observation,
    connection: &Connection,
    target: &Authorized,
    side: Side,
) -> Option<AspectStatus<Step>> {
    let wanted = desired.spec.side(side).options?;
    let needs_dns = desired.needs_dns();
    if wanted.allow_dns_resolution_from_remote_vpc.is_none() && !(needs_dns && wanted.manage_dns_attributes) {
        return None;
    }
    let field = options_field(side);
    let of_end = |connection: &Connection| match side {
        Side::Requester => connection.requester.peering_options.clone(),
        Side::Accepter => connection.accepter.peering_options.clone(),
    };
    let shown = match (side, &observed.accepter) {
        (Side::Accepter, AccepterView::Nobody) => {
            return Some(AspectStatus::blocked(Aspect::Options(side), no_identity(field)));
        }
        (Side::Accepter, AccepterView::Elsewhere(Err(blocker))) => {
            return Some(AspectStatus::blocked(Aspect::Options(side), blocker.clone()));
        }
        // The accepter's own view is the more recent one.
        (Side::Accepter, AccepterView::Elsewhere(Ok(view))) => {
            view.as_deref().and_then(&of_end).or_else(|| of_end(connection))
        }
        (Side::Requester, _) | (Side::Accepter, AccepterView::Same) => of_end(connection),
    };
    let other = if side == Side::Requester { Side::Accepter } else { Side::Requester };
    let options = OptionsOfEnd {
        side,
        wanted,
        needs_dns,
        shown: shown.as_ref(),
        target,
        limits: desired.permissions.at(side),
        own: dns_of(desired, observed, side),
        other: Some(dns_of(desired, observed, other)),
    };
    Some(options.decide().map(|step| Step::Upkeep { side, step }))
}

fn options_field(side: Side) -> &'static str {
    match side {
        Side::Requester => "spec.requester.options",
        Side::Accepter => "spec.accepter.options",
    }
}

fn dns_of<'a>(desired: Desired<'a>, observed: &'a Observation, side: Side) -> DnsOfVpc<'a> {
    let end = desired.ends.side(side);
    DnsOfVpc {
        vpc_id: &end.vpc_id,
        region: &end.region,
        attributes: observed.dns.get(&side),
        field: options_field(side),
        is_managed: desired.spec.side(side).options.is_some_and(|options| options.manage_dns_attributes),
    }
}

/// The connection of an earlier resource of this name between the same VPCs. It is deleted, unless the spec keeps
/// connections in AWS.
fn orphans(desired: Desired<'_>, observed: &Observation) -> Option<AspectStatus<Step>> {
    if desired.deletion_policy() == DeletionPolicy::Retain {
        return None;
    }
    let authority = desired.authority();
    let mut orphans = observed
        .orphaned
        .iter()
        .filter(|orphan| matches!(orphan.code, StatusCode::PendingAcceptance | StatusCode::Active));
    let id = orphans.find_map(|orphan| authority.over(orphan, Hint::Predecessor).ok())?;
    Some(AspectStatus::with_step(Aspect::Orphans, Step::DeleteOrphan { id }))
}

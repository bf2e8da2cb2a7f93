//! The aspects of a live connection, in the order in which they are served: acceptance, tags, options, routes, orphans.

use std::collections::BTreeSet;

use super::state::{AccepterView, Desired, Observation, Recorded};
use super::step::Step;
use crate::api::{Acceptance, ConditionType, DeletionPolicy, Reason, Side, VpcInfo};
use crate::peering::authority::{Authorized, Hint};
use crate::peering::blocker::Blocker;
use crate::peering::connection::{Connection, StatusCode};
use crate::peering::plan::{Aspect, AspectStatus, Step as _};
use crate::peering::routes::{self, Routing, Trust, cidr_blocks};
use crate::peering::settings::{MAX_ROUTES, MISSING_REQUEUE};
use crate::peering::upkeep;

const SIDES: [Side; 2] = [Side::Requester, Side::Accepter];

/// The state of every aspect.
pub(super) fn aspects(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    (connection, target): (&Connection, &Authorized),
) -> Vec<AspectStatus<Step>> {
    let mut statuses = Vec::new();
    if connection.code == StatusCode::PendingAcceptance {
        statuses.push(acceptance(desired, observed, connection, target));
    }
    statuses.extend(SIDES.into_iter().filter_map(|side| tags(desired, recorded, observed, connection, side)));
    if connection.code == StatusCode::Active {
        statuses.extend(SIDES.into_iter().filter_map(|side| options(desired, observed, connection, target, side)));
        let routes = |side| {
            let other = other_end(connection, side);
            let routing = Inputs { desired, recorded, observed, target: Some((target, other)), side };
            routing.decide(|routing| upkeep::routes(routing, desired.permissions.at(side)))
        };
        statuses.extend(SIDES.into_iter().filter_map(routes));
    }
    statuses.extend(orphans(desired, observed));
    let unless_held = |status: AspectStatus<Step>| {
        let aspect = status.aspect;
        status.unless_refused(observed.refused.get(&aspect)).unless_unseen(observed.unseen.get(&aspect))
    };
    statuses.into_iter().map(unless_held).collect()
}

/// The conditions `OptionsSynced` and `RoutesReady`.
pub(super) fn conditions(
    desired: Desired<'_>,
    statuses: &[AspectStatus<Step>],
    is_active: bool,
) -> Vec<(ConditionType, Result<(), Blocker>)> {
    let sides = SIDES.map(|side| desired.spec.side(side));
    let options = sides
        .iter()
        .any(|side| side.options.is_some_and(|options| options.allow_dns_resolution_from_remote_vpc.is_some()));
    let routes = sides.iter().any(|side| side.routes.is_some());
    let awaited = (!is_active).then_some("the peering");
    upkeep::conditions(statuses.iter(), (options, routes), awaited, Step::change)
}

/// The ends whose tags this end carries. EC2 keeps the tags of a connection by account and region.
pub(crate) fn sides_tagged_with(side: Side, view: &AccepterView) -> &'static [Side] {
    match (side, view) {
        (Side::Requester, AccepterView::Same) => &[Side::Requester, Side::Accepter],
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
    if let Err(blocker) = desired.authority().over(shown, Hint::Recorded) {
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
    // Each end has tags of its own, and so an owner of its own.
    Some(match desired.authority().over(shown, Hint::Recorded) {
        Ok(target) => {
            let wanted = desired.tags(sides_tagged_with(side, &observed.accepter));
            upkeep::tags(side, wanted, managed, (&target, shown)).map(|step| Step::Upkeep { side, step })
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
    let wanted = desired.spec.side(side).options?.allow_dns_resolution_from_remote_vpc?;
    let field = format!("spec.{side}.options");
    let of_end = |connection: &Connection| match side {
        Side::Requester => connection.requester.peering_options.clone(),
        Side::Accepter => connection.accepter.peering_options.clone(),
    };
    let shown = match (side, &observed.accepter) {
        (Side::Accepter, AccepterView::Nobody) => {
            return Some(AspectStatus::blocked(Aspect::Options(side), no_identity(&field)));
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
    let limits = desired.permissions.at(side);
    let status = upkeep::options(side, wanted, shown.as_ref(), target, (&field, limits));
    Some(status.map(|step| Step::Upkeep { side, step }))
}

/// The removal of the routes of one end before the peering is deleted: no route may be left without a target. `None` if
/// there is nothing to remove. `target` is the connection, if EC2 proves that it is the resource's own.
pub(super) fn withdraw_routes(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    target: Option<(&Authorized, &Connection)>,
    side: Side,
) -> Option<AspectStatus<Step>> {
    let has_record = recorded.routes.iter().any(|route| route.side == side);
    let is_active = target.is_some_and(|(_, connection)| connection.code == StatusCode::Active);
    if !has_record && !is_active {
        return None;
    }
    let id = target.map_or("the peering", |(id, _)| id.as_str());
    let target = target.map(|(target, connection)| (target, other_end(connection, side)));
    let inputs = Inputs { desired, recorded, observed, target, side };
    let status = inputs.decide(|routing| upkeep::withdraw_routes(routing, false, id))?;
    // Unreadable route tables do not block the deletion if no route is recorded.
    let is_due = status.step.is_some()
        || (status.blocker.is_some() && (has_record || inputs.tables().is_some_and(Result::is_ok)));
    is_due.then(|| status.unless_refused(observed.refused.get(&Aspect::Routes(side))))
}

/// The recorded routes that stay in AWS after the deletion, because EC2 does not prove that they are the resource's
/// own.
pub(super) fn unproven_routes(desired: Desired<'_>, recorded: &Recorded, observed: &Observation) -> Vec<String> {
    let plans = SIDES.into_iter().filter_map(|side| {
        let inputs = Inputs { desired, recorded, observed, target: None, side };
        inputs.with_routing(|routing| routes::withdraw(routing, false))?.ok()
    });
    plans.flat_map(|plan| plan.problems).map(|problem| problem.to_string()).collect()
}

/// The connection of an earlier resource of this name between the same VPCs. It is deleted, unless the spec keeps
/// connections in AWS.
fn orphans(desired: Desired<'_>, observed: &Observation) -> Option<AspectStatus<Step>> {
    if desired.spec.deletion_policy == DeletionPolicy::Retain {
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

fn other_end(connection: &Connection, side: Side) -> &VpcInfo {
    match side {
        Side::Requester => &connection.accepter,
        Side::Accepter => &connection.requester,
    }
}

/// The input for the routes of one end.
struct Inputs<'a> {
    desired: Desired<'a>,
    recorded: &'a Recorded,
    observed: &'a Observation,
    /// The connection and its other end, if EC2 proves that the connection is the resource's own.
    target: Option<(&'a Authorized, &'a VpcInfo)>,
    side: Side,
}

impl Inputs<'_> {
    /// The state of the routes. `None` if the operator manages no routes of this end.
    fn decide(
        &self,
        decide: impl FnOnce(Routing<'_>) -> AspectStatus<upkeep::UpkeepStep>,
    ) -> Option<AspectStatus<Step>> {
        let side = self.side;
        Some(match self.with_routing(decide)? {
            Ok(status) => status.map(|step| Step::Upkeep { side, step }),
            Err(blocker) => AspectStatus::blocked(Aspect::Routes(side), blocker),
        })
    }

    fn tables(&self) -> Option<&Result<std::sync::Arc<routes::RouteTables>, Blocker>> {
        self.observed.tables.get(&self.side)
    }

    fn with_routing<T>(&self, decide: impl FnOnce(Routing<'_>) -> T) -> Option<Result<T, Blocker>> {
        let (desired, recorded, observed, side) = (self.desired, self.recorded, self.observed, self.side);
        let routes = desired.spec.side(side).routes.as_ref();
        if routes.is_none() && !recorded.routes.iter().any(|route| route.side == side) {
            return None;
        }
        let field = format!("spec.{side}.routes");
        let tables = match self.tables() {
            None => return Some(Err(no_identity(&field))),
            Some(Err(blocker)) => return Some(Err(blocker.clone())),
            Some(Ok(tables)) => tables,
        };
        let unknown = VpcInfo::default();
        let other = self.target.map_or(&unknown, |(_, other)| other);
        let (earlier, others) = earlier(desired, recorded, observed);
        Some(Ok(decide(Routing {
            side,
            vpc_id: &desired.ends.side(side).vpc_id,
            routes,
            field: &field,
            connection: self.target.map(|(target, _)| target),
            earlier: &earlier,
            others: &others,
            other,
            trust: &trust(recorded, observed, other),
            tables,
            recorded: &recorded.routes,
            is_settled: observed.is_settled,
            limit: MAX_ROUTES,
        })))
    }
}

/// The connections of recorded routes: those that are proven to be the resource's own, and those that are proven not to
/// be.
fn earlier(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
) -> (BTreeSet<Authorized>, BTreeSet<String>) {
    let authority = desired.authority();
    let (mut ours, mut others) = (observed.remembered.clone(), BTreeSet::new());
    for (connection, hint) in observed.routed(recorded) {
        match authority.over(connection, hint) {
            Ok(target) => _ = ours.insert(target),
            Err(_) => _ = others.insert(connection.id.clone()),
        }
    }
    (ours, others)
}

/// The CIDR blocks of the other end that may get routes. All of them, if the operator acts for both ends.
fn trust(recorded: &Recorded, observed: &Observation, other: &VpcInfo) -> Trust {
    if observed.accepter != AccepterView::Nobody {
        return Trust::all();
    }
    let known = recorded.accepted_cidr_blocks.as_ref();
    // Until the first blocks are recorded, the current ones are the first.
    let known = known.map_or_else(|| cidr_blocks(other), routes::parse_all);
    Trust { recorded: known, by_destination: true, ..Trust::default() }
}

fn no_identity(field: &str) -> Blocker {
    let message = format!(
        "{field}: the accepter's VPC belongs to another account, and no identity acts for it; name one in spec.accepter.identityRef"
    );
    Blocker::stalled(Reason::IdentityNotFound, message)
}

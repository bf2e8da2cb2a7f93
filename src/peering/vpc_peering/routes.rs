//! The routes of both ends: their upkeep while the connection is active, and their removal after its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::consistency::is_gone;
use super::state::{AccepterView, Desired, Observation, Recorded};
use super::step::Step;
use crate::api::{ManagedRoute, ManagementPolicy, Reason, Side, VpcInfo};
use crate::peering::authority::Authorized;
use crate::peering::blocker::Blocker;
use crate::peering::connection::{Connection, StatusCode};
use crate::peering::plan::{Aspect, AspectStatus};
use crate::peering::routes::{self, RouteTables, Routing, Trust, cidr_blocks};
use crate::peering::settings::{MAX_ROUTES, Settings};
use crate::peering::upkeep::{self, UpkeepStep};

/// The routes of one end of an active connection. `None` if the operator manages no routes of this end.
pub(super) fn repair(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    target: (&Authorized, &Connection),
    side: Side,
) -> Option<AspectStatus<Step>> {
    let inputs = Inputs { desired, recorded, observed, target: Some(target), side };
    inputs.decide(|routing| upkeep::routes(routing, desired.permissions.at(side)))
}

/// The removal of the routes of one end before the peering is deleted: no route may be left without a target. `None` if
/// there is nothing to remove. `target` is the connection, if EC2 proves that it is the resource's own.
pub(super) fn withdraw(
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
    let inputs = Inputs { desired, recorded, observed, target, side };
    let status = inputs.decide(|routing| upkeep::withdraw_routes(routing, false, id))?;
    // Unreadable route tables do not block the deletion if no route is recorded.
    let is_due = status.step.is_some()
        || (status.blocker.is_some() && (has_record || inputs.tables().is_some_and(Result::is_ok)));
    is_due.then(|| status.unless_refused(observed.refused.get(&Aspect::Routes(side))))
}

/// The routes of one end that [`withdraw`] removes. If EC2 does not show the route tables, the recorded ones.
pub(super) fn withdrawn(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    target: Option<(&Authorized, &Connection)>,
    side: Side,
) -> Vec<ManagedRoute> {
    let of_side = || recorded.routes.iter().filter(|route| route.side == side).cloned();
    let is_active = target.is_some_and(|(_, connection)| connection.code == StatusCode::Active);
    if !is_active && of_side().next().is_none() {
        return Vec::new();
    }
    let inputs = Inputs { desired, recorded, observed, target, side };
    match inputs.with_routing(|routing| routes::withdraw(routing, false).changed_routes()) {
        Some(Ok(routes)) => routes,
        Some(Err(_)) => of_side().collect(),
        None => Vec::new(),
    }
}

/// The removal of the recorded routes through connections that have ended, whoever ended them. Routes through a live
/// connection stay, and so do their records.
pub(super) fn withdraw_ended(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    settings: Settings,
) -> Vec<AspectStatus<Step>> {
    if desired.spec.dry_run || desired.spec.management_policy == ManagementPolicy::Observe {
        return Vec::new();
    }
    let has_ended = |id: &String| match observed.routed(recorded).find(|(connection, _)| connection.id == *id) {
        Some((connection, hint)) => connection.code.has_ended() && desired.authority().over(connection, hint).is_ok(),
        None if recorded.connection_id.as_ref() == Some(id) => is_gone(observed, settings),
        // The resource has had another connection since.
        None => true,
    };
    let ids: BTreeSet<&String> = recorded.routes.iter().map(|route| &route.vpc_peering_connection_id).collect();
    let ended: BTreeSet<&String> = ids.into_iter().filter(|id| has_ended(id)).collect();
    let Some(first) = ended.first() else { return Vec::new() };
    let (routes, others): (BTreeSet<_>, BTreeSet<_>) =
        recorded.routes.iter().cloned().partition(|route| ended.contains(&route.vpc_peering_connection_id));
    let sides =
        Side::BOTH.into_iter().filter(|side| routes.iter().any(|route| route.side == *side)).collect::<Vec<_>>();
    let of_ended = Recorded { routes, ..recorded.clone() };
    let withdraw = |side| {
        let inputs = Inputs { desired, recorded: &of_ended, observed, target: None, side };
        let status = inputs.decide(|routing| upkeep::withdraw_routes(routing, true, first))?;
        Some(status.map(|step| with_other_records(step, &others)))
    };
    sides.into_iter().filter_map(withdraw).collect()
}

/// Adds the records of other connections to a step that replaces the record.
fn with_other_records(step: Step, others: &BTreeSet<ManagedRoute>) -> Step {
    match step {
        Step::Upkeep { side, step: UpkeepStep::RecordRoutes { mut routes } } => {
            routes.extend(others.iter().cloned());
            Step::Upkeep { side, step: UpkeepStep::RecordRoutes { routes } }
        }
        step => step,
    }
}

/// The recorded routes that stay in AWS after the deletion, because EC2 does not prove that they are the resource's
/// own.
pub(super) fn unproven(desired: Desired<'_>, recorded: &Recorded, observed: &Observation) -> Vec<String> {
    let plans = Side::BOTH.into_iter().filter_map(|side| {
        let inputs = Inputs { desired, recorded, observed, target: None, side };
        inputs.with_routing(|routing| routes::withdraw(routing, false))?.ok()
    });
    plans.flat_map(|plan| plan.problems).map(|problem| problem.to_string()).collect()
}

/// The input for the routes of one end.
struct Inputs<'a> {
    desired: Desired<'a>,
    recorded: &'a Recorded,
    observed: &'a Observation,
    /// The connection, if EC2 proves that it is the resource's own.
    target: Option<(&'a Authorized, &'a Connection)>,
    side: Side,
}

impl Inputs<'_> {
    /// The state of the routes. `None` if the operator manages no routes of this end.
    fn decide(&self, decide: impl FnOnce(Routing<'_>) -> AspectStatus<UpkeepStep>) -> Option<AspectStatus<Step>> {
        let side = self.side;
        Some(match self.with_routing(decide)? {
            Ok(status) => status.map(|step| Step::Upkeep { side, step }),
            Err(blocker) => AspectStatus::blocked(Aspect::Routes(side), blocker),
        })
    }

    fn tables(&self) -> Option<&Result<Arc<RouteTables>, Blocker>> {
        self.observed.tables.get(&self.side)
    }

    fn with_routing<T>(&self, decide: impl FnOnce(Routing<'_>) -> T) -> Option<Result<T, Blocker>> {
        let (desired, recorded, observed, side) = (self.desired, self.recorded, self.observed, self.side);
        let routes = desired.spec.side(side).routes.as_deref();
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
        let (own, other) = self.target.map_or((&unknown, &unknown), |(_, connection)| match side {
            Side::Requester => (&connection.requester, &connection.accepter),
            Side::Accepter => (&connection.accepter, &connection.requester),
        });
        let proofs = Proofs::of(desired, recorded, observed);
        Some(Ok(decide(Routing {
            side,
            vpc_id: &desired.ends.side(side).vpc_id,
            routes,
            field: &field,
            connection: self.target.map(|(target, _)| target),
            earlier: &proofs.shown,
            remembered: &proofs.remembered,
            others: &proofs.others,
            siblings: &BTreeMap::new(),
            sibling_blocks: &[],
            own,
            other,
            shares_destinations: false,
            trust: &trust(recorded, observed, other),
            tables,
            subnets: observed.subnets.get(&side),
            lists: observed.lists.get(&side),
            recorded: &recorded.routes,
            answers: &observed.route_answers,
            quota: observed.quotas.get(&side).copied().unwrap_or_default().routes_per_table,
            limit: MAX_ROUTES,
        })))
    }
}

/// The connections of recorded routes.
struct Proofs {
    /// EC2 shows these as the resource's own.
    shown: BTreeSet<Authorized>,
    /// EC2 has shown these to this process as the resource's own, and does not show them now.
    remembered: BTreeSet<Authorized>,
    /// EC2 shows these, and they are not the resource's own.
    others: BTreeSet<String>,
}

impl Proofs {
    fn of(desired: Desired<'_>, recorded: &Recorded, observed: &Observation) -> Self {
        let (mut shown, mut others) = (BTreeSet::new(), BTreeSet::new());
        let mut remembered = observed.remembered.clone();
        for (connection, hint) in observed.routed(recorded) {
            remembered.retain(|id| **id != *connection.id);
            match desired.authority().over(connection, hint) {
                Ok(target) => _ = shown.insert(target),
                Err(_) => _ = others.insert(connection.id.clone()),
            }
        }
        Self { shown, remembered, others }
    }
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

/// The blocker of an aspect of the accepter's end.
pub(super) fn no_identity(field: &str) -> Blocker {
    let message = format!(
        "{field}: the accepter's VPC belongs to another account, and no identity acts for it; name one in spec.accepter.identityRef"
    );
    Blocker::stalled(Reason::IdentityNotFound, message)
}

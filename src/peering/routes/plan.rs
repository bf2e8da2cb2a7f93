//! The decision on the routes of one end: the next step from the routes in EC2 to the routes of the spec.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::change::{RouteChange, RouteStep};
use super::destination::Destination;
use super::prefix_list_problem::PrefixListProblem;
use super::problem::{RouteConflict, RouteProblem};
use super::routing::Routing;
use super::table::{Route, RouteEntry};
use super::wanted::{Wanted, named, wanted};
use crate::api::{ManagedRoute, Reason};
use crate::peering::blocker::Blocker;

/// How many messages a blocker lists before it only counts the rest.
const LISTED: usize = 5;

/// The decision on the routes of one end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoutesPlan {
    pub step: Option<RouteStep>,
    /// Whether a later view of EC2 may call for another step: a recorded route is not shown, and EC2 may only be late.
    pub awaits_ec2: bool,
    /// Routes of others to wanted destinations. The operator leaves them alone and keeps all other routes.
    pub conflicts: Vec<RouteConflict>,
    /// The other reasons why wanted routes are missing.
    pub problems: Vec<RouteProblem>,
}

/// The next step towards the routes of the spec, for an active connection.
pub(crate) fn repair(routing: Routing<'_>) -> RoutesPlan {
    let mut problems = Vec::new();
    match wanted(routing, &mut problems) {
        Some(wanted) => {
            let plan = decide(routing, &wanted, &BTreeSet::new(), true);
            problems.extend(plan.problems);
            RoutesPlan { problems, ..plan }
        }
        None => RoutesPlan { problems, ..RoutesPlan::default() },
    }
}

/// The next step towards the removal of all routes of this resource: the recorded routes, and the routes of the spec
/// through its connection. All are gone when the plan has no step and does not await EC2.
///
/// Without `keeps_record` the record stays as it is, because it disappears with the resource. An object that has grown
/// to the size limit of the API server can then still be deleted.
pub(crate) fn withdraw(routing: Routing<'_>, keeps_record: bool) -> RoutesPlan {
    decide(routing, &Wanted::default(), &named(routing), keeps_record)
}

/// The next step. The wanted entries get a route. Those of unread prefix lists stay as they are. At the `surplus` entries and at all other recorded entries, the
/// routes of this resource are removed.
///
/// No other entry is examined. A route through the connection that neither the record nor the spec names therefore
/// stays: somebody else created it.
fn decide(routing: Routing<'_>, wanted: &Wanted, surplus: &BTreeSet<RouteEntry>, keeps_record: bool) -> RoutesPlan {
    let of_this_end = routing.recorded.iter().filter(|route| route.side == routing.side);
    let known = of_this_end.filter_map(|route| Some((route.route_table_id.clone(), Destination::of(route)?)));
    let entries = known.chain(wanted.entries.iter().chain(surplus).cloned());
    let entries: BTreeSet<RouteEntry> = entries.filter(|entry| !wanted.unread.contains(entry)).collect();
    // The records of the other end stay, and so do the records that cannot be parsed.
    let mut draft = Draft {
        routing,
        record: routing.recorded.clone(),
        changes: Vec::new(),
        conflicts: Vec::new(),
        problems: Vec::new(),
        coming: BTreeMap::new(),
        full: BTreeMap::new(),
        awaits_ec2: false,
    };
    for entry in &entries {
        draft.add(entry, wanted.entries.contains(entry));
    }
    draft.finish(keeps_record)
}

/// A plan under construction.
struct Draft<'a> {
    routing: Routing<'a>,
    record: BTreeSet<ManagedRoute>,
    changes: Vec<RouteChange>,
    conflicts: Vec<RouteConflict>,
    problems: Vec<RouteProblem>,
    /// The number of routes that the plan creates, by route table, and whether they are IPv4. AWS's quota counts the two
    /// families apart.
    coming: BTreeMap<(String, bool), usize>,
    /// The wanted CIDR blocks for which a route table has no room, by its ID.
    full: BTreeMap<String, Vec<IpNet>>,
    awaits_ec2: bool,
}

impl Draft<'_> {
    /// Decides on one entry.
    fn add(&mut self, entry: &RouteEntry, is_wanted: bool) {
        let routing = self.routing;
        let shown: Vec<&Route> = routing.tables.at(routing.vpc_id, entry).collect();
        let load = routing.load(&entry.1);
        let family = (entry.0.clone(), load.is_ipv4);
        let coming = self.coming.get(&family).copied().unwrap_or_default();
        let lacks_room = routing.full(entry, coming).filter(|_| is_wanted && shown.is_empty());
        let connection = routing.connection.filter(|_| is_wanted && lacks_room.is_none());
        let records = routing.records(entry);
        if let Some(unproven) = shown.iter().find_map(|route| routing.unproven_target(route, &records)) {
            let ((route_table_id, destination), connection_id) = (entry.clone(), unproven.to_owned());
            self.problems.push(RouteProblem::Unproven { route_table_id, destination, connection_id });
            return;
        }
        if let Some(used) = lacks_room {
            self.add_full(entry, used);
        }
        let own = shown.iter().find_map(|route| Some((*route, routing.own_target(route, &records)?)));
        match (connection, own, shown.first()) {
            (Some(wanted), Some((route, target)), _) if target == wanted && !route.is_blackhole => {}
            (Some(wanted), Some(_), _) => {
                self.changes.push(RouteChange::Replace(routing.managed_route(wanted, entry)));
            }
            (Some(_), None, Some(route)) => {
                self.conflicts.push(RouteConflict {
                    route_table_id: entry.0.clone(),
                    route: (*route).clone(),
                    sibling: routing.sibling(route).map(|sibling| sibling.requester.clone()),
                    field: routing.field.to_owned(),
                });
            }
            (Some(wanted), None, None) => {
                *self.coming.entry(family).or_default() += load.routes;
                self.changes.push(RouteChange::Create(routing.managed_route(wanted, entry)));
            }
            (None, Some((_, target)), _) => {
                self.changes.push(RouteChange::Delete(routing.managed_route(target, entry)));
            }
            (None, None, _) => {}
        }
        // The record names the routes that exist and those that are about to. While a route is to be deleted, every
        // record of its entry stays: they prove that the route belongs to this resource.
        let is_needed = |route: &&ManagedRoute| {
            own.is_some_and(|(_, id)| connection.is_none() || id.as_str() == route.vpc_peering_connection_id)
        };
        for route in records.into_iter().filter(|route| !is_needed(route)) {
            if routing.answers.proves_absence(route) {
                self.record.remove(route);
            } else {
                self.awaits_ec2 = true;
            }
        }
        if let Some(wanted) = connection.filter(|_| own.is_some() || shown.is_empty()) {
            self.record.insert(routing.managed_route(wanted, entry));
        }
    }

    /// A route table has no room for a wanted entry beside its `used` routes.
    fn add_full(&mut self, (table, destination): &RouteEntry, used: usize) {
        match destination {
            Destination::Cidr(block) => self.full.entry(table.clone()).or_default().push(*block),
            Destination::PrefixList(id) => self.problems.push(RouteProblem::PrefixList(PrefixListProblem::NoRoom {
                field: self.routing.field.to_owned(),
                route_table_id: table.clone(),
                id: id.clone(),
                max_entries: self.routing.load(destination).routes,
                used,
                quota: self.routing.quota.limit,
            })),
        }
    }

    fn finish(self, keeps_record: bool) -> RoutesPlan {
        let Self { routing, record, mut changes, conflicts, mut problems, full, awaits_ec2, coming: _ } = self;
        problems.extend(full.into_iter().map(|(route_table_id, destinations)| RouteProblem::FullTable {
            field: routing.field.to_owned(),
            route_table_id,
            destinations,
            quota: routing.quota.limit,
        }));
        changes.sort();
        let step = if keeps_record && record != *routing.recorded {
            Some(RouteStep::Record(record))
        } else {
            (!changes.is_empty()).then_some(RouteStep::Change(changes))
        };
        RoutesPlan { awaits_ec2: awaits_ec2 && step.is_none(), step, conflicts, problems }
    }
}

impl RoutesPlan {
    /// The routes that the step changes in EC2.
    pub(crate) fn changed_routes(&self) -> Vec<ManagedRoute> {
        match &self.step {
            Some(RouteStep::Change(changes)) => changes.iter().map(|change| change.route().clone()).collect(),
            Some(RouteStep::Record(_)) | None => Vec::new(),
        }
    }

    /// The conflicts and problems as one blocker, conflicts first.
    pub(crate) fn blocker(&self) -> Option<Blocker> {
        let conflicts = self.conflicts.iter().map(ToString::to_string);
        let mut messages: Vec<String> = conflicts.chain(self.problems.iter().map(ToString::to_string)).collect();
        if messages.is_empty() {
            return None;
        }
        let unlisted = messages.len().saturating_sub(LISTED);
        messages.truncate(LISTED);
        if unlisted > 0 {
            messages.push(format!("and {unlisted} more"));
        }
        let message = messages.join("; ");
        let unreadable = self.problems.iter().find_map(RouteProblem::unreadable);
        Some(match unreadable {
            Some(blocker) => Blocker { message, ..blocker.clone() },
            None => Blocker::stalled(self.reason(), message),
        })
    }

    /// The reason of the most important conflict or problem.
    fn reason(&self) -> Reason {
        let has = |reason: &Reason| self.problems.iter().any(|problem| problem.reason() == *reason);
        if !self.conflicts.is_empty() {
            return Reason::RouteConflict;
        }
        let by_importance = [
            Reason::RouteConflict,
            Reason::UnexpectedCidrBlock,
            Reason::InvalidRequest,
            Reason::PrefixListNotFound,
            Reason::RouteTableFull,
        ];
        by_importance.into_iter().find(has).unwrap_or(Reason::RouteTableNotFound)
    }
}

impl RouteStep {
    /// Whether the step only removes routes, or records of routes, that are in `recorded`. Such a step needs no
    /// permission.
    pub(crate) fn only_removes(&self, recorded: &BTreeSet<ManagedRoute>) -> bool {
        match self {
            Self::Record(routes) => routes.is_subset(recorded),
            Self::Change(changes) => changes.iter().all(|change| matches!(change, RouteChange::Delete(_))),
        }
    }
}

impl RouteChange {
    /// Whether it deletes a route or redirects its traffic.
    pub(crate) fn is_destructive(&self) -> bool {
        match self {
            Self::Delete(_) | Self::Replace(_) => true,
            Self::Create(_) => false,
        }
    }

    pub(crate) fn route(&self) -> &ManagedRoute {
        match self {
            Self::Create(route) | Self::Replace(route) | Self::Delete(route) => route,
        }
    }
}

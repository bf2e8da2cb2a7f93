//! The input of a decision on the routes of one end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::answers::RouteAnswers;
use super::destination::Destination;
use super::prefix_list::{Load, NamedPrefixLists, PrefixLists, load};
use super::subnet::Subnets;
use super::table::{Route, RouteEntry, RouteTables, Target};
use super::trust::Trust;
use crate::api::{ManagedRoute, RequestedConnection, Routes, Side, VpcInfo};
use crate::peering::authority::Authorized;
use crate::peering::blocker::Blocker;
use crate::peering::quota::{Quota, QuotaKind};

/// The input of a decision on the routes of one end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Routing<'a> {
    pub side: Side,
    /// The VPC of this end.
    pub vpc_id: &'a str,
    /// The routes of the spec.
    pub routes: Option<&'a Routes>,
    /// The field of `routes`, such as `spec.requester.routes`.
    pub field: &'a str,
    /// The connection of the resource. `None` if EC2 does not prove that it belongs to the resource.
    pub connection: Option<&'a Authorized>,
    /// Earlier connections of the resource, which EC2 shows.
    pub earlier: &'a BTreeSet<Authorized>,
    /// Earlier connections of the resource, which EC2 has shown to this process and does not show any more. A route
    /// belongs to the resource through one of these only if it is a blackhole, which proves that the connection is gone.
    pub remembered: &'a BTreeSet<Authorized>,
    /// Connections that EC2 shows, and that do not belong to the resource.
    pub others: &'a BTreeSet<String>,
    /// The other accepted connections that the resource records, by ID, for messages. Empty for a `VpcPeering`.
    pub siblings: &'a BTreeMap<String, RequestedConnection>,
    /// The CIDR blocks of the requester of each other accepted connection that EC2 shows as active. Empty unless the spec
    /// names prefix lists.
    pub sibling_blocks: &'a [BTreeSet<IpNet>],
    /// This end, as the active connection shows it.
    pub own: &'a VpcInfo,
    /// The other end, as the active connection shows it.
    pub other: &'a VpcInfo,
    /// Whether the other connections of the resource share the destinations of the spec. A destination that does not
    /// lie within this other end is then for another one.
    pub shares_destinations: bool,
    /// The CIDR blocks of the other end that may get routes.
    pub trust: &'a Trust,
    /// The route tables of the account and region of this end.
    pub tables: &'a RouteTables,
    /// The subnets of the account and region of this end, if the spec selects route tables by them.
    pub subnets: Option<&'a Result<Arc<Subnets>, Blocker>>,
    /// The prefix lists that the spec names, if it names any. Routes can be removed without them.
    pub lists: Option<&'a NamedPrefixLists>,
    /// The recorded routes of both ends. They include the routes through earlier connections to the same destinations.
    pub recorded: &'a BTreeSet<ManagedRoute>,
    /// EC2's answers to earlier calls. A recorded route leaves the record only if they prove that it is gone. A route
    /// that EC2 does not show yet would otherwise be orphaned.
    pub answers: &'a RouteAnswers,
    /// AWS's quota of routes per route table.
    pub quota: Quota,
    /// The most routes of this end.
    pub limit: usize,
}

impl<'a> Routing<'a> {
    /// The recorded routes of this end for an entry.
    pub(super) fn records(&self, (table, destination): &RouteEntry) -> Vec<&'a ManagedRoute> {
        let is_of_entry = |route: &&ManagedRoute| {
            route.side == self.side
                && route.route_table_id == *table
                && Destination::of(route).as_ref() == Some(destination)
        };
        self.recorded.iter().filter(is_of_entry).collect()
    }

    /// The part of a route to the destination in AWS's quota.
    pub(super) fn load(&self, destination: &Destination) -> Load {
        load(destination, self.shown_lists())
    }

    fn shown_lists(&self) -> Option<&'a PrefixLists> {
        self.lists.and_then(|lists| lists.shown.as_deref().ok())
    }

    /// The used part of AWS's quota if a route table has no room for a route beside those that it has and `coming` new
    /// ones.
    pub(super) fn full(&self, (table, destination): &RouteEntry, coming: usize) -> Option<usize> {
        let lists = self.shown_lists();
        let needed = self.load(destination);
        let used = self.tables.get(table).map_or(0, |table| table.routes_of_family(needed.is_ipv4, lists)) + coming;
        let limit = self.quota.limit_beside(QuotaKind::RoutesPerTable, used);
        (used + needed.routes > limit).then_some(used)
    }

    /// The record of a route through a connection of the resource.
    pub(super) fn managed_route(&self, connection: &Authorized, (table, destination): &RouteEntry) -> ManagedRoute {
        destination.managed_route(self.side, table, connection.as_str())
    }

    /// The connection of a route that belongs to the resource. The target of such a route is one of these:
    /// - the connection of the resource, if the record or the spec names the entry, which the caller ensures;
    /// - an earlier connection of the resource, if the record names it for this entry.
    /// - an earlier connection that EC2 does not show any more, if the route is also a blackhole.
    pub(super) fn own_target(&self, route: &Route, records: &[&ManagedRoute]) -> Option<&'a Authorized> {
        let Target::Peering(id) = &route.target else { return None };
        let remembered = self.remembered.iter().filter(|_| route.is_blackhole);
        let mut earlier = self.earlier.iter().chain(remembered).filter(|earlier| earlier.as_str() == id);
        let current = self.connection.filter(|connection| connection.as_str() == id);
        current.or_else(|| earlier.next().filter(|_| is_recorded(id, records)))
    }

    /// The connection of a recorded route if EC2 does not show that connection. The record alone proves nothing,
    /// because others can write the status.
    pub(super) fn unproven_target<'b>(&self, route: &'b Route, records: &[&ManagedRoute]) -> Option<&'b str> {
        let Target::Peering(id) = &route.target else { return None };
        let is_unproven = self.own_target(route, records).is_none() && !self.others.contains(id);
        (is_recorded(id, records) && is_unproven).then_some(id)
    }

    /// The record of another connection of the resource that is the target of the route.
    pub(super) fn sibling(&self, route: &Route) -> Option<&'a RequestedConnection> {
        let Target::Peering(id) = &route.target else { return None };
        self.siblings.get(id).filter(|sibling| sibling.is_accepted())
    }
}

fn is_recorded(connection_id: &str, records: &[&ManagedRoute]) -> bool {
    records.iter().any(|record| record.vpc_peering_connection_id == connection_id)
}

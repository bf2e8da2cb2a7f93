//! The input of a decision on the routes of one end.

use std::collections::BTreeSet;

use super::cidr::parse;
use super::table::{Route, RouteEntry, RouteTables, Target};
use super::trust::Trust;
use crate::api::{ManagedRoute, Routes, Side, VpcInfo};
use crate::peering::authority::Authorized;

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
    /// Earlier connections of the resource, which EC2 shows now or has shown to this process.
    pub earlier: &'a BTreeSet<Authorized>,
    /// Connections that EC2 shows, and that do not belong to the resource.
    pub others: &'a BTreeSet<String>,
    /// The other end, as the active connection shows it.
    pub other: &'a VpcInfo,
    /// The CIDR blocks of the other end that may get routes.
    pub trust: &'a Trust,
    /// The route tables of the account and region of this end.
    pub tables: &'a RouteTables,
    /// The recorded routes of both ends. They include the routes through earlier connections to the same destinations.
    pub recorded: &'a BTreeSet<ManagedRoute>,
    /// Whether EC2 has had time to show the last change. Until then no route leaves the record: a route that EC2 does
    /// not show yet would be orphaned.
    pub is_settled: bool,
    /// The most routes of this end.
    pub limit: usize,
}

impl<'a> Routing<'a> {
    /// The recorded routes of this end for an entry.
    pub(super) fn records(&self, (table, destination): &RouteEntry) -> Vec<&'a ManagedRoute> {
        let is_of_entry = |route: &&ManagedRoute| {
            route.side == self.side
                && route.route_table_id == *table
                && parse(&route.destination_cidr_block) == Some(*destination)
        };
        self.recorded.iter().filter(is_of_entry).collect()
    }

    /// The record of a route through a connection of the resource.
    pub(super) fn managed_route(&self, connection: &Authorized, (table, destination): &RouteEntry) -> ManagedRoute {
        ManagedRoute {
            side: self.side,
            route_table_id: table.clone(),
            destination_cidr_block: destination.to_string(),
            vpc_peering_connection_id: connection.as_str().to_owned(),
        }
    }

    /// The connection of a route that belongs to the resource. The target of such a route is one of these:
    /// - the connection of the resource, if the record or the spec names the entry, which the caller ensures;
    /// - an earlier connection of the resource, if the record names it for this entry.
    pub(super) fn own_target(&self, route: &Route, records: &[&ManagedRoute]) -> Option<&'a Authorized> {
        let Target::Peering(id) = &route.target else { return None };
        let earlier = || self.earlier.iter().find(|earlier| earlier.as_str() == id && is_recorded(id, records));
        self.connection.filter(|connection| connection.as_str() == id).or_else(earlier)
    }

    /// The connection of a recorded route if EC2 does not show that connection. The record alone proves nothing,
    /// because others can write the status.
    pub(super) fn unproven_target<'b>(&self, route: &'b Route, records: &[&ManagedRoute]) -> Option<&'b str> {
        let Target::Peering(id) = &route.target else { return None };
        let is_unproven = self.own_target(route, records).is_none() && !self.others.contains(id);
        (is_recorded(id, records) && is_unproven).then_some(id)
    }
}

fn is_recorded(connection_id: &str, records: &[&ManagedRoute]) -> bool {
    records.iter().any(|record| record.vpc_peering_connection_id == connection_id)
}

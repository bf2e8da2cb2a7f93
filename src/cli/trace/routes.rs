//! The lines on routes: that of one address, and without addresses an overview of the route tables of an end. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::hop::{Hop, Way};
use super::line::{Line, Subject};
use super::look::View;
use crate::peering::network::{NetworkRoute, NetworkTable, PrefixLists, Subnet, best_route, table_of};
use crate::peering::routes::Destination;

/// The line on the route from a subnet to the other address. `None` if the tables could not be read.
pub(super) fn toward(view: &View, lists: &PrefixLists, subnet: &Subnet, other: Hop<'_>, way: Way<'_>) -> Option<Line> {
    let subject = Subject::Route;
    let tables = view.tables.as_ref().ok()?;
    let Some(table) = table_of(tables, &subnet.id) else {
        let message = format!("{} has no route table", subnet.id);
        return Some(Line::fail(
            subject,
            message,
            format!("associate a route table of {} with {}", view.vpc_id, subnet.id),
        ));
    };
    if !way.is_active {
        let message = format!("{} is not active, so that no route can lead to it", way.connection);
        return Some(Line::skip(subject, message, "correct the failed lines above"));
    }
    let block = other.blocks.iter().find(|block| block.contains(&other.address));
    let block = block.copied().unwrap_or_else(|| other.address.into());
    Some(judge(&Crossing { view, table, subnet, lists, way, address: other.address, block }))
}

/// The route from a subnet to one address of the peer.
struct Crossing<'a> {
    view: &'a View,
    table: &'a NetworkTable,
    subnet: &'a Subnet,
    lists: &'a PrefixLists,
    way: Way<'a>,
    address: IpAddr,
    /// The CIDR block of the peer with the address.
    block: IpNet,
}

fn judge(crossing: &Crossing<'_>) -> Line {
    let Crossing { table, lists, way, address, .. } = crossing;
    let (subject, place) = (Subject::Route, format!("{} of {}", table.id, crossing.subnet.id));
    let unread = unread(table, lists);
    let is_way = |route: &NetworkRoute| route.target == way.connection;
    let create = || create(crossing.view, &table.id, &crossing.block, *way);
    let Some((route, block)) = best_route(table, *address, lists, |_| true) else {
        return match unread {
            None => Line::fail(subject, format!("{place} has no route to {address}"), create()),
            Some(lists) => {
                let message = format!("{place} has no route to {address}, unless {lists} has one");
                Line::skip(subject, message, ALLOW_PREFIX_LISTS)
            }
        };
    };
    let destination = shown(route, block);
    if route.is_blackhole {
        let message = format!("{place} has a blackhole for {address}: {destination} to {}", route.target);
        return Line::fail(subject, message, replace(crossing, route));
    }
    if is_way(route) {
        let message = format!("{place} leads {address} to {} by {destination}", route.target);
        return match unread {
            None => Line::pass(subject, message),
            Some(lists) => {
                Line::skip(subject, format!("{message}, unless {lists} is more specific"), ALLOW_PREFIX_LISTS)
            }
        };
    }
    let message = format!("{place} leads {address} to {} by {destination}", route.target);
    match best_route(table, *address, lists, is_way) {
        Some((ours, block)) => {
            let message = format!("{message}, which wins over {} to {}", shown(ours, block), way.connection);
            let remedy =
                format!("delete the route to {} from {}, or {}", route.destination, table.id, replace(crossing, route));
            Line::fail(subject, message, remedy)
        }
        None => Line::fail(subject, format!("{message}, not to {}", way.connection), create()),
    }
}

/// The remedy if a prefix list could not be read.
pub(super) const ALLOW_PREFIX_LISTS: &str = "allow ec2:GetManagedPrefixListEntries, as deploy/iam/trace.json does";

/// The remedy that creates the route.
fn create(view: &View, table: &str, block: &IpNet, way: Way<'_>) -> String {
    let spec = match way.has_routes(view.side) {
        true => format!("select {table} in spec.{}.routes.routeTables", view.side),
        false => format!("set spec.{}.routes", view.side),
    };
    format!(
        "{spec}, or create the route: aws ec2 create-route --region {} --route-table-id {table} {} --vpc-peering-connection-id {}",
        view.region,
        flag(&Destination::Cidr(*block)),
        way.connection
    )
}

/// The remedy that changes the target of a route.
fn replace(Crossing { view, table, way, .. }: &Crossing<'_>, route: &NetworkRoute) -> String {
    format!(
        "replace its target: aws ec2 replace-route --region {} --route-table-id {} {} --vpc-peering-connection-id {}",
        view.region,
        table.id,
        flag(&route.destination),
        way.connection
    )
}

/// The flag of the AWS CLI for a destination.
fn flag(destination: &Destination) -> String {
    let name = match destination {
        Destination::Cidr(IpNet::V4(_)) => "cidr-block",
        Destination::Cidr(IpNet::V6(_)) => "ipv6-cidr-block",
        Destination::PrefixList(_) => "prefix-list-id",
    };
    format!("--destination-{name} {destination}")
}

/// The destination of a route, with the block of a prefix list that matches.
fn shown(route: &NetworkRoute, block: IpNet) -> String {
    match &route.destination {
        Destination::Cidr(block) => block.to_string(),
        Destination::PrefixList(id) => format!("{block} of {id}"),
    }
}

/// The prefix lists in the table that could not be read.
fn unread(table: &NetworkTable, lists: &PrefixLists) -> Option<String> {
    let ids = table.routes.iter().filter_map(|route| match &route.destination {
        Destination::PrefixList(id) if !lists.contains_key(id) => Some(id.as_str()),
        Destination::PrefixList(_) | Destination::Cidr(_) => None,
    });
    let ids = ids.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ");
    Some(ids).filter(|ids| !ids.is_empty())
}

/// The line on all route tables of an end. `None` if they could not be read.
pub(super) fn overview(view: &View, peer: &[IpNet], way: Way<'_>) -> Option<Line> {
    let subject = Subject::Route;
    let tables = view.tables.as_ref().ok()?;
    if !way.is_active {
        let message = format!("{} is not active, so that no route can lead to it", way.connection);
        return Some(Line::skip(subject, message, "correct the failed lines above").at(view.side));
    }
    let used: Vec<_> = tables.iter().filter(|table| table.main || !table.subnet_ids.is_empty()).collect();
    let leads =
        |table: &&NetworkTable| table.routes.iter().any(|route| route.target == way.connection && !route.is_blackhole);
    let (with, without): (Vec<&NetworkTable>, Vec<&NetworkTable>) = used.iter().copied().partition(leads);
    let names = |tables: &[&NetworkTable]| tables.iter().map(|table| table.id.clone()).collect::<Vec<_>>().join(", ");
    let line = if with.is_empty() {
        let message = format!("no route table of {} leads to {}", view.vpc_id, way.connection);
        let remedy = match (used.first(), peer.first()) {
            (Some(table), Some(block)) => create(view, &table.id, block, way),
            _ => format!("set spec.{}.routes", view.side),
        };
        Line::fail(subject, message, remedy)
    } else if let Some((table, route, block)) = with.iter().find_map(|table| elsewhere(table, peer, way)) {
        let message =
            format!("{} leads {block} of the peer to {}, because the route is more specific", table.id, route.target);
        Line::skip(subject, message, "set --from and --to to check two addresses")
    } else if without.is_empty() {
        Line::pass(subject, format!("{} leads to {}", names(&with), way.connection))
    } else {
        let message = format!("{} leads to {}, and {} does not", names(&with), way.connection, names(&without));
        Line::pass(subject, message)
    };
    Some(line.at(view.side))
}

/// A route to a part of the peer's blocks with another target.
fn elsewhere<'a>(
    table: &'a NetworkTable,
    peer: &[IpNet],
    way: Way<'_>,
) -> Option<(&'a NetworkTable, &'a NetworkRoute, IpNet)> {
    let is_part = |block: IpNet| peer.iter().any(|peer| peer.contains(&block));
    table.routes.iter().find_map(|route| match &route.destination {
        Destination::Cidr(block) if route.target != way.connection && is_part(*block) => Some((table, route, *block)),
        Destination::Cidr(_) | Destination::PrefixList(_) => None,
    })
}

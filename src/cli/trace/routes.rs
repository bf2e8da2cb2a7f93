//! The lines on routes: that of one address, and without addresses an overview of the route tables of an end. Pure.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::line::{Line, Subject};
use super::look::View;
use super::path::{Hop, Way};
use crate::peering::network::{
    NetworkRoute, NetworkTable, PrefixLists, RouteDestination, Subnet, best_route, table_of,
};

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
    let (address, is_way) = (other.address, |route: &NetworkRoute| route.target == way.connection);
    let (id, place) = (&table.id, format!("{} of {}", table.id, subnet.id));
    let block = other.blocks.iter().find(|block| block.contains(&address));
    let block = block.map_or_else(|| address.to_string(), ToString::to_string);
    let create = create(view, id, &block, way);
    Some(match (best_route(table, address, lists, |_| true), best_route(table, address, lists, is_way)) {
        (Some((route, block)), _) if is_way(route) && !route.is_blackhole => {
            let unread = unread(table, lists);
            match unread.is_empty() {
                true => Line::pass(
                    subject,
                    format!("{place} leads {address} to {} by {}", route.target, shown(route, block)),
                ),
                false => Line::skip(
                    subject,
                    format!(
                        "{place} leads {address} to {}, unless a route to {} is more specific",
                        route.target,
                        unread.join(", ")
                    ),
                    "allow ec2:GetManagedPrefixListEntries, as deploy/iam/trace.json does",
                ),
            }
        }
        (Some((route, block)), _) if is_way(route) => {
            let message = format!("{place} has a blackhole for {address}: {}", shown(route, block));
            Line::fail(
                subject,
                message,
                "wait until EC2 shows the route as active; if it lasts, delete it and create it again",
            )
        }
        (Some((route, block)), Some((ours, our_block))) => {
            let (winner, loser) = (shown(route, block), shown(ours, our_block));
            let message = format!(
                "{place} leads {address} to {} by {winner}, which wins over {loser} to {}",
                route.target, way.connection
            );
            let remedy = format!(
                "delete the route to {} from {id}, or replace its target by {}",
                route.destination, way.connection
            );
            Line::fail(subject, message, remedy)
        }
        (Some((route, block)), None) if route.is_blackhole => {
            let message = format!("{place} has a blackhole for {address}: {} to {}", shown(route, block), route.target);
            let remedy = format!(
                "replace its target by {}: aws ec2 replace-route --region {} --route-table-id {id} --destination-cidr-block {block} --vpc-peering-connection-id {}",
                way.connection, view.region, way.connection
            );
            Line::fail(subject, message, remedy)
        }
        (Some((route, block)), None) => {
            let message = format!(
                "{place} leads {address} to {} by {}, not to {}",
                route.target,
                shown(route, block),
                way.connection
            );
            Line::fail(subject, message, create)
        }
        (None, _) => Line::fail(subject, format!("{place} has no route to {address}"), create),
    })
}

fn create(view: &View, table: &str, block: &str, way: Way<'_>) -> String {
    let spec = match way.has_routes(view.side) {
        true => format!("select {table} in spec.{}.routes.routeTables", view.side),
        false => format!("set spec.{}.routes", view.side),
    };
    let family = if block.contains(':') { "--destination-ipv6-cidr-block" } else { "--destination-cidr-block" };
    format!(
        "{spec}, or create the route: aws ec2 create-route --region {} --route-table-id {table} {family} {block} --vpc-peering-connection-id {}",
        view.region, way.connection
    )
}

/// The destination of a route, with the block of a prefix list that matches.
fn shown(route: &NetworkRoute, block: IpNet) -> String {
    match &route.destination {
        RouteDestination::Block(block) => block.to_string(),
        RouteDestination::PrefixList(id) => format!("{block} of {id}"),
    }
}

/// The prefix lists in the table that could not be read.
fn unread(table: &NetworkTable, lists: &PrefixLists) -> Vec<String> {
    let ids = table.routes.iter().filter_map(|route| match &route.destination {
        RouteDestination::PrefixList(id) if !lists.contains_key(id) => Some(id.clone()),
        RouteDestination::PrefixList(_) | RouteDestination::Block(_) => None,
    });
    ids.collect::<BTreeSet<_>>().into_iter().collect()
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
        let block = peer.first().map_or_else(|| "CIDR_BLOCK".to_owned(), ToString::to_string);
        let table = used.first().map_or("rtb-ID", |table| &table.id);
        let message = format!("no route table of {} leads to {}", view.vpc_id, way.connection);
        Line::fail(subject, message, create(view, table, &block, way))
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
        RouteDestination::Block(block) if route.target != way.connection && is_part(*block) => {
            Some((table, route, *block))
        }
        RouteDestination::Block(_) | RouteDestination::PrefixList(_) => None,
    })
}

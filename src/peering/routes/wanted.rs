//! The routes that the spec asks for: the selected tables times the allowed destinations.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::cidr::{cidr_blocks, parse, parse_all};
use super::destination::Destination;
use super::listed::{Listed, listed};
use super::problem::RouteProblem;
use super::routing::Routing;
use super::selection::selected_tables;
use super::table::RouteEntry;
use crate::api::Routes;

/// The routes that the spec asks for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub entries: BTreeSet<RouteEntry>,
    /// Entries of prefix lists about which nothing is known. Their routes stay as they are.
    pub unread: BTreeSet<RouteEntry>,
}

/// The entries of this end that the spec names: those that it asks for, and those of all of its prefix lists.
pub(super) fn named(routing: Routing<'_>) -> BTreeSet<RouteEntry> {
    let mut entries = wanted(routing, &mut Vec::new()).unwrap_or_default().entries;
    if let Some(routes) = routing.routes.filter(|_| routing.connection.is_some()) {
        let lists = routes.destination_prefix_list_ids.iter().cloned().map(Destination::PrefixList).collect();
        let tables = selected_tables(routing, &routes.route_tables, &mut Vec::new()).unwrap_or_default();
        entries.extend(product(&tables, &lists));
    }
    entries
}

fn product(tables: &BTreeSet<String>, destinations: &BTreeSet<Destination>) -> BTreeSet<RouteEntry> {
    let of = |table: &String| destinations.iter().map(|to| (table.clone(), to.clone())).collect::<Vec<_>>();
    tables.iter().flat_map(of).collect()
}

/// The entries that the spec asks for. `None` if EC2 does not show what the selection needs: the subnets of the spec, or
/// the CIDR blocks of both ends.
pub(super) fn wanted(routing: Routing<'_>, problems: &mut Vec<RouteProblem>) -> Option<Wanted> {
    let Some(routes) = routing.routes.filter(|_| routing.connection.is_some()) else { return Some(Wanted::default()) };
    let mut unselected = Vec::new();
    let tables = selected_tables(routing, &routes.route_tables, &mut unselected);
    problems.extend(unselected.into_iter().map(RouteProblem::Selection));
    let tables = tables?;
    let Listed { permitted: destinations, unread } = destinations(routing, routes, &tables, problems)?;
    let (wanted, unread) = (product(&tables, &destinations), product(&tables, &unread));
    if wanted.len() <= routing.limit {
        return Some(Wanted { entries: wanted, unread });
    }
    problems.push(RouteProblem::TooManyRoutes {
        field: routing.field.to_owned(),
        wanted: wanted.len(),
        limit: routing.limit,
    });
    // Recorded entries come first. Otherwise a new table would displace the routes of another one.
    let (known, new): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|entry| !routing.records(entry).is_empty());
    Some(Wanted { entries: known.into_iter().chain(new).take(routing.limit).collect(), unread })
}

/// The destinations that may get routes. Each CIDR block, and each entry of a prefix list, lies within one CIDR block of
/// the other end, and has an address family of this end. `None` if EC2 does not show the blocks of both ends.
fn destinations(
    routing: Routing<'_>,
    routes: &Routes,
    tables: &BTreeSet<String>,
    problems: &mut Vec<RouteProblem>,
) -> Option<Listed> {
    let blocks = cidr_blocks(routing.other);
    if blocks.is_empty() || cidr_blocks(routing.own).is_empty() {
        problems.push(RouteProblem::NoCidrBlocks);
        return None;
    }
    let mut unlisted = Vec::new();
    let Listed { permitted, unread } = listed(routing, routes, &blocks, &mut unlisted);
    problems.extend(unlisted.into_iter().map(RouteProblem::PrefixList));
    let blocks = cidr_destinations(routing, routes, tables, blocks, problems).into_iter().map(Destination::Cidr);
    Some(Listed { permitted: permitted.into_iter().chain(blocks).collect(), unread })
}

/// The CIDR blocks that may get routes.
fn cidr_destinations(
    routing: Routing<'_>,
    routes: &Routes,
    tables: &BTreeSet<String>,
    blocks: BTreeSet<IpNet>,
    problems: &mut Vec<RouteProblem>,
) -> BTreeSet<IpNet> {
    let field = || format!("{}.destinationCidrBlocks", routing.field);
    // AWS does not document its answer to an IPv6 route in a VPC without IPv6, so the operator does not ask for one.
    let has_family = |block: &IpNet| matches!(block, IpNet::V4(_)) || !routing.own.ipv6_cidr_block_set.is_empty();
    let excluded = parse_all(&routes.exclude_cidr_blocks);
    let is_excluded = |block: &IpNet| excluded.iter().any(|exclusion| exclusion.contains(block));
    let mut destinations = BTreeSet::new();
    let mut unexpected = BTreeSet::new();
    if routes.destination_cidr_blocks.is_empty() && routes.destination_prefix_list_ids.is_empty() {
        (destinations, unexpected) = blocks
            .into_iter()
            .filter(has_family)
            .filter(|block| !is_excluded(block))
            .partition(|block| routing.trust.allows(block));
    } else {
        for text in &routes.destination_cidr_blocks {
            let is_within = |one: &IpNet| blocks.iter().any(|other| other.contains(one));
            match parse(text).filter(is_within) {
                Some(destination) if is_excluded(&destination) => {}
                Some(destination) if !has_family(&destination) => problems.push(RouteProblem::NoIpv6 {
                    field: field(),
                    destination,
                    vpc_id: routing.vpc_id.to_owned(),
                }),
                Some(destination) if routing.trust.allows_destination(&destination) => {
                    _ = destinations.insert(destination);
                }
                Some(destination) => _ = unexpected.insert(destination),
                None if routing.shares_destinations => {}
                None => problems.push(RouteProblem::OutsideOtherEnd {
                    field: field(),
                    destination: text.clone(),
                    blocks: blocks.iter().copied().collect(),
                }),
            }
        }
    }
    problems.extend(partial_exclusions(routing.field, &excluded, &destinations));
    for block in unexpected {
        let to_allow = routing.trust.to_allow.clone().unwrap_or_else(|| {
            let all: Vec<_> = destinations.iter().chain([&block]).map(ToString::to_string).collect();
            format!("set {}: [{}]", field(), all.join(", "))
        });
        problems.push(RouteProblem::UnexpectedCidrBlock { block, tables: tables.iter().cloned().collect(), to_allow });
    }
    destinations
}

/// The excluded blocks that are smaller than a destination. A route leads to all of its destination, so that they have
/// no effect.
fn partial_exclusions(
    field: &str,
    excluded: &BTreeSet<IpNet>,
    destinations: &BTreeSet<IpNet>,
) -> impl Iterator<Item = RouteProblem> {
    let pairs =
        excluded.iter().flat_map(|exclusion| destinations.iter().map(move |destination| (exclusion, destination)));
    pairs.filter(|(exclusion, destination)| destination.contains(*exclusion)).map(move |(exclusion, destination)| {
        let field = field.to_owned();
        RouteProblem::PartialExclusion { field, exclusion: *exclusion, destination: *destination }
    })
}

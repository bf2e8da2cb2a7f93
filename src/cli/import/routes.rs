//! The routes of an end that a spec can describe. Pure.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::fields::Form;
use super::model::{End, Peering};
use crate::api::{RouteTableSelector, Routes, Side};

/// The maximum number of items in the lists of `Routes`, as in its schema.
const TABLES: usize = 200;
const DESTINATIONS: usize = 50;
const PREFIX_LISTS: usize = 10;

/// The routes of an end. A spec creates each destination in each table, so that it describes the largest part of the
/// existing routes to which it would add none. The rest stays in EC2 as it is, and is noted.
pub(super) fn routes(peering: &Peering, side: Side, acts: bool, notes: &mut BTreeSet<String>) -> Option<Routes> {
    let (end, other) = match side {
        Side::Requester => (&peering.requester, &peering.accepter),
        Side::Accepter => (&peering.accepter, &peering.requester),
    };
    let mut leave = |table: &str, destination: &str, reason: &str| {
        let id = &peering.id;
        notes.insert(format!("{id}: the {side}'s route to {destination} in {table} is not in the manifest: {reason}"));
    };
    let mut pairs = BTreeSet::new();
    for (table, destination) in end.routes.iter().flat_map(|(table, all)| all.iter().map(move |to| (table, to))) {
        if !acts {
            leave(table, destination, "the operator does not act for this end");
        } else if !leads_to(other, destination) {
            leave(table, destination, "it leads to no CIDR block of the other end");
        } else {
            pairs.insert((table.clone(), destination.clone()));
        }
    }
    let (tables, destinations) = largest_product(&pairs)?;
    for (table, destination) in &pairs {
        if !tables.contains(table) || !destinations.contains(destination) {
            leave(table, destination, "the route tables of this end have different destinations");
        }
    }
    let route_tables = RouteTableSelector { ids: tables.into_iter().collect(), ..RouteTableSelector::default() };
    let (destination_prefix_list_ids, destination_cidr_blocks) =
        destinations.into_iter().partition(|destination| is_prefix_list(destination));
    Some(Routes { route_tables, destination_cidr_blocks, destination_prefix_list_ids, ..Routes::default() })
}

fn is_prefix_list(destination: &str) -> bool {
    Form::Id("pl").accepts(destination)
}

/// Whether a destination lies within a CIDR block of the end. True if the blocks are not known, and for a prefix list:
/// the operator checks its entries.
fn leads_to(end: &End, destination: &str) -> bool {
    if is_prefix_list(destination) {
        return true;
    }
    let Ok(destination) = destination.parse::<IpNet>() else { return false };
    let mut blocks = end.cidr_blocks.iter().filter_map(|block| block.parse::<IpNet>().ok());
    end.cidr_blocks.is_empty() || blocks.any(|block| block.contains(&destination))
}

/// The tables and destinations with the most routes, of which every combination exists.
fn largest_product(pairs: &BTreeSet<(String, String)>) -> Option<(BTreeSet<String>, BTreeSet<String>)> {
    let of = |table: &String| -> BTreeSet<String> {
        pairs.iter().filter(|(other, _)| other == table).map(|(_, destination)| destination.clone()).collect()
    };
    let tables: BTreeSet<_> = pairs.iter().map(|(table, _)| table.clone()).collect();
    let mut candidates: Vec<_> = tables.iter().map(of).collect();
    candidates.extend(candidates.iter().cloned().reduce(|all, next| &all & &next));
    let mut best: Option<(BTreeSet<String>, BTreeSet<String>)> = None;
    for destinations in candidates {
        let (lists, blocks): (Vec<_>, Vec<_>) = destinations.into_iter().partition(|one| is_prefix_list(one));
        let destinations = blocks.into_iter().take(DESTINATIONS).chain(lists.into_iter().take(PREFIX_LISTS));
        let destinations: BTreeSet<_> = destinations.collect();
        let with_all = tables.iter().filter(|table| destinations.is_subset(&of(table)));
        let with_all: BTreeSet<_> = with_all.take(TABLES).cloned().collect();
        let size = with_all.len() * destinations.len();
        if size > best.as_ref().map_or(0, |(tables, destinations)| tables.len() * destinations.len()) {
            best = Some((with_all, destinations));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_route_is_added() {
        let mut peering = Peering { id: "pcx-1".into(), ..Peering::default() };
        let all = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<BTreeSet<String>>();
        peering.accepter.cidr_blocks = all(&["10.2.0.0/16", "10.3.0.0/16"]);
        peering.requester.routes = [
            ("rtb-1".into(), all(&["10.2.0.0/16", "10.3.0.0/16", "pl-11111111"])),
            ("rtb-2".into(), all(&["10.2.0.0/16", "10.3.0.0/16", "pl-11111111"])),
            ("rtb-3".into(), all(&["10.2.0.0/16", "10.0.0.0/8"])),
        ]
        .into();
        let mut notes = BTreeSet::new();
        let found = routes(&peering, Side::Requester, true, &mut notes);
        let lists = found.as_ref().map(|routes| routes.destination_prefix_list_ids.clone());
        assert_eq!(lists, Some(vec!["pl-11111111".to_owned()]));
        let found = found.map(|routes| (routes.route_tables.ids, routes.destination_cidr_blocks));
        assert_eq!(
            found,
            Some((all(&["rtb-1", "rtb-2"]).into_iter().collect(), vec!["10.2.0.0/16".into(), "10.3.0.0/16".into()]))
        );
        let notes: Vec<_> = notes.into_iter().collect();
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].contains("10.0.0.0/8 in rtb-3") && notes[1].contains("10.2.0.0/16 in rtb-3"), "{notes:?}");
        assert_eq!(routes(&peering, Side::Accepter, true, &mut BTreeSet::new()), None);
    }
}

//! The prefix lists of the spec that may get routes.
//!
//! The owner of a list, perhaps another account, can change its entries at any time, and EC2 routes their traffic at
//! once. So a list is a hint: its entries are checked at each look, and each must lie within a CIDR block of the other
//! end. A list that cannot be read permits no new route. It takes no route away either, because nothing proves that its
//! entries are wrong.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::destination::Destination;
use super::prefix_list::{Entries, PrefixList};
use super::prefix_list_problem::PrefixListProblem;
use super::routing::Routing;
use crate::api::Routes;

/// The prefix lists of the spec.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// These may get routes.
    pub permitted: BTreeSet<Destination>,
    /// Nothing is known about these. Their routes stay as they are.
    pub unread: BTreeSet<Destination>,
}

/// Whether a list may get routes.
enum Verdict {
    Permitted,
    /// All entries are those of another connection of the resource.
    OfSibling,
    Unread(PrefixListProblem),
    Refused(PrefixListProblem),
}

/// The prefix lists of the spec. `blocks` are the CIDR blocks of the other end.
pub(super) fn listed(
    routing: Routing<'_>,
    routes: &Routes,
    blocks: &BTreeSet<IpNet>,
    problems: &mut Vec<PrefixListProblem>,
) -> Listed {
    let mut listed = Listed::default();
    let Some(lists) = routing.lists else {
        let ids = routes.destination_prefix_list_ids.iter().cloned();
        return Listed { unread: ids.map(Destination::PrefixList).collect(), ..listed };
    };
    let field = format!("{}.destinationPrefixListIds", routing.field);
    for id in &routes.destination_prefix_list_ids {
        let unreadable = |blocker: &crate::peering::Blocker| {
            let (field, id, blocker) = (field.clone(), id.clone(), blocker.clone());
            Verdict::Unread(PrefixListProblem::Unreadable { field, id, blocker })
        };
        let verdict = match &lists.shown {
            Err(blocker) => unreadable(blocker),
            Ok(shown) => match (shown.get(id), lists.entries.get(id)) {
                (None, _) => Verdict::Unread(PrefixListProblem::Unknown { field: field.clone(), id: id.clone() }),
                (Some(list), _) if list.owner_id == PrefixList::AWS => {
                    Verdict::Refused(PrefixListProblem::OfAws { field: field.clone(), id: id.clone() })
                }
                (Some(list), Some(Ok(entries))) => judge(routing, &field, list, entries, blocks),
                (Some(_), Some(Err(blocker))) => unreadable(blocker),
                // The entries were not asked for: there is no answer to judge.
                (Some(_), None) => Verdict::Unread(PrefixListProblem::Unknown { field: field.clone(), id: id.clone() }),
            },
        };
        let destination = Destination::PrefixList(id.clone());
        match verdict {
            Verdict::Permitted => _ = listed.permitted.insert(destination),
            Verdict::OfSibling => {}
            Verdict::Unread(problem) => {
                listed.unread.insert(destination);
                problems.push(problem);
            }
            Verdict::Refused(problem) => problems.push(problem),
        }
    }
    listed
}

/// Judges the entries of a list.
fn judge(routing: Routing<'_>, field: &str, list: &PrefixList, entries: &Entries, blocks: &BTreeSet<IpNet>) -> Verdict {
    let (field, id) = (field.to_owned(), list.id.clone());
    let is_within = |entry: &&IpNet| blocks.iter().any(|block| block.contains(*entry));
    if let Some(entry) = entries.iter().find(|entry| !is_within(entry)) {
        if routing.shares_destinations
            && !entries.iter().any(|entry| is_within(&entry))
            && is_of_sibling(routing, entries)
        {
            return Verdict::OfSibling;
        }
        let (entry, blocks) = (*entry, blocks.iter().copied().collect());
        return Verdict::Refused(PrefixListProblem::Outside { field, id, entry, blocks });
    }
    if list.is_ipv6 && routing.own.ipv6_cidr_block_set.is_empty() {
        return Verdict::Refused(PrefixListProblem::NoIpv6 { field, id, vpc_id: routing.vpc_id.to_owned() });
    }
    // The spec consents to the content of a list of its own account, not to that of another one: otherwise the other
    // end could add a block to its VPC and to the list that it shares.
    let is_own = routing.own.owner_id.as_deref() == Some(list.owner_id.as_str());
    let is_allowed = |entry: &&IpNet| match is_own {
        true => routing.trust.allows_destination(entry),
        false => routing.trust.allows_entry(entry, blocks),
    };
    match entries.iter().find(|entry| !is_allowed(entry)) {
        Some(entry) => {
            let (owner_id, to_allow) = (list.owner_id.clone(), routing.trust.to_allow.clone());
            Verdict::Refused(PrefixListProblem::Unexpected { field, id, owner_id, entry: *entry, to_allow })
        }
        None => Verdict::Permitted,
    }
}

/// Whether the entries lie within the CIDR blocks of one other connection of the resource.
fn is_of_sibling(routing: Routing<'_>, entries: &Entries) -> bool {
    let has = |blocks: &BTreeSet<IpNet>, entry: &IpNet| blocks.iter().any(|block| block.contains(entry));
    routing.sibling_blocks.iter().any(|blocks| entries.iter().all(|entry| has(blocks, entry)))
}

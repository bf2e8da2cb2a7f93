//! The destinations of the spec, which all accepted connections share. Each connection gets the routes to the
//! destinations within the CIDR blocks of its requester.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::judge::Verdict;
use super::state::{Desired, Observation};
use super::upkeep::ConnectionAspect;
use crate::api::Reason;
use crate::peering::blocker::Blocker;
use crate::peering::connection::StatusCode;
use crate::peering::routes::{cidr_blocks, parse_all};

/// How many destinations, and how many requesters, the message lists.
const LISTED: usize = 5;

/// The report of the destinations that no active connection of the resource has. `None` if there are none, if a
/// connection is about to become active, or if EC2 does not show the CIDR blocks of every requester.
pub(super) fn unserved(desired: Desired<'_>, observed: &Observation, verdicts: &[Verdict]) -> Option<ConnectionAspect> {
    let destinations = &desired.spec.routes.as_ref()?.destination_cidr_blocks;
    let ours = verdicts.iter().filter(|verdict| verdict.is_ours);
    let ours: Vec<_> = ours.filter_map(|verdict| observed.connections.get(&verdict.id)).collect();
    let active = ours.iter().filter(|connection| connection.code == StatusCode::Active);
    let requesters: Vec<_> =
        active.map(|connection| (connection.id.as_str(), cidr_blocks(&connection.requester))).collect();
    let (first, _) = requesters.first()?;
    let is_awaited = |code: &StatusCode| matches!(code, StatusCode::PendingAcceptance | StatusCode::Provisioning);
    if ours.iter().any(|connection| is_awaited(&connection.code))
        || requesters.iter().any(|(_, blocks)| blocks.is_empty())
    {
        return None;
    }
    let has_requester = |text: &&String| {
        parse_all([*text]).iter().any(|one| requesters.iter().any(|(_, blocks)| contains(blocks, one)))
    };
    let unserved: Vec<_> = destinations.iter().filter(|text| !has_requester(text)).map(String::as_str).collect();
    if unserved.is_empty() {
        return None;
    }
    let blocks = requesters
        .iter()
        .map(|(id, blocks)| format!("{id}: {}", blocks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")));
    let message = format!(
        "spec.routes.destinationCidrBlocks: no accepted requester has a CIDR block that contains {}, so that there is no \
         such route; correct or remove the destination. The requesters have {}",
        list(unserved, ", "),
        list(blocks.collect(), "; ")
    );
    Some(ConnectionAspect::routes_of_all(first, Blocker::stalled(Reason::InvalidRequest, message)))
}

fn contains(blocks: &BTreeSet<IpNet>, one: &IpNet) -> bool {
    blocks.iter().any(|block| block.contains(one))
}

/// The first items, and the number of the others.
fn list<T: AsRef<str>>(items: Vec<T>, separator: &str) -> String {
    let more = items.len().saturating_sub(LISTED);
    let listed = items.iter().take(LISTED).map(AsRef::as_ref).collect::<Vec<_>>().join(separator);
    if more > 0 { format!("{listed}{separator}and {more} more") } else { listed }
}

//! The lists `spec.accept` and `spec.deny`: the rule for a request, and the rule for the routes of an accepted connection. A
//! part of a request that EC2 does not show, and a field that an entry lacks, never allow anything.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::api::{AcceptedRequests, AllowedRegions, DeniedRequests, VpcInfo};
use crate::peering::limits::allows;
use crate::peering::routes::{Trust, cidr_blocks, parse_all};

/// The rule for a request, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Accept,
    Deny(String),
    /// No list matches the request, or EC2 does not show enough of it.
    Neither(String),
}

/// The rule for the routes of an accepted connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RouteRule {
    /// Routes to these CIDR blocks.
    Trust(Trust),
    /// No routes: no entry of `accept` matches the requester, or `deny` does.
    Nowhere(String),
    /// An entry of an older version lacks a field. No route is added or removed.
    Incomplete(String),
}

/// The rule for the requests of this requester.
pub(super) fn judge(accept: &[AcceptedRequests], deny: &[DeniedRequests], requester: &VpcInfo) -> Rule {
    let (Some(owner), Some(vpc), Some(region)) = (&requester.owner_id, &requester.vpc_id, &requester.region) else {
        return Rule::Neither("EC2 does not show the account, the VPC and the region of the requester".into());
    };
    let blocks = blocks(requester);
    let mut undecided = None;
    for (number, entry) in deny.iter().enumerate().filter(|(_, entry)| names(entry, requester)) {
        let denied = parse_all(&entry.cidr_blocks);
        match &blocks {
            _ if entry.cidr_blocks.is_empty() => return Rule::Deny(format!("spec.deny[{number}] matches it")),
            None => undecided = Some(unseen(&format!("spec.deny[{number}].cidrBlocks"))),
            Some(blocks) => {
                let overlaps = |one: &IpNet| denied.iter().any(|other| one.contains(other) || other.contains(one));
                if let Some(block) = blocks.iter().find(|block| overlaps(block)) {
                    return Rule::Deny(format!(
                        "spec.deny[{number}] matches it: its CIDR block {block} overlaps a denied one"
                    ));
                }
            }
        }
    }
    if let Some(undecided) = undecided {
        return Rule::Neither(undecided);
    }
    let mut closest = None;
    for (number, entry) in accept.iter().enumerate().filter(|(_, entry)| entry.owner_id == *owner) {
        let field = |name: &str| format!("spec.accept[{number}].{name}");
        let listed = entry.cidr_blocks.as_ref().and_then(|blocks| blocks.list.as_ref());
        let why_not = if let Some(missing) = missing(entry) {
            format!("{} is missing, which allows none; set all: true or list", field(missing))
        } else if !entry.vpcs.as_ref().is_some_and(|vpcs| allows(vpcs, vpc)) {
            format!("{} does not list {vpc}", field("vpcs"))
        } else if !entry.regions.as_ref().is_some_and(|regions| allows_region(regions, region)) {
            format!("{} does not list {region}", field("regions"))
        } else if entry.cidr_blocks.as_ref().is_some_and(|blocks| blocks.all) {
            return Rule::Accept;
        } else if let Some(blocks) = &blocks {
            let allowed = parse_all(listed.into_iter().flatten());
            match blocks.iter().find(|block| !allowed.iter().any(|allowed| allowed.contains(*block))) {
                None => return Rule::Accept,
                Some(block) => format!("its CIDR block {block} is not within a block of {}", field("cidrBlocks")),
            }
        } else {
            unseen(&field("cidrBlocks"))
        };
        closest = Some(why_not);
    }
    Rule::Neither(closest.unwrap_or_else(|| format!("no entry of spec.accept is for account {owner}")))
}

/// The rule for the routes of an accepted connection. `account` is the accepter's account. `recorded` are the requester's
/// CIDR blocks when the connection first became active, or empty before.
pub(super) fn routes(
    accept: &[AcceptedRequests],
    deny: &[DeniedRequests],
    requester: &VpcInfo,
    account: Option<&str>,
    recorded: &[String],
) -> RouteRule {
    let owner = requester.owner_id.as_deref().unwrap_or_default();
    let denies = |entry: &&DeniedRequests| names(entry, requester);
    if deny.iter().filter(denies).any(|entry| entry.cidr_blocks.is_empty()) {
        return RouteRule::Nowhere("it was accepted earlier; spec.deny matches it now, so it has no routes".into());
    }
    let entries: Vec<_> = accept.iter().filter(|entry| entry.owner_id == owner).collect();
    let matches = |entry: &&&AcceptedRequests| {
        let vpc = requester.vpc_id.as_deref().unwrap_or_default();
        let region = requester.region.as_deref().unwrap_or_default();
        entry.vpcs.as_ref().is_some_and(|vpcs| allows(vpcs, vpc))
            && entry.regions.as_ref().is_some_and(|regions| allows_region(regions, region))
    };
    let matching: Vec<_> = entries.iter().filter(matches).filter_map(|entry| entry.cidr_blocks.as_ref()).collect();
    if matching.is_empty() {
        if let Some(missing) = entries.iter().find_map(|entry| missing(entry)) {
            return RouteRule::Incomplete(format!(
                "{missing} of the entry of spec.accept for account {owner} is missing, which allows none; its routes stay as they are until you set all: true or list"
            ));
        }
        let message = "it was accepted earlier; no entry of spec.accept allows it now, so it has no routes";
        return RouteRule::Nowhere(message.into());
    }
    let is_own = account == Some(owner);
    let is_any = matching.iter().any(|blocks| blocks.all);
    let known = if recorded.is_empty() { cidr_blocks(requester) } else { parse_all(recorded) };
    RouteRule::Trust(Trust {
        all: is_any && is_own,
        listed: parse_all(matching.iter().filter_map(|blocks| blocks.list.as_ref()).flatten()),
        recorded: if is_any { known } else { BTreeSet::new() },
        denied: parse_all(deny.iter().filter(denies).flat_map(|entry| &entry.cidr_blocks)),
        by_destination: is_any,
        to_allow: Some(format!("add it to cidrBlocks.list of an entry of spec.accept for account {owner}")),
    })
}

/// The field that an entry lacks.
fn missing(entry: &AcceptedRequests) -> Option<&'static str> {
    let fields = [
        ("vpcs", entry.vpcs.as_ref().is_none_or(|vpcs| !vpcs.all && vpcs.list.is_none())),
        ("regions", entry.regions.as_ref().is_none_or(|regions| !regions.all && regions.list.is_none())),
        ("cidrBlocks", entry.cidr_blocks.as_ref().is_none_or(|blocks| !blocks.all && blocks.list.is_none())),
    ];
    fields.into_iter().find_map(|(field, is_missing)| is_missing.then_some(field))
}

fn allows_region(regions: &AllowedRegions, region: &str) -> bool {
    regions.all || regions.list.iter().flatten().any(|allowed| allowed == region)
}

/// Whether an entry of `deny` matches the requester, apart from its CIDR blocks. An absent field matches every requester, so
/// that the entry denies more.
fn names(entry: &DeniedRequests, requester: &VpcInfo) -> bool {
    let is = |list: &[String], value: &Option<smol_str::SmolStr>| {
        list.is_empty() || value.as_ref().is_some_and(|value| list.iter().any(|named| named == value))
    };
    entry.owner_id.as_deref().is_none_or(|denied| requester.owner_id.as_deref() == Some(denied))
        && is(&entry.vpc_ids, &requester.vpc_id)
        && is(&entry.regions, &requester.region)
}

/// The CIDR blocks of the requester. `None` unless EC2 shows all of them; the primary block alone is not all.
fn blocks(requester: &VpcInfo) -> Option<BTreeSet<IpNet>> {
    let number = requester.cidr_block_set.len() + requester.ipv6_cidr_block_set.len();
    let blocks = cidr_blocks(requester);
    // A block that does not parse would be missing.
    let is_whole = !requester.cidr_block_set.is_empty() && blocks.len() >= number;
    is_whole.then_some(blocks)
}

fn unseen(field: &str) -> String {
    format!("{field} cannot be checked, because EC2 does not show the CIDR blocks of the requester")
}

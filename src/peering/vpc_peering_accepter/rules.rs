//! Who may peer: a request against the lists of the spec, and where routes may lead. What EC2 does not show of a request, and
//! what an entry does not say, never lets it in.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::api::{AcceptedRequests, AllowedRegions, DeniedRequests, Text, VpcInfo};
use crate::peering::limits::allows;
use crate::peering::routes::{Trust, cidr_blocks, parse_all};

/// What the lists say of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `accept` names it, and `deny` does not.
    Accept,
    /// `deny` names it.
    Deny(String),
    /// Neither does, or that cannot be told.
    Neither(String),
}

/// Where the routes of an accepted connection may lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteRule {
    /// To these.
    Trust(Trust),
    /// Nowhere: no entry of `accept` is for the requester, or `deny` is.
    Nowhere(String),
    /// An entry does not say what it allows, as those of an older version do not: nothing is added, and nothing is removed.
    Incomplete(String),
}

/// What the lists say of the requests of this requester.
#[must_use]
pub fn judge(accept: &[AcceptedRequests], deny: &[DeniedRequests], requester: &VpcInfo) -> Rule {
    let (Some(owner), Some(vpc), Some(region)) = (&requester.owner_id, &requester.vpc_id, &requester.region) else {
        return Rule::Neither("EC2 does not show who asks".into());
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
                        "spec.deny[{number}] matches it: its CIDR block {block} overlaps one there"
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
            format!("{} is missing, which allows none; say all: true or list", field(missing))
        } else if !entry.vpcs.as_ref().is_some_and(|vpcs| allows(vpcs, vpc)) {
            format!("{} does not name {vpc}", field("vpcs"))
        } else if !entry.regions.as_ref().is_some_and(|regions| allows_region(regions, region)) {
            format!("{} does not name {region}", field("regions"))
        } else if entry.cidr_blocks.as_ref().is_some_and(|blocks| blocks.all) {
            return Rule::Accept;
        } else if let Some(blocks) = &blocks {
            let allowed = parse_all(listed.into_iter().flatten());
            match blocks.iter().find(|block| !allowed.iter().any(|allowed| allowed.contains(*block))) {
                None => return Rule::Accept,
                Some(block) => format!("its CIDR block {block} lies in none of {}", field("cidrBlocks")),
            }
        } else {
            unseen(&field("cidrBlocks"))
        };
        closest = Some(why_not);
    }
    Rule::Neither(closest.unwrap_or_else(|| format!("no entry of spec.accept is for account {owner}")))
}

/// Where the routes of an accepted connection may lead. `recorded` are the requester's CIDR blocks when the connection first
/// became active, if that is known; `account` is the accepter's.
#[must_use]
pub fn routes(
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
                "{missing} of the entry of spec.accept for account {owner} is missing, which allows none; its routes are left as they are until it says all: true or list"
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

/// The field that an entry does not have.
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

/// Whether an entry of `deny` names the requester, CIDR blocks aside. A field that is absent names everybody: it denies more.
fn names(entry: &DeniedRequests, requester: &VpcInfo) -> bool {
    let is = |list: &[String], value: &Option<Text>| {
        list.is_empty() || value.as_ref().is_some_and(|value| list.iter().any(|named| named == value))
    };
    entry.owner_id.as_deref().is_none_or(|denied| requester.owner_id.as_deref() == Some(denied))
        && is(&entry.vpc_ids, &requester.vpc_id)
        && is(&entry.regions, &requester.region)
}

/// Every CIDR block of the requester; none unless EC2 shows them all. The primary one alone is not all.
fn blocks(requester: &VpcInfo) -> Option<BTreeSet<IpNet>> {
    let number = requester.cidr_block_set.len() + requester.ipv6_cidr_block_set.len();
    let blocks = cidr_blocks(requester);
    // One that cannot be read would be missing.
    let is_whole = !requester.cidr_block_set.is_empty() && blocks.len() >= number;
    is_whole.then_some(blocks)
}

fn unseen(field: &str) -> String {
    format!("{field} cannot be checked, since EC2 does not show the requester's CIDR blocks")
}

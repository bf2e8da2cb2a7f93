//! The lists `spec.accept` and `spec.deny`. They decide on requests, and on the routes of accepted connections. An
//! entry without one of its fields accepts nothing. A value that EC2 does not show matches no entry of `accept`.
//!
//! A pending request shows CIDR blocks of the requester, and perhaps not all of them. So the lists decide twice: on the
//! blocks that the request shows ([`judge`]), and on those of the active connection ([`violation`]).

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::api::{AcceptedRequests, AllowedRegions, DeniedRequests, Text, VpcInfo};
use crate::peering::limits::allows;
use crate::peering::routes::{Trust, cidr_blocks, parse_all};

/// The decision of the lists on a request, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Accept,
    Deny(String),
    /// No entry matches the request, or EC2 does not show the values that the entries need.
    Neither(String),
}

/// The decision of the lists on the routes of an accepted connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RouteRule {
    /// The CIDR blocks of the requester that may get routes.
    Trust(Trust),
    /// No entry of `accept` matches the requester, or an entry of `deny` does.
    NoRoutes(String),
    /// The only entry for the requester lacks a field, which older versions of the CRD allowed. No route is added or
    /// removed, because the intent is unknown.
    Incomplete(String),
}

/// Decides on a request. `deny` overrides `accept`.
pub(super) fn judge(accept: &[AcceptedRequests], deny: &[DeniedRequests], requester: &VpcInfo) -> Rule {
    let (Some(owner), Some(vpc), Some(region)) = (&requester.owner_id, &requester.vpc_id, &requester.region) else {
        let message =
            "EC2 does not show the account, VPC and region of the requester, so no entry of spec.accept matches";
        return Rule::Neither(message.into());
    };
    let blocks = shown_cidr_blocks(requester);
    if let Some(rule) = judge_denial(deny, requester, blocks.as_ref()) {
        return rule;
    }
    let mut reason = format!("no entry of spec.accept is for account {owner}");
    for (index, entry) in accept.iter().enumerate().filter(|(_, entry)| entry.owner_id == *owner) {
        match mismatch(index, entry, (vpc, region), blocks.as_ref()) {
            None => return Rule::Accept,
            Some(mismatch) => reason = mismatch,
        }
    }
    Rule::Neither(reason)
}

/// Decides on a request by `spec.deny` alone. `None` if no entry matches.
fn judge_denial(deny: &[DeniedRequests], requester: &VpcInfo, blocks: Option<&BTreeSet<IpNet>>) -> Option<Rule> {
    let mut undecided = None;
    for (index, entry) in deny.iter().enumerate().filter(|(_, entry)| matches(entry, requester)) {
        if entry.cidr_blocks.is_empty() {
            return Some(Rule::Deny(format!("spec.deny[{index}] matches it")));
        }
        let Some(blocks) = blocks else {
            undecided = Some(Rule::Neither(unknown_blocks(&format!("spec.deny[{index}].cidrBlocks"))));
            continue;
        };
        let denied = parse_all(&entry.cidr_blocks);
        let overlaps = |one: &IpNet| denied.iter().any(|other| one.contains(other) || other.contains(one));
        if let Some(block) = blocks.iter().find(|block| overlaps(block)) {
            return Some(Rule::Deny(format!(
                "spec.deny[{index}] matches it: its CIDR block {block} overlaps a block of cidrBlocks"
            )));
        }
    }
    undecided
}

/// The reason why an entry for the requester's account does not accept a request. `None` if it does.
fn mismatch(
    index: usize,
    entry: &AcceptedRequests,
    (vpc, region): (&str, &str),
    blocks: Option<&BTreeSet<IpNet>>,
) -> Option<String> {
    let field = |name: &str| format!("spec.accept[{index}].{name}");
    if let Some(missing) = missing_field(entry) {
        return Some(format!(
            "{} has neither all: true nor a list, so the entry accepts no request; set one of them",
            field(missing)
        ));
    }
    if !entry.vpcs.as_ref().is_some_and(|vpcs| allows(vpcs, vpc)) {
        return Some(format!("{} does not list {vpc}", field("vpcs")));
    }
    if !entry.regions.as_ref().is_some_and(|regions| allows_region(regions, region)) {
        return Some(format!("{} does not list {region}", field("regions")));
    }
    if entry.cidr_blocks.as_ref().is_some_and(|blocks| blocks.all) {
        return None;
    }
    let Some(blocks) = blocks else { return Some(unknown_blocks(&field("cidrBlocks"))) };
    let allowed = parse_all(entry.cidr_blocks.iter().filter_map(|blocks| blocks.list.as_ref()).flatten());
    let outside = blocks.iter().find(|block| !allowed.iter().any(|allowed| allowed.contains(*block)))?;
    Some(format!("its CIDR block {outside} is not within a block of {}", field("cidrBlocks")))
}

/// The CIDR block that the lists do not allow, and the entry. `blocks` are the CIDR blocks of an active connection.
/// `None` if the lists allow all of them. Also `None` if no entry is for the requester: [`routes`] decides then.
pub(super) fn violation(
    accept: &[AcceptedRequests],
    deny: &[DeniedRequests],
    requester: &VpcInfo,
    blocks: &BTreeSet<IpNet>,
) -> Option<String> {
    let (owner, vpc, region) = (requester.owner_id.as_ref()?, requester.vpc_id.as_ref()?, requester.region.as_ref()?);
    // An entry without blocks denies every request of the requester, and all routes: see [`routes`].
    if deny.iter().any(|entry| entry.cidr_blocks.is_empty() && matches(entry, requester)) {
        return None;
    }
    if let Some(Rule::Deny(reason)) = judge_denial(deny, requester, Some(blocks)) {
        return Some(reason);
    }
    let mut reason = None;
    for (index, entry) in accept.iter().enumerate() {
        let is_for_requester = entry.owner_id == *owner
            && missing_field(entry).is_none()
            && entry.vpcs.as_ref().is_some_and(|vpcs| allows(vpcs, vpc))
            && entry.regions.as_ref().is_some_and(|regions| allows_region(regions, region));
        if is_for_requester {
            reason = Some(mismatch(index, entry, (vpc, region), Some(blocks))?);
        }
    }
    reason
}

/// Decides on the routes of an accepted connection. `account` is the accepter's account. `recorded` are the CIDR blocks
/// that the requester had when the connection first became active. They are empty before.
pub(super) fn routes(
    accept: &[AcceptedRequests],
    deny: &[DeniedRequests],
    requester: &VpcInfo,
    account: Option<&str>,
    recorded: &[String],
) -> RouteRule {
    let owner = requester.owner_id.as_deref().unwrap_or_default();
    let denies = |entry: &&DeniedRequests| matches(entry, requester);
    if deny.iter().filter(denies).any(|entry| entry.cidr_blocks.is_empty()) {
        let message = "it was accepted earlier, but an entry of spec.deny matches it now, so it gets no routes";
        return RouteRule::NoRoutes(message.into());
    }
    let entries: Vec<_> = accept.iter().filter(|entry| entry.owner_id == owner).collect();
    let is_match = |entry: &&&AcceptedRequests| {
        let vpc = requester.vpc_id.as_deref().unwrap_or_default();
        let region = requester.region.as_deref().unwrap_or_default();
        entry.vpcs.as_ref().is_some_and(|vpcs| allows(vpcs, vpc))
            && entry.regions.as_ref().is_some_and(|regions| allows_region(regions, region))
    };
    let matching: Vec<_> = entries.iter().filter(is_match).filter_map(|entry| entry.cidr_blocks.as_ref()).collect();
    if matching.is_empty() {
        if let Some(missing) = entries.iter().find_map(|entry| missing_field(entry)) {
            return RouteRule::Incomplete(format!(
                "{missing} of the entry of spec.accept for account {owner} has neither all: true nor a list, so its \
                 routes stay as they are; set one of them"
            ));
        }
        let message = "it was accepted earlier, but no entry of spec.accept matches it now, so it gets no routes";
        return RouteRule::NoRoutes(message.into());
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

/// The first field of the entry that has neither `all: true` nor a list.
fn missing_field(entry: &AcceptedRequests) -> Option<&'static str> {
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

/// Whether an entry of `deny` matches the requester, apart from its CIDR blocks. An absent field matches every
/// requester, so that the entry denies more.
fn matches(entry: &DeniedRequests, requester: &VpcInfo) -> bool {
    let is_listed = |list: &[String], value: &Option<Text>| {
        list.is_empty() || value.as_ref().is_some_and(|value| list.iter().any(|listed| listed == value))
    };
    entry.owner_id.as_deref().is_none_or(|denied| requester.owner_id.as_deref() == Some(denied))
        && is_listed(&entry.vpc_ids, &requester.vpc_id)
        && is_listed(&entry.regions, &requester.region)
}

/// The CIDR blocks of the requester that EC2 shows. `None` if it shows none, or one that cannot be parsed.
fn shown_cidr_blocks(requester: &VpcInfo) -> Option<BTreeSet<IpNet>> {
    let ipv4 = requester.cidr_block_set.iter().map(|block| &block.cidr_block);
    let ipv6 = requester.ipv6_cidr_block_set.iter().map(|block| &block.ipv6_cidr_block);
    let mut shown = requester.cidr_block.iter().chain(ipv4).chain(ipv6);
    let is_readable = shown.all(|block| block.parse::<IpNet>().is_ok());
    Some(cidr_blocks(requester)).filter(|blocks| is_readable && !blocks.is_empty())
}

fn unknown_blocks(field: &str) -> String {
    format!("{field} cannot be checked, because EC2 does not show the CIDR blocks of the requester")
}

//! Who may peer: a request against the lists of the spec. What EC2 does not show of a request never lets it in.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::api::{AcceptedRequests, DeniedRequests, VpcInfo};
use crate::peering::routes::cidr_blocks;

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

/// What the lists say of the requests of this requester.
#[must_use]
pub fn judge(accept: &[AcceptedRequests], deny: &[DeniedRequests], requester: &VpcInfo) -> Rule {
    let (Some(owner), Some(vpc), Some(region)) = (&requester.owner_id, &requester.vpc_id, &requester.region) else {
        return Rule::Neither("EC2 does not show who asks".into());
    };
    let blocks = blocks(requester);
    let mut undecided = None;
    for (number, entry) in deny.iter().enumerate() {
        let names = entry.owner_id.as_ref().is_none_or(|denied| denied == owner)
            && names(&entry.vpc_ids, vpc)
            && names(&entry.regions, region);
        let denied = parse(&entry.cidr_blocks);
        match &blocks {
            _ if !names => {}
            _ if denied.is_empty() => return Rule::Deny(format!("spec.deny[{number}] matches it")),
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
        let why_not = if !names(&entry.vpc_ids, vpc) {
            format!("spec.accept[{number}].vpcIds does not name {vpc}")
        } else if !names(&entry.regions, region) {
            format!("spec.accept[{number}].regions does not name {region}")
        } else if entry.cidr_blocks.is_empty() {
            return Rule::Accept;
        } else if let Some(blocks) = &blocks {
            let allowed = parse(&entry.cidr_blocks);
            match blocks.iter().find(|block| !allowed.iter().any(|allowed| allowed.contains(*block))) {
                None => return Rule::Accept,
                Some(block) => format!("its CIDR block {block} lies in none of spec.accept[{number}].cidrBlocks"),
            }
        } else {
            unseen(&format!("spec.accept[{number}].cidrBlocks"))
        };
        closest = Some(why_not);
    }
    Rule::Neither(closest.unwrap_or_else(|| format!("no entry of spec.accept is for account {owner}")))
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
    format!(
        "{field} cannot be checked, since EC2 does not show the requester's CIDR blocks before a request is accepted"
    )
}

fn names(list: &[String], value: &str) -> bool {
    list.is_empty() || list.iter().any(|named| named == value)
}

fn parse(blocks: &[String]) -> Vec<IpNet> {
    blocks.iter().filter_map(|block| block.parse::<IpNet>().ok()).map(|block| block.trunc()).collect()
}

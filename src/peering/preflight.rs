//! A look at the two VPCs before a request: what EC2 would only tell by a request that fails.

use ipnet::IpNet;

use super::{End, Ends};
use crate::api::{Reason, Side};

/// What the look showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preflight {
    /// Nothing that speaks against the request.
    Passed,
    /// Why the request would fail.
    Refused {
        /// Why.
        reason: Reason,
        /// The same for a person.
        message: String,
    },
}

/// A VPC as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vpc {
    /// `vpc-…`
    pub id: String,
    /// The account that owns it.
    pub owner_id: Option<String>,
    /// Every associated CIDR block, IPv4 and IPv6.
    pub cidr_blocks: Vec<String>,
}

/// Whether the two VPCs can be peered, as far as we see them: both must be there, and none of their blocks may overlap.
/// The accepter's is none where we may not look.
/// <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html#vpc-peering-limitations>
#[must_use]
pub fn check(ends: &Ends, requester: Option<&Vpc>, accepter: Option<Option<&Vpc>>) -> Preflight {
    let absent = |side: Side, hint: &str| {
        let End { vpc_id, region, .. } = ends.side(side);
        Preflight::Refused {
            reason: Reason::InvalidRequest,
            message: format!(
                "spec.{side}.vpcId: EC2 shows no {vpc_id} in {region} to these credentials; check the ID and the region{hint}"
            ),
        }
    };
    match (requester, accepter) {
        (None, _) => absent(Side::Requester, ""),
        // What another account has is EC2's to judge.
        (_, None) => Preflight::Passed,
        (_, Some(None)) if ends.accepter.owner_id.is_some() => absent(Side::Accepter, ""),
        (_, Some(None)) => absent(Side::Accepter, ", or set spec.accepter.ownerId if it is another account's"),
        (Some(requester), Some(Some(accepter))) => overlap(requester, accepter),
    }
}

fn overlap(requester: &Vpc, accepter: &Vpc) -> Preflight {
    // A block that we cannot read is EC2's to judge.
    let blocks = |vpc: &Vpc| -> Vec<IpNet> { vpc.cidr_blocks.iter().filter_map(|block| block.parse().ok()).collect() };
    let accepters = blocks(accepter);
    for one in blocks(requester) {
        for other in &accepters {
            if one.contains(other) || other.contains(&one) {
                return Preflight::Refused {
                    reason: Reason::OverlappingCidrBlocks,
                    message: format!(
                        "{} has {one} and {} has {other}, which overlap; EC2 cannot peer them, so it was not asked",
                        requester.id, accepter.id
                    ),
                };
            }
        }
    }
    Preflight::Passed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peering::testing::ends;

    #[test]
    fn what_is_not_there_is_told() {
        let vpc = Vpc { id: "vpc-1".into(), owner_id: Some("111111111111".into()), cidr_blocks: Vec::new() };
        let told = |ends: &Ends, requester: Option<&Vpc>, accepter: Option<Option<&Vpc>>| match check(
            ends, requester, accepter,
        ) {
            Preflight::Passed => String::new(),
            Preflight::Refused { message, .. } => message,
        };
        let mut ends = ends();
        assert_eq!(told(&ends, Some(&vpc), Some(Some(&vpc))), "");
        assert!(told(&ends, None, None).starts_with("spec.requester.vpcId: EC2 shows no vpc-11111111"));
        assert!(told(&ends, Some(&vpc), Some(None)).starts_with("spec.accepter.vpcId: EC2 shows no vpc-22222222"));
        assert!(told(&ends, Some(&vpc), Some(None)).contains("spec.accepter.ownerId"));
        assert_eq!(told(&ends, Some(&vpc), None), "", "another account's");
        ends.accepter.owner_id = vpc.owner_id.clone();
        assert!(!told(&ends, Some(&vpc), Some(None)).contains("spec.accepter.ownerId"));
    }

    #[test]
    fn overlapping_blocks_of_either_family_are_refused() {
        let rows: &[(&[&str], &[&str], bool)] = &[
            (&["10.0.0.0/16"], &["10.1.0.0/16"], false),
            (&["10.0.0.0/16"], &["10.0.128.0/20"], true),
            (&["10.0.128.0/20"], &["10.0.0.0/16"], true),
            (&["10.0.0.0/16", "10.9.0.0/16"], &["10.1.0.0/16", "10.9.0.0/24"], true),
            (&["10.0.0.0/16", "2001:db8::/56"], &["10.1.0.0/16", "2001:db8::/56"], true),
            (&["10.0.0.0/16", "2001:db8:0:100::/56"], &["10.1.0.0/16", "2001:db8::/56"], false),
            (&["unreadable"], &["unreadable"], false),
            (&[], &["10.0.0.0/8"], false),
        ];
        for (one, other, refused) in rows {
            let vpc = |id: &str, blocks: &[&str]| Vpc {
                id: id.into(),
                owner_id: None,
                cidr_blocks: blocks.iter().map(|block| (*block).to_owned()).collect(),
            };
            let outcome = overlap(&vpc("vpc-1", one), &vpc("vpc-2", other));
            assert_eq!(outcome != Preflight::Passed, *refused, "{one:?} and {other:?}: {outcome:?}");
        }
    }
}

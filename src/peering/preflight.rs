//! The check of the two VPCs before a request. It finds problems that EC2 would report by a failed connection.

use ipnet::IpNet;

use super::endpoints::{Endpoint, Endpoints};
use crate::api::{Reason, Side};

/// The result of the check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Preflight {
    Passed,
    /// The request would fail.
    Refused {
        reason: Reason,
        message: String,
    },
}

/// A VPC as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vpc {
    pub id: String,
    pub owner_id: Option<String>,
    /// All CIDR blocks that are associated, or about to be, IPv4 and IPv6.
    pub cidr_blocks: Vec<String>,
}

/// Checks that both VPCs exist and that their CIDR blocks do not overlap. `accepter` is `None` if the operator cannot
/// read it.
/// <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html#vpc-peering-limitations>
pub(crate) fn check(ends: &Endpoints, requester: Option<&Vpc>, accepter: Option<Option<&Vpc>>) -> Preflight {
    let absent = |side: Side, hint: &str| {
        let Endpoint { vpc_id, region, .. } = ends.side(side);
        Preflight::Refused {
            reason: Reason::InvalidRequest,
            message: format!(
                "spec.{side}.vpcId: EC2 shows no {vpc_id} in {region} to these credentials; check the ID and the region{hint}"
            ),
        }
    };
    match (requester, accepter) {
        (None, _) => absent(Side::Requester, ""),
        // Only EC2 can check a VPC of another account.
        (_, None) => Preflight::Passed,
        (_, Some(None)) if ends.accepter.owner_id.is_some() => absent(Side::Accepter, ""),
        (_, Some(None)) => absent(Side::Accepter, ", or set spec.accepter.ownerId if it belongs to another account"),
        (Some(requester), Some(Some(accepter))) => overlap(requester, accepter),
    }
}

fn overlap(requester: &Vpc, accepter: &Vpc) -> Preflight {
    // Only EC2 can check a block that does not parse.
    let blocks = |vpc: &Vpc| -> Vec<IpNet> { vpc.cidr_blocks.iter().filter_map(|block| block.parse().ok()).collect() };
    let accepters = blocks(accepter);
    for one in blocks(requester) {
        for other in &accepters {
            if one.contains(other) || other.contains(&one) {
                return Preflight::Refused {
                    reason: Reason::OverlappingCidrBlocks,
                    message: format!(
                        "{} has {one} and {} has {other}, which overlap, so EC2 cannot peer them and no request was made; use VPCs whose CIDR blocks do not overlap",
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
    fn a_missing_vpc_is_refused_with_a_hint() {
        let vpc = Vpc { id: "vpc-1".into(), owner_id: Some("111111111111".into()), cidr_blocks: Vec::new() };
        let message = |ends: &Endpoints, requester: Option<&Vpc>, accepter: Option<Option<&Vpc>>| match check(
            ends, requester, accepter,
        ) {
            Preflight::Passed => String::new(),
            Preflight::Refused { message, .. } => message,
        };
        let mut ends = ends();
        assert_eq!(message(&ends, Some(&vpc), Some(Some(&vpc))), "");
        assert!(message(&ends, None, None).starts_with("spec.requester.vpcId: EC2 shows no vpc-11111111"));
        assert!(message(&ends, Some(&vpc), Some(None)).starts_with("spec.accepter.vpcId: EC2 shows no vpc-22222222"));
        assert!(message(&ends, Some(&vpc), Some(None)).contains("spec.accepter.ownerId"));
        assert_eq!(message(&ends, Some(&vpc), None), "", "a VPC of another account");
        ends.accepter.owner_id = vpc.owner_id.clone();
        assert!(!message(&ends, Some(&vpc), Some(None)).contains("spec.accepter.ownerId"));
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

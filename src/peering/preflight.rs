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

/// Checks that both VPCs exist, that they belong to the accounts that act, and that their CIDR blocks do not overlap. `accepter` is `None` if the operator cannot
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
    let of_requester = ends.requester.owner_id.as_deref();
    let of_accepter = ends.accepter.owner_id.as_deref().or(of_requester);
    let seen = [(Side::Requester, requester, of_requester), (Side::Accepter, accepter.flatten(), of_accepter)];
    let mut is_shared = seen.into_iter().map(|(side, vpc, account)| shared(&format!("spec.{side}"), vpc?, account?));
    if let Some(message) = is_shared.find_map(|message| message) {
        return Preflight::Refused { reason: Reason::IdentityMismatch, message };
    }
    match (requester, accepter) {
        (None, _) => absent(Side::Requester, ""),
        // Only EC2 can check a VPC of another account.
        (_, None) => Preflight::Passed,
        (_, Some(None)) if ends.accepter.owner_id.is_some() => absent(Side::Accepter, ""),
        (_, Some(None)) => absent(Side::Accepter, ", or set spec.accepter.ownerId if it belongs to another account"),
        (Some(requester), Some(Some(accepter))) => overlap(requester, accepter),
    }
}

/// The reason why the account of an identity cannot peer a VPC that it sees: another account owns the VPC and shares it
/// by AWS RAM. `field` is the part of the spec that names the VPC, and `account` that of the identity.
/// <https://docs.aws.amazon.com/vpc/latest/userguide/vpc-sharing.html>
pub(crate) fn shared(field: &str, vpc: &Vpc, account: &str) -> Option<String> {
    let owner = vpc.owner_id.as_deref().filter(|owner| *owner != account)?;
    let id = &vpc.id;
    Some(format!(
        "{field}.vpcId: account {owner} owns {id} and shares it with account {account}, whose identity acts; only the owner can peer a shared VPC, so EC2 was not asked; set {field}.identityRef to an AwsIdentity of account {owner}"
    ))
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
    #![allow(clippy::expect_used)]
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
    fn a_shared_vpc_is_refused_with_its_owner() {
        let vpc = |id: &str, owner: &str| Vpc { id: id.into(), owner_id: Some(owner.into()), cidr_blocks: Vec::new() };
        let (own, shared) = (vpc("vpc-1", "111111111111"), vpc("vpc-2", "333333333333"));
        let mut ends = ends();
        ends.requester.owner_id = own.owner_id.clone();
        let check = |ends: &Endpoints, requester: &Vpc, accepter: &Vpc| match check(
            ends,
            Some(requester),
            Some(Some(accepter)),
        ) {
            Preflight::Passed => None,
            Preflight::Refused { reason, message } => Some((reason, message)),
        };
        assert_eq!(check(&ends, &own, &own), None);
        for (requester, accepter, field) in [(&shared, &own, "spec.requester"), (&own, &shared, "spec.accepter")] {
            let (reason, message) = check(&ends, requester, accepter).expect("refused");
            assert_eq!(reason, Reason::IdentityMismatch);
            for part in
                [&format!("{field}.vpcId: account 333333333333 owns vpc-2"), &format!("set {field}.identityRef")]
            {
                assert!(message.contains(part.as_str()), "{message}");
            }
        }
        // The accepter's identity belongs to the owner.
        ends.accepter.owner_id = shared.owner_id.clone();
        assert_eq!(check(&ends, &own, &shared), None);
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

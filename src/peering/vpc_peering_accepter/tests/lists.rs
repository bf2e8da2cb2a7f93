//! The lists of the spec: the routes that they allow, and the requests that somebody else has answered.

use super::*;
use crate::peering::routes::{Trust, parse_all};
use crate::peering::vpc_peering_accepter::rules::RouteRule;

fn blocks(blocks: &[&str]) -> std::collections::BTreeSet<ipnet::IpNet> {
    parse_all(&list(blocks).unwrap_or_default())
}

fn within(block: &str) -> AcceptedRequests {
    AcceptedRequests { cidr_blocks: Some(AllowedCidrBlocks { all: false, list: list(&[block]) }), ..any_of(THEIRS) }
}

/// The routes that the lists allow to a requester that had the block 10.1.0.0/16 first.
fn trust(accept: &[AcceptedRequests], deny: &[DeniedRequests], account: &str) -> Trust {
    let requester = info(THEIRS, "vpc-1", "eu-west-1", &["10.1.0.0/16", "10.2.0.0/16"]);
    match rules::routes(accept, deny, &requester, Some(account), &["10.1.0.0/16".to_owned()]) {
        RouteRule::Trust(trust) => Trust { to_allow: None, ..trust },
        rule => panic!("{rule:?}"),
    }
}

#[test]
fn an_entry_for_every_block_allows_later_blocks_only_of_the_own_account() {
    let any = [any_of(THEIRS)];
    let first = Trust { recorded: blocks(&["10.1.0.0/16"]), by_destination: true, ..Trust::default() };
    assert_eq!(trust(&any, &[], OURS), first);
    assert_eq!(trust(&any, &[], THEIRS), Trust { all: true, ..first.clone() });
    // An entry with a list allows the blocks of the list, also those of the own account.
    let listed = Trust { listed: blocks(&["10.0.0.0/8"]), ..Trust::default() };
    for account in [OURS, THEIRS] {
        assert_eq!(trust(&[within("10.0.0.0/8")], &[], account), listed);
    }
    let both = trust(&[within("10.0.0.0/8"), any_of(THEIRS)], &[], OURS);
    assert_eq!(both, Trust { listed: blocks(&["10.0.0.0/8"]), ..first });
}

#[test]
fn only_entries_for_the_requester_count_for_its_routes() {
    let vpc = |id: &str| Some(AllowedVpcs { all: false, list: list(&[id]) });
    let region = |region: &str| Some(AllowedRegions { all: false, list: list(&[region]) });
    let other_account = AcceptedRequests { owner_id: OURS.into(), ..any_of(THEIRS) };
    let other_vpc = AcceptedRequests { vpcs: vpc("vpc-2"), ..any_of(THEIRS) };
    let other_region = AcceptedRequests { regions: region("eu-west-2"), ..any_of(THEIRS) };
    let mut accept = vec![other_account, other_vpc, other_region, within("10.1.0.0/16")];
    let expected = Trust { listed: blocks(&["10.1.0.0/16"]), ..Trust::default() };
    assert_eq!(trust(&accept, &[], OURS), expected);
    // Denied blocks of this requester get no routes. An entry for another requester denies nothing here.
    let denied = |owner: &str, block: &str| DeniedRequests {
        owner_id: Some(owner.into()),
        cidr_blocks: vec![block.into()],
        ..DeniedRequests::default()
    };
    let deny = [denied(THEIRS, "10.1.2.0/24"), denied(OURS, "10.1.3.0/24")];
    assert_eq!(trust(&accept, &deny, OURS), Trust { denied: blocks(&["10.1.2.0/24"]), ..expected });
    accept.pop();
    let requester = info(THEIRS, "vpc-1", "eu-west-1", &["10.1.0.0/16"]);
    let rule = rules::routes(&accept, &[], &requester, Some(OURS), &[]);
    assert!(matches!(rule, RouteRule::NoRoutes(_)), "{rule:?}");
}

#[test]
fn a_request_that_somebody_else_rejected_is_not_mentioned() {
    let mut case = Case::new([connection("pcx-1", StatusCode::Rejected)]);
    case.spec.reject = true;
    assert_eq!(case.verdict(), None, "no entry denies it");
    case.spec.deny = vec![DeniedRequests { owner_id: Some(THEIRS.into()), ..DeniedRequests::default() }];
    assert_eq!(case.verdict(), Some(AccepterDecision::Rejected));
    case.spec.reject = false;
    assert_eq!(case.verdict(), None, "the resource rejects nothing");
}

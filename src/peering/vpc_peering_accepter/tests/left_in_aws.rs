//! The AWS resources that stay when the resource goes, for an Event.

use super::*;
use crate::api::ManagedTag;
use crate::peering::vpc_peering_accepter::decide::decide;
use crate::peering::vpc_peering_accepter::deletion::recorded_in_aws;

/// The plan of a decision, and the AWS resources that it leaves.
fn left(case: &Case, finalizer: bool) -> (Plan<Step>, Vec<String>) {
    let decide = |desired: Desired<'_>, recorded: &Recorded| {
        decide(Desired { finalizer, ..desired }, recorded, &case.observed, case.now, SETTINGS)
    };
    let decision = case.with(decide);
    (decision.plan, decision.left_in_aws)
}

#[test]
fn with_retain_refused_ownership_tags_stay_and_are_named() {
    let mut case = Case::new([connection("pcx-1", StatusCode::Active)]).accepted("pcx-1");
    case.spec.deletion_policy = Some(DeletionPolicy::Retain);
    case.deleted = true;
    assert_eq!(left(&case, true).1, Vec::<String>::new(), "the tags are removed first");
    case.refuse(&("pcx-1".to_owned(), Aspect::Tags(Side::Accepter)));
    let stays = vec!["pcx-1 with the tags vpcpeering.dev/accepter-*".to_owned()];
    assert_eq!(left(&case, true), (Plan::RemoveFinalizer, stays));
    assert_eq!(left(&case, false), (Plan::RemoveFinalizer, Vec::new()), "the operator has let go of it before");
    case.deleted = false;
    assert_eq!(left(&case, true).1, Vec::<String>::new());
}

#[test]
fn a_route_that_nothing_proves_to_be_the_resources_own_stays_and_is_named() {
    let mut case = Case::new([]);
    case.status.routes = vec![route("pcx-9")];
    with_routes(&mut case, "10.1.0.0/16", Some(Target::Peering("pcx-9".into())));
    case.deleted = true;
    let (plan, stays) = left(&case, true);
    assert_eq!((plan, stays.len()), (Plan::RemoveFinalizer, 1));
    assert!(stays[0].contains("rtb-1") && stays[0].contains("pcx-9"), "{stays:?}");
}

#[test]
fn without_an_aws_call_the_live_connections_and_routes_of_the_record_are_named() {
    let mut case = Case::new([]).accepted("pcx-1").accepted("pcx-2");
    case.status.connections[0].managed_tags = vec![ManagedTag { key: "Name".into(), value: "x".into() }];
    case.status.connections[1].code = Some("deleted".into());
    case.status.routes = vec![route("pcx-1")];
    let expected =
        ["pcx-1 with the tags vpcpeering.dev/accepter-*, Name", "routes through pcx-1: 10.1.0.0/16 in rtb-1"];
    assert_eq!(recorded_in_aws(Some(&case.status)), expected);
    assert_eq!(recorded_in_aws(None), Vec::<String>::new());
}

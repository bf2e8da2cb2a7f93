//! The end of a resource without an AWS call, and what the Event about it names.

use super::*;
use crate::api::{ManagedRoute, PeeringStatus, VpcPeeringStatus};
use crate::peering::vpc_peering::recorded_in_aws;

fn route() -> ManagedRoute {
    ManagedRoute {
        side: Side::Requester,
        route_table_id: "rtb-1".into(),
        destination_cidr_block: Some("10.2.0.0/16".into()),
        destination_prefix_list_id: None,
        vpc_peering_connection_id: "pcx-1".into(),
    }
}

/// Also with recorded routes and tags. Nothing that passes by itself releases the resource.
#[test]
fn retain_releases_a_resource_whose_identity_is_gone() {
    let passing = Blocker::passing(Reason::Throttled, "later".into(), Duration::from_secs(1));
    for code in ["pending-acceptance", "active"] {
        let mut case = Case::with(code.into()).deleted();
        case.recorded.routes = [route()].into();
        case.spec.deletion_policy = Some(DeletionPolicy::Retain);
        case.recorded.managed_tags = managed(&[("Name", "x")]);
        let plan = |blocker: &Blocker| summarize(&blocked(&goal(&case.spec, true), true, &case.recorded, blocker));
        assert_eq!(plan(&refusal()), "remove finalizer", "{code}");
        assert_eq!(plan(&passing), "wait: Throttled", "{code}");
        let not_deleted = blocked(&goal(&case.spec, false), true, &case.recorded, &refusal());
        assert_eq!(summarize(&not_deleted), "stalled: Unauthorized", "{code}");
        // Only the accepter's identity is gone: the requester's tags are removed, and the accepter's stay.
        case.observed.accepter = AccepterView::Elsewhere(Err(refusal()));
        assert_eq!(case.summary(), "untag pcx-1 cluster name namespace uid", "{code}");
        case.observed.accepter = AccepterView::Elsewhere(Err(passing.clone()));
        assert_eq!(case.summary(), "wait: Throttled", "{code}");
        // AWS refuses the removal of the tags.
        case.observed.accepter = AccepterView::Same;
        case.refuse(Aspect::Tags(Side::Requester));
        assert_eq!(case.summary(), "remove finalizer", "{code}");
        // The identity no longer allows the VPC.
        case.observed.refused.clear();
        case.permissions.requester.as_mut().unwrap().vpcs = Default::default();
        assert_eq!(case.summary(), "remove finalizer", "{code}");
        case.spec.deletion_policy = Some(DeletionPolicy::Delete);
        assert_eq!(case.summary(), "stalled: VpcNotAllowed", "{code}");
    }
}

#[test]
fn the_record_says_what_stays_in_aws() {
    let mut status = VpcPeeringStatus {
        vpc_peering_connection_id: Some("pcx-1".into()),
        ownership: Some(Ownership::Owned),
        status: Some(PeeringStatus { code: "active".into(), message: None }),
        managed_tags: managed(&[("Name", "x")]).into_iter().collect(),
        routes: vec![route()],
        ..VpcPeeringStatus::default()
    };
    let routes = "routes through pcx-1: 10.2.0.0/16 in rtb-1";
    assert_eq!(recorded_in_aws(Some(&status)), ["pcx-1 with the tags vpcpeering.dev/*, Name", routes]);
    if let Some(shown) = &mut status.status {
        shown.code = "deleted".into();
    }
    assert_eq!(recorded_in_aws(Some(&status)), [routes], "the connection has ended");
    status.routes =
        (0..7).map(|n| ManagedRoute { destination_cidr_block: Some(format!("10.{n}.0.0/16")), ..route() }).collect();
    let listed = recorded_in_aws(Some(&status));
    assert!(listed[0].ends_with("10.4.0.0/16 in rtb-1, and 2 more"), "{listed:?}");
    status.routes.clear();
    let intent = VpcPeeringStatus {
        creation_started_at: Some(crate::peering::conditions::to_the_second(NOW)),
        vpc_peering_connection_id: None,
        ..status.clone()
    };
    let requested = "a peering connection that the operator may have requested with the tags vpcpeering.dev/*, Name";
    assert_eq!(recorded_in_aws(Some(&intent)), [requested]);
    status.ownership = Some(Ownership::Observed);
    assert!(recorded_in_aws(Some(&status)).is_empty(), "an observed connection is not the resource's own");
    assert!(recorded_in_aws(None).is_empty());
}

/// A deleted resource that keeps its connection.
fn retained() -> Case {
    let mut case = Case::with(StatusCode::Active).deleted();
    case.spec.deletion_policy = Some(DeletionPolicy::Retain);
    case
}

fn left(case: &Case) -> Vec<String> {
    case.decision().left_in_aws
}

#[test]
fn tags_that_cannot_be_removed_are_named_when_the_resource_goes() {
    let at = |end: &str| format!("pcx-1 with the tags vpcpeering.dev/* at the {end}'s end");
    let mut case = retained();
    assert!(left(&case).is_empty(), "the tags are removed first");
    case.refuse(Aspect::Tags(Side::Requester));
    assert_eq!((case.summary().as_str(), left(&case)), ("remove finalizer", vec![at("requester")]));
    case.observed.accepter = AccepterView::Elsewhere(Err(refusal()));
    assert_eq!(left(&case), [at("requester"), at("accepter")]);
    case.observed.refused.clear();
    case.observed.recorded.as_mut().map(Arc::make_mut).unwrap().tags.clear();
    case.observed.owned.clear();
    assert_eq!(left(&case), [at("accepter")]);
    case.observed.recorded.as_mut().map(Arc::make_mut).unwrap().code = StatusCode::Deleted;
    assert!(left(&case).is_empty(), "the connection has ended");
    // The operator acts for nobody, or has let go of the resource before.
    let mut observed = retained();
    observed.refuse(Aspect::Tags(Side::Requester));
    let mut without_finalizer = observed.clone();
    without_finalizer.finalizer = false;
    observed.spec.management_policy = ManagementPolicy::Observe;
    for case in [observed, without_finalizer] {
        assert_eq!((case.summary().as_str(), left(&case)), ("remove finalizer", vec![]));
    }
}

#[test]
fn without_a_permission_the_record_names_what_stays() {
    let mut case = retained();
    case.permissions.requester.as_mut().unwrap().vpcs = Default::default();
    let status = VpcPeeringStatus {
        vpc_peering_connection_id: Some("pcx-1".into()),
        ownership: Some(Ownership::Owned),
        routes: vec![route()],
        ..VpcPeeringStatus::default()
    };
    let decision = case.ask(|desired| {
        let desired = Desired { status: Some(&status), ..desired };
        decide(desired, &case.recorded, &case.observed, NOW, SETTINGS)
    });
    assert_eq!(decision.plan, Plan::RemoveFinalizer);
    let routes = "routes through pcx-1: 10.2.0.0/16 in rtb-1";
    assert_eq!(decision.left_in_aws, ["pcx-1 with the tags vpcpeering.dev/*", routes]);
}

#[test]
fn a_route_that_nothing_proves_to_be_the_resources_own_is_named_when_the_resource_goes() {
    use crate::peering::routes::{Route, RouteTable, Target};
    let target = Target::Peering("pcx-1".into());
    let table = RouteTable {
        id: "rtb-1".into(),
        vpc_id: "vpc-11111111".into(),
        routes: vec![Route { destination: "10.2.0.0/16".parse().unwrap(), target, is_blackhole: false }],
        ..RouteTable::default()
    };
    let mut case = Case::new().deleted();
    case.recorded.routes = [route()].into();
    case.observed.tables.insert(Side::Requester, Ok(Arc::new([table].into_iter().collect())));
    let stays = left(&case);
    assert_eq!((case.summary().as_str(), stays.len()), ("remove finalizer", 1));
    assert!(stays[0].contains("rtb-1") && stays[0].contains("pcx-1"), "{stays:?}");
}

#[test]
fn a_blocked_resource_with_recorded_routes_keeps_its_finalizer() {
    let mut case = Case::new().deleted();
    case.recorded.routes = [route()].into();
    let plan = blocked(&goal(&case.spec, true), true, &case.recorded, &refusal());
    assert_eq!(summarize(&plan), "stalled: Unauthorized");
}

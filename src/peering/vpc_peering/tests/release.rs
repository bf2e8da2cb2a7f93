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
    status.ownership = Some(Ownership::Observed);
    status.routes.clear();
    assert!(recorded_in_aws(Some(&status)).is_empty(), "an observed connection is not the resource's own");
    assert!(recorded_in_aws(None).is_empty());
}

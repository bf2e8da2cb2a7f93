//! The forecast of `plan`.

use super::*;
use crate::peering::vpc_peering_accepter::{Reads, forecast};

/// The EC2 actions of the forecast for a new object in order, and its end.
fn of(case: &Case) -> (Vec<String>, Plan<Step>) {
    let (owner, end, defaults) = (owner(), end(), crate::peering::testing::defaults());
    let desired = Desired {
        owner: &owner,
        spec: &case.spec,
        end: &end,
        permissions: &case.permissions,
        defaults: &defaults,
        is_cluster_unique: true,
        deleted: case.deleted,
        finalizer: case.deleted || !case.status.connections.is_empty(),
        reconcile_at: None,
        generation: 1,
        status: Some(&case.status),
    };
    let reads = Reads { vpc: info(OURS, VPC, "eu-central-1", &["10.9.0.0/16"]), dns: None };
    let forecast = forecast(desired, case.observed.clone(), reads, case.now, SETTINGS);
    let calls = forecast.steps.iter().flat_map(|step| &step.calls);
    let name = |id: &str| id.strip_prefix("pcx-").unwrap_or(id).to_owned();
    let calls = calls.map(|placed| {
        let parameters = placed.call.parameters();
        let id = ["VpcPeeringConnectionId", "ResourceId"].into_iter().find_map(|id| parameters.get(id));
        format!("{} {}", placed.call.action(), id.map(|id| name(id)).unwrap_or_default())
    });
    (calls.collect(), forecast.end)
}

#[test]
fn each_request_is_accepted_before_the_ends_are_configured() {
    let request = |id| Connection { requester: info(THEIRS, "vpc-1", "eu-west-1", &["10.1.0.0/16"]), ..pending(id) };
    let mut case = Case::new([request("pcx-1"), request("pcx-2")]);
    case.spec.options =
        Some(SideOptions { allow_dns_resolution_from_remote_vpc: Some(true), ..SideOptions::default() });
    let (calls, end) = of(&case);
    let expected = [
        "AcceptVpcPeeringConnection 1",
        "CreateTags 1",
        "AcceptVpcPeeringConnection 2",
        "CreateTags 2",
        "ModifyVpcPeeringConnectionOptions 1",
        "ModifyVpcPeeringConnectionOptions 2",
    ];
    assert_eq!(calls, expected);
    assert!(matches!(end, Plan::Settled { .. }), "{end:?}");
}

#[test]
fn a_denied_request_is_rejected() {
    let mut case = Case::new([pending("pcx-1")]);
    case.spec.deny = vec![DeniedRequests { owner_id: Some(THEIRS.into()), ..DeniedRequests::default() }];
    assert_eq!(of(&case).0, Vec::<String>::new());
    case.spec.reject = true;
    assert_eq!(of(&case).0, ["RejectVpcPeeringConnection 1"]);
}

#[test]
fn a_deletion_removes_the_tags_and_keeps_the_connection() {
    let mut case = Case::new([connection("pcx-1", StatusCode::Active)]).accepted("pcx-1");
    case.deleted = true;
    assert_eq!(of(&case), (vec!["DeleteTags 1".to_owned()], Plan::RemoveFinalizer));
}

#[test]
fn a_connection_that_ec2_does_not_show_counts_as_deleted() {
    let mut case = Case::new([]).accepted("pcx-1");
    case.observed.missing_for.insert("pcx-1".into(), Duration::ZERO);
    let (calls, end) = of(&case);
    assert!(calls.is_empty() && matches!(end, Plan::Settled { .. }), "{calls:?} {end:?}");
    // EC2 may have accepted another one already, although the lists no longer allow it.
    record_acceptance(&mut case.status, &pending("pcx-2"), case.now);
    case.observed.connections.insert("pcx-2".into(), pending("pcx-2").into());
    case.spec.accept.clear();
    let (calls, end) = of(&case);
    assert!(calls.is_empty(), "{calls:?}");
    assert!(matches!(end, Plan::Wait { reason: Reason::AwaitingConsistency, .. }), "{end:?}");
}

#[test]
fn a_connection_that_is_being_deleted_is_followed_to_its_end() {
    let case = Case::new([connection("pcx-1", StatusCode::Deleting)]).accepted("pcx-1");
    let (calls, end) = of(&case);
    assert!(calls.is_empty() && matches!(end, Plan::Settled { .. }), "{calls:?} {end:?}");
}

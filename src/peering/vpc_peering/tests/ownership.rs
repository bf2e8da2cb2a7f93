//! The proof that a connection belongs to the resource, and the permission to change it.

use super::*;

#[test]
fn two_owned_connections_stall_the_resource() {
    let mut case = Case::new();
    let second = Connection { id: "pcx-2".into(), ..connection(StatusCode::Active) };
    case.observed.owned = vec![connection(StatusCode::Active).into(), second.into()];
    let plan = case.decide();
    assert_eq!(summarize(&plan), "stalled: MultipleConnections");
    assert!(matches!(plan, Plan::Stalled { message, .. } if message.contains("pcx-1, pcx-2")));
}

#[test]
fn a_foreign_connection_of_the_same_vpcs_is_not_changed() {
    let mut conflicting = connection(StatusCode::Active);
    for (tags, expected) in
        [(tags(&another_owner()), "team/another"), (Default::default(), "this resource did not create it")]
    {
        conflicting.tags = tags;
        let mut case = Case::new();
        case.observed.conflicting = Some(conflicting.clone().into());
        let plan = case.decide();
        let Plan::Stalled { reason: Reason::ConnectionNotOwned, message, .. } = plan else { panic!("{plan:?}") };
        assert!(message.contains(expected) && message.contains("pcx-1"), "{message}");
        assert_eq!(case.deleted().summary(), "remove finalizer");
    }
}

#[test]
fn a_recorded_connection_with_tags_of_another_owner_is_not_changed() {
    for code in every_code() {
        let mut another = connection(code);
        another.tags = tags(&another_owner());
        assert_eq!(Case::showing(another).summary(), "stalled: ConnectionNotOwned");
    }
}

#[test]
fn a_connection_without_accounts_does_not_match_the_spec() {
    let mut pending = connection(StatusCode::PendingAcceptance);
    (pending.requester.owner_id, pending.accepter.owner_id) = (None, None);
    assert_eq!(Case::showing(pending).summary(), "stalled: ConnectionMismatch");
}

#[test]
fn an_observed_connection_is_not_ours() {
    let mut case = Case::with(StatusCode::Active);
    case.recorded.ownership = Some(Ownership::Observed);
    case.observed.owned = Vec::new();
    case.observed.recorded.as_mut().map(Arc::make_mut).unwrap().tags.clear();
    case.observed.conflicting = case.observed.recorded.clone();
    assert_eq!(case.summary(), "stalled: ConnectionNotOwned");
    assert_eq!(case.deleted().summary(), "remove finalizer");
}

#[test]
fn a_recorded_route_through_an_observed_connection_is_not_changed() {
    use crate::peering::routes::{Route, RouteTable, Target};
    let route = |destination: &str| Route {
        destination: destination.parse().unwrap(),
        target: Target::Peering("pcx-1".into()),
        is_blackhole: false,
    };
    let table = RouteTable {
        id: "rtb-1".into(),
        vpc_id: "vpc-11111111".into(),
        routes: vec![route("10.2.0.0/16")],
        ..RouteTable::default()
    };
    let mut case = Case::with(StatusCode::InitiatingRequest).deleted();
    case.observed.owned = Vec::new();
    case.observed.recorded.as_mut().map(Arc::make_mut).unwrap().tags.clear();
    case.observed.tables.insert(Side::Requester, Ok(Arc::new([table].into_iter().collect())));
    case.recorded.routes = [crate::api::ManagedRoute {
        side: Side::Requester,
        route_table_id: "rtb-1".into(),
        destination_cidr_block: Some("10.2.0.0/16".into()),
        destination_prefix_list_id: None,
        vpc_peering_connection_id: "pcx-1".into(),
    }]
    .into();
    assert_eq!(case.summary(), "requester: delete the route to 10.2.0.0/16 through pcx-1 in rtb-1");
    case.recorded.ownership = Some(Ownership::Observed);
    assert_eq!(case.summary(), "remove finalizer");
}

#[test]
fn tags_on_a_connection_between_other_vpcs_prove_nothing() {
    let mut forged = Connection { id: "pcx-9".into(), ..connection(StatusCode::Active) };
    forged.requester.vpc_id = Some("vpc-3".into());
    let mut case = Case::with(StatusCode::Active);
    case.observed.owned.push(forged.clone().into());
    assert_eq!(case.summary(), "settled");
    case.spec.recreate_on = vec![TerminalState::Deleted];
    assert_eq!(case.clone().deleted().summary(), "delete pcx-1");
    case.observed.recorded = Some(connection(StatusCode::Deleted).into());
    case.observed.owned.remove(0);
    assert_eq!(case.clone().deleted().summary(), "remove finalizer");
    // The record may be lost, so the operator does not request another peering. A person has to decide.
    let mut case = Case::new();
    case.observed.owned = vec![forged.into()];
    case.observed.preflight = Some(Preflight::Passed);
    assert_eq!(case.summary(), "stalled: ConnectionMismatch");
    assert_eq!(case.deleted().summary(), "remove finalizer");
}

#[test]
fn a_record_is_no_proof() {
    for code in every_code() {
        for change in [
            (|connection: &mut Connection| connection.requester.vpc_id = Some("vpc-3".into())) as fn(&mut Connection),
            |connection| connection.accepter.vpc_id = Some("vpc-3".into()),
            |connection| connection.accepter.owner_id = Some("333333333333".into()),
            |connection| connection.accepter.region = Some("eu-west-1".into()),
            |connection| connection.requester.vpc_id = None,
        ] {
            let mut forged = connection(code.clone());
            forged.tags.clear();
            change(&mut forged);
            let mut case = Case::showing(forged.clone());
            case.spec.requester.tags = vec![crate::api::Tag { key: "a".into(), value: "b".into() }];
            assert_eq!(case.summary(), "stalled: ConnectionMismatch", "{code}");
            assert_eq!(case.clone().deleted().summary(), "remove finalizer", "{code}");
            case.spec.deletion_policy = Some(DeletionPolicy::Retain);
            assert_eq!(case.clone().deleted().summary(), "remove finalizer", "{code}");
            // The connection with the ownership tags replaces it in the record.
            case.observed.owned = vec![Connection { id: "pcx-2".into(), ..connection(StatusCode::Active) }.into()];
            assert_eq!(case.summary(), "record pcx-2 as Owned", "{code}");
        }
    }
}

#[test]
fn a_withdrawn_permission_stops_every_step() {
    let narrow = |case: &mut Case| {
        if let Some(limits) = &mut case.permissions.requester {
            limits.vpcs = crate::api::AllowedVpcs { all: false, list: Some(vec!["vpc-33333333".into()]) };
        }
    };
    for code in every_code() {
        let mut case = Case::with(code.clone());
        narrow(&mut case);
        assert_eq!(case.summary(), "stalled: VpcNotAllowed", "{code}");
        let deleted = case.deleted().summary();
        assert_eq!(deleted, "stalled: VpcNotAllowed", "{code}");
    }
    let mut case = Case::new();
    narrow(&mut case);
    case.observed.preflight = Some(Preflight::Passed);
    assert_eq!(case.summary(), "stalled: VpcNotAllowed");
    assert_eq!(case.deleted().summary(), "remove finalizer");
}

#[test]
fn the_older_of_two_resources_has_priority() {
    let mut case = Case::new();
    case.observed.preflight = Some(Preflight::Passed);
    case.observed.older_claim = Some(OlderClaim { resource: "VpcPeering team/older".into(), is_deleted: false });
    let plan = case.decide();
    let Plan::Stalled { reason: Reason::ConnectionNotOwned, message, requeue_after: Some(_) } = plan else {
        panic!("{plan:?}")
    };
    assert!(message.contains("team/older"), "{message}");
    assert_eq!(case.clone().deleted().summary(), "remove finalizer");
    case.observed.owned = vec![connection(StatusCode::Active).into()];
    assert_eq!(case.summary(), "record pcx-1 as Owned", "an owned connection stays owned");
}

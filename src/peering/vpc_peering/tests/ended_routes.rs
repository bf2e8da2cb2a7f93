//! Routes through connections that have ended.

use super::*;
use crate::api::ManagedRoute;
use crate::peering::authority::Authorized;
use crate::peering::routes::{DeletedRoutes, Route, RouteAnswers, RouteChange, RouteTable, Target};

/// A blackhole route at each end through a connection. The record names it.
fn with_routes(mut case: Case, id: &str) -> Case {
    let sides = [(Side::Requester, "vpc-11111111", "10.2.0.0/16"), (Side::Accepter, "vpc-22222222", "10.1.0.0/16")];
    for (side, vpc_id, destination) in sides {
        let target = Target::Peering(id.into());
        let table = RouteTable {
            id: format!("rtb-{side}"),
            vpc_id: vpc_id.into(),
            routes: vec![Route { destination: destination.parse().unwrap(), target, is_blackhole: true }],
            ..RouteTable::default()
        };
        case.observed.tables.insert(side, Ok(Arc::new([table].into_iter().collect())));
        case.recorded.routes.insert(route(side, destination, id));
    }
    case
}

fn route(side: Side, destination: &str, id: &str) -> ManagedRoute {
    ManagedRoute {
        side,
        route_table_id: format!("rtb-{side}"),
        destination_cidr_block: Some(destination.into()),
        destination_prefix_list_id: None,
        vpc_peering_connection_id: id.into(),
    }
}

#[test]
fn routes_through_an_ended_connection_are_removed_before_anything_else() {
    let removal = "requester: delete the route to 10.2.0.0/16 through pcx-1 in rtb-requester";
    for code in every_code() {
        let mut case = with_routes(Case::with(code.clone()), "pcx-1");
        let route_tables = crate::api::RouteTableSelector { all: true, ..Default::default() };
        let routes = Box::new(crate::api::Routes { route_tables, ..Default::default() });
        (case.spec.requester.routes, case.spec.accepter.routes) = (Some(routes.clone()), Some(routes));
        assert_eq!(case.summary() == removal, code.has_ended(), "{code}: {}", case.summary());
    }
    let mut case = with_routes(Case::with(StatusCode::Deleted), "pcx-1");
    case.spec.recreate_on = vec![TerminalState::Deleted];
    assert_eq!(case.summary(), removal);
    // A refusal at one end delays neither the other end nor the new request.
    case.refuse(Aspect::Routes(Side::Requester));
    assert_eq!(case.summary(), "accepter: delete the route to 10.1.0.0/16 through pcx-1 in rtb-accepter");
    case.refuse(Aspect::Routes(Side::Accepter));
    assert_eq!(case.summary(), "retire pcx-1 (deleted), 1");
    case.observed.refused.clear();
    case.spec.dry_run = true;
    assert_ne!(case.summary(), removal);
}

#[test]
fn the_record_follows_the_removal_without_a_wait() {
    let mut case = with_routes(Case::with(StatusCode::Deleted), "pcx-1");
    let table = RouteTable { id: "rtb-requester".into(), vpc_id: "vpc-11111111".into(), ..RouteTable::default() };
    case.observed.tables.insert(Side::Requester, Ok(Arc::new([table].into_iter().collect())));
    case.observed.tables.insert(Side::Accepter, Err(refusal()));
    case.observed.route_answers = RouteAnswers::default();
    let plan = case.decide();
    assert!(matches!(plan, Plan::Stalled { reason: Reason::Deleted, .. }), "{plan:?}");
    let looks_again = crate::peering::settings::EFFECT_REQUEUE;
    assert_eq!(plan.requeue_after(), Some(looks_again), "{plan:?}");
    let mut deleted = DeletedRoutes::default();
    deleted.answered(&RouteChange::Delete(route(Side::Requester, "10.2.0.0/16", "pcx-1")), true);
    case.observed.route_answers.deleted = deleted;
    assert_eq!(case.summary(), "record 1 routes, requester", "the record of the other end stays");
}

#[test]
fn routes_through_an_earlier_connection_are_removed_while_the_next_one_is_pending() {
    let ended = Connection { id: "pcx-0".into(), ..connection(StatusCode::Deleted) };
    let removal = "requester: delete the route to 10.2.0.0/16 through pcx-0 in rtb-requester";
    let mut case = with_routes(Case::with(StatusCode::PendingAcceptance), "pcx-0");
    case.spec.acceptance = crate::api::Acceptance::Manual;
    assert_ne!(case.summary(), removal, "nothing proves that the routes are the resource's own");
    case.observed.earlier = vec![ended.clone().into()];
    assert_eq!(case.summary(), removal);
    case.observed.earlier = vec![Connection { tags: Default::default(), ..ended.clone() }.into()];
    assert_ne!(case.summary(), removal, "an earlier connection needs the ownership tags");
    case.observed.earlier.clear();
    case.observed.remembered.insert(Authorized::unchecked("pcx-0"));
    assert_eq!(case.summary(), removal);
    // A live connection keeps its routes.
    case.observed.remembered.clear();
    case.observed.earlier = vec![Connection { code: StatusCode::Active, ..ended }.into()];
    assert_ne!(case.summary(), removal);
}

#[test]
fn routes_through_a_connection_that_ec2_does_not_show_need_a_proof() {
    let mut case = with_routes(Case::new(), "pcx-1");
    case.recorded.connection_id = Some("pcx-1".into());
    case.recorded.ownership = Some(Ownership::Owned);
    case.observed.remembered.insert(Authorized::unchecked("pcx-1"));
    assert_eq!(case.summary(), "wait: AwaitingConsistency");
    case.observed.missing_for = SETTINGS.consistency_window;
    assert_eq!(case.summary(), "requester: delete the route to 10.2.0.0/16 through pcx-1 in rtb-requester");
    case.observed.remembered.clear();
    assert!(case.summary().starts_with("stalled: NotFound"), "{}", case.summary());
}

#[test]
fn the_ends_are_cleared_before_a_deletion_without_a_wait_for_each_other() {
    let mut case = with_routes(Case::with(StatusCode::Active), "pcx-1").deleted();
    case.observed.route_answers = RouteAnswers::default();
    let empty = RouteTable { id: "rtb-requester".into(), vpc_id: "vpc-11111111".into(), ..RouteTable::default() };
    case.observed.tables.insert(Side::Requester, Ok(Arc::new([empty].into_iter().collect())));
    // EC2 may not show a recent route of the requester yet. The accepter's route goes at once.
    assert_eq!(case.summary(), "accepter: delete the route to 10.1.0.0/16 through pcx-1 in rtb-accepter");
}

#[test]
fn unreadable_route_tables_block_a_deletion_only_while_routes_are_recorded() {
    let mut case = with_routes(Case::with(StatusCode::Active), "pcx-1").deleted();
    case.spec.requester.routes = Some(Box::new(crate::api::Routes::default()));
    case.observed.tables = [Side::Requester, Side::Accepter].map(|side| (side, Err(refusal()))).into();
    assert_eq!(case.summary(), "stalled: Unauthorized");
    case.recorded.routes.clear();
    assert_eq!(case.summary(), "delete pcx-1");
}

#[test]
fn only_the_routes_through_ended_connections_are_removed() {
    let other = |id: &str, code| Connection { id: id.into(), ..connection(code) };
    let mut case = with_routes(Case::with(StatusCode::PendingAcceptance), "pcx-0");
    case.spec.acceptance = Acceptance::Manual;
    case.observed.earlier =
        vec![other("pcx-0", StatusCode::Deleted).into(), other("pcx-9", StatusCode::Deleting).into()];
    let shown = |destination: &str, id: &str| Route {
        destination: destination.parse().unwrap(),
        target: Target::Peering(id.into()),
        is_blackhole: true,
    };
    let table = RouteTable {
        id: "rtb-requester".into(),
        vpc_id: "vpc-11111111".into(),
        routes: vec![shown("10.2.0.0/16", "pcx-0"), shown("10.3.0.0/16", "pcx-9")],
        ..RouteTable::default()
    };
    case.observed.tables = [(Side::Requester, Ok(Arc::new([table].into_iter().collect())))].into();
    case.recorded.routes =
        [route(Side::Requester, "10.2.0.0/16", "pcx-0"), route(Side::Requester, "10.3.0.0/16", "pcx-9")].into();
    assert_eq!(case.summary(), "requester: delete the route to 10.2.0.0/16 through pcx-0 in rtb-requester");
}

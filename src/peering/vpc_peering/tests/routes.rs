//! The routes of an active peering, and their permission.

use super::*;
use crate::peering::routes::{Route, RouteTable, Target};

const BLOCK: &str = "10.2.0.0/16";

/// An active peering whose requester asks for routes in its main route table, and the route there to the accepter.
fn case(target: Option<Target>) -> Case {
    let mut shown = connection(StatusCode::Active);
    shown.requester.cidr_block = Some("10.1.0.0/16".into());
    shown.accepter.cidr_block = Some(BLOCK.into());
    let mut case = Case::showing(shown);
    let route_tables = crate::api::RouteTableSelector { main: true, ..Default::default() };
    case.spec.requester.routes = Some(Box::new(crate::api::Routes { route_tables, ..Default::default() }));
    let route = target.map(|target| Route { destination: BLOCK.parse().unwrap(), target, is_blackhole: false });
    let table = RouteTable {
        id: "rtb-1".into(),
        vpc_id: "vpc-11111111".into(),
        main: true,
        routes: route.into_iter().collect(),
        ..RouteTable::default()
    };
    case.observed.tables.insert(Side::Requester, Ok(Arc::new([table].into_iter().collect())));
    case
}

/// The same case with the record of a route through this connection.
fn recorded(mut case: Case, id: &str) -> Case {
    case.recorded.routes.insert(crate::api::ManagedRoute {
        side: Side::Requester,
        route_table_id: "rtb-1".into(),
        destination_cidr_block: Some(BLOCK.into()),
        destination_prefix_list_id: None,
        vpc_peering_connection_id: id.into(),
    });
    case
}

#[test]
fn routes_are_added_and_replaced_only_with_a_permission_and_removed_without_one() {
    let ours = || Some(Target::Peering("pcx-1".into()));
    let without_routes = |mut case: Case| {
        case.spec.requester.routes = None;
        case
    };
    let create = "requester: create the route to 10.2.0.0/16 through pcx-1 in rtb-1";
    let delete = "requester: delete the route to 10.2.0.0/16 through pcx-1 in rtb-1";
    let forbidden = "stalled: ActionNotAllowed";
    let rows = [
        ("a new route", case(None), "record 1 routes, requester", forbidden),
        ("a recorded route", recorded(case(None), "pcx-1"), create, forbidden),
        ("an existing route", recorded(case(ours()), "pcx-1"), "settled", "settled"),
        ("a surplus route", recorded(without_routes(case(ours())), "pcx-1"), delete, delete),
        (
            "a surplus record",
            recorded(without_routes(case(None)), "pcx-1"),
            "record 0 routes, requester",
            "record 0 routes, requester",
        ),
    ];
    for (name, mut case, permitted, expected) in rows {
        assert_eq!(case.summary(), permitted, "{name}");
        if let Some(limits) = &mut case.permissions.requester {
            limits.routes = false;
        }
        assert_eq!(case.summary(), expected, "{name}, without allowRoutes");
    }
}

#[test]
fn a_route_of_the_spec_is_removed_before_the_peering_also_without_a_record() {
    let mut case = case(Some(Target::Peering("pcx-1".into()))).deleted();
    assert_eq!(case.summary(), "requester: delete the route to 10.2.0.0/16 through pcx-1 in rtb-1");
    // A connection that was never active has no route of the operator.
    case.observed.recorded.as_mut().map(Arc::make_mut).unwrap().code = StatusCode::PendingAcceptance;
    assert_eq!(case.summary(), "delete pcx-1");
}

#[test]
fn a_block_that_an_accepter_without_an_identity_adds_later_gets_no_route_unless_the_spec_names_it() {
    let routed = |change: fn(&mut Case)| {
        let mut case = case(None);
        let shown = case.observed.recorded.as_mut().map(Arc::make_mut).unwrap();
        shown.accepter.cidr_block_set = vec![crate::api::CidrBlock { cidr_block: "10.3.0.0/16".into() }];
        case.observed.accepter = AccepterView::Nobody;
        case.recorded.accepted_cidr_blocks = Some(vec![BLOCK.into()]);
        change(&mut case);
        match case.decide() {
            Plan::Act(Step::Upkeep { step: UpkeepStep::RecordRoutes { routes }, .. }) => {
                routes.iter().map(|route| route.destination().to_owned()).collect::<Vec<_>>().join(" ")
            }
            plan => panic!("{plan:?}"),
        }
    };
    assert_eq!(routed(|_| {}), BLOCK);
    let name = |case: &mut Case| {
        let routes = case.spec.requester.routes.as_mut().unwrap();
        routes.destination_cidr_blocks = vec!["10.3.0.0/16".into()];
    };
    assert_eq!(routed(name), "10.3.0.0/16");
    let both = "10.2.0.0/16 10.3.0.0/16";
    assert_eq!(routed(|case| case.recorded.accepted_cidr_blocks = None), both, "these are the first blocks");
    assert_eq!(routed(|case| case.observed.accepter = AccepterView::Same), both, "the operator acts for both ends");
}

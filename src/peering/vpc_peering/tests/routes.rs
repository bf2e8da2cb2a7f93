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
    case.spec.requester.routes = Some(crate::api::Routes { route_tables, ..Default::default() });
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

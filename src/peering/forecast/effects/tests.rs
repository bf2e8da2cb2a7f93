#![allow(clippy::unwrap_used)]

use super::*;
use crate::peering::testing::connection;

fn vpc(block: &str) -> VpcInfo {
    VpcInfo { cidr_block: Some(block.into()), ..VpcInfo::default() }
}

#[test]
fn a_connection_shows_the_known_blocks_when_it_becomes_active() {
    let vpcs = [vpc("10.1.0.0/16"), VpcInfo::default()];
    let blocks = |shown: &Connection| [&shown.requester, &shown.accepter].map(|end| end.cidr_block.clone());
    let mut shown = connection(StatusCode::PendingAcceptance);
    shown.accepter.cidr_block = Some("10.2.0.0/16".into());
    set_code(&mut shown, &StatusCode::Provisioning, &vpcs);
    assert_eq!(blocks(&shown), [None, Some("10.2.0.0/16".into())]);
    set_code(&mut shown, &StatusCode::Active, &vpcs);
    assert_eq!(blocks(&shown), [Some("10.1.0.0/16".into()), Some("10.2.0.0/16".into())], "one VPC is not known");
    set_code(&mut shown, &StatusCode::Active, &[vpc("10.9.0.0/16"), vpc("10.9.0.0/16")]);
    assert_eq!(blocks(&shown), [Some("10.1.0.0/16".into()), Some("10.2.0.0/16".into())], "it was active before");
}

/// Two tables, each with a route through pcx-1 and one through pcx-2.
fn tables() -> Arc<RouteTables> {
    let route = |block: &str, id: &str| Route {
        destination: block.parse().unwrap(),
        target: Target::Peering(id.into()),
        is_blackhole: false,
    };
    let table = |id: &str| RouteTable {
        id: id.into(),
        vpc_id: "vpc-11111111".into(),
        routes: vec![route("10.1.0.0/16", "pcx-1"), route("10.2.0.0/16", "pcx-2")],
        ..RouteTable::default()
    };
    Arc::new([table("rtb-1"), table("rtb-2")].into_iter().collect())
}

/// The routes in the form `TABLE: DESTINATION via CONNECTION`.
fn shown(tables: &RouteTables) -> Vec<String> {
    let text = |table: &RouteTable, route: &Route| {
        let Target::Peering(id) = &route.target else { panic!("{route:?}") };
        let state = if route.is_blackhole { " (blackhole)" } else { "" };
        format!("{}: {} via {id}{state}", table.id, route.destination)
    };
    tables.all().flat_map(|table| table.routes.iter().map(|route| text(table, route)).collect::<Vec<_>>()).collect()
}

#[test]
fn only_the_routes_through_a_deleted_connection_become_blackholes() {
    let mut tables = tables();
    blackhole(&mut tables, "pcx-1");
    let expected = [
        "rtb-1: 10.1.0.0/16 via pcx-1 (blackhole)",
        "rtb-1: 10.2.0.0/16 via pcx-2",
        "rtb-2: 10.1.0.0/16 via pcx-1 (blackhole)",
        "rtb-2: 10.2.0.0/16 via pcx-2",
    ];
    assert_eq!(shown(&tables), expected);
}

#[test]
fn a_change_of_a_route_leaves_other_destinations_and_tables_alone() {
    let change = |destination: &str| ManagedRoute {
        side: Side::Requester,
        route_table_id: "rtb-1".into(),
        destination_cidr_block: Some(destination.into()),
        destination_prefix_list_id: None,
        vpc_peering_connection_id: "pcx-3".into(),
    };
    let (first, second) = ("rtb-1: 10.1.0.0/16 via pcx-1", "rtb-1: 10.2.0.0/16 via pcx-2");
    let rows = [
        (RouteChange::Create(change("10.3.0.0/16")), vec![first, second, "rtb-1: 10.3.0.0/16 via pcx-3"]),
        (RouteChange::Replace(change("10.1.0.0/16")), vec![second, "rtb-1: 10.1.0.0/16 via pcx-3"]),
        (RouteChange::Delete(change("10.1.0.0/16")), vec![second]),
    ];
    for (change, mut expected) in rows {
        let mut tables = tables();
        change_route(&mut tables, &change);
        expected.extend(["rtb-2: 10.1.0.0/16 via pcx-1", "rtb-2: 10.2.0.0/16 via pcx-2"]);
        assert_eq!(shown(&tables), expected, "{change}");
    }
}

//! The routes through several connections, and through those that EC2 does not show any more.

use super::*;
use crate::peering::routes::{Entries, NamedPrefixLists, PrefixList};

/// A requester with this block.
fn spoke(id: &str, block: &str, code: StatusCode) -> Connection {
    let requester = info(THEIRS, &format!("vpc-of-{id}"), "eu-west-1", &[block]);
    Connection { requester, ..connection(id, code) }
}

/// A prefix list of this account with one entry.
fn prefix_list(entry: &str) -> NamedPrefixLists {
    let list = PrefixList {
        id: "pl-1".into(),
        owner_id: OURS.into(),
        is_ipv6: false,
        max_entries: Some(1),
        version: Some(1),
        is_changing: false,
    };
    let entries: Entries = entry.parse().into_iter().collect();
    NamedPrefixLists {
        shown: Ok(Arc::new([Arc::new(list)].into_iter().collect())),
        entries: [("pl-1".to_owned(), Ok(Arc::new(entries)))].into(),
    }
}

#[test]
fn a_prefix_list_leads_to_the_requester_that_has_its_entries() {
    let with_list = |code, list: &str| {
        let shown = [spoke("pcx-1", "10.81.0.0/16", StatusCode::Active), spoke("pcx-2", "10.82.0.0/16", code)];
        let mut case = Case::new(shown).accepted("pcx-1").accepted("pcx-2");
        with_routes(&mut case, "10.81.0.0/16", None);
        let routes = case.spec.routes.as_mut().expect("routes");
        routes.destination_prefix_list_ids = vec!["pl-1".into()];
        case.observed.lists = Some(prefix_list(list));
        case
    };
    let case = with_list(StatusCode::Active, "10.82.7.0/24");
    let step = case.step();
    let Some(Step::Upkeep { id, step: UpkeepStep::RecordRoutes { routes } }) = step else { panic!("{step:?}") };
    let through: Vec<_> = routes.iter().map(|route| route.vpc_peering_connection_id.as_str()).collect();
    assert_eq!((id.as_str(), through), ("pcx-2", vec!["pcx-2"]));
    // The record is there: no connection is left with a problem.
    let mut recorded = with_list(StatusCode::Active, "10.82.7.0/24");
    recorded.status.routes = routes.into_iter().collect();
    let there = Route {
        destination: "pl-1".parse().expect("a list"),
        target: Target::Peering("pcx-2".into()),
        is_blackhole: false,
    };
    let table = RouteTable { id: "rtb-1".into(), vpc_id: VPC.into(), routes: vec![there], ..RouteTable::default() };
    recorded.observed.tables = Some(Ok(Arc::new(RouteTables::from_iter([table]))));
    assert!(matches!(recorded.plan(), Plan::Settled { .. }), "{:?}", recorded.plan());
    // Until the other connection is active, its blocks are not known.
    let waiting = with_list(StatusCode::Provisioning, "10.82.7.0/24");
    let plan = waiting.plan();
    assert!(matches!(&plan, Plan::Stalled { message, .. } if message.starts_with("pcx-1: ")), "{plan:?}");
}

#[test]
fn a_route_through_a_connection_that_ec2_no_longer_shows_needs_a_proof() {
    let mut case = Case::new([]).accepted("pcx-1");
    case.observed.missing_for.insert("pcx-1".into(), SETTINGS.consistency_window);
    case.status.routes = vec![route("pcx-1")];
    with_routes(&mut case, "10.1.0.0/16", Some(Target::Peering("pcx-1".into())));
    let tables = case.observed.tables.as_mut().and_then(|tables| tables.as_mut().ok()).expect("tables");
    let blackhole = tables.all().map(|table| {
        let mut table = RouteTable::clone(table);
        table.routes.iter_mut().for_each(|route| route.is_blackhole = true);
        table
    });
    *tables = Arc::new(blackhole.collect());
    let removes = |case: &Case| matches!(case.step(), Some(Step::Upkeep { step: UpkeepStep::ChangeRoutes { .. }, .. }));
    assert!(matches!(case.plan(), Plan::Stalled { reason: Reason::RouteConflict, .. }), "{:?}", case.plan());
    case.observed.remembered.insert(Authorized::unchecked("pcx-2"));
    assert!(!removes(&case), "another connection was the resource's own");
    case.observed.remembered.insert(Authorized::unchecked("pcx-1"));
    assert!(removes(&case), "{:?}", case.plan());
    // EC2 shows it again, with the tags of another owner.
    let foreign = Connection { tags: tags([(Owner::UID, "x")]), ..connection("pcx-1", StatusCode::Deleted) };
    case.observed.connections.insert("pcx-1".into(), foreign.into());
    assert!(!removes(&case), "{:?}", case.plan());
}

//! AWS's quota of routes per route table.

use super::*;

fn with_quota(routes: &Routes, tables: &[RouteTable], quota: Quota) -> Case {
    Case { quota, ..Case::new(Some(routes.clone()), tables, &[]) }
}

/// A table with the local route, and this number of other IPv4 routes.
fn full(id: &str, count: u8) -> RouteTable {
    let mut full = table(id, &["10.0.0.0/16 local"]);
    full.routes.extend((0..count).map(|number| route(&format!("10.100.{number}.0/24 igw-1"))));
    full
}

/// The recorded routes of the next step.
fn recorded(plan: &RoutesPlan) -> Vec<(&str, &str)> {
    let Some(RouteStep::Record(record)) = &plan.step else { panic!("{plan:?}") };
    record.iter().map(|route| (route.route_table_id.as_str(), route.destination())).collect()
}

#[test]
fn a_full_table_is_reported_and_the_others_get_their_routes() {
    let routes = Routes {
        destination_cidr_blocks: vec!["10.2.0.0/16".into()],
        route_tables: every_table(),
        ..Routes::default()
    };
    let tables = [full("rtb-1", 3), full("rtb-2", 2)];
    let quota = Quota { limit: 3, is_confirmed: true };
    let mut case = with_quota(&routes, &tables, quota);
    let plan = case.repair();
    assert_eq!(recorded(&plan), [("rtb-2", "10.2.0.0/16")]);
    let blocker = plan.blocker().unwrap();
    assert_eq!(blocker.reason, Reason::RouteTableFull);
    for part in ["rtb-1", "(3)", "10.2.0.0/16", "spec.requester.routes.routeTables.exclude"] {
        assert!(blocker.message.contains(part), "{part}: {}", blocker.message);
    }
    assert!(!blocker.message.contains("rtb-2"), "{}", blocker.message);
    // A default that AWS has not confirmed is exceeded only by an account with a higher quota.
    case.quota = Quota { limit: 2, is_confirmed: false };
    assert_eq!(recorded(&case.repair()), [("rtb-1", "10.2.0.0/16")]);
}

#[test]
fn the_room_of_a_table_is_shared_by_the_routes_of_one_plan() {
    let routes = Routes { route_tables: every_table(), ..Routes::default() };
    let case = with_quota(&routes, &[full("rtb-1", 2)], Quota { limit: 3, is_confirmed: true });
    let plan = case.repair();
    // IPv6 routes have a quota of their own.
    assert_eq!(recorded(&plan), [("rtb-1", "10.1.0.0/16"), ("rtb-1", "2001:db8::/56")]);
    assert_eq!(plan.blocker().map(|blocker| blocker.reason), Some(Reason::RouteTableFull));
}

#[test]
fn a_full_table_keeps_its_routes_and_reports_only_those_that_it_lacks() {
    let routes = Routes {
        destination_cidr_blocks: vec!["10.2.0.0/16".into()],
        route_tables: every_table(),
        ..Routes::default()
    };
    let mut table = full("rtb-1", 2);
    table.routes.push(route("10.2.0.0/16 pcx-ours"));
    let mut case = with_quota(&routes, &[table], Quota { limit: 3, is_confirmed: true });
    case.recorded = record(&["rtb-1 10.2.0.0/16 pcx-ours"]);
    let plan = case.repair();
    assert_eq!((short(&plan), plan.problems), (vec![], vec![]), "the route is there");
    // The spec no longer asks for a recorded route, which is gone.
    case.tables = [full("rtb-1", 3)].into_iter().collect();
    case.routes = None;
    let plan = case.repair();
    assert_eq!((short(&plan), plan.problems), (vec!["record nothing".to_owned()], vec![]));
}

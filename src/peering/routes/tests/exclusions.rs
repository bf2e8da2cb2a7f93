//! Tests of excluded destinations and excluded route tables.

use super::*;
use crate::api::RouteTableExclusion;

fn excluding(destinations: &[&str], excluded: &[&str]) -> Option<Routes> {
    let exclude_cidr_blocks = excluded.iter().map(|block| (*block).to_owned()).collect();
    Some(Routes { exclude_cidr_blocks, ..to(main_table(), destinations) })
}

#[test]
fn a_destination_within_an_excluded_block_gets_no_route() {
    let all = ["10.1.0.0/16", "10.2.0.0/16", "2001:db8::/56"];
    let part = ["10.1.0.0/24", "10.2.0.0/24"];
    // The destinations and the exclusions of the spec, the destinations with a route, and the exclusions that have no
    // effect.
    type Row<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str], &'a [&'a str]);
    let rows: [Row<'_>; 10] = [
        (&[], &["10.1.0.0/16"], &all[1..], &[]),
        (&[], &["10.1.7.9/16"], &all[1..], &[]),
        (&[], &["10.0.0.0/8"], &all[2..], &[]),
        (&[], &["0.0.0.0/0"], &all[2..], &[]),
        (&[], &["::/0"], &all[..2], &[]),
        (&[], &["0.0.0.0/0", "2001:db8::/48"], &[], &[]),
        (&[], &["192.168.0.0/16"], &all, &[]),
        (&[], &["10.1.2.0/24", "2001:db8::/64"], &all, &["10.1.2.0/24", "2001:db8::/64"]),
        // The larger exclusion makes the smaller one needless.
        (&[], &["10.1.2.0/24", "10.1.0.0/16"], &all[1..], &[]),
        (&part, &["10.1.0.0/16", "10.2.0.0/25"], &part[1..], &["10.2.0.0/25"]),
    ];
    for (destinations, excluded, expected, without_effect) in rows {
        let case = Case::new(excluding(destinations, excluded), &[table("main", &[])], &[]);
        let plan = case.repair();
        let expected: Vec<_> = expected.iter().map(|block| format!("record main {block} pcx-ours")).collect();
        assert_eq!(short(&plan), expected, "{destinations:?} without {excluded:?}");
        let told: Vec<_> = plan.problems.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), without_effect.len(), "{told:?}");
        for block in without_effect {
            let opening = format!("spec.requester.routes.excludeCidrBlocks: {block} is only a part of");
            assert!(told.iter().any(|message| message.starts_with(&opening)), "{block}: {told:?}");
        }
        assert!(plan.blocker().is_none_or(|blocker| blocker.reason == Reason::InvalidRequest));
    }
}

#[test]
fn a_destination_that_is_excluded_later_loses_only_the_route_of_this_resource() {
    let rows: [(&[&str], &[&str], &[&str]); 3] = [
        (
            &["main 10.1.0.0/16 pcx-ours"],
            &["10.1.0.0/16 pcx-ours"],
            &["delete the route to 10.1.0.0/16 through pcx-ours in main"],
        ),
        (&[], &["10.1.0.0/16 pcx-ours"], &[]),
        (&["main 10.1.0.0/16 pcx-ours"], &["10.1.0.0/16 nat-1"], &["record nothing"]),
    ];
    for (recorded, shown, expected) in rows {
        let case = Case::new(excluding(&["10.1.0.0/16"], &["10.1.0.0/16"]), &[table("main", shown)], recorded);
        assert_eq!(short(&case.repair()), expected, "{recorded:?} {shown:?}");
    }
}

#[test]
fn an_excluded_block_of_another_account_is_not_reported() {
    let mut case = Case::new(excluding(&[], &["10.1.0.0/16", "10.2.0.0/16", "::/0"]), &[table("main", &[])], &[]);
    case.trust = Trust::default();
    let plan = case.repair();
    assert_eq!((short(&plan), plan.problems), (Vec::new(), Vec::new()));
}

#[test]
fn an_excluded_table_gets_no_route() {
    let exclusion = |ids: &[&str], named: &[(&str, &str)]| {
        Some(RouteTableExclusion { ids: super::ids(ids).ids, tags: tags(named).tags })
    };
    let tables = [table("main", &[]), table("a", &[]), table("b", &[]), table("foreign", &[])];
    type Row<'a> = (RouteTableSelector, &'a [&'a str], &'a [(&'a str, &'a str)], &'a [&'a str], usize);
    let rows: [Row<'_>; 13] = [
        (every_table(), &["a"], &[], &["b", "main"], 0),
        (every_table(), &[], &[("name", "a")], &["b", "main"], 0),
        (every_table(), &["a"], &[("name", "b")], &["main"], 0),
        (every_table(), &[], &[("name", "a"), ("tier", "private")], &["b", "main"], 0),
        (every_table(), &[], &[("name", "a"), ("tier", "public")], &["a", "b", "main"], 0),
        (every_table(), &["unknown", "foreign"], &[], &["a", "b", "main"], 0),
        // An empty exclusion excludes nothing.
        (every_table(), &[], &[], &["a", "b", "main"], 0),
        // No table is left.
        (every_table(), &[], &[("tier", "private")], &[], 1),
        (main_table(), &["main"], &[], &[], 1),
        (super::ids(&["a", "b"]), &["b"], &[], &["a"], 0),
        (super::ids(&["a", "b"]), &[], &[("name", "b")], &["a"], 0),
        (super::ids(&["a", "unknown"]), &["unknown"], &[], &["a"], 0),
        // A table of another VPC is reported, also if its tags exclude it.
        (super::ids(&["a", "foreign"]), &[], &[("name", "foreign")], &["a"], 1),
    ];
    for (selector, ids, named, expected, problems) in rows {
        let selector = RouteTableSelector { exclude: exclusion(ids, named), ..selector };
        let row = format!("{selector:?}");
        let plan = Case::new(Some(to(selector, &["10.1.0.0/16"])), &tables, &[]).repair();
        let expected: Vec<_> = expected.iter().map(|id| format!("record {id} 10.1.0.0/16 pcx-ours")).collect();
        assert_eq!((short(&plan), plan.problems.len()), (expected, problems), "{row}: {:?}", plan.problems);
    }
    let selector = RouteTableSelector { exclude: exclusion(&["main"], &[]), ..every_table() };
    let shown = [table("main", &["10.1.0.0/16 pcx-ours"])];
    let plan = Case::new(Some(to(selector, &["10.1.0.0/16"])), &shown, &["main 10.1.0.0/16 pcx-ours"]).repair();
    assert_eq!(short(&plan), ["delete the route to 10.1.0.0/16 through pcx-ours in main"]);
}

//! Fuzzing of the decision on routes: any CIDR blocks, routes, tables, records and permissions. The inputs are JSON, so
//! that the corpus can hold them.

use serde::{Deserialize, Serialize};

use proptest::prelude::*;

use super::super::{RouteChange, Target};
use super::*;
use crate::fuzzing::{self, Verdict};

/// The CIDR blocks and texts of the inputs, with those that must never get a route.
const BLOCKS: [&str; 14] = [
    "10.1.0.0/16",
    "10.1.0.0/17",
    "10.1.2.3/24",
    "10.2.0.0/16",
    "10.0.0.0/8",
    "0.0.0.0/0",
    "0.0.0.0/1",
    "::/0",
    "2001:db8::/56",
    "2001:db8::/64",
    "fd00::/8",
    "8.8.8.0/24",
    "10.0.0.0/33",
    "",
];

const TABLES: [&str; 4] = ["main", "rtb-1", "rtb-2", "foreign"];
const TARGETS: [&str; 5] = [OURS, EARLIER, "pcx-other", "nat-1", "local"];

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Input {
    /// The blocks of this end and of the other end, IPv4 and IPv6.
    own: [Vec<String>; 2],
    other: [Vec<String>; 2],
    routes: Option<Routes>,
    /// The table, the destination, the target, and whether the route is a blackhole.
    shown: Vec<(String, String, String, bool)>,
    recorded: Vec<(String, String, String)>,
    trusts_all: bool,
    trusts_destinations: bool,
    listed: Vec<String>,
    denied: Vec<String>,
    is_connected: bool,
    withdraws: bool,
}

fn blocks() -> impl Strategy<Value = Vec<String>> {
    prop::sample::subsequence(&BLOCKS[..], 0..5).prop_map(|blocks| blocks.into_iter().map(str::to_owned).collect())
}

fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(texts).prop_map(str::to_owned)
}

fn any_input() -> impl Strategy<Value = Vec<u8>> {
    let selector = prop_oneof![Just(every_table()), Just(main_table()), Just(ids(&["rtb-1", "foreign"]))];
    let routes =
        (selector, blocks(), blocks()).prop_map(|(route_tables, destination_cidr_blocks, exclude_cidr_blocks)| {
            Routes { destination_cidr_blocks, exclude_cidr_blocks, ..to(route_tables, &[]) }
        });
    let shown = prop::collection::vec((one_of(&TABLES), one_of(&BLOCKS), one_of(&TARGETS), any::<bool>()), 0..8);
    let recorded = prop::collection::vec((one_of(&TABLES), one_of(&BLOCKS), one_of(&TARGETS)), 0..8);
    let ends = ([blocks(), blocks()], [blocks(), blocks()]);
    let trust = (any::<bool>(), any::<bool>(), blocks(), blocks());
    (ends, prop::option::weighted(0.8, routes), shown, recorded, trust, any::<bool>(), any::<bool>()).prop_map(
        |((own, other), routes, shown, recorded, trust, is_connected, withdraws)| {
            let (trusts_all, trusts_destinations, listed, denied) = trust;
            let input = Input {
                own,
                other,
                routes,
                shown,
                recorded,
                trusts_all,
                trusts_destinations,
                listed,
                denied,
                is_connected,
                withdraws,
            };
            serde_json::to_vec(&input).unwrap()
        },
    )
}

impl Input {
    fn case(&self) -> Case {
        let end = |[ipv4, ipv6]: &[Vec<String>; 2]| VpcInfo {
            cidr_block: ipv4.first().map(|block| block.as_str().into()),
            cidr_block_set: ipv4.iter().map(|block| CidrBlock { cidr_block: block.as_str().into() }).collect(),
            ipv6_cidr_block_set: ipv6
                .iter()
                .map(|block| Ipv6CidrBlock { ipv6_cidr_block: block.as_str().into() })
                .collect(),
            ..VpcInfo::default()
        };
        let recorded = self.recorded.iter().map(|(table, destination, id)| ManagedRoute {
            side: Side::Requester,
            route_table_id: table.clone(),
            destination_cidr_block: Some(destination.clone()),
            destination_prefix_list_id: None,
            vpc_peering_connection_id: id.clone(),
        });
        let mut routes: BTreeMap<(&str, IpNet), Route> = BTreeMap::new();
        for (table, destination, target, is_blackhole) in &self.shown {
            let Ok(destination) = destination.parse::<IpNet>().map(|block| block.trunc()) else { continue };
            let target = if target.starts_with("pcx-") {
                Target::Peering(target.clone())
            } else {
                Target::Other(target.clone())
            };
            // EC2 has one static route for a table and a destination.
            let route = Route { destination: Destination::Cidr(destination), target, is_blackhole: *is_blackhole };
            routes.insert((table, destination), route);
        }
        let tables = TABLES.iter().map(|id| {
            let here = routes.iter().filter(|((table, _), _)| table == id).map(|(_, route)| route.clone());
            RouteTable { routes: here.collect(), ..table(id, &[]) }
        });
        Case {
            own: end(&self.own),
            other: end(&self.other),
            recorded: recorded.collect(),
            tables: tables.collect(),
            is_connected: self.is_connected,
            others: ["pcx-other".to_owned()].into(),
            trust: Trust {
                all: self.trusts_all,
                by_destination: self.trusts_destinations,
                listed: parse_all(&self.listed),
                denied: parse_all(&self.denied),
                ..Trust::default()
            },
            ..Case::new(self.routes.clone(), &[], &[])
        }
    }
}

fn decide(case: &Case, withdraws: bool) -> RoutesPlan {
    if withdraws { case.withdraw() } else { case.repair() }
}

/// Applies changes as EC2 does.
fn apply(case: &mut Case, changes: &[RouteChange]) {
    let mut tables: Vec<RouteTable> = TABLES.iter().filter_map(|id| case.tables.get(id).cloned()).collect();
    for change in changes {
        let route = change.route();
        let destination = Destination::of(route).unwrap();
        for table in tables.iter_mut().filter(|table| table.id == route.route_table_id) {
            table.routes.retain(|shown| shown.destination != destination);
            if !matches!(change, RouteChange::Delete(_)) {
                let target = Target::Peering(route.vpc_peering_connection_id.clone());
                table.routes.push(Route { destination: destination.clone(), target, is_blackhole: false });
            }
        }
    }
    case.tables = tables.into_iter().collect();
}

/// The rules of a change: the destination lies within the other end and not outside the permissions, and a route with
/// another target stays.
fn check_change(case: &Case, change: &RouteChange) -> Verdict {
    let route = change.route();
    let Some(Destination::Cidr(destination)) = Destination::of(route) else {
        return Err(format!("{change}, to something that the spec does not name"));
    };
    let blocks = cidr_blocks(&case.other);
    let is_addition = !matches!(change, RouteChange::Delete(_));
    if is_addition && !blocks.iter().any(|block| block.contains(&destination)) {
        return Err(format!("{change}, outside {blocks:?}"));
    }
    let may_be_everything = blocks.contains(&destination);
    if is_addition && destination.prefix_len() == 0 && !may_be_everything {
        return Err(format!("{change}, which takes all traffic"));
    }
    if is_addition
        && case.trust.denied.iter().any(|denied| denied.contains(&destination) || destination.contains(denied))
    {
        return Err(format!("{change}, which is denied"));
    }
    let table = case.tables.get(&route.route_table_id).filter(|table| table.vpc_id == VPC);
    let Some(table) = table else { return Err(format!("{change}, in a table of another VPC")) };
    let ours = |target: &Target| matches!(target, Target::Peering(id) if id == OURS || id == EARLIER);
    match table.routes.iter().find(|shown| shown.destination == Destination::Cidr(destination)) {
        Some(shown) if !ours(&shown.target) => Err(format!("{change}, over a route to {}", shown.target)),
        None if !matches!(change, RouteChange::Create(_)) => Err(format!("{change}, which does not exist")),
        Some(_) if matches!(change, RouteChange::Create(_)) => Err(format!("{change}, which exists")),
        _ => Ok(()),
    }
}

/// Takes the steps of a decision. After them, the decision has no further step.
fn check(input: &[u8]) -> Verdict {
    let Ok(input) = serde_json::from_slice::<Input>(input) else { return Ok(()) };
    let mut case = input.case();
    for _ in 0..6 {
        let plan = decide(&case, input.withdraws);
        _ = (plan.blocker(), plan.changed_routes());
        match plan.step {
            None => return Ok(()),
            Some(RouteStep::Record(record)) if record == case.recorded => {
                return Err("the record is replaced by itself".into());
            }
            Some(RouteStep::Record(record)) => case.recorded = record,
            Some(RouteStep::Change(changes)) => {
                changes.iter().try_for_each(|change| check_change(&case, change))?;
                apply(&mut case, &changes);
            }
        }
    }
    Err(format!("the steps do not end: {:?}", decide(&case, input.withdraws)))
}

#[test]
fn fuzz_route_decisions() {
    fuzzing::run("route-decisions", Some(any_input().boxed()), check);
}

/// Planted violations: each rule can fail.
#[test]
fn each_rule_of_a_change_can_fail() {
    let case = Case {
        trust: Trust { all: true, denied: ["10.2.0.0/16".parse().unwrap()].into(), ..Trust::default() },
        ..Case::new(
            Some(to(every_table(), &[])),
            &[RouteTable { routes: vec![route("10.1.0.0/16 nat-1")], ..table("main", &[]) }],
            &[],
        )
    };
    for (change, rule) in [
        (RouteChange::Create(managed("main 10.9.0.0/16 pcx-ours")), "outside"),
        (RouteChange::Create(managed("main 0.0.0.0/0 pcx-ours")), "outside"),
        (RouteChange::Create(managed("main 10.2.0.0/16 pcx-ours")), "which is denied"),
        (RouteChange::Replace(managed("main 10.1.0.0/16 pcx-ours")), "over a route to nat-1"),
        (RouteChange::Delete(managed("main 10.1.0.0/16 pcx-ours")), "over a route to nat-1"),
        (RouteChange::Delete(managed("main 10.8.0.0/16 pcx-ours")), "which does not exist"),
        (RouteChange::Create(managed("foreign 10.1.0.0/16 pcx-ours")), "in a table of another VPC"),
        (RouteChange::Create(managed("main everything pcx-ours")), "that the spec does not name"),
    ] {
        let verdict = check_change(&case, &change);
        assert!(verdict.as_ref().is_err_and(|error| error.contains(rule)), "{change}: {verdict:?}");
    }
    let allowed = RouteChange::Create(managed("main 10.1.0.0/17 pcx-ours"));
    assert_eq!(check_change(&case, &allowed), Ok(()));
}

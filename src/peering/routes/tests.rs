//! Tests of the route rules, as tables of single decisions. The file exceeds 400 lines because all tables use the same
//! notation of routes and records. [`interleavings`] uses it, too.

#![allow(clippy::unwrap_used)]

mod exclusions;
mod fuzz;
mod interleavings;
mod prefix_lists;
mod quotas;
mod subnets;

use std::collections::{BTreeMap, BTreeSet};

use std::sync::Arc;

use ipnet::IpNet;

use super::plan::RoutesPlan;
use super::problem::RouteProblem;
use super::*;
use crate::api::{
    CidrBlock, Ipv6CidrBlock, ManagedRoute, Reason, RequestedConnection, Requester, RouteTableSelector, Routes, Side,
    VpcInfo,
};
use crate::peering::authority::Authorized;
use crate::peering::blocker::Blocker;
use crate::peering::quota::{Quota, Quotas};
use crate::peering::settings::MAX_ROUTES;

const VPC: &str = "vpc-1";
const OURS: &str = "pcx-ours";
const EARLIER: &str = "pcx-earlier";

/// Parses `destination target`. A `!` at the end marks a blackhole.
fn route(text: &str) -> Route {
    let (text, is_blackhole) = text.strip_suffix('!').map_or((text, false), |text| (text, true));
    let (destination, target) = text.split_once(' ').unwrap();
    let target = match target.starts_with("pcx-") {
        true => Target::Peering(target.to_owned()),
        false => Target::Other(target.to_owned()),
    };
    Route { destination: destination.parse().unwrap(), target, is_blackhole }
}

/// A table of the VPC. The ID `main` makes it the main table, and `foreign` a table of another VPC. The tag `name` is
/// the ID.
fn table(id: &str, routes: &[&str]) -> RouteTable {
    RouteTable {
        id: id.to_owned(),
        vpc_id: if id == "foreign" { "vpc-2".into() } else { VPC.into() },
        main: id == "main",
        gateway_id: None,
        subnet_ids: BTreeSet::new(),
        tags: [("name".to_owned(), id.to_owned()), ("tier".to_owned(), "private".to_owned())].into(),
        routes: routes.iter().map(|text| route(text)).collect(),
    }
}

fn other() -> VpcInfo {
    let ipv4 = |block: &str| CidrBlock { cidr_block: block.into() };
    VpcInfo {
        cidr_block: Some("10.1.0.0/16".into()),
        cidr_block_set: vec![ipv4("10.1.0.0/16"), ipv4("10.2.0.5/16")],
        ipv6_cidr_block_set: vec![Ipv6CidrBlock { ipv6_cidr_block: "2001:db8::/56".into() }],
        ..VpcInfo::default()
    }
}

fn own() -> VpcInfo {
    VpcInfo {
        cidr_block: Some("10.0.0.0/16".into()),
        cidr_block_set: vec![CidrBlock { cidr_block: "10.0.0.0/16".into() }],
        ipv6_cidr_block_set: vec![Ipv6CidrBlock { ipv6_cidr_block: "2001:db8:ff00::/56".into() }],
        ..VpcInfo::default()
    }
}

fn requested() -> RequestedConnection {
    RequestedConnection {
        vpc_peering_connection_id: "pcx-2".into(),
        requester: Requester::default(),
        code: None,
        decision: crate::api::AccepterDecision::Accepted,
        message: None,
        accepted_at: None,
        adopted_at: None,
        managed_tags: Vec::new(),
        accepted_cidr_blocks: Vec::new(),
    }
}

fn managed(text: &str) -> ManagedRoute {
    let [table, destination, connection] = text.split(' ').collect::<Vec<_>>().try_into().unwrap();
    ManagedRoute {
        side: Side::Requester,
        route_table_id: table.to_owned(),
        destination_cidr_block: Some(destination.to_owned()).filter(|text| !text.starts_with("pl-")),
        destination_prefix_list_id: Some(destination.to_owned()).filter(|text| text.starts_with("pl-")),
        vpc_peering_connection_id: connection.to_owned(),
    }
}

fn record(entries: &[&str]) -> BTreeSet<ManagedRoute> {
    entries.iter().map(|text| managed(text)).collect()
}

fn to(selector: RouteTableSelector, destinations: &[&str]) -> Routes {
    let destinations = destinations.iter().map(|destination| (*destination).to_owned());
    let (destination_prefix_list_ids, destination_cidr_blocks) =
        destinations.partition(|destination| destination.starts_with("pl-"));
    Routes { route_tables: selector, destination_cidr_blocks, destination_prefix_list_ids, ..Routes::default() }
}

fn main_table() -> RouteTableSelector {
    RouteTableSelector { main: true, ..RouteTableSelector::default() }
}

fn every_table() -> RouteTableSelector {
    RouteTableSelector { all: true, ..RouteTableSelector::default() }
}

fn ids(ids: &[&str]) -> RouteTableSelector {
    RouteTableSelector { ids: ids.iter().map(|id| (*id).to_owned()).collect(), ..RouteTableSelector::default() }
}

fn tags(tags: &[(&str, &str)]) -> RouteTableSelector {
    let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    RouteTableSelector { tags, ..RouteTableSelector::default() }
}

/// The input of one decision.
struct Case {
    routes: Option<Routes>,
    tables: RouteTables,
    recorded: BTreeSet<ManagedRoute>,
    own: VpcInfo,
    other: VpcInfo,
    shares_destinations: bool,
    ours: Authorized,
    /// Whether EC2 shows our connection as active.
    is_connected: bool,
    earlier: BTreeSet<Authorized>,
    remembered: BTreeSet<Authorized>,
    others: BTreeSet<String>,
    siblings: BTreeMap<String, RequestedConnection>,
    sibling_blocks: Vec<BTreeSet<IpNet>>,
    trust: Trust,
    answers: RouteAnswers,
    quota: Quota,
    subnets: Option<Result<Arc<Subnets>, Blocker>>,
    lists: Option<NamedPrefixLists>,
}

impl Case {
    fn new(routes: Option<Routes>, tables: &[RouteTable], recorded: &[&str]) -> Self {
        let tables = tables.iter().cloned().collect();
        Self {
            routes,
            tables,
            recorded: record(recorded),
            own: own(),
            other: other(),
            shares_destinations: false,
            ours: Authorized::unchecked(OURS),
            is_connected: true,
            earlier: BTreeSet::from([Authorized::unchecked(EARLIER)]),
            remembered: BTreeSet::new(),
            others: BTreeSet::new(),
            siblings: BTreeMap::new(),
            sibling_blocks: Vec::new(),
            trust: Trust::all(),
            answers: RouteAnswers { is_settled: true, ..RouteAnswers::default() },
            quota: Quotas::default().routes_per_table,
            subnets: None,
            lists: None,
        }
    }

    fn routing(&self) -> Routing<'_> {
        Routing {
            side: Side::Requester,
            vpc_id: VPC,
            routes: self.routes.as_ref(),
            field: "spec.requester.routes",
            connection: Some(&self.ours).filter(|_| self.is_connected),
            earlier: &self.earlier,
            remembered: &self.remembered,
            others: &self.others,
            siblings: &self.siblings,
            sibling_blocks: &self.sibling_blocks,
            own: &self.own,
            other: &self.other,
            shares_destinations: self.shares_destinations,
            trust: &self.trust,
            tables: &self.tables,
            subnets: self.subnets.as_ref(),
            lists: self.lists.as_ref(),
            recorded: &self.recorded,
            answers: &self.answers,
            quota: self.quota,
            limit: MAX_ROUTES,
        }
    }

    fn repair(&self) -> RoutesPlan {
        repair(self.routing())
    }

    fn withdraw(&self) -> RoutesPlan {
        withdraw(self.routing(), true)
    }
}

/// A step in short notation.
fn short(plan: &RoutesPlan) -> Vec<String> {
    match &plan.step {
        None if plan.awaits_ec2 => vec!["wait".into()],
        None => Vec::new(),
        Some(RouteStep::Change(changes)) => changes.iter().map(ToString::to_string).collect(),
        Some(RouteStep::Record(record)) => {
            let text = |route: &ManagedRoute| {
                let (table, destination) = (&route.route_table_id, route.destination());
                format!("record {table} {destination} {}", route.vpc_peering_connection_id)
            };
            let mut texts: Vec<_> = record.iter().map(text).collect();
            texts.sort_unstable();
            texts.into_iter().chain(record.is_empty().then(|| "record nothing".to_owned())).collect()
        }
    }
}

/// One destination in the main table: the record, the routes in EC2, and the step if the spec asks for the route, if it
/// no longer does, and before the peering is deleted.
type Row = [&'static [&'static str]; 5];

/// EC2 shows no route, or one through our connection.
const THROUGH_OURS: &[Row] = &[
    // No record and no route.
    [&[], &[], &["record main 10.1.0.0/16 pcx-ours"], &[], &[]],
    [
        &["main 10.1.0.0/16 pcx-ours"],
        &[],
        &["create the route to 10.1.0.0/16 through pcx-ours in main"],
        &["record nothing"],
        &["record nothing"],
    ],
    // Recorded and present.
    [
        &["main 10.1.0.0/16 pcx-ours"],
        &["10.1.0.0/16 pcx-ours"],
        &[],
        &["delete the route to 10.1.0.0/16 through pcx-ours in main"],
        &["delete the route to 10.1.0.0/16 through pcx-ours in main"],
    ],
    // Only the spec names the route: the record was lost, or somebody created the route by hand.
    [
        &[],
        &["10.1.0.0/16 pcx-ours"],
        &["record main 10.1.0.0/16 pcx-ours"],
        &[],
        &["delete the route to 10.1.0.0/16 through pcx-ours in main"],
    ],
    // A blackhole through our connection.
    [
        &["main 10.1.0.0/16 pcx-ours"],
        &["10.1.0.0/16 pcx-ours!"],
        &["replace the route to 10.1.0.0/16 through pcx-ours in main"],
        &["delete the route to 10.1.0.0/16 through pcx-ours in main"],
        &["delete the route to 10.1.0.0/16 through pcx-ours in main"],
    ],
];

/// EC2 shows a route through the connection that ours replaces, or showed one before the replacement.
const THROUGH_EARLIER: &[Row] = &[
    // Both connections are recorded, then the target is replaced.
    [
        &["main 10.1.0.0/16 pcx-earlier"],
        &["10.1.0.0/16 pcx-earlier!"],
        &["record main 10.1.0.0/16 pcx-earlier", "record main 10.1.0.0/16 pcx-ours"],
        &["delete the route to 10.1.0.0/16 through pcx-earlier in main"],
        &["delete the route to 10.1.0.0/16 through pcx-earlier in main"],
    ],
    [
        &["main 10.1.0.0/16 pcx-earlier", "main 10.1.0.0/16 pcx-ours"],
        &["10.1.0.0/16 pcx-earlier!"],
        &["replace the route to 10.1.0.0/16 through pcx-ours in main"],
        &["delete the route to 10.1.0.0/16 through pcx-earlier in main"],
        &["delete the route to 10.1.0.0/16 through pcx-earlier in main"],
    ],
    [
        &["main 10.1.0.0/16 pcx-earlier", "main 10.1.0.0/16 pcx-ours"],
        &["10.1.0.0/16 pcx-ours"],
        &["record main 10.1.0.0/16 pcx-ours"],
        &["delete the route to 10.1.0.0/16 through pcx-ours in main"],
        &["delete the route to 10.1.0.0/16 through pcx-ours in main"],
    ],
    [
        &["main 10.1.0.0/16 pcx-earlier"],
        &["10.1.0.0/16 pcx-ours"],
        &["record main 10.1.0.0/16 pcx-ours"],
        &["delete the route to 10.1.0.0/16 through pcx-ours in main"],
        &["delete the route to 10.1.0.0/16 through pcx-ours in main"],
    ],
    // The record does not name the earlier connection for this entry, so the route is not ours.
    [&[], &["10.1.0.0/16 pcx-earlier!"], &[], &[], &[]],
    [
        &["main 10.1.0.0/16 pcx-ours"],
        &["10.1.0.0/16 pcx-earlier!"],
        &["record nothing"],
        &["record nothing"],
        &["record nothing"],
    ],
];

/// EC2 shows a route that somebody else created.
const OF_OTHERS: &[Row] = &[
    [&[], &["10.1.0.0/16 nat-1"], &[], &[], &[]],
    [
        &["main 10.1.0.0/16 pcx-ours"],
        &["10.1.0.0/16 nat-1"],
        &["record nothing"],
        &["record nothing"],
        &["record nothing"],
    ],
    // Another route beside ours changes nothing.
    [
        &["main 10.1.0.0/16 pcx-ours"],
        &["10.1.0.0/16 vgw-1", "10.1.0.0/16 pcx-ours"],
        &[],
        &["delete the route to 10.1.0.0/16 through pcx-ours in main"],
        &["delete the route to 10.1.0.0/16 through pcx-ours in main"],
    ],
];

#[test]
fn every_state_of_a_route_has_its_next_step() {
    for [recorded, shown, wanted, unwanted, withdrawn] in [THROUGH_OURS, THROUGH_EARLIER, OF_OTHERS].concat() {
        let row = format!("{recorded:?} {shown:?}");
        let tables = [table("main", shown)];
        let spec = Some(to(main_table(), &["10.1.0.0/16"]));
        let with = Case::new(spec, &tables, recorded);
        assert_eq!(short(&with.repair()), wanted, "wanted: {row}");
        assert_eq!(short(&Case::new(None, &tables, recorded).repair()), unwanted, "unwanted: {row}");
        assert_eq!(short(&with.withdraw()), withdrawn, "withdrawn: {row}");
    }
}

#[test]
fn a_route_with_another_target_is_a_conflict_and_blocks_no_other_route() {
    let rows = [
        ("10.1.0.0/16 nat-1", Some("main already has a route to 10.1.0.0/16 through nat-1,")),
        ("10.1.0.0/16 vgw-1", Some("main already has a route to 10.1.0.0/16 through vgw-1,")),
        ("10.1.0.0/16 pcx-other!", Some("main already has a route to 10.1.0.0/16 through pcx-other (a blackhole),")),
        ("2001:db8::/56 eni-1", Some("main already has a route to 2001:db8::/56 through eni-1,")),
        // Another destination is no conflict.
        ("10.1.0.0/17 nat-1", None),
        ("10.0.0.0/8 tgw-1", None),
        ("0.0.0.0/0 igw-1", None),
        ("10.0.0.0/16 local", None),
    ];
    for (there, conflict) in rows {
        let plan =
            Case::new(Some(to(every_table(), &[])), &[table("main", &[there]), table("rtb-1", &[])], &[]).repair();
        let expected: Vec<String> = ["main", "rtb-1"]
            .iter()
            .flat_map(|id| ["10.1.0.0/16", "10.2.0.0/16", "2001:db8::/56"].map(|block| (*id, block)))
            .filter(|(id, block)| *id != "main" || conflict.is_none() || !there.starts_with(block))
            .map(|(id, block)| format!("record {id} {block} pcx-ours"))
            .collect();
        assert_eq!(short(&plan), expected, "{there}");
        let blocker = plan.blocker();
        assert_eq!(blocker.is_some(), conflict.is_some(), "{there}: {blocker:?}");
        if let Some(conflict) = conflict {
            assert!(blocker.as_ref().unwrap().message.starts_with(conflict), "{there}: {blocker:?}");
        }
    }
}

#[test]
fn a_selector_matches_by_all_main_ids_or_tags() {
    let tables = [table("main", &[]), table("rtb-1", &[]), table("rtb-2", &[]), table("foreign", &[])];
    let rows: &[(RouteTableSelector, &[&str], Option<&str>)] = &[
        (every_table(), &["main", "rtb-1", "rtb-2"], None),
        (main_table(), &["main"], None),
        (ids(&["rtb-1", "main"]), &["main", "rtb-1"], None),
        (tags(&[("tier", "private")]), &["main", "rtb-1", "rtb-2"], None),
        (tags(&[("tier", "private"), ("name", "rtb-2")]), &["rtb-2"], None),
        (
            tags(&[("tier", "public")]),
            &[],
            Some("spec.requester.routes.routeTables.tags: EC2 shows no matching route table of vpc-1"),
        ),
        (tags(&[("tier", "private"), ("name", "rtb-9")]), &[], Some("spec.requester.routes.routeTables.tags: ")),
        (ids(&["rtb-1", "rtb-9"]), &["rtb-1"], Some("spec.requester.routes.routeTables.ids: EC2 shows no rtb-9")),
        (
            ids(&["rtb-1", "foreign"]),
            &["rtb-1"],
            Some("spec.requester.routes.routeTables.ids: foreign is a route table of vpc-2, not of vpc-1"),
        ),
    ];
    for (selector, selected, problem) in rows {
        let plan = Case::new(Some(to(selector.clone(), &["10.1.0.0/16"])), &tables, &[]).repair();
        let expected: Vec<String> = selected.iter().map(|id| format!("record {id} 10.1.0.0/16 pcx-ours")).collect();
        assert_eq!(short(&plan), expected, "{selector:?}");
        assert_eq!(plan.problems.len(), usize::from(problem.is_some()), "{selector:?}: {:?}", plan.problems);
        let message = plan.blocker().map(|blocker| blocker.message).unwrap_or_default();
        assert!(message.starts_with(problem.unwrap_or_default()), "{selector:?}: {message}");
    }
    for (selector, there, field) in [(main_table(), "rtb-1", "main"), (every_table(), "foreign", "all")] {
        let none = Case::new(Some(to(selector, &[])), &[table(there, &[])], &[]).repair();
        let opening = format!("spec.requester.routes.routeTables.{field}: ");
        assert!(none.blocker().unwrap().message.starts_with(&opening), "{none:?}");
    }
}

#[test]
fn a_gateway_route_table_gets_no_route_and_is_reported_if_an_id_names_it() {
    let of_gateway = RouteTable { gateway_id: Some("igw-1".into()), ..table("rtb-1", &[]) };
    let tables = [table("main", &[]), of_gateway.clone()];
    let named = "spec.requester.routes.routeTables.ids: rtb-1 is the route table of the gateway igw-1,";
    for (selector, problem) in
        [(every_table(), None), (tags(&[("tier", "private")]), None), (ids(&["main", "rtb-1"]), Some(named))]
    {
        let plan = Case::new(Some(to(selector.clone(), &["10.1.0.0/16"])), &tables, &[]).repair();
        assert_eq!(short(&plan), ["record main 10.1.0.0/16 pcx-ours"], "{selector:?}");
        let message = plan.blocker().map(|blocker| blocker.message);
        assert_eq!(message.is_some(), problem.is_some(), "{selector:?}: {message:?}");
        assert!(message.unwrap_or_default().starts_with(problem.unwrap_or_default()), "{selector:?}");
    }
    let elsewhere = RouteTable { vpc_id: "vpc-2".into(), ..of_gateway.clone() };
    let plan = Case::new(Some(to(ids(&["rtb-1"]), &[])), &[elsewhere], &[]).repair();
    assert!(plan.blocker().unwrap().message.contains("rtb-1 is a route table of vpc-2"), "{plan:?}");
    let only = Case::new(Some(to(every_table(), &[])), &[of_gateway], &[]).repair();
    assert_eq!(only.blocker().map(|blocker| blocker.reason), Some(Reason::RouteTableNotFound));
}

#[test]
fn destinations_lie_within_the_blocks_of_the_other_end() {
    let rows: &[(&[&str], &[&str], &[&str])] = &[
        (&[], &["10.1.0.0/16", "10.2.0.0/16", "2001:db8::/56"], &[]),
        (&["10.1.9.9/24"], &["10.1.9.0/24"], &[]),
        (&["10.1.0.0/17", "2001:DB8::/64"], &["10.1.0.0/17", "2001:db8::/64"], &[]),
        // A destination wider than the other end would take other traffic.
        (
            &["0.0.0.0/1", "10.0.0.0/8", "10.0.0.0/15", "10.1.0.0/16"],
            &["10.1.0.0/16"],
            &["0.0.0.0/1", "10.0.0.0/8", "10.0.0.0/15"],
        ),
        (&["10.1.0.0/16", "10.1.0.7/16"], &["10.1.0.0/16"], &[]),
        (&["10.1.0.0/16", "10.3.0.0/16"], &["10.1.0.0/16"], &["10.3.0.0/16"]),
        (&["unreadable"], &[], &["unreadable"]),
    ];
    for (wanted, expected, outside) in rows {
        let plan = Case::new(Some(to(main_table(), wanted)), &[table("main", &[])], &[]).repair();
        let expected: Vec<String> = expected.iter().map(|block| format!("record main {block} pcx-ours")).collect();
        assert_eq!(short(&plan), expected, "{wanted:?}");
        let problems: Vec<_> = outside
            .iter()
            .map(|block| RouteProblem::OutsideOtherEnd {
                field: "spec.requester.routes.destinationCidrBlocks".into(),
                destination: (*block).to_owned(),
                blocks: cidr_blocks(&other()).into_iter().collect(),
            })
            .collect();
        assert_eq!(plan.problems, problems, "{wanted:?}");
    }
}

fn blocks(blocks: &[&str]) -> BTreeSet<IpNet> {
    blocks.iter().map(|block| block.parse().unwrap()).collect()
}

#[test]
fn a_block_of_another_account_gets_a_route_only_if_it_is_allowed() {
    let ipv4 = |block: &&str| CidrBlock { cidr_block: (*block).into() };
    let shown = ["10.1.0.0/16", "10.200.0.0/16", "100.64.0.0/16", "203.0.113.0/24", "172.16.0.0/11"];
    let ipv6 = ["2001:db8::/56", "fd00::/48", "2001:db8:ffff::/56"];
    let other = VpcInfo {
        cidr_block_set: shown.iter().map(ipv4).collect(),
        ipv6_cidr_block_set: ipv6.iter().map(|block| Ipv6CidrBlock { ipv6_cidr_block: (*block).into() }).collect(),
        ..VpcInfo::default()
    };
    let routed = |trust: Trust, destinations: &[&str]| -> (Vec<String>, Vec<String>) {
        let mut case = Case::new(Some(to(main_table(), destinations)), &[table("main", &[])], &[]);
        (case.other, case.trust) = (other.clone(), trust);
        let plan = case.repair();
        let of = |text: &String| text.split(' ').nth(2).unwrap_or_default().to_owned();
        let unexpected = plan.problems.iter().filter_map(|problem| match problem {
            RouteProblem::UnexpectedCidrBlock { block, tables, .. } if tables == &["main"] => Some(block.to_string()),
            _ => None,
        });
        let unexpected: Vec<_> = unexpected.collect();
        let reason = plan.blocker().map(|blocker| blocker.reason);
        assert_eq!(reason == Some(Reason::UnexpectedCidrBlock), !unexpected.is_empty());
        (short(&plan).iter().map(of).collect(), unexpected)
    };
    // Among the recorded blocks, only private ones (RFC 1918, RFC 6598) and IPv6 ones get routes.
    let first = ["10.1.0.0/16", "100.64.0.0/16", "203.0.113.0/24", "172.16.0.0/11", "2001:db8::/56", "fd00::/48"];
    let recorded = Trust { recorded: blocks(&first), by_destination: true, ..Trust::default() };
    let (made, unexpected) = routed(recorded.clone(), &[]);
    assert_eq!(made, ["10.1.0.0/16", "100.64.0.0/16", "2001:db8::/56", "fd00::/48"]);
    assert_eq!(unexpected, ["10.200.0.0/16", "172.0.0.0/11", "203.0.113.0/24", "2001:db8:ffff::/56"]);
    // A destination in the spec permits its route.
    let (made, unexpected) = routed(recorded.clone(), &["203.0.113.0/25", "10.200.0.0/16"]);
    assert_eq!((made.len(), unexpected.len()), (2, 0));
    // An allow list permits the blocks within it. A destination of the spec outside the list gets no route.
    let listed = Trust { listed: blocks(&["10.0.0.0/12", "203.0.113.0/25"]), ..Trust::default() };
    assert_eq!(routed(listed.clone(), &[]).0, ["10.1.0.0/16"]);
    assert_eq!(
        routed(listed, &["203.0.113.0/24", "10.1.2.0/24"]),
        (vec!["10.1.2.0/24".into()], vec!["203.0.113.0/24".into()])
    );
    // A deny list overrides every permission.
    let denied = Trust { denied: blocks(&["10.1.2.0/24"]), ..recorded };
    assert!(!routed(denied.clone(), &[]).0.contains(&"10.1.0.0/16".to_owned()));
    assert_eq!(routed(denied, &["10.1.0.0/16"]).0, [""; 0]);
    assert_eq!(routed(Trust::all(), &[]).1, [""; 0]);
    assert_eq!(routed(Trust::default(), &[]).0, [""; 0]);
}

#[test]
fn a_recorded_route_is_ours_only_if_ec2_proves_that_its_connection_is() {
    let recorded = ["main 10.1.0.0/16 pcx-other"];
    let tables = [table("main", &["10.1.0.0/16 pcx-other!"])];
    // EC2 does not show the connection: no step, the record stays, and the blocker names the route.
    for routes in [None, Some(to(main_table(), &["10.1.0.0/16"]))] {
        let case = Case::new(routes, &tables, &recorded);
        for plan in [case.repair(), case.withdraw()] {
            assert_eq!((plan.step.clone(), plan.problems.len()), (None, 1), "{plan:?}");
            let message = plan.blocker().unwrap().message;
            let parts = ["main", "10.1.0.0/16", "pcx-other", "by hand"];
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
        assert_eq!(withdraw(case.routing(), false).step, None);
    }
    // EC2 shows that the connection belongs to somebody else: the record is false and is removed.
    let mut case = Case::new(None, &tables, &recorded);
    case.others = BTreeSet::from(["pcx-other".to_owned()]);
    assert_eq!(short(&case.repair()), ["record nothing"]);
    case.routes = Some(to(main_table(), &["10.1.0.0/16"]));
    assert_eq!(case.repair().conflicts.len(), 1);
    // EC2 proves that the connection is ours.
    case.others.clear();
    case.earlier.insert(Authorized::unchecked("pcx-other"));
    case.routes = None;
    assert_eq!(short(&case.repair()), ["delete the route to 10.1.0.0/16 through pcx-other in main"]);
}

#[test]
fn recorded_routes_that_the_spec_no_longer_asks_for_are_removed() {
    let recorded = ["main 10.1.0.0/16 pcx-ours", "main 10.9.0.0/16 pcx-ours", "rtb-1 10.1.0.0/16 pcx-ours"];
    let tables = [
        table("main", &["10.1.0.0/16 pcx-ours", "10.9.0.0/16 pcx-ours", "10.7.0.0/16 pcx-ours"]),
        table("rtb-1", &["10.1.0.0/16 pcx-ours"]),
    ];
    // The selector has changed, and the other end has lost a CIDR block. A route that is not recorded stays.
    let mut case = Case::new(Some(to(main_table(), &["10.1.0.0/16"])), &tables, &recorded);
    let expected = [
        "delete the route to 10.9.0.0/16 through pcx-ours in main",
        "delete the route to 10.1.0.0/16 through pcx-ours in rtb-1",
    ];
    assert_eq!(short(&case.repair()), expected);
    // EC2 does not show the blocks of the other end: nothing changes.
    case.routes = Some(to(main_table(), &[]));
    case.other = VpcInfo::default();
    let plan = case.repair();
    assert_eq!((plan.step, plan.problems), (None, vec![RouteProblem::NoCidrBlocks]));
    // The recorded routes are still removed with the peering.
    assert_eq!(short(&case.withdraw()).len(), 3);
    // The routes of a deleted table are gone.
    case.tables = [table("main", &[])].into_iter().collect();
    assert_eq!(short(&case.withdraw()), ["record nothing"]);
}

#[test]
fn a_missing_route_stays_in_the_record_during_the_consistency_window() {
    let recorded = ["main 10.1.0.0/16 pcx-ours"];
    let mut case = Case::new(None, &[table("main", &[])], &recorded);
    case.answers.is_settled = false;
    for plan in [case.repair(), case.withdraw()] {
        assert_eq!(short(&plan), ["wait"]);
    }
    // Other changes do not wait.
    case.routes = Some(to(main_table(), &["10.1.0.0/16"]));
    assert_eq!(short(&case.repair()), ["create the route to 10.1.0.0/16 through pcx-ours in main"]);
}

#[test]
fn a_route_that_ec2_confirmed_as_deleted_leaves_the_record_at_once() {
    let recorded = ["main 10.1.0.0/16 pcx-ours", "main 10.2.0.0/16 pcx-ours"];
    let mut case = Case::new(None, &[table("main", &[])], &recorded);
    case.answers.is_settled = false;
    let [first, second] = recorded.map(managed);
    case.answers.deleted.answered(&RouteChange::Delete(first.clone()), true);
    case.answers.deleted.answered(&RouteChange::Delete(second.clone()), false);
    assert_eq!(short(&case.repair()), ["record main 10.2.0.0/16 pcx-ours"], "the second deletion was refused");
    case.answers.deleted.answered(&RouteChange::Delete(second.clone()), true);
    let gone = withdraw(case.routing(), false);
    assert_eq!((gone.step, gone.awaits_ec2), (None, false));
    // The same place at the other end is another route.
    let mut other_end = case.answers.deleted.clone();
    other_end.retain(&[ManagedRoute { side: Side::Accepter, ..first.clone() }].into());
    assert_eq!(other_end, DeletedRoutes::default());
    // A call that may have created the route again ends the proof, also without an answer.
    case.answers.deleted.answered(&RouteChange::Create(second), false);
    assert_eq!(short(&case.repair()), ["record main 10.2.0.0/16 pcx-ours"]);
    case.recorded.remove(&first);
    assert_eq!(short(&case.repair()), ["wait"]);
}

#[test]
fn a_remembered_connection_proves_only_a_blackhole() {
    let recorded = ["main 10.1.0.0/16 pcx-gone"];
    let mut case = Case::new(None, &[table("main", &["10.1.0.0/16 pcx-gone!"])], &recorded);
    case.remembered.insert(Authorized::unchecked("pcx-gone"));
    assert_eq!(short(&case.withdraw()), ["delete the route to 10.1.0.0/16 through pcx-gone in main"]);
    // The route is active, so the connection exists, although EC2 does not show it.
    case.tables = [table("main", &["10.1.0.0/16 pcx-gone"])].into_iter().collect();
    let plan = case.withdraw();
    assert_eq!((plan.step, plan.problems.len()), (None, 1));
    // The record does not name the entry.
    case.recorded = record(&["main 10.2.0.0/16 pcx-gone"]);
    assert_eq!(short(&case.withdraw()), ["record nothing"]);
}

#[test]
fn a_vpc_without_ipv6_gets_only_ipv4_routes() {
    let ipv4 = ["record main 10.1.0.0/16 pcx-ours", "record main 10.2.0.0/16 pcx-ours"];
    let mut case = Case::new(Some(to(main_table(), &[])), &[table("main", &[])], &[]);
    case.own.ipv6_cidr_block_set.clear();
    let plan = case.repair();
    assert_eq!((short(&plan), plan.problems.len()), (ipv4.map(str::to_owned).to_vec(), 0));
    // A destination that the user names is reported.
    case.routes = Some(to(main_table(), &["10.1.0.0/16", "2001:db8::/64"]));
    let plan = case.repair();
    assert_eq!(short(&plan), &ipv4[..1]);
    let blocker = plan.blocker().unwrap();
    let parts = ["spec.requester.routes.destinationCidrBlocks", "2001:db8::/64", VPC, "no IPv6 CIDR block"];
    assert!(parts.iter().all(|part| blocker.message.contains(part)), "{blocker:?}");
    assert_eq!(blocker.reason, Reason::InvalidRequest);
    // EC2 does not show the blocks of this end: nothing changes.
    case.own = VpcInfo::default();
    assert_eq!(case.repair().problems, [RouteProblem::NoCidrBlocks]);
}

#[test]
fn a_route_through_another_connection_of_the_resource_is_reported_as_such() {
    let mut case = Case::new(Some(to(main_table(), &["10.1.0.0/16"])), &[table("main", &["10.1.0.0/16 pcx-2"])], &[]);
    let requester = Requester { vpc_id: Some("vpc-7".into()), ..Requester::default() };
    let accepted_at = Some(crate::peering::conditions::to_the_second(k8s_openapi::jiff::Timestamp::UNIX_EPOCH));
    let sibling = RequestedConnection { requester, accepted_at, ..requested() };
    let not_accepted = RequestedConnection { accepted_at: None, ..sibling.clone() };
    for (sibling, expected) in [(sibling, "another connection of this resource"), (not_accepted, "did not create")] {
        case.siblings = [("pcx-2".to_owned(), sibling)].into();
        let plan = case.repair();
        assert_eq!((plan.step.clone(), plan.conflicts.len()), (None, 1));
        let blocker = plan.blocker().unwrap();
        assert!(blocker.message.contains(expected) && blocker.message.contains("pcx-2"), "{blocker:?}");
        assert_eq!(blocker.reason, Reason::RouteConflict);
    }
}

#[test]
fn connections_that_share_destinations_take_their_own() {
    let mut case = Case::new(Some(to(main_table(), &["10.1.0.0/16", "10.3.0.0/16"])), &[table("main", &[])], &[]);
    case.shares_destinations = true;
    let plan = case.repair();
    assert_eq!((short(&plan), plan.problems.len()), (vec!["record main 10.1.0.0/16 pcx-ours".to_owned()], 0));
}

#[test]
fn the_records_of_the_other_end_stay() {
    let theirs = ManagedRoute { side: Side::Accepter, ..managed("main 10.1.0.0/16 pcx-ours") };
    let mut case = Case::new(Some(to(main_table(), &["10.1.0.0/16"])), &[table("main", &[])], &[]);
    case.recorded.insert(theirs.clone());
    let both = BTreeSet::from([theirs.clone(), managed("main 10.1.0.0/16 pcx-ours")]);
    assert_eq!(case.repair().step, Some(RouteStep::Record(both)));
    case.tables = [table("main", &["10.1.0.0/16 pcx-ours"])].into_iter().collect();
    case.routes = None;
    assert_eq!(case.repair().step, None, "a record of the other end proves nothing at this end");
    case.recorded.insert(ManagedRoute { side: Side::Accepter, ..managed("main 10.1.0.0/16 pcx-earlier") });
    case.tables = [table("main", &["10.1.0.0/16 pcx-earlier"])].into_iter().collect();
    case.routes = Some(to(main_table(), &["10.1.0.0/16"]));
    let plan = case.repair();
    assert_eq!(
        (plan.step, plan.conflicts.len()),
        (None, 1),
        "a record of the other end through an earlier connection proves nothing at this end"
    );
    case.recorded = [theirs.clone(), managed("gone 10.1.0.0/16 pcx-ours")].into();
    assert_eq!(case.withdraw().step, Some(RouteStep::Record([theirs].into())));
}

#[test]
fn the_number_of_routes_is_limited() {
    let tables: Vec<_> = (0..MAX_ROUTES).map(|number| table(&format!("rtb-{number:04}"), &[])).collect();
    // The last table keeps its recorded route.
    let case = Case::new(Some(to(every_table(), &[])), &tables, &["rtb-0999 10.1.0.0/16 pcx-ours"]);
    let plan = case.repair();
    let Some(RouteStep::Record(record)) = &plan.step else { panic!("{plan:?}") };
    assert_eq!(record.len(), MAX_ROUTES);
    assert!(record.contains(&managed("rtb-0999 10.1.0.0/16 pcx-ours")));
    assert!(!record.contains(&managed("rtb-0999 10.2.0.0/16 pcx-ours")));
    let field = "spec.requester.routes".to_owned();
    assert_eq!(plan.problems, [RouteProblem::TooManyRoutes { field, wanted: 3 * MAX_ROUTES, limit: MAX_ROUTES }]);
}

#[test]
fn a_long_list_of_conflicts_is_truncated() {
    let tables: Vec<_> = (0..9).map(|number| table(&format!("rtb-{number}"), &["10.1.0.0/16 nat-1"])).collect();
    let plan = Case::new(Some(to(every_table(), &["10.1.0.0/16"])), &tables, &[]).repair();
    let message = plan.blocker().unwrap().message;
    assert_eq!(message.matches("rtb-").count(), 5, "{message}");
    assert!(message.ends_with("; and 4 more"), "{message}");
}

#[test]
fn the_changes_since_a_snapshot_are_the_vpcs_whose_tables_differ() {
    let of = |tables: &[RouteTable]| -> RouteTables { tables.iter().cloned().collect() };
    let one = table("main", &["10.1.0.0/16 pcx-ours"]);
    let all = of(&[one.clone(), table("foreign", &[])]);
    assert_eq!(all.all().len(), 2);
    assert_eq!(all.of_vpc(VPC).collect::<Vec<_>>(), [&one]);
    assert_eq!(all.get("foreign").map(|table| table.vpc_id.as_str()), Some("vpc-2"));
    let tagged = RouteTable { tags: BTreeMap::new(), ..one.clone() };
    let moved = RouteTable { vpc_id: "vpc-3".into(), ..one.clone() };
    let rows: &[(&[RouteTable], &[&str])] = &[
        (&[one.clone(), table("foreign", &[])], &[]),
        (std::slice::from_ref(&one), &["vpc-2"]),
        (&[one.clone(), table("foreign", &[]), table("rtb-1", &[])], &[VPC]),
        (&[table("main", &["10.1.0.0/16 pcx-ours!"]), table("foreign", &[])], &[VPC]),
        (&[tagged, table("foreign", &["10.1.0.0/16 nat-1"])], &[VPC, "vpc-2"]),
        (&[moved, table("foreign", &[])], &[VPC, "vpc-3"]),
    ];
    for (now, changed) in rows {
        let changed: BTreeSet<String> = changed.iter().map(|id| (*id).to_owned()).collect();
        assert_eq!(of(now).changes_since(&all), changed, "{now:?}");
    }
}

#[test]
fn an_unchanged_route_table_is_shared_with_the_earlier_snapshot() {
    let earlier: RouteTables = [table("rtb-1", &[]), table("rtb-2", &[])].into_iter().collect();
    let later = [table("rtb-1", &[]), table("rtb-2", &["10.1.0.0/16 nat-1"]), table("rtb-3", &[])];
    let shared = later.clone().map(|table| earlier.share(table));
    let is_shared = |now: &Arc<RouteTable>| earlier.all().any(|then| Arc::ptr_eq(then, now));
    assert_eq!(shared.each_ref().map(is_shared), [true, false, false]);
    assert_eq!(shared.map(|table| RouteTable::clone(&table)), later);
}

//! `status.deletion`: the same effects as those that the deletion plans.

use super::*;
use crate::api::{DeletionSummary, ManagedRoute, RouteTableSelector, Routes};
use crate::peering::routes::{Route, RouteTable, Target};
use crate::peering::security_groups::SecurityGroupReferences;
use crate::peering::vpc_peering::deletion_summary::summary;

/// An active peering with a route at each end through it, which the record names.
fn with_routes(mut case: Case) -> Case {
    let ends = [(Side::Requester, "vpc-11111111", "10.2.0.0/16"), (Side::Accepter, "vpc-22222222", "10.1.0.0/16")];
    for (side, vpc_id, destination) in ends {
        let table = RouteTable {
            id: format!("rtb-{side}"),
            vpc_id: vpc_id.into(),
            routes: vec![Route {
                destination: destination.parse().unwrap(),
                target: Target::Peering("pcx-1".into()),
                is_blackhole: false,
            }],
            ..RouteTable::default()
        };
        case.observed.tables.insert(side, Ok(Arc::new([table].into_iter().collect())));
        case.recorded.routes.insert(ManagedRoute {
            side,
            route_table_id: format!("rtb-{side}"),
            destination_cidr_block: Some(destination.into()),
            destination_prefix_list_id: None,
            vpc_peering_connection_id: "pcx-1".into(),
        });
    }
    case
}

fn deletion(case: &Case) -> Option<DeletionSummary> {
    case.decision().status.deletion
}

/// The steps of the deletion in short notation, each taken at once.
fn steps(case: &Case) -> Vec<String> {
    let mut case = case.clone().deleted();
    let mut steps = Vec::new();
    while let Plan::Act(step) = case.decide() {
        steps.push(summarize(&Plan::Act(step.clone())));
        match step {
            Step::Upkeep { side, step: UpkeepStep::ChangeRoutes { .. } } => {
                case.observed.tables.insert(side, Ok(Arc::new(RouteTables::default())));
                case.recorded.routes.retain(|route| route.side != side);
            }
            Step::Upkeep { step: UpkeepStep::Untag { .. }, .. } => {
                case.observed.owned.clear();
                Arc::make_mut(case.observed.recorded.as_mut().unwrap()).tags.clear();
            }
            Step::Delete { .. } => {
                case.observed.owned.clear();
                Arc::make_mut(case.observed.recorded.as_mut().unwrap()).code = StatusCode::Deleted;
            }
            other => panic!("{other:?}"),
        }
    }
    steps
}

#[test]
fn the_summary_names_what_the_deletion_removes_and_what_stays() {
    let summary = |removes: &[&str], stays: &[&str]| {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Some(DeletionSummary { removes: texts(removes), stays: texts(stays) })
    };
    let of_requester = "1 route at the requester's end: 10.2.0.0/16 in rtb-requester";
    let of_accepter = "1 route at the accepter's end: 10.1.0.0/16 in rtb-accepter";
    let mut case = with_routes(Case::with(StatusCode::Active));
    let route_tables = RouteTableSelector { all: true, ..RouteTableSelector::default() };
    let routes = Some(Box::new(Routes { route_tables, ..Routes::default() }));
    (case.spec.requester.routes, case.spec.accepter.routes) = (routes.clone(), routes);
    let whole = "1 peering connection: pcx-1 (with its options and tags)";
    assert_eq!(deletion(&case), summary(&[whole, of_requester, of_accepter], &[]));
    assert_eq!(
        steps(&case),
        [
            "requester: delete the route to 10.2.0.0/16 through pcx-1 in rtb-requester",
            "accepter: delete the route to 10.1.0.0/16 through pcx-1 in rtb-accepter",
            "delete pcx-1"
        ]
    );

    case.spec.deletion_policy = Some(DeletionPolicy::Retain);
    let stays = ["1 peering connection: pcx-1 (with its options and other tags)", of_requester, of_accepter];
    assert_eq!(deletion(&case), summary(&["tags vpcpeering.dev/* of pcx-1 at the requester's end"], &stays));
    assert_eq!(steps(&case), ["untag pcx-1 cluster name namespace uid"]);

    case.spec.management_policy = ManagementPolicy::Observe;
    assert_eq!(deletion(&case), summary(&[], &["1 peering connection: pcx-1 (not managed)"]));
    assert!(steps(&case).is_empty());

    let ended = with_routes(Case::with(StatusCode::Deleted));
    assert_eq!(deletion(&Case::with(StatusCode::Deleted)), None, "nothing is left");
    assert_eq!(steps(&ended).len(), 2, "the routes through an ended connection go");
    assert_eq!(deletion(&Case::new()), None);
    // A connection of another owner is not named.
    let mut foreign = connection(StatusCode::Active);
    foreign.tags = tags(&another_owner());
    assert_eq!(deletion(&Case::showing(foreign)), None);
}

#[test]
fn a_route_without_a_record_is_removed_with_an_active_peering_only() {
    let route_tables = RouteTableSelector { all: true, ..RouteTableSelector::default() };
    let removes = |code, is_recorded: bool| {
        let mut case = with_routes(Case::with(code));
        let shown = case.observed.recorded.as_mut().map(Arc::make_mut).unwrap();
        shown.requester.cidr_block = Some("10.1.0.0/16".into());
        shown.accepter.cidr_block = Some("10.2.0.0/16".into());
        case.spec.requester.routes = Some(Box::new(Routes { route_tables: route_tables.clone(), ..Routes::default() }));
        if !is_recorded {
            case.recorded.routes.clear();
        }
        case.ask(|desired| summary(desired, &case.recorded, &case.observed)).unwrap().removes.len()
    };
    assert_eq!(removes(StatusCode::Active, true), 3, "the peering, and a route at each end");
    assert_eq!(removes(StatusCode::Active, false), 2, "the spec names the route of the requester");
    assert_eq!(removes(StatusCode::PendingAcceptance, true), 3);
    assert_eq!(removes(StatusCode::PendingAcceptance, false), 1);
}

#[test]
fn the_summary_has_a_limited_size() {
    let mut case = with_routes(Case::with(StatusCode::Active));
    let some = case.recorded.routes.first().unwrap().clone();
    case.observed.tables.clear();
    case.observed.tables.insert(Side::Requester, Err(Blocker::stalled(Reason::AwsError, "unreadable".into())));
    case.recorded.routes = (0..1000)
        .map(|number| ManagedRoute {
            side: Side::Requester,
            destination_cidr_block: Some(format!("10.{}.{}.0/24", number / 256, number % 256)),
            destination_prefix_list_id: None,
            ..some.clone()
        })
        .collect();
    let summary = deletion(&case).unwrap();
    let routes = &summary.removes[1];
    assert!(routes.starts_with("1000 routes at the requester's end: ") && routes.ends_with("and 990 more"), "{routes}");
}

#[test]
fn rules_of_security_groups_that_become_stale_are_named_once() {
    let references = |naming: &str, named: &str| {
        let groups = |group: &str| [("pcx-1".to_owned(), [group.to_owned()].into())].into();
        let references = SecurityGroupReferences { naming: groups(naming), named: groups(named) };
        Some(Arc::new(references))
    };
    let stays = |case: &Case| deletion(case).map(|summary| summary.stays).unwrap_or_default();
    let mut case = Case::with(StatusCode::Active);
    case.observed.security_groups.insert(Side::Requester, references("sg-1", "sg-1"));
    let of_requester = "1 security group of vpc-11111111 with rules that become stale: sg-1";
    let of_peer = "1 security group of vpc-11111111 in rules of the other VPC that become stale: sg-1";
    assert_eq!(stays(&case), [of_requester, of_peer]);
    // The operator sees the rules of both ends.
    case.observed.security_groups.insert(Side::Accepter, references("sg-2", "sg-2"));
    let of_accepter = "1 security group of vpc-22222222 with rules that become stale: sg-2";
    assert_eq!(stays(&case), [of_requester, of_accepter]);
    case.observed.security_groups.insert(Side::Accepter, None);
    assert!(stays(&case)[2].contains("the accepter's end") && stays(&case)[2].contains("security-groups.json"));
    // With `Retain`, the peering stays, and so do its rules.
    case.spec.deletion_policy = Some(DeletionPolicy::Retain);
    assert_eq!(stays(&case), ["1 peering connection: pcx-1 (with its options and other tags)"]);
}

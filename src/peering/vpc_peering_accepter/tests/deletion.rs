//! The deletion, and its summary in `status.deletion`.

use super::*;
use crate::api::{DeletionSummary, ManagedTag};
use crate::peering::vpc_peering_accepter::deletion_summary::summary;

fn deletion(case: &Case) -> Option<DeletionSummary> {
    case.with(|desired, recorded| summary(desired, recorded, &case.observed))
}

/// An accepted connection with a route through it, which the record names, and without tags.
fn untagged() -> Case {
    let mut case = Case::new([connection("pcx-1", StatusCode::Active)]).accepted("pcx-1");
    case.observed.connections.get_mut("pcx-1").map(Arc::make_mut).expect("a connection").tags.clear();
    case.status.routes = vec![route("pcx-1")];
    with_routes(&mut case, "10.1.0.0/16", Some(Target::Peering("pcx-1".into())));
    case.deleted = true;
    case
}

fn removes_routes(case: &Case) -> bool {
    matches!(case.step(), Some(Step::Upkeep { step: UpkeepStep::ChangeRoutes { .. }, .. }))
}

#[test]
fn without_tags_a_record_counts_only_if_the_lists_allow_the_connection() {
    let mut case = untagged();
    assert!(removes_routes(&case), "{:?}", case.plan());
    case.spec.accept.clear();
    assert!(!removes_routes(&case), "{:?}", case.plan());
    // An adopted connection with recorded routes counts, too. Without routes, nothing of it was changed.
    let mut adopted = untagged();
    let record = &mut adopted.status.connections[0];
    (record.adopted_at, record.accepted_at) = (record.accepted_at.take(), None);
    assert!(removes_routes(&adopted), "{:?}", adopted.plan());
    adopted.status.routes.clear();
    assert_eq!(adopted.plan(), Plan::RemoveFinalizer);
}

#[test]
fn a_deletion_removes_the_tags_that_still_have_their_value() {
    let tag = |key: &str, value: &str| ManagedTag { key: key.into(), value: value.into() };
    let mut case = Case::new([connection("pcx-1", StatusCode::Active)]).accepted("pcx-1");
    case.status.connections[0].managed_tags = vec![tag("Name", "x"), tag("Team", "network"), tag("Gone", "x")];
    let shown = case.observed.connections.get_mut("pcx-1").map(Arc::make_mut).expect("a connection");
    shown.tags.extend(tags([("Name", "x"), ("Team", "somebody")]));
    case.deleted = true;
    let Some(Step::Upkeep { step: UpkeepStep::Untag { keys, .. }, .. }) = case.step() else {
        panic!("{:?}", case.plan())
    };
    let others: Vec<_> = keys.iter().filter(|key| !key.starts_with(Owner::ACCEPTER_PREFIX)).collect();
    assert_eq!((keys.len(), others), (5, vec![&"Name".to_owned()]));
}

#[test]
fn unreadable_route_tables_block_a_deletion_only_while_routes_are_recorded() {
    let mut case = Case::new([connection("pcx-1", StatusCode::Active)]).accepted("pcx-1");
    case.status.routes = vec![route("pcx-1")];
    with_routes(&mut case, "10.1.0.0/16", None);
    case.observed.tables = Some(Err(Blocker::stalled(Reason::Unauthorized, "DescribeRouteTables: no".into())));
    case.deleted = true;
    let tags = |case: &Case| matches!(case.step(), Some(Step::Upkeep { step: UpkeepStep::Untag { .. }, .. }));
    assert!(tags(&case), "{:?}", case.plan());
    case.observed.connections.get_mut("pcx-1").map(Arc::make_mut).expect("a connection").tags.clear();
    assert!(matches!(case.plan(), Plan::Stalled { reason: Reason::Unauthorized, .. }), "{:?}", case.plan());
    case.status.routes.clear();
    assert_eq!(case.plan(), Plan::RemoveFinalizer);
}

#[test]
fn a_record_step_keeps_the_routes_through_other_connections() {
    let mut case = Case::new([connection("pcx-1", StatusCode::Deleted)]).accepted("pcx-1").accepted("pcx-2");
    case.observed.connections.insert("pcx-2".into(), connection("pcx-2", StatusCode::Provisioning).into());
    let other = ManagedRoute { destination_cidr_block: Some("10.2.0.0/16".into()), ..route("pcx-2") };
    case.status.routes = vec![route("pcx-1"), other.clone()];
    with_routes(&mut case, "10.3.0.0/16", None);
    let step = UpkeepStep::RecordRoutes { routes: [other].into() };
    assert_eq!(case.step(), Some(Step::Upkeep { id: "pcx-1".into(), step }));
}

#[test]
fn the_summary_names_what_the_deletion_removes_and_what_stays() {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let summary =
        |removes: &[&str], stays: &[&str]| Some(DeletionSummary { removes: texts(removes), stays: texts(stays) });
    let mut case = Case::new([connection("pcx-1", StatusCode::Active)]).accepted("pcx-1");
    case.status.routes = vec![route("pcx-1")];
    with_routes(&mut case, "10.1.0.0/16", Some(Target::Peering("pcx-1".into())));
    let (of_routes, of_tags) =
        ("1 route: 10.1.0.0/16 in rtb-1", "tags vpcpeering.dev/accepter-* of 1 connection: pcx-1");
    let stays = "1 peering connection: pcx-1 (with options and other tags)";
    assert_eq!(deletion(&case), summary(&[of_routes, of_tags], &[stays]));
    case.spec.deletion_policy = Some(DeletionPolicy::Retain);
    assert_eq!(deletion(&case), summary(&[of_tags], &[stays, of_routes]));
    // EC2 does not show the route tables: the recorded routes are named.
    case.spec.deletion_policy = None;
    case.observed.tables = Some(Err(Blocker::stalled(Reason::Unauthorized, "no".into())));
    assert_eq!(deletion(&case), summary(&[of_routes, of_tags], &[stays]));
    case.status.routes.clear();
    assert_eq!(deletion(&case), summary(&[of_tags], &[stays]));
    // A route of the spec that the record does not name is removed with those of an active connection only.
    with_routes(&mut case, "10.1.0.0/16", Some(Target::Peering("pcx-1".into())));
    let shown = case.observed.connections.get_mut("pcx-1").map(Arc::make_mut).expect("a connection");
    shown.requester = info(THEIRS, "vpc-11111111", "eu-west-1", &["10.1.0.0/16"]);
    assert_eq!(deletion(&case), summary(&[of_routes, of_tags], &[stays]));
    case.observed.connections.get_mut("pcx-1").map(Arc::make_mut).expect("a connection").code =
        StatusCode::Provisioning;
    assert_eq!(deletion(&case), summary(&[of_tags], &[stays]));
    case.status.routes = vec![route("pcx-1")];
    assert_eq!(deletion(&case), summary(&[of_routes, of_tags], &[stays]));
    assert_eq!(deletion(&Case::new([pending("pcx-1")])), None);
}

#[test]
fn a_deletion_removes_a_route_of_the_spec_without_a_record_and_writes_no_record() {
    let mut case = Case::new([connection("pcx-1", StatusCode::Active)]).accepted("pcx-1");
    let shown = case.observed.connections.get_mut("pcx-1").map(Arc::make_mut).expect("a connection");
    shown.requester = info(THEIRS, "vpc-11111111", "eu-west-1", &["10.1.0.0/16"]);
    with_routes(&mut case, "10.1.0.0/16", Some(Target::Peering("pcx-1".into())));
    case.deleted = true;
    assert!(removes_routes(&case), "{:?}", case.plan());
    // The route is gone. Its record disappears with the object.
    case.status.routes = vec![route("pcx-1")];
    with_routes(&mut case, "10.1.0.0/16", None);
    let step = case.step();
    assert!(matches!(step, Some(Step::Upkeep { step: UpkeepStep::Untag { .. }, .. })), "{step:?}");
}

//! The upkeep of a connection: its acceptance, tags, options and routes.

use super::*;

/// A resource whose accepter is in another account and region. `view` is the answer of EC2 there.
fn elsewhere(code: StatusCode, view: Result<Option<Connection>, Blocker>) -> Case {
    let mut case = Case::showing(across(code));
    case.ends.accepter.region = "us-west-2".into();
    case.ends.accepter.owner_id = Some("222222222222".into());
    case.observed.accepter = AccepterView::Elsewhere(view.map(|shown| shown.map(Arc::new)));
    case
}

/// A connection to another account and region.
fn across(code: StatusCode) -> Connection {
    let mut connection = connection(code);
    connection.accepter.region = Some("us-west-2".into());
    connection.accepter.owner_id = Some("222222222222".into());
    connection
}

/// The connection as EC2 shows it to the accepter, with these tags.
fn seen_there(code: StatusCode, tags: Tags) -> Connection {
    Connection { tags, ..across(code) }
}

#[test]
fn a_request_is_accepted_at_the_accepter_only_if_it_matches_the_spec() {
    let shown = || seen_there(StatusCode::PendingAcceptance, Default::default());
    let with = |change: fn(&mut Connection)| {
        let mut shown = shown();
        change(&mut shown);
        elsewhere(StatusCode::PendingAcceptance, Ok(Some(shown))).summary()
    };
    let mismatch = "stalled: ConnectionMismatch";
    for (change, expected) in [
        ((|_| {}) as fn(&mut Connection), "accept pcx-1 in us-west-2"),
        (|shown| shown.requester.vpc_id = Some("vpc-3".into()), mismatch),
        (|shown| shown.accepter.vpc_id = None, mismatch),
        (|shown| shown.requester.owner_id = None, mismatch),
        (|shown| shown.accepter.owner_id = Some("333333333333".into()), mismatch),
        (|shown| shown.accepter.region = Some("eu-west-1".into()), mismatch),
        (|shown| shown.code = StatusCode::Active, "tag pcx-1 cluster name namespace uid"),
    ] {
        assert_eq!(with(change), expected);
    }
    let mut case = elsewhere(StatusCode::PendingAcceptance, Ok(Some(shown())));
    case.refuse(Aspect::Acceptance);
    assert_eq!(case.summary(), "tag pcx-1 cluster name namespace uid", "a refused acceptance blocks no other step");
    case.observed.accepter =
        AccepterView::Elsewhere(Ok(Some(Arc::new(seen_there(StatusCode::PendingAcceptance, tags(&owner()))))));
    assert_eq!(case.summary(), "stalled: Unauthorized");
    assert_eq!(elsewhere(StatusCode::PendingAcceptance, Ok(None)).summary(), "wait: AwaitingConsistency");
    assert_eq!(elsewhere(StatusCode::PendingAcceptance, Err(refusal())).summary(), "stalled: Unauthorized");
    let mut manual = elsewhere(StatusCode::PendingAcceptance, Ok(None));
    manual.spec.acceptance = Acceptance::Manual;
    assert_eq!(manual.summary(), "wait: PendingAcceptance");
}

#[test]
fn each_end_has_its_own_tags() {
    let tag = |key: &str| crate::api::Tag { key: key.into(), value: String::new() };
    let ours = || tags(&owner());
    let with = |keys: &[&str]| {
        let mut tags = ours();
        tags.extend(keys.iter().map(|key| ((*key).into(), "".into())));
        tags
    };
    // Both ends have the same tags.
    let mut case = Case::with(StatusCode::Active);
    (case.spec.requester.tags, case.spec.accepter.tags) = (vec![tag("r")], vec![tag("a")]);
    assert_eq!(case.summary(), "record tags a= r=");
    // Each end has its own tags.
    let mut case = elsewhere(StatusCode::Active, Ok(Some(seen_there(StatusCode::Active, with(&["x"])))));
    (case.spec.requester.tags, case.spec.accepter.tags) = (vec![tag("r")], vec![tag("a")]);
    case.recorded.managed_tags = managed(&[("r", "")]);
    case.recorded.accepter_managed_tags = managed(&[("a", "")]);
    assert_eq!(case.summary(), "tag pcx-1 r");
    case.observed.recorded = Some(Connection { tags: with(&["r"]), ..across(StatusCode::Active) }.into());
    assert_eq!(case.summary(), "tag pcx-1 a");
    case.observed.accepter =
        AccepterView::Elsewhere(Ok(Some(Arc::new(seen_there(StatusCode::Active, with(&["a", "x"]))))));
    assert_eq!(case.summary(), "settled", "somebody else set the tag x");
    let mut retained = Case { deleted: true, ..case };
    retained.spec.deletion_policy = Some(DeletionPolicy::Retain);
    assert_eq!(retained.summary(), "untag pcx-1 cluster name namespace uid");
}

#[test]
fn a_restored_resource_takes_over_the_tags_at_both_ends() {
    let earlier = || tags(&Owner { uid: "earlier".into(), ..owner() });
    let mut case = elsewhere(StatusCode::Active, Ok(Some(seen_there(StatusCode::Active, earlier()))));
    assert_eq!(case.summary(), "tag pcx-1 uid");
    // Another cluster may have the same cluster ID, and a resource of the same name.
    case.is_cluster_unique = false;
    assert_eq!(case.summary(), "stalled: ConnectionNotOwned");
    let mut other = earlier();
    other.insert(Owner::NAME.into(), "other".into());
    let case = elsewhere(StatusCode::Active, Ok(Some(seen_there(StatusCode::Active, other))));
    assert_eq!(case.summary(), "stalled: ConnectionNotOwned");
    // An earlier resource of this name has accepted nothing yet.
    let pending = seen_there(StatusCode::PendingAcceptance, earlier());
    let case = elsewhere(StatusCode::PendingAcceptance, Ok(Some(pending)));
    assert_eq!(case.summary(), "accept pcx-1 in us-west-2");
}

#[test]
fn options_are_compared_with_ec2() {
    let allow = |allow| Some(SideOptions { allow_dns_resolution_from_remote_vpc: allow, ..SideOptions::default() });
    let mut case = Case::with(StatusCode::Active);
    case.spec.requester.options = allow(None);
    assert_eq!(case.summary(), "settled", "an option that the spec does not name stays");
    case.spec.requester.options = allow(Some(false));
    assert_eq!(case.summary(), "settled", "an option that EC2 does not show is false");
    case.spec.accepter.options = allow(Some(true));
    assert_eq!(case.summary(), "accepter of pcx-1 allows dns: true");
    case.spec.requester.options = allow(Some(true));
    assert_eq!(case.summary(), "requester of pcx-1 allows dns: true");
    case.refuse(Aspect::Options(Side::Requester));
    assert_eq!(case.summary(), "accepter of pcx-1 allows dns: true", "a refusal at one end does not block the other");
    if let Some(shown) = case.observed.recorded.as_mut().map(Arc::make_mut) {
        shown.accepter.peering_options =
            Some(crate::api::PeeringOptions { allow_dns_resolution_from_remote_vpc: Some(true), ..Default::default() });
    }
    assert_eq!(case.summary(), "stalled: Unauthorized");
    case.observed.accepter = AccepterView::Nobody;
    assert!(matches!(case.decide(), Plan::Stalled { message, .. } if message.contains("spec.accepter.identityRef")));
    for code in every_code().into_iter().filter(|code| *code != StatusCode::Active) {
        let mut case = Case::with(code);
        case.spec.requester.options = allow(Some(true));
        assert!(!case.summary().contains("dns"), "options can be set on an active connection only");
    }
}

#[test]
fn routes_are_created_when_active_and_deleted_before_the_peering() {
    use crate::peering::routes::{Route, RouteTable, Target};
    let table = |routes: &[(&str, Target)]| -> Result<std::sync::Arc<RouteTables>, Blocker> {
        let routes = routes.iter().map(|(destination, target)| Route {
            destination: destination.parse().unwrap(),
            target: target.clone(),
            is_blackhole: false,
        });
        let table = RouteTable {
            id: "rtb-1".into(),
            vpc_id: "vpc-11111111".into(),
            main: true,
            routes: routes.collect(),
            ..RouteTable::default()
        };
        Ok(std::sync::Arc::new([table].into_iter().collect()))
    };
    let ours = ("10.2.0.0/16", Target::Peering("pcx-1".into()));
    let mut shown = connection(StatusCode::Active);
    shown.requester.cidr_block = Some("10.1.0.0/16".into());
    shown.accepter.cidr_block = Some("10.2.0.0/16".into());
    let mut case = Case::showing(shown);
    case.spec.requester.routes = Some(Box::new(crate::api::Routes {
        route_tables: crate::api::RouteTableSelector { main: true, ..Default::default() },
        ..Default::default()
    }));
    case.observed.tables.insert(Side::Requester, table(&[]));
    assert_eq!(case.summary(), "record 1 routes, requester");
    case.recorded.routes = match case.decide() {
        Plan::Act(Step::Upkeep { step: UpkeepStep::RecordRoutes { routes }, .. }) => routes,
        plan => panic!("{plan:?}"),
    };
    assert_eq!(case.summary(), "requester: create the route to 10.2.0.0/16 through pcx-1 in rtb-1");
    case.observed.tables.insert(Side::Requester, Err(refusal()));
    assert_eq!(case.summary(), "stalled: Unauthorized");
    case.observed.tables.insert(Side::Requester, table(&[("10.2.0.0/16", Target::Other("igw-1".into()))]));
    assert_eq!(case.summary(), "record 0 routes, requester", "a foreign route replaced the recorded one");
    let recorded = std::mem::take(&mut case.recorded.routes);
    assert!(matches!(
        case.decide(),
        Plan::Stalled { reason: Reason::RouteConflict, message, .. }
            if ["rtb-1", "10.2.0.0/16", "igw-1"].iter().all(|part| message.contains(part))
    ));
    case.recorded.routes = recorded;
    case.observed.tables.insert(Side::Requester, table(&[ours]));
    assert_eq!(case.summary(), "settled");
    case.deleted = true;
    assert_eq!(case.summary(), "requester: delete the route to 10.2.0.0/16 through pcx-1 in rtb-1");
    case.refuse(Aspect::Routes(Side::Requester));
    assert_eq!(case.summary(), "stalled: Unauthorized", "the peering is deleted after its routes");
    case.observed.refused.clear();
    case.observed.tables.insert(Side::Requester, table(&[]));
    assert_eq!(case.summary(), "delete pcx-1", "the record needs no write before the deletion");
}

#[test]
fn the_operators_tags_are_repaired_and_foreign_tags_stay() {
    for code in [StatusCode::Active, StatusCode::PendingAcceptance] {
        let mut shown = connection(code);
        shown.tags.insert("theirs".into(), "1".into());
        let mut case = Case::showing(shown);
        case.spec.acceptance = Acceptance::Manual;
        let settled = case.summary();
        assert!(["settled", "wait: PendingAcceptance"].contains(&settled.as_str()));

        case.spec.tags = vec![crate::api::Tag { key: "Name".into(), value: "new".into() }];
        assert_eq!(case.summary(), "record tags Name=new");
        case.recorded.managed_tags = managed(&[("Name", "new")]);
        assert_eq!(case.summary(), "tag pcx-1 Name");
        case.observed.recorded.as_mut().map(Arc::make_mut).unwrap().tags.insert("Name".into(), "old".into());
        assert_eq!(case.summary(), "tag pcx-1 Name");
        case.observed.recorded.as_mut().map(Arc::make_mut).unwrap().tags.insert("Name".into(), "new".into());
        assert_eq!(case.summary(), settled);
        case.observed.recorded.as_mut().map(Arc::make_mut).unwrap().tags.remove("vpcpeering.dev/uid");
        assert_eq!(case.summary(), "tag pcx-1 uid");
        case.observed
            .recorded
            .as_mut()
            .map(Arc::make_mut)
            .unwrap()
            .tags
            .insert("vpcpeering.dev/uid".into(), "uid".into());

        case.spec.tags = Vec::new();
        assert_eq!(case.summary(), "untag pcx-1 Name");
        case.observed.recorded.as_mut().map(Arc::make_mut).unwrap().tags.remove("Name");
        assert_eq!(case.summary(), "record tags ");
        case.recorded.managed_tags.clear();
        assert_eq!(case.summary(), settled);
    }
}

#[test]
fn more_tags_than_ec2_allows_block_the_request_and_later_changes() {
    let tags = |name: &str, count| {
        let tag = |number| crate::api::Tag { key: format!("{name}-{number}"), value: String::new() };
        (0..count).map(tag).collect::<Vec<_>>()
    };
    let full = |case: Case| {
        let mut case = case;
        case.observed.accepter = AccepterView::Same;
        (case.spec.tags, case.spec.requester.tags) = (tags("all", 36), tags("ours", 10));
        case
    };
    let blocked = "stalled: InvalidRequest";
    for start in [Case::new(), Case::showing(connection(StatusCode::Active))] {
        let mut case = full(start);
        assert_ne!(case.summary(), blocked, "50 tags");
        case.spec.accepter.tags = tags("ours", 2);
        assert_ne!(case.summary(), blocked, "equal keys count once");
        case.spec.accepter.tags = tags("theirs", 1);
        assert_eq!(case.summary(), blocked);
        let Plan::Stalled { message, .. } = case.decide() else { panic!("not stalled") };
        for part in ["51", "36 of spec.tags", "10 of spec.requester.tags", "1 of spec.accepter.tags", "4 ownership"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        case.deleted = true;
        assert_ne!(case.summary(), blocked, "the deletion goes on");
    }
    // The accepter's account keeps the tags of its end.
    let mut case = full(Case::new());
    case.spec.accepter.tags = tags("theirs", 10);
    case.observed.accepter = AccepterView::Elsewhere(Ok(None));
    assert_ne!(case.summary(), blocked);
    case.spec.accepter.tags = tags("theirs", 11);
    assert_eq!(case.summary(), blocked, "51 tags of the accepter's end");
    case.observed.accepter = AccepterView::Nobody;
    assert_ne!(case.summary(), blocked, "nobody sets the tags of the accepter's end");
}

//! Property tests with a forged status, forged tags and a forged record of routes. No step acts on a connection whose
//! ends differ from those of the spec. No step changes a route through a connection that does not belong to the
//! resource.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::api::{
    AcceptedRequests, AllowedCidrBlocks, AllowedRegions, AllowedVpcs, CidrBlock, DeletionPolicy, ManagedRoute,
    ManagedTag, Ownership as StatusOwnership, RouteTableSelector, Routes, SideOptions, Tag, VpcInfo,
    VpcPeeringAccepterSpec, VpcPeeringAccepterStatus,
};
use crate::peering::connection::StatusCode;
use crate::peering::plan::Plan;
use crate::peering::preflight::Preflight;
use crate::peering::routes::{Route, RouteChange, RouteTable, RouteTables, Target};
use crate::peering::settings::Settings;
use crate::peering::snapshot::Snapshot;
use crate::peering::testing::{another_owner, connection, ends, every_code, owner, permissions, spec, tags};
use crate::peering::upkeep::UpkeepStep;
use crate::peering::vpc_peering::{AccepterView, Desired, Recorded, Step, decide, view};
use crate::peering::vpc_peering_accepter;

const SETTINGS: Settings = Settings {
    consistency_window: Duration::from_secs(60),
    recreation_pause: Duration::from_secs(60),
    is_cluster_unique: true,
};

const IDS: [&str; 5] = ["pcx-1", "pcx-2", "pcx-3", "pcx-4", "pcx-5"];
const BLOCKS: [&str; 3] = ["10.2.0.0/16", "10.9.0.0/16", "0.0.0.0/0"];

fn any_tags() -> Vec<Tags> {
    let predecessor = Owner { uid: "earlier".into(), ..owner() };
    let half = Tags::from_iter([(Owner::UID.into(), owner().uid.as_str().into())]);
    let accepted =
        |owner: &Owner| owner.accepter_tags().into_iter().map(|(key, value)| (key.into(), value.into())).collect();
    vec![
        Tags::new(),
        tags(&owner()),
        tags(&another_owner()),
        tags(&predecessor),
        half,
        accepted(&owner()),
        accepted(&another_owner()),
        Tags::from_iter([("Owner".into(), "somebody".into())]),
    ]
}

/// Any connection that EC2 may show: any status code, the ends of the spec or others, and tags that anybody may have
/// set.
fn any_connection(id: &'static str) -> impl Strategy<Value = Connection> {
    let block = |block: &str| vec![CidrBlock { cidr_block: block.into() }];
    (prop::sample::select(every_code()), prop::sample::select(any_tags()), 0..7usize, 0..4usize).prop_map(
        move |(code, tags, ends, kind)| {
            let mut connection = Connection { id: id.into(), tags, ..connection(code) };
            connection.accepter.cidr_block_set = block(BLOCKS[0]);
            connection.requester.cidr_block_set = block("10.1.0.0/16");
            match ends {
                0 => connection.requester.vpc_id = Some("vpc-33333333".into()),
                1 => connection.accepter.vpc_id = Some("vpc-33333333".into()),
                2 => connection.accepter.owner_id = Some("999999999999".into()),
                3 => connection.requester.region = Some("eu-west-1".into()),
                4 => connection.accepter = VpcInfo::default(),
                _ => {}
            }
            if kind == 0 {
                std::mem::swap(&mut connection.requester, &mut connection.accepter);
            }
            connection
        },
    )
}

fn any_connections() -> impl Strategy<Value = Vec<Connection>> {
    let all = IDS.map(any_connection);
    let [one, two, three, four, five] = all;
    (one, two, three, four, five, prop::collection::vec(prop::bool::weighted(0.6), 5)).prop_map(
        |(one, two, three, four, five, shown)| {
            let all = [one, two, three, four, five];
            all.into_iter().zip(shown).filter_map(|(connection, shown)| shown.then_some(connection)).collect()
        },
    )
}

fn any_routes(side: Side) -> impl Strategy<Value = BTreeSet<ManagedRoute>> {
    let route =
        (prop::sample::select(&IDS[..]), prop::sample::select(&BLOCKS[..])).prop_map(move |(id, block)| ManagedRoute {
            side,
            route_table_id: "rtb-1".into(),
            destination_cidr_block: block.into(),
            vpc_peering_connection_id: id.into(),
        });
    prop::collection::btree_set(route, 0..4)
}

fn any_tables(vpc: &'static str) -> impl Strategy<Value = Arc<RouteTables>> {
    let target = prop_oneof![
        4 => prop::sample::select(&IDS[..]).prop_map(|id| Target::Peering(id.to_owned())),
        1 => Just(Target::Other("igw-1".to_owned())),
    ];
    let routes = prop::collection::btree_map(prop::sample::select(&BLOCKS[..]), (target, any::<bool>()), 0..3);
    routes.prop_map(move |routes| {
        let routes = routes.into_iter().map(|(block, (target, is_blackhole))| Route {
            destination: block.parse().unwrap(),
            target,
            is_blackhole,
        });
        let table = RouteTable {
            id: "rtb-1".into(),
            vpc_id: vpc.into(),
            main: true,
            routes: routes.collect(),
            ..RouteTable::default()
        };
        Arc::new([table].into_iter().collect())
    })
}

fn has_the_ends_of_the_spec(connection: &Connection) -> bool {
    let is = |end: &VpcInfo, vpc: &str| {
        end.vpc_id.as_deref() == Some(vpc)
            && end.owner_id.as_deref() == Some("111111111111")
            && end.region.as_deref() == Some("eu-central-1")
    };
    is(&connection.requester, "vpc-11111111") && is(&connection.accepter, "vpc-22222222")
}

/// Checks that every changed route leads through a connection of the resource, before and after the change.
fn check_routes(
    changes: &[RouteChange],
    tables: &RouteTables,
    is_own: impl Fn(&str) -> bool,
) -> Result<(), TestCaseError> {
    for change in changes {
        let ManagedRoute { destination_cidr_block, vpc_peering_connection_id: id, .. } = change.route();
        prop_assert!(is_own(id), "{change}: the connection belongs to another owner");
        let destination = destination_cidr_block.parse().unwrap();
        let shown = tables.get("rtb-1").unwrap().routes.iter().find(|route| route.destination == destination);
        match (change, shown.map(|route| &route.target)) {
            (RouteChange::Create(_), None) => {}
            (RouteChange::Delete(_) | RouteChange::Replace(_), Some(Target::Peering(there))) => {
                prop_assert!(is_own(there), "{change}: the current target {there} belongs to another owner");
            }
            (change, there) => prop_assert!(false, "{change}: EC2 shows {there:?}"),
        }
    }
    Ok(())
}

fn every_table() -> Routes {
    let route_tables = RouteTableSelector { all: true, ..RouteTableSelector::default() };
    Routes { route_tables, destination_cidr_blocks: Vec::new() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// One property with its inputs. It exceeds 60 lines because the check needs every input.
    #[test]
    fn no_step_of_a_peering_touches_what_is_not_its_own(
        connections in any_connections(),
        record in prop::option::of(prop::sample::select(&IDS[..])),
        is_owned in prop::bool::weighted(0.8),
        adopts in prop::option::weighted(0.2, prop::sample::select(&IDS[..])),
        routes in any_routes(Side::Requester),
        tables in any_tables("vpc-11111111"),
        (has_routes, is_deleted, retains, is_settled, is_foreign) in any::<(bool, bool, bool, bool, bool)>(),
        forged_tag in any::<bool>(),
    ) {
        let mut wanted = spec();
        wanted.requester.routes = has_routes.then(every_table);
        wanted.requester.options = Some(SideOptions { allow_dns_resolution_from_remote_vpc: Some(true) });
        wanted.tags = vec![Tag { key: "Name".into(), value: "x".into() }];
        wanted.vpc_peering_connection_id = adopts.map(str::to_owned);
        wanted.deletion_policy = if retains { DeletionPolicy::Retain } else { DeletionPolicy::Delete };
        let forged = ManagedTag { key: "Owner".into(), value: "somebody".into() };
        let recorded = Recorded {
            connection_id: record.map(str::to_owned),
            ownership: record.map(|_| if is_owned { StatusOwnership::Owned } else { StatusOwnership::Observed }),
            managed_tags: forged_tag.then_some(forged).into_iter().collect(),
            routes,
            ..Recorded::default()
        };
        let (owner, ends, permissions) = (owner(), ends(), permissions());
        let snapshot: Snapshot = connections.iter().cloned().collect();
        let mut observed = view(&snapshot, &owner, &recorded, &ends, wanted.vpc_peering_connection_id.as_ref());
        observed.preflight = Some(Preflight::Passed);
        observed.accepter = if is_foreign { AccepterView::Nobody } else { AccepterView::Same };
        observed.is_settled = is_settled;
        observed.missing_for = if is_settled { SETTINGS.consistency_window } else { Duration::ZERO };
        observed.tables = BTreeMap::from([(Side::Requester, Ok(Arc::clone(&tables)))]);
        let desired = Desired {
            owner: &owner,
            spec: &wanted,
            ends: &ends,
            permissions: &permissions,
            is_cluster_unique: true,
            deleted: is_deleted,
            finalizer: true,
            reconcile_requested: false,
            reconcile_at: None,
            generation: 1,
            status: &crate::api::VpcPeeringStatus::default(),
        };
        let decision = decide(desired, &recorded, &observed, Timestamp::UNIX_EPOCH, SETTINGS);
        let Plan::Act(step) = decision.plan else { return Ok(()) };
        let shown = |id: &str| connections.iter().find(|connection| connection.id == id);
        let id = match &step {
            Step::Record { connection, ownership: StatusOwnership::Owned } => Some(connection.id.clone()),
            Step::Accept { id, .. } | Step::DeleteOrphan { id } | Step::Delete { id } => Some(id.to_string()),
            Step::Upkeep {
                step: UpkeepStep::Tag { id, .. } | UpkeepStep::Untag { id, .. } | UpkeepStep::SetOptions { id, .. },
                ..
            } => Some(id.to_string()),
            Step::Upkeep { step: UpkeepStep::ChangeRoutes { changes }, .. } => {
                // EC2 shows the connection with the ends of the spec and without the tags of another owner.
                let anothers = [tags(&another_owner()), Tags::new()];
                let is_own = |id: &str| shown(id).is_some_and(|connection| {
                    let is_recorded = record == Some(id) && is_owned;
                    has_the_ends_of_the_spec(connection)
                        && connection.tags != anothers[0]
                        && (is_recorded || owner.is_named_by(&connection.tags))
                });
                check_routes(changes, &tables, is_own)?;
                None
            }
            _ => None,
        };
        if let Some(id) = id {
            let connection = shown(&id);
            prop_assert!(connection.is_some_and(has_the_ends_of_the_spec), "{step:?}: {connection:?}");
            prop_assert!(connection.is_some_and(|connection| connection.tags != tags(&another_owner())), "{step:?}");
        }
        if let Step::Upkeep { step: UpkeepStep::Untag { keys, .. }, .. } = &step {
            prop_assert!(keys.iter().all(|key| key.starts_with("vpcpeering.dev/") || forged_tag), "{step:?}");
        }
    }

    /// One property with its inputs. It exceeds 60 lines because the check needs every input.
    #[test]
    fn no_step_of_an_accepter_touches_what_is_not_its_own(
        connections in any_connections(),
        records in prop::collection::btree_set(prop::sample::select(&IDS[..]), 0..4),
        routes in any_routes(Side::Accepter),
        tables in any_tables("vpc-22222222"),
        (has_routes, is_deleted, is_settled, accepts, rejects) in any::<(bool, bool, bool, bool, bool)>(),
    ) {
        let accept = AcceptedRequests {
            owner_id: "111111111111".into(),
            vpcs: Some(AllowedVpcs { all: false, list: Some(vec!["vpc-11111111".into()]) }),
            regions: Some(AllowedRegions { all: false, list: Some(vec!["eu-central-1".into()]) }),
            cidr_blocks: Some(AllowedCidrBlocks { all: true, list: None }),
        };
        let deny = crate::api::DeniedRequests { owner_id: Some("999999999999".into()), ..Default::default() };
        let wanted = VpcPeeringAccepterSpec {
            vpc_id: Some("vpc-22222222".into()),
            accept: if accepts { vec![accept] } else { Vec::new() },
            deny: vec![deny],
            reject: rejects,
            routes: has_routes.then(every_table),
            ..VpcPeeringAccepterSpec::default()
        };
        let mut status = VpcPeeringAccepterStatus { routes: routes.iter().cloned().collect(), ..Default::default() };
        for id in &records {
            let connection = Connection { id: (*id).to_owned(), ..connection(StatusCode::Active) };
            vpc_peering_accepter::record_acceptance(&mut status, &connection, Timestamp::UNIX_EPOCH);
        }
        let recorded = vpc_peering_accepter::Recorded::of(Some(&status));
        let end = Endpoint {
            vpc_id: "vpc-22222222".into(),
            region: "eu-central-1".into(),
            owner_id: Some("111111111111".into()),
        };
        let (owner, permissions) = (owner(), permissions());
        let snapshot: Snapshot = connections.iter().cloned().collect();
        let seen = snapshot.to("vpc-22222222").chain(records.iter().filter_map(|id| snapshot.get(id)));
        let window = if is_settled { SETTINGS.consistency_window } else { Duration::ZERO };
        let observed = vpc_peering_accepter::Observation {
            connections: seen.map(|connection| (connection.id.clone(), Arc::clone(connection))).collect(),
            missing_for: records.iter().map(|id| ((*id).to_owned(), window)).collect(),
            tables: Some(Ok(Arc::clone(&tables))),
            is_settled,
            ..vpc_peering_accepter::Observation::default()
        };
        let desired = vpc_peering_accepter::Desired {
            owner: &owner,
            spec: &wanted,
            end: &end,
            permissions: &permissions,
            is_cluster_unique: true,
            deleted: is_deleted,
            finalizer: true,
            reconcile_at: None,
            generation: 1,
            status: &status,
        };
        let decision = vpc_peering_accepter::decide(desired, &recorded, &observed, Timestamp::UNIX_EPOCH, SETTINGS);
        let Plan::Act(step) = decision.plan else { return Ok(()) };
        let shown = |id: &str| connections.iter().find(|connection| connection.id == id);
        // The accepter's end is that of the spec. The requester may be anybody.
        let is_ours_to_see = |connection: &Connection| {
            let end = &connection.accepter;
            end.vpc_id.as_deref() == Some("vpc-22222222")
                && end.owner_id.as_deref() == Some("111111111111")
                && end.region.as_deref() == Some("eu-central-1")
                && !connection.tags.contains_key(Owner::UID)
                && connection.tags.get(Owner::ACCEPTER_UID).is_none_or(|uid| *uid == owner.uid)
        };
        let id = match &step {
            vpc_peering_accepter::Step::Upkeep { step: UpkeepStep::ChangeRoutes { changes }, .. } => {
                let is_own = |id: &str| shown(id).is_some_and(is_ours_to_see);
                check_routes(changes, &tables, is_own)?;
                None
            }
            vpc_peering_accepter::Step::Upkeep { step: UpkeepStep::RecordRoutes { .. }, .. }
            | vpc_peering_accepter::Step::AddFinalizer => None,
            step => step.connection_id(),
        };
        if let Some(id) = id {
            let connection = shown(id);
            prop_assert!(connection.is_some_and(is_ours_to_see), "{step:?}: {connection:?}");
            use vpc_peering_accepter::Step::{Accept, RecordAcceptance};
            if let (Accept { .. } | RecordAcceptance { .. }, Some(connection)) = (&step, connection) {
                let is_let_in = accepts && connection.requester.vpc_id.as_deref() == Some("vpc-11111111");
                let is_tagged = connection.tags.get(Owner::ACCEPTER_UID).is_some_and(|uid| *uid == owner.uid);
                prop_assert!(is_let_in || is_tagged, "{step:?}: {connection:?}");
            }
        }
    }
}

#[test]
fn a_pair_of_clusters_with_one_id_do_not_take_each_others_connections() {
    let (owner, ends, permissions) = (owner(), ends(), permissions());
    let of = |ownership, is_cluster_unique| Authority {
        owner: &owner,
        ownership,
        requester: (ownership == Ownership::Peering).then_some(&ends.requester),
        accepter: &ends.accepter,
        permissions: &permissions,
        is_cluster_unique,
    };
    let twin = Owner { uid: "twin".into(), ..owner.clone() };
    let by_twin = Connection { tags: tags(&twin), ..connection(StatusCode::Active) };
    let accepted = twin.accepter_tags().into_iter().map(|(key, value)| (key.into(), value.into())).collect();
    let accepted_by_twin = Connection { tags: accepted, ..connection(StatusCode::Active) };
    for (ownership, connection) in [(Ownership::Peering, by_twin), (Ownership::Acceptance, accepted_by_twin)] {
        for hint in [Hint::Recorded, Hint::Tagged, Hint::Named, Hint::Predecessor, Hint::Requested] {
            let outcome = of(ownership, false).over(&connection, hint);
            assert!(
                outcome.is_err_and(|blocker| blocker.reason == Reason::ConnectionNotOwned),
                "{ownership:?} {hint:?}"
            );
        }
        assert!(
            of(ownership, true).over(&connection, Hint::Predecessor).is_ok(),
            "the tags name an earlier resource of the same name"
        );
    }
}

#[test]
fn another_namespaces_resource_is_not_named() {
    let (owner, ends, permissions) = (owner(), ends(), permissions());
    let authority = Authority {
        owner: &owner,
        ownership: Ownership::Peering,
        requester: Some(&ends.requester),
        accepter: &ends.accepter,
        permissions: &permissions,
        is_cluster_unique: true,
    };
    let theirs = Owner { namespace: "secret".into(), name: "merger".into(), uid: "their-uid".into(), ..owner.clone() };
    let connection = Connection { tags: tags(&theirs), ..connection(StatusCode::Active) };
    let message = authority.not_owned(&connection);
    assert!(["secret", "merger", "their-uid"].iter().all(|name| !message.contains(name)), "{message}");
    let mut elsewhere = connection;
    elsewhere.accepter.vpc_id = Some("vpc-99999999".into());
    let message = authority.difference(&elsewhere).unwrap();
    assert!(message.contains("spec.accepter.vpcId") && !message.contains("vpc-99999999"), "{message}");
}

//! Property tests with a forged status, forged tags and a forged record of routes. No step acts on a connection whose
//! ends differ from those of the spec. No step changes a route through a connection that does not belong to the
//! resource. The file exceeds 400 lines because both kinds of resources use the same random connections and routes.

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
    VpcPeeringAccepterSpec, VpcPeeringAccepterStatus, VpcPeeringSpec,
};
use crate::peering::connection::StatusCode;
use crate::peering::plan::Plan;
use crate::peering::preflight::Preflight;
use crate::peering::routes::{Destination, Route, RouteAnswers, RouteChange, RouteTable, RouteTables, Target};
use crate::peering::settings::Settings;
use crate::peering::snapshot::Snapshot;
use crate::peering::testing::{another_owner, authority, connection, ends, every_code, owner, permissions, spec, tags};
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
            destination_cidr_block: Some(block.into()),
            destination_prefix_list_id: None,
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
        let id = &change.route().vpc_peering_connection_id;
        prop_assert!(is_own(id), "{change}: the connection belongs to another owner");
        let destination = Destination::of(change.route()).unwrap();
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

fn every_table() -> Box<Routes> {
    let route_tables = RouteTableSelector { all: true, ..RouteTableSelector::default() };
    Box::new(Routes { route_tables, ..Routes::default() })
}

/// The random state of a `VpcPeering` and of EC2.
#[derive(Clone, Debug)]
struct PeeringState {
    connections: Vec<Connection>,
    record: Option<&'static str>,
    is_owned: bool,
    adopts: Option<&'static str>,
    routes: BTreeSet<ManagedRoute>,
    tables: Arc<RouteTables>,
    has_routes: bool,
    is_deleted: bool,
    retains: bool,
    is_settled: bool,
    is_foreign: bool,
    has_forged_tag: bool,
}

fn any_peering_state() -> impl Strategy<Value = PeeringState> {
    let record = (prop::option::of(prop::sample::select(&IDS[..])), prop::bool::weighted(0.8));
    let adopts = prop::option::weighted(0.2, prop::sample::select(&IDS[..]));
    let flags = any::<(bool, bool, bool, bool, bool, bool)>();
    let (routes, tables) = (any_routes(Side::Requester), any_tables("vpc-11111111"));
    (any_connections(), record, adopts, routes, tables, flags).prop_map(
        |(connections, (record, is_owned), adopts, routes, tables, flags)| {
            let (has_routes, is_deleted, retains, is_settled, is_foreign, has_forged_tag) = flags;
            PeeringState {
                connections,
                record,
                is_owned,
                adopts,
                routes,
                tables,
                has_routes,
                is_deleted,
                retains,
                is_settled,
                is_foreign,
                has_forged_tag,
            }
        },
    )
}

impl PeeringState {
    fn spec(&self) -> VpcPeeringSpec {
        let mut spec = spec();
        spec.requester.routes = self.has_routes.then(every_table);
        spec.requester.options =
            Some(SideOptions { allow_dns_resolution_from_remote_vpc: Some(true), ..SideOptions::default() });
        spec.tags = vec![Tag { key: "Name".into(), value: "x".into() }];
        spec.vpc_peering_connection_id = self.adopts.map(str::to_owned);
        spec.deletion_policy = self.retains.then_some(DeletionPolicy::Retain);
        spec
    }

    fn recorded(&self) -> Recorded {
        let forged = ManagedTag { key: "Owner".into(), value: "somebody".into() };
        let ownership = if self.is_owned { StatusOwnership::Owned } else { StatusOwnership::Observed };
        Recorded {
            connection_id: self.record.map(str::to_owned),
            ownership: self.record.map(|_| ownership),
            managed_tags: self.has_forged_tag.then_some(forged).into_iter().collect(),
            routes: self.routes.clone(),
            ..Recorded::default()
        }
    }

    fn step(&self) -> Option<Step> {
        let (owner, ends, permissions, spec, recorded) = (owner(), ends(), permissions(), self.spec(), self.recorded());
        let snapshot: Snapshot = self.connections.iter().cloned().collect();
        let mut observed = view(&snapshot, &owner, &recorded, &ends, spec.vpc_peering_connection_id.as_ref());
        observed.preflight = Some(Preflight::Passed);
        observed.accepter = if self.is_foreign { AccepterView::Nobody } else { AccepterView::Same };
        observed.route_answers.is_settled = self.is_settled;
        observed.missing_for = if self.is_settled { SETTINGS.consistency_window } else { Duration::ZERO };
        observed.tables = BTreeMap::from([(Side::Requester, Ok(Arc::clone(&self.tables)))]);
        let desired = Desired {
            owner: &owner,
            spec: &spec,
            ends: &ends,
            permissions: &permissions,
            defaults: &crate::peering::testing::defaults(),
            is_cluster_unique: true,
            deleted: self.is_deleted,
            finalizer: true,
            reconcile_requested: false,
            reconcile_at: None,
            generation: 1,
            status: None,
        };
        match decide(desired, &recorded, &observed, Timestamp::UNIX_EPOCH, SETTINGS).plan {
            Plan::Act(step) => Some(step),
            _ => None,
        }
    }

    fn shown(&self, id: &str) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.id == id)
    }

    /// Whether EC2 shows the connection with the ends of the spec and without the tags of another owner.
    fn may_change(&self, id: &str) -> bool {
        let is_own =
            |connection: &Connection| has_the_ends_of_the_spec(connection) && connection.tags != tags(&another_owner());
        self.shown(id).is_some_and(is_own)
    }

    /// Whether routes through the connection may change. Its tags or the record must name the resource, too.
    fn may_route_through(&self, id: &str) -> bool {
        let is_recorded = self.record == Some(id) && self.is_owned;
        let is_tagged = self.shown(id).is_some_and(|connection| owner().is_named_by(&connection.tags));
        self.may_change(id) && (is_recorded || is_tagged)
    }
}

/// The random state of a `VpcPeeringAccepter` and of EC2.
#[derive(Clone, Debug)]
struct AccepterState {
    connections: Vec<Connection>,
    records: BTreeSet<&'static str>,
    routes: BTreeSet<ManagedRoute>,
    tables: Arc<RouteTables>,
    has_routes: bool,
    is_deleted: bool,
    is_settled: bool,
    accepts: bool,
    rejects: bool,
    adopts: Option<&'static str>,
    adopts_matching: bool,
}

fn any_accepter_state() -> impl Strategy<Value = AccepterState> {
    let records = prop::collection::btree_set(prop::sample::select(&IDS[..]), 0..4);
    let flags = any::<(bool, bool, bool, bool, bool, bool)>();
    let adopts = prop::option::weighted(0.3, prop::sample::select(&IDS[..]));
    let (routes, tables) = (any_routes(Side::Accepter), any_tables("vpc-22222222"));
    (any_connections(), records, routes, tables, flags, adopts).prop_map(
        |(connections, records, routes, tables, flags, adopts)| {
            let (has_routes, is_deleted, is_settled, accepts, rejects, adopts_matching) = flags;
            AccepterState {
                connections,
                records,
                routes,
                tables,
                has_routes,
                is_deleted,
                is_settled,
                accepts,
                rejects,
                adopts,
                adopts_matching,
            }
        },
    )
}

impl AccepterState {
    fn spec(&self) -> VpcPeeringAccepterSpec {
        let accept = AcceptedRequests {
            owner_id: "111111111111".into(),
            vpcs: Some(AllowedVpcs { all: false, list: Some(vec!["vpc-11111111".into()]) }),
            regions: Some(AllowedRegions { all: false, list: Some(vec!["eu-central-1".into()]) }),
            cidr_blocks: Some(AllowedCidrBlocks { all: true, list: None }),
        };
        let deny = crate::api::DeniedRequests { owner_id: Some("999999999999".into()), ..Default::default() };
        VpcPeeringAccepterSpec {
            vpc_id: Some("vpc-22222222".into()),
            accept: if self.accepts { vec![accept] } else { Vec::new() },
            deny: vec![deny],
            reject: self.rejects,
            adopt: Some(crate::api::AdoptedConnections {
                connection_ids: self.adopts.map(str::to_owned).into_iter().collect(),
                matching: self.adopts_matching,
            }),
            routes: self.has_routes.then(every_table),
            ..VpcPeeringAccepterSpec::default()
        }
    }

    fn status(&self) -> VpcPeeringAccepterStatus {
        let routes = self.routes.iter().cloned().collect();
        let mut status = VpcPeeringAccepterStatus { routes, ..Default::default() };
        for id in &self.records {
            let connection = Connection { id: (*id).to_owned(), ..connection(StatusCode::Active) };
            vpc_peering_accepter::record_acceptance(&mut status, &connection, Timestamp::UNIX_EPOCH);
        }
        status
    }

    fn observed(&self) -> vpc_peering_accepter::Observation {
        let snapshot: Snapshot = self.connections.iter().cloned().collect();
        let shown = snapshot.to("vpc-22222222").chain(self.records.iter().filter_map(|id| snapshot.get(id)));
        let window = if self.is_settled { SETTINGS.consistency_window } else { Duration::ZERO };
        vpc_peering_accepter::Observation {
            connections: shown.map(|connection| (connection.id.clone(), Arc::clone(connection))).collect(),
            missing_for: self.records.iter().map(|id| ((*id).to_owned(), window)).collect(),
            tables: Some(Ok(Arc::clone(&self.tables))),
            is_settled: self.is_settled,
            route_answers: RouteAnswers { is_settled: self.is_settled, ..RouteAnswers::default() },
            ..vpc_peering_accepter::Observation::default()
        }
    }

    fn step(&self) -> Option<vpc_peering_accepter::Step> {
        let (spec, status, observed) = (self.spec(), self.status(), self.observed());
        let recorded = vpc_peering_accepter::Recorded::of(Some(&status));
        let (owner, permissions) = (owner(), permissions());
        let end = Endpoint {
            vpc_id: "vpc-22222222".into(),
            region: "eu-central-1".into(),
            owner_id: Some("111111111111".into()),
        };
        let desired = vpc_peering_accepter::Desired {
            owner: &owner,
            spec: &spec,
            end: &end,
            permissions: &permissions,
            defaults: &crate::peering::testing::defaults(),
            is_cluster_unique: true,
            deleted: self.is_deleted,
            finalizer: true,
            reconcile_at: None,
            generation: 1,
            status: Some(&status),
        };
        match vpc_peering_accepter::decide(desired, &recorded, &observed, Timestamp::UNIX_EPOCH, SETTINGS).plan {
            Plan::Act(step) => Some(step),
            _ => None,
        }
    }

    fn shown(&self, id: &str) -> Option<&Connection> {
        self.connections.iter().find(|connection| connection.id == id)
    }

    /// Whether EC2 shows the connection with the accepter of the spec and without the tags of another owner. Any
    /// account may be its requester.
    fn may_change(&self, id: &str) -> bool {
        self.shown(id).is_some_and(|connection| {
            let end = &connection.accepter;
            end.vpc_id.as_deref() == Some("vpc-22222222")
                && end.owner_id.as_deref() == Some("111111111111")
                && end.region.as_deref() == Some("eu-central-1")
                && !connection.tags.contains_key(Owner::UID)
                && connection.tags.get(Owner::ACCEPTER_UID).is_none_or(|uid| *uid == owner().uid)
        })
    }

    /// Whether the connection may be accepted: the spec allows it, or its tags already name this resource.
    fn may_accept(&self, id: &str) -> bool {
        self.shown(id).is_some_and(|connection| {
            let is_allowed = self.accepts && connection.requester.vpc_id.as_deref() == Some("vpc-11111111");
            let is_tagged = connection.tags.get(Owner::ACCEPTER_UID).is_some_and(|uid| *uid == owner().uid);
            is_allowed || is_tagged
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_step_of_a_peering_touches_foreign_resources(state in any_peering_state()) {
        let Some(step) = state.step() else { return Ok(()) };
        let id = match &step {
            Step::Record { connection, ownership: StatusOwnership::Owned } => Some(connection.id.clone()),
            Step::Accept { id, .. } | Step::DeleteOrphan { id } | Step::Delete { id } => Some(id.to_string()),
            Step::Upkeep {
                step: UpkeepStep::Tag { id, .. } | UpkeepStep::Untag { id, .. } | UpkeepStep::SetOptions { id, .. },
                ..
            } => Some(id.to_string()),
            Step::Upkeep { step: UpkeepStep::ChangeRoutes { changes }, .. } => {
                check_routes(changes, &state.tables, |id| state.may_route_through(id))?;
                None
            }
            _ => None,
        };
        if let Some(id) = id {
            prop_assert!(state.may_change(&id), "{step:?}: {:?}", state.shown(&id));
        }
        if let Step::Upkeep { step: UpkeepStep::Untag { keys, .. }, .. } = &step {
            let may_remove = |key: &String| key.starts_with("vpcpeering.dev/") || state.has_forged_tag;
            prop_assert!(keys.iter().all(may_remove), "{step:?}");
        }
    }

    #[test]
    fn no_step_of_an_accepter_touches_foreign_resources(state in any_accepter_state()) {
        use vpc_peering_accepter::Step;

        let Some(step) = state.step() else { return Ok(()) };
        let id = match &step {
            Step::Upkeep { step: UpkeepStep::ChangeRoutes { changes }, .. } => {
                check_routes(changes, &state.tables, |id| state.may_change(id))?;
                None
            }
            Step::Upkeep { step: UpkeepStep::RecordRoutes { .. }, .. } | Step::AddFinalizer => None,
            step => step.connection_id(),
        };
        if let Some(id) = id {
            prop_assert!(state.may_change(id), "{step:?}: {:?}", state.shown(id));
            if matches!(step, Step::Accept { .. } | Step::RecordAcceptance { .. }) {
                prop_assert!(state.may_accept(id), "{step:?}: {:?}", state.shown(id));
            }
            if matches!(step, Step::RecordAdoption { .. }) {
                let is_asked = state.adopts == Some(id) || (state.adopts_matching && state.may_accept(id));
                let is_active = state.shown(id).is_some_and(|shown| shown.code == StatusCode::Active);
                prop_assert!(is_asked && is_active, "{step:?}: {:?}", state.shown(id));
            }
        }
    }
}

#[test]
fn clusters_with_the_same_id_do_not_take_over_connections_of_each_other() {
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
fn messages_do_not_name_resources_of_other_namespaces() {
    let (owner, ends, permissions) = (owner(), ends(), permissions());
    let authority = authority(&owner, &ends, &permissions);
    let theirs = Owner { namespace: "secret".into(), name: "merger".into(), uid: "their-uid".into(), ..owner.clone() };
    let connection = Connection { tags: tags(&theirs), ..connection(StatusCode::Active) };
    let message = authority.not_owned(&connection);
    assert!(["secret", "merger", "their-uid"].iter().all(|name| !message.contains(name)), "{message}");
    let mut elsewhere = connection;
    elsewhere.accepter.vpc_id = Some("vpc-99999999".into());
    let message = authority.difference(&elsewhere).unwrap();
    assert!(message.contains("spec.accepter.vpcId") && !message.contains("vpc-99999999"), "{message}");
}

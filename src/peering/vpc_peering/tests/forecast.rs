//! The forecast of `plan`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::api::{
    CidrBlock, ManagedRoute, ManagementPolicy, Ownership, PeeringSide, Reason, RouteTableSelector, Routes, Side,
    SideOptions, TerminalState, VpcInfo, VpcPeeringSpec, VpcPeeringStatus,
};
use crate::peering::dns::DnsAttributes;
use crate::peering::forecast::Forecast;
use crate::peering::plan::Step as _;
use crate::peering::routes::{Route, RouteTable, RouteTables, Target};
use crate::peering::testing::{another_owner, connection, defaults, owner, permissions, spec, tags};
use crate::peering::vpc_peering::{AccepterView, Desired, Observation, Reads, Step, candidates, forecast};
use crate::peering::{Blocker, Connection, Endpoints, Owner, Plan, Preflight, Settings, StatusCode, testing};

const SETTINGS: Settings = Settings {
    consistency_window: Duration::from_secs(60),
    recreation_pause: Duration::from_secs(60),
    is_cluster_unique: true,
};

fn vpc(block: &str) -> VpcInfo {
    let cidr_block_set = vec![CidrBlock { cidr_block: block.into() }];
    VpcInfo { cidr_block: Some(block.into()), cidr_block_set, ..VpcInfo::default() }
}

fn reads() -> Reads {
    let vpcs = [vpc("10.1.0.0/16"), vpc("10.2.0.0/16")];
    Reads { preflight: Preflight::Passed, vpcs, dns: BTreeMap::new(), at_accepter: Vec::new() }
}

fn with_routes() -> VpcPeeringSpec {
    let route_tables = RouteTableSelector { main: true, ..RouteTableSelector::default() };
    let routes = Some(Box::new(Routes { route_tables, ..Routes::default() }));
    let mut spec = spec();
    spec.requester = PeeringSide { routes: routes.clone(), ..spec.requester };
    spec.accepter = PeeringSide { routes, ..spec.accepter };
    spec
}

fn tables() -> Arc<RouteTables> {
    let table =
        |id: &str, vpc: &str| RouteTable { id: id.into(), vpc_id: vpc.into(), main: true, ..RouteTable::default() };
    Arc::new([table("rtb-1", "vpc-11111111"), table("rtb-2", "vpc-22222222")].into_iter().collect())
}

fn observed(accepter: AccepterView) -> Observation {
    let tables = [Side::Requester, Side::Accepter].map(|side| (side, Ok(tables())));
    Observation { accepter, tables: tables.into(), ..Observation::default() }
}

/// The ends, in the account that EC2 shows.
fn ends() -> Endpoints {
    let mut ends = testing::ends();
    ends.requester.owner_id = Some("111111111111".into());
    ends
}

/// The input of a forecast. Each test changes the fields that it is about.
struct Input {
    spec: VpcPeeringSpec,
    ends: Endpoints,
    status: Option<VpcPeeringStatus>,
    deleted: bool,
    reconcile_requested: bool,
    observed: Observation,
    reads: Reads,
}

impl Input {
    fn new(spec: VpcPeeringSpec, observed: Observation) -> Self {
        let status = observed.recorded.as_ref().map(|connection| VpcPeeringStatus {
            vpc_peering_connection_id: Some(connection.id.as_str().into()),
            ownership: Some(Ownership::Owned),
            ..VpcPeeringStatus::default()
        });
        let ends = ends();
        Self { spec, ends, status, deleted: false, reconcile_requested: false, observed, reads: reads() }
    }

    /// The forecast, and the EC2 actions in order.
    fn forecast(self) -> (Forecast<Step>, Vec<&'static str>) {
        let (owner, permissions, defaults) = (owner(), permissions(), defaults());
        let desired = Desired {
            owner: &owner,
            spec: &self.spec,
            ends: &self.ends,
            permissions: &permissions,
            defaults: &defaults,
            is_cluster_unique: true,
            deleted: self.deleted,
            finalizer: self.status.is_some(),
            reconcile_requested: self.reconcile_requested,
            reconcile_at: None,
            generation: 1,
            status: self.status.as_ref(),
        };
        let forecast = forecast(desired, self.observed, self.reads, Timestamp::UNIX_EPOCH, SETTINGS);
        let actions = forecast.steps.iter().flat_map(|step| &step.calls).map(|call| call.call.action()).collect();
        (forecast, actions)
    }
}

/// The forecast for a spec, and the EC2 actions in order.
fn of(spec: &VpcPeeringSpec, deleted: bool, observed: Observation) -> (Forecast<Step>, Vec<&'static str>) {
    Input { deleted, ..Input::new(spec.clone(), observed) }.forecast()
}

#[test]
fn a_new_peering_is_forecast_until_its_routes() {
    let (forecast, actions) = of(&with_routes(), false, observed(AccepterView::Same));
    let expected = ["CreateVpcPeeringConnection", "AcceptVpcPeeringConnection", "CreateRoute", "CreateRoute"];
    assert_eq!(actions, expected, "{forecast:#?}");
    assert!(matches!(forecast.end, Plan::Settled { .. }), "{:?}", forecast.end);
    let routes: Vec<_> = forecast.steps.iter().flat_map(|step| &step.calls).skip(2).collect();
    assert_eq!(routes[0].call.parameters()["DestinationCidrBlock"], "10.2.0.0/16");
    assert_eq!(routes[1].call.parameters()["RouteTableId"], "rtb-2");
    assert!(forecast.steps.iter().all(|step| !step.after_acceptance));
    assert_eq!(forecast.steps.first().map(|step| step.step.change()), Some(None), "the finalizer comes first");
}

#[test]
fn steps_after_the_acceptance_of_another_owner_are_marked() {
    let mut spec = with_routes();
    spec.accepter.routes = None;
    let (forecast, actions) = of(&spec, false, observed(AccepterView::Nobody));
    assert_eq!(actions, ["CreateVpcPeeringConnection", "CreateRoute"], "{forecast:#?}");
    let marked: Vec<_> =
        forecast.steps.iter().filter(|step| step.after_acceptance).flat_map(|step| &step.calls).collect();
    assert_eq!(marked.iter().map(|call| call.call.action()).collect::<Vec<_>>(), ["CreateRoute"]);
    assert!(forecast.acceptance.is_some());
}

#[test]
fn a_refused_check_of_the_vpcs_ends_the_forecast() {
    let preflight = Preflight::Refused { reason: Reason::OverlappingCidrBlocks, message: "overlap".into() };
    let mut input = Input::new(spec(), observed(AccepterView::Same));
    input.status = Some(VpcPeeringStatus::default());
    input.reads.preflight = preflight;
    let (forecast, _) = input.forecast();
    assert_eq!(forecast.steps.iter().map(|step| &step.step).collect::<Vec<_>>(), [&Step::Preflight]);
    assert!(matches!(forecast.end, Plan::Stalled { reason: Reason::OverlappingCidrBlocks, .. }));
}

#[test]
fn a_deletion_ends_without_the_finalizer() {
    let live = Arc::new(connection(StatusCode::Active));
    let observed = Observation { recorded: Some(live), ..observed(AccepterView::Same) };
    let (forecast, actions) = of(&spec(), true, observed);
    assert_eq!((actions, forecast.end), (vec!["DeleteVpcPeeringConnection"], Plan::RemoveFinalizer));
}

#[test]
fn a_deleted_connection_is_requested_again() {
    let ended = Arc::new(connection(StatusCode::Deleted));
    let observed = Observation { recorded: Some(ended), ..observed(AccepterView::Same) };
    let spec = VpcPeeringSpec { recreate_on: vec![TerminalState::Deleted], ..spec() };
    let (forecast, actions) = of(&spec, false, observed);
    assert_eq!(actions, ["CreateVpcPeeringConnection", "AcceptVpcPeeringConnection"], "{forecast:#?}");
    assert!(matches!(forecast.end, Plan::Settled { .. }), "{:?}", forecast.end);
}

/// The view of a recorded connection with this code.
fn recorded(code: StatusCode) -> Observation {
    Observation { recorded: Some(Arc::new(connection(code))), ..observed(AccepterView::Same) }
}

#[test]
fn a_connection_that_ec2_does_not_show_is_waited_for_and_then_requested_again() {
    let mut input = Input::new(spec(), recorded(StatusCode::Active));
    input.observed.recorded = None;
    input.spec.recreate_on = vec![TerminalState::Deleted];
    let (forecast, actions) = input.forecast();
    assert_eq!(actions, ["CreateVpcPeeringConnection", "AcceptVpcPeeringConnection"], "{forecast:#?}");
    assert!(matches!(forecast.end, Plan::Settled { .. }), "{:?}", forecast.end);
}

#[test]
fn an_ended_connection_is_requested_again_only_if_the_spec_or_a_person_asks_for_it() {
    let input = |reconcile_requested| {
        let input = Input::new(spec(), recorded(StatusCode::Expired));
        Input { reconcile_requested, ..input }.forecast()
    };
    let (forecast, actions) = input(false);
    assert_eq!(actions, [""; 0]);
    assert!(matches!(forecast.end, Plan::Stalled { reason: Reason::Expired, .. }), "{:?}", forecast.end);
    let (forecast, actions) = input(true);
    assert_eq!(actions, ["CreateVpcPeeringConnection", "AcceptVpcPeeringConnection"], "{forecast:#?}");
}

#[test]
fn codes_that_ec2_changes_by_itself_are_waited_for() {
    let rows = [
        (StatusCode::InitiatingRequest, false, vec!["AcceptVpcPeeringConnection"]),
        (StatusCode::Provisioning, false, vec![]),
        (StatusCode::InitiatingRequest, true, vec!["DeleteVpcPeeringConnection"]),
        (StatusCode::Deleting, true, vec![]),
    ];
    for (code, deleted, expected) in rows {
        let (forecast, actions) = of(&spec(), deleted, recorded(code.clone()));
        assert_eq!(actions, expected, "{code}, deleted: {deleted}");
        let is_done = matches!((deleted, &forecast.end), (true, Plan::RemoveFinalizer) | (false, Plan::Settled { .. }));
        assert!(is_done, "{code}, deleted: {deleted}: {:?}", forecast.end);
    }
    // A connection that the operator only observes.
    let mut observing = VpcPeeringSpec { management_policy: ManagementPolicy::Observe, ..spec() };
    observing.vpc_peering_connection_id = Some("pcx-1".into());
    let wanted = Some(Arc::new(connection(StatusCode::Provisioning)));
    let (forecast, _) = of(&observing, false, Observation { wanted, ..observed(AccepterView::Same) });
    assert!(matches!(forecast.end, Plan::Settled { .. }), "{:?}", forecast.end);
}

/// A recorded route of the requester through pcx-1, which EC2 shows.
fn with_route(input: &mut Input) {
    let route = ManagedRoute {
        side: Side::Requester,
        route_table_id: "rtb-1".into(),
        destination_cidr_block: Some("10.2.0.0/16".into()),
        destination_prefix_list_id: None,
        vpc_peering_connection_id: "pcx-1".into(),
    };
    let target = Target::Peering("pcx-1".into());
    let shown = "10.2.0.0/16".parse().map(|destination| Route { destination, target, is_blackhole: false });
    let table = RouteTable {
        id: "rtb-1".into(),
        vpc_id: "vpc-11111111".into(),
        main: true,
        routes: shown.into_iter().collect(),
        ..RouteTable::default()
    };
    input.observed.tables.insert(Side::Requester, Ok(Arc::new([table].into_iter().collect())));
    input.status = input.status.take().map(|status| VpcPeeringStatus { routes: vec![route], ..status });
}

/// An accepter in another account, which shows these connections.
fn elsewhere(observed: Observation, at_accepter: Vec<Arc<Connection>>) -> Input {
    let mut input = Input::new(spec(), observed);
    input.ends.accepter.owner_id = Some("222222222222".into());
    input.observed.accepter = AccepterView::Elsewhere(Ok(at_accepter.first().cloned()));
    input.reads.at_accepter = at_accepter;
    input
}

fn across(code: StatusCode) -> Connection {
    let mut connection = connection(code);
    connection.accepter.owner_id = Some("222222222222".into());
    connection
}

#[test]
fn an_accepter_in_another_account_gets_tags_of_its_own() {
    let new = elsewhere(Observation::default(), Vec::new());
    let (forecast, actions) = new.forecast();
    assert_eq!(actions, ["CreateVpcPeeringConnection", "AcceptVpcPeeringConnection", "CreateTags"], "{forecast:#?}");
    assert!(matches!(forecast.end, Plan::Settled { .. }), "{:?}", forecast.end);
    let accounts: Vec<_> =
        forecast.steps.iter().flat_map(|step| &step.calls).map(|call| call.account.clone()).collect();
    let [requester, accepter] = ["111111111111", "222222222222"].map(|account| Some(account.to_owned()));
    assert_eq!(accounts, [requester, accepter.clone(), accepter]);
    // EC2 does not show the connection to the accepter.
    let pending = Some(Arc::new(across(StatusCode::PendingAcceptance)));
    let unseen = elsewhere(Observation { recorded: pending, ..Observation::default() }, Vec::new());
    let (forecast, actions) = unseen.forecast();
    assert_eq!(actions, [""; 0]);
    assert!(matches!(forecast.end, Plan::Wait { reason: Reason::AwaitingConsistency, .. }), "{:?}", forecast.end);
}

#[test]
fn an_orphan_beside_the_connection_is_deleted_once() {
    let earlier = Owner { uid: "earlier".into(), ..owner() };
    let orphan = Connection { id: "pcx-2".into(), tags: tags(&earlier), ..connection(StatusCode::Active) };
    let foreign = Connection { id: "pcx-3".into(), tags: tags(&another_owner()), ..connection(StatusCode::Active) };
    let observed = Observation {
        orphaned: vec![Arc::new(orphan)],
        conflicting: Some(Arc::new(foreign)),
        ..recorded(StatusCode::Active)
    };
    assert_eq!(candidates(&observed), ["pcx-1", "pcx-2", "pcx-3"].map(str::to_owned).into());
    let (forecast, actions) = of(&spec(), false, observed);
    assert_eq!(actions, ["DeleteVpcPeeringConnection"]);
    assert!(matches!(forecast.end, Plan::Settled { .. }), "{:?}", forecast.end);
}

#[test]
fn an_adopted_connection_gets_its_tags_and_is_recorded() {
    let untagged = Connection { tags: Default::default(), ..connection(StatusCode::Active) };
    let adopting = VpcPeeringSpec { vpc_peering_connection_id: Some("pcx-1".into()), ..spec() };
    let wanted = Some(Arc::new(untagged));
    let (forecast, actions) = of(&adopting, false, Observation { wanted, ..observed(AccepterView::Same) });
    assert_eq!(actions, ["CreateTags"], "{forecast:#?}");
    assert!(matches!(forecast.end, Plan::Settled { .. }), "{:?}", forecast.end);
}

#[test]
fn an_observed_connection_is_followed_to_its_end() {
    let untagged = Arc::new(Connection { tags: Default::default(), ..connection(StatusCode::Deleting) });
    let observing = VpcPeeringSpec { management_policy: ManagementPolicy::Observe, ..spec() };
    let (recorded, conflicting) = (Some(Arc::clone(&untagged)), Some(untagged));
    let shown = Observation { recorded, conflicting, ..observed(AccepterView::Same) };
    let (forecast, actions) = of(&observing, false, shown);
    assert_eq!(actions, [""; 0]);
    assert!(matches!(forecast.end, Plan::Stalled { reason: Reason::Deleted, .. }), "{:?}", forecast.end);
}

#[test]
fn a_false_record_is_replaced_with_its_routes() {
    let mut foreign = connection(StatusCode::Active);
    foreign.requester.vpc_id = Some("vpc-33333333".into());
    let ours = Connection { id: "pcx-2".into(), ..connection(StatusCode::Active) };
    let (recorded, owned) = (Some(Arc::new(foreign)), vec![Arc::new(ours)]);
    let mut input = Input::new(spec(), Observation { recorded, owned, ..observed(AccepterView::Same) });
    with_route(&mut input);
    let (forecast, actions) = input.forecast();
    assert_eq!(actions, [""; 0], "{forecast:#?}");
    assert!(matches!(forecast.end, Plan::Settled { .. }), "{:?}", forecast.end);
}

#[test]
fn a_connection_that_becomes_active_keeps_its_routes() {
    let mut input = Input::new(with_routes(), recorded(StatusCode::Provisioning));
    input.spec.accepter.routes = None;
    with_route(&mut input);
    let (forecast, actions) = input.forecast();
    assert_eq!(actions, [""; 0], "{forecast:#?}");
    assert!(matches!(forecast.end, Plan::Settled { .. }), "{:?}", forecast.end);
}

#[test]
fn dns_attributes_come_before_the_option_that_needs_them() {
    let mut input = Input::new(spec(), recorded(StatusCode::Active));
    input.spec.requester.options =
        Some(SideOptions { allow_dns_resolution_from_remote_vpc: Some(true), manage_dns_attributes: true });
    let on = DnsAttributes { support: true, hostnames: true };
    let off = DnsAttributes { support: false, hostnames: false };
    input.reads.dns =
        BTreeMap::<Side, Result<_, Blocker>>::from([(Side::Requester, Ok(off)), (Side::Accepter, Ok(on))]);
    let (forecast, actions) = input.forecast();
    let expected = ["ModifyVpcAttribute", "ModifyVpcAttribute", "ModifyVpcPeeringConnectionOptions"];
    assert_eq!(actions, expected, "{forecast:#?}");
    assert!(matches!(forecast.end, Plan::Settled { .. }), "{:?}", forecast.end);
}

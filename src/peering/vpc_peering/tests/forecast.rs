//! The forecast of `plan`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::api::{
    CidrBlock, Ownership, PeeringSide, Reason, RouteTableSelector, Routes, Side, VpcInfo, VpcPeeringSpec,
    VpcPeeringStatus,
};
use crate::peering::forecast::Forecast;
use crate::peering::plan::Step as _;
use crate::peering::routes::{RouteTable, RouteTables};
use crate::peering::testing::{connection, defaults, owner, permissions, spec};
use crate::peering::vpc_peering::{AccepterView, Desired, Observation, Reads, Step, forecast};
use crate::peering::{Endpoints, Plan, Preflight, Settings, StatusCode, testing};

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
    let routes = Some(Routes { route_tables, ..Routes::default() });
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

/// The forecast for a spec, and the EC2 actions in order.
fn of(spec: &VpcPeeringSpec, deleted: bool, observed: Observation) -> (Forecast<Step>, Vec<&'static str>) {
    let (owner, ends, permissions, defaults) = (owner(), ends(), permissions(), defaults());
    let recorded = observed.recorded.as_ref().map(|connection| VpcPeeringStatus {
        vpc_peering_connection_id: Some(connection.id.as_str().into()),
        ownership: Some(Ownership::Owned),
        ..VpcPeeringStatus::default()
    });
    let desired = Desired {
        owner: &owner,
        spec,
        ends: &ends,
        permissions: &permissions,
        defaults: &defaults,
        is_cluster_unique: true,
        deleted,
        finalizer: recorded.is_some(),
        reconcile_requested: false,
        reconcile_at: None,
        generation: 1,
        status: recorded.as_ref(),
    };
    let forecast = forecast(desired, observed, reads(), Timestamp::UNIX_EPOCH, SETTINGS);
    let actions = forecast.steps.iter().flat_map(|step| &step.calls).map(|call| call.call.action()).collect();
    (forecast, actions)
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
    let (owner, ends, permissions, spec) = (owner(), ends(), permissions(), spec());
    let defaults = defaults();
    let desired = Desired {
        owner: &owner,
        spec: &spec,
        ends: &ends,
        permissions: &permissions,
        defaults: &defaults,
        is_cluster_unique: true,
        deleted: false,
        finalizer: true,
        reconcile_requested: false,
        reconcile_at: None,
        generation: 1,
        status: None,
    };
    let preflight = Preflight::Refused { reason: Reason::OverlappingCidrBlocks, message: "overlap".into() };
    let reads = Reads { preflight, ..reads() };
    let forecast = forecast(desired, observed(AccepterView::Same), reads, Timestamp::UNIX_EPOCH, SETTINGS);
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
    let spec = VpcPeeringSpec { recreate_on: vec![crate::api::TerminalState::Deleted], ..spec() };
    let (forecast, actions) = of(&spec, false, observed);
    assert_eq!(actions, ["CreateVpcPeeringConnection", "AcceptVpcPeeringConnection"], "{forecast:#?}");
    assert!(matches!(forecast.end, Plan::Settled { .. }), "{:?}", forecast.end);
}

//! Snapshots of every format.

use std::sync::Arc;

use super::*;
use crate::api::Side;
use crate::api::{ManagedRoute, Reason, VpcPeering};
use crate::cli::output::Report as _;
use crate::cli::snapshots::matches;
use crate::peering::forecast::{Forecast, NEW_CONNECTION};
use crate::peering::routes::RouteChange;
use crate::peering::testing::{connection, spec};
use crate::peering::upkeep::UpkeepStep;
use crate::peering::vpc_peering::Step as Taken;
use crate::peering::{Authorized, CreateRequest, Ec2Call, StatusCode};

fn object(name: &str) -> VpcPeering {
    let mut object = VpcPeering::new(name, spec());
    object.metadata.namespace = Some("team".into());
    object
}

fn placed(side: Side, call: Ec2Call) -> PlacedCall {
    PlacedCall { side, account: Some("111111111111".into()), region: "eu-central-1".into(), call }
}

fn step(step: Taken, calls: Vec<PlacedCall>, after_acceptance: bool) -> Forecasted<Taken> {
    Forecasted { step, calls, after_acceptance }
}

fn planned(steps: Vec<Forecasted<Taken>>, end: Plan<Taken>) -> Planned<Taken> {
    Planned {
        forecast: Forecast { steps, end, acceptance: None },
        problems: Vec::new(),
        unchecked: Vec::new(),
        is_blocked: false,
    }
}

/// A request whose routes wait for the acceptance.
fn requested() -> Resource {
    let request = CreateRequest {
        region: "eu-central-1".into(),
        vpc_id: "vpc-11111111".into(),
        peer_vpc_id: "vpc-22222222".into(),
        peer_owner_id: Some("222222222222".into()),
        peer_region: None,
        tags: [("team".to_owned(), "a|b".to_owned())].into(),
    };
    let route = RouteChange::Create(ManagedRoute {
        side: Side::Requester,
        route_table_id: "rtb-1".into(),
        destination_cidr_block: Some("10.2.0.0/16".into()),
        destination_prefix_list_id: None,
        vpc_peering_connection_id: NEW_CONNECTION.into(),
    });
    let routes =
        Taken::Upkeep { side: Side::Requester, step: UpkeepStep::ChangeRoutes { changes: vec![route.clone()] } };
    let steps = vec![
        step(Taken::AddFinalizer, Vec::new(), false),
        step(Taken::Preflight, Vec::new(), false),
        step(Taken::Create, vec![placed(Side::Requester, Ec2Call::Create(request))], false),
        step(routes, vec![placed(Side::Requester, Ec2Call::ChangeRoute(route))], true),
    ];
    let end = Plan::Settled { message: "pcx-(new) is active".into(), requeue_after: None };
    let mut planned = planned(steps, end);
    planned.forecast.acceptance = Some("pcx-(new) waits for the owner of vpc-22222222".into());
    planned.problems = vec!["CreateVpcPeeringConnection is refused:\n\u{1b}[31mno <permission>".into()];
    planned.unchecked = vec!["CreateRoute in eu-central-1".into()];
    Resource::new(&object("requested"), &planned)
}

/// A drifted tag.
fn drifted() -> Resource {
    let keys = ["stale".to_owned()].into();
    let untag = UpkeepStep::Untag { id: Authorized::unchecked("pcx-1"), keys };
    let call = Ec2Call::Untag { id: "pcx-1".into(), keys: ["stale".to_owned()].into() };
    let steps =
        vec![step(Taken::Upkeep { side: Side::Accepter, step: untag }, vec![placed(Side::Accepter, call)], false)];
    let record =
        Taken::Record { connection: Arc::new(connection(StatusCode::Active)), ownership: crate::api::Ownership::Owned };
    let steps = [step(record, Vec::new(), false)].into_iter().chain(steps).collect();
    Resource::new(
        &object("drifted"),
        &planned(steps, Plan::Settled { message: "pcx-1 is active".into(), requeue_after: None }),
    )
}

fn settled() -> Resource {
    let end = Plan::Settled { message: "pcx-2 is active".into(), requeue_after: None };
    Resource::new(&object("settled"), &planned(Vec::new(), end))
}

fn stalled() -> Resource {
    let end = Plan::stalled(Reason::OverlappingCidrBlocks, "vpc-1 and vpc-2 overlap".into());
    Resource::new(&object("stalled"), &planned(Vec::new(), end))
}

fn report() -> Report {
    let note = "a.yaml: VpcPeering drifted was not validated: forbidden".to_owned();
    Report::new(vec![requested(), drifted(), settled(), stalled()], vec![note])
}

fn text(report: &Report) -> String {
    anstream::adapter::strip_str(&report.text()).to_string()
}

#[test]
fn the_text_shows_each_step_with_its_calls() -> std::io::Result<()> {
    matches(&text(&report()), "plan/report/snapshots/plan.txt")
}

#[test]
fn the_markdown_shows_texts_of_others_as_they_are() -> std::io::Result<()> {
    matches(&report().markdown(), "plan/report/snapshots/plan.md")
}

#[test]
fn the_json_has_every_parameter() -> anyhow::Result<()> {
    Ok(matches(&(serde_json::to_string_pretty(&report())? + "\n"), "plan/report/snapshots/plan.json")?)
}

#[test]
fn the_yaml_is_the_json() -> anyhow::Result<()> {
    Ok(matches(&serde_saphyr::to_string(&report())?, "plan/report/snapshots/plan.yaml")?)
}

#[test]
fn the_markdown_fits_a_comment() {
    let markdown = Report::new(vec![requested(); 1000], Vec::new()).markdown();
    assert!(markdown.len() <= 65_536, "{}", markdown.len());
    let last = markdown.lines().last().unwrap_or_default();
    assert!(last.ends_with("more resources do not fit into a comment. `--output text` shows them."), "{last}");
}

#[test]
fn a_plan_without_changes_prints_nothing() {
    let report = Report::new(vec![settled()], Vec::new());
    assert_eq!(text(&report), "");
    assert!(!report.has_changes() && !report.needs_a_person());
    let empty = "### VPC peering plan\n\n0 to change with 0 EC2 calls, 1 unchanged, 0 need a person\n";
    assert_eq!(report.markdown(), empty);
}

#[test]
fn only_what_the_operator_does_now_is_a_change() {
    assert!(Report::new(vec![drifted()], Vec::new()).has_changes());
    assert!(Report::new(vec![stalled()], Vec::new()).needs_a_person());
    let mut waiting = requested();
    waiting.problems.clear();
    waiting.steps.retain(|step| step.after_acceptance);
    assert!(!Report::new(vec![waiting], Vec::new()).has_changes());
}

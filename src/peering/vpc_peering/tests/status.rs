//! The status that a decision or a step writes.

use super::*;
use crate::api::vpc_peering::StatusTag;
use crate::api::{CidrBlock, ConditionType, PeeringStatus, VpcPeeringStatus};
use crate::peering::conditions::{Readiness, find, to_the_second};
use crate::peering::plan::Decision;
use crate::peering::settings::TRANSIENT;
use crate::peering::vpc_peering::status::{dry_run_answered, recorded_step, report_blocked, requested, without_intent};

/// The decision on a case with this stored status.
fn decision(case: &Case, status: &VpcPeeringStatus) -> Decision<Step, VpcPeeringStatus> {
    case.ask(|desired| {
        let desired = Desired { status: Some(status), reconcile_at: Some("now"), ..desired };
        decide(desired, &case.recorded, &case.observed, NOW, SETTINGS)
    })
}

fn written(case: &Case, status: &VpcPeeringStatus) -> VpcPeeringStatus {
    decision(case, status).status
}

/// The status of a connection that is recorded as owned.
fn owned() -> VpcPeeringStatus {
    VpcPeeringStatus {
        vpc_peering_connection_id: Some("pcx-1".into()),
        ownership: Some(Ownership::Owned),
        observed_generation: Some(1),
        ..VpcPeeringStatus::default()
    }
}

fn with_intent() -> VpcPeeringStatus {
    VpcPeeringStatus { creation_started_at: Some(to_the_second(NOW)), ..VpcPeeringStatus::default() }
}

fn types(status: &VpcPeeringStatus) -> Vec<&str> {
    status.conditions.iter().map(|condition| condition.type_.as_str()).collect()
}

#[test]
fn a_state_that_ec2_soon_leaves_is_written_only_if_it_lasts_or_says_something_new() {
    let waits = |code: &str, change: fn(&mut Case, &mut VpcPeeringStatus)| {
        let (mut case, mut status) = (Case::with(code.into()), owned());
        change(&mut case, &mut status);
        decision(&case, &status).defer_write
    };
    let ready = |_: &mut Case, status: &mut VpcPeeringStatus| {
        let readiness = Readiness { ready: Some(true), ..Readiness::working(Reason::Active, "active") };
        status.conditions = readiness.conditions(1, NOW);
    };
    let second = Duration::from_secs(1);
    for (name, waited, expected) in [
        ("a new request", waits("initiating-request", |_, _| {}), Some(TRANSIENT)),
        ("an accepted request", waits("provisioning", |_, _| {}), Some(TRANSIENT)),
        ("after a second", waits("provisioning", |case, _| case.observed.transient_for = TRANSIENT / 2), Some(second)),
        ("it lasts", waits("provisioning", |case, _| case.observed.transient_for = TRANSIENT), None),
        ("another code", waits("deleting", |_, _| {}), None),
        ("a new generation", waits("provisioning", |_, status| status.observed_generation = Some(0)), None),
        ("a person waits", waits("provisioning", |case, _| case.reconcile_requested = true), None),
        ("it was ready", waits("provisioning", ready), None),
    ] {
        assert_eq!(waited, expected, "{name}");
    }
}

#[test]
fn a_reconcile_request_is_answered_when_ec2_has_shown_the_state() {
    let mut case = Case::new();
    case.recorded = Case::with(StatusCode::Active).recorded;
    assert_eq!(written(&case, &owned()).last_handled_reconcile_at, None, "EC2 does not show the connection yet");
    case.observed.missing_for = SETTINGS.consistency_window;
    assert_eq!(written(&case, &owned()).last_handled_reconcile_at.as_deref(), Some("now"));
}

#[test]
fn the_intent_of_a_request_stays_until_nothing_can_come_of_it() {
    let mut case = Case::new();
    case.recorded.creation_started = true;
    assert!(written(&case, &with_intent()).creation_started_at.is_some(), "EC2 may show the connection yet");
    // Another owner has a connection of these VPCs, so that EC2 has created none.
    let foreign = Connection { tags: tags(&another_owner()), ..connection(StatusCode::Active) };
    case.observed.missing_for = SETTINGS.consistency_window;
    case.observed.conflicting = Some(foreign.into());
    assert_eq!(case.summary(), "stalled: ConnectionNotOwned");
    assert_eq!(written(&case, &with_intent()).creation_started_at, None);
    // The record of the connection replaces the intent.
    let status = VpcPeeringStatus { creation_started_at: with_intent().creation_started_at, ..owned() };
    assert_eq!(written(&Case::with(StatusCode::Active), &status).creation_started_at, None);
}

#[test]
fn the_tags_of_the_accepters_end_are_shown_if_it_has_tags_of_its_own() {
    let tag = |key: &str| StatusTag { key: key.into(), value: "".into() };
    let before = VpcPeeringStatus { accepter_tags: vec![tag("before")], ..owned() };
    let mut there = connection(StatusCode::Active);
    there.tags = [("theirs".into(), "".into())].into_iter().collect();
    for (view, expected) in [
        (AccepterView::Elsewhere(Ok(Some(there.into()))), vec![tag("theirs")]),
        (AccepterView::Elsewhere(Ok(None)), vec![]),
        (AccepterView::Elsewhere(Err(refusal())), vec![tag("before")]),
        (AccepterView::Same, vec![]),
        (AccepterView::Nobody, vec![]),
    ] {
        let mut case = Case::with(StatusCode::Provisioning);
        case.observed.accepter = view.clone();
        assert!(case.summary().starts_with("wait"), "{view:?}");
        assert_eq!(written(&case, &before).accepter_tags, expected, "{view:?}");
    }
}

#[test]
fn the_first_blocks_of_an_accepter_without_an_identity_are_recorded() {
    fn shown(case: &mut Case) -> &mut Connection {
        case.observed.recorded.as_mut().map(Arc::make_mut).unwrap()
    }
    let blocks = |change: fn(&mut Case, &mut VpcPeeringStatus)| {
        let mut shown = connection(StatusCode::Active);
        shown.accepter.cidr_block_set = vec![CidrBlock { cidr_block: "10.2.0.0/16".into() }];
        let (mut case, mut status) = (Case::showing(shown), owned());
        case.observed.accepter = AccepterView::Nobody;
        change(&mut case, &mut status);
        written(&case, &status).accepted_cidr_blocks
    };
    let first = Some(vec!["10.2.0.0/16".into()]);
    assert_eq!(blocks(|_, _| {}), first);
    assert_eq!(blocks(|case, _| case.observed.accepter = AccepterView::Same), None, "every block is allowed");
    let pending = blocks(|case, _| shown(case).code = StatusCode::Provisioning);
    assert_eq!(pending, None, "EC2 may not show all blocks yet");
    assert_eq!(blocks(|case, _| shown(case).accepter.cidr_block_set.clear()), None);
    let later = blocks(|_, status| status.accepted_cidr_blocks = Some(vec!["10.1.0.0/16".into()]));
    assert_eq!(later, Some(vec!["10.1.0.0/16".into()]), "a block that is added later is not allowed");
}

#[test]
fn a_blocked_resource_keeps_what_was_seen() {
    let spec = spec();
    let synced = Case::with(StatusCode::Active).decision().status;
    let mut before = owned();
    before.conditions = synced.conditions;
    let routes = crate::peering::conditions::condition(
        ConditionType::RoutesReady,
        "True",
        Reason::Synced,
        "as the spec asks",
        1,
        NOW,
    );
    before.conditions.push(routes);
    before.last_handled_reconcile_at = Some("before".into());
    let readiness = Readiness::blocked(refusal(), Some(false));
    let later = Goal { generation: 2, ..goal(&spec, false) };
    let report = |answered| report_blocked(&later, Some(&before), &readiness, answered, NOW);
    let status = report(None);
    assert_eq!(types(&status), ["Ready", "Stalled", "RoutesReady"]);
    assert_eq!((status.observed_generation, status.last_handled_reconcile_at.as_deref()), (Some(2), Some("before")));
    assert_eq!(report(Some("now")).last_handled_reconcile_at.as_deref(), Some("now"));
    assert_eq!(without_intent(&goal(&spec, false), Some(&with_intent()), &readiness, NOW).creation_started_at, None);
}

#[test]
fn a_step_that_only_records_changes_no_condition_of_an_earlier_status() {
    let record = |step: &Step, status: &VpcPeeringStatus| {
        let case = Case::new();
        case.ask(|desired| recorded_step(step, Desired { status: Some(status), ..desired }, &case.observed, NOW))
    };
    let tags = |side| Step::Upkeep { side, step: UpkeepStep::RecordTags { tags: managed(&[("Name", "x")]) } };
    let first = record(&tags(Side::Requester), &VpcPeeringStatus::default()).unwrap();
    assert_eq!((first.managed_tags.len(), first.accepter_managed_tags.len()), (1, 0));
    assert_eq!(types(&first), ["Ready", "Reconciling"], "the first status has a condition");
    let ready = VpcPeeringStatus { conditions: Case::with(StatusCode::Active).decision().status.conditions, ..owned() };
    let second = record(&tags(Side::Accepter), &ready).unwrap();
    assert_eq!((second.managed_tags.len(), second.accepter_managed_tags.len()), (0, 1));
    assert_eq!(second.conditions, ready.conditions);
    let found = Step::Record { connection: connection(StatusCode::Active).into(), ownership: Ownership::Owned };
    let found = record(&found, &with_intent()).unwrap();
    assert_eq!(found.status, Some(PeeringStatus { code: "active".into(), message: None }));
    assert_eq!((found.creation_started_at, found.ends.is_some()), (None, true));
    assert_eq!(record(&Step::Create, &ready), None);
}

#[test]
fn a_request_records_its_intent_and_the_tags_of_the_spec() {
    let mut case = Case::new();
    case.spec.tags = vec![crate::api::Tag { key: "Name".into(), value: "x".into() }];
    let status = case.ask(|desired| {
        let request = desired.request(&AccepterView::Same);
        requested(Desired { reconcile_at: Some("now"), ..desired }, request.tags.iter(), NOW)
    });
    assert_eq!(status.creation_started_at, Some(to_the_second(NOW)));
    assert_eq!(status.managed_tags, managed(&[("Name", "x")]).into_iter().collect::<Vec<_>>());
    assert!(status.ends.is_some() && find(&status.conditions, ConditionType::Ready).is_some());
    let answered = status.last_handled_reconcile_at.as_deref();
    assert_eq!(answered, Some("now"), "a person who asks for a request gets one");
}

#[test]
fn the_last_answer_to_a_dry_run_replaces_the_earlier_one() {
    let mut case = Case::new();
    case.spec.dry_run = true;
    let answer = |status: &VpcPeeringStatus, succeeded: &str| {
        let readiness = Readiness::dry_run_succeeded();
        let answer = |desired: Desired<'_>| dry_run_answered(desired, succeeded, &readiness, NOW);
        case.ask(|desired| answer(Desired { status: Some(status), ..desired }))
    };
    let refused = answer(&VpcPeeringStatus::default(), "False");
    let succeeded = answer(&refused, "True");
    assert_eq!((types(&refused), types(&succeeded)), (vec!["Ready", "DryRunSucceeded"], types(&refused)));
    assert!(Recorded::of(Some(&succeeded), Some(1)).dry_run_succeeded);
    assert!(!Recorded::of(Some(&refused), Some(1)).dry_run_succeeded);
    assert!(!Recorded::of(Some(&succeeded), Some(2)).dry_run_succeeded, "the spec has changed since");
}

#[test]
fn options_and_routes_have_conditions_only_if_the_spec_asks_for_them() {
    let mut case = Case::with(StatusCode::Active);
    assert_eq!(types(&written(&case, &owned())), ["Ready"]);
    let allow = SideOptions { allow_dns_resolution_from_remote_vpc: Some(false), ..SideOptions::default() };
    case.spec.requester.options = Some(allow);
    assert_eq!(types(&written(&case, &owned())), ["Ready", "OptionsSynced"]);
    // They wait for an active connection.
    for (code, expected) in [("provisioning", "waiting for the peering"), ("deleted", "pcx-1 no longer exists")] {
        case.observed.recorded = Some(connection(code.into()).into());
        let status = written(&case, &owned());
        let options = find(&status.conditions, ConditionType::OptionsSynced).unwrap();
        assert!(options.status == "False" && options.message.contains(expected), "{code}: {options:?}");
    }
}

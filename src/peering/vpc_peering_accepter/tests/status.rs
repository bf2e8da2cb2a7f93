//! The status that a decision or a step writes.

use super::*;
use crate::api::ManagedTag;
use crate::peering::conditions::{condition, find};
use crate::peering::vpc_peering_accepter::decide::decide;
use crate::peering::vpc_peering_accepter::status::{record_adoption, recorded_step, report_blocked};

/// A connection whose requester has these CIDR blocks.
fn with_blocks(id: &str, code: StatusCode, blocks: &[&str]) -> Connection {
    Connection { requester: info(THEIRS, "vpc-11111111", "eu-west-1", blocks), ..connection(id, code) }
}

/// The status after a decision. The object asks for a reconcile.
fn written(case: &Case) -> VpcPeeringAccepterStatus {
    case.with(|desired, recorded| {
        let desired = Desired { reconcile_at: Some("now"), ..desired };
        decide(desired, recorded, &case.observed, case.now, SETTINGS).status
    })
}

#[test]
fn a_reconcile_request_is_answered_when_ec2_has_shown_the_state() {
    let mut case = Case::new([]).accepted("pcx-1");
    assert_eq!(written(&case).last_handled_reconcile_at, None, "EC2 does not show the connection yet");
    case.observed.missing_for.insert("pcx-1".into(), SETTINGS.consistency_window);
    let status = written(&case);
    assert_eq!(status.last_handled_reconcile_at.as_deref(), Some("now"));
    let vpc = status.vpc.map(|vpc| vpc.vpc_id);
    assert_eq!((vpc.as_deref(), status.owner_id.as_deref()), (Some(VPC), Some(OURS)));
}

#[test]
fn a_deleted_resource_keeps_its_list_of_connections() {
    let mut case = Case::new([connection("pcx-1", StatusCode::Deleting), pending("pcx-2")]).accepted("pcx-1");
    case.spec.accept.clear();
    assert_eq!(written(&case).connections.len(), 2);
    case.deleted = true;
    case.refuse(&("pcx-1".to_owned(), Aspect::Tags(Side::Accepter)));
    assert!(matches!(case.plan(), Plan::Stalled { .. }), "{:?}", case.plan());
    assert_eq!(written(&case).connections, case.status.connections, "its requests are not judged any more");
}

#[test]
fn requests_that_wait_for_a_person_are_listed_before_connections_of_others() {
    let foreign = |id: String| Connection { tags: tags([(Owner::UID, "x")]), ..connection(&id, StatusCode::Active) };
    let others = (0..100).map(|number| foreign(format!("pcx-{number:03}")));
    let mut case = Case::new(others.chain([pending("pcx-998"), pending("pcx-999")]));
    case.spec.accept.clear();
    let denied = |id: &str| Connection { requester: info(THEIRS, "vpc-3", "eu-west-1", &[]), ..pending(id) };
    case.observed.connections.insert("pcx-999".into(), denied("pcx-999").into());
    case.spec.deny = vec![DeniedRequests { vpc_ids: vec!["vpc-3".into()], ..DeniedRequests::default() }];
    let status = case.described();
    let decisions: Vec<_> = status.connections.iter().rev().map(|connection| connection.decision).take(3).collect();
    assert_eq!(decisions, [AccepterDecision::Denied, AccepterDecision::Pending, AccepterDecision::Ignored]);
    assert_eq!((status.connections.len(), status.ignored), (100, Some(100)));
    assert_eq!((status.pending, status.denied), (Some(2), Some(1)), "a denied request is pending in EC2, too");
}

#[test]
fn only_live_connections_of_the_resource_count_as_accepted() {
    let foreign = Connection { tags: tags([(Owner::UID, "x")]), ..connection("pcx-3", StatusCode::Active) };
    let shown = [connection("pcx-1", StatusCode::Active), connection("pcx-2", StatusCode::Deleted)];
    let mut case = Case::new(shown).accepted("pcx-1").accepted("pcx-2");
    case.observed.connections.insert("pcx-3".into(), foreign.into());
    let status = case.described();
    assert_eq!((status.accepted, status.ignored, status.rejected), (Some(1), Some(1), Some(0)));
}

#[test]
fn the_first_blocks_of_another_account_are_recorded_when_the_connection_is_active() {
    let blocks = |shown: Connection| {
        let mut case = Case::new([shown.clone()]).accepted("pcx-1");
        case.status.connections[0].accepted_cidr_blocks.clear();
        case.described().connections[0].accepted_cidr_blocks.clone()
    };
    let active = || with_blocks("pcx-1", StatusCode::Active, &["10.1.0.0/16"]);
    assert_eq!(blocks(active()), ["10.1.0.0/16"]);
    assert_eq!(blocks(Connection { code: StatusCode::Provisioning, ..active() }), [""; 0]);
    let own = Connection { requester: info(OURS, "vpc-1", "eu-west-1", &["10.1.0.0/16"]), ..active() };
    let mut case = Case::new([own]).accepted("pcx-1");
    case.spec.accept = vec![any_of(OURS)];
    assert_eq!(case.described().connections[0].accepted_cidr_blocks, [""; 0], "the account is the accepter's own");
    // A block that is added later is not.
    let mut later = Case::new([with_blocks("pcx-1", StatusCode::Active, &["10.2.0.0/16"])]).accepted("pcx-1");
    later.status.connections[0].accepted_cidr_blocks = vec!["10.1.0.0/16".into()];
    assert_eq!(later.described().connections[0].accepted_cidr_blocks, ["10.1.0.0/16"]);
    // Nobody recorded that this one was accepted.
    let foreign = Connection { tags: tags([(Owner::UID, "x")]), ..active() };
    assert_eq!(Case::new([foreign]).described().connections[0].accepted_cidr_blocks, [""; 0]);
}

#[test]
fn a_connection_of_another_owner_keeps_its_record_and_gets_no_blocks() {
    let mut case = Case::new([with_blocks("pcx-1", StatusCode::Active, &["10.1.0.0/16"])]).accepted("pcx-1");
    case.status.connections[0].accepted_cidr_blocks.clear();
    let shown = case.observed.connections.get_mut("pcx-1").map(Arc::make_mut).expect("a connection");
    shown.tags = tags([(Owner::UID, "somebody")]);
    let described = case.described().connections.remove(0);
    assert_eq!(described.decision, AccepterDecision::Ignored);
    assert!(described.accepted_at.is_some() && described.accepted_cidr_blocks.is_empty(), "{described:?}");
}

#[test]
fn a_record_step_changes_only_its_own_part() {
    let shown = ["pcx-1", "pcx-2"].map(|id| with_blocks(id, StatusCode::Active, &["10.1.0.0/16"]));
    let case = Case::new(shown).accepted("pcx-1").accepted("pcx-2");
    let record = |step: &Step| case.with(|desired, _| recorded_step(step, desired, &case.observed, case.now));
    let upkeep = |step| Step::Upkeep { id: "pcx-1".into(), step };
    let name = ManagedTag { key: "Name".into(), value: "x".into() };
    let status = record(&upkeep(UpkeepStep::RecordTags { tags: [name.clone()].into() })).expect("a status");
    let tags: Vec<_> = status.connections.iter().map(|connection| connection.managed_tags.clone()).collect();
    assert_eq!(tags, [vec![name], vec![]]);
    let status = record(&upkeep(UpkeepStep::RecordRoutes { routes: [route("pcx-1")].into() })).expect("a status");
    assert_eq!(status.routes, [route("pcx-1")]);
    let blocks: Vec<_> = status.connections.iter().map(|one| one.accepted_cidr_blocks.join(" ")).collect();
    assert_eq!(blocks, ["10.1.0.0/16", ""], "the first blocks are recorded before the first route");
    let accept = Step::Accept { id: Authorized::unchecked("pcx-1") };
    assert_eq!(record(&accept), None);
    let acceptance = Step::RecordAcceptance { id: Authorized::unchecked("pcx-1") };
    let status = record(&acceptance).expect("a status");
    let ids: Vec<_> = status.connections.iter().map(|one| one.vpc_peering_connection_id.as_str()).collect();
    assert_eq!(ids, ["pcx-1", "pcx-2"], "the earlier record is replaced");
}

#[test]
fn the_record_of_an_adoption_has_the_time_and_the_blocks() {
    let mut case = Case::new([]);
    let shown = with_blocks("pcx-1", StatusCode::Active, &["10.1.0.0/16"]);
    record_adoption(&mut case.status, &shown, case.now);
    let record = &case.status.connections[0];
    assert!(record.adopted_at.is_some() && record.accepted_at.is_none());
    assert_eq!(record.accepted_cidr_blocks, ["10.1.0.0/16"]);
}

#[test]
fn a_deletion_ends_the_conditions_of_options_and_routes() {
    let kinds = [ConditionType::OptionsSynced, ConditionType::RoutesReady, ConditionType::AtCapacity];
    let known = |kind| condition(kind, "True", Reason::Synced, "as the spec asks", 1, Timestamp::UNIX_EPOCH);
    let previous = VpcPeeringAccepterStatus { conditions: kinds.map(known).to_vec(), ..Default::default() };
    let spec = Case::new([]).spec;
    let refused = Readiness::working(Reason::Unauthorized, "DeleteTags".to_owned());
    let shown = |deleted| {
        let goal = Goal { spec: &spec, deletion_policy: DeletionPolicy::Delete, deleted, generation: 1 };
        let status = report_blocked(&goal, Some(&previous), &refused, None, Timestamp::UNIX_EPOCH);
        kinds.map(|kind| find(&status.conditions, kind).is_some())
    };
    assert_eq!(shown(false), [true, true, true]);
    assert_eq!(shown(true), [false, false, true]);
}

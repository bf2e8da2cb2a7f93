use k8s_openapi::jiff::SignedDuration;

use super::*;
use crate::peering::Step;
use crate::peering::testing::connection;
use crate::peering::testing::spec;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn types(conditions: &[Condition]) -> Vec<(&str, &str)> {
    conditions.iter().map(|condition| (condition.type_.as_str(), condition.status.as_str())).collect()
}

fn standing(plan: &Plan) -> Standing {
    Standing::under(plan).unwrap_or_else(|| panic!("{plan:?} has no standing"))
}

/// The conditions of a standing after those of an earlier one.
fn after(previous: &[Condition], standing: &Standing, generation: i64, now: Timestamp) -> Vec<Condition> {
    let conditions = standing.conditions(generation, now).into_iter();
    let before = |condition: &Condition| previous.iter().find(|before| before.type_ == condition.type_);
    conditions.map(|condition| following(before(&condition), condition)).collect()
}

#[test]
fn every_plan_shows_the_conditions_that_kstatus_reads() {
    let wait = |reason| Plan::Wait { reason, message: String::new(), look_again: None };
    let rows = [
        (Plan::Steady { look_again: None, message: String::new() }, vec![("Ready", "True")]),
        (Plan::DryRunSucceeded, vec![("Ready", "False")]),
        (wait(Reason::Provisioning), vec![("Ready", "False"), ("Reconciling", "True")]),
        (wait(Reason::UnknownStatusCode), vec![("Ready", "Unknown"), ("Reconciling", "True")]),
        (
            Plan::Stalled { reason: Reason::Expired, message: String::new(), look_again: None },
            vec![("Ready", "False"), ("Stalled", "True")],
        ),
        (Plan::Suspended { message: String::new() }, vec![("Ready", "False")]),
    ];
    for (plan, expected) in rows {
        assert_eq!(types(&standing(&plan).conditions(1, NOW)), expected, "{plan:?}");
    }
    for plan in [Plan::Release, Plan::Act(Step::Create)] {
        assert_eq!(Standing::under(&plan), None, "{plan:?}");
    }
}

#[test]
fn the_transition_time_is_that_of_the_last_real_change() {
    let later = NOW + SignedDuration::from_secs(9);
    let pending = standing(&Plan::Wait { reason: Reason::PendingAcceptance, message: "a".into(), look_again: None });
    let first = pending.conditions(1, NOW);
    let second = after(&first, &Standing { message: "b".into(), ..pending }, 2, later);
    assert_eq!((second[0].last_transition_time.0, second[0].observed_generation), (NOW, Some(2)));
    assert_eq!(second[0].message, "b");
    let third = after(&second, &standing(&Plan::Steady { look_again: None, message: "c".into() }), 2, later);
    assert_eq!(third[0].last_transition_time.0, later);
}

#[test]
fn the_same_error_again_is_no_news() {
    let error = |id: &str| Standing::working(Reason::AwsError, format!("InternalError{REQUEST_ID}{id})"));
    let first = error("r-1").conditions(1, NOW);
    let second = after(&first, &error("r-2"), 1, NOW + SignedDuration::from_secs(9));
    assert_eq!(first, second);
    let another = Standing::working(Reason::AwsError, format!("Unavailable{REQUEST_ID}r-3)"));
    assert!(is_news(first.first(), &another.conditions(1, NOW)[0]));
}

#[test]
fn a_description_ends_the_doubt() {
    let mut status = VpcPeeringStatus { creation_started_at: Some(to_the_second(NOW)), ..Default::default() };
    let connection = connection(StatusCode::Provisioning);
    describe(&mut status, &connection, Ownership::Owned);
    assert_eq!(status.creation_started_at, None);
    assert_eq!(status.vpc_peering_connection_id.as_deref(), Some("pcx-1"));
    assert_eq!(status.status.map(|status| status.code).as_deref(), Some("provisioning"));
    assert_eq!(status.tags.len(), connection.tags.len());
}

#[test]
fn an_active_peering_ends_the_count_of_new_requests() {
    let mut status = VpcPeeringStatus { recreations: Some(3), ..Default::default() };
    describe(&mut status, &connection(StatusCode::PendingAcceptance), Ownership::Owned);
    assert_eq!(status.recreations, Some(3));
    describe(&mut status, &connection(StatusCode::Active), Ownership::Owned);
    assert_eq!(status.recreations, None);
}

#[test]
fn the_history_keeps_the_last_five() {
    let mut status = VpcPeeringStatus::default();
    for number in 1..=7 {
        describe(&mut status, &connection(StatusCode::Expired), Ownership::Owned);
        retire(&mut status, &format!("pcx-{number}"), "expired", number, NOW);
    }
    let ids: Vec<_> = status.history.iter().map(|ended| ended.vpc_peering_connection_id.as_str()).collect();
    assert_eq!(ids, ["pcx-3", "pcx-4", "pcx-5", "pcx-6", "pcx-7"]);
    assert_eq!((status.recreations, &status.vpc_peering_connection_id, &status.status), (Some(7), &None, &None));
}

#[test]
fn a_request_is_warned_of_in_its_last_day_and_only_then() {
    let mut pending = connection(StatusCode::PendingAcceptance);
    for (hours, warned) in [(25, false), (24, true), (1, true), (0, false), (-1, false)] {
        pending.expiration_time = Some(Box::new(NOW + SignedDuration::from_hours(hours)));
        let notes = notes(&spec(), &[], Some(&pending), None, None, 1, NOW);
        assert_eq!(types(&notes), if warned { vec![("ExpiringSoon", "True")] } else { vec![] }, "{hours} hours");
    }
    pending.code = StatusCode::Active;
    assert!(notes(&spec(), &[], Some(&pending), None, None, 1, NOW).is_empty());
}

#[test]
fn a_dry_run_is_remembered_while_it_is_asked_for() {
    let answered = [condition(ConditionType::DryRunSucceeded, "True", Reason::DryRun, "", 1, NOW)];
    let mut spec = spec();
    assert!(notes(&spec, &answered, None, None, None, 1, NOW).is_empty());
    (spec.dry_run, spec.suspend) = (true, true);
    assert_eq!(
        types(&notes(&spec, &answered, None, None, None, 1, NOW)),
        [("DryRunSucceeded", "True"), ("Suspended", "True")]
    );
}

use k8s_openapi::jiff::SignedDuration;

use super::*;
use crate::peering::vpc_peering::Step;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn types(conditions: &[Condition]) -> Vec<(&str, &str)> {
    conditions.iter().map(|condition| (condition.type_.as_str(), condition.status.as_str())).collect()
}

fn readiness(plan: &Plan<Step>) -> Readiness {
    Readiness::under(plan).unwrap_or_else(|| panic!("{plan:?} has no readiness"))
}

/// The conditions of `readiness`, as they follow the previous conditions.
fn after(previous: &[Condition], readiness: &Readiness, generation: i64, now: Timestamp) -> Vec<Condition> {
    all_following(previous, readiness.conditions(generation, now))
}

#[test]
fn every_plan_shows_the_conditions_that_kstatus_reads() {
    let wait = |reason| Plan::<Step>::Wait { reason, message: String::new(), requeue_after: None };
    let rows = [
        (Plan::Settled { requeue_after: None, message: String::new() }, vec![("Ready", "True")]),
        (Plan::DryRunSucceeded, vec![("Ready", "False")]),
        (wait(Reason::Provisioning), vec![("Ready", "False"), ("Reconciling", "True")]),
        (wait(Reason::UnknownStatusCode), vec![("Ready", "Unknown"), ("Reconciling", "True")]),
        (
            Plan::Stalled { reason: Reason::Expired, message: String::new(), requeue_after: None },
            vec![("Ready", "False"), ("Stalled", "True")],
        ),
        (Plan::Suspended { message: String::new() }, vec![("Ready", "False")]),
    ];
    for (plan, expected) in rows {
        assert_eq!(types(&readiness(&plan).conditions(1, NOW)), expected, "{plan:?}");
    }
    for plan in [Plan::RemoveFinalizer, Plan::Act(Step::Create)] {
        assert_eq!(Readiness::under(&plan), None, "{plan:?}");
    }
}

#[test]
fn the_transition_time_changes_only_with_the_status() {
    let later = NOW + SignedDuration::from_secs(9);
    let pending =
        readiness(&Plan::Wait { reason: Reason::PendingAcceptance, message: "a".into(), requeue_after: None });
    let first = pending.conditions(1, NOW);
    let second = after(&first, &Readiness { message: "b".into(), ..pending }, 2, later);
    assert_eq!((second[0].last_transition_time.0, second[0].observed_generation), (NOW, Some(2)));
    assert_eq!(second[0].message, "b");
    let third = after(&second, &readiness(&Plan::Settled { requeue_after: None, message: "c".into() }), 2, later);
    assert_eq!(third[0].last_transition_time.0, later);
}

#[test]
fn an_error_with_another_request_id_is_not_a_change() {
    let error = |id: &str| Readiness::working(Reason::AwsError, format!("InternalError{REQUEST_ID}{id})"));
    let first = error("r-1").conditions(1, NOW);
    let second = after(&first, &error("r-2"), 1, NOW + SignedDuration::from_secs(9));
    assert_eq!(first, second);
    let another = Readiness::working(Reason::AwsError, format!("Unavailable{REQUEST_ID}r-3)"));
    assert!(has_changed(first.first(), &another.conditions(1, NOW)[0]));
}

#[test]
fn another_status_or_reason_is_a_change_even_with_the_same_message() {
    let before = Readiness::working(Reason::Provisioning, "waiting").conditions(1, NOW).remove(0);
    let unknown = Condition { status: "Unknown".into(), ..before.clone() };
    let another = Condition { reason: Reason::Deleting.as_str().into(), ..before.clone() };
    let later = Condition { observed_generation: Some(2), ..before.clone() };
    for (condition, expected) in [(unknown, true), (another, true), (later, false)] {
        assert_eq!(has_changed(Some(&before), &condition), expected, "{condition:?}");
    }
    assert!(has_changed(None, &before), "the condition is new");
}

use k8s_openapi::jiff::SignedDuration;

use super::*;
use crate::peering::testing::connection;
use crate::peering::{StatusCode, Step};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn types(conditions: &[Condition]) -> Vec<(&str, &str)> {
    conditions.iter().map(|condition| (condition.type_.as_str(), condition.status.as_str())).collect()
}

fn standing(plan: &Plan) -> Standing {
    Standing::under(plan).unwrap_or_else(|| panic!("{plan:?} has no standing"))
}

#[test]
fn every_plan_shows_the_conditions_that_kstatus_reads() {
    let wait = |reason| Plan::Wait { reason, message: String::new(), look_again: None };
    let rows = [
        (Plan::Steady { message: String::new() }, vec![("Ready", "True")]),
        (Plan::DryRunSucceeded, vec![("Ready", "False")]),
        (wait(Reason::Provisioning), vec![("Ready", "False"), ("Reconciling", "True")]),
        (wait(Reason::UnknownStatusCode), vec![("Ready", "Unknown"), ("Reconciling", "True")]),
        (
            Plan::Stalled { reason: Reason::Expired, message: String::new() },
            vec![("Ready", "False"), ("Stalled", "True")],
        ),
        (
            Plan::Act(Step::Accept { id: "pcx-1".into(), region: "eu-central-1".into() }),
            vec![("Ready", "False"), ("Reconciling", "True")],
        ),
    ];
    for (plan, expected) in rows {
        assert_eq!(types(&standing(&plan).conditions(&[], 1, NOW)), expected, "{plan:?}");
    }
    assert_eq!(Standing::under(&Plan::Release), None);
}

#[test]
fn the_transition_time_is_that_of_the_last_real_change() {
    let later = NOW + SignedDuration::from_secs(9);
    let pending = standing(&Plan::Wait { reason: Reason::PendingAcceptance, message: "a".into(), look_again: None });
    let first = pending.conditions(&[], 1, NOW);
    let second = Standing { message: "b".into(), ..pending }.conditions(&first, 2, later);
    assert_eq!((second[0].last_transition_time.0, second[0].observed_generation), (NOW, Some(2)));
    assert_eq!(second[0].message, "b");
    let third = standing(&Plan::Steady { message: "c".into() }).conditions(&second, 2, later);
    assert_eq!(third[0].last_transition_time.0, later);
}

#[test]
fn the_same_error_again_is_no_news() {
    let error = |id: &str| Standing::working(Reason::AwsError, format!("InternalError{REQUEST_ID}{id})"));
    let first = error("r-1").conditions(&[], 1, NOW);
    let second = error("r-2").conditions(&first, 1, NOW + SignedDuration::from_secs(9));
    assert_eq!(first, second);
    let another = Standing::working(Reason::AwsError, format!("Unavailable{REQUEST_ID}r-3)"));
    assert!(is_news(first.first(), &another.conditions(&first, 1, NOW)[0]));
}

#[test]
fn a_description_ends_the_doubt() {
    let mut status = VpcPeeringStatus { creation_started_at: Some(to_the_second(NOW)), ..Default::default() };
    let connection = connection(StatusCode::Provisioning);
    describe(&mut status, &connection);
    assert_eq!(status.creation_started_at, None);
    assert_eq!(status.vpc_peering_connection_id.as_deref(), Some("pcx-1"));
    assert_eq!(status.status.map(|status| status.code).as_deref(), Some("provisioning"));
    assert_eq!(status.tags.len(), connection.tags.len());
}

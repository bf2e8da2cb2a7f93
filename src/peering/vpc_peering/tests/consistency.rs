//! Waits for EC2's eventual consistency.

use super::*;

#[test]
fn an_unanswered_request_is_repeated_only_after_the_consistency_window() {
    let mut case = Case::new();
    case.recorded.creation_started = true;
    assert_eq!(case.summary(), "wait: AwaitingConsistency");
    assert_eq!(case.clone().deleted().summary(), "wait: AwaitingConsistency");
    case.observed.missing_for = SETTINGS.consistency_window - Duration::from_millis(1);
    assert_eq!(case.summary(), "wait: AwaitingConsistency");
    case.observed.missing_for = SETTINGS.consistency_window;
    case.observed.preflight = Some(Preflight::Passed);
    assert_eq!(case.summary(), "create");
    assert_eq!(case.deleted().summary(), "remove finalizer");
}

#[test]
fn a_missing_recorded_connection_is_reported_after_the_consistency_window() {
    let mut case = Case::new();
    case.recorded.connection_id = Some("pcx-1".into());
    case.recorded.ownership = Some(Ownership::Owned);
    assert_eq!(case.summary(), "wait: AwaitingConsistency");
    assert_eq!(case.clone().deleted().summary(), "wait: AwaitingConsistency");
    case.observed.missing_for = SETTINGS.consistency_window;
    assert_eq!(case.summary(), "stalled: NotFound");
    assert_eq!(case.deleted().summary(), "remove finalizer");
}

#[test]
fn a_wait_for_consistency_ends_with_its_window() {
    let mut case = Case::new();
    case.recorded.creation_started = true;
    case.observed.missing_for = Duration::from_millis(59_500);
    assert!(
        matches!(case.decide(), Plan::Wait { requeue_after: Some(left), .. } if left == Duration::from_millis(500))
    );
}

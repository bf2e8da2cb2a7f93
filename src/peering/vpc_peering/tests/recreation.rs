//! New requests after a peering has ended.

use super::*;

#[test]
fn an_ended_peering_is_requested_again_only_if_the_spec_asks_for_it() {
    let ends = [
        (StatusCode::Failed, TerminalState::Failed),
        (StatusCode::Rejected, TerminalState::Rejected),
        (StatusCode::Expired, TerminalState::Expired),
        (StatusCode::Deleted, TerminalState::Deleted),
    ];
    for (code, end) in &ends {
        let mut case = Case::with(code.clone());
        for (_, other) in ends.iter().filter(|(_, other)| other != end) {
            case.spec.recreate_on = vec![*other];
            assert!(case.summary().starts_with("stalled"), "{code}, {other:?}");
        }
        case.spec.recreate_on = vec![*end];
        assert_eq!(case.summary(), format!("retire pcx-1 ({code}), 1"));
        case.recorded.recreations = MAX_RECREATIONS;
        assert!(case.summary().starts_with("stalled"), "{code}: the maximum number of recreations");
        case.reconcile_requested = true;
        assert_eq!(case.summary(), format!("retire pcx-1 ({code}), 0"), "a reconcile request resets the count");
        case.spec.vpc_peering_connection_id = Some("pcx-1".into());
        assert!(case.summary().starts_with("stalled"), "{code}: adopted connections are not recreated");
    }
}

#[test]
fn a_connection_that_ec2_no_longer_shows_counts_as_deleted() {
    let mut case = Case::new();
    case.recorded.connection_id = Some("pcx-1".into());
    case.recorded.ownership = Some(Ownership::Owned);
    case.spec.recreate_on = vec![TerminalState::Deleted];
    assert_eq!(case.summary(), "wait: AwaitingConsistency");
    case.observed.missing_for = SETTINGS.consistency_window;
    assert_eq!(case.summary(), "retire pcx-1 (deleted), 1");
}

#[test]
fn the_pauses_between_new_requests_grow_to_an_hour() {
    let pause = |recreations| {
        let mut case = Case::new();
        case.observed.preflight = Some(Preflight::Passed);
        case.recorded.recreations = recreations;
        case.recorded.ended_at = Some(NOW);
        case.decide().requeue_after().map(|pause| pause.as_secs())
    };
    assert_eq!(pause(0), None);
    assert_eq!([1, 2, 3, 7, 8].map(pause), [60, 120, 240, 3600, 3600].map(Some));
    let mut case = Case::new();
    case.observed.preflight = Some(Preflight::Passed);
    case.recorded.recreations = 1;
    case.recorded.ended_at = Some(NOW - SignedDuration::from_secs(60));
    assert_eq!(case.summary(), "create", "the pause is over");
    case.recorded.ended_at = Some(NOW);
    case.reconcile_requested = true;
    assert_eq!(case.summary(), "create", "a person asks for a request at once");
}

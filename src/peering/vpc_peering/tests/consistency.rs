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

#[test]
fn a_connection_that_must_exist_by_the_record_is_missed_until_ec2_shows_it() {
    let lacks = |case: &Case| case.observed.lacks(&case.recorded);
    let mut case = Case::new();
    assert!(case.observed.is_empty() && !lacks(&case), "nothing was requested");
    case.recorded.creation_started = true;
    assert!(lacks(&case));
    case.observed.owned = vec![connection(StatusCode::Active).into()];
    assert!(!lacks(&case) && !case.observed.is_empty());
    // The record names another connection.
    case.recorded.connection_id = Some("pcx-9".into());
    assert!(lacks(&case));
    let case = Case::with(StatusCode::Deleted);
    assert!(!lacks(&case) && !case.observed.is_empty());
}

#[test]
fn each_end_shows_the_effects_of_its_own_steps() {
    let mut case = Case::with(StatusCode::Active);
    let id = crate::peering::authority::Authorized::unchecked("pcx-1");
    let tag = UpkeepStep::Tag { id, tags: [(Owner::UID.to_owned(), owner().uid)].into() };
    let shows = |case: &Case, side| case.observed.shows(&Step::Upkeep { side, step: tag.clone() });
    assert!(shows(&case, Side::Requester) && shows(&case, Side::Accepter), "both ends have the same tags");
    let there = Connection { tags: Default::default(), ..connection(StatusCode::Active) };
    for (view, expected) in [
        (Ok(Some(there.clone())), false),
        (Ok(Some(Connection { tags: tags(&owner()), ..there.clone() })), true),
        (Ok(Some(Connection { id: "pcx-2".into(), tags: tags(&owner()), ..there })), false),
        (Ok(None), false),
        (Err(refusal()), false),
    ] {
        case.observed.accepter = AccepterView::Elsewhere(view.map(|shown| shown.map(Arc::new)));
        assert_eq!(shows(&case, Side::Accepter), expected, "{:?}", case.observed.accepter);
        assert!(shows(&case, Side::Requester));
    }
    assert!(case.observed.shows(&Step::Create), "EC2 shows a request by its connection");
}

//! `managementPolicy: Observe`.

use super::*;

#[test]
fn observe_changes_nothing_in_aws() {
    for code in every_code() {
        for acceptance in [Acceptance::Auto, Acceptance::Manual] {
            let mut case = Case::with(code.clone());
            case.spec.management_policy = ManagementPolicy::Observe;
            case.spec.acceptance = acceptance;
            case.spec.recreate_on =
                vec![TerminalState::Expired, TerminalState::Deleted, TerminalState::Rejected, TerminalState::Failed];
            case.reconcile_requested = true;
            if let Some(connection) = case.observed.recorded.as_mut().map(Arc::make_mut) {
                connection.tags.clear();
            }
            assert!(!matches!(case.decide(), Plan::Act(_)), "{code}: {}", case.summary());
        }
    }
    let mut case = Case::new();
    case.spec.management_policy = ManagementPolicy::Observe;
    assert_eq!(case.summary(), "stalled: NotFound");
    case.observed.conflicting = Some(connection(StatusCode::Active).into());
    assert_eq!(case.summary(), "record pcx-1 as Observed");
}

fn observing(mut case: Case) -> Case {
    case.spec.management_policy = ManagementPolicy::Observe;
    case
}

#[test]
fn a_live_connection_replaces_an_ended_one_in_the_record() {
    let mut case = observing(Case::with(StatusCode::Deleted));
    case.recorded.ownership = Some(Ownership::Observed);
    assert_eq!(case.summary(), "stalled: Deleted");
    let live = Connection { id: "pcx-2".into(), ..connection(StatusCode::Active) };
    case.observed.conflicting = Some(live.clone().into());
    assert_eq!(case.summary(), "record pcx-2 as Observed");
    case.observed.owned = vec![Connection { id: "pcx-3".into(), ..live }.into()];
    assert_eq!(case.summary(), "record pcx-3 as Observed", "one with the ownership tags comes first");
    case.observed.recorded = Some(connection(StatusCode::Active).into());
    assert_eq!(case.summary(), "settled", "the recorded connection is live");
}

#[test]
fn a_named_connection_is_observed_only_if_it_has_the_ends_of_the_spec() {
    let mut case = observing(Case::new());
    case.spec.vpc_peering_connection_id = Some("pcx-1".into());
    assert_eq!(case.summary(), "stalled: NotFound");
    case.observed.wanted = Some(connection(StatusCode::Active).into());
    assert_eq!(case.summary(), "record pcx-1 as Observed");
    case.recorded.connection_id = Some("pcx-1".into());
    assert_eq!(case.summary(), "settled");
    let mut swapped = connection(StatusCode::Active);
    std::mem::swap(&mut swapped.requester, &mut swapped.accepter);
    case.observed.wanted = Some(swapped.clone().into());
    assert_eq!(case.summary(), "stalled: ConnectionMismatch");
    // Without a name, a connection in the other direction joins the VPCs as well.
    let mut case = observing(Case::new());
    case.observed.conflicting = Some(swapped.into());
    assert_eq!(case.summary(), "record pcx-1 as Observed");
}

//! The expiry of a request that nobody has accepted.

use super::*;
use crate::peering::settings::{CLOCK_SKEW, EXPIRING_SOON};

#[test]
fn a_pending_request_waits_until_it_expires() {
    let mut pending = connection(StatusCode::PendingAcceptance);
    pending.accepter.owner_id = Some("222222222222".into());
    let week = SignedDuration::from_hours(7 * 24);
    pending.expiration_time = Some(NOW + week);
    let case = |pending: &Connection| {
        let mut case = Case::showing(pending.clone());
        case.observed.accepter = AccepterView::Nobody;
        case.ends.accepter.owner_id = Some("222222222222".into());
        case
    };
    let plan = case(&pending).decide();
    let Plan::Wait { requeue_after: Some(requeue_after), message, .. } = &plan else { panic!("{plan:?}") };
    assert_eq!(*requeue_after, (week - EXPIRING_SOON).unsigned_abs());
    assert!(message.contains("222222222222"), "{message}");
    // In the last day, the next look follows the expiry, also by a clock that is behind.
    for hours in [24, 1] {
        let left = SignedDuration::from_hours(hours);
        pending.expiration_time = Some(NOW + left);
        let requeue_after = case(&pending).decide().requeue_after();
        assert_eq!(requeue_after, Some((left + CLOCK_SKEW).unsigned_abs()), "{hours} hours");
    }
    pending.expiration_time = Some(NOW - SignedDuration::from_mins(10));
    assert_eq!(case(&pending).summary(), "wait: PendingAcceptance", "the clock of the operator may be ahead of EC2");
    pending.expiration_time = Some(NOW - CLOCK_SKEW);
    assert_eq!(case(&pending).summary(), "stalled: Expired");
}

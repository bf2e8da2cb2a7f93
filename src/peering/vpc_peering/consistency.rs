//! Eventual consistency: EC2 may show a change later than it makes it.

use super::state::Observation;
use super::step::Step;
use crate::api::Reason;
use crate::peering::plan::Plan;
use crate::peering::settings::{MISSING_REQUEUE, Settings};

/// The wait while EC2 does not show a connection that must exist by the record. EC2 is eventually consistent, so that
/// an absence has to last. `None` once it has.
pub(super) fn missing(subject: &str, observed: &Observation, settings: Settings) -> Option<Plan<Step>> {
    if is_gone(observed, settings) {
        return None;
    }
    let left = settings.consistency_window - observed.missing_for;
    Some(Plan::Wait {
        reason: Reason::AwaitingConsistency,
        message: format!(
            "waiting up to {} s for EC2 to show {subject} (eventual consistency)",
            settings.consistency_window.as_secs_f32()
        ),
        requeue_after: Some(left.min(MISSING_REQUEUE)),
    })
}

/// Whether EC2 has not shown the connection for so long that it is certainly gone.
pub(super) fn is_gone(observed: &Observation, settings: Settings) -> bool {
    observed.missing_for >= settings.consistency_window
}

//! Faults of the API server that a proxy injects into ordinary requests, in turn, for as long as a test wants them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::Method;

/// One way in which a request to the API server fails or is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disturbance {
    /// A write fails with 409, as one that is based on an old resourceVersion does.
    Conflict,
    /// The request fails with 429, as by API priority and fairness:
    /// <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/>.
    TooManyRequests,
    /// The request fails with 500.
    InternalError,
    /// The connection closes, and the request has no effect.
    DroppedRequest,
    /// The request takes effect, and the connection closes without a response.
    DroppedResponse,
    /// The request waits for this time.
    Slow(Duration),
}

impl Disturbance {
    /// The HTTP status and the reason of the response, if there is one.
    pub(crate) fn status(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Conflict => Some((409, "Conflict")),
            Self::TooManyRequests => Some((429, "TooManyRequests")),
            Self::InternalError => Some((500, "InternalError")),
            Self::DroppedRequest | Self::DroppedResponse | Self::Slow(_) => None,
        }
    }

    fn applies_to(self, method: &Method) -> bool {
        self != Self::Conflict || *method != Method::GET
    }
}

/// The disturbances in force. Empty by default.
#[derive(Debug, Default)]
pub struct Disturbances {
    /// Each disturbance with its period: it affects one request of so many.
    active: Mutex<Vec<(Disturbance, u64)>>,
    requests: AtomicU64,
    hits: AtomicU64,
}

impl Disturbances {
    /// Replaces the disturbances in force. Each affects one request of `period`.
    pub fn set(&self, active: Vec<(Disturbance, u64)>) {
        *self.active.lock().unwrap_or_else(PoisonError::into_inner) = active;
    }

    /// The number of requests that were disturbed.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Decides on a request, and counts it.
    pub(crate) fn next(&self, method: &Method) -> Option<Disturbance> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        // An offset, so that two disturbances with the same period affect different requests.
        let mut due = active.iter().zip(0..).filter(|((_, period), offset)| (number + offset).is_multiple_of(*period));
        let hit = due.find(|((disturbance, _), _)| disturbance.applies_to(method)).map(|((hit, _), _)| *hit);
        if hit.is_some() {
            self.hits.fetch_add(1, Ordering::Relaxed);
        }
        hit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_of_a_period_is_disturbed() {
        let all = Disturbances::default();
        assert_eq!(all.next(&Method::GET), None);
        all.set(vec![(Disturbance::InternalError, 3)]);
        let hits = (0..9).filter(|_| all.next(&Method::GET).is_some()).count();
        assert_eq!((hits, all.hits()), (3, 3));
    }

    #[test]
    fn only_writes_conflict() {
        let all = Disturbances::default();
        all.set(vec![(Disturbance::Conflict, 1)]);
        assert_eq!(all.next(&Method::GET), None);
        assert_eq!(all.next(&Method::PUT), Some(Disturbance::Conflict));
    }
}

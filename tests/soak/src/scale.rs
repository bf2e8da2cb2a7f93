//! The size of a run, by its length.

use std::time::Duration;

/// Time of one phase of a long run, in seconds: the storm and the quiet time after it.
const PHASE: u64 = 120;

/// All sizes of a run.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub resources: usize,
    /// The phase from which on no operator ends.
    pub calm_from: usize,
    /// The time of one storm.
    pub storm: Duration,
    /// The duration of the Lease, which is how long a killed leader delays the other replica. In a long run, some failed
    /// renewals do not end a leader, so that its memory can be observed for long.
    pub lease: Duration,
    /// The operator's poll interval.
    pub poll: Duration,
    /// The maximum time until all resources are as expected.
    pub bound: Duration,
    /// The time without faults after which resources that do not retry soon are asked to, and the time between two
    /// requests.
    pub nudge: Duration,
    /// The time in which nothing may change.
    pub rest: Duration,
    /// The interval between two samples of memory.
    pub sampling: Duration,
    /// No phase begins later than this before the end.
    pub reserve: Duration,
}

impl Scale {
    /// The sizes for a run of so many seconds.
    pub fn of(seconds: u64) -> Self {
        let is_long = seconds > 600;
        let secs = |long, short| Duration::from_secs(if is_long { long } else { short });
        Self {
            resources: (seconds as usize / 18).clamp(20, 200),
            calm_from: (seconds / PHASE / 2).max(4) as usize,
            storm: secs(60, 15),
            lease: secs(15, 6),
            poll: secs(2, 1),
            bound: secs(300, 120),
            nudge: secs(20, 8),
            rest: secs(15, 5),
            sampling: secs(5, 1),
            reserve: secs(60, 40),
        }
    }
}

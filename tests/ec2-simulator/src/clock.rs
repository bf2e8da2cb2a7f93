//! The simulator's clock. It runs at a factor of the machine's clock, and tests can move it forward.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::world::peering::saturating_add;

/// A clock that a test controls.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The time that the clock showed at `since`.
    base: Timestamp,
    since: Instant,
    factor: f64,
}

/// The state of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The current time.
    pub now: Timestamp,
    /// The speed relative to the machine's clock. 0 means that the clock is stopped.
    pub factor: f64,
}

/// A change of the clock. Absent fields change nothing. `set` applies before `advance`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Change {
    /// The new time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) set: Option<Timestamp>,
    /// Seconds to move forward.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advance: Option<f64>,
    /// The new factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) factor: Option<f64>,
}

impl Clock {
    /// Creates a clock that shows `now`.
    #[must_use]
    pub fn new(now: Timestamp, factor: f64) -> Self {
        Self { base: now, since: Instant::now(), factor }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let passed = self.since.elapsed().as_secs_f64() * self.factor;
        SignedDuration::try_from_secs_f64(passed)
            .ok()
            .and_then(|passed| self.base.checked_add(passed).ok())
            .unwrap_or(Timestamp::MAX)
    }

    pub(crate) fn read(&self) -> Reading {
        Reading { now: self.now(), factor: self.factor }
    }

    /// Rejects a change that would move the clock backwards, because past events cannot be undone. A test can load a
    /// saved scene instead.
    pub(crate) fn change(&mut self, change: Change) -> Result<(), Error> {
        let backwards = |field: &str| Error::new("InvalidClock", format!("{field} would move the clock backwards"));
        let now = self.now();
        let set = change.set.unwrap_or(now);
        if set < now {
            return Err(backwards("set"));
        }
        let advance = Duration::try_from_secs_f64(change.advance.unwrap_or_default());
        let advance = advance.map_err(|_| backwards("advance"))?;
        let factor = change.factor.unwrap_or(self.factor);
        if !(0.0..f64::INFINITY).contains(&factor) {
            return Err(backwards("factor"));
        }
        *self = Self::new(saturating_add(set, advance), factor);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn the_clock_moves_forward_only() {
        let mut clock = Clock::new(START, 0.0);
        assert_eq!(clock.now(), START);
        clock.change(Change { advance: Some(7.0), ..Change::default() }).unwrap();
        assert_eq!(clock.now().as_second(), 7);
        let set = Timestamp::from_second(100).unwrap();
        clock.change(Change { set: Some(set), advance: Some(0.5), ..Change::default() }).unwrap();
        assert_eq!(clock.now().as_millisecond(), 100_500);
        for change in [
            Change { set: Some(START), ..Change::default() },
            Change { advance: Some(-1.0), ..Change::default() },
            Change { factor: Some(-1.0), ..Change::default() },
            Change { factor: Some(f64::NAN), ..Change::default() },
        ] {
            assert_eq!(clock.change(change).unwrap_err().code, "InvalidClock");
        }
        assert_eq!(clock.now().as_millisecond(), 100_500);
    }

    #[test]
    fn the_clock_runs_at_its_factor() {
        let clock = Clock::new(START, 86_400.0);
        let before = Instant::now();
        while before.elapsed() < Duration::from_millis(5) {}
        let day_fractions = clock.now().as_second();
        assert!(day_fractions >= 432, "{day_fractions}");
    }
}

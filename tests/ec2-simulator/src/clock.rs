//! The simulator's clock: it runs at a factor, and a test can move it, forward only.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::world::peering::later;

/// A clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    then: Timestamp,
    since: Instant,
    factor: f64,
}

/// What the clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The time.
    pub now: Timestamp,
    /// How much faster than the machine's clock it runs; it stands still at 0.
    pub factor: f64,
}

/// How to change the clock; what is absent stays as it is. `set` comes before `advance`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// Move it to this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<Timestamp>,
    /// Move it by so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advance: Option<f64>,
    /// Run at this factor from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
}

impl Clock {
    /// A clock that shows this time now.
    #[must_use]
    pub fn new(now: Timestamp, factor: f64) -> Self {
        Self { then: now, since: Instant::now(), factor }
    }

    /// What it shows.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let passed = self.since.elapsed().as_secs_f64() * self.factor;
        SignedDuration::try_from_secs_f64(passed)
            .ok()
            .and_then(|passed| self.then.checked_add(passed).ok())
            .unwrap_or(Timestamp::MAX)
    }

    /// What it shows, and how it runs.
    #[must_use]
    pub fn read(&self) -> Reading {
        Reading { now: self.now(), factor: self.factor }
    }

    /// Changes it.
    ///
    /// # Errors
    /// When it would run or jump backwards: what has happened cannot be undone, but a scene can be loaded again.
    pub fn change(&mut self, change: Change) -> Result<(), Error> {
        let backwards = |what: &str| Error::new("InvalidClock", format!("the clock cannot go backwards: {what}"));
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
        *self = Self::new(later(set, advance), factor);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn it_moves_as_it_is_told_and_never_back() {
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
    fn it_runs_at_its_factor() {
        let clock = Clock::new(START, 86_400.0);
        let before = Instant::now();
        while before.elapsed() < Duration::from_millis(5) {}
        let day_fractions = clock.now().as_second();
        assert!(day_fractions >= 432, "{day_fractions}");
    }
}

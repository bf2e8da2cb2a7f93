//! The time between polls of a region: short if a query is pending, short while items are transient, else the
//! configured interval.

use std::time::Duration;

use tokio::time::Instant;

/// Minimum time between two polls, for each page (or call) of the first. Four pages per second leave most of EC2's rate
/// to other clients of the account.
pub const GAP_PER_PAGE: Duration = Duration::from_millis(250);

/// After `FREE_POLLS` polls without rest, each further poll multiplies the gap by `GAP_GROWTH`, up to the factor
/// `MAX_GAP_FACTOR`, so that one poll serves more resources. One resource alone needs only a few polls.
const MAX_GAP_FACTOR: f64 = 4.0;
const GAP_GROWTH: f64 = 1.3;
const FREE_POLLS: u32 = 8;

/// While items are transient, the pause is half of the time since the last change, up to this limit. If a change takes
/// hours, for example a request that waits for manual acceptance, the limit is the time since the last change divided
/// by `TRANSIENT_DIVISOR`.
const MAX_TRANSIENT_PAUSE: Duration = Duration::from_secs(5);
const TRANSIENT_DIVISOR: u32 = 120;

/// The interval of one kind of poll in one region.
#[derive(Debug)]
pub struct PollInterval {
    /// The configured interval, while nothing is transient.
    interval: Duration,
    /// Number of consecutive polls that began before `rested`.
    without_rest: u32,
    last_change: Instant,
    /// From this time on, a poll counts as the first after a rest.
    rested: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextPoll {
    /// The time of the next poll if a query is pending.
    pub earliest: Instant,
    /// The time of the next poll if no query is pending.
    pub latest: Instant,
}

impl PollInterval {
    pub fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, without_rest: 0, last_change: now, rested: now }
    }

    pub fn begins(&mut self, now: Instant) {
        self.without_rest = if now < self.rested { self.without_rest.saturating_add(1) } else { 0 };
    }

    /// Schedules the next poll after one that began at this time and took this number of pages or calls.
    pub fn after_poll(&mut self, began: Instant, pages: u32, has_changed: bool, has_transient: bool) -> NextPoll {
        let excess_polls = self.without_rest.saturating_sub(FREE_POLLS).min(32);
        let factor = (0..excess_polls).fold(1.0, |factor, _| factor * GAP_GROWTH).min(MAX_GAP_FACTOR);
        let gap = GAP_PER_PAGE.saturating_mul(pages.max(1)).mul_f64(factor);
        if has_changed {
            self.last_change = began;
        }
        let unchanged_for = began.saturating_duration_since(self.last_change);
        let longest = MAX_TRANSIENT_PAUSE.max(unchanged_for / TRANSIENT_DIVISOR).max(gap).min(self.interval);
        let pause = if has_transient { (unchanged_for / 2).min(longest) } else { self.interval };
        let earliest = began + gap;
        self.rested = earliest + GAP_PER_PAGE;
        NextPoll { earliest, latest: began + pause.max(gap) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(60);

    /// The pauses while one connection is transient and no query is pending, up to this time after its last change.
    fn pauses(until: Duration) -> Vec<Duration> {
        let start = Instant::now();
        let mut interval = PollInterval::new(INTERVAL, start);
        let (mut began, mut has_changed, mut pauses) = (start, true, Vec::new());
        while began < start + until {
            interval.begins(began);
            let next = interval.after_poll(began, 1, has_changed, true);
            pauses.push(next.latest - began);
            (began, has_changed) = (next.latest, false);
        }
        pauses
    }

    #[test]
    fn transient_items_are_polled_often_at_first_and_rarely_after_days() {
        let minute = pauses(Duration::from_secs(60));
        assert_eq!(minute[..4], [250, 250, 250, 375].map(Duration::from_millis));
        assert!(minute.len() < 25, "{minute:?}");
        assert_eq!(minute.last(), Some(&MAX_TRANSIENT_PAUSE));
        assert_eq!(pauses(Duration::from_secs(600)).last(), Some(&MAX_TRANSIENT_PAUSE));
        let hour = pauses(Duration::from_secs(3600)).pop().unwrap_or_default();
        assert!((25..=30).contains(&hour.as_secs()), "{hour:?}");
        assert_eq!(pauses(Duration::from_secs(7 * 86_400)).last(), Some(&INTERVAL));
    }

    #[test]
    fn without_transient_items_the_configured_interval_holds() {
        let start = Instant::now();
        let mut interval = PollInterval::new(INTERVAL, start);
        interval.begins(start);
        let next = interval.after_poll(start, 1, true, false);
        assert_eq!(next, NextPoll { earliest: start + GAP_PER_PAGE, latest: start + INTERVAL });
        // A change into a transient state resets the pause.
        interval.begins(next.latest);
        assert_eq!(interval.after_poll(next.latest, 1, true, true).latest, next.latest + GAP_PER_PAGE);
    }

    #[test]
    fn the_gap_grows_with_pages_and_consecutive_polls_and_a_rest_resets_it() {
        let mut began = Instant::now();
        let mut interval = PollInterval::new(INTERVAL, began);
        let mut gap = Duration::ZERO;
        for number in 0..FREE_POLLS + 10 {
            interval.begins(began);
            let next = interval.after_poll(began, 3, true, true);
            gap = next.earliest - began;
            assert_eq!(number <= FREE_POLLS, gap == GAP_PER_PAGE * 3, "{number}: {gap:?}");
            began = next.earliest;
        }
        assert_eq!(gap, (GAP_PER_PAGE * 3).mul_f64(MAX_GAP_FACTOR));
        began += GAP_PER_PAGE;
        interval.begins(began);
        assert_eq!(interval.after_poll(began, 3, true, true).earliest - began, GAP_PER_PAGE * 3);
    }
}

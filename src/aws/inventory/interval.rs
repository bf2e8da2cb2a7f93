//! How soon a region is listed again: at once where somebody needs it, often while something is in motion, seldom at
//! rest.

use std::time::Duration;

use tokio::time::Instant;

/// A listing begins at least so long after the last one for each page that it had, however many resources ask: four
/// pages a second leave most of EC2's rate to others.
pub const GAP_PER_PAGE: Duration = Duration::from_millis(250);

/// When more than a few listings follow each other without rest, the gap grows to so many times that: more resources
/// wait for each. A few are what one resource needs.
const LONGEST_GAP: f64 = 4.0;
const GAP_GROWTH: f64 = 1.3;
const FEW: u32 = 8;

/// While a connection of ours is on its way to another code, the pause is half of the time without a change, and no
/// longer than this; where that takes hours, as a request may that waits for a person, a hundredth and twentieth of it.
const MAX_TRANSIENT_PAUSE: Duration = Duration::from_secs(5);
const PATIENCE: u32 = 120;

/// The pace of one region's listings.
#[derive(Debug)]
pub struct PollInterval {
    /// The pause at rest.
    interval: Duration,
    /// How many listings have followed each other without rest.
    without_rest: u32,
    last_change: Instant,
    /// When a listing may begin without strain.
    rested: Instant,
}

/// When the next listing may begin, and when it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextPoll {
    /// Where somebody asks for it.
    pub earliest: Instant,
    /// Where nobody does.
    pub latest: Instant,
}

impl PollInterval {
    /// Before the first listing.
    #[must_use]
    pub fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, without_rest: 0, last_change: now, rested: now }
    }

    /// A listing begins.
    pub fn begins(&mut self, now: Instant) {
        self.without_rest = if now < self.rested { self.without_rest.saturating_add(1) } else { 0 };
    }

    /// A listing that began then showed so many pages.
    pub fn after_poll(&mut self, began: Instant, pages: u32, has_changed: bool, has_transient: bool) -> NextPoll {
        let strained = self.without_rest.saturating_sub(FEW).min(32);
        let strain = (0..strained).fold(1.0, |strain, _| strain * GAP_GROWTH).min(LONGEST_GAP);
        let gap = GAP_PER_PAGE.saturating_mul(pages.max(1)).mul_f64(strain);
        if has_changed {
            self.last_change = began;
        }
        let still = began.saturating_duration_since(self.last_change);
        let longest = MAX_TRANSIENT_PAUSE.max(still / PATIENCE).max(gap).min(self.interval);
        let pause = if has_transient { (still / 2).min(longest) } else { self.interval };
        let earliest = began + gap;
        self.rested = earliest + GAP_PER_PAGE;
        NextPoll { earliest, latest: began + pause.max(gap) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(60);

    /// The pauses while one connection is in motion and nobody asks, up to so long after it last changed.
    fn pauses(until: Duration) -> Vec<Duration> {
        let start = Instant::now();
        let mut pace = PollInterval::new(INTERVAL, start);
        let (mut began, mut has_changed, mut pauses) = (start, true, Vec::new());
        while began < start + until {
            pace.begins(began);
            let next = pace.after_poll(began, 1, has_changed, true);
            pauses.push(next.latest - began);
            (began, has_changed) = (next.latest, false);
        }
        pauses
    }

    #[test]
    fn what_moves_is_looked_at_often_and_what_waits_for_days_seldom() {
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
    fn at_rest_the_interval_is_kept_however_long_before_something_moved() {
        let start = Instant::now();
        let mut pace = PollInterval::new(INTERVAL, start);
        pace.begins(start);
        let next = pace.after_poll(start, 1, true, false);
        assert_eq!(next, NextPoll { earliest: start + GAP_PER_PAGE, latest: start + INTERVAL });
        // A change in motion is followed at once again.
        pace.begins(next.latest);
        assert_eq!(pace.after_poll(next.latest, 1, true, true).latest, next.latest + GAP_PER_PAGE);
    }

    #[test]
    fn pages_and_strain_lengthen_the_gap_and_rest_ends_it() {
        let mut began = Instant::now();
        let mut pace = PollInterval::new(INTERVAL, began);
        let mut gap = Duration::ZERO;
        for number in 0..FEW + 10 {
            pace.begins(began);
            let next = pace.after_poll(began, 3, true, true);
            gap = next.earliest - began;
            assert_eq!(number <= FEW, gap == GAP_PER_PAGE * 3, "{number}: {gap:?}");
            began = next.earliest;
        }
        assert_eq!(gap, (GAP_PER_PAGE * 3).mul_f64(LONGEST_GAP));
        began += GAP_PER_PAGE;
        pace.begins(began);
        assert_eq!(pace.after_poll(began, 3, true, true).earliest - began, GAP_PER_PAGE * 3);
    }
}

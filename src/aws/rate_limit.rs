//! How fast EC2 takes changes: as fast as they come until it refuses one, then as fast as it turns out to allow.
//! governor's limiters keep one rate, and the SDK's adaptive one shares it among all actions and tenants, and overshoots.

use std::time::Duration;

use tokio::time::Instant;

/// The refill of EC2's buckets for actions that change something, calls a second; AWS may grant an account more.
/// <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>
const DOCUMENTED: f64 = 5.0;

/// The least that is tried, calls a second.
const LEAST: f64 = 0.2;

/// After a refusal the rate becomes what EC2 has taken since the one before, but at least this share of what it was, and
/// at most that.
const LEAST_KEPT: f64 = 0.5;
const MOST_KEPT: f64 = 0.9;

/// A few calls tell little: for so many seconds more EC2 is taken to have accepted the whole rate.
const SUPPOSED: f64 = 1.0;

/// How the rate grows while all of it is used: by e^(GROWTH·n²) with n calls taken after a refusal. It passes what was
/// refused after some seventy calls, carefully, and is twenty times that after four hundred.
const GROWTH: f64 = 0.00002;

/// Who was idle may catch up so many seconds.
const CATCH_UP: f64 = 5.0;

/// After so long without a refusal there is no limit any more.
const FORGET: Duration = Duration::from_secs(600);

/// The rate of one action in one account and region.
#[derive(Debug, Default)]
pub struct RateLimit(Option<Limited>);

#[derive(Debug)]
struct Limited {
    per_second: f64,
    tokens: f64,
    /// When the tokens were counted.
    at: Instant,
    refused: Instant,
    /// Calls that EC2 has taken since then, and the seconds, both while all that was allowed was used.
    taken: f64,
    seconds: f64,
}

impl RateLimit {
    /// Whether EC2 has refused a call of late.
    pub fn is_limited(&mut self, now: Instant) -> bool {
        if self.0.as_ref().is_some_and(|limited| now.saturating_duration_since(limited.refused) > FORGET) {
            self.0 = None;
        }
        self.0.is_some()
    }

    /// Takes leave for so many calls, or tells how long to wait for it.
    ///
    /// # Errors
    /// The time until there is leave for one.
    pub fn try_acquire(&mut self, calls: f64, now: Instant) -> Result<(), Duration> {
        if !self.is_limited(now) {
            return Ok(());
        }
        let Some(limited) = &mut self.0 else { return Ok(()) };
        limited.count(now);
        if limited.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - limited.tokens) / limited.per_second));
        }
        // Several calls at once make the next ones wait the longer.
        limited.tokens -= calls;
        Ok(())
    }

    /// EC2 took so many calls, for which there was leave since then.
    pub fn accepted(&mut self, calls: f64, leave: Instant, now: Instant) {
        let Some(limited) = self.0.as_mut().filter(|limited| leave >= limited.refused) else { return };
        limited.count(now);
        if limited.is_used() {
            let before = limited.taken;
            limited.taken += calls;
            limited.per_second *= (GROWTH * (limited.taken * limited.taken - before * before)).exp();
        }
    }

    /// EC2 refused a call for which there was leave since then. What was allowed before an earlier refusal says nothing
    /// of the rate after it.
    pub fn throttled(&mut self, leave: Instant, now: Instant) {
        let per_second = match &mut self.0 {
            Some(limited) if leave < limited.refused => return,
            Some(limited) => {
                limited.count(now);
                let taken = limited.taken + SUPPOSED * limited.per_second;
                let (least, most) = (LEAST_KEPT * limited.per_second, MOST_KEPT * limited.per_second);
                (taken / (limited.seconds + SUPPOSED)).clamp(least, most).max(LEAST)
            }
            None => DOCUMENTED,
        };
        self.0 = Some(Limited { per_second, tokens: 0.0, at: now, refused: now, taken: 0.0, seconds: 0.0 });
    }
}

impl Limited {
    fn count(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        if self.is_used() {
            self.seconds += passed;
        }
        self.tokens = (self.tokens + passed * self.per_second).min(self.most());
    }

    /// Whether all that is allowed is used.
    fn is_used(&self) -> bool {
        self.tokens < self.most()
    }

    fn most(&self) -> f64 {
        (CATCH_UP * self.per_second).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EC2's bucket, and callers without pause, for so many seconds: what was taken and what refused. Leave is used at
    /// the next full `beat`: who is called may have to look at EC2 first.
    fn run(capacity: f64, refill: f64, beat: Duration, seconds: u32) -> (f64, f64) {
        let start = Instant::now();
        let (mut rate, mut bucket) = (RateLimit::default(), capacity);
        let (mut taken, mut refused) = (0.0, 0.0);
        let mut allowed = Vec::new();
        for tick in 0..seconds * 100 {
            let passed = Duration::from_millis(u64::from(tick) * 10);
            let now = start + passed;
            bucket = (bucket + refill / 100.0).min(capacity);
            // Eight at once is what an open rate has under way.
            let at_once = if rate.is_limited(now) { usize::MAX } else { 8 - allowed.len() };
            allowed.extend((0..at_once).map_while(|_| rate.try_acquire(1.0, now).ok().map(|()| now)));
            if rate.is_limited(now) && !passed.as_millis().is_multiple_of(beat.as_millis()) {
                continue;
            }
            for leave in allowed.drain(..) {
                let answered = now + Duration::from_millis(1);
                if bucket >= 1.0 {
                    bucket -= 1.0;
                    taken += 1.0;
                    rate.accepted(1.0, leave, answered);
                } else {
                    refused += 1.0;
                    rate.throttled(leave, answered);
                }
            }
        }
        (taken, refused)
    }

    #[test]
    fn the_refill_is_used_and_little_is_refused() {
        let beats = [10, 250, 1_000, 2_000].map(Duration::from_millis);
        let buckets = [(50.0, 5.0, 0.95, 0.03), (200.0, 10.0, 0.95, 0.2), (20.0, 1.0, 0.95, 0.07)];
        let late = beats.iter().flat_map(|beat| buckets.map(|bucket| (*beat, bucket)));
        for (beat, (capacity, refill, least, most)) in late.chain([(beats[0], (100.0, 100.0, 0.85, 0.03))]) {
            let (taken, refused) = run(capacity, refill, beat, 300);
            let allowed = capacity + refill * 300.0;
            assert!(taken > allowed * least, "{taken} of {allowed} at {refill}/s, {beat:?}");
            assert!(refused / (taken + refused) < most, "{refused} of {taken} refused at {refill}/s, {beat:?}");
        }
    }

    #[test]
    fn calls_refused_together_count_once() {
        let (start, mut rate) = (Instant::now(), RateLimit::default());
        let later = |milliseconds| start + Duration::from_millis(milliseconds);
        for answer in 1..8 {
            rate.throttled(start, later(answer));
        }
        assert!(rate.try_acquire(1.0, later(7)).is_err());
        // A fifth of a second for each.
        let taken = (0..1_000).filter(|step| rate.try_acquire(1.0, later(7 + step)).is_ok()).count();
        assert!((4..=5).contains(&taken), "{taken}");
    }

    #[test]
    fn a_limit_is_forgotten() {
        let (start, mut rate) = (Instant::now(), RateLimit::default());
        rate.throttled(start, start);
        assert!(rate.is_limited(start + FORGET));
        assert!(!rate.is_limited(start + FORGET + Duration::from_millis(1)));
    }
}

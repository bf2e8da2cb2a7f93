//! An adaptive rate limit for EC2 writes. There is no limit until EC2 throttles a call; then the limit follows the rate
//! that EC2 accepts. governor's limiters have a fixed rate. The SDK's adaptive mode shares one rate among all actions
//! and tenants, and overshoots.

use std::time::Duration;

use tokio::time::Instant;

/// Documented refill rate of EC2's token buckets for mutating actions, in calls per second. AWS can raise it for an
/// account. <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>
const DOCUMENTED_RATE: f64 = 5.0;

/// Minimum rate, in calls per second.
const MIN_RATE: f64 = 0.2;

/// When EC2 throttles a call, the new rate is the rate that EC2 accepted since the previous throttling, limited to this
/// range of factors of the old rate.
const MIN_FACTOR: f64 = 0.5;
const MAX_FACTOR: f64 = 0.9;

/// Seconds of calls at the full rate that are added to the measurement, so that a few calls do not decide the new rate.
const ASSUMED_SECONDS: f64 = 1.0;

/// While the whole rate is used, n calls accepted since the last throttling raise it by the factor e^(GROWTH·n²): past
/// the throttled rate after about 70 calls, to 20 times the rate after 400.
const GROWTH: f64 = 0.00002;

/// Burst size, in seconds of calls at the current rate.
const BURST_SECONDS: f64 = 5.0;

/// Time without throttling after which the limit is removed.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// The rate limit of one action in one account and region.
#[derive(Debug, Default)]
pub struct RateLimit(Option<Limited>);

#[derive(Debug)]
struct Limited {
    per_second: f64,
    tokens: f64,
    /// When `tokens` was updated.
    updated: Instant,
    last_throttled: Instant,
    /// Calls that EC2 accepted since `last_throttled` while the whole rate was used, and the seconds of that use.
    accepted: f64,
    used_seconds: f64,
}

impl RateLimit {
    /// Whether EC2 has throttled a call recently.
    pub fn is_limited(&mut self, now: Instant) -> bool {
        if self.0.as_ref().is_some_and(|limited| now.saturating_duration_since(limited.last_throttled) > FORGET_AFTER) {
            self.0 = None;
        }
        self.0.is_some()
    }

    /// Whether a call is allowed. The error is the time until one is.
    pub fn check(&mut self, now: Instant) -> Result<(), Duration> {
        if !self.is_limited(now) {
            return Ok(());
        }
        let Some(limited) = &mut self.0 else { return Ok(()) };
        limited.update(now);
        if limited.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - limited.tokens) / limited.per_second));
        }
        Ok(())
    }

    /// Takes the tokens for these calls. The balance may become negative: later calls then wait longer.
    pub fn acquire(&mut self, calls: f64) {
        if let Some(limited) = &mut self.0 {
            limited.tokens -= calls;
        }
    }

    /// EC2 accepted calls that were acquired at this time.
    pub fn accepted(&mut self, calls: f64, acquired: Instant, now: Instant) {
        let Some(limited) = self.0.as_mut().filter(|limited| acquired >= limited.last_throttled) else { return };
        limited.update(now);
        if limited.is_exhausted() {
            let before = limited.accepted;
            limited.accepted += calls;
            limited.per_second *= (GROWTH * (limited.accepted * limited.accepted - before * before)).exp();
        }
    }

    /// EC2 throttled a call that was acquired at this time. A call acquired before the last throttling is ignored,
    /// because it used the old rate.
    pub fn throttled(&mut self, acquired: Instant, now: Instant) {
        let per_second = match &mut self.0 {
            Some(limited) if acquired < limited.last_throttled => return,
            Some(limited) => {
                limited.update(now);
                let accepted = limited.accepted + ASSUMED_SECONDS * limited.per_second;
                let (least, most) = (MIN_FACTOR * limited.per_second, MAX_FACTOR * limited.per_second);
                (accepted / (limited.used_seconds + ASSUMED_SECONDS)).clamp(least, most).max(MIN_RATE)
            }
            None => DOCUMENTED_RATE,
        };
        self.0 = Some(Limited {
            per_second,
            tokens: 0.0,
            updated: now,
            last_throttled: now,
            accepted: 0.0,
            used_seconds: 0.0,
        });
    }
}

impl Limited {
    fn update(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.updated).as_secs_f64();
        self.updated = now;
        if self.is_exhausted() {
            self.used_seconds += passed;
        }
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst());
    }

    /// Whether callers use the whole rate.
    fn is_exhausted(&self) -> bool {
        self.tokens < self.burst()
    }

    fn burst(&self) -> f64 {
        (BURST_SECONDS * self.per_second).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_acquire(rate: &mut RateLimit, now: Instant) -> bool {
        let is_allowed = rate.check(now).is_ok();
        if is_allowed {
            rate.acquire(1.0);
        }
        is_allowed
    }

    /// Simulates an EC2 token bucket and constant demand. Returns the numbers of accepted and throttled calls. A call
    /// is sent at the next full `beat` after it was acquired, because a reconcile may have to read from EC2 first.
    fn run(capacity: f64, refill: f64, beat: Duration, seconds: u32) -> (f64, f64) {
        let start = Instant::now();
        let (mut rate, mut bucket) = (RateLimit::default(), capacity);
        let (mut accepted, mut throttled) = (0.0, 0.0);
        let mut allowed = Vec::new();
        for tick in 0..seconds * 100 {
            let passed = Duration::from_millis(u64::from(tick) * 10);
            let now = start + passed;
            bucket = (bucket + refill / 100.0).min(capacity);
            // Without a limit, eight calls are in flight at once.
            let at_once = if rate.is_limited(now) { usize::MAX } else { 8 - allowed.len() };
            allowed.extend((0..at_once).map_while(|_| try_acquire(&mut rate, now).then_some(now)));
            if rate.is_limited(now) && !passed.as_millis().is_multiple_of(beat.as_millis()) {
                continue;
            }
            for acquired in allowed.drain(..) {
                let answered = now + Duration::from_millis(1);
                if bucket >= 1.0 {
                    bucket -= 1.0;
                    accepted += 1.0;
                    rate.accepted(1.0, acquired, answered);
                } else {
                    throttled += 1.0;
                    rate.throttled(acquired, answered);
                }
            }
        }
        (accepted, throttled)
    }

    #[test]
    fn the_refill_rate_is_used_and_few_calls_are_throttled() {
        let beats = [10, 250, 1_000, 2_000].map(Duration::from_millis);
        let buckets = [(50.0, 5.0, 0.95, 0.03), (200.0, 10.0, 0.95, 0.2), (20.0, 1.0, 0.95, 0.07)];
        let late = beats.iter().flat_map(|beat| buckets.map(|bucket| (*beat, bucket)));
        for (beat, (capacity, refill, min_share, max_throttled)) in late.chain([(beats[0], (100.0, 100.0, 0.85, 0.03))])
        {
            let (accepted, throttled) = run(capacity, refill, beat, 300);
            let allowed = capacity + refill * 300.0;
            assert!(accepted > allowed * min_share, "{accepted} of {allowed} at {refill}/s, {beat:?}");
            assert!(
                throttled / (accepted + throttled) < max_throttled,
                "{throttled} of {accepted} throttled at {refill}/s, {beat:?}"
            );
        }
    }

    #[test]
    fn calls_throttled_together_count_once() {
        let (start, mut rate) = (Instant::now(), RateLimit::default());
        let later = |milliseconds| start + Duration::from_millis(milliseconds);
        for answer in 1..8 {
            rate.throttled(start, later(answer));
        }
        assert!(!try_acquire(&mut rate, later(7)));
        // At the documented rate, each call takes a fifth of a second.
        let accepted = (0..1_000).filter(|step| try_acquire(&mut rate, later(7 + step))).count();
        assert!((4..=5).contains(&accepted), "{accepted}");
    }

    #[test]
    fn the_limit_is_removed_after_a_time_without_throttling() {
        let (start, mut rate) = (Instant::now(), RateLimit::default());
        rate.throttled(start, start);
        assert!(rate.is_limited(start + FORGET_AFTER));
        assert!(!rate.is_limited(start + FORGET_AFTER + Duration::from_millis(1)));
    }
}

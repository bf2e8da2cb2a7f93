//! How fast EC2 takes changes: as fast as they come until it refuses one, then as fast as it turns out to allow.
//! governor's limiters keep one rate, and the SDK's adaptive one shares it among all actions and tenants, and overshoots.

use std::time::Duration;

use tokio::time::Instant;

/// The refill of EC2's buckets for actions that change something, calls a second; AWS may grant an account more.
/// <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>
const DOCUMENTED: f64 = 5.0;

/// The least that is tried, calls a second.
const LEAST: f64 = 0.2;

/// What is left of the rate after a refusal, and after one that follows another within a few calls.
const CUT: f64 = 0.9;
const DEEP_CUT: f64 = 0.5;
const FEW: f64 = 10.0;

/// How the rate grows while all of it is used: by e^(GROWTH·n²) within n calls after a refusal. It passes what was
/// refused after some seventy calls, carefully, and is twenty times that after four hundred.
const GROWTH: f64 = 0.00002;

/// Who was idle may catch up so many seconds.
const CATCH_UP: f64 = 5.0;

/// After so long without a refusal there is no limit any more.
const FORGET: Duration = Duration::from_secs(600);

/// The rate of one action in one account and region.
#[derive(Debug, Default)]
pub struct Rate(Option<Limited>);

#[derive(Debug)]
struct Limited {
    per_second: f64,
    tokens: f64,
    /// When the tokens were counted.
    at: Instant,
    refused: Instant,
    /// Calls allowed since the refusal while all that was allowed was used.
    used: f64,
}

impl Rate {
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
    pub fn take(&mut self, calls: f64, now: Instant) -> Result<(), Duration> {
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

    /// EC2 refused a call that was begun then. Those that were under way at the same time were refused together.
    pub fn refused(&mut self, begun: Instant, now: Instant) {
        let per_second = match &self.0 {
            Some(limited) if begun < limited.refused => return,
            Some(limited) => {
                let cut = if limited.used < FEW { DEEP_CUT } else { CUT };
                (limited.per_second * cut).max(LEAST)
            }
            None => DOCUMENTED,
        };
        self.0 = Some(Limited { per_second, tokens: 0.0, at: now, refused: now, used: 0.0 });
    }
}

impl Limited {
    fn count(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        let most = (CATCH_UP * self.per_second).max(1.0);
        if self.tokens + passed * self.per_second < most {
            let before = self.used;
            self.used += passed * self.per_second;
            self.per_second *= (GROWTH * (self.used * self.used - before * before)).exp();
        }
        self.tokens = (self.tokens + passed * self.per_second).min(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EC2's bucket, and a caller without pause, for so many seconds: what was taken and what refused.
    fn run(capacity: f64, refill: f64, seconds: u32) -> (f64, f64) {
        let start = Instant::now();
        let (mut rate, mut bucket) = (Rate::default(), capacity);
        let (mut taken, mut refused) = (0.0, 0.0);
        for tick in 0..seconds * 100 {
            let now = start + Duration::from_millis(u64::from(tick) * 10);
            bucket = (bucket + refill / 100.0).min(capacity);
            // Eight at once is what an open rate has under way.
            let mut at_once = 8;
            while at_once > 0 && rate.take(1.0, now).is_ok() {
                at_once -= 1;
                if bucket >= 1.0 {
                    bucket -= 1.0;
                    taken += 1.0;
                } else {
                    refused += 1.0;
                    rate.refused(now, now + Duration::from_millis(1));
                }
            }
        }
        (taken, refused)
    }

    #[test]
    fn the_refill_is_used_and_little_is_refused() {
        for (capacity, refill, least) in
            [(50.0, 5.0, 0.95), (200.0, 10.0, 0.95), (20.0, 1.0, 0.8), (100.0, 100.0, 0.85)]
        {
            let (taken, refused) = run(capacity, refill, 300);
            let allowed = capacity + refill * 300.0;
            assert!(taken > allowed * least, "{taken} of {allowed} at {refill}/s");
            assert!(refused / (taken + refused) < 0.03, "{refused} of {taken} refused at {refill}/s");
        }
    }

    #[test]
    fn calls_refused_together_count_once() {
        let (start, mut rate) = (Instant::now(), Rate::default());
        let later = |milliseconds| start + Duration::from_millis(milliseconds);
        for answer in 1..8 {
            rate.refused(start, later(answer));
        }
        assert!(rate.take(1.0, later(7)).is_err());
        // A fifth of a second for each.
        let taken = (0..1_000).filter(|step| rate.take(1.0, later(7 + step)).is_ok()).count();
        assert!((4..=5).contains(&taken), "{taken}");
    }

    #[test]
    fn a_limit_is_forgotten() {
        let (start, mut rate) = (Instant::now(), Rate::default());
        rate.refused(start, start);
        assert!(rate.is_limited(start + FORGET));
        assert!(!rate.is_limited(start + FORGET + Duration::from_millis(1)));
    }
}

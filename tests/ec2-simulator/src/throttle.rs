//! EC2's request throttling: one token bucket for each account, region and action.
//! <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html#throttling-rate-based>

use std::collections::HashMap;

use jiff::Timestamp;

use crate::world::Location;
use crate::world::settings::Bucket;

/// The number of tokens in each bucket, and when it was last computed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Throttle(HashMap<(Location, &'static str), (f64, Timestamp)>);

impl Throttle {
    /// Takes a token. Returns false if the bucket is empty.
    pub(crate) fn admit(&mut self, location: &Location, action: &'static str, bucket: Bucket, now: Timestamp) -> bool {
        let (tokens, then) = self.0.entry((location.clone(), action)).or_insert((bucket.capacity, now));
        let passed = now.duration_since(*then).as_secs_f64().max(0.0);
        *tokens = (*tokens + passed * bucket.refill).min(bucket.capacity);
        *then = now;
        let admitted = *tokens >= 1.0;
        if admitted {
            *tokens -= 1.0;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::world::settings::Throttling;

    #[test]
    fn buckets_refill_and_are_independent() {
        let mut throttle = Throttle::default();
        let bucket = Throttling::default().mutating;
        let location = Location::new("111111111111", "us-east-1");
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut admitted = |location: &Location, action, now| {
            (0..100).filter(|_| throttle.admit(location, action, bucket, now)).count()
        };
        assert_eq!(admitted(&location, "CreateVpc", at(0)), 50);
        assert_eq!(admitted(&location, "CreateVpc", at(1)), 5);
        assert_eq!(admitted(&location, "CreateVpc", at(1000)), 50);
        assert_eq!(admitted(&location, "DeleteVpc", at(1000)), 50);
        assert_eq!(admitted(&Location::new("111111111111", "us-east-2"), "CreateVpc", at(1000)), 50);
    }
}

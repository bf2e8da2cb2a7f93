//! EC2's token buckets: one an account, region and action.
//! <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html#throttling-rate-based>

use std::collections::HashMap;

use jiff::Timestamp;

use crate::world::Place;
use crate::world::settings::Bucket;

/// How full each bucket was, and when.
#[derive(Clone, Debug, Default)]
pub struct Throttle(HashMap<(Place, &'static str), (f64, Timestamp)>);

impl Throttle {
    /// Takes a token, if there is one.
    pub fn admit(&mut self, place: &Place, action: &'static str, bucket: Bucket, now: Timestamp) -> bool {
        let (tokens, then) = self.0.entry((place.clone(), action)).or_insert((bucket.capacity, now));
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
    fn a_bucket_empties_refills_and_is_its_own() {
        let mut throttle = Throttle::default();
        let bucket = Throttling::default().mutating;
        let place = Place::new("111111111111", "us-east-1");
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut admitted =
            |place: &Place, action, now| (0..100).filter(|_| throttle.admit(place, action, bucket, now)).count();
        assert_eq!(admitted(&place, "CreateVpc", at(0)), 50);
        assert_eq!(admitted(&place, "CreateVpc", at(1)), 5);
        assert_eq!(admitted(&place, "CreateVpc", at(1000)), 50);
        assert_eq!(admitted(&place, "DeleteVpc", at(1000)), 50);
        assert_eq!(admitted(&Place::new("111111111111", "us-east-2"), "CreateVpc", at(1000)), 50);
    }
}

//! Deferred status writes. Some states of a connection are transient: EC2 leaves them within two seconds, without a
//! call. A write for each of them would double the writes per peering. So the status skips such a state unless it
//! lasts:
//!
//! - After `Create` and `Accept`, the reconcile ends and waits for the next poll of EC2 ([`Deferral::hand_over`]).
//! - The ID of a created connection stays in memory until the next status write ([`Deferral::created`]). After a crash,
//!   the recorded intent and the ownership tags lead to the connection.
//! - The decision delays the write of a transient state by `defer_write`, measured from [`Deferral::transient_for`].

use std::time::Duration;

use tokio::time::Instant;

use crate::peering::StatusCode;
use crate::peering::settings::TRANSIENT;

/// The state of an object that its status does not show yet.
#[derive(Debug, Default)]
pub(crate) struct Deferral {
    /// The connection that EC2 has created, while the status shows only the intent.
    pub created: Option<String>,
    /// The end of the last call, if a transient state follows it.
    handed_over: Option<Instant>,
    /// The transient code that EC2 shows, and the start of the first poll that showed it.
    transient: Option<(StatusCode, Instant)>,
}

impl Deferral {
    /// A call has ended. A later poll shows its effect.
    pub(super) fn reset(&mut self) {
        self.handed_over = None;
    }

    /// Time until the next reconcile. `None` unless a transient state follows the last call, and no poll has begun
    /// since. `polled` is the start of the newest poll.
    pub(super) fn until_polled(&self, polled: Option<Instant>, now: Instant) -> Option<Duration> {
        let handed_over = self.handed_over?;
        let is_polled = polled.is_some_and(|polled| polled > handed_over);
        TRANSIENT.checked_sub(now.duration_since(handed_over)).filter(|_| !is_polled)
    }

    /// Time for which EC2 has shown this code, if it is transient. `polled` is the start of the poll that shows it.
    pub(super) fn transient_for(&mut self, code: Option<&StatusCode>, polled: Instant) -> Duration {
        let Some(code) = code.filter(|code| code.is_transient()) else {
            self.transient = None;
            return Duration::ZERO;
        };
        match &self.transient {
            Some(shown) if shown.0 == *code => polled.saturating_duration_since(shown.1),
            _ => {
                self.transient = Some((code.clone(), polled));
                Duration::ZERO
            }
        }
    }

    /// Waits for the next poll after a call that a transient state follows.
    pub(super) fn hand_over(&mut self, now: Instant) {
        self.handed_over = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_waits_for_the_poll_after_a_call_only_for_a_limited_time() {
        let (mut deferral, start) = (Deferral::default(), Instant::now());
        assert_eq!(deferral.until_polled(None, start), None);
        deferral.hand_over(start);
        assert_eq!(deferral.until_polled(None, start + TRANSIENT / 4), Some(TRANSIENT * 3 / 4));
        assert_eq!(deferral.until_polled(Some(start), start + TRANSIENT / 4), Some(TRANSIENT * 3 / 4));
        assert_eq!(deferral.until_polled(Some(start + TRANSIENT / 8), start + TRANSIENT / 4), None);
        assert_eq!(deferral.until_polled(None, start + TRANSIENT * 2), None);
        deferral.reset();
        assert_eq!(deferral.until_polled(None, start), None);
    }

    #[test]
    fn a_code_is_transient_for_as_long_as_polls_show_it() {
        let (mut deferral, start) = (Deferral::default(), Instant::now());
        let mut shown = |code, seconds| deferral.transient_for(code, start + Duration::from_secs(seconds)).as_secs();
        assert_eq!((shown(Some(&StatusCode::Provisioning), 1), shown(Some(&StatusCode::Provisioning), 4)), (0, 3));
        // The same poll again adds no time.
        assert_eq!(shown(Some(&StatusCode::Provisioning), 4), 3);
        assert_eq!((shown(Some(&StatusCode::Active), 5), shown(Some(&StatusCode::Provisioning), 6)), (0, 0));
        assert_eq!((shown(None, 7), shown(Some(&StatusCode::Deleting), 9)), (0, 0));
    }
}

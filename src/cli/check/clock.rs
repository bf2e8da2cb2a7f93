//! The differences between the clocks of this machine, the API server and AWS.

use std::sync::{Mutex, PoisonError};

use k8s_openapi::jiff::fmt::rfc2822::DateTimeParser;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::finding::{Finding, Subject};
use crate::aws::{CompletedRequest, Interceptor};

/// AWS refuses requests whose signature is older or newer than five minutes.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html>
const AWS_LIMIT: SignedDuration = SignedDuration::from_secs(300);

/// The largest harmless difference. A Lease lasts 15 seconds by default, and the `Date` header has whole seconds.
const LIMIT: SignedDuration = SignedDuration::from_secs(5);

/// The clock of a server, compared with that of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Skew(SignedDuration);

impl Skew {
    /// `date` is the `Date` header of a response that was received at `now`.
    pub(super) fn new(date: &str, now: Timestamp) -> Option<Self> {
        let server = DateTimeParser::new().parse_timestamp(date).ok()?;
        Some(Self(server.duration_since(now)))
    }

    fn text(self) -> String {
        let seconds = self.0.as_secs();
        match seconds {
            0 => "0 s apart".to_owned(),
            1.. => format!("{seconds} s ahead of this machine"),
            _ => format!("{} s behind this machine", seconds.unsigned_abs()),
        }
    }
}

/// Compares the clock of `server`. `None` if it sent no date.
pub(super) fn judge(server: &str, skew: Option<Skew>) -> Finding {
    let Some(skew) = skew else {
        let message = format!("{server} sent no date");
        return Finding::skip(Subject::Clocks, message, "correct the connection first; see the other lines");
    };
    let message = format!("{server} is {}", skew.text());
    let difference = skew.0.abs();
    if difference <= LIMIT {
        return Finding::pass(Subject::Clocks, message);
    }
    let effect = if difference > AWS_LIMIT { "AWS refuses requests at more than 300 s" } else { "a Lease may be lost" };
    Finding::fail(Subject::Clocks, format!("{message}; {effect}"), "synchronize the clock of this machine by NTP")
}

/// Remembers the time of the last response of AWS.
#[derive(Debug, Default)]
pub(super) struct AwsClock(Mutex<Option<Skew>>);

impl AwsClock {
    pub(super) fn skew(&self) -> Option<Skew> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interceptor for AwsClock {
    fn may_send(&self) -> bool {
        true
    }

    fn completed(&self, request: &CompletedRequest<'_>) {
        if let Some(skew) = request.date.and_then(|date| Skew::new(date, Timestamp::now())) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(skew);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn a_clock_that_differs_too_much_fails() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1);
        for (date, verdict, text) in [
            ("Thu, 01 Jan 1970 01:00:00 GMT", Verdict::Pass, "AWS is 0 s apart"),
            ("Thu, 01 Jan 1970 00:59:57 GMT", Verdict::Pass, "AWS is 3 s behind this machine"),
            ("Thu, 01 Jan 1970 01:01:00 GMT", Verdict::Fail, "AWS is 60 s ahead of this machine; a Lease may be lost"),
            (
                "Thu, 01 Jan 1970 00:50:00 GMT",
                Verdict::Fail,
                "AWS is 600 s behind this machine; AWS refuses requests at more than 300 s",
            ),
            ("yesterday", Verdict::Skip, "AWS sent no date"),
        ] {
            let finding = judge("AWS", Skew::new(date, now));
            assert_eq!((finding.verdict, finding.message.as_str()), (verdict, text), "{date}");
        }
    }
}

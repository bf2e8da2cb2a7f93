//! Fault injection: which calls a fault affects, and how.

mod active;

use serde::{Deserialize, Serialize};

pub use active::ActiveFault;
pub(crate) use active::{Delivery, Effects, Faults};

use crate::protocol::filter;
use crate::world::Caller;

/// A fault, as a test requests it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// The calls that the fault can affect.
    #[serde(default, rename = "match")]
    pub matching: Matching,
    /// The number of calls that the fault affects. Unlimited if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// The probability with which the fault affects a matching call, from 0 to 1.
    #[serde(default = "certain")]
    pub probability: f64,
    /// The effect on a call.
    #[serde(flatten)]
    pub kind: Kind,
}

fn certain() -> f64 {
    1.0
}

/// Selects calls. An absent field matches every call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Matching {
    /// The action, with `*` as a wildcard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The caller's account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The name or ARN of the role that the caller has assumed, or the ARN of a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// The effect of a fault on a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Kind {
    /// The call fails before its parameters are checked, in a dry run too, as a call that IAM denies does.
    Error {
        /// The error code, such as `UnauthorizedOperation`.
        code: String,
        /// The error message. Defaults to the usual message of the code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// The HTTP status. Defaults to the usual status of the code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
    },
    /// The call is throttled.
    Throttle,
    /// The call is delayed, by the clock of the machine.
    Latency {
        /// The delay.
        seconds: f64,
    },
    /// The call has no effect and gets no response. The connection closes when the fault is removed.
    Hang,
    /// The call waits until the fault is removed, then continues.
    Gate,
    /// The call takes effect. The connection closes without a response.
    LostReply,
    /// The call takes effect. The connection closes after half of the response.
    CrashMidAnswer,
    /// Describe actions show the state at the time when the fault was added, as eventual consistency allows:
    /// <https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>.
    StaleDescribe {
        /// The duration of the fault, by the simulator's clock.
        seconds: f64,
    },
}

impl Kind {
    /// The name in JSON and in the journal.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Error { .. } => "error",
            Self::Throttle => "throttle",
            Self::Latency { .. } => "latency",
            Self::Hang => "hang",
            Self::Gate => "gate",
            Self::LostReply => "lost-reply",
            Self::CrashMidAnswer => "crash-mid-answer",
            Self::StaleDescribe { .. } => "stale-describe",
        }
    }
}

impl Fault {
    /// A fault that affects every call.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self { matching: Matching::default(), count: None, probability: 1.0, kind }
    }

    /// Limits the fault to this action.
    #[must_use]
    pub fn on(mut self, action: &str) -> Self {
        self.matching.action = Some(action.to_owned());
        self
    }

    /// Limits the fault to sessions of this role.
    #[must_use]
    pub fn by(mut self, role: &str) -> Self {
        self.matching.role = Some(role.to_owned());
        self
    }

    /// Limits the fault to this number of calls.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self { count: Some(count), ..self }
    }
}

impl Matching {
    fn matches(&self, action: &str, caller: &Caller, region: &str) -> bool {
        let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        self.action.as_deref().is_none_or(|pattern| filter::matches(pattern, action))
            && is(&self.account, &caller.account)
            && is(&self.region, region)
            && self.role.as_deref().is_none_or(|role| caller.acts_as(role))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_json_is_flat_and_match_rejects_unknown_fields() {
        let json = r#"{"match": {"action": "CreateVpc"}, "count": 1, "kind": "latency", "seconds": 2}"#;
        let fault: Fault = serde_json::from_str(json).unwrap();
        assert_eq!(fault, Fault::new(Kind::Latency { seconds: 2.0 }).on("CreateVpc").times(1));
        assert!(serde_json::from_str::<Fault>(r#"{"kind": "latency"}"#).is_err());
        assert!(serde_json::from_str::<Fault>(r#"{"match": {"acton": "x"}, "kind": "hang"}"#).is_err());
    }
}

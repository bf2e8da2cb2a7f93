//! What EC2 and STS answer when they refuse: a code, a text and an HTTP status.
//! <https://docs.aws.amazon.com/ec2/latest/devguide/errors-overview.html>

use std::fmt::Display;

use crate::world::identity::Service;

/// The outcome of whatever can be refused.
pub type Result<T> = std::result::Result<T, Error>;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What programs match on.
    pub code: String,
    /// What people read.
    pub message: String,
    /// The HTTP status.
    pub status: u16,
}

impl Error {
    /// Most client errors come with status 400.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), status: 400 }
    }

    /// The same with another HTTP status.
    #[must_use]
    pub fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// The permission is there and the request is good, but it said `DryRun`.
    #[must_use]
    pub fn dry_run() -> Self {
        Self::new("DryRunOperation", "Request would have succeeded, but DryRun flag is set.").with_status(412)
    }

    /// A required parameter is not there. EC2 names parameters with a small first letter in its texts.
    #[must_use]
    pub fn missing_parameter(name: &str) -> Self {
        Self::new("MissingParameter", format!("The request must contain the parameter {}", uncapitalized(name)))
    }

    /// A parameter's value is not of the right form.
    #[must_use]
    pub fn invalid_value(name: &str, value: &str, why: impl Display) -> Self {
        let name = uncapitalized(name);
        Self::new("InvalidParameterValue", format!("Value ({value}) for parameter {name} is invalid. {why}"))
    }

    /// The caller is known, and not the one who may do this.
    pub fn not_permitted(message: impl Into<String>) -> Self {
        Self::new("OperationNotPermitted", message)
    }

    /// EC2's answer to a call that IAM does not allow.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new("UnauthorizedOperation", "You are not authorized to perform this operation.").with_status(403)
    }

    /// The answer to a call that a policy denies: who may not do what, and why. EC2 adds a message that only AWS can
    /// read, and that is another each time: <https://github.com/crossplane-contrib/provider-aws/issues/624>.
    #[must_use]
    pub fn denied(service: Service, why: &str, encoded: &str) -> Self {
        match service {
            Service::Ec2 => {
                let general = Self::unauthorized();
                let message = format!("{} {why}. Encoded authorization failure message: {encoded}", general.message);
                Self { message, ..general }
            }
            Service::Sts => Self::new("AccessDenied", why).with_status(403),
        }
    }

    /// The answer to too many calls; STS has another, as its list of common errors says.
    #[must_use]
    pub fn throttled(service: Service) -> Self {
        match service {
            Service::Ec2 => Self::new("RequestLimitExceeded", "Request limit exceeded.").with_status(503),
            Service::Sts => Self::new("Throttling", "Rate exceeded"),
        }
    }
}

fn uncapitalized(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

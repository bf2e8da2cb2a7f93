//! Errors as EC2 and STS return them: a code, a message and an HTTP status.
//! <https://docs.aws.amazon.com/ec2/latest/devguide/errors-overview.html>

use std::fmt::Display;

use crate::world::identity::Service;

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// An error response of EC2, STS or the control API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The error code, which programs match on.
    pub code: String,
    /// The error message.
    pub message: String,
    /// The HTTP status.
    pub status: u16,
}

impl Error {
    /// Creates an error with HTTP status 400, the status of most client errors.
    pub(crate) fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), status: 400 }
    }

    pub(crate) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// The request would have succeeded, but `DryRun` is set.
    pub(crate) fn dry_run() -> Self {
        Self::new("DryRunOperation", "Request would have succeeded, but DryRun flag is set.").with_status(412)
    }

    /// A required parameter is missing. EC2's messages write the name of a parameter with a lowercase first letter.
    pub(crate) fn missing_parameter(name: &str) -> Self {
        Self::new("MissingParameter", format!("The request must contain the parameter {}", uncapitalized(name)))
    }

    pub(crate) fn invalid_value(name: &str, value: &str, reason: impl Display) -> Self {
        let name = uncapitalized(name);
        Self::new("InvalidParameterValue", format!("Value ({value}) for parameter {name} is invalid. {reason}"))
    }

    /// The caller is authenticated, but another account or region must make this call.
    pub(crate) fn not_permitted(message: impl Into<String>) -> Self {
        Self::new("OperationNotPermitted", message)
    }

    /// EC2's error for a call that IAM does not allow.
    pub(crate) fn unauthorized() -> Self {
        Self::new("UnauthorizedOperation", "You are not authorized to perform this operation.").with_status(403)
    }

    /// The error for a call that a policy denies. EC2 appends an encoded message that differs in each response:
    /// <https://github.com/crossplane-contrib/provider-aws/issues/624>.
    pub(crate) fn denied(service: Service, reason: &str, encoded: &str) -> Self {
        match service {
            Service::Ec2 => {
                let general = Self::unauthorized();
                let message = format!("{} {reason}. Encoded authorization failure message: {encoded}", general.message);
                Self { message, ..general }
            }
            Service::Sts => Self::new("AccessDenied", reason).with_status(403),
            Service::Quotas => Self::new("AccessDeniedException", reason),
        }
    }

    /// The error for a throttled call. EC2 and STS use different codes.
    pub(crate) fn throttled(service: Service) -> Self {
        match service {
            Service::Ec2 => Self::new("RequestLimitExceeded", "Request limit exceeded.").with_status(503),
            Service::Sts => Self::new("Throttling", "Rate exceeded"),
            Service::Quotas => Self::new("TooManyRequestsException", "Rate exceeded").with_status(429),
        }
    }
}

fn uncapitalized(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

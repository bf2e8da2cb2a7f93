//! One line of a trace.

use std::fmt;

use serde::Serialize;

use crate::api::{Reason, Side};
use crate::cli::output::Verdict;
use crate::peering::Blocker;

/// The subject of a line, in the order of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Subject {
    Resource,
    Identity,
    Permissions,
    Vpc,
    CidrBlocks,
    Request,
    Acceptance,
    Status,
    Dns,
    Subnet,
    Route,
    NetworkAcl,
    SecurityGroup,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resource => "resource",
            Self::Identity => "identity",
            Self::Permissions => "permissions",
            Self::Vpc => "VPC",
            Self::CidrBlocks => "CIDR blocks",
            Self::Request => "request",
            Self::Acceptance => "acceptance",
            Self::Status => "status",
            Self::Dns => "DNS",
            Self::Subnet => "subnet",
            Self::Route => "route",
            Self::NetworkAcl => "network ACL",
            Self::SecurityGroup => "security group",
        })
    }
}

/// One step on the way from the resource to the packet, and whether it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    pub(super) check: Subject,
    /// `None` if it concerns both ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end: Option<Side>,
    pub(super) verdict: Verdict,
    pub(super) message: String,
    /// The next step of the reader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

impl Line {
    pub(super) fn pass(check: Subject, message: impl Into<String>) -> Self {
        Self { check, end: None, verdict: Verdict::Pass, message: message.into(), remedy: None }
    }

    pub(super) fn fail(check: Subject, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self { check, end: None, verdict: Verdict::Fail, message: message.into(), remedy }
    }

    /// A step that cannot be judged.
    pub(super) fn skip(check: Subject, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skip, ..Self::fail(check, message, remedy) }
    }

    /// A blocker of the operator, with the action of its reason.
    pub(super) fn blocked(check: Subject, blocker: &Blocker) -> Self {
        Self::fail(check, &blocker.message, action(blocker.reason))
    }

    pub(super) fn at(self, side: Side) -> Self {
        Self { end: Some(side), ..self }
    }
}

/// The action of a reason, as a remedy.
pub(super) fn action(reason: Reason) -> &'static str {
    reason.action().trim_end_matches('.')
}

//! The closed lists of condition types and reasons that a status may show.

use std::fmt;

/// The `type` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionType {
    /// True when the peering is as the spec wants it. Always present.
    Ready,
    /// Present, and True, while we or EC2 are still working towards the spec.
    Reconciling,
    /// Present, and True, when nothing will change until somebody acts.
    Stalled,
    /// EC2's answer to a dry run: True when the request would have succeeded.
    DryRunSucceeded,
}

impl ConditionType {
    /// The name as the status shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::DryRunSucceeded => "DryRunSucceeded",
        }
    }
}

/// The `reason` of a condition and of the Event that announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// EC2 shows the peering as `active`.
    Active,
    /// EC2 is checking the request: `initiating-request`.
    InitiatingRequest,
    /// The request waits for the accepter's owner: `pending-acceptance`.
    PendingAcceptance,
    /// The request was accepted, and EC2 is setting the peering up: `provisioning`.
    Provisioning,
    /// EC2 is deleting the peering: `deleting`.
    Deleting,
    /// The request failed, for instance because CIDR blocks overlap: `failed`.
    Failed,
    /// The accepter's owner rejected the request: `rejected`.
    Rejected,
    /// Nobody accepted within seven days: `expired`.
    Expired,
    /// The peering was deleted by somebody else: `deleted`.
    Deleted,
    /// EC2 no longer knows the recorded connection.
    NotFound,
    /// EC2 answered with a status code that this version does not know.
    UnknownStatusCode,
    /// A peering between these VPCs exists that is not this resource's own.
    ConnectionNotOwned,
    /// More than one live peering carries this resource's ownership tags.
    MultipleConnections,
    /// An earlier request may have reached EC2; we wait until its effect must be visible.
    AwaitingConsistency,
    /// A dry run was asked for and answered.
    DryRun,
    /// AWS refuses what the spec asks for.
    InvalidRequest,
    /// AWS refuses the operator's credentials or permissions.
    Unauthorized,
    /// AWS asks us to slow down.
    Throttled,
    /// AWS failed, or could not be reached.
    AwsError,
}

impl Reason {
    /// The name as conditions and Events show it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::InitiatingRequest => "InitiatingRequest",
            Self::PendingAcceptance => "PendingAcceptance",
            Self::Provisioning => "Provisioning",
            Self::Deleting => "Deleting",
            Self::Failed => "Failed",
            Self::Rejected => "Rejected",
            Self::Expired => "Expired",
            Self::Deleted => "Deleted",
            Self::NotFound => "NotFound",
            Self::UnknownStatusCode => "UnknownStatusCode",
            Self::ConnectionNotOwned => "ConnectionNotOwned",
            Self::MultipleConnections => "MultipleConnections",
            Self::AwaitingConsistency => "AwaitingConsistency",
            Self::DryRun => "DryRun",
            Self::InvalidRequest => "InvalidRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Throttled => "Throttled",
            Self::AwsError => "AwsError",
        }
    }

    /// Whether it deserves a warning even while it may pass by itself.
    #[must_use]
    pub fn is_trouble(self) -> bool {
        match self {
            Self::AwaitingConsistency | Self::Throttled | Self::AwsError => true,
            Self::Active
            | Self::InitiatingRequest
            | Self::PendingAcceptance
            | Self::Provisioning
            | Self::Deleting
            | Self::Failed
            | Self::Rejected
            | Self::Expired
            | Self::Deleted
            | Self::NotFound
            | Self::UnknownStatusCode
            | Self::ConnectionNotOwned
            | Self::MultipleConnections
            | Self::DryRun
            | Self::InvalidRequest
            | Self::Unauthorized => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

//! A peering connection as EC2 describes it, and its status code.

use std::fmt;

use k8s_openapi::jiff::Timestamp;
use litemap::LiteMap;

use crate::api::{Text, VpcInfo};

/// The status code of a peering connection.
/// <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html#vpc-peering-lifecycle>
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StatusCode {
    /// EC2 is checking the request.
    InitiatingRequest,
    /// The owner of the accepter has to accept the request.
    PendingAcceptance,
    /// The request is accepted, and EC2 is setting up the connection.
    Provisioning,
    /// Traffic can flow.
    Active,
    /// The request was invalid, for instance because CIDR blocks overlap.
    Failed,
    /// The owner of the accepter rejected the request.
    Rejected,
    /// The request was not accepted within seven days.
    Expired,
    /// One of the owners is deleting the connection.
    Deleting,
    /// The connection is deleted. EC2 shows it for some time.
    Deleted,
    /// A code that this release does not know.
    Unknown(String),
}

impl StatusCode {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::InitiatingRequest => "initiating-request",
            Self::PendingAcceptance => "pending-acceptance",
            Self::Provisioning => "provisioning",
            Self::Active => "active",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
            Self::Unknown(code) => code,
        }
    }

    /// Whether the connection can no longer become active. An unknown code has not ended: otherwise the operator could
    /// create a second peering.
    pub(crate) fn has_ended(&self) -> bool {
        match self {
            Self::Failed | Self::Rejected | Self::Expired | Self::Deleted => true,
            Self::InitiatingRequest
            | Self::PendingAcceptance
            | Self::Provisioning
            | Self::Active
            | Self::Deleting
            | Self::Unknown(_) => false,
        }
    }

    /// Whether nobody has answered the request yet. It counts towards the quota of outstanding requests.
    pub(crate) fn is_outstanding(&self) -> bool {
        match self {
            Self::InitiatingRequest | Self::PendingAcceptance => true,
            Self::Provisioning
            | Self::Active
            | Self::Deleting
            | Self::Failed
            | Self::Rejected
            | Self::Expired
            | Self::Deleted
            | Self::Unknown(_) => false,
        }
    }

    /// Whether the request was accepted and the connection has not ended. It counts towards the quota of active
    /// connections of both VPCs.
    pub(crate) fn is_accepted(&self) -> bool {
        match self {
            Self::Provisioning | Self::Active => true,
            Self::InitiatingRequest
            | Self::PendingAcceptance
            | Self::Deleting
            | Self::Failed
            | Self::Rejected
            | Self::Expired
            | Self::Deleted
            | Self::Unknown(_) => false,
        }
    }

    /// Whether the code is transient: EC2 or an owner is expected to change it.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::InitiatingRequest | Self::PendingAcceptance | Self::Provisioning | Self::Deleting => true,
            Self::Active | Self::Failed | Self::Rejected | Self::Expired | Self::Deleted | Self::Unknown(_) => false,
        }
    }
}

impl From<&str> for StatusCode {
    fn from(code: &str) -> Self {
        match code {
            "initiating-request" => Self::InitiatingRequest,
            "pending-acceptance" => Self::PendingAcceptance,
            "provisioning" => Self::Provisioning,
            "active" => Self::Active,
            "failed" => Self::Failed,
            "rejected" => Self::Rejected,
            "expired" => Self::Expired,
            "deleting" => Self::Deleting,
            "deleted" => Self::Deleted,
            other => Self::Unknown(other.into()),
        }
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Tags by key, in one contiguous allocation. A `LiteMap` instead of a `BTreeMap` saves 2.4 MiB at 10,000 resources.
pub(crate) type Tags = LiteMap<Text, Text>;

/// A peering connection as EC2 describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    pub id: String,
    pub code: StatusCode,
    /// The status message of EC2.
    pub message: Option<String>,
    /// The expiry of an unaccepted request.
    pub expiration_time: Option<Timestamp>,
    pub requester: VpcInfo,
    pub accepter: VpcInfo,
    /// The tags that the describing account and region see.
    pub tags: Tags,
}

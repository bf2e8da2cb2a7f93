//! A peering connection as EC2 describes it, and the closed form of its status code.

use std::fmt;

use k8s_openapi::jiff::Timestamp;
use litemap::LiteMap;
use smol_str::SmolStr;

use crate::api::VpcInfo;

/// EC2's status code of a peering connection.
/// <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html#vpc-peering-lifecycle>
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusCode {
    /// `initiating-request`: EC2 is checking the request.
    InitiatingRequest,
    /// `pending-acceptance`: the accepter's owner has to act.
    PendingAcceptance,
    /// `provisioning`: accepted, and being set up.
    Provisioning,
    /// `active`: traffic can flow.
    Active,
    /// `failed`: the request was not valid, for instance because CIDR blocks overlap.
    Failed,
    /// `rejected`: the accepter's owner said no.
    Rejected,
    /// `expired`: nobody accepted within seven days.
    Expired,
    /// `deleting`: one of the owners deleted it.
    Deleting,
    /// `deleted`: it is gone, and shown for a while.
    Deleted,
    /// A code that EC2 added since.
    Unknown(Box<str>),
}

impl StatusCode {
    /// The code as EC2 writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
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

    /// Whether nothing will become of a connection with this code any more. An unknown code counts as not ended: taking
    /// it for dead could create a second peering.
    #[must_use]
    pub fn has_ended(&self) -> bool {
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

    /// Whether EC2, or an owner, is expected to change this code.
    #[must_use]
    pub fn is_in_motion(&self) -> bool {
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

/// Tags by their keys. They are most of what a connection takes in memory, so that they lie close together.
pub type Tags = LiteMap<SmolStr, SmolStr>;

/// A peering connection as EC2 describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// `pcx-…`
    pub id: String,
    /// The status code.
    pub code: StatusCode,
    /// EC2's words on the status.
    pub message: Option<Box<str>>,
    /// When an unaccepted request expires; few connections have that.
    pub expiration_time: Option<Box<Timestamp>>,
    /// The end that asked.
    pub requester: VpcInfo,
    /// The end that was asked.
    pub accepter: VpcInfo,
    /// The tags that the describing account and region see.
    pub tags: Tags,
}

//! The reasons why a selector of the spec does not select a route table, and their messages.

use std::fmt;

use crate::api::Reason;
use crate::peering::blocker::Blocker;

/// The reason why a selector does not select a route table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SelectionProblem {
    /// The table does not exist, or the credentials do not see it.
    UnknownTable { field: String, id: String },
    /// The table belongs to another VPC: `actual_vpc_id` instead of `vpc_id`.
    TableOfAnotherVpc { field: String, id: String, actual_vpc_id: String, vpc_id: String },
    /// The table is associated with a gateway.
    TableOfGateway { field: String, id: String, gateway_id: String },
    /// The subnet does not exist, or the credentials do not see it.
    UnknownSubnet { field: String, id: String },
    /// The subnet belongs to another VPC: `actual_vpc_id` instead of `vpc_id`.
    SubnetOfAnotherVpc { field: String, id: String, actual_vpc_id: String, vpc_id: String },
    /// The subnets cannot be read. The routes stay as they are.
    UnreadableSubnets { field: String, blocker: Blocker },
    /// The selector matches no table.
    NoTable { field: String, vpc_id: String },
}

impl SelectionProblem {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::UnknownTable { .. }
            | Self::TableOfAnotherVpc { .. }
            | Self::NoTable { .. }
            | Self::UnknownSubnet { .. }
            | Self::SubnetOfAnotherVpc { .. } => Reason::RouteTableNotFound,
            Self::TableOfGateway { .. } => Reason::InvalidRequest,
            Self::UnreadableSubnets { blocker, .. } => blocker.reason,
        }
    }
}

impl fmt::Display for SelectionProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownTable { field, id } => {
                write!(f, "{field}: EC2 shows no {id} to these credentials in the region of the VPC; check the ID")
            }
            Self::TableOfAnotherVpc { field, id, actual_vpc_id, vpc_id } => {
                write!(f, "{field}: {id} is a route table of {actual_vpc_id}, not of {vpc_id}; remove it from the list")
            }
            Self::TableOfGateway { field, id, gateway_id } => {
                write!(
                    f,
                    "{field}: {id} is the route table of the gateway {gateway_id}, and EC2 refuses routes through a peering connection in it; remove it from the list"
                )
            }
            Self::UnknownSubnet { field, id } => {
                write!(f, "{field}: EC2 shows no {id} to these credentials in the region of the VPC; check the ID")
            }
            Self::SubnetOfAnotherVpc { field, id, actual_vpc_id, vpc_id } => {
                write!(f, "{field}: {id} is a subnet of {actual_vpc_id}, not of {vpc_id}; remove it from the list")
            }
            Self::UnreadableSubnets { field, blocker } => {
                write!(f, "{field} needs the subnets of the VPC, so the routes stay as they are: {}", blocker.message)
            }
            Self::NoTable { field, vpc_id } => {
                write!(
                    f,
                    "{field}: EC2 shows no matching route table of {vpc_id} to these credentials; route tables of gateways and excluded route tables do not match"
                )
            }
        }
    }
}

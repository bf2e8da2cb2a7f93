//! The reasons why a prefix list of the spec gets no route, and their messages.

use std::fmt;

use ipnet::IpNet;

use crate::api::Reason;
use crate::peering::blocker::Blocker;

/// The reason why a prefix list of the spec gets no route. `field` is that of the list, such as
/// `spec.routes.destinationPrefixListIds`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PrefixListProblem {
    /// The list or its entries cannot be read. Existing routes to it stay.
    Unreadable { field: String, id: String, blocker: Blocker },
    /// The list does not exist in the region, or the account does not see it. Existing routes to it stay.
    Unknown { field: String, id: String },
    /// AWS manages the list.
    OfAws { field: String, id: String },
    /// An entry does not lie within one CIDR block of the other end.
    Outside { field: String, id: String, entry: IpNet, blocks: Vec<IpNet> },
    /// An entry lies within the other end, in a block that may not get routes.
    Unexpected { field: String, id: String, owner_id: String, entry: IpNet, to_allow: Option<String> },
    /// The list has IPv6 entries, and the VPC has no IPv6 CIDR block.
    NoIpv6 { field: String, id: String, vpc_id: String },
    /// The route table has no room for the entries of the list.
    NoRoom { field: String, route_table_id: String, id: String, max_entries: usize, used: usize, quota: usize },
}

impl PrefixListProblem {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Unreadable { blocker, .. } => blocker.reason,
            Self::Unknown { .. } => Reason::PrefixListNotFound,
            Self::OfAws { .. } | Self::NoIpv6 { .. } => Reason::InvalidRequest,
            Self::Outside { .. } | Self::Unexpected { .. } => Reason::UnexpectedCidrBlock,
            Self::NoRoom { .. } => Reason::RouteTableFull,
        }
    }
}

impl fmt::Display for PrefixListProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { field, id, blocker } => {
                write!(f, "{field}: {id} cannot be read, so its routes stay as they are: {}", blocker.message)
            }
            Self::Unknown { field, id } => {
                write!(
                    f,
                    "{field}: EC2 shows no {id} to these credentials in the region of the VPC, so it gets no new route; check the ID and the region, or ask the owner of the list to share it by AWS RAM"
                )
            }
            Self::OfAws { field, id } => {
                write!(
                    f,
                    "{field}: AWS manages {id}, and its entries belong to an AWS service, so it gets no route; remove it"
                )
            }
            Self::Outside { field, id, entry, blocks } => {
                let blocks = blocks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                write!(
                    f,
                    "{field}: the entry {entry} of {id} does not lie within one CIDR block of the other end ({blocks}), so {id} gets no route; remove the entry from {id}"
                )
            }
            Self::Unexpected { field, id, owner_id, entry, to_allow } => {
                let remedy = to_allow.clone().unwrap_or_else(|| "use a prefix list of your own account".to_owned());
                write!(
                    f,
                    "{field}: the entry {entry} of {id}, which account {owner_id} owns, lies in a CIDR block of the other end that is not allowed here, so {id} gets no route; remove the entry from {id}, or {remedy}"
                )
            }
            Self::NoIpv6 { field, id, vpc_id } => {
                write!(
                    f,
                    "{field}: {id} has IPv6 entries, and {vpc_id} has no IPv6 CIDR block, so {id} gets no route; associate an IPv6 CIDR block with {vpc_id}, or remove {id}"
                )
            }
            Self::NoRoom { field, route_table_id, id, max_entries, used, quota } => {
                write!(
                    f,
                    "{route_table_id} has {used} of the {quota} routes that AWS's quota allows, and {id} counts as {max_entries}, its maximum number of entries, so {route_table_id} gets no route to {id}; resize {id}, remove routes from {route_table_id}, exclude it in {field}.routeTables.exclude, or ask AWS for a higher quota (L-93826ACB, routes per route table)"
                )
            }
        }
    }
}

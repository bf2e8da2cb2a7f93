//! The destination of a route.

use std::fmt;

use ipnet::IpNet;

use super::cidr::parse;
use crate::api::{ManagedRoute, Side};

/// The destination of a route. EC2 allows at most one static route to each destination in a route table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Destination {
    Cidr(IpNet),
    /// The ID of a managed prefix list. Its owner can change the entries at any time.
    PrefixList(String),
}

impl Destination {
    /// The destination of a recorded route. `None` if the record does not name exactly one valid destination.
    pub(crate) fn of(route: &ManagedRoute) -> Option<Self> {
        match (&route.destination_cidr_block, &route.destination_prefix_list_id) {
            (Some(block), None) => parse(block).map(Self::Cidr),
            (None, Some(id)) => Some(Self::PrefixList(id.clone())),
            (Some(_), Some(_)) | (None, None) => None,
        }
    }

    /// The record of a route to this destination.
    pub(crate) fn managed_route(&self, side: Side, table: &str, connection: &str) -> ManagedRoute {
        let (destination_cidr_block, destination_prefix_list_id) = match self {
            Self::Cidr(block) => (Some(block.to_string()), None),
            Self::PrefixList(id) => (None, Some(id.clone())),
        };
        ManagedRoute {
            side,
            route_table_id: table.to_owned(),
            destination_cidr_block,
            destination_prefix_list_id,
            vpc_peering_connection_id: connection.to_owned(),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cidr(block) => block.fmt(f),
            Self::PrefixList(id) => f.write_str(id),
        }
    }
}

#[cfg(test)]
impl std::str::FromStr for Destination {
    type Err = ipnet::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.starts_with("pl-") {
            true => Ok(Self::PrefixList(text.to_owned())),
            false => text.parse().map(Self::Cidr),
        }
    }
}

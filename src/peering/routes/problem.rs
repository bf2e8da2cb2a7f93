//! The reasons why a route of the spec is missing, and their messages.

use std::fmt;

use ipnet::IpNet;

use super::destination::Destination;
use super::prefix_list_problem::PrefixListProblem;
use super::selection_problem::SelectionProblem;
use super::table::Route;
use crate::api::{Reason, Requester};
use crate::peering::blocker::Blocker;

/// A route to a wanted destination that does not lead through the connection, and that the operator leaves alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteConflict {
    pub route_table_id: String,
    pub route: Route,
    /// The requester of another connection of the resource, if the route leads through that connection.
    pub sibling: Option<Requester>,
    /// The field of the routes, such as `spec.routes`.
    pub field: String,
}

/// The reason why a route of the spec is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RouteProblem {
    Selection(SelectionProblem),
    PrefixList(PrefixListProblem),
    /// EC2 does not show the CIDR blocks of both ends. Until it does, the routes stay as they are.
    NoCidrBlocks,
    /// A destination does not lie within one CIDR block of the other end.
    OutsideOtherEnd {
        field: String,
        destination: String,
        blocks: Vec<IpNet>,
    },
    /// An excluded block is smaller than a destination, which keeps its route.
    PartialExclusion {
        /// The field of the routes, such as `spec.routes`.
        field: String,
        exclusion: IpNet,
        destination: IpNet,
    },
    /// A destination of the spec is an IPv6 block, and the VPC has none.
    NoIpv6 {
        field: String,
        destination: IpNet,
        vpc_id: String,
    },
    /// The other end belongs to another account and has a CIDR block that may not get routes.
    UnexpectedCidrBlock {
        /// The block, or a destination within it.
        block: IpNet,
        /// The route tables that would get the route.
        tables: Vec<String>,
        /// How to allow the block, as a verb phrase.
        to_allow: String,
    },
    /// EC2 no longer shows the connection of a recorded route, so nothing proves that the route belongs to the
    /// resource.
    Unproven {
        route_table_id: String,
        destination: Destination,
        connection_id: String,
    },
    TooManyRoutes {
        field: String,
        wanted: usize,
        limit: usize,
    },
    /// AWS's quota leaves a route table no room for wanted routes.
    FullTable {
        /// The field of the routes, such as `spec.routes`.
        field: String,
        route_table_id: String,
        destinations: Vec<IpNet>,
        quota: usize,
    },
}

impl RouteProblem {
    /// The blocker of a read that the decision needs.
    pub(super) fn unreadable(&self) -> Option<&Blocker> {
        match self {
            Self::Selection(SelectionProblem::UnreadableSubnets { blocker, .. })
            | Self::PrefixList(PrefixListProblem::Unreadable { blocker, .. }) => Some(blocker),
            _ => None,
        }
    }

    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Selection(problem) => problem.reason(),
            Self::PrefixList(problem) => problem.reason(),
            Self::NoCidrBlocks | Self::TooManyRoutes { .. } => Reason::RouteTableNotFound,
            Self::FullTable { .. } => Reason::RouteTableFull,
            Self::OutsideOtherEnd { .. } | Self::PartialExclusion { .. } | Self::NoIpv6 { .. } => {
                Reason::InvalidRequest
            }
            Self::UnexpectedCidrBlock { .. } => Reason::UnexpectedCidrBlock,
            Self::Unproven { .. } => Reason::RouteConflict,
        }
    }
}

impl fmt::Display for RouteConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { route_table_id, route: Route { destination, target, is_blackhole }, sibling, field } = self;
        if let Some(requester) = sibling {
            let vpc = requester.vpc_id.as_deref().unwrap_or("an unknown VPC");
            return write!(
                f,
                "{route_table_id} has a route to {destination} through {target}, another connection of this resource, \
                 because its requester {vpc} has the same CIDR block, and a route table has one route per destination; \
                 remove the block from one of the two VPCs, or list in {field}.destinationCidrBlocks only destinations \
                 that one of them has"
            );
        }
        let blackhole = if *is_blackhole { " (a blackhole)" } else { "" };
        write!(
            f,
            "{route_table_id} already has a route to {destination} through {target}{blackhole}, which this resource did not create; remove that route, or exclude the route table or the destination in the spec"
        )
    }
}

impl fmt::Display for RouteProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Selection(problem) => problem.fmt(f),
            Self::PrefixList(problem) => problem.fmt(f),
            Self::NoCidrBlocks => f.write_str("EC2 does not show the CIDR blocks of both ends yet"),
            Self::OutsideOtherEnd { field, destination, blocks } => {
                let blocks = blocks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                write!(
                    f,
                    "{field}: {destination} does not lie within one CIDR block of the other end ({blocks}), so it gets no route; correct or remove it"
                )
            }
            Self::PartialExclusion { field, exclusion, destination } => {
                write!(
                    f,
                    "{field}.excludeCidrBlocks: {exclusion} is only a part of the destination {destination}, which has a route to all of its addresses; exclude all of {destination}, or list in {field}.destinationCidrBlocks only the parts that need a route"
                )
            }
            Self::NoIpv6 { field, destination, vpc_id } => {
                write!(
                    f,
                    "{field}: {destination} is an IPv6 block, and {vpc_id} has no IPv6 CIDR block, so it gets no route; associate an IPv6 CIDR block with {vpc_id}, or remove the destination"
                )
            }
            Self::UnexpectedCidrBlock { block, tables, to_allow } => {
                let tables = tables.join(", ");
                write!(
                    f,
                    "the other end belongs to another account and has {block}, which is not allowed here; no route to it was added to {tables}. To allow it, {to_allow}"
                )
            }
            Self::Unproven { route_table_id, destination, connection_id } => {
                write!(
                    f,
                    "{route_table_id} has a route to {destination} through {connection_id}, which status.routes records; EC2 no longer shows {connection_id}, so nothing proves that the route belongs to this resource, and it was not removed. Delete it by hand"
                )
            }
            Self::FullTable { field, route_table_id, destinations, quota } => {
                let destinations = destinations.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                write!(
                    f,
                    "{route_table_id} has as many routes as AWS's quota allows ({quota}), so it gets no route to {destinations}; remove routes from it, exclude it in {field}.routeTables.exclude, or ask AWS for a higher quota (L-93826ACB, routes per route table)"
                )
            }
            Self::TooManyRoutes { field, wanted, limit } => {
                write!(
                    f,
                    "{field} asks for {wanted} routes, and the limit is {limit}; select fewer route tables or destinations"
                )
            }
        }
    }
}

//! The routes of one end of a peering. Both kinds share these rules.
//!
//! - `table`, `subnet`: the route tables and subnets that EC2 shows, as `vpc_resources`.
//! - `selection`: the route tables that the spec selects.
//! - `cidr`, `trust`: CIDR blocks, and those of the other end that may get routes.
//! - `destination`: CIDR blocks and prefix lists as destinations.
//! - `prefix_list`, `listed`: managed prefix lists, and those of the spec that may get routes.
//! - `change`: the steps, and their EC2 calls.
//! - `answers`: EC2's answers to earlier calls.
//! - `routing`: the input of a decision.
//! - `wanted`: the routes that the spec asks for.
//! - `plan`: the decision, which compares the spec, the record and EC2.
//! - `problem`, `selection_problem`, `prefix_list_problem`: the messages about routes that cannot be created.

mod answers;
mod change;
mod cidr;
mod destination;
mod listed;
mod plan;
mod prefix_list;
mod prefix_list_problem;
mod problem;
mod routing;
mod selection;
mod selection_problem;
mod subnet;
mod table;
mod trust;
mod vpc_resources;
mod wanted;

pub(crate) use answers::{DeletedRoutes, RouteAnswers};
pub(crate) use change::{RouteChange, RouteStep};
pub(crate) use cidr::{cidr_blocks, parse_all};
pub(crate) use destination::Destination;
pub(crate) use plan::{repair, withdraw};
pub(crate) use prefix_list::{Entries, NamedPrefixLists, PrefixList, PrefixLists};
pub(crate) use routing::Routing;
pub(crate) use subnet::{Subnet, Subnets};
pub(crate) use table::{Route, RouteTable, RouteTables, Target};
pub(crate) use trust::Trust;
pub(crate) use vpc_resources::{VpcResource, VpcResources};

#[cfg(test)]
mod tests;

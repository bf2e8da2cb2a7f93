//! The routes of one end of a peering. Both kinds share these rules.
//!
//! - `table`: the route tables that EC2 shows, and the tables that a selector matches.
//! - `cidr`, `trust`: CIDR blocks, and those of the other end that may get routes.
//! - `change`: the steps, and their EC2 calls.
//! - `answers`: EC2's answers to earlier calls.
//! - `routing`: the input of a decision.
//! - `wanted`: the routes that the spec asks for.
//! - `plan`: the decision, which compares the spec, the record and EC2.
//! - `problem`: the messages about routes that cannot be created.

mod answers;
mod change;
mod cidr;
mod plan;
mod problem;
mod routing;
mod table;
mod trust;
mod wanted;

pub(crate) use answers::{DeletedRoutes, RouteAnswers};
pub(crate) use change::{RouteChange, RouteStep};
pub(crate) use cidr::{cidr_blocks, parse_all};
pub(crate) use plan::{repair, withdraw};
pub(crate) use routing::Routing;
pub(crate) use table::{Route, RouteTable, RouteTables, Target};
pub(crate) use trust::Trust;

#[cfg(test)]
mod tests;

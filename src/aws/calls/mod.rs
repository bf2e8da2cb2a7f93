//! The EC2 calls, translated to and from domain types: one function sends one request.

pub(super) mod dry_run;
#[cfg(test)]
mod fuzz;
mod network;
pub(super) mod peerings;
mod prefix_lists;
pub(super) mod routes;
mod security_groups;
mod subnets;
mod vpc_resources;
mod vpcs;

pub use peerings::{ACCEPTER_VPC_ID, CONNECTION_ID, REQUESTER_VPC_ID};
pub use prefix_lists::PREFIX_LIST_ID;
pub use vpc_resources::VPC_ID;

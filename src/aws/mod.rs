//! The only user of the AWS SDK: clients, calls, error classes, and the batched view of each region.

pub mod calls;
pub mod ec2;
pub mod error;
pub mod inventory;
pub mod routes;
pub mod traffic;
pub mod vpcs;

pub use calls::CreateRequest;
pub use ec2::Ec2;
pub use error::{AwsError, Class};
pub use inventory::{Inventories, Inventory, Listing};
pub use traffic::{Answered, Traffic};
pub use vpcs::Vpcs;

//! The only user of the AWS SDK: accounts and their clients, calls, error classes, and the batched view of each region.

pub mod accounts;
pub mod calls;
pub mod ec2;
pub mod error;
pub mod events;
pub mod inventory;
pub mod pace;
pub mod poller;
pub mod principal;
pub mod questions;
pub mod rate;
pub mod regions;
pub mod routes;
#[cfg(test)]
mod testing;
pub mod traffic;
pub mod vpcs;

pub use accounts::{Account, Accounts, CallerIdentity};
pub use calls::CreateRequest;
pub use ec2::Ec2;
pub use error::{AwsError, Class};
pub use inventory::{Inventories, Inventory, Listing, Page, View};
pub use principal::{Principal, Role};
pub use questions::Questions;
pub use rate::Rate;
pub use traffic::{Answered, Traffic};
pub use vpcs::Vpcs;

//! The watches of the API server.
//!
//! - `resources`: the resources that the operator reconciles.
//! - `permissions`: the identities and namespaces that permissions depend on.
//! - `relist`: the restart of a watch after an error, and the regular complete listing.
//! - `changes`: later listings as changes, and the store update before anyone learns of a change.
//! - `decode`: objects without the parts that the operator does not use.

mod changes;
pub(super) mod decode;
#[cfg(test)]
mod fuzz;
mod permissions;
mod relist;
mod resources;
#[cfg(test)]
mod testing;

pub(super) use permissions::{identities, namespaces};
pub(super) use resources::resources;

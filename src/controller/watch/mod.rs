//! The watches of the API server.
//!
//! - `resources`: the resources that the operator reconciles.
//! - `permissions`: identities and namespaces, which permissions depend on.
//! - `relist`: the restart of a watch after an error, and the regular complete listing.
//! - `changes`: a later listing as changes, and the order of the store and its readers.
//! - `decode`: objects without the parts that nobody uses.

mod changes;
pub(super) mod decode;
mod permissions;
mod relist;
mod resources;

pub(super) use permissions::{identities, namespaces};
pub(super) use resources::resources;

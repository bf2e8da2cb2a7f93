//! The domain: what a peering is, and what follows from what we see. Pure: no client, no clock, no async.

pub mod connection;
pub mod owner;
pub mod plan;
pub mod snapshot;
pub mod status;

#[cfg(test)]
mod testing;

pub use connection::{Connection, StatusCode};
pub use owner::Owner;
pub use plan::{Desired, Observation, Plan, Recorded, Settings, Step, decide};
pub use snapshot::Snapshot;
pub use status::Standing;

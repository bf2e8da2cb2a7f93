//! The domain: what a peering is, and what follows from what we see. Pure: no client, no clock, no async.

pub mod connection;
pub mod decision;
pub mod facts;
pub mod owner;
pub mod plan;
pub mod preflight;
pub mod quota;
pub mod routes;
pub mod snapshot;
pub mod status;
pub mod tags;
#[cfg(test)]
mod testing;

pub use connection::{Connection, StatusCode};
pub use decision::decide;
pub use facts::{Claim, Desired, Observation, Recorded, Settings};
pub use owner::Owner;
pub use plan::{Plan, Step};
pub use preflight::Preflight;
pub use routes::{RouteTable, RouteTables, RoutesPlan, Routing};
pub use snapshot::Snapshot;
pub use status::Standing;

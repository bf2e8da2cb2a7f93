//! The domain: what a peering is, and what follows from what we see. Pure: no client, no clock, no async.

pub mod authority;
pub mod connection;
pub mod decision;
pub mod ends;
pub mod facts;
pub mod limits;
pub mod owner;
pub mod plan;
pub mod preflight;
pub mod quota;
pub mod routes;
pub mod snapshot;
pub mod status;
pub mod tags;
#[cfg(test)]
pub(crate) mod testing;
pub mod upkeep;

pub use authority::{Authority, Authorized, Hint};
pub use connection::{Connection, StatusCode, Tags};
pub use decision::{blocked, decide};
pub use ends::{End, Ends};
pub use facts::{AccepterView, Claim, Desired, Observation, Recorded, Settings, Trouble};
pub use limits::{Limits, Permissions};
pub use owner::Owner;
pub use plan::{Concern, Plan, Step};
pub use preflight::Preflight;
pub use snapshot::Snapshot;
pub use status::Standing;

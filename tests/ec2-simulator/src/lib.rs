//! A test server that speaks the query protocol of EC2 and STS for VPC peering. Tests control its clock and inject
//! faults.
//!
//! | module | responsibility |
//! |---|---|
//! | `world` | the state: accounts, VPCs, peering connections, route tables, tags. Pure: no clock, no HTTP |
//! | `protocol` | parsing of calls, and XML responses |
//! | `actions` | one handler for each API action |
//! | `iam` | evaluation of IAM policies |
//! | `faults`, `throttle` | injected faults, and EC2's token buckets |
//! | `simulator` | the steps of a call: faults, authorization, action, journal |
//! | `server`, `control` | HTTP, and the control API under `/_simulator/` |
//! | `client` | a Rust client of the control API |

mod actions;
mod client;
pub mod clock;
mod control;
mod error;
mod faults;
pub mod iam;
pub mod journal;
mod protocol;
pub mod random;
mod server;
mod simulator;
mod throttle;
pub mod world;

pub use client::Client;
pub use error::Error;
pub use faults::{Fault, Kind, Matching};
pub use server::Server;
pub use simulator::Simulator;
pub use world::{Scene, Settings, World};

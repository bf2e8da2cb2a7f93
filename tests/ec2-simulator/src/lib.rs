//! A test instrument that speaks EC2's and STS's query protocol for VPC peering, with a clock and faults that tests
//! command. The folders and files, from the inside out: `world` what there is (pure), `protocol` how it is said,
//! `actions` what can be asked, `iam` who may ask for it, `server` and `control` the doors, `client` the key to the second one.

pub mod actions;
pub mod client;
pub mod clock;
mod control;
pub mod error;
pub mod faults;
pub mod iam;
pub mod journal;
pub mod protocol;
pub mod random;
pub mod server;
pub mod simulator;
pub mod throttle;
pub mod world;

pub use client::Client;
pub use error::Error;
pub use faults::{Fault, Kind, Matching};
pub use server::Server;
pub use simulator::Simulator;
pub use world::{Scene, Settings, World};

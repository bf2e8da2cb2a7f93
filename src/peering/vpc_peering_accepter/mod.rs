//! The other half of a peering that somebody else asks for: which requests are accepted, and what is kept at this end of
//! those that were. Pure, as `peering` is, whose terms it uses.

pub mod decision;
pub mod facts;
pub mod review;
pub mod rules;
pub mod status;
pub mod step;

pub use decision::{Decision, blocked, decide};
pub use facts::{Desired, Observation, Recorded};
pub use step::Step;

#[cfg(test)]
mod tests;

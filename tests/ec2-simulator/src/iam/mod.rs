//! IAM policies: whether a caller may do what it asks for.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>
//!
//! A caller without any attached policy may do everything, so that tests that are not about IAM need none.

mod attachment;
mod condition;
mod context;
mod pattern;
mod policy;
pub mod reference;
mod request;

#[cfg(test)]
mod tests;

pub use attachment::{Attachment, Decision, Kind, Policies};
pub use context::Context;
pub use policy::Policy;
pub use request::{Asked, of_call};

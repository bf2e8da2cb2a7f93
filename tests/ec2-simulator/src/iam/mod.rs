//! Evaluation of IAM policies.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>
//!
//! A caller without an attached policy may do everything, so that only tests about IAM need policies.

mod attachment;
mod condition;
mod context;
mod pattern;
mod policy;
pub mod reference;
mod request;

#[cfg(test)]
mod tests;

pub use attachment::{Attachment, Kind};
pub(crate) use attachment::{Decision, Policies};
pub use policy::Policy;
pub(crate) use request::authorization_requests;

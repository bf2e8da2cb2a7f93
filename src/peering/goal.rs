//! The parts of an object that its status answers.

use crate::api::DeletionPolicy;

/// A spec with what the operator and the API server add to it.
#[derive(Debug)]
pub(crate) struct Goal<'a, S> {
    pub spec: &'a S,
    /// The deletion policy of the spec, or the operator's default.
    pub deletion_policy: DeletionPolicy,
    pub deleted: bool,
    /// `metadata.generation` of the spec.
    pub generation: i64,
}

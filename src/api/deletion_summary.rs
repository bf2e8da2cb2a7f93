//! The summary of a deletion, for the status of both kinds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The effect that the deletion of the resource would have in AWS, as EC2 shows it now and with the deletion policy in
/// effect. Each entry lists at most 10 items, and counts the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeletionSummary {
    /// The resources and settings that the operator would remove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removes: Vec<String>,
    /// The resources and settings that would stay in AWS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stays: Vec<String>,
}

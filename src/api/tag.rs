//! Tags on AWS resources.

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::Text;

/// A tag of an AWS resource. Limits:
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions>.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!self.key.lowerAscii().startsWith('aws:')")
        .message("AWS reserves tag keys that start with 'aws:'; choose another key")
        .field_path(".key"),
    validation = Rule::new("!self.key.lowerAscii().startsWith('vpcpeering.dev/')")
        .message("tag keys that start with 'vpcpeering.dev/' are reserved for the operator, which uses them to record who owns a peering; choose another key")
        .field_path(".key"),
)]
pub struct Tag {
    /// The key of the tag: 1 to 127 characters. It must not start with `aws:` or `vpcpeering.dev/`, in upper or lower
    /// case, because IAM condition keys ignore case.
    #[schemars(length(min = 1, max = 127))]
    pub key: String,
    /// The value of the tag: at most 256 characters. Defaults to the empty string.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub value: String,
}

/// A tag that the operator has set. It is recorded before the call to EC2, so that it may not be set yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ManagedTag {
    /// The key of the tag.
    pub key: Text,
    /// The value that the operator set.
    pub value: Text,
}

/// The schema of the tags that select AWS resources: 1 to 10, by key and value.
pub(super) fn tag_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "maxProperties": 10,
        "additionalProperties": {"type": "string", "maxLength": 256},
        "x-kubernetes-validations": [{
            "rule": "self.all(key, size(key) <= 127)",
            "message": "a tag key must have at most 127 characters",
        }],
    })
}

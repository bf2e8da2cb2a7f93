//! A tag as EC2 has it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// A key and value that AWS keeps.
/// Limits: <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions>.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!self.key.lowerAscii().startsWith('aws:')")
        .message("AWS reserves tag keys that start with 'aws:'; choose another key")
        .field_path(".key"),
    validation = Rule::new("!self.key.lowerAscii().startsWith('vpcpeering.dev/')")
        .message("tag keys that start with 'vpcpeering.dev/' record who owns a peering; choose another key")
        .field_path(".key"),
)]
pub struct Tag {
    /// The tag's key: 1 to 127 characters, not starting with `aws:` or `vpcpeering.dev/`
    /// in any case, since IAM's condition keys ignore case.
    #[schemars(length(min = 1, max = 127))]
    pub key: String,
    /// The tag's value: at most 256 characters.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub value: String,
}

/// A tag that the operator has set, or is about to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ManagedTag {
    /// The tag's key.
    pub key: SmolStr,
    /// The value that the operator has set.
    pub value: SmolStr,
}

//! `AwsIdentity`: an AWS role that the operator assumes for other resources, and the limits of its use.

// Printer columns share attribute values, which clippy reports as mistakes.
#![allow(clippy::duplicated_attributes)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::allow_list::{AllowedNamespaces, AllowedPeers, AllowedRegions, AllowedVpcs};

/// AwsIdentitySpec names the role and limits its use. A permission that is absent or empty allows nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "vpcpeering.dev",
    version = "v1alpha1",
    kind = "AwsIdentity",
    plural = "awsidentities",
    singular = "awsidentity",
    category = "aws",
    status = "AwsIdentityStatus",
    derive = "PartialEq",
    doc = "AwsIdentity is an AWS IAM role that the operator assumes, with its own credentials, for the resources that refer to it. It limits the namespaces, VPCs, regions, peers and actions that the role may be used for.",
    printcolumn(
        name = "Account",
        type_ = "string",
        json_path = ".spec.accountId",
        description = "The AWS account of the role"
    ),
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.roleArn", description = "The ARN of the role"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status",
        description = "Whether the operator can assume the role and the spec permits something"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        priority = 1,
        description = "The reason of the Ready condition"
    )
)]
#[x_kube(
    validation = Rule::new("self.roleArn.split(':')[4] == self.accountId")
        .message("roleArn must name a role of the account in accountId")
        .field_path(".roleArn"),
)]
#[serde(rename_all = "camelCase")]
pub struct AwsIdentitySpec {
    /// The ID of the AWS account that the role belongs to: 12 digits.
    #[schemars(length(max = 12), regex(pattern = r"^[0-9]{12}$"))]
    pub account_id: String,
    /// The ARN of the role, for example `arn:aws:iam::111111111111:role/peering`. The role must belong to `accountId`.
    /// Its trust policy must allow `sts:AssumeRole` and `sts:TagSession` for the operator's own credentials.
    #[schemars(length(max = 1024), regex(pattern = r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$"))]
    pub role_arn: String,
    /// The external ID that the trust policy of the role requires, if it requires one.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_common-scenarios_third-party.html>
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1224), regex(pattern = r"^[\w+=,.@:/-]+$"))]
    pub external_id: Option<String>,
    /// Additional session tags of the assumed role, at most 48, with at most 200 characters in all keys and values
    /// together. The operator adds the tags `vpcpeering.dev/cluster` and `vpcpeering.dev/namespace`, unless it runs
    /// with `--disable-session-tags`. STS limits the size of all tags together. It also counts tags that the operator's
    /// own session passes on, such as those of EKS Pod Identity.
    // STS allows 50 session tags, and the operator adds two.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 48))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["key".into()]),
        validation = Rule::new("self.map(tag, size(tag.key) + size(tag.value)).sum() <= 200")
            .message("the keys and values of sessionTags must have at most 200 characters together, because STS limits the size of all session tags; remove or shorten tags"),
        validation = Rule::new("self.all(tag, self.exists_one(other, other.key.lowerAscii() == tag.key.lowerAscii()))")
            .message("keys of sessionTags must differ not only in case, because STS ignores the case of keys; remove one of them"),
    )]
    pub session_tags: Vec<SessionTag>,
    /// The region of every end that refers to this identity and sets no region, for example `eu-central-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$"))]
    pub default_region: Option<String>,
    /// The region of the STS endpoint that the operator calls to assume the role, for example `eu-central-1`. It must
    /// be in the partition of `roleArn`. A region that AWS does not enable by default must be enabled in the account of
    /// the role and in the account of the operator. Defaults to the operator's own region (`AWS_REGION`). The role can
    /// be used in every region.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_enable-regions.html>
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$"))]
    pub sts_region: Option<String>,
    /// The namespaces whose resources may use this identity. If absent, no namespace may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = MapMerge::Atomic)]
    pub allowed_namespaces: Option<AllowedNamespaces>,
    /// The VPCs of this account that may be peered through this identity. If absent, no VPC may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = MapMerge::Atomic)]
    pub allowed_vpcs: Option<AllowedVpcs>,
    /// The regions in which this identity may be used. If absent, it may be used in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = MapMerge::Atomic)]
    pub allowed_regions: Option<AllowedRegions>,
    /// The accounts and VPCs that may be at the other end of a peering. If absent, none may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = MapMerge::Atomic)]
    pub allowed_peers: Option<AllowedPeers>,
    /// Allows the operator to create and replace routes through this identity. Routes that it created earlier are
    /// removed regardless of this field. Defaults to false.
    #[serde(default)]
    pub allow_routes: bool,
    /// Allows the operator to set the DNS options of peering connections through this identity. Defaults to false.
    #[serde(default)]
    pub allow_options: bool,
    /// Allows the operator to turn on the attributes `enableDnsSupport` and `enableDnsHostnames` of the allowed VPCs
    /// through this identity, if a resource sets `manageDnsAttributes`. They apply to the whole VPC, so that
    /// `allowOptions` does not include them. Defaults to false.
    #[serde(default)]
    pub allow_vpc_attributes: bool,
    /// Allows resources to adopt existing peering connections through this identity (`spec.vpcPeeringConnectionId` of a
    /// `VpcPeering`). Deleting such a resource can delete the connection. Defaults to false.
    #[serde(default)]
    pub allow_adoption: bool,
}

impl AwsIdentity {
    /// An identity that permits nothing, for tests to start from.
    #[cfg(test)]
    pub(crate) fn nobody() -> Self {
        Self::new(
            "",
            AwsIdentitySpec {
                account_id: String::new(),
                role_arn: String::new(),
                external_id: None,
                session_tags: Vec::new(),
                default_region: None,
                sts_region: None,
                allowed_namespaces: None,
                allowed_vpcs: None,
                allowed_regions: None,
                allowed_peers: None,
                allow_routes: false,
                allow_options: false,
                allow_vpc_attributes: false,
                allow_adoption: false,
            },
        )
    }
}

/// The maximum characters of all keys and values in `sessionTags`, as in its validation rule. Together with the tags of
/// the operator they stay below the packed limit of STS, which is about 400 characters.
#[cfg(test)]
pub(crate) const SESSION_TAGS_LENGTH: usize = 200;

/// A tag of a role session. Limits: <https://docs.aws.amazon.com/STS/latest/APIReference/API_Tag.html>.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new(r"self.key.matches('^[\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]+$')")
        .message("keys of session tags may contain letters, digits, spaces and _.:/=+-@ only; choose another key")
        .field_path(".key"),
    validation = Rule::new(r"self.value.matches('^[\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*$')")
        .message("values of session tags may contain letters, digits, spaces and _.:/=+-@ only; choose another value")
        .field_path(".value"),
    validation = Rule::new("!self.key.lowerAscii().startsWith('aws:')")
        .message("AWS reserves tag keys that start with 'aws:'; choose another key")
        .field_path(".key"),
    validation = Rule::new("!self.key.lowerAscii().startsWith('vpcpeering.dev/')")
        .message("session tags that start with 'vpcpeering.dev/' are reserved for the operator, because IAM policies rely on them; choose another key")
        .field_path(".key"),
)]
pub struct SessionTag {
    /// The key of the tag: 1 to 128 letters, digits, spaces and `_.:/=+-@`. It must not start with `aws:` or
    /// `vpcpeering.dev/`, in upper or lower case, because IAM condition keys ignore case.
    #[schemars(length(min = 1, max = 128))]
    pub key: String,
    /// The value of the tag: at most 256 letters, digits, spaces and `_.:/=+-@`. Defaults to the empty string.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub value: String,
}

/// AwsIdentityStatus is the observed state of the role.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsIdentityStatus {
    /// The account that STS `GetCallerIdentity` returned for the assumed role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The ARN of the assumed role that STS `GetCallerIdentity` returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
    /// The generation of the spec that this status describes; -1 until the operator has written a status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The conditions: `Ready` is always present, `Reconciling` or `Stalled` only while it is True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// A reference to an `AwsIdentity`, which is cluster-scoped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IdentityReference {
    /// The name of the `AwsIdentity`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub name: String,
}

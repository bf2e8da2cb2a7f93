//! `AwsIdentity`: an AWS role that the operator assumes for other resources, and the limits of its use.

// Printer columns share attribute values, which clippy reports as mistakes.
#![allow(clippy::duplicated_attributes)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::allow_list::{AllowedNamespaces, AllowedPeers, AllowedRegions, AllowedVpcs};
use super::tag::Tag;

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
    /// Additional session tags of the assumed role, at most 46. The operator always adds four tags, which name the
    /// cluster and the resource that it acts for.
    // STS allows 50 session tags, and the operator adds four.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 46))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    pub session_tags: Vec<Tag>,
    /// The region of every end that refers to this identity and sets no region, for example `eu-central-1`. It is also
    /// the region of the STS endpoint that the operator calls to assume the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$"))]
    pub default_region: Option<String>,
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
                allowed_namespaces: None,
                allowed_vpcs: None,
                allowed_regions: None,
                allowed_peers: None,
                allow_routes: false,
                allow_options: false,
                allow_adoption: false,
            },
        )
    }
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

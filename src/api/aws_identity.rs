//! `AwsIdentity`: an AWS role that resources may act by, and who may.

#![allow(clippy::duplicated_attributes)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Tag;
use super::allow_list::{AllowedNamespaces, AllowedPeers, AllowedRegions, AllowedVpcs};

/// A role that the operator assumes from its own credentials, and the namespaces that may use it.
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
    doc = "AwsIdentity is an AWS role that the operator assumes for the resources of the namespaces that it allows.",
    printcolumn(name = "Account", type_ = "string", json_path = ".spec.accountId", description = "The AWS account"),
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.roleArn", description = "The role"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status",
        description = "Whether the role can be assumed"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        priority = 1,
        description = "Why it is ready or not"
    )
)]
#[x_kube(
    validation = Rule::new("self.roleArn.split(':')[4] == self.accountId")
        .message("roleArn must be a role of the account in accountId")
        .field_path(".roleArn"),
)]
#[serde(rename_all = "camelCase")]
pub struct AwsIdentitySpec {
    /// The AWS account that the role is of: 12 digits.
    #[schemars(length(max = 12), regex(pattern = r"^[0-9]{12}$"))]
    pub account_id: String,
    /// The role's ARN. Its trust policy has to allow the operator's own credentials `sts:AssumeRole` and
    /// `sts:TagSession`.
    #[schemars(length(max = 1024), regex(pattern = r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$"))]
    pub role_arn: String,
    /// The external ID that the role's trust policy asks for.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_common-scenarios_third-party.html>
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1224), regex(pattern = r"^[\w+=,.@:/-]+$"))]
    pub external_id: Option<String>,
    /// Tags of every session, beside those that name the cluster and the resource that it is opened for.
    // AWS allows 50 tags on a session; four are ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 46))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    pub session_tags: Vec<Tag>,
    /// The region of an end that names none, and of the STS endpoint that gives the sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$"))]
    pub default_region: Option<String>,
    /// The namespaces whose resources may use this identity. Absent, none may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = MapMerge::Atomic)]
    pub allowed_namespaces: Option<AllowedNamespaces>,
    /// The VPCs of this account that may be peered by this identity. Absent, none may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = MapMerge::Atomic)]
    pub allowed_vpcs: Option<AllowedVpcs>,
    /// The regions in which this identity may be used. Absent, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = MapMerge::Atomic)]
    pub allowed_regions: Option<AllowedRegions>,
    /// The accounts and VPCs at the other end of peerings. Absent, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = MapMerge::Atomic)]
    pub allowed_peers: Option<AllowedPeers>,
    /// Whether routes may be added and changed by this identity. Routes that it has made are removed without it, too.
    #[serde(default)]
    pub allow_routes: bool,
    /// Whether DNS options of peerings may be set by this identity.
    #[serde(default)]
    pub allow_options: bool,
    /// Whether existing connections may be taken over by this identity, as `spec.vpcPeeringConnectionId` asks.
    #[serde(default)]
    pub allow_adoption: bool,
}

impl AwsIdentity {
    /// One that allows nobody.
    #[must_use]
    pub fn nobody() -> Self {
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

/// What we know of the identity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsIdentityStatus {
    /// The account that AWS's `GetCallerIdentity` told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The ARN of the assumed role that `GetCallerIdentity` told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
    /// The generation of the spec that this status speaks of; -1 until there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` always; `Reconciling` or `Stalled` while they hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Names an `AwsIdentity`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IdentityReference {
    /// The identity's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub name: Box<str>,
}

//! The allow lists of an `AwsIdentity` and of a `VpcPeeringAccepter`. Only an explicit `all: true` permits everything.
//! An empty list, an absent field, and a null (which the API server prunes) permit nothing. Each allow list is atomic
//! in server-side apply, so that a removed entry cannot survive because another field manager owns it too.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A set of namespaces: all of them, or those in `list` and those that `selector` matches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.all) && self.all ? !has(self.list) && !has(self.selector) : has(self.list) || has(self.selector)")
        .message("set all: true to allow every namespace, or set list or selector to allow some; an empty list allows none"),
    validation = Rule::new("!has(self.selector) || has(self.selector.matchLabels) && size(self.selector.matchLabels) > 0 || has(self.selector.matchExpressions) && size(self.selector.matchExpressions) > 0")
        .message("selector must not be empty: set matchLabels or matchExpressions, or set all: true to allow every namespace")
        .field_path(".selector"),
)]
pub struct AllowedNamespaces {
    /// Allows every namespace. If true, `list` and `selector` must be absent. Defaults to false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// The names of the allowed namespaces, at most 1000. An empty list allows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(max = 63)))]
    pub list: Option<Vec<String>>,
    /// Allows the namespaces whose labels match this label selector, which must not be empty. The labels of the
    /// resources in a namespace have no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// A set of VPCs: all of them, or those in `list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.all) && self.all ? !has(self.list) : has(self.list)")
        .message("set all: true to allow every VPC, or set list to allow some; an empty list allows none"),
)]
pub struct AllowedVpcs {
    /// Allows every VPC. If true, `list` must be absent. Defaults to false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// The IDs of the allowed VPCs, at most 200. An empty list allows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200), inner(length(max = 21), regex(pattern = r"^vpc-([0-9a-f]{8}|[0-9a-f]{17})$")))]
    pub list: Option<Vec<String>>,
}

/// A set of AWS regions: all that this release of the operator knows, or those in `list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.all) && self.all ? !has(self.list) : has(self.list)")
        .message("set all: true to allow every region, or set list to allow some; an empty list allows none"),
)]
pub struct AllowedRegions {
    /// Allows every region that this release of the operator knows. If true, `list` must be absent. Defaults to false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// The names of the allowed regions, at most 50. A region that is newer than this release of the operator is
    /// allowed only by its name in this list. An empty list allows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50), inner(length(max = 32), regex(pattern = r"^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$")))]
    pub list: Option<Vec<String>>,
}

/// A set of CIDR blocks: all of them, or those that lie within a block in `list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.all) && self.all ? !has(self.list) : has(self.list)")
        .message("set all: true to allow every CIDR block, or set list to allow some; an empty list allows none"),
)]
pub struct AllowedCidrBlocks {
    /// Allows every CIDR block. If true, `list` must be absent. Defaults to false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// The allowed CIDR blocks, IPv4 or IPv6, at most 50. A block is allowed if it lies within one of these. An empty
    /// list allows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50), inner(length(max = 43)))]
    #[x_kube(validation = Rule::new("self.all(block, isCIDR(block))")
        .message("cidrBlocks must be CIDR blocks, for example 10.1.0.0/16 or 2001:db8::/56"))]
    pub list: Option<Vec<String>>,
}

/// A set of peers, that is of VPCs at the other end of a peering: all of them, or those in `list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.all) && self.all ? !has(self.list) : has(self.list)")
        .message("set all: true to allow every peer, or set list to allow some; an empty list allows none"),
)]
pub struct AllowedPeers {
    /// Allows every VPC of every account. If true, `list` must be absent. Defaults to false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// The allowed accounts, at most 100, each with its allowed VPCs. A peering within one account also needs an entry
    /// for that account. An empty list allows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub list: Option<Vec<AllowedPeer>>,
}

/// A set of VPCs of one AWS account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AllowedPeer {
    /// The ID of the AWS account: 12 digits.
    #[schemars(length(max = 12), regex(pattern = r"^[0-9]{12}$"))]
    pub account_id: String,
    /// The allowed VPCs of the account.
    pub vpcs: AllowedVpcs,
}

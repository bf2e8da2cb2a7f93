//! Allow lists. Only an explicit `all: true` permits everything: an empty list, a null that the API server prunes, and a
//! field that is absent permit nobody. Each list is atomic, so that a withdrawal never leaves what another field manager
//! also owns.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Namespaces: every one, or those of the list and those that the selector matches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.all) && self.all ? !has(self.list) && !has(self.selector) : has(self.list) || has(self.selector)")
        .message("allow every namespace by all: true, or some by list or selector; an empty list allows none"),
    validation = Rule::new("!has(self.selector) || has(self.selector.matchLabels) && size(self.selector.matchLabels) > 0 || has(self.selector.matchExpressions) && size(self.selector.matchExpressions) > 0")
        .message("selector is empty: name labels, or allow every namespace by all: true instead")
        .field_path(".selector"),
)]
pub struct AllowedNamespaces {
    /// Allows every namespace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// The namespaces' names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(max = 63)))]
    pub list: Option<Vec<String>>,
    /// Labels of the namespaces. Labels of the resources in them do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// VPCs: every one, or those of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.all) && self.all ? !has(self.list) : has(self.list)")
        .message("allow every VPC by all: true, or some by list; an empty list allows none"),
)]
pub struct AllowedVpcs {
    /// Allows every VPC.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// The VPCs' IDs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200), inner(length(max = 21), regex(pattern = r"^vpc-([0-9a-f]{8}|[0-9a-f]{17})$")))]
    pub list: Option<Vec<String>>,
}

/// Regions: every one that this release of the operator knows, or those of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.all) && self.all ? !has(self.list) : has(self.list)")
        .message("allow every region by all: true, or some by list; an empty list allows none"),
)]
pub struct AllowedRegions {
    /// Allows every region that this release knows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// The regions' names. A region that this release does not know yet is allowed by its name only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50), inner(length(max = 32), regex(pattern = r"^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$")))]
    pub list: Option<Vec<String>>,
}

/// CIDR blocks: every one, or those that lie within one of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.all) && self.all ? !has(self.list) : has(self.list)")
        .message("allow every CIDR block by all: true, or some by list; an empty list allows none"),
)]
pub struct AllowedCidrBlocks {
    /// Allows every CIDR block.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// CIDR blocks, IPv4 and IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50), inner(length(max = 43)))]
    #[x_kube(validation = Rule::new("self.all(block, isCIDR(block))")
        .message("cidrBlocks takes CIDR blocks such as 10.1.0.0/16 or 2001:db8::/56"))]
    pub list: Option<Vec<String>>,
}

/// The other ends of peerings: every one, or those of the accounts in the list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.all) && self.all ? !has(self.list) : has(self.list)")
        .message("allow every peer by all: true, or some by list; an empty list allows none"),
)]
pub struct AllowedPeers {
    /// Allows every account.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// The accounts, and which of their VPCs. A peering within one account needs that account here, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub list: Option<Vec<AllowedPeer>>,
}

/// VPCs of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AllowedPeer {
    /// The AWS account: 12 digits.
    #[schemars(length(max = 12), regex(pattern = r"^[0-9]{12}$"))]
    pub account_id: String,
    /// Its VPCs.
    pub vpcs: AllowedVpcs,
}

//! One end of a peering connection, as EC2 describes it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Text;

/// One end of a peering connection, as EC2 describes it in `VpcPeeringConnectionVpcInfo`.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VpcPeeringConnectionVpcInfo.html>
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VpcInfo {
    /// The primary IPv4 CIDR block of the VPC. A pending request shows CIDR blocks of the requester only, and perhaps not
    /// all of them. A connection shows those of both ends while it is provisioning or active, and none after its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr_block: Option<Text>,
    /// The IPv4 CIDR blocks of the VPC.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cidr_block_set: Vec<CidrBlock>,
    /// The IPv6 CIDR blocks of the VPC.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ipv6_cidr_block_set: Vec<Ipv6CidrBlock>,
    /// The AWS account that owns the VPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<Text>,
    /// The ID of the VPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc_id: Option<Text>,
    /// The AWS region of the VPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Text>,
    /// The peering options of this end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peering_options: Option<PeeringOptions>,
}

/// An IPv4 CIDR block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CidrBlock {
    /// The block in CIDR notation, for example `10.0.0.0/16`.
    pub cidr_block: Text,
}

/// An IPv6 CIDR block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ipv6CidrBlock {
    /// The block in CIDR notation, for example `2001:db8::/56`.
    pub ipv6_cidr_block: Text,
}

/// The peering options of one end: what it permits the other end to do.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VpcPeeringConnectionOptionsDescription.html>
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeeringOptions {
    /// Whether public DNS names of instances at this end resolve to private IP addresses when queried from the other
    /// end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_dns_resolution_from_remote_vpc: Option<bool>,
    /// Retired together with EC2-Classic. Present only if EC2 reports that it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_egress_from_local_classic_link_to_remote_vpc: Option<bool>,
    /// Retired together with EC2-Classic. Present only if EC2 reports that it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_egress_from_local_vpc_to_remote_classic_link: Option<bool>,
}

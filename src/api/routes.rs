//! The routes that lead from one end of a peering to the other.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Side;

/// The routes of one end: in which of its VPC's route tables, and to where. They lead through the peering while it is
/// active. A route to the same destination that leads elsewhere is left alone, and a condition names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Routes {
    /// The route tables of this end's VPC that get the routes.
    pub route_tables: RouteTableSelector,
    /// Where the routes lead to: CIDR blocks that overlap those of the other end. Defaults to every CIDR block of the
    /// other end, IPv4 and IPv6, those that it gets later too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 50), inner(length(max = 43)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(block, isCIDR(block))")
            .message("destinationCidrBlocks takes CIDR blocks such as 10.1.0.0/16 or 2001:db8::/56"),
    )]
    pub destination_cidr_blocks: Vec<String>,
}

/// Which route tables of a VPC: exactly one of the four. A table that comes to match later is picked up, and one that
/// no longer matches loses the routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("[has(self.all) && self.all, has(self.main) && self.main, has(self.ids), has(self.tags)].exists_one(given, given)")
        .message("say which route tables by exactly one of: all: true, main: true, ids, tags"),
)]
#[serde(rename_all = "camelCase")]
pub struct RouteTableSelector {
    /// Every route table of the VPC.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// The VPC's main route table.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub main: bool,
    /// The route tables with these IDs, which must be of this VPC.
    // The default quota of route tables in a VPC:
    // https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-route-tables
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 200),
        inner(length(max = 21), regex(pattern = r"^rtb-([0-9a-f]{8}|[0-9a-f]{17})$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub ids: Vec<String>,
    /// The route tables that carry all of these tags, by key and value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend(
        "minProperties" = 1,
        "maxProperties" = 10,
        "additionalProperties" = {"type": "string", "maxLength": 256}
    ))]
    #[x_kube(validation = Rule::new("self.all(key, size(key) <= 127)").message("a tag's key has at most 127 characters"))]
    pub tags: BTreeMap<String, String>,
}

/// A route that the operator has made, or is about to: only these are ever changed or removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagedRoute {
    /// The end whose route table it is in.
    pub side: Side,
    /// The ID of the route table.
    pub route_table_id: String,
    /// Where it leads to, IPv4 or IPv6, as EC2 writes it.
    pub destination_cidr_block: String,
    /// The peering connection that it leads through.
    pub vpc_peering_connection_id: String,
}

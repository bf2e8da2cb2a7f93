//! The routes from one end of a peering connection to the other.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::side::Side;
use super::tag::tag_selector;

/// The routes of one end: their route tables and destinations. The routes exist while the peering connection is active.
/// A route with the same destination and another target is left unchanged and reported in the condition `RoutesReady`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!has(self.destinationPrefixListIds) || !has(self.excludeCidrBlocks)")
        .message("excludeCidrBlocks has no effect on prefix lists: remove it, and remove the entries from the lists"),
)]
#[serde(rename_all = "camelCase")]
pub struct Routes {
    /// Selects the route tables of this end's VPC in which the operator creates the routes.
    pub route_tables: RouteTableSelector,
    /// The destinations of the routes, at most 50. Each must lie within a CIDR block of the other end. For a
    /// `VpcPeeringAccepter`, each leads to the requester that has it. An IPv6 destination needs an IPv6 CIDR block in
    /// this end's VPC. Defaults to every CIDR block of the other end, including blocks that are added later; IPv6 blocks
    /// only if this end's VPC has IPv6. If the operator does not
    /// act for the other end, the default excludes public IPv4 blocks and blocks that are added later. To permit such a
    /// block, list it here for a `VpcPeering`, or in `cidrBlocks` of an `accept` entry for a `VpcPeeringAccepter`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 50), inner(length(max = 43)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(block, isCIDR(block))")
            .message("destinationCidrBlocks must be CIDR blocks, for example 10.1.0.0/16 or 2001:db8::/56"),
    )]
    pub destination_cidr_blocks: Vec<String>,
    /// CIDR blocks that get no route, at most 50, IPv4 or IPv6. A destination that lies within one of these blocks gets
    /// no route, also if `destinationCidrBlocks` lists it. A destination that is larger than an excluded block cannot
    /// be split: it keeps its route to all of its addresses, and the condition `RoutesReady` reports it. List the parts
    /// that need a route in `destinationCidrBlocks` instead. A block that no destination overlaps has no effect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 50), inner(length(max = 43)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(block, isCIDR(block))")
            .message("excludeCidrBlocks must be CIDR blocks, for example 10.1.0.0/16 or 2001:db8::/56"),
    )]
    pub exclude_cidr_blocks: Vec<String>,
    /// Customer-managed prefix lists that are destinations of routes, at most 10, for example `pl-0a1b2c3d4e5f67890`.
    /// They must exist in the region of this end. With this field, the other end's CIDR blocks get no routes of their
    /// own, unless `destinationCidrBlocks` lists them. Every entry of a list must lie within a CIDR block of the other
    /// end: otherwise the list gets no route, an existing route to it is removed, and the condition `RoutesReady` names
    /// the entry. A list counts as many routes as its maximum number of entries. It cannot be combined with
    /// `excludeCidrBlocks`: remove the entries from the list instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 10),
        inner(length(max = 20), regex(pattern = r"^pl-([0-9a-f]{8}|[0-9a-f]{17})$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub destination_prefix_list_ids: Vec<String>,
}

/// Selects route tables of a VPC. Exactly one of `all`, `main`, `ids`, `tags`, `subnetIds` and `subnetTags` must be set. A route table that matches
/// later gets the routes; one that no longer matches loses them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("[has(self.all) && self.all, has(self.main) && self.main, has(self.ids), has(self.tags), has(self.subnetIds), has(self.subnetTags)].exists_one(given, given)")
        .message("set exactly one of all: true, main: true, ids, tags, subnetIds and subnetTags to select the route tables"),
)]
#[serde(rename_all = "camelCase")]
pub struct RouteTableSelector {
    /// Selects every route table of the VPC. Defaults to false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// Selects the main route table of the VPC. Defaults to false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub main: bool,
    /// The IDs of the route tables, for example `rtb-0a1b2c3d4e5f67890`, at most 200. They must belong to the VPC.
    // The maximum is AWS's default quota of route tables per VPC:
    // https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-route-tables
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 200),
        inner(length(max = 21), regex(pattern = r"^rtb-([0-9a-f]{8}|[0-9a-f]{17})$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub ids: Vec<String>,
    /// Selects the route tables that have all of these tags, by key and value: 1 to 10 tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "tag_selector")]
    pub tags: BTreeMap<String, String>,
    /// Selects the route tables of these subnets, at most 200. A subnet that is associated with no route table uses the
    /// main one. The subnets must belong to the VPC.
    // The maximum is AWS's default quota of subnets per VPC:
    // https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-vpcs-subnets
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 200),
        inner(length(max = 24), regex(pattern = r"^subnet-([0-9a-f]{8}|[0-9a-f]{17})$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub subnet_ids: Vec<String>,
    /// Selects the route tables of the subnets that have all of these tags, by key and value: 1 to 10 tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "tag_selector")]
    pub subnet_tags: BTreeMap<String, String>,
    /// The route tables that get no routes, also if another field of the selector matches them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<RouteTableExclusion>,
}

/// Excludes route tables of a VPC. A table is excluded if `ids` lists it, or if it has all of the `tags`. A table that
/// is excluded later loses the routes of this resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.ids) || has(self.tags)")
        .message("set ids, tags or both to exclude route tables"),
)]
#[serde(rename_all = "camelCase")]
pub struct RouteTableExclusion {
    /// The IDs of the excluded route tables, for example `rtb-0a1b2c3d4e5f67890`, at most 200.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 200),
        inner(length(max = 21), regex(pattern = r"^rtb-([0-9a-f]{8}|[0-9a-f]{17})$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub ids: Vec<String>,
    /// Excludes the route tables that have all of these tags, by key and value: 1 to 10 tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "tag_selector")]
    pub tags: BTreeMap<String, String>,
}

/// A route that the operator has created. It is recorded before the call to EC2, so that it may not exist yet. The
/// operator replaces and deletes only recorded routes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagedRoute {
    /// The end whose route table contains the route.
    pub side: Side,
    /// The ID of the route table.
    pub route_table_id: String,
    /// The destination, if it is a CIDR block, IPv4 or IPv6, in EC2's notation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_cidr_block: Option<String>,
    /// The destination, if it is a managed prefix list: its ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_prefix_list_id: Option<String>,
    /// The ID of the peering connection that is the target of the route.
    pub vpc_peering_connection_id: String,
}

impl ManagedRoute {
    /// The destination as text: the CIDR block or the ID of the prefix list. Empty in an invalid record.
    pub fn destination(&self) -> &str {
        let destination = self.destination_cidr_block.as_ref().or(self.destination_prefix_list_id.as_ref());
        destination.map(String::as_str).unwrap_or_default()
    }
}

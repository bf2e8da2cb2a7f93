//! Route tables as EC2 shows them, and the tables that a selector of the spec matches.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::destination::Destination;
use super::prefix_list::{PrefixLists, load};
use super::vpc_resources::{VpcResource, VpcResources};
use crate::api::{RouteTableExclusion, RouteTableSelector};

/// The target of the routes within a VPC.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Route.html>
const LOCAL: &str = "local";

/// A route table as EC2 shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RouteTable {
    pub id: String,
    pub vpc_id: String,
    /// Whether it is the main route table of its VPC.
    pub main: bool,
    /// The internet gateway or virtual private gateway that the table is associated with. EC2 refuses routes through a
    /// peering connection in such a table.
    /// <https://docs.aws.amazon.com/vpc/latest/userguide/gateway-route-tables.html>
    pub gateway_id: Option<String>,
    /// The subnets that are associated with the table explicitly. All others of the VPC use the main route table.
    /// <https://docs.aws.amazon.com/vpc/latest/userguide/subnet-route-tables.html>
    pub subnet_ids: BTreeSet<String>,
    /// The tags that the describing account sees.
    pub tags: BTreeMap<String, String>,
    /// Every static route, including local routes. Propagated routes are left out: EC2 allows a static
    /// route beside them.
    pub routes: Vec<Route>,
}

/// A static route as EC2 shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub destination: Destination,
    pub target: Target,
    /// Whether EC2 drops the traffic, because the target no longer exists.
    pub is_blackhole: bool,
}

/// The target of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The ID of a peering connection.
    Peering(String),
    /// The ID of any other target, or `local`.
    Other(String),
}

/// A table and a destination. EC2 allows at most one static route for each.
pub(super) type RouteEntry = (String, Destination);

/// All route tables of one account and region, at one time.
pub(crate) type RouteTables = VpcResources<RouteTable>;

impl VpcResource for RouteTable {
    fn id(&self) -> &str {
        &self.id
    }

    fn vpc_id(&self) -> &str {
        &self.vpc_id
    }
}

impl RouteTables {
    /// The routes to a destination in a table, if the table belongs to the VPC.
    pub(super) fn at(&self, vpc_id: &str, (table, destination): &RouteEntry) -> impl Iterator<Item = &Route> {
        let table = self.get(table).filter(|table| table.vpc_id == vpc_id);
        table.into_iter().flat_map(|table| &table.routes).filter(|route| route.destination == *destination)
    }
}

impl RouteTableSelector {
    /// Whether it selects the table. A table of a gateway cannot have the routes, so no selector matches it. `subnets`
    /// are the tables of the selected subnets.
    pub(super) fn matches(&self, table: &RouteTable, subnets: &BTreeSet<&str>) -> bool {
        if table.gateway_id.is_some() || self.excludes(table) {
            return false;
        }
        self.all
            || (self.main && table.main)
            || self.ids.contains(&table.id)
            || has_all(&table.tags, &self.tags)
            || subnets.contains(&*table.id)
    }

    /// Whether it selects route tables by their subnets.
    pub(crate) fn is_by_subnet(&self) -> bool {
        !self.subnet_ids.is_empty() || !self.subnet_tags.is_empty()
    }

    /// Whether the table gets no routes, whatever else matches it.
    pub(super) fn excludes(&self, table: &RouteTable) -> bool {
        let is_excluded =
            |exclude: &RouteTableExclusion| exclude.ids.contains(&table.id) || has_all(&table.tags, &exclude.tags);
        self.exclude.as_ref().is_some_and(is_excluded)
    }
}

impl RouteTable {
    /// The routes of an address family that count towards AWS's quota. Local routes do not.
    pub(super) fn routes_of_family(&self, is_ipv4: bool, lists: Option<&PrefixLists>) -> usize {
        let is_counted = |route: &&Route| !matches!(&route.target, Target::Other(target) if target == LOCAL);
        let loads = self.routes.iter().filter(is_counted).map(|route| load(&route.destination, lists));
        loads.filter(|load| load.is_ipv4 == is_ipv4).map(|load| load.routes).sum()
    }

    /// The routes of the address family with the most of them. A route to a prefix list counts as one: the lists are not
    /// known here.
    pub(crate) fn most_routes(&self) -> usize {
        [true, false].into_iter().map(|is_ipv4| self.routes_of_family(is_ipv4, None)).max().unwrap_or_default()
    }
}

/// Whether a resource has all of the `wanted` tags. False if there are none: an empty field selects nothing.
pub(super) fn has_all(tags: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    !wanted.is_empty() && wanted.iter().all(|(key, value)| tags.get(key) == Some(value))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peering(id) | Self::Other(id) => f.write_str(id),
        }
    }
}

//! Route tables as EC2 shows them, and the tables that a selector of the spec matches.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

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
    /// The tags that the describing account sees.
    pub tags: BTreeMap<String, String>,
    /// Every static route to a CIDR block, including local routes. Propagated routes are left out: EC2 allows a static
    /// route beside them.
    pub routes: Vec<Route>,
}

/// A static route as EC2 shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub destination: IpNet,
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
pub(super) type RouteEntry = (String, IpNet);

/// All route tables of one account and region, at one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct RouteTables {
    /// By ID. An unchanged table is shared with the previous snapshot.
    tables: BTreeMap<String, Arc<RouteTable>>,
    /// The IDs of the tables, by the ID of the VPC.
    by_vpc: BTreeMap<String, Vec<String>>,
}

impl RouteTables {
    pub(crate) fn of_vpc(&self, vpc_id: &str) -> impl Iterator<Item = &RouteTable> {
        self.by_vpc.get(vpc_id).into_iter().flatten().filter_map(|id| self.get(id))
    }

    pub(crate) fn get(&self, id: &str) -> Option<&RouteTable> {
        self.tables.get(id).map(|table| &**table)
    }

    pub(crate) fn tables(&self) -> impl ExactSizeIterator<Item = &Arc<RouteTable>> {
        self.tables.values()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.tables.len()
    }

    /// Returns the table of this snapshot if it equals `table`, so that both share their memory.
    pub(crate) fn share(&self, table: RouteTable) -> Arc<RouteTable> {
        match self.tables.get(&table.id) {
            Some(known) if **known == table => Arc::clone(known),
            _ => Arc::new(table),
        }
    }

    /// The IDs of the VPCs whose tables or routes differ from those of `earlier`.
    pub(crate) fn changes_since(&self, earlier: &Self) -> BTreeSet<String> {
        let ids = self.tables.keys().chain(earlier.tables.keys());
        let pairs = ids.map(|id| (self.get(id), earlier.get(id))).filter(|(now, then)| now != then);
        pairs.flat_map(|(now, then)| [now, then]).flatten().map(|table| table.vpc_id.clone()).collect()
    }

    /// The routes to a destination in a table, if the table belongs to the VPC.
    pub(super) fn at(&self, vpc_id: &str, (table, destination): &RouteEntry) -> impl Iterator<Item = &Route> {
        let table = self.get(table).filter(|table| table.vpc_id == vpc_id);
        table.into_iter().flat_map(|table| &table.routes).filter(|route| route.destination == *destination)
    }
}

impl<T: Into<Arc<RouteTable>>> FromIterator<T> for RouteTables {
    fn from_iter<I: IntoIterator<Item = T>>(tables: I) -> Self {
        let tables = tables.into_iter().map(Into::into);
        let tables: BTreeMap<_, _> = tables.map(|table: Arc<RouteTable>| (table.id.clone(), table)).collect();
        let mut by_vpc: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for table in tables.values() {
            by_vpc.entry(table.vpc_id.clone()).or_default().push(table.id.clone());
        }
        Self { tables, by_vpc }
    }
}

impl RouteTableSelector {
    /// Whether it selects the table. A table of a gateway cannot have the routes, so no selector matches it.
    pub(super) fn matches(&self, table: &RouteTable) -> bool {
        if table.gateway_id.is_some() || self.excludes(table) {
            return false;
        }
        self.all || (self.main && table.main) || self.ids.contains(&table.id) || table.has_all(&self.tags)
    }

    /// Whether the table gets no routes, whatever else matches it.
    pub(super) fn excludes(&self, table: &RouteTable) -> bool {
        let is_excluded =
            |exclude: &RouteTableExclusion| exclude.ids.contains(&table.id) || table.has_all(&exclude.tags);
        self.exclude.as_ref().is_some_and(is_excluded)
    }
}

impl RouteTable {
    /// The routes of an address family that count towards AWS's quota. Local routes do not.
    pub(super) fn routes_of_family(&self, of: &IpNet) -> usize {
        let is_counted = |route: &&Route| {
            matches!(route.destination, IpNet::V4(_)) == matches!(of, IpNet::V4(_))
                && route.target != Target::Other(LOCAL.into())
        };
        self.routes.iter().filter(is_counted).count()
    }

    /// The routes of the address family with the most of them.
    pub(crate) fn most_routes(&self) -> usize {
        let families = [Ipv4Net::default().into(), Ipv6Net::default().into()];
        families.iter().map(|family| self.routes_of_family(family)).max().unwrap_or_default()
    }

    /// Whether the table has all of these tags. False if there are none: an empty field selects nothing.
    fn has_all(&self, tags: &BTreeMap<String, String>) -> bool {
        !tags.is_empty() && tags.iter().all(|(key, value)| self.tags.get(key) == Some(value))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peering(id) | Self::Other(id) => f.write_str(id),
        }
    }
}

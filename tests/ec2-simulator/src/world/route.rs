//! Route tables and routes.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::call::{Call, Location};
use super::id::ResourceKind;
use super::peering::Phase;
use super::tag::{self, Tags};
use super::{PrefixList, Vpc, World};
use crate::error::{Error, Result};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    pub(crate) id: String,
    #[serde(flatten)]
    pub(crate) location: Location,
    pub(crate) vpc_id: String,
    /// Whether it is the main route table, which is created with the VPC.
    #[serde(default)]
    pub(crate) main: bool,
    /// The internet gateway or virtual private gateway that the table is associated with. Only a scene can contain such
    /// a table. <https://docs.aws.amazon.com/vpc/latest/userguide/gateway-route-tables.html>
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gateway_id: Option<String>,
    /// The subnets that the table is associated with explicitly. Only a scene can contain them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) subnet_ids: Vec<String>,
    /// Routes except the local ones, which are derived from the CIDR blocks of the VPC.
    #[serde(default)]
    pub(crate) routes: Vec<Route>,
}

/// A route, except a local one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub(crate) destination: Destination,
    pub(crate) target: Target,
    #[serde(default)]
    pub(crate) origin: Origin,
}

/// The destination of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Destination {
    Block(IpNet),
    /// The ID of a prefix list.
    PrefixList(String),
}

impl Destination {
    pub(crate) fn block(&self) -> Option<IpNet> {
        match self {
            Self::Block(block) => Some(*block),
            Self::PrefixList(_) => None,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(block) => block.fmt(f),
            Self::PrefixList(id) => f.write_str(id),
        }
    }
}

/// How a route came into its table. <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Route.html>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A static route.
    #[default]
    CreateRoute,
    /// Propagated by the virtual private gateway that is its target. Only a scene can contain such a route. A static
    /// route to the same destination can exist beside it.
    /// <https://docs.aws.amazon.com/vpc/latest/userguide/route-tables-priority.html>
    EnableVgwRoutePropagation,
}

impl Route {
    pub(crate) fn is_static(&self) -> bool {
        self.origin == Origin::CreateRoute
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    Peering(String),
    /// A gateway, interface or instance of any ID. The simulator does not simulate gateways.
    Gateway(String),
}

impl RouteTable {
    /// Creates an empty route table.
    pub(crate) fn new(id: String, vpc: &Vpc, main: bool) -> Self {
        Self {
            id,
            location: vpc.location.clone(),
            vpc_id: vpc.id.clone(),
            main,
            gateway_id: None,
            subnet_ids: Vec::new(),
            routes: Vec::new(),
        }
    }

    fn static_routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().filter(|route| route.is_static())
    }

    fn has_static_route(&self, destination: &Destination) -> bool {
        self.static_routes().any(|route| route.destination == *destination)
    }

    fn no_route(&self, destination: &Destination) -> Error {
        let message = format!("no route with destination-cidr-block {destination} in route table {}", self.id);
        Error::new("InvalidRoute.NotFound", message)
    }
}

impl World {
    pub(crate) fn tables<'a>(&'a self, location: &'a Location) -> impl Iterator<Item = &'a RouteTable> {
        self.tables.values().filter(move |table| table.location == *location)
    }

    /// A route table in the location of the call.
    pub(crate) fn table(&self, call: &Call, id: &str) -> Result<&RouteTable> {
        ResourceKind::RouteTable.check(id)?;
        let own = self.tables.get(id).filter(|table| table.location == call.location);
        own.ok_or_else(|| ResourceKind::RouteTable.not_found(&[id]))
    }

    pub(crate) fn vpc_of(&self, table: &RouteTable) -> Option<&Vpc> {
        self.any_vpc(&table.vpc_id)
    }

    /// Whether the route has the state `active`. A route through a peering connection that is not active is a
    /// `blackhole`.
    /// <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-routing.html>
    pub(crate) fn is_route_active(&self, route: &Route) -> bool {
        match &route.target {
            Target::Peering(id) => self.peerings.get(id).is_some_and(|peering| peering.phase == Phase::Active),
            Target::Gateway(_) => true,
        }
    }

    /// Adds the route tables of a scene. Fails if a subnet does not belong to the VPC, or has two tables.
    pub(super) fn add_tables(&mut self, tables: Vec<RouteTable>) -> Result<()> {
        for table in tables {
            self.check_subnets(&table.id, &table.vpc_id, &table.subnet_ids)?;
            let is_named = |other: &&RouteTable| other.subnet_ids.iter().any(|id| table.subnet_ids.contains(id));
            if let Some(other) = self.tables.values().filter(|other| other.id != table.id).find(is_named) {
                return Err(Error::new("InvalidScene", format!("a subnet is in {} and {}", other.id, table.id)));
            }
            if table.main {
                self.tables.retain(|_, other| other.vpc_id != table.vpc_id || !other.main);
            }
            self.tables.insert(table.id.clone(), table);
        }
        Ok(())
    }

    /// Creates a route table. Fails if the VPC does not exist or the tags are invalid.
    pub(crate) fn create_table(&mut self, call: &Call, vpc_id: &str, tags: Tags) -> Result<RouteTable> {
        let vpc = self.vpc(call, vpc_id)?.clone();
        tag::check(&tags, &self.settings.quotas)?;
        call.proceed()?;
        let table = RouteTable::new(self.random.id("rtb"), &vpc, false);
        self.tables.insert(table.id.clone(), table.clone());
        self.add_tags(&call.location, &table.id, self.settings.tags_of_vpcs.clone());
        self.add_tags(&call.location, &table.id, tags);
        Ok(table)
    }

    /// Deletes a route table with its routes. Fails for the main route table of a VPC, and for one with a subnet.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteRouteTable.html>
    pub(crate) fn delete_table(&mut self, call: &Call, id: &str) -> Result<()> {
        let table = self.table(call, id)?;
        if table.main || !table.subnet_ids.is_empty() {
            let message = format!("The routeTable '{id}' has dependencies and cannot be deleted.");
            return Err(Error::new("DependencyViolation", message));
        }
        call.proceed()?;
        self.tables.remove(id);
        self.forget_tags(id);
        Ok(())
    }

    /// Adds a static route. A route through a pending request is a `blackhole` until the connection is active. Fails if
    /// the table has a static route for the destination, is full, or the target does not belong to its VPC.
    pub(crate) fn create_route(&mut self, call: &Call, table_id: &str, route: Route) -> Result<()> {
        let table = self.table(call, table_id)?;
        if table.has_static_route(&route.destination) || self.is_local(table, &route.destination) {
            let message = format!("The route identified by {} already exists.", route.destination);
            return Err(Error::new("RouteAlreadyExists", message));
        }
        self.check_destination(call, table, &route.destination)?;
        self.check_target(call, table, &route.target)?;
        let is_ipv6 = self.is_ipv6(&route.destination);
        let of_family = table.static_routes().filter(|other| self.is_ipv6(&other.destination) == is_ipv6);
        let used: usize = of_family.map(|other| self.weight(&other.destination)).sum();
        if used + self.weight(&route.destination) > self.settings.quotas.routes_per_table {
            return Err(Error::new("RouteLimitExceeded", "The maximum number of routes has been reached."));
        }
        call.proceed()?;
        self.change_table(table_id, |table| table.routes.push(route));
        Ok(())
    }

    /// Changes the target of a static route. Fails if the route does not exist, or the target does not belong to the
    /// VPC.
    pub(crate) fn replace_route(&mut self, call: &Call, table_id: &str, route: Route) -> Result<()> {
        let table = self.table(call, table_id)?;
        if !table.has_static_route(&route.destination) {
            let message = format!(
                "There is no route defined for '{}' in the route table. Use CreateRoute instead.",
                route.destination
            );
            return Err(Error::new("InvalidParameterValue", message));
        }
        self.check_destination(call, table, &route.destination)?;
        self.check_target(call, table, &route.target)?;
        call.proceed()?;
        self.change_table(table_id, |table| {
            let is_same = |existing: &&mut Route| existing.is_static() && existing.destination == route.destination;
            let existing = table.routes.iter_mut().find(is_same);
            if let Some(existing) = existing {
                *existing = route;
            }
        });
        Ok(())
    }

    /// Removes a static route. Fails if the route does not exist or is a local route.
    pub(crate) fn delete_route(&mut self, call: &Call, table_id: &str, destination: &Destination) -> Result<()> {
        let table = self.table(call, table_id)?;
        if self.is_local(table, destination) {
            let message = format!("cannot remove local route {destination} in route table {table_id}");
            return Err(Error::new("InvalidParameterValue", message));
        }
        if !table.has_static_route(destination) {
            return Err(table.no_route(destination));
        }
        call.proceed()?;
        self.change_table(table_id, |table| {
            table.routes.retain(|route| !route.is_static() || route.destination != *destination);
        });
        Ok(())
    }

    fn is_local(&self, table: &RouteTable, destination: &Destination) -> bool {
        let is_local = |vpc: &Vpc| vpc.blocks().any(|block| Destination::Block(block) == *destination);
        self.vpc_of(table).is_some_and(is_local)
    }

    fn is_ipv6(&self, destination: &Destination) -> bool {
        match destination {
            Destination::Block(block) => matches!(block, IpNet::V6(_)),
            Destination::PrefixList(id) => self.any_prefix_list(id).is_some_and(PrefixList::is_ipv6),
        }
    }

    /// The number of routes that a route counts as. A prefix list counts with its maximum number of entries:
    /// <https://docs.aws.amazon.com/vpc/latest/userguide/managed-prefix-lists.html#managed-prefix-lists-concepts>.
    fn weight(&self, destination: &Destination) -> usize {
        match destination {
            Destination::Block(_) => 1,
            Destination::PrefixList(id) => self.any_prefix_list(id).map_or(1, |list| list.max_entries),
        }
    }

    /// A prefix list must exist. AWS does not document its answer to an IPv6 route in a VPC without an IPv6 block. The
    /// simulator refuses it, so that no client depends on the answer.
    fn check_destination(&self, call: &Call, table: &RouteTable, destination: &Destination) -> Result<()> {
        if let Destination::PrefixList(id) = destination {
            self.prefix_list(call, id)?;
        }
        let has_ipv6 = self.vpc_of(table).is_some_and(|vpc| !vpc.ipv6_cidr_blocks.is_empty());
        if !self.is_ipv6(destination) || has_ipv6 {
            return Ok(());
        }
        let message = format!("The VPC {} of the route table {} has no IPv6 CIDR block.", table.vpc_id, table.id);
        Err(Error::new("InvalidParameterValue", message))
    }

    fn check_target(&self, call: &Call, table: &RouteTable, target: &Target) -> Result<()> {
        let Target::Peering(id) = target else { return Ok(()) };
        if table.gateway_id.is_some() {
            // The message is quoted in hashicorp/terraform 26018.
            let message = "Route target is not supported. This route only supports interface and instance targets.";
            return Err(Error::new("InvalidParameterValue", message));
        }
        let peering = self.peering(call, id)?;
        if !peering.phase.is_live() {
            return Err(ResourceKind::VpcPeeringConnection.not_found(&[id]));
        }
        if peering.requester.vpc_id != table.vpc_id && peering.accepter.vpc_id != table.vpc_id {
            let message =
                format!("route table {} and vpc peering connection {id} belong to different networks", table.id);
            return Err(Error::new("InvalidParameterValue", message));
        }
        Ok(())
    }

    fn change_table(&mut self, id: &str, change: impl FnOnce(&mut RouteTable)) {
        if let Some(table) = self.tables.get_mut(id) {
            change(table);
        }
    }
}

//! Route tables, and the routes that lead through a peering.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::id::ResourceKind;
use super::peering::Phase;
use super::place::{Call, Place};
use super::tag::{self, Tags};
use super::{Vpc, World};
use crate::error::{Error, Result};

/// A route table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    /// `rtb-…`
    pub id: String,
    /// Whose it is, and where.
    #[serde(flatten)]
    pub place: Place,
    /// The VPC that it is of.
    pub vpc_id: String,
    /// It came with the VPC.
    #[serde(default)]
    pub main: bool,
    /// The routes that somebody made; the local ones follow from the VPC's blocks.
    #[serde(default)]
    pub routes: Vec<Route>,
}

/// A route that somebody made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// Through what.
    pub target: Target,
}

/// What a route leads through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// A peering connection.
    Peering(String),
    /// A gateway, which is taken at its word: gateways are not simulated.
    Gateway(String),
}

impl RouteTable {
    /// An empty table.
    #[must_use]
    pub fn new(id: String, vpc: &Vpc, main: bool) -> Self {
        Self { id, place: vpc.place.clone(), vpc_id: vpc.id.clone(), main, routes: Vec::new() }
    }

    fn has_route(&self, destination: IpNet) -> bool {
        self.routes.iter().any(|route| route.destination == destination)
    }

    fn no_route(&self, destination: IpNet) -> Error {
        let message = format!("no route with destination-cidr-block {destination} in route table {}", self.id);
        Error::new("InvalidRoute.NotFound", message)
    }
}

impl World {
    /// The route tables of a place.
    pub fn tables<'a>(&'a self, place: &'a Place) -> impl Iterator<Item = &'a RouteTable> {
        self.tables.values().filter(move |table| table.place == *place)
    }

    /// A route table that the caller has here.
    ///
    /// # Errors
    /// `InvalidRouteTableID.NotFound`, whether nobody has it or another has.
    pub fn table(&self, call: &Call, id: &str) -> Result<&RouteTable> {
        ResourceKind::RouteTable.check(id)?;
        let own = self.tables.get(id).filter(|table| table.place == call.place);
        own.ok_or_else(|| ResourceKind::RouteTable.not_found(&[id]))
    }

    /// The VPC that a table is of.
    #[must_use]
    pub fn vpc_of(&self, table: &RouteTable) -> Option<&Vpc> {
        self.any_vpc(&table.vpc_id)
    }

    /// Whether traffic that follows the route arrives: through a peering, while it is active.
    /// <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-routing.html>
    #[must_use]
    pub fn leads_somewhere(&self, route: &Route) -> bool {
        match &route.target {
            Target::Peering(id) => self.peerings.get(id).is_some_and(|peering| peering.phase == Phase::Active),
            Target::Gateway(_) => true,
        }
    }

    /// Makes a route table.
    ///
    /// # Errors
    /// When the VPC is unknown or the tags are not good.
    pub fn create_table(&mut self, call: &Call, vpc_id: &str, tags: Tags) -> Result<RouteTable> {
        let vpc = self.vpc(call, vpc_id)?.clone();
        tag::check(&tags, &self.settings.quotas)?;
        call.proceed()?;
        let table = RouteTable::new(self.random.id("rtb"), &vpc, false);
        self.tables.insert(table.id.clone(), table.clone());
        self.add_tags(&call.place, &table.id, self.settings.tags_of_vpcs.clone());
        self.add_tags(&call.place, &table.id, tags);
        Ok(table)
    }

    /// Adds a route. One to a request that is still pending is a black hole until it is active.
    ///
    /// # Errors
    /// When there is a route to that destination already, the table is full, or the target is not the VPC's.
    pub fn create_route(&mut self, call: &Call, table_id: &str, route: Route) -> Result<()> {
        let table = self.table(call, table_id)?;
        if table.has_route(route.destination) || self.is_local(table, route.destination) {
            let message = format!("The route identified by {} already exists.", route.destination);
            return Err(Error::new("RouteAlreadyExists", message));
        }
        self.check_target(call, table, &route.target)?;
        if table.routes.len() >= self.settings.quotas.routes_per_table {
            return Err(Error::new("RouteLimitExceeded", "The maximum number of routes has been reached."));
        }
        call.proceed()?;
        self.change_table(table_id, |table| table.routes.push(route));
        Ok(())
    }

    /// Leads an existing route through another target.
    ///
    /// # Errors
    /// When there is no such route, or the target is not the VPC's.
    pub fn replace_route(&mut self, call: &Call, table_id: &str, route: Route) -> Result<()> {
        let table = self.table(call, table_id)?;
        if !table.has_route(route.destination) {
            let message = format!(
                "There is no route defined for '{}' in the route table. Use CreateRoute instead.",
                route.destination
            );
            return Err(Error::new("InvalidParameterValue", message));
        }
        self.check_target(call, table, &route.target)?;
        call.proceed()?;
        self.change_table(table_id, |table| {
            let same = table.routes.iter_mut().find(|existing| existing.destination == route.destination);
            if let Some(existing) = same {
                *existing = route;
            }
        });
        Ok(())
    }

    /// Removes a route.
    ///
    /// # Errors
    /// When there is no such route, or it is a local one.
    pub fn delete_route(&mut self, call: &Call, table_id: &str, destination: IpNet) -> Result<()> {
        let table = self.table(call, table_id)?;
        if self.is_local(table, destination) {
            let message = format!("cannot remove local route {destination} in route table {table_id}");
            return Err(Error::new("InvalidParameterValue", message));
        }
        if !table.has_route(destination) {
            return Err(table.no_route(destination));
        }
        call.proceed()?;
        self.change_table(table_id, |table| table.routes.retain(|route| route.destination != destination));
        Ok(())
    }

    fn is_local(&self, table: &RouteTable, destination: IpNet) -> bool {
        self.vpc_of(table).is_some_and(|vpc| vpc.blocks().any(|block| block == destination))
    }

    fn check_target(&self, call: &Call, table: &RouteTable, target: &Target) -> Result<()> {
        let Target::Peering(id) = target else { return Ok(()) };
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

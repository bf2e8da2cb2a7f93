//! The routes of one end of a peering: which there should be, which of those that are there are ours, and what to do
//! next. Nothing here knows whose resource it is, so that every kind that keeps routes decides alike.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use crate::api::{ManagedRoute, RouteTableSelector, Routes, Side, VpcInfo};

/// The most routes that one end may have. Each is recorded in the status, which must fit into an object of the API
/// server's.
pub const MAX_ROUTES: usize = 1000;

/// How many troubles a message names one by one.
const TOLD: usize = 5;

/// A route table as EC2 shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTable {
    /// `rtb-…`
    pub id: String,
    /// The VPC that it is of.
    pub vpc_id: String,
    /// Whether it is the VPC's main one.
    pub main: bool,
    /// The tags that the describing account sees.
    pub tags: BTreeMap<String, String>,
    /// Every route to a CIDR block, the local and the propagated ones too. A destination may come twice: a propagated
    /// route stands beside a static one.
    pub routes: Vec<Route>,
}

/// A route as EC2 shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads to.
    pub destination: IpNet,
    /// Through what.
    pub target: Target,
    /// Whether traffic is lost, because the target is gone.
    pub is_blackhole: bool,
}

/// What a route leads through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A peering connection.
    Peering(String),
    /// Anything else: its ID, or `local`.
    Other(String),
}

/// Every route table that one account has in one region, at one time.
#[derive(Clone, Debug, Default)]
pub struct RouteTables {
    /// What has not changed is shared with earlier ones.
    tables: BTreeMap<String, Arc<RouteTable>>,
    by_vpc: BTreeMap<String, Vec<String>>,
}

/// What a decision on the routes of one end is made from.
#[derive(Clone, Copy, Debug)]
pub struct Routing<'a> {
    /// Which end.
    pub side: Side,
    /// The end's VPC.
    pub vpc_id: &'a str,
    /// What the user says of its routes, if anything.
    pub routes: Option<&'a Routes>,
    /// Where the user says it, such as `spec.requester.routes`.
    pub field: &'a str,
    /// Our connection.
    pub connection_id: &'a str,
    /// The other end as the active connection shows it.
    pub other: &'a VpcInfo,
    /// The route tables of the end's account and region.
    pub tables: &'a RouteTables,
    /// What is recorded of this connection, and of earlier ones in its place; both ends.
    pub recorded: &'a BTreeSet<ManagedRoute>,
    /// Whether EC2 has had time to show what we did last. Nothing is struck off the record before, for what EC2 does
    /// not show yet would be left behind.
    pub is_settled: bool,
    /// How many there may be.
    pub limit: usize,
}

/// What a decision on the routes of one end comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutesPlan {
    /// What to do next, if anything.
    pub step: Option<RouteStep>,
    /// Nothing can be done now, but EC2 may yet show a route that has to go, or has to be struck off the record.
    pub awaits_ec2: bool,
    /// Routes of others that are in the way. They are left alone, and hold up no other route.
    pub conflicts: Vec<RouteConflict>,
    /// What else keeps wanted routes from being there, for somebody to act on.
    pub problems: Vec<RouteProblem>,
}

/// One effect, safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteStep {
    /// Make this the record, both ends: a route is recorded before it is made, and struck off after it is gone.
    Record(BTreeSet<ManagedRoute>),
    /// Make these changes; none depends on another, so that one that fails holds up none.
    Change(Vec<RouteChange>),
}

/// A call to EC2.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteChange {
    /// Take the route away: `DeleteRoute`.
    Delete(ManagedRoute),
    /// Lead a route of ours, which is there, through our connection: `ReplaceRoute`.
    Replace(ManagedRoute),
    /// Make the route: `CreateRoute`.
    Create(ManagedRoute),
}

/// A route that somebody else has made to a destination that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteConflict {
    /// The table that it is in.
    pub route_table_id: String,
    /// The route.
    pub route: Route,
}

/// What keeps wanted routes from being there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteProblem {
    /// There is no such table, or none that these credentials see.
    UnknownTable {
        /// The field of the spec.
        field: String,
        /// The table's ID.
        id: String,
    },
    /// The table is of another VPC.
    TableOfAnotherVpc {
        /// The field of the spec.
        field: String,
        /// The table's ID.
        id: String,
        /// The VPC that it is of.
        its_vpc_id: String,
        /// The VPC that it should be of.
        vpc_id: String,
    },
    /// The selector matches nothing.
    NoTable {
        /// The field of the spec.
        field: String,
        /// The VPC.
        vpc_id: String,
    },
    /// EC2 does not tell the CIDR blocks of the other end; until it does, nothing is changed.
    NoCidrBlocks,
    /// A destination is outside of the other end.
    NotOfTheOtherEnd {
        /// The field of the spec.
        field: String,
        /// The destination.
        destination: String,
    },
    /// More routes than there may be.
    TooManyRoutes {
        /// The field of the spec.
        field: String,
        /// How many are wanted.
        wanted: usize,
        /// How many there may be.
        limit: usize,
    },
}

/// A table and a destination: where there is at most one static route.
type Place = (String, IpNet);

impl RouteTables {
    /// The tables of a VPC.
    pub fn of_vpc(&self, vpc_id: &str) -> impl Iterator<Item = &RouteTable> {
        self.by_vpc.get(vpc_id).into_iter().flatten().filter_map(|id| self.get(id))
    }

    /// The table with this ID.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&RouteTable> {
        self.tables.get(id).map(|table| &**table)
    }

    /// All of them.
    pub fn tables(&self) -> impl ExactSizeIterator<Item = &Arc<RouteTable>> {
        self.tables.values()
    }

    /// The table as it is known here, where it is the same.
    #[must_use]
    pub fn share(&self, table: RouteTable) -> Arc<RouteTable> {
        match self.tables.get(&table.id) {
            Some(known) if **known == table => Arc::clone(known),
            _ => Arc::new(table),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tables.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// The IDs of all VPCs of which a table or a route came, went or changed since `earlier`.
    #[must_use]
    pub fn changes_since(&self, earlier: &Self) -> BTreeSet<String> {
        let ids = self.tables.keys().chain(earlier.tables.keys());
        let pairs = ids.map(|id| (self.get(id), earlier.get(id))).filter(|(now, then)| now != then);
        pairs.flat_map(|(now, then)| [now, then]).flatten().map(|table| table.vpc_id.clone()).collect()
    }

    /// The routes at a place, which is in no table of another VPC.
    fn at(&self, vpc_id: &str, (table, destination): &Place) -> impl Iterator<Item = &Route> {
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
    fn matches(&self, table: &RouteTable) -> bool {
        let has = |(key, value): (&String, &String)| table.tags.get(key) == Some(value);
        self.all
            || (self.main && table.main)
            || self.ids.contains(&table.id)
            || (!self.tags.is_empty() && self.tags.iter().all(has))
    }
}

impl RoutesPlan {
    /// Whether the routes are as they should be, or will be without anybody's help.
    #[must_use]
    pub fn is_unhindered(&self) -> bool {
        self.conflicts.is_empty() && self.problems.is_empty()
    }

    /// What hinders, for a person; the conflicts first.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let conflicts = self.conflicts.iter().map(ToString::to_string);
        let mut all: Vec<String> = conflicts.chain(self.problems.iter().map(ToString::to_string)).collect();
        let untold = all.len().saturating_sub(TOLD);
        all.truncate(TOLD);
        if untold > 0 {
            all.push(format!("and {untold} more"));
        }
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// The next step towards the routes that are wanted, while the connection is active.
#[must_use]
pub fn repair(routing: Routing<'_>) -> RoutesPlan {
    let mut problems = Vec::new();
    match wanted(routing, &mut problems) {
        Some(wanted) => RoutesPlan { problems, ..routing.towards(&wanted, &BTreeSet::new()) },
        None => RoutesPlan { problems, ..RoutesPlan::default() },
    }
}

/// The next step towards none of our routes, which go before the connection does: those of the record, and those of the
/// spec that lead through our connection. All are gone when there is no step and EC2 is not awaited.
#[must_use]
pub fn withdraw(routing: Routing<'_>) -> RoutesPlan {
    let surplus = wanted(routing, &mut Vec::new()).unwrap_or_default();
    routing.towards(&BTreeSet::new(), &surplus)
}

/// Where the spec wants routes; none where that cannot be told.
fn wanted(routing: Routing<'_>, problems: &mut Vec<RouteProblem>) -> Option<BTreeSet<Place>> {
    let Some(routes) = routing.routes else { return Some(BTreeSet::new()) };
    let tables = selected(routing, &routes.route_tables, problems);
    let destinations = destinations(routing, routes, problems)?;
    let at = |table: &String| destinations.iter().map(|destination| (table.clone(), *destination)).collect::<Vec<_>>();
    let wanted: BTreeSet<Place> = tables.iter().flat_map(at).collect();
    if wanted.len() <= routing.limit {
        return Some(wanted);
    }
    problems.push(RouteProblem::TooManyRoutes {
        field: routing.field.to_owned(),
        wanted: wanted.len(),
        limit: routing.limit,
    });
    // Those that are there already come first, or each new table would push out another's routes.
    let (known, new): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|place| routing.records(place).next().is_some());
    Some(known.into_iter().chain(new).take(routing.limit).collect())
}

/// The IDs of the tables that the spec selects.
fn selected(routing: Routing<'_>, selector: &RouteTableSelector, problems: &mut Vec<RouteProblem>) -> BTreeSet<String> {
    let selected: BTreeSet<String> = routing
        .tables
        .of_vpc(routing.vpc_id)
        .filter(|table| selector.matches(table))
        .map(|table| table.id.clone())
        .collect();
    let field = |name: &str| format!("{}.routeTables.{name}", routing.field);
    for id in selector.ids.iter().filter(|id| !selected.contains(*id)) {
        problems.push(match routing.tables.get(id) {
            None => RouteProblem::UnknownTable { field: field("ids"), id: id.clone() },
            Some(table) => RouteProblem::TableOfAnotherVpc {
                field: field("ids"),
                id: id.clone(),
                its_vpc_id: table.vpc_id.clone(),
                vpc_id: routing.vpc_id.to_owned(),
            },
        });
    }
    if selected.is_empty() && selector.ids.is_empty() {
        let name = match (selector.all, selector.main) {
            (true, _) => "all",
            (_, true) => "main",
            _ => "tags",
        };
        problems.push(RouteProblem::NoTable { field: field(name), vpc_id: routing.vpc_id.to_owned() });
    }
    selected
}

/// Where the routes lead to.
fn destinations(routing: Routing<'_>, routes: &Routes, problems: &mut Vec<RouteProblem>) -> Option<BTreeSet<IpNet>> {
    let blocks = cidr_blocks(routing.other);
    if blocks.is_empty() {
        problems.push(RouteProblem::NoCidrBlocks);
        return None;
    }
    if routes.destination_cidr_blocks.is_empty() {
        return Some(blocks);
    }
    let mut destinations = BTreeSet::new();
    for text in &routes.destination_cidr_blocks {
        let overlaps = |one: &IpNet| blocks.iter().any(|other| one.contains(other) || other.contains(one));
        match parse(text).filter(overlaps) {
            Some(destination) => _ = destinations.insert(destination),
            None => problems.push(RouteProblem::NotOfTheOtherEnd {
                field: format!("{}.destinationCidrBlocks", routing.field),
                destination: text.clone(),
            }),
        }
    }
    Some(destinations)
}

/// Every CIDR block of an end that EC2 shows.
#[must_use]
pub fn cidr_blocks(end: &VpcInfo) -> BTreeSet<IpNet> {
    let ipv4 = end.cidr_block_set.iter().map(|block| &block.cidr_block);
    let ipv6 = end.ipv6_cidr_block_set.iter().map(|block| &block.ipv6_cidr_block);
    end.cidr_block.iter().chain(ipv4).chain(ipv6).filter_map(|block| parse(block)).collect()
}

/// A CIDR block as EC2 keeps it: 100.68.0.18/18 becomes 100.68.0.0/18.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateRoute.html>
fn parse(block: &str) -> Option<IpNet> {
    block.parse::<IpNet>().ok().map(|block| block.trunc())
}

impl Routing<'_> {
    /// What the record says of a place at this end.
    fn records<'a>(&'a self, (table, destination): &'a Place) -> impl Iterator<Item = &'a ManagedRoute> {
        let is_there = move |route: &&ManagedRoute| {
            route.side == self.side
                && route.route_table_id == *table
                && parse(&route.destination_cidr_block) == Some(*destination)
        };
        self.recorded.iter().filter(is_there)
    }

    /// The route through our connection at a place.
    fn ours_at(&self, (table, destination): &Place) -> ManagedRoute {
        ManagedRoute {
            side: self.side,
            route_table_id: table.clone(),
            destination_cidr_block: destination.to_string(),
            vpc_peering_connection_id: self.connection_id.to_owned(),
        }
    }

    /// The next step, where routes are wanted at some places, and at others only those of the record may stay.
    fn towards(self, wanted: &BTreeSet<Place>, surplus: &BTreeSet<Place>) -> RoutesPlan {
        let of_this_end = self.recorded.iter().filter(|route| route.side == self.side);
        let known =
            of_this_end.filter_map(|route| Some((route.route_table_id.clone(), parse(&route.destination_cidr_block)?)));
        // No other place is looked at, so that a route through our connection that neither names is somebody's own.
        let places: BTreeSet<Place> = known.chain(wanted.iter().chain(surplus).cloned()).collect();
        // What is of the other end stays as it is; so does what cannot be read, which is not ours to judge.
        let mut record: BTreeSet<ManagedRoute> = self.recorded.clone();
        let (mut changes, mut conflicts, mut awaits_ec2) = (Vec::new(), Vec::new(), false);
        for place in &places {
            let is_wanted = wanted.contains(place);
            let shown: Vec<&Route> = self.tables.at(self.vpc_id, place).collect();
            let records: Vec<&ManagedRoute> = self.records(place).collect();
            let ours = shown.iter().find_map(|route| Some((*route, self.leads_for_us(route, &records)?)));
            match (is_wanted, ours, shown.first()) {
                (true, Some((route, id)), _) if id == self.connection_id && !route.is_blackhole => {}
                (true, Some(_), _) => changes.push(RouteChange::Replace(self.ours_at(place))),
                (true, None, Some(route)) => {
                    conflicts.push(RouteConflict { route_table_id: place.0.clone(), route: (*route).clone() })
                }
                (true, None, None) => changes.push(RouteChange::Create(self.ours_at(place))),
                (false, Some((_, id)), _) => changes.push(RouteChange::Delete(ManagedRoute {
                    vpc_peering_connection_id: id.to_owned(),
                    ..self.ours_at(place)
                })),
                (false, None, _) => {}
            }
            // The record names what is there of ours, and what is about to be; until it is gone, all that makes it ours.
            let is_needed =
                |route: &&ManagedRoute| ours.is_some_and(|(_, id)| !is_wanted || id == route.vpc_peering_connection_id);
            for route in records.into_iter().filter(|route| !is_needed(route)) {
                if self.is_settled {
                    record.remove(route);
                } else {
                    awaits_ec2 = true;
                }
            }
            if is_wanted && (ours.is_some() || shown.is_empty()) {
                record.insert(self.ours_at(place));
            }
        }
        changes.sort();
        let step = if record != *self.recorded {
            Some(RouteStep::Record(record))
        } else {
            (!changes.is_empty()).then_some(RouteStep::Change(changes))
        };
        awaits_ec2 &= step.is_none();
        RoutesPlan { step, awaits_ec2, conflicts, problems: Vec::new() }
    }

    /// The connection that a route leads through, if the route is ours: that is our connection, at a place that the
    /// record or the spec names; or an earlier one that the record names for this very place.
    fn leads_for_us<'a>(&self, route: &'a Route, records: &[&ManagedRoute]) -> Option<&'a str> {
        let is_recorded = |id: &str| records.iter().any(|record| record.vpc_peering_connection_id == id);
        match &route.target {
            Target::Peering(id) if id == self.connection_id || is_recorded(id) => Some(id),
            Target::Peering(_) | Target::Other(_) => None,
        }
    }
}

impl RouteChange {
    /// The route that it makes, changes or takes away.
    #[must_use]
    pub fn route(&self) -> &ManagedRoute {
        match self {
            Self::Create(route) | Self::Replace(route) | Self::Delete(route) => route,
        }
    }
}

impl fmt::Display for RouteChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self {
            Self::Create(_) => "create",
            Self::Replace(_) => "replace",
            Self::Delete(_) => "delete",
        };
        let ManagedRoute { route_table_id, destination_cidr_block, vpc_peering_connection_id, .. } = self.route();
        write!(
            f,
            "{verb} the route to {destination_cidr_block} through {vpc_peering_connection_id} in {route_table_id}"
        )
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peering(id) | Self::Other(id) => f.write_str(id),
        }
    }
}

impl fmt::Display for RouteConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Route { destination, target, is_blackhole } = &self.route;
        let blackhole = if *is_blackhole { ", a blackhole" } else { "" };
        write!(
            f,
            "{} has a route to {destination} through {target}{blackhole}, which is not this resource's and was left alone",
            self.route_table_id
        )
    }
}

impl fmt::Display for RouteProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownTable { field, id } => {
                write!(f, "{field}: EC2 shows no {id} to these credentials in the VPC's region; check the ID")
            }
            Self::TableOfAnotherVpc { field, id, its_vpc_id, vpc_id } => {
                write!(
                    f,
                    "{field}: {id} is a route table of {its_vpc_id}, not of {vpc_id}; name tables of {vpc_id} only"
                )
            }
            Self::NoTable { field, vpc_id } => {
                write!(f, "{field}: EC2 shows no such route table of {vpc_id} to these credentials")
            }
            Self::NoCidrBlocks => f.write_str("EC2 does not tell the CIDR blocks of the other end yet"),
            Self::NotOfTheOtherEnd { field, destination } => {
                write!(f, "{field}: {destination} overlaps no CIDR block of the other end, so there is no route to it")
            }
            Self::TooManyRoutes { field, wanted, limit } => {
                write!(
                    f,
                    "{field}: these are {wanted} routes, and there may be {limit}; select fewer route tables or destinations"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests;

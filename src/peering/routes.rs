//! The routes of one end of a peering: which there should be, which of those that are there are ours, and what to do
//! next. Nothing here knows whose resource it is, so that every kind that keeps routes decides alike.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use super::authority::Authorized;
use crate::api::{ManagedRoute, Reason, RouteTableSelector, Routes, Side, VpcInfo};

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
    /// Our connection; none where EC2 does not prove that it is ours.
    pub connection: Option<&'a Authorized>,
    /// Earlier connections that EC2 shows, or has shown to this process, as ours.
    pub earlier: &'a BTreeSet<Authorized>,
    /// Connections that EC2 shows, and not as ours.
    pub others: &'a BTreeSet<String>,
    /// The other end as the active connection shows it.
    pub other: &'a VpcInfo,
    /// Which CIDR blocks of the other end may get routes.
    pub trust: &'a Trust,
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

/// Which CIDR blocks of the other end may get routes. The other end's account can add blocks to its VPC at any time, and
/// must not thereby write our route tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// All of them: the operator acts for the other end, too.
    pub all: bool,
    /// Whatever lies within one of these, which the spec lists.
    pub listed: BTreeSet<IpNet>,
    /// The private ones and the IPv6 ones of these, which the other end had when the peering first became active.
    pub recorded: BTreeSet<IpNet>,
    /// Nothing that overlaps one of these, whatever else allows it.
    pub denied: BTreeSet<IpNet>,
    /// A destination that the spec names is itself a permission.
    pub by_destination: bool,
    /// How a person allows another block; where there is none, by naming it as a destination.
    pub to_allow: Option<String>,
}

impl Trust {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// Whether a CIDR block of the other end gets a route without being named.
    fn allows(&self, block: &IpNet) -> bool {
        let is_recorded = self.recorded.contains(block) && (is_private(block) || matches!(block, IpNet::V6(_)));
        !self.denies(block) && (self.all || is_recorded || self.lists(block))
    }

    /// Whether a destination gets a route that the spec names.
    fn allows_destination(&self, destination: &IpNet) -> bool {
        !self.denies(destination) && (self.all || self.by_destination || self.lists(destination))
    }

    fn denies(&self, block: &IpNet) -> bool {
        self.denied.iter().any(|denied| denied.contains(block) || block.contains(denied))
    }

    fn lists(&self, block: &IpNet) -> bool {
        self.listed.iter().any(|listed| listed.contains(block))
    }
}

/// Whether a block is of the address space that is nobody's on the Internet: RFC 1918, RFC 6598 and, for IPv6, RFC 4193.
fn is_private(block: &IpNet) -> bool {
    const PRIVATE: [(std::net::Ipv4Addr, u8); 4] = [
        (std::net::Ipv4Addr::new(10, 0, 0, 0), 8),
        (std::net::Ipv4Addr::new(172, 16, 0, 0), 12),
        (std::net::Ipv4Addr::new(192, 168, 0, 0), 16),
        (std::net::Ipv4Addr::new(100, 64, 0, 0), 10),
    ];
    match block {
        IpNet::V4(block) => PRIVATE.iter().any(|(address, length)| {
            ipnet::Ipv4Net::new(*address, *length).is_ok_and(|private| private.contains(block))
        }),
        IpNet::V6(block) => block.network().is_unique_local() && block.prefix_len() >= 7,
    }
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
    /// A destination does not lie within one CIDR block of the other end.
    NotOfTheOtherEnd {
        /// The field of the spec.
        field: String,
        /// The destination.
        destination: String,
        /// The other end's CIDR blocks.
        blocks: Vec<IpNet>,
    },
    /// The other end, which is another account's, has a CIDR block that nobody here has allowed.
    UnexpectedCidrBlock {
        /// The block, or the destination within one.
        block: IpNet,
        /// The route tables that would get the route.
        tables: Vec<String>,
        /// How to allow it.
        to_allow: String,
    },
    /// A route of the record leads through a connection that EC2 no longer shows, so that nothing proves whose it is.
    Unproven {
        /// The table that it is in.
        route_table_id: String,
        /// Where it leads to.
        destination: IpNet,
        /// Through which connection.
        connection_id: String,
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
    /// The reason that a condition shows for what hinders.
    #[must_use]
    pub fn reason(&self) -> Reason {
        let is_unexpected = |problem: &RouteProblem| matches!(problem, RouteProblem::UnexpectedCidrBlock { .. });
        let is_unproven = |problem: &RouteProblem| matches!(problem, RouteProblem::Unproven { .. });
        let is_outside = |problem: &RouteProblem| matches!(problem, RouteProblem::NotOfTheOtherEnd { .. });
        if !self.conflicts.is_empty() || self.problems.iter().any(is_unproven) {
            Reason::RouteConflict
        } else if self.problems.iter().any(is_unexpected) {
            Reason::UnexpectedCidrBlock
        } else if self.problems.iter().any(is_outside) {
            Reason::InvalidRequest
        } else {
            Reason::RouteTableNotFound
        }
    }

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
        Some(wanted) => {
            let plan = routing.towards(&wanted, &BTreeSet::new());
            problems.extend(plan.problems);
            RoutesPlan { problems, ..plan }
        }
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

/// The same before the resource itself goes, and its record with it: nothing is written there any more, so that an object
/// that has grown to the API server's limit can still be deleted.
#[must_use]
pub fn withdraw_with_the_record(routing: Routing<'_>) -> RoutesPlan {
    let surplus = wanted(routing, &mut Vec::new()).unwrap_or_default();
    routing.steps(&BTreeSet::new(), &surplus, false)
}

/// Where the spec wants routes; none where that cannot be told.
fn wanted(routing: Routing<'_>, problems: &mut Vec<RouteProblem>) -> Option<BTreeSet<Place>> {
    let Some(routes) = routing.routes.filter(|_| routing.connection.is_some()) else { return Some(BTreeSet::new()) };
    let tables = selected(routing, &routes.route_tables, problems);
    let destinations = destinations(routing, routes, &tables, problems)?;
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

/// Where the routes lead to: never beyond the other end, and where that is another account's, never to what nobody here has
/// allowed.
fn destinations(
    routing: Routing<'_>,
    routes: &Routes,
    tables: &BTreeSet<String>,
    problems: &mut Vec<RouteProblem>,
) -> Option<BTreeSet<IpNet>> {
    let blocks = cidr_blocks(routing.other);
    if blocks.is_empty() {
        problems.push(RouteProblem::NoCidrBlocks);
        return None;
    }
    let field = || format!("{}.destinationCidrBlocks", routing.field);
    let mut destinations = BTreeSet::new();
    let mut unexpected = BTreeSet::new();
    if routes.destination_cidr_blocks.is_empty() {
        (destinations, unexpected) = blocks.into_iter().partition(|block| routing.trust.allows(block));
    } else {
        for text in &routes.destination_cidr_blocks {
            let is_within = |one: &IpNet| blocks.iter().any(|other| other.contains(one));
            match parse(text).filter(is_within) {
                Some(destination) if routing.trust.allows_destination(&destination) => {
                    _ = destinations.insert(destination);
                }
                Some(destination) => _ = unexpected.insert(destination),
                None => problems.push(RouteProblem::NotOfTheOtherEnd {
                    field: field(),
                    destination: text.clone(),
                    blocks: blocks.iter().copied().collect(),
                }),
            }
        }
    }
    for block in unexpected {
        let to_allow = routing.trust.to_allow.clone().unwrap_or_else(|| {
            let all: Vec<_> = destinations.iter().chain([&block]).map(ToString::to_string).collect();
            format!("set {}: [{}]", field(), all.join(", "))
        });
        problems.push(RouteProblem::UnexpectedCidrBlock { block, tables: tables.iter().cloned().collect(), to_allow });
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

/// Those of these texts that are CIDR blocks.
#[must_use]
pub fn parse_all<'a>(blocks: impl IntoIterator<Item = &'a String>) -> BTreeSet<IpNet> {
    blocks.into_iter().filter_map(|block| parse(block)).collect()
}

/// A CIDR block as EC2 keeps it: 100.68.0.18/18 becomes 100.68.0.0/18.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateRoute.html>
fn parse(block: &str) -> Option<IpNet> {
    block.parse::<IpNet>().ok().map(|block| block.trunc())
}

impl<'a> Routing<'a> {
    /// What the record says of a place at this end.
    fn records(&self, (table, destination): &Place) -> impl Iterator<Item = &'a ManagedRoute> {
        let is_there = |route: &&ManagedRoute| {
            route.side == self.side
                && route.route_table_id == *table
                && parse(&route.destination_cidr_block) == Some(*destination)
        };
        self.recorded.iter().filter(is_there).collect::<Vec<_>>().into_iter()
    }

    /// The route at a place through a connection of ours.
    fn route_through(&self, connection: &Authorized, (table, destination): &Place) -> ManagedRoute {
        ManagedRoute {
            side: self.side,
            route_table_id: table.clone(),
            destination_cidr_block: destination.to_string(),
            vpc_peering_connection_id: connection.as_str().to_owned(),
        }
    }

    /// The next step, where routes are wanted at some places, and at others only those of the record may stay.
    fn towards(self, wanted: &BTreeSet<Place>, surplus: &BTreeSet<Place>) -> RoutesPlan {
        self.steps(wanted, surplus, true)
    }

    /// The same; the record is kept, or goes with its resource.
    fn steps(self, wanted: &BTreeSet<Place>, surplus: &BTreeSet<Place>, keeps_record: bool) -> RoutesPlan {
        let of_this_end = self.recorded.iter().filter(|route| route.side == self.side);
        let known =
            of_this_end.filter_map(|route| Some((route.route_table_id.clone(), parse(&route.destination_cidr_block)?)));
        // No other place is looked at, so that a route through our connection that neither names is somebody's own.
        let places: BTreeSet<Place> = known.chain(wanted.iter().chain(surplus).cloned()).collect();
        // What is of the other end stays as it is; so does what cannot be read, which is not ours to judge.
        let mut record: BTreeSet<ManagedRoute> = self.recorded.clone();
        let (mut changes, mut conflicts, mut problems, mut awaits_ec2) = (Vec::new(), Vec::new(), Vec::new(), false);
        for place in &places {
            let connection = self.connection.filter(|_| wanted.contains(place));
            let shown: Vec<&Route> = self.tables.at(self.vpc_id, place).collect();
            let records: Vec<&ManagedRoute> = self.records(place).collect();
            if let Some(unproven) = shown.iter().find_map(|route| self.unproven(route, &records)) {
                let ((route_table_id, destination), connection_id) = (place.clone(), unproven.to_owned());
                problems.push(RouteProblem::Unproven { route_table_id, destination, connection_id });
                continue;
            }
            let ours = shown.iter().find_map(|route| Some((*route, self.leads_for_us(route, &records)?)));
            match (connection, ours, shown.first()) {
                (Some(wanted), Some((route, through)), _) if through == wanted && !route.is_blackhole => {}
                (Some(wanted), Some(_), _) => changes.push(RouteChange::Replace(self.route_through(wanted, place))),
                (Some(_), None, Some(route)) => {
                    conflicts.push(RouteConflict { route_table_id: place.0.clone(), route: (*route).clone() })
                }
                (Some(wanted), None, None) => changes.push(RouteChange::Create(self.route_through(wanted, place))),
                (None, Some((_, through)), _) => changes.push(RouteChange::Delete(self.route_through(through, place))),
                (None, None, _) => {}
            }
            // The record names what is there of ours, and what is about to be; until it is gone, all that makes it ours.
            let is_needed = |route: &&ManagedRoute| {
                ours.is_some_and(|(_, id)| connection.is_none() || id.as_str() == route.vpc_peering_connection_id)
            };
            for route in records.into_iter().filter(|route| !is_needed(route)) {
                if self.is_settled {
                    record.remove(route);
                } else {
                    awaits_ec2 = true;
                }
            }
            if let Some(wanted) = connection.filter(|_| ours.is_some() || shown.is_empty()) {
                record.insert(self.route_through(wanted, place));
            }
        }
        changes.sort();
        let step = if keeps_record && record != *self.recorded {
            Some(RouteStep::Record(record))
        } else {
            (!changes.is_empty()).then_some(RouteStep::Change(changes))
        };
        awaits_ec2 &= step.is_none();
        RoutesPlan { step, awaits_ec2, conflicts, problems }
    }

    /// The connection that a route leads through, if the route is ours: that is our connection, at a place that the
    /// record or the spec names; or an earlier one of ours that the record names for this very place.
    fn leads_for_us(&self, route: &Route, records: &[&ManagedRoute]) -> Option<&'a Authorized> {
        let Target::Peering(id) = &route.target else { return None };
        let is_recorded = records.iter().any(|record| record.vpc_peering_connection_id == *id);
        let earlier = || self.earlier.iter().find(|earlier| is_recorded && earlier.as_str() == id);
        self.connection.filter(|connection| connection.as_str() == id).or_else(earlier)
    }

    /// The connection that a route of the record leads through, where EC2 does not show it: the record alone, which other
    /// people may write, proves nothing.
    fn unproven<'b>(&self, route: &'b Route, records: &[&ManagedRoute]) -> Option<&'b str> {
        let Target::Peering(id) = &route.target else { return None };
        let is_recorded = records.iter().any(|record| record.vpc_peering_connection_id == *id);
        (is_recorded && self.leads_for_us(route, records).is_none() && !self.others.contains(id)).then_some(id)
    }
}

impl RouteChange {
    /// Whether it takes a route away, or leads one elsewhere.
    #[must_use]
    pub fn is_destructive(&self) -> bool {
        match self {
            Self::Delete(_) | Self::Replace(_) => true,
            Self::Create(_) => false,
        }
    }

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
            Self::NotOfTheOtherEnd { field, destination, blocks } => {
                let blocks = blocks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                write!(
                    f,
                    "{field}: {destination} does not lie within one CIDR block of the other end, which has {blocks}, so there is no route to it"
                )
            }
            Self::UnexpectedCidrBlock { block, tables, to_allow } => {
                let tables = tables.join(", ");
                write!(
                    f,
                    "the other end, which is another account's, has {block}, which nobody here has allowed; no route to it was added to {tables}. To allow it, {to_allow}"
                )
            }
            Self::Unproven { route_table_id, destination, connection_id } => {
                write!(
                    f,
                    "{route_table_id} has a route to {destination} through {connection_id}, which is recorded as this resource's; EC2 no longer shows {connection_id}, so nothing proves that, and the route was left alone. Delete it by hand"
                )
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

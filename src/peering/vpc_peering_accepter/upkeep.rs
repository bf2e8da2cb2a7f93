//! The upkeep of an accepted connection, and its end.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::rules::{self, RouteRule};
use super::state::{Desired, Observation, Recorded};
use super::step::Step;
use crate::api::{ConditionType, DeletionPolicy, ManagedRoute, ManagedTag, Reason, Side, VpcInfo};
use crate::peering::authority::{Authorized, Hint};
use crate::peering::blocker::Blocker;
use crate::peering::connection::{Connection, StatusCode};
use crate::peering::dns::DnsOfVpc;
use crate::peering::plan::{Aspect, AspectStatus, Step as _};
use crate::peering::routes::{self, Routing, Trust};
use crate::peering::settings::MAX_ROUTES;
use crate::peering::upkeep::{self, OptionsOfEnd, UpkeepStep, tags};

const SIDE: Side = Side::Accepter;

/// The state of one aspect of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConnectionAspect {
    pub id: String,
    pub status: AspectStatus<Step>,
}

impl ConnectionAspect {
    pub(super) fn acceptance(id: &str, step: Option<Step>, blocker: Option<Blocker>) -> Self {
        let status = AspectStatus { step, blocker, ..AspectStatus::settled(Aspect::Acceptance) };
        Self { id: id.to_owned(), status }
    }

    /// A blocker of the routes of all connections. It shows with one of them.
    pub(super) fn routes_of_all(id: &str, blocker: Blocker) -> Self {
        Self::of_end(id, AspectStatus::blocked(Aspect::Routes(SIDE), blocker))
    }

    fn of_end(id: &str, status: AspectStatus<UpkeepStep>) -> Self {
        let status = status.map(|step| Step::Upkeep { id: id.to_owned(), step });
        Self { id: id.to_owned(), status }
    }

    /// The same state while AWS refuses the step, or does not show its effect yet.
    pub(super) fn unless_held(self, observed: &Observation) -> Self {
        let aspect = (self.id.clone(), self.status.aspect);
        let status = self.status.unless_refused(observed.refused.get(&aspect));
        Self { status: status.unless_unseen(observed.unseen.get(&aspect)), ..self }
    }
}

/// The aspects of an accepted connection, in the order in which they are served.
pub(super) fn aspects(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    (connection, target): (&Connection, &Authorized),
) -> Vec<ConnectionAspect> {
    let id = connection.id.as_str();
    let Some(record) = recorded.acceptance(id) else {
        let step = Step::RecordAcceptance { id: target.clone() };
        return vec![ConnectionAspect::acceptance(id, Some(step), None)];
    };
    let managed: BTreeSet<ManagedTag> = record.managed_tags.iter().cloned().collect();
    let tags = match desired.excess_tags() {
        Some(excess) => AspectStatus::blocked(Aspect::Tags(SIDE), excess),
        None => upkeep::tags(SIDE, desired.tags(), &managed, (target, connection)),
    };
    let mut statuses = vec![tags];
    let violation = violation(desired, recorded, connection);
    statuses.extend(violation.clone().map(|blocker| AspectStatus::blocked(Aspect::Acceptance, blocker)));
    if connection.code == StatusCode::Active {
        statuses.extend(options(desired, observed, (connection, target)));
        statuses.extend(match violation.filter(|_| desired.spec.routes.is_some()) {
            Some(blocker) => Some(AspectStatus::blocked(Aspect::Routes(SIDE), blocker)),
            None => repair_routes(desired, recorded, observed, connection, target),
        });
    }
    statuses.into_iter().map(|status| ConnectionAspect::of_end(id, status)).collect()
}

/// The options of an active connection. `None` if the spec does not ask for any.
fn options(
    desired: Desired<'_>,
    observed: &Observation,
    (connection, target): (&Connection, &Authorized),
) -> Option<AspectStatus<UpkeepStep>> {
    let wanted = desired.spec.options.filter(|options| options.allow_dns_resolution_from_remote_vpc.is_some())?;
    let own = DnsOfVpc {
        vpc_id: &desired.end.vpc_id,
        region: &desired.end.region,
        attributes: observed.dns.as_ref(),
        field: "spec.options",
        is_managed: wanted.manage_dns_attributes,
    };
    let options = OptionsOfEnd {
        side: SIDE,
        wanted,
        needs_dns: desired.needs_dns(),
        shown: connection.accepter.peering_options.as_ref(),
        target,
        limits: desired.permissions.at(SIDE),
        own,
        // No identity acts for the requester. EC2 refuses the option if that VPC lacks an attribute.
        other: None,
    };
    Some(options.decide())
}

/// The conditions `OptionsSynced` and `RoutesReady`. `awaited` is a connection that has to become active first.
pub(super) fn conditions(
    desired: Desired<'_>,
    aspects: &[ConnectionAspect],
    awaited: Option<&str>,
) -> Vec<(ConditionType, Result<(), Blocker>)> {
    let options = desired.spec.options.is_some_and(|options| options.allow_dns_resolution_from_remote_vpc.is_some());
    // The aspects of a resource that is being deleted end, so that they have no conditions.
    let asked = (options && !desired.deleted, desired.spec.routes.is_some() && !desired.deleted);
    let awaited = awaited.map(|id| Blocker::stalled(Reason::Updating, format!("waiting for {id} to become active")));
    upkeep::conditions(aspects.iter().map(|aspect| &aspect.status), asked, awaited, Step::change)
}

/// The reason why an accepted connection gets no routes: its CIDR blocks, of which a pending request may not show all,
/// violate the lists. The connection itself stays.
///
/// A block that the requester adds later has no such effect, because the status records the first blocks. A connection
/// that has routes keeps them: [`route_rule`] decides on each of its blocks.
pub(super) fn violation(desired: Desired<'_>, recorded: &Recorded, connection: &Connection) -> Option<Blocker> {
    let id = connection.id.as_str();
    let record = recorded.acceptance(id)?;
    if !connection.code.is_accepted() || !recorded.routes_through(id).0.is_empty() {
        return None;
    }
    let mut blocks = routes::cidr_blocks(&connection.requester);
    let first = routes::parse_all(&record.accepted_cidr_blocks);
    if !first.is_empty() {
        blocks.retain(|block| first.contains(block));
    }
    let reason = rules::violation(&desired.spec.accept, &desired.spec.deny, &connection.requester, &blocks)?;
    let message = format!(
        "{id} is accepted, but now that EC2 shows all CIDR blocks of the requester, {reason}; {id} gets no routes until spec.accept and spec.deny allow all its blocks; if they are not wanted, delete {id} in EC2"
    );
    Some(Blocker::stalled(Reason::UnexpectedCidrBlock, message))
}

/// The aspects of a connection that is reported for this reason, and not changed.
pub(super) fn withheld(desired: Desired<'_>, id: &str, blocker: &Blocker) -> Vec<ConnectionAspect> {
    let routes = desired.spec.routes.is_some().then_some(Aspect::Routes(SIDE));
    let aspects = [Aspect::Acceptance].into_iter().chain(routes);
    aspects.map(|aspect| ConnectionAspect::of_end(id, AspectStatus::blocked(aspect, blocker.clone()))).collect()
}

/// The rule for the routes of a connection, by the current lists of the spec.
pub(super) fn route_rule(desired: Desired<'_>, recorded: &Recorded, connection: &Connection) -> RouteRule {
    let blocks = recorded.acceptance(&connection.id).map(|record| record.accepted_cidr_blocks.as_slice());
    let account = desired.end.owner_id.as_deref();
    rules::routes(&desired.spec.accept, &desired.spec.deny, &connection.requester, account, blocks.unwrap_or_default())
}

fn repair_routes(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    connection: &Connection,
    target: &Authorized,
) -> Option<AspectStatus<UpkeepStep>> {
    let id = connection.id.as_str();
    if desired.spec.routes.is_none() && recorded.routes_through(id).0.is_empty() {
        return None;
    }
    let (trust, asks_for_routes) = match route_rule(desired, recorded, connection) {
        RouteRule::Trust(trust) => (trust, desired.spec.routes.is_some()),
        RouteRule::NoRoutes(_) => (Trust::default(), false),
        RouteRule::Incomplete(reason) => {
            let blocker = Blocker::stalled(Reason::InvalidRequest, format!("{id}: {reason}"));
            return Some(AspectStatus::blocked(Aspect::Routes(SIDE), blocker));
        }
    };
    let limits = desired.permissions.at(SIDE);
    let inputs = Inputs { desired, recorded, observed, id, live: Some((target, connection)) };
    let status = inputs.decide((&trust, asks_for_routes), |routing| upkeep::routes(routing, limits))?;
    let blocker = status.blocker.map(|blocker| Blocker { message: format!("{id}: {}", blocker.message), ..blocker });
    Some(AspectStatus { blocker, ..status })
}

/// The removal of the routes through a connection that has ended, or that the operator disowns. `None` if nothing is
/// left to do. `connection` is the live connection, if EC2 proves that it is the resource's own.
pub(super) fn withdraw_routes(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    id: &str,
    connection: Option<(&Authorized, &Connection)>,
) -> Option<ConnectionAspect> {
    let has_record = !recorded.routes_through(id).0.is_empty();
    let is_active = connection.is_some_and(|(_, connection)| connection.code == StatusCode::Active);
    if !has_record && !is_active {
        return None;
    }
    let inputs = Inputs { desired, recorded, observed, id, live: connection };
    // The status of a deleted resource is not written any more.
    let keeps_record = !desired.deleted;
    let status =
        inputs.decide((&Trust::all(), is_active), |routing| upkeep::withdraw_routes(routing, keeps_record, id))?;
    // Unreadable route tables do not block the removal if no route is recorded.
    let is_readable = matches!(observed.tables, Some(Ok(_)));
    let is_due = status.step.is_some() || (status.blocker.is_some() && (has_record || is_readable));
    is_due.then(|| ConnectionAspect::of_end(id, status))
}

/// The routes through one connection that the deletion removes. If EC2 does not show the route tables, the recorded
/// ones.
pub(super) fn withdrawn_routes(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    id: &str,
    live: Option<(&Authorized, &Connection)>,
) -> Vec<ManagedRoute> {
    let (through_this, _) = recorded.routes_through(id);
    let is_active = live.is_some_and(|(_, connection)| connection.code == StatusCode::Active);
    if through_this.is_empty() && !is_active {
        return Vec::new();
    }
    let inputs = Inputs { desired, recorded, observed, id, live };
    let decide = |routing: Routing<'_>| routes::withdraw(routing, false).changed_routes();
    match inputs.with_routing((&Trust::all(), is_active), decide) {
        Some(Ok(routes)) => routes,
        Some(Err(_)) | None => through_this.into_iter().collect(),
    }
}

/// The recorded routes that stay in AWS after the deletion, because EC2 does not prove that they are the resource's
/// own.
pub(super) fn unproven_routes(desired: Desired<'_>, recorded: &Recorded, observed: &Observation) -> Vec<String> {
    let ids: BTreeSet<&String> = recorded.routes.iter().map(|route| &route.vpc_peering_connection_id).collect();
    let plans = ids.into_iter().filter_map(|id| {
        let inputs = Inputs { desired, recorded, observed, id, live: None };
        inputs.with_routing((&Trust::all(), false), |routing| routes::withdraw(routing, false))?.ok()
    });
    plans.flat_map(|plan| plan.problems).map(|problem| problem.to_string()).collect()
}

/// The removal of the operator's tags from a connection that stays.
pub(super) fn withdraw_tags(
    desired: Desired<'_>,
    recorded: &Recorded,
    connection: &Connection,
    target: &Authorized,
) -> Option<ConnectionAspect> {
    let record = recorded.acceptance(&connection.id);
    let shows = |tag: &&ManagedTag| connection.tags.get(&tag.key) == Some(&tag.value);
    let managed = record.into_iter().flat_map(|record| record.managed_tags.iter().filter(shows));
    let mut keys = tags::ownership_keys(&desired.authority(), connection, true);
    if desired.deletion_policy() == DeletionPolicy::Delete {
        keys.extend(managed.map(|tag| tag.key.to_string()));
    }
    let step = tags::remove(target, keys)?;
    Some(ConnectionAspect::of_end(&connection.id, AspectStatus::with_step(Aspect::Tags(SIDE), step)))
}

/// The input for the routes through one connection.
struct Inputs<'a> {
    desired: Desired<'a>,
    recorded: &'a Recorded,
    observed: &'a Observation,
    id: &'a str,
    /// The live connection, if EC2 proves that it is the resource's own.
    live: Option<(&'a Authorized, &'a Connection)>,
}

impl Inputs<'_> {
    /// The state of the routes. `None` without route tables. A record step keeps the routes through other connections.
    fn decide(
        &self,
        rule: (&Trust, bool),
        decide: impl FnOnce(Routing<'_>) -> AspectStatus<UpkeepStep>,
    ) -> Option<AspectStatus<UpkeepStep>> {
        let (_, others) = self.recorded.routes_through(self.id);
        Some(match self.with_routing(rule, decide)? {
            Ok(status) => status.map(|step| match step {
                UpkeepStep::RecordRoutes { routes } => {
                    UpkeepStep::RecordRoutes { routes: others.into_iter().chain(routes).collect() }
                }
                step => step,
            }),
            Err(blocker) => AspectStatus::blocked(Aspect::Routes(SIDE), blocker),
        })
    }

    /// The CIDR blocks of the requesters of the other accepted connections, if the spec names prefix lists.
    fn sibling_blocks(&self) -> Vec<BTreeSet<IpNet>> {
        let routes = self.desired.spec.routes.as_ref();
        if routes.is_none_or(|routes| routes.destination_prefix_list_ids.is_empty()) {
            return Vec::new();
        }
        let others =
            self.recorded.accepted().map(|record| &record.vpc_peering_connection_id).filter(|id| *id != self.id);
        let shown = others.filter_map(|id| self.observed.connections.get(id));
        shown
            .filter(|shown| shown.code == StatusCode::Active)
            .map(|shown| routes::cidr_blocks(&shown.requester))
            .collect()
    }

    fn with_routing<T>(
        &self,
        (trust, asks_for_routes): (&Trust, bool),
        decide: impl FnOnce(Routing<'_>) -> T,
    ) -> Option<Result<T, Blocker>> {
        let (desired, observed) = (self.desired, self.observed);
        let tables = match observed.tables.as_ref()? {
            Ok(tables) => tables,
            Err(blocker) => return Some(Err(blocker.clone())),
        };
        let (through_this, others) = self.recorded.routes_through(self.id);
        let unknown = VpcInfo::default();
        // EC2 shows for hours that an ended connection was the resource's own.
        let shown = observed.connections.get(self.id);
        let proof = shown.map(|shown| desired.authority().over(shown, Hint::Tagged).ok());
        let is_foreign = matches!(proof, Some(None)) && self.live.is_none();
        let remembered = observed.remembered.iter().filter(|id| shown.is_none() && id.as_str() == self.id);
        let (own, other) =
            self.live.map_or((&unknown, &unknown), |(_, connection)| (&connection.accepter, &connection.requester));
        Some(Ok(decide(Routing {
            side: SIDE,
            vpc_id: &desired.end.vpc_id,
            routes: desired.spec.routes.as_deref().filter(|_| asks_for_routes),
            field: "spec.routes",
            connection: self.live.map(|(target, _)| target),
            earlier: &proof.flatten().into_iter().collect(),
            remembered: &remembered.cloned().collect(),
            others: &is_foreign.then(|| self.id.to_owned()).into_iter().collect(),
            siblings: &self.recorded.connections,
            sibling_blocks: &self.sibling_blocks(),
            own,
            other,
            shares_destinations: true,
            trust,
            tables,
            subnets: observed.subnets.as_ref(),
            lists: observed.lists.as_ref(),
            recorded: &through_this,
            answers: &observed.route_answers,
            quota: observed.quotas.routes_per_table,
            // One status records the routes of all connections.
            limit: MAX_ROUTES.saturating_sub(others.len()),
        })))
    }
}

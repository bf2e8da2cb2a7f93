//! One connection: whose it is, what becomes of the request, and what is kept true of it once it is accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::rules::{self, RouteRule};
use super::{Desired, Observation, Recorded, Step};
use crate::api::{AccepterDecision, ManagedTag, Reason, Side, VpcInfo};
use crate::peering::routes::{self, MAX_ROUTES, RouteChange, RouteStep, RoutesPlan, Routing, Trust};
use crate::peering::{Authorized, Aspect, Connection, Hint, Owner, StatusCode, Blocker, tags};

/// How one aspect of one connection stands: what to do next, and what stands in the way. Neither: all is as the spec
/// wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// Of which connection.
    pub id: String,
    /// Which aspect.
    pub aspect: Aspect,
    /// The next step.
    pub step: Option<Step>,
    /// What stands in the way of it, or of a part.
    pub blocker: Option<Blocker>,
    /// When to look again, where nothing tells of a change.
    pub requeue_after: Option<Duration>,
}

/// What was decided on a connection, for the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// On which.
    pub id: String,
    /// What.
    pub decision: AccepterDecision,
    /// Why.
    pub message: Option<String>,
    /// Whether the record that it is ours to look after still holds.
    pub is_ours: bool,
}

/// A step, and what stands in the way.
type Finding = (Option<Step>, Option<Blocker>);

/// How often to look at what EC2 may yet show.
pub(super) const AWAIT_EC2: Duration = Duration::from_secs(5);

/// Why a connection is somebody else's to look after, or not one to our VPC; none where it may be ours.
pub(super) fn of_others(desired: Desired<'_>, connection: &Connection) -> Option<String> {
    let authority = desired.authority();
    if let Some(difference) = authority.difference(connection) {
        return Some(difference);
    }
    let owner = |key: &str| connection.tags.get(key).map(ToString::to_string).unwrap_or_default();
    // Another namespace's resource is not named: its name is nobody's business here.
    let whose = |kind: &str, [namespace, name]: [&str; 2]| {
        if owner(namespace) == desired.owner.namespace {
            format!("it belongs to {kind} {}/{}", owner(namespace), owner(name))
        } else {
            format!("it belongs to a {kind} of another namespace or cluster")
        }
    };
    if connection.tags.contains_key(Owner::UID) {
        return Some(whose("VpcPeering", [Owner::NAMESPACE, Owner::NAME]));
    }
    let is_tagged = Owner::accepter_of(&connection.tags).is_some();
    (is_tagged && !is_tagged_ours(desired, connection))
        .then(|| whose("VpcPeeringAccepter", [Owner::ACCEPTER_NAMESPACE, Owner::ACCEPTER_NAME]))
}

/// Whether the tags say that we have accepted it: this resource, or an earlier one of its name, which must be gone.
pub(super) fn is_tagged_ours(desired: Desired<'_>, connection: &Connection) -> bool {
    let authority = desired.authority();
    authority.is_ours(&connection.tags) || authority.is_predecessors(&connection.tags)
}

/// Every tag that a connection shall carry, beside those of others.
fn wanted_tags(desired: Desired<'_>) -> BTreeMap<String, String> {
    let users = desired.spec.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone()));
    let ours = desired.owner.accepter_tags().into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    users.chain(ours).collect()
}

/// What is to be done about a connection that we have accepted, in the order in which it is seen to.
pub(super) fn upkeep(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    connection: &Connection,
    target: &Authorized,
) -> Vec<Review> {
    let id = &connection.id;
    let mut reviews = Vec::new();
    let mut add = |aspect, (step, blocker): Finding, requeue_after| {
        reviews.push(Review { id: id.clone(), aspect, step, blocker, requeue_after });
    };
    let Some(record) = recorded.acceptance(id) else {
        let step = Step::RecordAcceptance { id: target.clone() };
        add(Aspect::Acceptance, (Some(step), None), None);
        return reviews;
    };
    let managed: BTreeSet<ManagedTag> = record.managed_tags.iter().cloned().collect();
    let step = tags::repair(wanted_tags(desired), &managed, connection).map(|step| Step::of_tags(target, step));
    add(Aspect::Tags(Side::Accepter), (step, None), None);
    if connection.code == StatusCode::Active {
        if let Some(finding) = options(desired, connection, target) {
            add(Aspect::Options(Side::Accepter), finding, None);
        }
        if let Some((finding, awaits_ec2)) = repair_routes(desired, recorded, observed, connection, target) {
            add(Aspect::Routes(Side::Accepter), finding, awaits_ec2.then_some(AWAIT_EC2));
        }
    }
    reviews
}

/// Compared with what EC2 shows. What EC2 does not show counts as its default, false.
fn options(desired: Desired<'_>, connection: &Connection, target: &Authorized) -> Option<Finding> {
    let wanted = desired.spec.options?.allow_dns_resolution_from_remote_vpc?;
    let shown = connection.accepter.peering_options.as_ref();
    let shown = shown.and_then(|options| options.allow_dns_resolution_from_remote_vpc).unwrap_or_default();
    if shown == wanted {
        return Some((None, None));
    }
    if let Some(limits) = desired.permissions.at(Side::Accepter).filter(|limits| !limits.options) {
        let message = format!("spec.options: {} may not set DNS options; allowOptions permits it", limits.identity);
        return Some((None, Some(Blocker::stalled(Reason::ActionNotAllowed, message))));
    }
    let step = Step::SetOptions { id: target.clone(), allow_dns_resolution_from_remote_vpc: wanted };
    Some((Some(step), None))
}

fn repair_routes(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    connection: &Connection,
    target: &Authorized,
) -> Option<(Finding, bool)> {
    let id = &connection.id;
    if desired.spec.routes.is_none() && recorded.routes_through(id).0.is_empty() {
        return None;
    }
    let (trust, of_spec) = match route_rule(desired, recorded, connection) {
        RouteRule::Trust(trust) => (trust, desired.spec.routes.is_some()),
        RouteRule::Nowhere(_) => (Trust::default(), false),
        RouteRule::Incomplete(why) => {
            let blocker = Blocker::stalled(Reason::InvalidRequest, format!("{id}: {why}"));
            return Some(((None, Some(blocker)), false));
        }
    };
    let end = Some((target, &connection.requester));
    let plan = match plan_routes(desired, recorded, observed, (id, end), (&trust, of_spec), routes::repair)? {
        Ok(plan) => plan,
        Err(blocker) => return Some(((None, Some(blocker)), false)),
    };
    let blocker = plan.blocker().map(|message| Blocker::stalled(plan.reason(), format!("{id}: {message}")));
    let (own, others) = recorded.routes_through(id);
    // What this resource has made goes without a permission, too.
    let only_removes = |step: &RouteStep| match step {
        RouteStep::Record(routes) => routes.is_subset(&own),
        RouteStep::Change(changes) => changes.iter().all(|change| matches!(change, RouteChange::Delete(_))),
    };
    if let Some(limits) = desired.permissions.at(Side::Accepter).filter(|limits| !limits.routes)
        && plan.step.as_ref().is_some_and(|step| !only_removes(step))
    {
        let message = format!("spec.routes: {} may not add or change routes; allowRoutes permits it", limits.identity);
        return Some(((None, Some(Blocker::stalled(Reason::ActionNotAllowed, message))), false));
    }
    let step = plan.step.map(|step| Step::of_routes(id, step, others));
    Some(((step, blocker), plan.awaits_ec2))
}

/// Where the routes of a connection may lead, as the lists are now.
pub(super) fn route_rule(desired: Desired<'_>, recorded: &Recorded, connection: &Connection) -> RouteRule {
    let blocks = recorded.acceptance(&connection.id).map(|record| record.accepted_cidr_blocks.as_slice());
    let account = desired.end.owner_id.as_deref();
    rules::routes(&desired.spec.accept, &desired.spec.deny, &connection.requester, account, blocks.unwrap_or_default())
}

/// How the routes through a connection that has ended, or that we let go of, are done away with; none when none is left.
/// Of a living connection, those that the spec asks for are gone, too.
pub(super) fn withdraw_routes(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    id: &str,
    connection: Option<(&Authorized, &Connection)>,
) -> Option<Review> {
    let (own, others) = recorded.routes_through(id);
    let is_active = connection.is_some_and(|(_, connection)| connection.code == StatusCode::Active);
    if own.is_empty() && !(is_active && desired.spec.routes.is_some()) {
        return None;
    }
    let review = |step, blocker, requeue_after| {
        let id = id.to_owned();
        Some(Review { id, aspect: Aspect::Routes(Side::Accepter), step, blocker, requeue_after })
    };
    let end = connection.map(|(target, connection)| (target, &connection.requester));
    // Before the resource itself goes, nothing is written to its status any more.
    let withdraw = if desired.deleted { routes::withdraw_with_the_record } else { routes::withdraw };
    match plan_routes(desired, recorded, observed, (id, end), (&Trust::all(), is_active), withdraw)? {
        Err(_) if own.is_empty() => None,
        Err(blocker) => review(None, Some(blocker), None),
        Ok(RoutesPlan { step: Some(step), .. }) => review(Some(Step::of_routes(id, step, others)), None, None),
        Ok(RoutesPlan { awaits_ec2: true, .. }) => {
            let message = format!("the routes through {id} are being removed");
            review(None, Some(Blocker::passing(Reason::Deleting, message, AWAIT_EC2)), None)
        }
        Ok(plan) if !plan.problems.is_empty() && !desired.deleted => {
            let blocker = Blocker::stalled(plan.reason(), plan.blocker().unwrap_or_default());
            review(None, Some(blocker), None)
        }
        Ok(_) => None,
    }
}

/// The routes that are left in AWS when the resource goes, since nothing proves that they are its own.
#[must_use]
pub fn unproven_routes(desired: Desired<'_>, recorded: &Recorded, observed: &Observation) -> Vec<String> {
    let ids: BTreeSet<&String> = recorded.routes.iter().map(|route| &route.vpc_peering_connection_id).collect();
    let withdraw = routes::withdraw_with_the_record;
    let plans = ids
        .into_iter()
        .filter_map(|id| plan_routes(desired, recorded, observed, (id, None), (&Trust::all(), false), withdraw)?.ok());
    plans.flat_map(|plan| plan.problems).map(|problem| problem.to_string()).collect()
}

/// How the tags of a connection that we let go of are done away with.
pub(super) fn withdraw_tags(
    desired: Desired<'_>,
    recorded: &Recorded,
    connection: &Connection,
    target: &Authorized,
) -> Option<Review> {
    let authority = desired.authority();
    let record = recorded.acceptance(&connection.id);
    let shows = |tag: &&ManagedTag| connection.tags.get(&tag.key) == Some(&tag.value);
    let managed = record.into_iter().flat_map(|record| record.managed_tags.iter().filter(shows));
    let managed = managed.map(|tag| tag.key.to_string());
    let is_ours = is_tagged_ours(desired, connection);
    let ours = authority.keys().into_iter().filter(|key| is_ours && connection.tags.contains_key(*key));
    let keys: BTreeSet<String> = managed.chain(ours.map(str::to_owned)).collect();
    (!keys.is_empty()).then(|| Review {
        id: connection.id.clone(),
        aspect: Aspect::Tags(Side::Accepter),
        step: Some(Step::Untag { id: target.clone(), keys }),
        blocker: None,
        requeue_after: None,
    })
}

fn plan_routes(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    (id, end): (&str, Option<(&Authorized, &VpcInfo)>),
    (trust, of_spec): (&Trust, bool),
    decide: fn(Routing<'_>) -> RoutesPlan,
) -> Option<Result<RoutesPlan, Blocker>> {
    let tables = match observed.tables.as_ref()? {
        Ok(tables) => tables,
        Err(blocker) => return Some(Err(blocker.clone())),
    };
    let (own, others) = recorded.routes_through(id);
    let unknown = VpcInfo::default();
    let authority = desired.authority();
    // A connection that has ended still shows whose it was.
    let shown = observed.connections.get(id);
    let proof = shown.map(|shown| authority.over(shown, Hint::Tagged).ok());
    let mut earlier = observed.remembered.clone();
    earlier.extend(proof.clone().flatten());
    let is_anothers = matches!(proof, Some(None)) && end.is_none();
    Some(Ok(decide(Routing {
        side: Side::Accepter,
        vpc_id: &desired.end.vpc_id,
        routes: desired.spec.routes.as_ref().filter(|_| of_spec),
        field: "spec.routes",
        connection: end.map(|(target, _)| target),
        earlier: &earlier,
        others: &is_anothers.then(|| id.to_owned()).into_iter().collect(),
        other: end.map_or(&unknown, |(_, other)| other),
        trust,
        tables,
        recorded: &own,
        is_settled: observed.is_settled,
        // All are recorded in one status.
        limit: MAX_ROUTES.saturating_sub(others.len()),
    })))
}

//! One connection: whose it is, what becomes of the request, and what is kept true of it once it is accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use smol_str::SmolStr;

use super::{Desired, Observation, Recorded, Step};
use crate::api::{AccepterDecision, Reason, Side, VpcInfo};
use crate::peering::routes::{self, MAX_ROUTES, RoutesPlan, Routing};
use crate::peering::{Concern, Connection, Owner, StatusCode, Trouble, tags};

/// How one concern of one connection stands: what to do next, and what stands in the way. Neither: all is as the spec
/// wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// Of which connection.
    pub id: String,
    /// Which concern.
    pub concern: Concern,
    /// The next step.
    pub step: Option<Step>,
    /// What stands in the way of it, or of a part.
    pub trouble: Option<Trouble>,
    /// When to look again, where nothing tells of a change.
    pub look_again: Option<Duration>,
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
type Finding = (Option<Step>, Option<Trouble>);

/// How often to look at what EC2 may yet show.
pub(super) const AWAIT_EC2: Duration = Duration::from_secs(5);

/// Why a connection is somebody else's to look after, or not one to our VPC; none where it may be ours.
pub(super) fn of_others(desired: Desired<'_>, connection: &Connection) -> Option<String> {
    let shown = |value: &Option<SmolStr>| value.clone().unwrap_or_else(|| "nobody knows".into());
    let end = &connection.accepter;
    // EC2 leaves out the region of an end in the caller's own.
    let is_here = end.vpc_id.as_deref() == Some(&desired.end.vpc_id)
        && end.owner_id.is_some()
        && end.owner_id.as_deref() == desired.end.owner_id.as_deref()
        && end.region.as_ref().is_none_or(|region| *region == desired.end.region);
    if !is_here {
        let (vpc, owner, region) = (shown(&end.vpc_id), shown(&end.owner_id), shown(&end.region));
        return Some(format!("EC2 shows {vpc} of account {owner} in {region} as its accepter"));
    }
    if connection.tags.contains_key(Owner::UID) {
        let owner = Owner::of(&connection.tags).map_or_else(|| "a VpcPeering".into(), |owner| owner.to_string());
        return Some(format!("it belongs to {owner}"));
    }
    Owner::accepter_of(&connection.tags).filter(|accepter| !is_same(desired.owner, accepter)).map(|accepter| {
        let Owner { namespace, name, cluster, .. } = accepter;
        format!("it belongs to VpcPeeringAccepter {namespace}/{name} of cluster {cluster}")
    })
}

/// Whether the tags say that we have accepted it: this resource, or an earlier one of its name, which must be gone.
pub(super) fn is_tagged_ours(desired: Desired<'_>, connection: &Connection) -> bool {
    Owner::accepter_of(&connection.tags).is_some_and(|accepter| is_same(desired.owner, &accepter))
}

fn is_same(one: &Owner, other: &Owner) -> bool {
    one.cluster == other.cluster && one.namespace == other.namespace && one.name == other.name
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
) -> Vec<Review> {
    let id = &connection.id;
    let mut reviews = Vec::new();
    let mut add = |concern, (step, trouble): Finding, look_again| {
        reviews.push(Review { id: id.clone(), concern, step, trouble, look_again });
    };
    let Some(record) = recorded.acceptance(id) else {
        let step = Step::RecordAcceptance { id: id.clone() };
        add(Concern::Acceptance, (Some(step), None), None);
        return reviews;
    };
    let managed: BTreeSet<String> = record.managed_tag_keys.iter().cloned().collect();
    let step = tags::repair(wanted_tags(desired), &managed, connection).map(|step| Step::of_tags(id, step));
    add(Concern::Tags(Side::Accepter), (step, None), None);
    if connection.code == StatusCode::Active {
        if let Some(step) = options(desired, connection) {
            add(Concern::Options(Side::Accepter), (step, None), None);
        }
        if let Some((finding, awaits_ec2)) = repair_routes(desired, recorded, observed, connection) {
            add(Concern::Routes(Side::Accepter), finding, awaits_ec2.then_some(AWAIT_EC2));
        }
    }
    reviews
}

/// Compared with what EC2 shows. What EC2 does not show counts as its default, false.
fn options(desired: Desired<'_>, connection: &Connection) -> Option<Option<Step>> {
    let wanted = desired.spec.options?.allow_dns_resolution_from_remote_vpc?;
    let shown = connection.accepter.peering_options.as_ref();
    let shown = shown.and_then(|options| options.allow_dns_resolution_from_remote_vpc).unwrap_or_default();
    let step = Step::SetOptions { id: connection.id.clone(), allow_dns_resolution_from_remote_vpc: wanted };
    Some((shown != wanted).then_some(step))
}

fn repair_routes(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    connection: &Connection,
) -> Option<(Finding, bool)> {
    let (id, routes) = (&connection.id, desired.spec.routes.is_some());
    if !routes && recorded.routes_through(id).0.is_empty() {
        return None;
    }
    let plan = match plan_routes(desired, recorded, observed, id, &connection.requester, routes, routes::repair)? {
        Ok(plan) => plan,
        Err(trouble) => return Some(((None, Some(trouble)), false)),
    };
    let reason = if plan.conflicts.is_empty() { Reason::RouteTableNotFound } else { Reason::RouteConflict };
    let trouble = plan.trouble().map(|message| Trouble::stalled(reason, format!("{id}: {message}")));
    let step = plan.step.map(|step| Step::of_routes(id, step, recorded.routes_through(id).1));
    Some(((step, trouble), plan.awaits_ec2))
}

/// How the routes through a connection that has ended, or that we let go of, are done away with; none when none is left.
/// Of a living connection (`connection`), those that the spec asks for are gone, too.
pub(super) fn withdraw_routes(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    id: &str,
    connection: Option<&Connection>,
) -> Option<Review> {
    let (own, others) = recorded.routes_through(id);
    let is_active = connection.is_some_and(|connection| connection.code == StatusCode::Active);
    if own.is_empty() && !(is_active && desired.spec.routes.is_some()) {
        return None;
    }
    let unknown = VpcInfo::default();
    let other = connection.map_or(&unknown, |connection| &connection.requester);
    let review = |step, trouble, look_again| {
        let id = id.to_owned();
        Some(Review { id, concern: Concern::Routes(Side::Accepter), step, trouble, look_again })
    };
    match plan_routes(desired, recorded, observed, id, other, is_active, routes::withdraw)? {
        Err(trouble) if own.is_empty() => {
            drop(trouble);
            None
        }
        Err(trouble) => review(None, Some(trouble), None),
        Ok(RoutesPlan { step: Some(step), .. }) => review(Some(Step::of_routes(id, step, others)), None, None),
        Ok(RoutesPlan { awaits_ec2: true, .. }) => {
            let message = format!("the routes through {id} are being removed");
            review(None, Some(Trouble::passing(Reason::Deleting, message, AWAIT_EC2)), None)
        }
        Ok(_) => None,
    }
}

/// How the tags of a connection that we let go of are done away with.
pub(super) fn withdraw_tags(desired: Desired<'_>, recorded: &Recorded, connection: &Connection) -> Option<Review> {
    let record = recorded.acceptance(&connection.id);
    let managed = record.into_iter().flat_map(|record| record.managed_tag_keys.iter().cloned());
    let ours = desired.owner.accepter_tags().into_iter().map(|(key, _)| key.to_owned());
    let keys: BTreeSet<String> = managed.chain(ours).filter(|key| connection.tags.contains_key(key.as_str())).collect();
    (!keys.is_empty()).then(|| Review {
        id: connection.id.clone(),
        concern: Concern::Tags(Side::Accepter),
        step: Some(Step::Untag { id: connection.id.clone(), keys }),
        trouble: None,
        look_again: None,
    })
}

fn plan_routes(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    id: &str,
    other: &VpcInfo,
    of_spec: bool,
    decide: fn(Routing<'_>) -> RoutesPlan,
) -> Option<Result<RoutesPlan, Trouble>> {
    let tables = match observed.tables.as_ref()? {
        Ok(tables) => tables,
        Err(trouble) => return Some(Err(trouble.clone())),
    };
    let (own, others) = recorded.routes_through(id);
    Some(Ok(decide(Routing {
        side: Side::Accepter,
        vpc_id: &desired.end.vpc_id,
        routes: desired.spec.routes.as_ref().filter(|_| of_spec),
        field: "spec.routes",
        connection_id: id,
        other,
        tables,
        recorded: &own,
        is_settled: observed.is_settled,
        // All are recorded in one status.
        limit: MAX_ROUTES.saturating_sub(others.len()),
    })))
}

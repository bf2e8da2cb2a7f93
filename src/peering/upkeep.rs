//! What is kept true of a living connection beside its existence: its acceptance, tags, options and routes.

use std::collections::BTreeSet;
use std::time::Duration;

use super::authority::{Authorized, Hint};
use super::facts::{AccepterView, Trouble};
use super::plan::Concern;
use super::routes::{self, MAX_ROUTES, RouteStep, RoutesPlan, Routing, Trust, cidr_blocks};
use super::tags::TagStep;
use super::{Connection, Desired, Observation, Recorded, StatusCode, Step, decision, tags};
use crate::api::{Acceptance, ConditionType, Reason, Side, VpcInfo};

/// How one concern stands: what to do next, and what stands in the way. Neither: all is as the spec wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// Which.
    pub concern: Concern,
    /// The next step.
    pub step: Option<Step>,
    /// What stands in the way of it, or of a part.
    pub trouble: Option<Trouble>,
    /// When to look again, where nothing tells of a change.
    pub look_again: Option<Duration>,
}

impl Review {
    /// A step that AWS refused lately is not to be taken yet; the refusal stands in the way instead.
    pub(super) fn new(concern: Concern, (step, trouble): Finding, observed: &Observation) -> Self {
        let (step, trouble) = match observed.refused.get(&concern) {
            Some(refusal) if step.is_some() => (None, Some(refusal.clone())),
            _ => (step, trouble),
        };
        Self { concern, step, trouble, look_again: None }
    }
}

/// A step, and what stands in the way.
pub(super) type Finding = (Option<Step>, Option<Trouble>);

/// How often to look at what EC2 may yet show.
const AWAIT_EC2: Duration = Duration::from_secs(5);

/// How every concern stands, in the order in which they are seen to.
#[must_use]
pub fn review(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    connection: &Connection,
    target: &Authorized,
) -> Vec<Review> {
    let mut reviews = Vec::new();
    let mut add = |concern, finding: Finding, look_again| {
        reviews.push(Review { look_again, ..Review::new(concern, finding, observed) });
    };
    if connection.code == StatusCode::PendingAcceptance {
        add(Concern::Acceptance, acceptance(desired, observed, connection, target), None);
    }
    for (side, view) in places(observed, connection) {
        let concern = Concern::Tags(side);
        match view {
            Ok(Some(shown)) => {
                let managed = match side {
                    Side::Requester => &recorded.managed_tags,
                    Side::Accepter => &recorded.accepter_managed_tags,
                };
                // Each place has tags of its own, and so an owner.
                let finding = match desired.authority().over(shown, Hint::Recorded) {
                    Ok(target) => {
                        let wanted = desired.tags(sides_in_place_of(side, observed));
                        (tags::repair(wanted, managed, shown).map(|step| tag_step(side, &target, step)), None)
                    }
                    Err(trouble) => (None, Some(trouble)),
                };
                add(concern, finding, None);
            }
            Ok(None) => {}
            Err(trouble) => add(concern, (None, Some(trouble.clone())), None),
        }
    }
    if connection.code == StatusCode::Active {
        for side in [Side::Requester, Side::Accepter] {
            if let Some(finding) = options(desired, observed, connection, target, side) {
                add(Concern::Options(side), finding, None);
            }
        }
        for side in [Side::Requester, Side::Accepter] {
            if let Some((finding, awaits_ec2)) = routes(desired, recorded, observed, connection, target, side) {
                add(Concern::Routes(side), finding, awaits_ec2.then_some(AWAIT_EC2));
            }
        }
    }
    reviews
}

/// The conditions that tell of options and routes: what is asked for, and whether it is so.
#[must_use]
pub fn conditions(
    desired: Desired<'_>,
    reviews: &[Review],
    is_active: bool,
) -> Vec<(ConditionType, Result<(), Trouble>)> {
    let about = |is_asked: bool, kind, is_about: fn(Concern) -> bool| {
        let reviews = reviews.iter().filter(|review| is_about(review.concern));
        let waits = || Trouble::stalled(Reason::Updating, "waits for the peering to be active".into());
        let steps = |review: &Review| {
            review.step.as_ref().map(|step| Trouble::stalled(Reason::Updating, step.change().unwrap_or_default()))
        };
        let trouble =
            reviews.clone().find_map(|review| review.trouble.clone()).or_else(|| reviews.clone().find_map(steps));
        let outcome = trouble.or_else(|| (!is_active).then(waits));
        is_asked.then(|| (kind, outcome.map_or(Ok(()), Err)))
    };
    let sides = [Side::Requester, Side::Accepter].map(|side| desired.spec.side(side));
    let options = sides
        .iter()
        .any(|side| side.options.is_some_and(|options| options.allow_dns_resolution_from_remote_vpc.is_some()));
    let routes = sides.iter().any(|side| side.routes.is_some());
    [
        about(options, ConditionType::OptionsSynced, |concern| matches!(concern, Concern::Options(_))),
        about(routes, ConditionType::RoutesReady, |concern| matches!(concern, Concern::Routes(_))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The ends whose tags are kept in the place of this one.
#[must_use]
pub fn sides_in_place_of(side: Side, observed: &Observation) -> &'static [Side] {
    match (side, &observed.accepter) {
        (Side::Requester, AccepterView::Same) => &[Side::Requester, Side::Accepter],
        (Side::Requester, _) => &[Side::Requester],
        (Side::Accepter, _) => &[Side::Accepter],
    }
}

/// The connection as each place shows it that has tags of its own.
pub(super) fn places<'a>(
    observed: &'a Observation,
    connection: &'a Connection,
) -> impl Iterator<Item = (Side, Result<Option<&'a Connection>, &'a Trouble>)> {
    let accepter = match &observed.accepter {
        AccepterView::Nobody | AccepterView::Same => None,
        AccepterView::Elsewhere(view) => Some((Side::Accepter, view.as_ref().map(|connection| connection.as_deref()))),
    };
    [(Side::Requester, Ok(Some(connection)))].into_iter().chain(accepter)
}

/// The request is accepted where the accepter's account shows it, in its region, and it is ours to the last detail.
fn acceptance(desired: Desired<'_>, observed: &Observation, connection: &Connection, target: &Authorized) -> Finding {
    if desired.spec.acceptance == Acceptance::Manual || desired.spec.dry_run {
        return (None, None);
    }
    let id = target.clone();
    let shown = match &observed.accepter {
        AccepterView::Nobody => return (None, None),
        AccepterView::Same => connection,
        AccepterView::Elsewhere(Ok(Some(shown))) => shown,
        AccepterView::Elsewhere(Ok(None)) => {
            let message = format!("the accepter's account does not show {id} in {} yet", desired.ends.accepter.region);
            return (None, Some(Trouble::passing(Reason::AwaitingConsistency, message, decision::MISSING_LOOK_AGAIN)));
        }
        AccepterView::Elsewhere(Err(trouble)) => return (None, Some(trouble.clone())),
    };
    if let Err(trouble) = desired.authority().over(shown, Hint::Recorded) {
        return (None, Some(trouble));
    }
    match shown.code {
        StatusCode::PendingAcceptance => {
            (Some(Step::Accept { id, region: desired.ends.accepter.region.clone() }), None)
        }
        // The other end is ahead, or behind.
        _ => {
            let message =
                format!("{id} is {} at the requester's end and {} at the accepter's", connection.code, shown.code);
            (None, Some(Trouble::passing(Reason::AwaitingConsistency, message, decision::MISSING_LOOK_AGAIN)))
        }
    }
}

/// Compared with what EC2 shows, never with what was sent. What EC2 does not show counts as its default, false.
fn options(
    desired: Desired<'_>,
    observed: &Observation,
    connection: &Connection,
    target: &Authorized,
    side: Side,
) -> Option<Finding> {
    let wanted = desired.spec.side(side).options?.allow_dns_resolution_from_remote_vpc?;
    let end = |connection: &Connection| match side {
        Side::Requester => connection.requester.peering_options.clone(),
        Side::Accepter => connection.accepter.peering_options.clone(),
    };
    let shown = match (&observed.accepter, side) {
        (AccepterView::Nobody, Side::Accepter) => {
            return Some((None, Some(nobody_acts("spec.accepter.options"))));
        }
        (AccepterView::Elsewhere(Err(trouble)), Side::Accepter) => return Some((None, Some(trouble.clone()))),
        (AccepterView::Elsewhere(Ok(view)), Side::Accepter) => {
            // Its own account and region know best.
            view.as_deref().and_then(&end).or_else(|| end(connection))
        }
        _ => end(connection),
    };
    let shown = shown.and_then(|options| options.allow_dns_resolution_from_remote_vpc).unwrap_or_default();
    if shown == wanted {
        return Some((None, None));
    }
    if let Some(limits) = desired.permissions.at(side).filter(|limits| !limits.options) {
        let message =
            format!("spec.{side}.options: {} may not set DNS options; allowOptions permits it", limits.identity);
        return Some((None, Some(Trouble::stalled(Reason::ActionNotAllowed, message))));
    }
    let id = target.clone();
    Some((Some(Step::SetOptions { side, id, allow_dns_resolution_from_remote_vpc: wanted }), None))
}

/// What is to be done about the routes of one end, and whether EC2 may yet show something; none where they are nobody's
/// concern.
fn routes(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    connection: &Connection,
    target: &Authorized,
    side: Side,
) -> Option<(Finding, bool)> {
    let other = other_end(connection, side);
    let plan = match routes_of(desired, recorded, observed, Some((target, other)), side, routes::repair)? {
        Ok(plan) => plan,
        Err(trouble) => return Some(((None, Some(trouble)), false)),
    };
    let trouble = plan.trouble().map(|message| Trouble::stalled(plan.reason(), message));
    // What this resource has made goes without a permission, too.
    let only_removes = |step: &RouteStep| match step {
        RouteStep::Record(routes) => routes.is_subset(&recorded.routes),
        RouteStep::Change(changes) => changes.iter().all(|change| matches!(change, routes::RouteChange::Delete(_))),
    };
    if let Some(limits) = desired.permissions.at(side).filter(|limits| !limits.routes)
        && plan.step.as_ref().is_some_and(|step| !only_removes(step))
    {
        let message =
            format!("spec.{side}.routes: {} may not add or change routes; allowRoutes permits it", limits.identity);
        return Some(((None, Some(Trouble::stalled(Reason::ActionNotAllowed, message))), false));
    }
    Some(((plan.step.map(|step| route_step(side, step)), trouble), plan.awaits_ec2))
}

/// The next thing to do before the peering may go: none of our routes may be left to lead nowhere. `target` is the
/// connection, as far as EC2 proves that it is ours.
pub(super) fn withdraw_routes(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    target: Option<(&Authorized, &Connection)>,
    side: Side,
) -> Option<Result<Step, Trouble>> {
    let has_record = recorded.routes.iter().any(|route| route.side == side);
    let was_active = target.is_some_and(|(_, connection)| connection.code == StatusCode::Active);
    if !has_record && !was_active {
        return None;
    }
    let target = target.map(|(target, connection)| (target, other_end(connection, side)));
    let plan = match routes_of(desired, recorded, observed, target, side, routes::withdraw_with_the_record)? {
        Ok(plan) => plan,
        Err(trouble) => return has_record.then_some(Err(trouble)),
    };
    if let Some(step) = plan.step {
        return Some(Ok(route_step(side, step)));
    }
    let waits = || Trouble::passing(Reason::Deleting, format!("the {side}'s routes are being removed"), AWAIT_EC2);
    plan.awaits_ec2.then(|| Err(waits()))
}

/// The routes that are left in AWS when the resource goes, since nothing proves that they are its own.
#[must_use]
pub fn unproven_routes(desired: Desired<'_>, recorded: &Recorded, observed: &Observation) -> Vec<String> {
    let plans = [Side::Requester, Side::Accepter]
        .into_iter()
        .filter_map(|side| routes_of(desired, recorded, observed, None, side, routes::withdraw_with_the_record)?.ok());
    plans.flat_map(|plan| plan.problems).map(|problem| problem.to_string()).collect()
}

fn other_end(connection: &Connection, side: Side) -> &VpcInfo {
    match side {
        Side::Requester => &connection.accepter,
        Side::Accepter => &connection.requester,
    }
}

fn routes_of(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    target: Option<(&Authorized, &VpcInfo)>,
    side: Side,
    decide: fn(Routing<'_>) -> RoutesPlan,
) -> Option<Result<RoutesPlan, Trouble>> {
    let routes = desired.spec.side(side).routes.as_deref();
    if routes.is_none() && !recorded.routes.iter().any(|route| route.side == side) {
        return None;
    }
    let field = format!("spec.{side}.routes");
    let tables = match observed.tables.get(&side) {
        None => return Some(Err(nobody_acts(&field))),
        Some(Err(trouble)) => return Some(Err(trouble.clone())),
        Some(Ok(tables)) => tables,
    };
    let unknown = VpcInfo::default();
    let other = target.map_or(&unknown, |(_, other)| other);
    let (earlier, others) = earlier(desired, observed);
    Some(Ok(decide(Routing {
        side,
        vpc_id: &desired.ends.side(side).vpc_id,
        routes,
        field: &field,
        connection: target.map(|(target, _)| target),
        earlier: &earlier,
        others: &others,
        other,
        trust: &trust(recorded, observed, other),
        tables,
        recorded: &recorded.routes,
        is_settled: observed.is_settled,
        limit: MAX_ROUTES,
    })))
}

/// The connections that recorded routes may lead through: those that are proven to be ours, and those that are proven not
/// to be.
fn earlier(desired: Desired<'_>, observed: &Observation) -> (BTreeSet<Authorized>, BTreeSet<String>) {
    let authority = desired.authority();
    let (mut ours, mut others) = (observed.remembered.clone(), BTreeSet::new());
    let recorded = observed.recorded.iter().map(|connection| (connection, Hint::Recorded));
    for (connection, hint) in observed.earlier.iter().map(|connection| (connection, Hint::Tagged)).chain(recorded) {
        match authority.over(connection, hint) {
            Ok(target) => _ = ours.insert(target),
            Err(_) => _ = others.insert(connection.id.clone()),
        }
    }
    (ours, others)
}

/// Which CIDR blocks of the other end may get routes. The requester is always ours to act for.
fn trust(recorded: &Recorded, observed: &Observation, other: &VpcInfo) -> Trust {
    if observed.accepter != AccepterView::Nobody {
        return Trust::all();
    }
    let known = recorded.accepted_cidr_blocks.as_ref();
    // Until the blocks are recorded, those of now are the first that are seen.
    let known = known.map_or_else(|| cidr_blocks(other), routes::parse_all);
    Trust { recorded: known, by_destination: true, ..Trust::default() }
}

/// A step on the tags of one end.
pub(super) fn tag_step(side: Side, target: &Authorized, step: TagStep) -> Step {
    let id = target.clone();
    match step {
        TagStep::Record(tags) => Step::RecordTags { side, tags },
        TagStep::Set(tags) => Step::Tag { side, id, tags },
        TagStep::Remove(keys) => Step::Untag { side, id, keys },
    }
}

fn route_step(side: Side, step: RouteStep) -> Step {
    match step {
        RouteStep::Record(routes) => Step::RecordRoutes { side, routes },
        RouteStep::Change(changes) => Step::ChangeRoutes { side, changes },
    }
}

fn nobody_acts(field: &str) -> Trouble {
    let message = format!(
        "{field}: the accepter's end is another account's; name the identity that acts for it in spec.accepter.identityRef"
    );
    Trouble::stalled(Reason::IdentityNotFound, message)
}

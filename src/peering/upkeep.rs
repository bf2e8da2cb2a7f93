//! What is kept true of a living connection beside its existence: its acceptance, tags, options and routes.

use std::time::Duration;

use super::facts::{AccepterView, Trouble};
use super::plan::Concern;
use super::routes::{self, MAX_ROUTES, RouteStep, RoutesPlan, Routing};
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
) -> Vec<Review> {
    let mut reviews = Vec::new();
    let mut add = |concern, finding: Finding, look_again| {
        reviews.push(Review { look_again, ..Review::new(concern, finding, observed) });
    };
    if connection.code == StatusCode::PendingAcceptance {
        add(Concern::Acceptance, acceptance(desired, observed, connection), None);
    }
    for (side, view) in places(observed, connection) {
        let concern = Concern::Tags(side);
        match view {
            Ok(Some(shown)) if side == Side::Accepter && is_another(desired, shown).is_some() => {}
            Ok(Some(connection)) => {
                let managed = match side {
                    Side::Requester => &recorded.managed_tag_keys,
                    Side::Accepter => &recorded.accepter_managed_tag_keys,
                };
                let wanted = desired.tags(sides_in_place_of(side, observed));
                let step = tags::repair(wanted, managed, connection).map(|step| tag_step(side, &connection.id, step));
                add(concern, (step, None), None);
            }
            Ok(None) => {}
            Err(trouble) => add(concern, (None, Some(trouble.clone())), None),
        }
    }
    if connection.code == StatusCode::Active {
        for side in [Side::Requester, Side::Accepter] {
            if let Some(finding) = options(desired, observed, connection, side) {
                add(Concern::Options(side), finding, None);
            }
        }
        for side in [Side::Requester, Side::Accepter] {
            if let Some((finding, awaits_ec2)) = routes(desired, recorded, observed, connection, side) {
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
fn acceptance(desired: Desired<'_>, observed: &Observation, connection: &Connection) -> Finding {
    if desired.spec.acceptance == Acceptance::Manual || desired.spec.dry_run {
        return (None, None);
    }
    let id = connection.id.clone();
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
    if let Some(mismatch) = [shown, connection].into_iter().find_map(|view| is_another(desired, view)) {
        return (None, Some(Trouble::stalled(Reason::ConnectionMismatch, mismatch)));
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

/// What a connection does not show of itself, or shows otherwise, that we must know before we touch it in the name of its
/// accepter.
fn is_another(desired: Desired<'_>, connection: &Connection) -> Option<String> {
    if let Some(mismatch) = decision::mismatch(desired, connection) {
        return Some(mismatch);
    }
    let (requester, accepter) = (&connection.requester, &connection.accepter);
    let owner = desired.ends.accepter.owner_id.as_deref().or(requester.owner_id.as_deref());
    let is_whole = requester.vpc_id.is_some() && accepter.vpc_id.is_some() && requester.owner_id.is_some();
    let is_of_owner = accepter.owner_id.is_some() && accepter.owner_id.as_deref() == owner;
    (!is_whole || !is_of_owner)
        .then(|| format!("EC2 does not show who is at both ends of {}; it is not accepted", connection.id))
}

/// Compared with what EC2 shows, never with what was sent. What EC2 does not show counts as its default, false.
fn options(desired: Desired<'_>, observed: &Observation, connection: &Connection, side: Side) -> Option<Finding> {
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
    let step = (shown != wanted).then(|| Step::SetOptions {
        side,
        id: connection.id.clone(),
        allow_dns_resolution_from_remote_vpc: wanted,
    });
    Some((step, None))
}

/// What is to be done about the routes of one end, and whether EC2 may yet show something; none where they are nobody's
/// concern.
fn routes(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    connection: &Connection,
    side: Side,
) -> Option<(Finding, bool)> {
    let plan = match routes_of(desired, recorded, observed, &connection.id, Some(connection), side, routes::repair)? {
        Ok(plan) => plan,
        Err(trouble) => return Some(((None, Some(trouble)), false)),
    };
    let reason = if plan.conflicts.is_empty() { Reason::RouteTableNotFound } else { Reason::RouteConflict };
    let trouble = plan.trouble().map(|message| Trouble::stalled(reason, message));
    Some(((plan.step.map(|step| route_step(side, step)), trouble), plan.awaits_ec2))
}

/// The next thing to do before the peering may go: none of our routes may be left to lead nowhere.
pub(super) fn withdraw_routes(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    id: &str,
    side: Side,
) -> Option<Result<Step, Trouble>> {
    let has_record = recorded.routes.iter().any(|route| route.side == side);
    let connection = observed.recorded.as_deref();
    let was_active = connection.is_some_and(|connection| connection.code == StatusCode::Active);
    if !has_record && !was_active {
        return None;
    }
    let plan = match routes_of(desired, recorded, observed, id, connection, side, routes::withdraw)? {
        Ok(plan) => plan,
        Err(trouble) => return has_record.then_some(Err(trouble)),
    };
    if let Some(step) = plan.step {
        return Some(Ok(route_step(side, step)));
    }
    let waits = || Trouble::passing(Reason::Deleting, format!("the {side}'s routes are being removed"), AWAIT_EC2);
    plan.awaits_ec2.then(|| Err(waits()))
}

fn routes_of(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    id: &str,
    connection: Option<&Connection>,
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
    let other = connection.map(|connection| match side {
        Side::Requester => &connection.accepter,
        Side::Accepter => &connection.requester,
    });
    Some(Ok(decide(Routing {
        side,
        vpc_id: &desired.ends.side(side).vpc_id,
        routes,
        field: &field,
        connection_id: id,
        other: other.unwrap_or(&unknown),
        tables,
        recorded: &recorded.routes,
        is_settled: observed.is_settled,
        limit: MAX_ROUTES,
    })))
}

/// A step on the tags of one end.
pub(super) fn tag_step(side: Side, id: &str, step: TagStep) -> Step {
    let id = id.to_owned();
    match step {
        TagStep::Record(keys) => Step::RecordTagKeys { side, keys },
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

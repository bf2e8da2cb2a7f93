//! The decision: from what is wanted, recorded and seen, the one next step.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::authority::{Authorized, Hint};
use super::preflight::Preflight;
use super::upkeep::{self, Review};
use super::{
    AccepterView, Concern, Connection, Desired, Observation, Plan, Recorded, Settings, StatusCode, Step, Trouble, tags,
};
use crate::api::{DeletionPolicy, ManagementPolicy, Ownership, Reason, Side, TerminalState, VpcPeeringSpec};

/// How often to look, while something that must be there is not shown.
pub const MISSING_LOOK_AGAIN: Duration = Duration::from_secs(2);

/// How often to look at what is outside of our view of EC2.
const STALLED_LOOK_AGAIN: Duration = Duration::from_secs(60);

/// How often in a row a peering that ends is requested anew.
pub const MAX_RECREATIONS: u32 = 8;

/// The longest pause before a peering that has ended is requested anew.
const MAX_RECREATION_PAUSE: Duration = Duration::from_secs(3600);

/// For how long before its expiry a request that nobody has accepted is warned of.
pub const EXPIRING_SOON: SignedDuration = SignedDuration::from_hours(24);

/// How far the clock of this machine may be from EC2's.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(15);

/// How to ask for a new request after an end.
const ASK_ANEW: &str =
    "For a new request, annotate this resource with vpcpeering.dev/reconcile-at and the present time as its value";

/// The next step from here.
#[must_use]
pub fn decide(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    now: Timestamp,
    settings: Settings,
) -> Plan {
    let observe_only = desired.spec.management_policy == ManagementPolicy::Observe;
    let plan = if desired.deleted {
        towards_release(desired, recorded, observed, settings)
    } else if !desired.finalizer {
        Plan::Act(Step::AddFinalizer)
    } else if observe_only {
        observing(desired, recorded, observed, now)
    } else if let Err(trouble) = desired.permissions.admit(desired.ends) {
        trouble.into()
    } else {
        match (recorded.owned_id(), &observed.recorded) {
            (None, _) => towards_connection(desired, recorded, observed, now, settings),
            (Some(id), None) => missing(id, observed, settings).unwrap_or_else(|| not_found(desired, recorded, id)),
            (Some(_), Some(connection)) => match desired.authority().over(connection, Hint::Recorded) {
                Ok(target) => towards_active(desired, recorded, observed, (connection, &target), now),
                // A record that is not true: the connection that carries our tags is recorded in its place.
                Err(trouble) => match owned(desired, observed).as_slice() {
                    [(connection, _)] => record(connection),
                    _ => trouble.into(),
                },
            },
        }
    };
    let refusal = match &plan {
        Plan::Act(step) => step.concern().and_then(|concern| observed.refused.get(&concern)),
        _ => None,
    };
    let plan = refusal.map_or(plan, |refusal| refusal.clone().into());
    match &plan {
        Plan::Act(step) if desired.spec.suspend => match step.change() {
            Some(change) => {
                Plan::Suspended { message: format!("suspended by spec.suspend; the next step is to {change}") }
            }
            None => plan,
        },
        _ => plan,
    }
}

/// What follows while AWS must not be asked for anything, or nobody knows where: nothing, but to let go of a resource
/// that has certainly left nothing behind.
#[must_use]
pub fn blocked(spec: &VpcPeeringSpec, deleted: bool, finalizer: bool, recorded: &Recorded, trouble: &Trouble) -> Plan {
    let has_nothing = recorded.owned_id().is_none() && !recorded.creation_started;
    if deleted && (!finalizer || has_nothing || spec.management_policy == ManagementPolicy::Observe) {
        return Plan::Release;
    }
    let mut trouble = trouble.clone();
    if deleted {
        trouble.message += ". The peering is not deleted before that is mended; to leave it in AWS, set spec.managementPolicy to Observe";
    }
    trouble.into()
}

/// Nothing is owned yet.
fn towards_connection(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    now: Timestamp,
    settings: Settings,
) -> Plan {
    match owned(desired, observed).as_slice() {
        [] => {}
        [(connection, _)] => return record(connection),
        several => {
            let ids: Vec<_> = several.iter().map(|(connection, _)| connection.id.as_str()).collect();
            let message = format!(
                "{} all carry this resource's ownership tags; delete all but one of them in EC2",
                ids.join(", ")
            );
            return stalled(Reason::MultipleConnections, message);
        }
    }
    // Tags that somebody else has set, or what is left of a lost record: a second connection might be one too many.
    if let Some(unexpected) = unexpected_connection(desired, observed) {
        return unexpected.into();
    }
    if recorded.creation_started
        && let Some(wait) = missing("the requested peering connection", observed, settings)
    {
        return wait;
    }
    if let Some(older) = &observed.older_claim {
        return Plan::Stalled {
            reason: Reason::ConnectionNotOwned,
            message: format!(
                "{} is older and asks for a peering of the same VPCs; delete one of the two",
                older.resource
            ),
            look_again: Some(if older.is_leaving { MISSING_LOOK_AGAIN } else { STALLED_LOOK_AGAIN }),
        };
    }
    if let Some(id) = &desired.spec.vpc_peering_connection_id {
        return adopting(desired, recorded, observed, id);
    }
    if let Some(plan) = inheriting(desired, recorded, observed) {
        return plan;
    }
    if let Some(rival) = &observed.rival {
        return stalled(Reason::ConnectionNotOwned, desired.authority().not_owned(rival));
    }
    if let Some(wait) = recreation_pause(desired, recorded, now, settings) {
        return wait;
    }
    match (&observed.preflight, desired.spec.dry_run, recorded.dry_run_succeeded) {
        (_, true, true) => Plan::DryRunSucceeded,
        (None, _, _) => Plan::Act(Step::Preflight),
        (Some(Preflight::Refused { reason, message }), _, _) => {
            Plan::Stalled { reason: *reason, message: message.clone(), look_again: Some(STALLED_LOOK_AGAIN) }
        }
        (Some(Preflight::Passed), true, false) => Plan::Act(Step::DryRun),
        (Some(Preflight::Passed), false, _) => Plan::Act(Step::Create),
    }
}

/// The connections that carry our tags and are ours to act on.
fn owned<'a>(desired: Desired<'_>, observed: &'a Observation) -> Vec<(&'a Arc<Connection>, Authorized)> {
    let authority = desired.authority();
    let owned = observed.owned.iter();
    owned.filter_map(|connection| Some((connection, authority.over(connection, Hint::Tagged).ok()?))).collect()
}

fn record(connection: &Arc<Connection>) -> Plan {
    Plan::Act(Step::Record { connection: Arc::clone(connection), ownership: Ownership::Owned })
}

/// A connection that carries our tags and does not join the VPCs of the spec. Tags alone prove nothing: everybody who may set
/// tags in the account may have set these.
#[must_use]
pub fn unexpected_connection(desired: Desired<'_>, observed: &Observation) -> Option<Trouble> {
    let authority = desired.authority();
    let message = observed.owned.iter().find_map(|connection| authority.difference(connection))?;
    let message = format!(
        "{message}. It carries this resource's ownership tags (vpcpeering.dev/…): find out who set them, and remove them"
    );
    Some(Trouble { look_again: Some(STALLED_LOOK_AGAIN), ..Trouble::stalled(Reason::ConnectionMismatch, message) })
}

/// The same, or one that carries the tags of an earlier resource of this name; for a condition.
#[must_use]
pub fn unexpected_tags(desired: Desired<'_>, observed: &Observation) -> Option<String> {
    let authority = desired.authority();
    let predecessors = || {
        let left = observed.left_behind.iter().find_map(|connection| authority.difference(connection))?;
        Some(format!(
            "{left}. It carries the ownership tags of an earlier resource of this name: delete it in EC2 if nobody needs it, or remove the tags"
        ))
    };
    unexpected_connection(desired, observed).map(|trouble| trouble.message).or_else(predecessors)
}

/// An earlier resource of this name is gone, its finalizer torn off or its object restored under a new UID. Its peering
/// between the same VPCs is taken over, which cuts no traffic.
fn inheriting(desired: Desired<'_>, recorded: &Recorded, observed: &Observation) -> Option<Plan> {
    if desired.spec.dry_run {
        return None;
    }
    let authority = desired.authority();
    let is_alive = |connection: &&Arc<Connection>| connection.code != StatusCode::Deleting;
    let mut left = observed.left_behind.iter().filter(is_alive);
    let (connection, target) =
        left.find_map(|connection| Some((connection, authority.over(connection, Hint::Predecessor).ok()?)))?;
    let wanted = desired.tags(upkeep::sides_in_place_of(Side::Requester, observed));
    let step = tags::repair(wanted, &recorded.managed_tags, connection)?;
    Some(Plan::Act(upkeep::tag_step(Side::Requester, &target, step)))
}

/// A peering of an earlier resource of this name, between the VPCs of the spec, goes when there is another one, unless the
/// spec keeps peerings in AWS.
fn cleaning_up(desired: Desired<'_>, observed: &Observation) -> Option<Review> {
    if desired.spec.deletion_policy == DeletionPolicy::Retain {
        return None;
    }
    let authority = desired.authority();
    let can_go = |left: &&Arc<Connection>| matches!(left.code, StatusCode::PendingAcceptance | StatusCode::Active);
    let mut left = observed.left_behind.iter().filter(can_go);
    let id = left.find_map(|left| authority.over(left, Hint::Predecessor).ok())?;
    Some(Review::new(Concern::LeftBehind, (Some(Step::CleanUp { id }), None), observed))
}

/// The spec names a connection to take over: our tags make it ours, and then it is recorded.
fn adopting(desired: Desired<'_>, recorded: &Recorded, observed: &Observation, id: &str) -> Plan {
    if let Err(trouble) = desired.permissions.adoption() {
        return trouble.into();
    }
    let Some(connection) = &observed.wanted else {
        return unknown_connection(desired, id);
    };
    let target = match desired.authority().over(connection, Hint::Named) {
        Ok(target) => target,
        Err(trouble) => return trouble.into(),
    };
    if connection.code.has_ended() || connection.code == StatusCode::Deleting {
        return by_code(connection);
    }
    let wanted = desired.tags(upkeep::sides_in_place_of(Side::Requester, observed));
    match tags::repair(wanted, &recorded.managed_tags, connection) {
        Some(step) if !desired.spec.dry_run => Plan::Act(upkeep::tag_step(Side::Requester, &target, step)),
        _ => stalled(Reason::DryRun, format!("{id} can be taken over; set spec.dryRun to false to do it")),
    }
}

fn unknown_connection(desired: Desired<'_>, id: &str) -> Plan {
    let region = &desired.ends.requester.region;
    Plan::Stalled {
        reason: Reason::NotFound,
        message: format!(
            "spec.vpcPeeringConnectionId: EC2 shows no {id} in {region} to these credentials; check the ID, spec.requester.region and the account"
        ),
        look_again: Some(STALLED_LOOK_AGAIN),
    }
}

/// The pause before a new connection follows one that has ended.
fn recreation_pause(desired: Desired<'_>, recorded: &Recorded, now: Timestamp, settings: Settings) -> Option<Plan> {
    let doublings = recorded.recreations.checked_sub(1).filter(|_| !desired.look_requested)?;
    let pause = settings.recreation_pause.saturating_mul(1 << doublings.min(MAX_RECREATIONS)).min(MAX_RECREATION_PAUSE);
    let since: Duration = now.duration_since(recorded.ended_at?).try_into().unwrap_or_default();
    let left = pause.checked_sub(since).filter(|left| !left.is_zero())?;
    let (number, pause) = (recorded.recreations, pause.as_secs_f32());
    Some(Plan::Wait {
        reason: Reason::AwaitingRecreation,
        message: format!(
            "the last peering ended; new request {number} of at most {MAX_RECREATIONS} follows after a pause of {pause} s"
        ),
        look_again: Some(left),
    })
}

/// A connection is recorded as ours, and shown.
fn towards_active(
    desired: Desired<'_>,
    recorded: &Recorded,
    observed: &Observation,
    (connection, target): (&Connection, &Authorized),
    now: Timestamp,
) -> Plan {
    match &connection.code {
        StatusCode::PendingAcceptance | StatusCode::Active if desired.spec.dry_run => pending_or(connection, now),
        StatusCode::PendingAcceptance | StatusCode::Active => {
            let mut reviews = upkeep::review(desired, recorded, observed, connection, target);
            reviews.extend(cleaning_up(desired, observed));
            let next = reviews.iter().find_map(|review| review.step.clone()).map(Plan::Act);
            next.or_else(|| {
                Trouble::together(reviews.iter().filter_map(|review| review.trouble.as_ref())).map(Plan::from)
            })
            .unwrap_or_else(|| match pending_or(connection, now) {
                Plan::Steady { message, .. } => {
                    Plan::Steady { message, look_again: reviews.iter().filter_map(|review| review.look_again).min() }
                }
                plan => plan,
            })
        }
        StatusCode::Failed => ended(desired, recorded, TerminalState::Failed, connection),
        StatusCode::Rejected => ended(desired, recorded, TerminalState::Rejected, connection),
        StatusCode::Expired => ended(desired, recorded, TerminalState::Expired, connection),
        StatusCode::Deleted => ended(desired, recorded, TerminalState::Deleted, connection),
        StatusCode::InitiatingRequest | StatusCode::Provisioning | StatusCode::Deleting | StatusCode::Unknown(_) => {
            by_code(connection)
        }
    }
}

/// Nothing is ever done here but to look, and to write down what is seen.
fn observing(desired: Desired<'_>, recorded: &Recorded, observed: &Observation, now: Timestamp) -> Plan {
    let target = match &desired.spec.vpc_peering_connection_id {
        Some(id) => match &observed.wanted {
            None => return unknown_connection(desired, id),
            wanted => wanted.as_ref(),
        },
        None => {
            let living = observed.recorded.as_ref().filter(|connection| !connection.code.has_ended());
            living.or(observed.owned.first()).or(observed.rival.as_ref()).or(observed.recorded.as_ref())
        }
    };
    let Some(connection) = target else {
        let (requester, accepter) = (&desired.ends.requester, &desired.ends.accepter);
        return Plan::Stalled {
            reason: Reason::NotFound,
            message: format!(
                "EC2 shows no live peering connection between {} and {} in {}, and spec.managementPolicy is Observe",
                requester.vpc_id, accepter.vpc_id, requester.region
            ),
            look_again: Some(STALLED_LOOK_AGAIN),
        };
    };
    let difference = desired.authority().difference(connection);
    if let Some(difference) = difference.filter(|_| desired.spec.vpc_peering_connection_id.is_some()) {
        return stalled(Reason::ConnectionMismatch, difference);
    }
    if recorded.connection_id.as_ref() != Some(&connection.id) {
        return Plan::Act(Step::Record { connection: Arc::clone(connection), ownership: Ownership::Observed });
    }
    pending_or(connection, now)
}

/// Our peering has come to an end: where the spec or the user asks for it, a new one follows.
fn ended(desired: Desired<'_>, recorded: &Recorded, end: TerminalState, connection: &Connection) -> Plan {
    anew(desired, recorded, end, &connection.id, connection.code.as_str()).unwrap_or_else(|| by_code(connection))
}

fn anew(desired: Desired<'_>, recorded: &Recorded, end: TerminalState, id: &str, code: &str) -> Option<Plan> {
    let spec = desired.spec;
    let recreations = if desired.look_requested {
        0
    } else if spec.recreate_on.contains(&end) && recorded.recreations < MAX_RECREATIONS {
        recorded.recreations + 1
    } else {
        return None;
    };
    // A connection that was taken over has no request of ours to repeat.
    spec.vpc_peering_connection_id
        .is_none()
        .then(|| Plan::Act(Step::Retire { id: id.to_owned(), code: code.to_owned(), recreations }))
}

fn not_found(desired: Desired<'_>, recorded: &Recorded, id: &str) -> Plan {
    anew(desired, recorded, TerminalState::Deleted, id, StatusCode::Deleted.as_str()).unwrap_or_else(|| {
        stalled(Reason::NotFound, format!("EC2 no longer knows {id}: it was deleted, or has ended. {ASK_ANEW}"))
    })
}

/// How a connection stands by its code, a request that waits for its acceptance included.
fn pending_or(connection: &Connection, now: Timestamp) -> Plan {
    if connection.code != StatusCode::PendingAcceptance {
        return by_code(connection);
    }
    let id = &connection.id;
    let owner = connection.accepter.owner_id.as_deref().unwrap_or("the accepter's owner");
    let Some(&expiration) = connection.expiration_time.as_deref() else {
        return by_code(connection);
    };
    // EC2's own code is the proof, and it wakes us. Ours is a clock that may be wrong.
    if expiration.saturating_add(CLOCK_SKEW).is_ok_and(|expired| expired <= now) {
        return stalled(Reason::Expired, format!("{id} was not accepted before {expiration}. {ASK_ANEW}"));
    }
    let left = expiration.duration_since(now);
    let until_next = if left > EXPIRING_SOON { left - EXPIRING_SOON } else { left + CLOCK_SKEW };
    Plan::Wait {
        reason: Reason::PendingAcceptance,
        message: format!("{id} waits for account {owner} to accept it before {expiration}"),
        look_again: until_next.try_into().ok(),
    }
}

/// How a connection stands by its code alone.
fn by_code(connection: &Connection) -> Plan {
    let id = &connection.id;
    let wait = |reason, message| Plan::Wait { reason, message, look_again: None };
    let end = |reason, what: &str, to_do: &str| {
        let said = connection.message.as_ref().map(|said| format!(" (EC2 says: {said})")).unwrap_or_default();
        stalled(reason, format!("{id} {what}{said}. {to_do}{ASK_ANEW}"))
    };
    match &connection.code {
        StatusCode::InitiatingRequest => wait(Reason::InitiatingRequest, format!("EC2 is checking the request {id}")),
        StatusCode::PendingAcceptance => wait(Reason::PendingAcceptance, format!("{id} waits to be accepted")),
        StatusCode::Provisioning => wait(Reason::Provisioning, format!("{id} is accepted, and EC2 is setting it up")),
        StatusCode::Active => Plan::Steady { message: format!("{id} is active"), look_again: None },
        StatusCode::Failed => end(
            Reason::Failed,
            "failed",
            "Check that the accepter's VPC, account and region are right and that no CIDR blocks overlap. ",
        ),
        StatusCode::Rejected => end(Reason::Rejected, "was rejected by the accepter's owner", "Talk to them. "),
        StatusCode::Expired => end(Reason::Expired, "expired: nobody accepted it within seven days", ""),
        StatusCode::Deleting => wait(Reason::Deleting, format!("{id} is being deleted, and not by this operator")),
        StatusCode::Deleted => end(Reason::Deleted, "was deleted, and not by this operator", ""),
        StatusCode::Unknown(code) => wait(
            Reason::UnknownStatusCode,
            format!(
                "EC2 shows {id} with the status code {code:?}, which this version does not know; is a newer version of the operator available?"
            ),
        ),
    }
}

/// The resource is being deleted. Nothing is written to its status any more, so that an object that has grown to the API
/// server's limit can go, too.
fn towards_release(desired: Desired<'_>, recorded: &Recorded, observed: &Observation, settings: Settings) -> Plan {
    if !desired.finalizer || desired.spec.management_policy == ManagementPolicy::Observe {
        return Plan::Release;
    }
    let authority = desired.authority();
    let named = observed.recorded.as_ref().filter(|_| recorded.owned_id().is_some());
    let named = named.map(|connection| (connection, authority.over(connection, Hint::Recorded)));
    if let Some((_, Err(trouble))) = &named
        && trouble.reason != Reason::ConnectionMismatch
        && trouble.reason != Reason::ConnectionNotOwned
    {
        // It is ours, and a permission is missing.
        return trouble.clone().into();
    }
    let mut ours: Vec<_> =
        named.into_iter().filter_map(|(connection, target)| Some((connection, target.ok()?))).collect();
    // What else carries our tags must go, too.
    for (connection, target) in owned(desired, observed) {
        if ours.iter().all(|(_, known)| *known != target) {
            ours.push((connection, target));
        }
    }
    let is_lost = match recorded.owned_id() {
        Some(_) => observed.recorded.is_none(),
        None => recorded.creation_started && ours.is_empty(),
    };
    let wait_for_lost = || {
        let what = recorded.owned_id().map_or("the requested peering connection", String::as_str);
        is_lost.then(|| missing(what, observed, settings)).flatten()
    };
    if desired.spec.deletion_policy == DeletionPolicy::Delete {
        if ours.is_empty()
            && let Some(wait) = wait_for_lost()
        {
            return wait;
        }
        let target = ours.first().map(|(connection, target)| (target, &***connection));
        let sides = [Side::Requester, Side::Accepter].into_iter();
        let mut routes = sides.filter_map(|side| upkeep::withdraw_routes(desired, recorded, observed, target, side));
        if let Some(next) = routes.next() {
            return next.map_or_else(Plan::from, Plan::Act);
        }
    }
    let next = ours.iter().find_map(|(connection, target)| letting_go(desired, observed, connection, target));
    next.or_else(wait_for_lost).unwrap_or(Plan::Release)
}

/// The next step to be rid of one connection; none when there is nothing left to do.
fn letting_go(
    desired: Desired<'_>,
    observed: &Observation,
    connection: &Connection,
    target: &Authorized,
) -> Option<Plan> {
    let authority = desired.authority();
    if desired.spec.deletion_policy == DeletionPolicy::Retain {
        if connection.code.has_ended() {
            return None;
        }
        // The accepter's tags first: when the requester's are gone, nothing is left to find the connection by.
        let accepter = match &observed.accepter {
            AccepterView::Elsewhere(Ok(Some(shown))) => authority
                .over(shown, Hint::Recorded)
                .ok()
                .and_then(|target| tags::disown(&authority, Side::Accepter, &target, shown).map(Plan::Act)),
            // Whether there are tags of ours is not known.
            AccepterView::Elsewhere(Err(trouble)) => Some(trouble.clone().into()),
            _ => None,
        };
        return accepter.or_else(|| tags::disown(&authority, Side::Requester, target, connection).map(Plan::Act));
    }
    let id = target.clone();
    let wait = |message| Some(Plan::Wait { reason: Reason::Deleting, message, look_again: None });
    match &connection.code {
        StatusCode::PendingAcceptance | StatusCode::Active | StatusCode::Unknown(_) => {
            Some(Plan::Act(Step::Delete { id }))
        }
        // EC2 deletes neither; both pass by themselves.
        StatusCode::InitiatingRequest | StatusCode::Provisioning => {
            wait(format!("{id} is {}; it is deleted as soon as EC2 allows", connection.code))
        }
        StatusCode::Deleting => wait(format!("EC2 is deleting {id}")),
        StatusCode::Failed | StatusCode::Rejected | StatusCode::Expired | StatusCode::Deleted => None,
    }
}

/// EC2 does not show what the record says must be there. It may lag, so it is believed only after a while.
fn missing(what: &str, observed: &Observation, settings: Settings) -> Option<Plan> {
    let left = settings.consistency_window.checked_sub(observed.missing_for).filter(|left| !left.is_zero())?;
    Some(Plan::Wait {
        reason: Reason::AwaitingConsistency,
        message: format!(
            "EC2 does not show {what}; that is believed when it has held for {} s, since EC2 may lag",
            settings.consistency_window.as_secs_f32()
        ),
        look_again: Some(left.min(MISSING_LOOK_AGAIN)),
    })
}

fn stalled(reason: Reason, message: String) -> Plan {
    Plan::Stalled { reason, message, look_again: None }
}

#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod tests;

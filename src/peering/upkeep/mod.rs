//! Upkeep of one end of one connection: its tags, DNS options and routes. Both kinds use it.

mod options;
mod step;
pub(super) mod tags;

use std::collections::{BTreeMap, BTreeSet};

use super::authority::Authorized;
use super::blocker::Blocker;
use super::connection::Connection;
use super::limits::Limits;
use super::plan::{Aspect, AspectStatus};
use super::routes::{self, Routing};
use super::settings::EFFECT_REQUEUE;
use crate::api::{ConditionType, ManagedTag, Reason, Side};

pub(crate) use options::OptionsOfEnd;
pub(crate) use step::UpkeepStep;

/// The tags of one end.
pub(crate) fn tags(
    side: Side,
    wanted: BTreeMap<String, String>,
    managed: &BTreeSet<ManagedTag>,
    shown: (&Authorized, &Connection),
) -> AspectStatus<UpkeepStep> {
    AspectStatus::with_step(Aspect::Tags(side), tags::repair(wanted, managed, shown))
}

/// The routes of one end of an active connection.
pub(crate) fn routes(routing: Routing<'_>, limits: Option<&Limits>) -> AspectStatus<UpkeepStep> {
    let aspect = Aspect::Routes(routing.side);
    let plan = routes::repair(routing);
    // The operator removes its own routes even after the permission has been withdrawn.
    let needs_permission = plan.step.as_ref().is_some_and(|step| !step.only_removes(routing.recorded));
    if let Some(Err(blocker)) = limits.filter(|_| needs_permission).map(|limits| limits.permits_routes(routing.field)) {
        return AspectStatus::blocked(aspect, blocker);
    }
    AspectStatus {
        aspect,
        blocker: plan.blocker(),
        requeue_after: plan.awaits_ec2.then_some(EFFECT_REQUEUE),
        step: plan.step.map(UpkeepStep::from),
    }
}

/// The removal of the routes of one end. With `keeps_record`, the record follows the routes. Without it, the status is
/// not written any more, so that an object that has grown to the size limit of the API server can still be deleted.
pub(crate) fn withdraw_routes(
    routing: Routing<'_>,
    keeps_record: bool,
    connection_id: &str,
) -> AspectStatus<UpkeepStep> {
    let aspect = Aspect::Routes(routing.side);
    let plan = routes::withdraw(routing, keeps_record);
    let blocker = if plan.awaits_ec2 {
        let message =
            format!("waiting for EC2 to show that the {}'s routes through {connection_id} are gone", routing.side);
        Some(Blocker::passing(Reason::Deleting, message, EFFECT_REQUEUE))
    } else if keeps_record {
        plan.blocker()
    } else {
        None
    };
    match plan.step {
        Some(step) => AspectStatus::with_step(aspect, UpkeepStep::from(step)),
        None => AspectStatus { blocker, ..AspectStatus::settled(aspect) },
    }
}

/// The conditions `OptionsSynced` and `RoutesReady`, for those that the spec asks for. `awaited` is the reason to wait
/// for an active connection.
pub(crate) fn conditions<'a, S: 'a>(
    statuses: impl Iterator<Item = &'a AspectStatus<S>> + Clone,
    (asks_for_options, asks_for_routes): (bool, bool),
    awaited: Option<Blocker>,
    change: impl Fn(&S) -> Option<String>,
) -> Vec<(ConditionType, Result<(), Blocker>)> {
    let condition = |kind, is_about: fn(Aspect) -> bool| {
        let statuses = statuses.clone().filter(|status| is_about(status.aspect));
        let blocker = Blocker::join(statuses.clone().filter_map(|status| status.blocker.as_ref()));
        let updating = |message| Blocker::stalled(Reason::Updating, message);
        let next = statuses.filter_map(|status| status.step.as_ref()).next();
        let next = next.map(|step| {
            updating(
                change(step).map_or("next: update the record in the status".into(), |change| format!("next: {change}")),
            )
        });
        (kind, blocker.or(next).or_else(|| awaited.clone()).map_or(Ok(()), Err))
    };
    let options = asks_for_options
        .then(|| condition(ConditionType::OptionsSynced, |aspect| matches!(aspect, Aspect::Options(_))));
    let routes =
        asks_for_routes.then(|| condition(ConditionType::RoutesReady, |aspect| matches!(aspect, Aspect::Routes(_))));
    options.into_iter().chain(routes).collect()
}

//! Upkeep of one end of one connection: its tags, DNS options and routes. Both kinds use it.

use std::collections::{BTreeMap, BTreeSet};

use super::authority::Authorized;
use super::blocker::Blocker;
use super::connection::Connection;
use super::limits::Limits;
use super::plan::{Aspect, AspectStatus, Calls};
use super::routes::{self, RouteChange, RouteStep, Routing};
use super::settings::EFFECT_REQUEUE;
use super::tags;
use crate::api::{ConditionType, ManagedRoute, ManagedTag, PeeringOptions, Reason, Side};

/// A change to one end of a connection, or to the record of such changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UpkeepStep {
    /// Record the tags of the spec that the operator sets.
    RecordTags {
        tags: BTreeSet<ManagedTag>,
    },
    Tag {
        id: Authorized,
        tags: BTreeMap<String, String>,
    },
    Untag {
        id: Authorized,
        keys: BTreeSet<String>,
    },
    SetOptions {
        id: Authorized,
        allow_dns_resolution_from_remote_vpc: bool,
    },
    /// Record the routes that the operator creates.
    RecordRoutes {
        routes: BTreeSet<ManagedRoute>,
    },
    /// Change routes, with one call each.
    ChangeRoutes {
        changes: Vec<RouteChange>,
    },
}

impl UpkeepStep {
    /// The change in AWS, as a verb phrase. `None` for a record.
    pub(crate) fn change(&self, side: Side) -> Option<String> {
        let list = |keys: Vec<&String>| keys.into_iter().cloned().collect::<Vec<_>>().join(", ");
        match self {
            Self::RecordTags { .. } | Self::RecordRoutes { .. } => None,
            Self::Tag { id, tags } => Some(format!("set the tags {} on {id}", list(tags.keys().collect()))),
            Self::Untag { id, keys } => Some(format!("remove the tags {} from {id}", list(keys.iter().collect()))),
            Self::SetOptions { id, .. } => Some(format!("set the DNS options of the {side} of {id}")),
            Self::ChangeRoutes { changes } => Some(format!("change {} routes of the {side}", changes.len())),
        }
    }

    pub(crate) fn is_destructive(&self) -> bool {
        match self {
            Self::Untag { .. } => true,
            Self::ChangeRoutes { changes } => changes.iter().any(RouteChange::is_destructive),
            Self::RecordTags { .. } | Self::Tag { .. } | Self::SetOptions { .. } | Self::RecordRoutes { .. } => false,
        }
    }

    pub(crate) fn calls(&self, side: Side) -> Option<Calls> {
        match self {
            Self::RecordTags { .. } | Self::RecordRoutes { .. } => None,
            Self::Tag { .. } => Some(Calls::one("CreateTags", side)),
            Self::Untag { .. } => Some(Calls::one("DeleteTags", side)),
            Self::SetOptions { .. } => Some(Calls::one("ModifyVpcPeeringConnectionOptions", side)),
            // Creating, replacing and deleting routes are three EC2 actions. One limit for all of them errs on the safe side.
            Self::ChangeRoutes { changes } => Some(Calls { action: "CreateRoute", side, count: changes.len() }),
        }
    }

    pub(crate) fn aspect(&self, side: Side) -> Aspect {
        match self {
            Self::RecordTags { .. } | Self::Tag { .. } | Self::Untag { .. } => Aspect::Tags(side),
            Self::SetOptions { .. } => Aspect::Options(side),
            Self::RecordRoutes { .. } | Self::ChangeRoutes { .. } => Aspect::Routes(side),
        }
    }
}

impl From<RouteStep> for UpkeepStep {
    fn from(step: RouteStep) -> Self {
        match step {
            RouteStep::Record(routes) => Self::RecordRoutes { routes },
            RouteStep::Change(changes) => Self::ChangeRoutes { changes },
        }
    }
}

/// The tags of one end.
pub(crate) fn tags(
    side: Side,
    wanted: BTreeMap<String, String>,
    managed: &BTreeSet<ManagedTag>,
    shown: (&Authorized, &Connection),
) -> AspectStatus<UpkeepStep> {
    AspectStatus::with_step(Aspect::Tags(side), tags::repair(wanted, managed, shown))
}

/// The DNS options of one end. `wanted` is compared with EC2's view, not with the last request. An option that EC2 does not
/// show has its default, false.
pub(crate) fn options(
    side: Side,
    wanted: bool,
    shown: Option<&PeeringOptions>,
    target: &Authorized,
    (field, limits): (&str, Option<&Limits>),
) -> AspectStatus<UpkeepStep> {
    let aspect = Aspect::Options(side);
    if shown.and_then(|options| options.allow_dns_resolution_from_remote_vpc).unwrap_or_default() == wanted {
        return AspectStatus::settled(aspect);
    }
    if let Some(Err(blocker)) = limits.map(|limits| limits.permits_options(field)) {
        return AspectStatus::blocked(aspect, blocker);
    }
    let step = UpkeepStep::SetOptions { id: target.clone(), allow_dns_resolution_from_remote_vpc: wanted };
    AspectStatus::with_step(aspect, step)
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

/// The removal of the routes of one end. With `keeps_record`, the record follows the routes. Without it, the status is not
/// written any more, so that an object that has grown to the size limit of the API server can still be deleted.
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

/// The conditions `OptionsSynced` and `RoutesReady`, for those that the spec asks for. `awaited` is a connection that has to
/// become active first.
pub(crate) fn conditions<'a, S: 'a>(
    statuses: impl Iterator<Item = &'a AspectStatus<S>> + Clone,
    (asks_for_options, asks_for_routes): (bool, bool),
    awaited: Option<&str>,
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
        let waits = || awaited.map(|id| updating(format!("waiting for {id} to become active")));
        (kind, blocker.or(next).or_else(waits).map_or(Ok(()), Err))
    };
    let options = asks_for_options
        .then(|| condition(ConditionType::OptionsSynced, |aspect| matches!(aspect, Aspect::Options(_))));
    let routes =
        asks_for_routes.then(|| condition(ConditionType::RoutesReady, |aspect| matches!(aspect, Aspect::Routes(_))));
    options.into_iter().chain(routes).collect()
}

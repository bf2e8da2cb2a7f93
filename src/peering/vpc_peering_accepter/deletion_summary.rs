//! The summary of the deletion of a `VpcPeeringAccepter`. It asks the functions that plan the deletion.

use std::collections::BTreeSet;

use super::deletion::{retains, targets};
use super::state::{Desired, Observation, Recorded};
use super::step::Step;
use super::upkeep::{unproven_routes, withdraw_tags, withdrawn_routes};
use crate::api::DeletionSummary;
use crate::peering::deletion_summary as text;
use crate::peering::owner::Owner;
use crate::peering::upkeep::UpkeepStep;

/// The effect that the deletion would have now. `None` if nothing of the resource is in AWS.
pub(super) fn summary(desired: Desired<'_>, recorded: &Recorded, observed: &Observation) -> Option<DeletionSummary> {
    let (targets, _) = targets(desired, recorded, observed);
    let live: Vec<_> = targets.values().flatten().collect();
    let steps = live.iter().filter_map(|(target, shown)| withdraw_tags(desired, recorded, shown, target)?.status.step);
    let (mut tagged, mut keys) = (Vec::new(), BTreeSet::new());
    for step in steps {
        if let Step::Upkeep { id, step: UpkeepStep::Untag { keys: of_connection, .. } } = step {
            tagged.push(id);
            keys.extend(of_connection);
        }
    }
    let connections = text::list("connection", "", tagged);
    let tags = connections.map(|of| format!("tags {} of {of}", text::tags(Owner::ACCEPTER_PREFIX, &keys)));
    let stays = text::connections(live.iter().map(|(target, _)| target.as_str()), "with options and other tags");
    if retains(desired) {
        return text::summary(tags, stays.into_iter().chain(text::routes("", &recorded.routes)));
    }
    let routes = targets.iter().flat_map(|(id, live)| {
        let live = live.as_ref().map(|(target, connection)| (target, *connection));
        withdrawn_routes(desired, recorded, observed, id, live)
    });
    let routes: BTreeSet<_> = routes.collect();
    let unproven = text::list("unproven route", "", unproven_routes(desired, recorded, observed));
    text::summary(text::routes("", &routes).into_iter().chain(tags), stays.into_iter().chain(unproven))
}

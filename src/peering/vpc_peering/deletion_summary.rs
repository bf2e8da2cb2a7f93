//! The summary of the deletion of a `VpcPeering`. It asks the functions that plan the deletion.

use super::deletion::{missing_permission, named, ours, untags};
use super::routes;
use super::state::{Desired, Observation, Recorded};
use crate::api::{DeletionPolicy, DeletionSummary, ManagementPolicy, Side};
use crate::peering::deletion_summary as text;
use crate::peering::owner::Owner;
use crate::peering::upkeep::UpkeepStep;

/// The effect that the deletion would have now. `None` if nothing of the resource is in AWS.
pub(super) fn summary(desired: Desired<'_>, recorded: &Recorded, observed: &Observation) -> Option<DeletionSummary> {
    if !desired.finalizer || desired.spec.management_policy == ManagementPolicy::Observe {
        let shown = observed.recorded.iter().filter(|connection| !connection.code.has_ended());
        return text::summary([], text::connections(shown.map(|shown| shown.id.as_str()), "not managed"));
    }
    let named = named(desired, recorded, observed);
    if missing_permission(&named).is_some() {
        // The deletion waits until the permission is back. The last summary stays.
        return desired.status.and_then(|status| status.deletion.clone());
    }
    let ours = ours(desired, named, observed);
    let live: Vec<_> = ours.iter().filter(|(connection, _)| !connection.code.has_ended()).collect();
    let ids = || live.iter().map(|(connection, _)| connection.id.as_str());
    if desired.deletion_policy() == DeletionPolicy::Retain {
        let untags = live.iter().flat_map(|(connection, target)| untags(desired, observed, connection, target));
        let removes = untags.filter_map(|untag| match untag {
            Ok((side, UpkeepStep::Untag { id, keys })) => {
                Some(format!("tags {} of {id} at the {side}'s end", text::tags(Owner::PREFIX, &keys)))
            }
            _ => None,
        });
        let routes = Side::BOTH
            .into_iter()
            .filter_map(|side| text::routes(&place(side), recorded.routes.iter().filter(|route| route.side == side)));
        return text::summary(
            removes,
            text::connections(ids(), "with its options and other tags").into_iter().chain(routes),
        );
    }
    let target = ours.first().map(|(connection, target)| (target, &***connection));
    let routes = Side::BOTH
        .into_iter()
        .filter_map(|side| text::routes(&place(side), &routes::withdrawn(desired, recorded, observed, target, side)));
    let removes = text::connections(ids(), "with its options and tags").into_iter().chain(routes);
    let unproven = text::list("unproven route", "", routes::unproven(desired, recorded, observed));
    let stale = ids().next().map(|id| stale_rules(desired, observed, id)).unwrap_or_default();
    let unknown = observed.security_groups.iter().filter(|(_, found)| found.is_none());
    let unknown = unknown.map(|(side, _)| {
        format!(
            "unknown security group rules at the {side}'s end: the credentials lack ec2:DescribeSecurityGroups or ec2:DescribeSecurityGroupReferences (deploy/iam/security-groups.json)"
        )
    });
    text::summary(removes, unproven.into_iter().chain(stale).chain(unknown))
}

/// The security groups with rules that become stale when the connection is deleted, as far as the operator has looked.
/// The rules of an end that it cannot see are named by the groups that they refer to.
pub(crate) fn stale_rules(desired: Desired<'_>, observed: &Observation, id: &str) -> Vec<String> {
    let seen = |side| observed.security_groups.get(&side).and_then(Option::as_ref);
    let of_side = |side: Side| {
        let (vpc_id, other) = (&desired.ends.side(side).vpc_id, seen(side.other()));
        let own = seen(side).and_then(|references| references.stale_at(vpc_id, id));
        let of_peer = seen(side).filter(|_| other.is_none());
        own.into_iter().chain(of_peer.and_then(|references| references.stale_at_peer(vpc_id, id)))
    };
    Side::BOTH.into_iter().flat_map(of_side).collect()
}

fn place(side: Side) -> String {
    format!(" at the {side}'s end")
}

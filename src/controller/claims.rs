//! Which resources ask for a peering of the same two VPCs.

use kube::ResourceExt;
use kube::runtime::watcher::Event;

use super::index::{By, Index, Key};
use crate::api::vpc_peering::StatusEnd;
use crate::api::{ManagementPolicy, PeeringSide, VpcPeering};

/// Follows the watch.
pub fn follow(index: &Index, event: &Event<VpcPeering>) {
    let claim = |object: &VpcPeering, claimed: Option<String>| {
        index.set(By::Vpcs, &object.namespace().unwrap_or_default(), &object.name_any(), claimed);
    };
    match event {
        Event::Apply(object) | Event::InitApply(object) => claim(object, pair_of(object)),
        Event::Delete(object) => claim(object, None),
        // What has gone meanwhile is not found in the store.
        Event::Init | Event::InitDone => {}
    }
}

/// The resources that may ask for a peering of these VPCs, in either direction; [`asks_for`] tells whether one does.
#[must_use]
pub fn of(index: &Index, one: &str, other: &str) -> Vec<Key> {
    index.find(By::Vpcs, &pair(one, other))
}

/// Whether the resource asks for a peering of these VPCs, in either direction.
#[must_use]
pub fn asks_for(object: &VpcPeering, one: &str, other: &str) -> bool {
    pair_of(object).is_some_and(|asked| asked == pair(one, other))
}

/// The VPCs that a resource asks for, where it asks EC2 for anything and they are known.
fn pair_of(object: &VpcPeering) -> Option<String> {
    let recorded = object.status.as_ref().and_then(|status| status.ends.as_ref());
    let vpc = |side: &PeeringSide, recorded: Option<&StatusEnd>| {
        side.vpc_id.clone().or_else(|| recorded.map(|end| end.vpc_id.clone()))
    };
    let one = vpc(&object.spec.requester, recorded.map(|ends| &ends.requester))?;
    let other = vpc(&object.spec.accepter, recorded.map(|ends| &ends.accepter))?;
    (object.spec.management_policy == ManagementPolicy::Full).then(|| pair(&one, &other))
}

/// Two VPCs, whichever asks.
fn pair(one: &str, other: &str) -> String {
    if one < other { format!("{one} {other}") } else { format!("{other} {one}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peering::testing::spec;

    #[test]
    fn the_last_claim_of_a_resource_counts() {
        let index = Index::default();
        let mut object = VpcPeering::new("a", spec());
        object.metadata.namespace = Some("x".into());
        follow(&index, &Event::Apply(object.clone()));
        assert_eq!(of(&index, "vpc-22222222", "vpc-11111111"), [("x".into(), "a".into())]);
        object.spec.accepter.vpc_id = Some("vpc-3".into());
        follow(&index, &Event::Apply(object.clone()));
        assert_eq!(of(&index, "vpc-11111111", "vpc-22222222"), []);
        assert_eq!(of(&index, "vpc-11111111", "vpc-3"), [("x".into(), "a".into())]);
        follow(&index, &Event::Delete(object));
        assert_eq!(of(&index, "vpc-11111111", "vpc-3"), []);
    }
}

//! Which resources ask for a peering of the same two VPCs. A claim counts only once its resource may use the identities that
//! it names: a resource without any permission must not block the rightful one.

use kube::ResourceExt;
use kube::runtime::watcher::Event;

use super::access::{Grant, Identities};
use super::index::{By, Index, Key};
use crate::api::vpc_peering::StatusEnd;
use crate::api::{ManagementPolicy, PeeringSide, Side, VpcPeering};
use crate::aws::Principal;
use crate::peering::ends::{IdentityDefaults, Place, places};
use crate::peering::{Endpoint, Endpoints, Permissions};

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

/// The resources that may ask for a peering of these VPCs, in either direction; [`claimed`] tells whether one
/// does.
#[must_use]
pub fn of(index: &Index, one: &str, other: &str) -> Vec<Key> {
    index.find(By::Vpcs, &pair(one, other))
}

/// The ends that a resource claims, in a fixed order: account, region and VPC of each.
type Claimed = [(String, String, String); 2];

/// What a resource claims, if it may act for its ends. AWS is not asked.
#[must_use]
pub fn claimed(identities: &Identities, own_account: Option<&str>, object: &VpcPeering) -> Option<Claimed> {
    let namespace = object.namespace().unwrap_or_default();
    let spec = &object.spec;
    let grant = |side: Side| {
        let named = spec.side(side).identity_ref.as_ref().map(|reference| &*reference.name);
        identities.granted(&namespace, named, "").ok()
    };
    let defaults = |grant: &Grant| match &grant.principal {
        Principal::Own => Some(IdentityDefaults { account_id: Some(own_account?.to_owned()), region: None }),
        Principal::Role(role) => {
            Some(IdentityDefaults { account_id: Some(role.account_id.clone()), region: role.region.clone() })
        }
    };
    let requester = grant(Side::Requester)?;
    let accepter = match spec.accepter.identity_ref {
        Some(_) => Some(grant(Side::Accepter)?),
        None => None,
    };
    let recorded = object.status.as_ref().and_then(|status| status.ends.as_deref());
    let of_requester = defaults(&requester)?;
    let of_accepter = match &accepter {
        Some(grant) => defaults(grant)?,
        None => IdentityDefaults::default(),
    };
    let [requester_place, accepter_place] = places(spec, recorded, &of_requester, &of_accepter).ok()?;
    let vpc = |side: &PeeringSide, recorded: Option<&StatusEnd>| {
        side.vpc_id.clone().or_else(|| recorded.map(|end| end.vpc_id.clone())).map(|id| id.to_string())
    };
    let end = |place: Place, vpc_id: String| Endpoint { vpc_id, region: place.region, owner_id: place.owner_id };
    let ends = Endpoints {
        requester: end(requester_place, vpc(&spec.requester, recorded.map(|ends| &ends.requester))?),
        accepter: end(accepter_place, vpc(&spec.accepter, recorded.map(|ends| &ends.accepter))?),
    };
    let limits = |grant: &Grant| grant.limits.clone();
    let is_one_account = ends.accepter.owner_id.is_none() || ends.accepter.owner_id == ends.requester.owner_id;
    let accepter = accepter.as_ref().or_else(|| is_one_account.then_some(&requester));
    let permissions = Permissions { requester: Some(limits(&requester)), accepter: accepter.map(limits) };
    permissions.admit(&ends).ok()?;
    Some(key(&ends))
}

/// The ends in a fixed order, whichever asks.
#[must_use]
pub fn key(ends: &Endpoints) -> Claimed {
    // An accepter without an owner is of the requester's account.
    let owner = ends.requester.owner_id.clone().unwrap_or_default();
    let end =
        |end: &Endpoint| (end.owner_id.clone().unwrap_or_else(|| owner.clone()), end.region.clone(), end.vpc_id.clone());
    let mut claimed = [end(&ends.requester), end(&ends.accepter)];
    claimed.sort();
    claimed
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

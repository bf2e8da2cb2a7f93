//! Claims: the resources that ask for a peering of the same two VPCs. Only a resource that may use its identities has a
//! claim, so that a resource without permission cannot block the rightful one.

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;

use crate::api::vpc_peering::StatusEnd;
use crate::api::{ManagementPolicy, PeeringSide, Side, VpcPeering};
use crate::controller::context::Context;
use crate::controller::identity_grants::Credentials;
use crate::controller::index::{By, Index, Key};
use crate::controller::kind::name_for;
use crate::peering::endpoints::{IdentityDefaults, locations};
use crate::peering::vpc_peering::OlderClaim;
use crate::peering::{Endpoint, Endpoints, Permissions};

/// Keeps the index in step with the watch.
pub(crate) fn follow(index: &Index, event: &Event<VpcPeering>) {
    let set = |object: &VpcPeering, pair: Option<String>| {
        index.set(By::VpcPair, &object.namespace().unwrap_or_default(), &object.name_any(), pair);
    };
    match event {
        Event::Apply(object) | Event::InitApply(object) => set(object, pair_of(object)),
        Event::Delete(object) => set(object, None),
        // An object that went meanwhile is not in the store.
        Event::Init | Event::InitDone => {}
    }
}

/// An older resource with a claim to the same ends, in either direction.
pub(super) fn older(object: &VpcPeering, context: &Context, ends: &Endpoints) -> Option<OlderClaim> {
    let age = |object: &VpcPeering| (object.creation_timestamp(), object.uid());
    let own_account = context.accounts.own().known_id();
    let claim = claim_to(ends);
    let mut older = candidates(&context.peerings.index, &ends.requester.vpc_id, &ends.accepter.vpc_id)
        .into_iter()
        .filter_map(|(namespace, name)| context.peerings.store.get(&ObjectRef::new(&name).within(&namespace)))
        .filter(|other| age(other) < age(object))
        .filter(|other| claim_of(&context.credentials, own_account, other).as_ref() == Some(&claim));
    let older = older.next()?;
    Some(OlderClaim { resource: name_for(object, &older), is_deleted: older.metadata.deletion_timestamp.is_some() })
}

/// The resources that may have a claim to a peering of these VPCs. [`claim_of`] decides.
fn candidates(index: &Index, one: &str, other: &str) -> Vec<Key> {
    index.find(By::VpcPair, &pair(one, other))
}

/// Account, region and VPC of both ends, in a fixed order.
type Claim = [(String, String, String); 2];

/// The claim of a resource, if it may act for its ends. This makes no AWS call.
fn claim_of(credentials: &Credentials, own_account: Option<&str>, object: &VpcPeering) -> Option<Claim> {
    let namespace = object.namespace().unwrap_or_default();
    let spec = &object.spec;
    let grant = |side: Side| {
        let named = spec.side(side).identity_ref.as_ref().map(|reference| &*reference.name);
        let grant = credentials.grant_if_known(&namespace, named, "").ok()?;
        let defaults = grant.defaults(own_account);
        defaults.account_id.is_some().then_some((grant, defaults))
    };
    let (requester, of_requester) = grant(Side::Requester)?;
    let (accepter, of_accepter) = match spec.accepter.identity_ref {
        Some(_) => grant(Side::Accepter).map(|(grant, defaults)| (Some(grant), defaults))?,
        None => (None, IdentityDefaults::default()),
    };
    let recorded = object.status.as_ref().and_then(|status| status.ends.as_ref());
    let [requester_location, accepter_location] = locations(spec, recorded, &of_requester, &of_accepter).ok()?;
    let vpc = |side: &PeeringSide, recorded: Option<&StatusEnd>| {
        side.vpc_id.clone().or_else(|| recorded.map(|end| end.vpc_id.clone())).map(|id| id.to_string())
    };
    let ends = Endpoints {
        requester: requester_location.endpoint(vpc(&spec.requester, recorded.map(|ends| &ends.requester))?),
        accepter: accepter_location.endpoint(vpc(&spec.accepter, recorded.map(|ends| &ends.accepter))?),
    };
    let is_one_account = ends.accepter.owner_id.is_none() || ends.accepter.owner_id == ends.requester.owner_id;
    let accepter = accepter.as_ref().or_else(|| is_one_account.then_some(&requester));
    let permissions =
        Permissions { requester: Some(requester.limits.clone()), accepter: accepter.map(|grant| grant.limits.clone()) };
    permissions.admit(&ends.requester, &ends.accepter).ok()?;
    Some(claim_to(&ends))
}

fn claim_to(ends: &Endpoints) -> Claim {
    // An accepter without an owner belongs to the requester's account.
    let owner = ends.requester.owner_id.clone().unwrap_or_default();
    let end = |end: &Endpoint| {
        (end.owner_id.clone().unwrap_or_else(|| owner.clone()), end.region.clone(), end.vpc_id.clone())
    };
    let mut claim = [end(&ends.requester), end(&ends.accepter)];
    claim.sort();
    claim
}

/// The two VPCs of a resource, if they are known and the resource may request a peering.
fn pair_of(object: &VpcPeering) -> Option<String> {
    let recorded = object.status.as_ref().and_then(|status| status.ends.as_ref());
    let vpc = |side: &PeeringSide, recorded: Option<&StatusEnd>| {
        side.vpc_id.clone().or_else(|| recorded.map(|end| end.vpc_id.clone()))
    };
    let one = vpc(&object.spec.requester, recorded.map(|ends| &ends.requester))?;
    let other = vpc(&object.spec.accepter, recorded.map(|ends| &ends.accepter))?;
    (object.spec.management_policy == ManagementPolicy::Full).then(|| pair(&one, &other))
}

/// Two VPCs in either order.
fn pair(one: &str, other: &str) -> String {
    if one < other { format!("{one} {other}") } else { format!("{other} {one}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peering::testing::spec;

    #[test]
    fn the_last_version_of_a_resource_counts() {
        let index = Index::default();
        let mut object = VpcPeering::new("a", spec());
        object.metadata.namespace = Some("x".into());
        follow(&index, &Event::Apply(object.clone()));
        assert_eq!(candidates(&index, "vpc-22222222", "vpc-11111111"), [("x".into(), "a".into())]);
        object.spec.accepter.vpc_id = Some("vpc-3".into());
        follow(&index, &Event::Apply(object.clone()));
        assert_eq!(candidates(&index, "vpc-11111111", "vpc-22222222"), []);
        assert_eq!(candidates(&index, "vpc-11111111", "vpc-3"), [("x".into(), "a".into())]);
        follow(&index, &Event::Delete(object));
        assert_eq!(candidates(&index, "vpc-11111111", "vpc-3"), []);
    }
}

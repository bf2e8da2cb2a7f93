//! Older resources that decide on requests to the same VPC. The oldest one decides alone.

use kube::ResourceExt;

use crate::api::VpcPeeringAccepter;
use crate::aws::regions;
use crate::controller::context::Context;
use crate::controller::kind::name_for;
use crate::peering::Endpoint;

/// An older resource for the same VPC of the same account and region: its kind and name. One without permission to act
/// for the VPC does not count.
pub(super) fn older(object: &VpcPeeringAccepter, context: &Context, end: &Endpoint) -> Option<String> {
    let age = |object: &VpcPeeringAccepter| (object.creation_timestamp(), object.uid());
    let older = context.accepters.store.find(|other| age(other) < age(object) && decides(other, context, end))?;
    Some(name_for(object, &older))
}

fn decides(other: &VpcPeeringAccepter, context: &Context, end: &Endpoint) -> bool {
    let (spec, known) = (&other.spec, other.status.as_ref().and_then(|status| status.vpc.as_ref()));
    let vpc_id = spec.vpc_id.as_deref().or(known.map(|end| end.vpc_id.as_str()));
    if vpc_id != Some(&*end.vpc_id) {
        return false;
    }
    let named = spec.identity_ref.as_ref().map(|reference| &*reference.name);
    let Ok(grant) = context.credentials.grant_if_known(&other.namespace().unwrap_or_default(), named, "") else {
        return false;
    };
    let defaults = grant.defaults(context.accounts.own().known_id());
    let region = spec.region.as_deref().or(known.map(|end| end.region.as_str())).or(defaults.region.as_deref());
    let is_permitted = grant.limits.vpc("", &end.vpc_id).is_ok()
        && grant.limits.region("", &end.region, regions::is_known(&end.region)).is_ok();
    defaults.account_id == end.owner_id && region == Some(&*end.region) && is_permitted
}

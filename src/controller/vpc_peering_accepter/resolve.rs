//! The identity that acts for a `VpcPeeringAccepter`, and its VPC.

use std::sync::Arc;

use kube::ResourceExt;

use crate::api::{Reason, Side, VpcPeeringAccepter};
use crate::aws::{Account, regions};
use crate::controller::blocked::Blocked;
use crate::controller::context::Context;
use crate::controller::identity_grants::Grant;
use crate::controller::kind::Actors;
use crate::controller::vpc_selector;
use crate::peering::{Blocker, Endpoint, Permissions, preflight};

/// The account that acts for the accepter's end.
#[derive(Clone, Debug)]
pub(crate) struct Accepter {
    /// The VPC, with every default filled in.
    pub end: Endpoint,
    pub account: Arc<Account>,
    pub permissions: Permissions,
    grants: [Grant; 1],
}

impl Actors for Accepter {
    fn grants(&self) -> &[Grant] {
        &self.grants
    }

    fn at(&self, side: Side) -> Option<(&Account, &str)> {
        match side {
            Side::Requester => None,
            Side::Accepter => Some((&self.account, &self.end.region)),
        }
    }
}

pub(super) async fn resolve(object: &VpcPeeringAccepter, context: &Context) -> Result<Accepter, Blocked> {
    let (spec, status) = (&object.spec, object.status.as_ref());
    let named = spec.identity_ref.as_ref().map(|reference| &*reference.name);
    let namespace = object.namespace().unwrap_or_default();
    let grant = context.credentials.grant(&namespace, named, "spec.identityRef").await?;
    let limits = &grant.limits;
    spec.vpc_id.as_ref().map(|vpc_id| limits.vpc("spec.vpcId", vpc_id)).transpose()?;
    let known = status.and_then(|status| status.vpc.as_ref());
    let referenced = match &spec.vpc_ref {
        Some(reference) if known.is_none() => Some(context.references.vpc(reference, &namespace, "spec.vpcRef").await?),
        _ => None,
    };
    let of_identity = grant.defaults(None).with_region_of(referenced.as_ref()).region;
    let region =
        spec.region.as_deref().or(known.map(|end| end.region.as_str())).or(of_identity.as_deref()).ok_or_else(
            || {
                let message = "spec.region is missing, and there is no default; set it, defaultRegion of the AwsIdentity in spec.identityRef, or --region of the operator (own credentials only)";
                Blocker::stalled(Reason::InvalidRequest, message.into())
            },
        )?;
    limits.region("spec.region", region, regions::is_known(region))?;
    let account = context.accounts.of(&grant.principal);
    let account_id = account.id().await?;
    // Another account does not see the recorded connections, so the operator would treat them as deleted.
    if let Some(before) = status.and_then(|status| status.owner_id.as_ref()).filter(|before| **before != account_id) {
        let message = format!(
            "the VPC belongs to account {before}, but {} acts for account {account_id}; correct spec.identityRef",
            grant.principal
        );
        return Err(Blocker::stalled(Reason::IdentityMismatch, message).into());
    }
    referenced.as_ref().map_or(Ok(()), |vpc| vpc.admit(region, &account_id))?;
    let referenced = referenced.as_ref().map(|vpc| vpc.vpc_id.as_str());
    let vpc_id = match spec.vpc_id.as_deref().or(known.map(|end| end.vpc_id.as_str())).or(referenced) {
        Some(id) => id.to_owned(),
        None => {
            let tags = spec.vpc_selector.as_ref().map(|selector| &selector.tags);
            vpc_selector::find((&account, limits), region, tags, "spec.vpcSelector").await?
        }
    };
    limits.vpc("spec.vpcId", &vpc_id)?;
    if status.is_none_or(|status| status.owner_id.is_none()) {
        check_owner(&account, region, &vpc_id, &account_id).await?;
    }
    let end = Endpoint { vpc_id, region: region.to_owned(), owner_id: Some(account_id) };
    let permissions = Permissions { requester: None, accepter: Some(limits.clone()) };
    Ok(Accepter { end, account, permissions, grants: [grant] })
}

/// Rejects a VPC that another account shares: EC2 shows requests only to the owner. The status records the owner, so
/// that one call per resource suffices. Without the permission to look, the check is left out.
async fn check_owner(account: &Account, region: &str, vpc_id: &str, account_id: &str) -> Result<(), Blocked> {
    let vpc = match account.vpcs.get(region, vpc_id).await {
        Ok(vpc) => vpc,
        Err(error) if error.is_unauthorized() => None,
        Err(error) => return Err(error.into()),
    };
    match vpc.and_then(|vpc| preflight::shared("spec", &vpc, account_id)) {
        None => Ok(()),
        Some(message) => Err(Blocker::rechecked(Reason::IdentityMismatch, message).into()),
    }
}

//! The identities that act for a `VpcPeering`, and its two ends. Every check that needs no AWS call comes before the
//! first AWS call.

use std::sync::Arc;

use kube::ResourceExt;

use crate::api::{AllowedRegions, ManagementPolicy, Reason, Side, VpcPeering, VpcPeeringSpec};
use crate::aws::{Account, Principal, regions};
use crate::controller::blocked::Blocked;
use crate::controller::context::Context;
use crate::controller::identity_grants::Grant;
use crate::controller::kind::Actors;
use crate::controller::quota_room::{Demand, DemandEnd};
use crate::controller::vpc_selector;
use crate::peering::endpoints::{Location, locations};
use crate::peering::vpc_reference::ReferencedVpc;
use crate::peering::{Blocker, Endpoint, Endpoints, Limits, Permissions};

/// The accounts that act for both ends.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    /// Both ends, with every default filled in.
    pub ends: Endpoints,
    pub requester: Arc<Account>,
    /// `None` if no identity acts for the accepter.
    pub accepter: Option<Arc<Account>>,
    /// Whether both ends are in one account and region, and so have the same tags.
    pub is_one_place: bool,
    pub permissions: Permissions,
    grants: Vec<Grant>,
}

impl Peers {
    pub(super) fn account(&self, side: Side) -> Option<&Arc<Account>> {
        match side {
            Side::Requester => Some(&self.requester),
            Side::Accepter => self.accepter.as_ref(),
        }
    }

    /// The room in the quotas of both ends that a new connection needs.
    pub(super) fn demand(&self) -> Demand {
        let end = |account: &Arc<Account>, end: &Endpoint| DemandEnd {
            account: Arc::clone(account),
            region: end.region.clone(),
            vpc_id: end.vpc_id.clone(),
            inventory: account.peerings.of(&end.region),
        };
        Demand {
            requester: end(&self.requester, &self.ends.requester),
            accepter: self.accepter.as_ref().map(|account| end(account, &self.ends.accepter)),
        }
    }
}

impl Actors for Peers {
    fn grants(&self) -> &[Grant] {
        &self.grants
    }

    fn at(&self, side: Side) -> Option<(&Account, &str)> {
        Some((self.account(side)?, &self.ends.side(side).region))
    }
}

/// The grants that the spec asks for.
struct Grants {
    requester: Grant,
    /// `None` if the spec names no identity for the accepter.
    accepter: Option<Grant>,
}

pub(super) async fn resolve(object: &VpcPeering, context: &Context) -> Result<Peers, Blocked> {
    let spec = &object.spec;
    let grants = grants(object, context).await?;
    admit_known_ends(spec, &grants)?;
    let recorded = object.status.as_ref().and_then(|status| status.ends.as_ref());
    let connection_id = object.status.as_ref().and_then(|status| status.vpc_peering_connection_id.as_deref());
    let adopts = spec.vpc_peering_connection_id.is_some() && connection_id.is_none();
    if adopts && spec.management_policy == ManagementPolicy::Full {
        let permissions = Permissions { requester: Some(grants.requester.limits.clone()), accepter: None };
        permissions.adoption(Side::Requester, "spec.vpcPeeringConnectionId")?;
    }
    let referenced = Referenced::read(object, context).await?;
    // The account of the operator's own credentials needs an AWS call. The check of the regions needs none.
    let of_accepter = grants.accepter.as_ref().map(|grant| grant.defaults(None)).unwrap_or_default();
    let of_accepter = of_accepter.with_region_of(referenced.accepter.as_ref());
    let of_requester = |account_id| grants.requester.defaults(account_id).with_region_of(referenced.requester.as_ref());
    admit_regions(spec, &grants, &locations(spec, recorded, &of_requester(None), &of_accepter)?)?;

    let account = context.accounts.of(&grants.requester.principal);
    let account_id = account.id().await?;
    check_recorded_owner(object, &grants.requester.principal, &account_id)?;
    let [requester_location, accepter_location] =
        locations(spec, recorded, &of_requester(Some(&account_id)), &of_accepter)?;
    let is_same_account = accepter_location.owner_id.as_ref().is_none_or(|owner| *owner == account_id);
    let Grants { requester: of_requester, accepter: explicit } = grants;
    let of_accepter = match explicit {
        Some(grant) => Some(grant),
        None if is_same_account => Some(of_requester.clone()),
        None => own_grant_of(object, context, &of_requester, accepter_location.owner_id.as_deref()).await?,
    };
    let accepter = of_accepter.as_ref().map(|grant| context.accounts.of(&grant.principal));
    let is_one_place = accepter.is_some() && is_same_account && requester_location.region == accepter_location.region;
    referenced.admit(&requester_location, &accepter_location, &account_id)?;
    let Referenced { requester: requester_vpc, accepter: accepter_vpc } = referenced;
    let acting = Some((&account, &of_requester.limits));
    let requester_vpc = vpc_of(object, Side::Requester, requester_vpc, acting, &requester_location).await?;
    let acting = accepter.as_ref().zip(of_accepter.as_ref().map(|grant| &grant.limits));
    let accepter_vpc = vpc_of(object, Side::Accepter, accepter_vpc, acting, &accepter_location).await?;
    if requester_vpc == accepter_vpc {
        let message = format!("both ends are {requester_vpc}; a VPC cannot be peered with itself");
        return Err(Blocker::stalled(Reason::InvalidRequest, message).into());
    }
    let ends = Endpoints {
        requester: requester_location.endpoint(requester_vpc),
        accepter: accepter_location.endpoint(accepter_vpc),
    };
    let permissions = Permissions {
        requester: Some(of_requester.limits.clone()),
        accepter: of_accepter.as_ref().map(|grant| grant.limits.clone()),
    };
    permissions.admit(&ends.requester, &ends.accepter)?;
    let grants = std::iter::once(of_requester).chain(of_accepter).collect();
    Ok(Peers { ends, requester: account, accepter, is_one_place, permissions, grants })
}

async fn grants(object: &VpcPeering, context: &Context) -> Result<Grants, Blocker> {
    let namespace = object.namespace().unwrap_or_default();
    let named = |side: Side| object.spec.side(side).identity_ref.as_ref().map(|reference| &*reference.name);
    let grant = async |side: Side| {
        let field = format!("spec.{side}.identityRef");
        context.credentials.grant(&namespace, named(side), &field).await
    };
    let requester = grant(Side::Requester).await?;
    let accepter = match named(Side::Accepter) {
        Some(_) => Some(grant(Side::Accepter).await?),
        None => None,
    };
    Ok(Grants { requester, accepter })
}

/// The operator's own credentials for an accepter in their account, if the namespace may use them.
async fn own_grant_of(
    object: &VpcPeering,
    context: &Context,
    requester: &Grant,
    accepter_account: Option<&str>,
) -> Result<Option<Grant>, Blocked> {
    let namespace = object.namespace().unwrap_or_default();
    let own = context.credentials.grant_if_known(&namespace, None, "").ok();
    Ok(match own.filter(|_| requester.principal != Principal::Own) {
        Some(own) if Some(&*context.accounts.own().id().await?) == accepter_account => Some(own),
        _ => None,
    })
}

/// Checks the VPCs and accounts that the spec names.
fn admit_known_ends(spec: &VpcPeeringSpec, grants: &Grants) -> Result<(), Blocker> {
    let account = |grant: &Grant| grant.defaults(None).account_id;
    let Grants { requester, accepter } = grants;
    // An accepter without an account and an identity of its own belongs to the requester's account.
    let accepter_account = spec.accepter.owner_id.as_ref().map(ToString::to_string);
    let accepter_account = accepter_account.or_else(|| account(accepter.as_ref().unwrap_or(requester)));
    let acts_for_accepter = accepter.as_ref().or_else(|| spec.accepter.owner_id.is_none().then_some(requester));
    let ends =
        [(Side::Requester, Some(requester), accepter_account), (Side::Accepter, acts_for_accepter, account(requester))];
    for (side, grant, peer_account) in ends {
        let other = if side == Side::Requester { Side::Accepter } else { Side::Requester };
        let Some(Grant { limits, .. }) = grant else { continue };
        if let Some(id) = &spec.side(side).vpc_id {
            limits.vpc(&format!("spec.{side}.vpcId"), id)?;
        }
        if let Some(account) = peer_account {
            limits.peer(&format!("spec.{other}"), Some(&account), spec.side(other).vpc_id.as_deref())?;
        }
    }
    Ok(())
}

fn admit_regions(spec: &VpcPeeringSpec, grants: &Grants, [requester, accepter]: &[Location; 2]) -> Result<(), Blocker> {
    for (side, location, grant) in [
        (Side::Requester, requester, &grants.requester),
        (Side::Accepter, accepter, grants.accepter.as_ref().unwrap_or(&grants.requester)),
    ] {
        let field = format!("spec.{side}.region");
        let is_known = regions::is_known(&location.region);
        // No identity acts in the region of an accepter in another account.
        let acts = side == Side::Requester || grants.accepter.is_some() || spec.accepter.owner_id.is_none();
        if acts {
            grant.limits.region(&field, &location.region, is_known)?;
        } else if !is_known {
            let any = AllowedRegions { all: true, list: grant.limits.regions.list.clone() };
            Limits { regions: any, ..grant.limits.clone() }.region(&field, &location.region, is_known)?;
        }
    }
    Ok(())
}

/// Rejects another account: it does not see the recorded peering, and the operator would treat the peering as deleted.
fn check_recorded_owner(object: &VpcPeering, principal: &Principal, account_id: &str) -> Result<(), Blocker> {
    let status = object.status.as_ref();
    let recorded = status.and_then(|status| status.requester_vpc_info.as_ref()?.owner_id.as_deref());
    match recorded.filter(|recorded| *recorded != account_id) {
        None => Ok(()),
        Some(recorded) => Err(Blocker::stalled(
            Reason::IdentityMismatch,
            format!(
                "the requester of the peering is account {recorded}, but {principal} acts for account {account_id}; correct spec.requester.identityRef"
            ),
        )),
    }
}

/// The VPCs that the references of both ends have found. `None` for an end without a reference, or with a recorded VPC.
struct Referenced {
    requester: Option<ReferencedVpc>,
    accepter: Option<ReferencedVpc>,
}

impl Referenced {
    async fn read(object: &VpcPeering, context: &Context) -> Result<Self, Blocked> {
        let is_recorded = object.status.as_ref().is_some_and(|status| status.ends.is_some());
        let namespace = object.namespace().unwrap_or_default();
        let read = async |side: Side| match &object.spec.side(side).vpc_ref {
            Some(reference) if !is_recorded => {
                let field = format!("spec.{side}.vpcRef");
                context.references.vpc(reference, &namespace, &field).await.map(Some)
            }
            _ => Ok(None),
        };
        Ok(Self { requester: read(Side::Requester).await?, accepter: read(Side::Accepter).await? })
    }

    /// An accepter without an account belongs to the requester's.
    fn admit(&self, requester: &Location, accepter: &Location, account_id: &str) -> Result<(), Blocker> {
        for (vpc, location) in [(&self.requester, requester), (&self.accepter, accepter)] {
            let owner_id = location.owner_id.as_deref().unwrap_or(account_id);
            vpc.as_ref().map_or(Ok(()), |vpc| vpc.admit(&location.region, owner_id))?;
        }
        Ok(())
    }
}

/// The VPC of an end: the one that the spec names, or the recorded one, or the referenced one, or the one that the
/// selector matches.
async fn vpc_of(
    object: &VpcPeering,
    side: Side,
    referenced: Option<ReferencedVpc>,
    acting: Option<(&Arc<Account>, &Limits)>,
    location: &Location,
) -> Result<String, Blocked> {
    let spec = object.spec.side(side);
    if let Some(id) = &spec.vpc_id {
        return Ok(id.to_string());
    }
    let recorded = object.status.as_ref().and_then(|status| status.ends.as_ref()).map(|ends| match side {
        Side::Requester => &ends.requester,
        Side::Accepter => &ends.accepter,
    });
    if let Some(end) = recorded {
        return Ok(end.vpc_id.to_string());
    }
    if let Some(vpc) = referenced {
        return Ok(vpc.vpc_id);
    }
    let field = format!("spec.{side}.vpcSelector");
    let Some((account, limits)) = acting else {
        let message = format!(
            "{field}: the VPC belongs to another account; name the identity that can look for it in spec.{side}.identityRef, or set spec.{side}.vpcId"
        );
        return Err(Blocker::stalled(Reason::IdentityNotFound, message).into());
    };
    let tags = spec.vpc_selector.as_ref().map(|selector| &selector.tags);
    vpc_selector::find((account, limits), &location.region, tags, &field).await
}

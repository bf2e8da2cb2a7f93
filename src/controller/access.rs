//! Which credentials act for each end of a resource, and whether its namespace may use them. Nothing is asked of AWS
//! before that is sure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use kube::core::{Selector, SelectorExt};
use kube::runtime::reflector::{ObjectRef, Store};

use super::Context;
use super::vpc_peering::{standing_after, trouble_of};
use crate::api::{AwsIdentity, AwsIdentitySpec, Reason, Side, VpcPeering};
use crate::aws::{Account, AwsError, Class, Principal, Role};
use crate::peering::ends::{IdentityDefaults, Place, places};
use crate::peering::{End, Ends, Plan, Standing, Trouble};

/// How long the first listing of identities and namespaces is waited for.
const FIRST_LISTING: Duration = Duration::from_secs(5);

/// How soon to ask AWS again that did not answer; all resources together ask once.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// How often to look at what nothing tells of.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The namespaces whose resources may use the operator's own credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnCredentials {
    /// Every one.
    AllNamespaces,
    /// These, which may be none.
    Namespaces(BTreeSet<String>),
}

/// The identities, and the namespaces that may use them.
pub struct Identities {
    /// Every `AwsIdentity`, as the watch last showed it.
    pub identities: Store<AwsIdentity>,
    /// Every namespace, for its labels.
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
    /// Who may use the operator's own credentials.
    pub own: OwnCredentials,
}

/// Who acts for a resource, and where.
#[derive(Clone, Debug)]
pub(super) struct Access {
    /// The two ends, with every default filled in.
    pub ends: Ends,
    /// Who acts for the requester.
    pub requester: Arc<Account>,
    /// Who acts for the accepter, if anybody does.
    pub accepter: Option<Arc<Account>>,
    /// Both ends are of one account and region, and what is tagged at one is tagged at the other.
    pub is_one_place: bool,
}

/// Why nothing can be done.
#[derive(Debug)]
pub(super) enum Blocked {
    /// Somebody has to act, or it is not known yet whether.
    Trouble(Trouble),
    /// AWS did not answer.
    Unreadable(AwsError),
}

impl From<Trouble> for Blocked {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<AwsError> for Blocked {
    fn from(error: AwsError) -> Self {
        Self::Unreadable(error)
    }
}

impl OwnCredentials {
    fn admits(&self, namespace: &str) -> bool {
        match self {
            Self::AllNamespaces => true,
            Self::Namespaces(namespaces) => namespaces.contains(namespace),
        }
    }
}

impl Identities {
    /// Who acts where the user of a namespace names this identity, or none.
    ///
    /// # Errors
    /// When the namespace may not.
    pub(super) async fn principal(
        &self,
        namespace: &str,
        identity: Option<&str>,
        field: &str,
    ) -> Result<(Principal, Option<Vec<String>>), Trouble> {
        let Some(name) = identity else {
            if self.own.admits(namespace) {
                return Ok((Principal::Own, None));
            }
            let message = format!(
                "{field} is missing, and the namespace {namespace} may not use the operator's own credentials; name an AwsIdentity that allows it"
            );
            return Err(Trouble::stalled(Reason::IdentityNotAllowed, message));
        };
        _ = tokio::time::timeout(FIRST_LISTING, self.identities.wait_until_ready()).await;
        let Some(identity) = self.identities.get(&ObjectRef::new(name)) else {
            let message = format!("{field}: there is no AwsIdentity {name}, or the operator cannot read it");
            return Err(Trouble {
                look_again: Some(LOOK_AGAIN),
                ..Trouble::stalled(Reason::IdentityNotFound, message)
            });
        };
        if !self.admits(&identity.spec, namespace).await {
            let message = format!(
                "{field}: the AwsIdentity {name} does not allow the namespace {namespace}; its spec.allowedNamespaces decides"
            );
            return Err(Trouble::stalled(Reason::IdentityNotAllowed, message));
        }
        Ok((Principal::Role(role(&identity)), identity.spec.allowed_vpc_ids.clone()))
    }

    async fn admits(&self, spec: &AwsIdentitySpec, namespace: &str) -> bool {
        let Some(allowed) = &spec.allowed_namespaces else { return false };
        if allowed.list.is_none() && allowed.selector.is_none() {
            return true;
        }
        if allowed.list.as_ref().is_some_and(|list| list.iter().any(|name| name == namespace)) {
            return true;
        }
        let Some(selector) = &allowed.selector else { return false };
        _ = tokio::time::timeout(FIRST_LISTING, self.namespaces.wait_until_ready()).await;
        // What cannot be read allows nothing.
        match (Selector::try_from(selector.clone()), self.namespaces.get(&ObjectRef::new(namespace))) {
            (Ok(selector), Some(namespace)) if !selector.selects_all() => selector.matches(namespace.labels()),
            _ => false,
        }
    }
}

/// The role that an identity stands for.
pub(super) fn role(identity: &AwsIdentity) -> Role {
    let spec = &identity.spec;
    Role {
        identity: identity.name_any(),
        account_id: spec.account_id.clone(),
        arn: spec.role_arn.clone(),
        external_id: spec.external_id.clone(),
        session_tags: spec.session_tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect(),
        region: spec.default_region.clone(),
    }
}

impl Access {
    /// Who acts for an end, if anybody does.
    pub fn of(&self, side: Side) -> Option<&Arc<Account>> {
        match side {
            Side::Requester => Some(&self.requester),
            Side::Accepter => self.accepter.as_ref(),
        }
    }
}

impl Context {
    /// Who acts for this resource. Whether its namespace may use whom it names comes before everything else.
    pub(super) async fn access(&self, object: &VpcPeering) -> Result<Access, Blocked> {
        let namespace = object.namespace().unwrap_or_default();
        let spec = &object.spec;
        let named = |side: Side| spec.side(side).identity_ref.as_ref().map(|reference| &*reference.name);
        let field = |side: Side| format!("spec.{side}.identityRef");
        let principal = async |side: Side| self.identities.principal(&namespace, named(side), &field(side)).await;
        let (requester, requester_vpcs) = principal(Side::Requester).await?;
        let explicit = match named(Side::Accepter) {
            Some(_) => Some(principal(Side::Accepter).await?),
            None => None,
        };
        admit_vpc(Side::Requester, &requester, requester_vpcs.as_ref(), spec.requester.vpc_id.as_deref())?;
        if let Some((accepter, vpcs)) = &explicit {
            admit_vpc(Side::Accepter, accepter, vpcs.as_ref(), spec.accepter.vpc_id.as_deref())?;
        } else if spec.accepter.owner_id.is_none() {
            admit_vpc(Side::Accepter, &requester, requester_vpcs.as_ref(), spec.accepter.vpc_id.as_deref())?;
        }

        let account = self.accounts.of(&requester).await;
        let account_id = account.id().await?;
        self.check_recorded_owner(object, &requester, &account_id)?;
        let defaults = |principal: &Principal, account_id: Option<String>| IdentityDefaults {
            account_id,
            region: match principal {
                Principal::Own => None,
                Principal::Role(role) => role.region.clone(),
            },
        };
        let of_accepter = match &explicit {
            Some((principal @ Principal::Role(role), _)) => defaults(principal, Some(role.account_id.clone())),
            _ => IdentityDefaults::default(),
        };
        let recorded = object.status.as_ref().and_then(|status| status.ends.as_deref());
        let [requester_place, accepter_place] =
            places(spec, recorded, &defaults(&requester, Some(account_id.clone())), &of_accepter)?;

        let is_same_account = accepter_place.owner_id.as_ref().is_none_or(|owner| *owner == account_id);
        let (accepter, accepter_vpcs) = match explicit {
            Some((principal, vpcs)) => (Some(self.accounts.of(&principal).await), vpcs),
            None if is_same_account => (Some(Arc::clone(&account)), requester_vpcs.clone()),
            None => {
                let own = self.accounts.own();
                let is_own = self.identities.own.admits(&namespace)
                    && requester != Principal::Own
                    && Some(own.id().await?) == accepter_place.owner_id;
                (is_own.then(|| Arc::clone(own)), None)
            }
        };
        let is_one_place = accepter.is_some() && is_same_account && requester_place.region == accepter_place.region;
        let requester_vpc = self.vpc_of(object, Side::Requester, Some(&account), &requester_place).await?;
        admit_vpc(Side::Requester, &requester, requester_vpcs.as_ref(), Some(&requester_vpc))?;
        let accepter_vpc = self.vpc_of(object, Side::Accepter, accepter.as_ref(), &accepter_place).await?;
        if let Some(accepter) = &accepter {
            admit_vpc(Side::Accepter, &accepter.principal, accepter_vpcs.as_ref(), Some(&accepter_vpc))?;
        }
        if requester_vpc == accepter_vpc {
            let message = format!("both ends are {requester_vpc}; a VPC cannot be peered with itself");
            return Err(Trouble::stalled(Reason::InvalidRequest, message).into());
        }
        let end = |vpc_id: String, place: Place| End { vpc_id, region: place.region, owner_id: place.owner_id };
        let ends = Ends { requester: end(requester_vpc, requester_place), accepter: end(accepter_vpc, accepter_place) };
        Ok(Access { ends, requester: account, accepter, is_one_place })
    }

    /// Whoever looks at another account sees nothing of our peering, and would take it for deleted.
    fn check_recorded_owner(
        &self,
        object: &VpcPeering,
        principal: &Principal,
        account_id: &str,
    ) -> Result<(), Trouble> {
        let status = object.status.as_ref();
        let recorded = status.and_then(|status| status.requester_vpc_info.as_ref()?.owner_id.as_deref());
        match recorded.filter(|recorded| *recorded != account_id) {
            None => Ok(()),
            Some(recorded) => Err(Trouble::stalled(
                Reason::IdentityMismatch,
                format!(
                    "the peering's requester is account {recorded}, and {principal} of account {account_id} would act for it; correct spec.requester.identityRef"
                ),
            )),
        }
    }

    /// The VPC of an end: what the spec names, or was found before, or is found now by its tags.
    async fn vpc_of(
        &self,
        object: &VpcPeering,
        side: Side,
        account: Option<&Arc<Account>>,
        place: &Place,
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
        let field = format!("spec.{side}.vpcSelector");
        let Some(account) = account else {
            let message = format!(
                "{field}: the VPC is another account's; name the identity that may look for it in spec.{side}.identityRef, or the VPC by vpcId"
            );
            return Err(Trouble::stalled(Reason::IdentityNotFound, message).into());
        };
        let tags = spec.vpc_selector.as_ref().map(|selector| &selector.tags);
        self.find_vpc(account, &place.region, tags, &field).await
    }

    /// The one VPC that carries these tags.
    pub(super) async fn find_vpc(
        &self,
        account: &Account,
        region: &str,
        tags: Option<&BTreeMap<String, String>>,
        field: &str,
    ) -> Result<String, Blocked> {
        let found = match tags {
            Some(tags) => account.vpcs.tagged(region, tags).await?,
            None => Vec::new(),
        };
        let (reason, message) = match found.as_slice() {
            [id] => return Ok(id.clone()),
            [] => (Reason::VpcNotFound, format!("{field} matches no VPC in {region} to {}", account.principal)),
            several => {
                let several = several.join(", ");
                (Reason::AmbiguousVpc, format!("{field} matches {several} in {region}; it must match one"))
            }
        };
        Err(Trouble { look_again: Some(LOOK_AGAIN), ..Trouble::stalled(reason, message) }.into())
    }
}

/// Whether an identity may be used for a VPC; one that is not known yet is asked for later.
fn admit_vpc(
    side: Side,
    principal: &Principal,
    allowed: Option<&Vec<String>>,
    vpc_id: Option<&str>,
) -> Result<(), Trouble> {
    match (allowed, vpc_id) {
        (Some(allowed), Some(id)) if allowed.iter().all(|allowed| allowed != id) => {
            let message = format!("spec.{side}: {principal} may not be used for {id}; its spec.allowedVpcIds decides");
            Err(Trouble::stalled(Reason::VpcNotAllowed, message))
        }
        _ => Ok(()),
    }
}

impl Blocked {
    /// What to tell of it under this plan; nothing new of a resource that was ready and that AWS asks to wait for.
    pub fn standing<S>(&self, plan: &Plan<S>, was_ready: bool) -> Option<Standing> {
        match self {
            Self::Unreadable(error) if error.class == Class::Wait && was_ready => None,
            Self::Unreadable(error) => Some(standing_after(error, None)),
            Self::Trouble(_) => Standing::under(plan),
        }
    }

    /// As what a decision is made from.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Trouble(trouble) => trouble.clone(),
            Self::Unreadable(error) => Trouble { look_again: Some(ASK_AGAIN), ..trouble_of(error) },
        }
    }
}

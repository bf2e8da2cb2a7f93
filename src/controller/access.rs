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
use super::vpc_peering::{readiness_after, blocker_of};
use super::watch::Freshness;
use crate::api::{
    AllowedRegions, AwsIdentity, AwsIdentitySpec, ManagementPolicy, Reason, Side, VpcPeering, VpcPeeringSpec,
};
use crate::aws::{Account, AwsError, Class, Principal, Role, regions};
use crate::peering::ends::{IdentityDefaults, Place, places};
use crate::peering::{Endpoint, Endpoints, Limits, Permissions, Plan, Readiness, Blocker};

/// How long the first listing of identities and namespaces is waited for.
const FIRST_LISTING: Duration = Duration::from_secs(5);

/// The oldest listing of identities and namespaces whose permissions still count. They are listed anew every five minutes.
const OLDEST_PERMISSION: Duration = Duration::from_secs(900);

/// How soon to ask AWS again that did not answer; all resources together ask once.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// How often to look at what nothing tells of.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What the operator's own credentials may be used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCredentials {
    /// The namespaces whose resources may use them.
    pub namespaces: OwnNamespaces,
    /// The regions.
    pub regions: AllowedRegions,
    /// Whether existing connections may be taken over by them.
    pub adoption: bool,
}

/// The namespaces whose resources may use the operator's own credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnNamespaces {
    /// Every one.
    All,
    /// These, which may be none.
    List(BTreeSet<String>),
}

/// The identities, and the namespaces that may use them.
pub struct Identities {
    /// Every `AwsIdentity`, as the watch last showed it.
    pub identities: Store<AwsIdentity>,
    /// Every namespace, for its labels.
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
    /// When the identities and the namespaces were last listed.
    pub listed: (Freshness, Freshness),
    /// What the operator's own credentials may be used for.
    pub own: OwnCredentials,
}

/// Who acts, and what that one is allowed to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    /// The `AwsIdentity` that the resource names; none where the operator's own credentials act.
    identity: Option<String>,
    /// Who acts.
    pub principal: Principal,
    /// What is allowed.
    pub limits: Limits,
}

/// Who acts for a resource, and where.
#[derive(Clone, Debug)]
pub(super) struct Access {
    /// The two ends, with every default filled in.
    pub ends: Endpoints,
    /// Who acts for the requester.
    pub requester: Arc<Account>,
    /// Who acts for the accepter, if anybody does.
    pub accepter: Option<Arc<Account>>,
    /// Both ends are of one account and region, and what is tagged at one is tagged at the other.
    pub is_one_place: bool,
    /// What those who act are allowed to do.
    pub permissions: Permissions,
    /// By what they act.
    pub grants: Vec<Grant>,
}

/// Why nothing can be done.
#[derive(Debug)]
pub(super) enum Blocked {
    /// Somebody has to act, or it is not known yet whether.
    Blocker(Blocker),
    /// AWS did not answer.
    Unreadable(AwsError),
}

impl From<Blocker> for Blocked {
    fn from(blocker: Blocker) -> Self {
        Self::Blocker(blocker)
    }
}

impl From<AwsError> for Blocked {
    fn from(error: AwsError) -> Self {
        Self::Unreadable(error)
    }
}

impl OwnCredentials {
    fn admits(&self, namespace: &str) -> bool {
        match &self.namespaces {
            OwnNamespaces::All => true,
            OwnNamespaces::List(namespaces) => namespaces.contains(namespace),
        }
    }
}

impl Identities {
    /// Who acts where a resource of a namespace names this identity, or none, and what that one may do.
    ///
    /// # Errors
    /// When the namespace may not use it.
    pub(super) async fn grant(&self, namespace: &str, identity: Option<&str>, field: &str) -> Result<Grant, Blocker> {
        if identity.is_some() {
            _ = tokio::time::timeout(FIRST_LISTING, self.identities.wait_until_ready()).await;
            _ = tokio::time::timeout(FIRST_LISTING, self.namespaces.wait_until_ready()).await;
        }
        self.granted(namespace, identity, field)
    }

    /// The same, as far as it is known by now.
    ///
    /// # Errors
    /// When the namespace may not use it.
    pub(super) fn granted(&self, namespace: &str, identity: Option<&str>, field: &str) -> Result<Grant, Blocker> {
        let Some(name) = identity else {
            if self.own.admits(namespace) {
                let principal = Principal::Own;
                let OwnCredentials { regions, adoption, .. } = &self.own;
                let limits = Limits::own(principal.to_string(), regions.clone(), *adoption);
                return Ok(Grant { identity: None, principal, limits });
            }
            let message = format!(
                "{field} is missing, and the namespace {namespace} may not use the operator's own credentials. Name an AwsIdentity that allows the namespace, or have an administrator list it in --own-credentials-namespaces"
            );
            return Err(Blocker::stalled(Reason::IdentityNotAllowed, message));
        };
        // A watch that is broken would keep permissions that were withdrawn long ago.
        if let Some(age) = self.oldest_listing().filter(|age| *age > OLDEST_PERMISSION) {
            let message = format!(
                "{field}: the operator has not been able to list AwsIdentities and namespaces for {} minutes, so it cannot tell whether {name} may still be used; look at its log and its RBAC",
                age.as_secs() / 60
            );
            return Err(Blocker {
                requeue_after: Some(LOOK_AGAIN),
                ..Blocker::stalled(Reason::IdentityNotFound, message)
            });
        }
        let Some(identity) = self.identities.get(&ObjectRef::new(name)) else {
            let message = format!("{field}: there is no AwsIdentity {name}, or the operator cannot read it");
            return Err(Blocker {
                requeue_after: Some(LOOK_AGAIN),
                ..Blocker::stalled(Reason::IdentityNotFound, message)
            });
        };
        if !self.admits(&identity.spec, namespace) {
            let message = format!(
                "{field}: the AwsIdentity {name} does not allow the namespace {namespace}; its spec.allowedNamespaces decides"
            );
            return Err(Blocker::stalled(Reason::IdentityNotAllowed, message));
        }
        let limits = Limits::of(format!("the AwsIdentity {name}"), &identity.spec);
        Ok(Grant { identity: Some(name.to_owned()), principal: Principal::Role(role(&identity)), limits })
    }

    /// The time since the older of the last listings of identities and namespaces. Before the first ones nothing is known, and
    /// so nothing is permitted.
    fn oldest_listing(&self) -> Option<Duration> {
        let (identities, namespaces) = &self.listed;
        Some(identities.age().max(namespaces.age())).filter(|age| *age < Duration::MAX)
    }

    /// Whether everything that was granted to a namespace is granted still, in every detail.
    pub(super) fn still_grants(&self, namespace: &str, grants: &[Grant]) -> bool {
        let holds = |grant: &Grant| {
            self.granted(namespace, grant.identity.as_deref(), "").is_ok_and(|granted| granted == *grant)
        };
        grants.iter().all(holds)
    }

    fn admits(&self, spec: &AwsIdentitySpec, namespace: &str) -> bool {
        let Some(allowed) = &spec.allowed_namespaces else { return false };
        if allowed.all || allowed.list.iter().flatten().any(|name| name == namespace) {
            return true;
        }
        let Some(selector) = &allowed.selector else { return false };
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
    /// Who acts for this resource. Whether its namespace may use whom it names, and for these ends, comes before every call
    /// to AWS.
    pub(super) async fn access(&self, object: &VpcPeering) -> Result<Access, Blocked> {
        let namespace = object.namespace().unwrap_or_default();
        let spec = &object.spec;
        let named = |side: Side| spec.side(side).identity_ref.as_ref().map(|reference| &*reference.name);
        let field = |side: Side| format!("spec.{side}.identityRef");
        let grant = async |side: Side| self.identities.grant(&namespace, named(side), &field(side)).await;
        let of_requester = grant(Side::Requester).await?;
        let explicit = match named(Side::Accepter) {
            Some(_) => Some(grant(Side::Accepter).await?),
            None => None,
        };
        admit_what_is_known(spec, &of_requester, explicit.as_ref())?;
        let recorded = object.status.as_ref().and_then(|status| status.ends.as_deref());
        let adopted = object.status.as_ref().and_then(|status| status.vpc_peering_connection_id.as_deref());
        let is_full = spec.management_policy == ManagementPolicy::Full;
        if spec.vpc_peering_connection_id.is_some() && adopted.is_none() && is_full {
            Permissions { requester: Some(of_requester.limits.clone()), accepter: None }.adoption()?;
        }

        // Places without the account of own credentials, which AWS has to tell, are enough to judge the regions.
        let defaults = |grant: &Grant, account_id: Option<String>| match &grant.principal {
            Principal::Own => IdentityDefaults { account_id, region: None },
            Principal::Role(role) => {
                IdentityDefaults { account_id: Some(role.account_id.clone()), region: role.region.clone() }
            }
        };
        let of_accepter = explicit.as_ref().map(|grant| defaults(grant, None)).unwrap_or_default();
        let located = places(spec, recorded, &defaults(&of_requester, None), &of_accepter)?;
        for (side, place, grant) in [
            (Side::Requester, &located[0], &of_requester),
            (Side::Accepter, &located[1], explicit.as_ref().unwrap_or(&of_requester)),
        ] {
            let field = format!("spec.{side}.region");
            // The region of an end that nobody acts for only names where the other account's VPC is.
            let is_ours = side == Side::Requester || explicit.is_some() || spec.accepter.owner_id.is_none();
            let is_known = regions::is_known(&place.region);
            if is_ours {
                grant.limits.region(&field, &place.region, is_known)?;
            } else if !is_known {
                let any = AllowedRegions { all: true, list: grant.limits.regions.list.clone() };
                Limits { regions: any, ..grant.limits.clone() }.region(&field, &place.region, is_known)?;
            }
        }

        let account = self.accounts.of(&of_requester.principal).await;
        let account_id = account.id().await?;
        self.check_recorded_owner(object, &of_requester.principal, &account_id)?;
        let [requester_place, accepter_place] =
            places(spec, recorded, &defaults(&of_requester, Some(account_id.clone())), &of_accepter)?;
        let is_same_account = accepter_place.owner_id.as_ref().is_none_or(|owner| *owner == account_id);
        let accepter_grant = match explicit {
            Some(grant) => Some(grant),
            None if is_same_account => Some(of_requester.clone()),
            None => {
                let own = self.identities.granted(&namespace, None, "").ok();
                match own.filter(|_| of_requester.principal != Principal::Own) {
                    Some(own) if Some(self.accounts.own().id().await?) == accepter_place.owner_id => Some(own),
                    _ => None,
                }
            }
        };
        let accepter = match &accepter_grant {
            Some(grant) => Some(self.accounts.of(&grant.principal).await),
            None => None,
        };
        let is_one_place = accepter.is_some() && is_same_account && requester_place.region == accepter_place.region;
        let looks_for = |grant: &Grant| grant.limits.clone();
        let requester_vpc =
            self.vpc_of(object, Side::Requester, Some((&account, &looks_for(&of_requester))), &requester_place).await?;
        let acting = accepter.as_ref().zip(accepter_grant.as_ref().map(looks_for));
        let acting = acting.as_ref().map(|(account, limits)| (*account, limits));
        let accepter_vpc = self.vpc_of(object, Side::Accepter, acting, &accepter_place).await?;
        if requester_vpc == accepter_vpc {
            let message = format!("both ends are {requester_vpc}; a VPC cannot be peered with itself");
            return Err(Blocker::stalled(Reason::InvalidRequest, message).into());
        }
        let end = |vpc_id: String, place: Place| Endpoint { vpc_id, region: place.region, owner_id: place.owner_id };
        let ends = Endpoints { requester: end(requester_vpc, requester_place), accepter: end(accepter_vpc, accepter_place) };
        let limits = |grant: &Grant| grant.limits.clone();
        let permissions =
            Permissions { requester: Some(limits(&of_requester)), accepter: accepter_grant.as_ref().map(limits) };
        permissions.admit(&ends)?;
        let grants = std::iter::once(of_requester).chain(accepter_grant).collect();
        Ok(Access { ends, requester: account, accepter, is_one_place, permissions, grants })
    }

    /// Whoever looks at another account sees nothing of our peering, and would take it for deleted.
    fn check_recorded_owner(
        &self,
        object: &VpcPeering,
        principal: &Principal,
        account_id: &str,
    ) -> Result<(), Blocker> {
        let status = object.status.as_ref();
        let recorded = status.and_then(|status| status.requester_vpc_info.as_ref()?.owner_id.as_deref());
        match recorded.filter(|recorded| *recorded != account_id) {
            None => Ok(()),
            Some(recorded) => Err(Blocker::stalled(
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
        acting: Option<(&Arc<Account>, &Limits)>,
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
        let Some((account, limits)) = acting else {
            let message = format!(
                "{field}: the VPC is another account's; name the identity that may look for it in spec.{side}.identityRef, or the VPC by vpcId"
            );
            return Err(Blocker::stalled(Reason::IdentityNotFound, message).into());
        };
        let tags = spec.vpc_selector.as_ref().map(|selector| &selector.tags);
        self.find_vpc((account, limits), &place.region, tags, &field).await
    }

    /// The one VPC that carries these tags.
    pub(super) async fn find_vpc(
        &self,
        (account, limits): (&Account, &Limits),
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
                // A VPC that the identity may not be used for is nobody's business here.
                let named: Vec<_> = several.iter().map(String::as_str).filter(|id| limits.allows_vpc(id)).collect();
                let named = if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) };
                let number = several.len();
                (Reason::AmbiguousVpc, format!("{field} matches {number} VPCs in {region}{named}; it must match one"))
            }
        };
        Err(Blocker { requeue_after: Some(LOOK_AGAIN), ..Blocker::stalled(reason, message) }.into())
    }
}

/// Whether the ends are allowed, as far as the spec alone tells: AWS is not asked for anything before.
fn admit_what_is_known(spec: &VpcPeeringSpec, requester: &Grant, accepter: Option<&Grant>) -> Result<(), Blocker> {
    let account = |grant: &Grant| match &grant.principal {
        Principal::Own => None,
        Principal::Role(role) => Some(role.account_id.clone()),
    };
    // An accepter without an account and an identity of its own is of the requester's account.
    let accepter_account = spec.accepter.owner_id.as_ref().map(ToString::to_string);
    let accepter_account = accepter_account.or_else(|| account(accepter.unwrap_or(requester)));
    let acts_for_accepter = accepter.or_else(|| spec.accepter.owner_id.is_none().then_some(requester));
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

impl Blocked {
    /// What to tell of it under this plan; nothing new of a resource that was ready and that AWS asks to wait for.
    pub fn readiness<S>(&self, plan: &Plan<S>, was_ready: bool) -> Option<Readiness> {
        match self {
            Self::Unreadable(error) if error.class == Class::Wait && was_ready => None,
            Self::Unreadable(error) => Some(readiness_after(error, None)),
            Self::Blocker(_) => Readiness::under(plan),
        }
    }

    /// As what a decision is made from.
    pub fn blocker(&self) -> Blocker {
        match self {
            Self::Blocker(blocker) => blocker.clone(),
            Self::Unreadable(error) => Blocker { requeue_after: Some(ASK_AGAIN), ..blocker_of(error) },
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector::{self, store::Writer};
    use kube::runtime::watcher::Event;

    use super::*;
    use crate::api::AllowedNamespaces;

    fn identities(own: OwnNamespaces) -> (Identities, Writer<AwsIdentity>, Writer<PartialObjectMeta<Namespace>>) {
        let (identities, writer) = reflector::store();
        let (namespaces, namespace_writer) = reflector::store();
        let own =
            OwnCredentials { namespaces: own, regions: AllowedRegions { all: true, list: None }, adoption: false };
        let known = Identities { identities, namespaces, listed: Default::default(), own };
        (known, writer, namespace_writer)
    }

    fn identity(allowed: Option<AllowedNamespaces>) -> AwsIdentity {
        let mut identity = AwsIdentity::nobody();
        identity.metadata.name = Some("payments".into());
        identity.spec.allowed_namespaces = allowed;
        identity
    }

    fn list(names: &[&str]) -> Option<AllowedNamespaces> {
        let list = Some(names.iter().map(|name| (*name).to_owned()).collect());
        Some(AllowedNamespaces { list, ..AllowedNamespaces::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_permission_does_not_outlive_its_listing() {
        let (known, mut writer, _namespaces) = identities(OwnNamespaces::List(BTreeSet::new()));
        let granted = || known.granted("team", Some("payments"), "spec.requester.identityRef");
        assert!(granted().is_err(), "nothing is listed yet");
        writer.apply_watcher_event(&Event::Apply(identity(list(&["team"]))));
        known.listed.0.listed();
        known.listed.1.listed();
        let Ok(grant) = granted() else { panic!("it is allowed") };
        assert!(known.still_grants("team", std::slice::from_ref(&grant)));
        tokio::time::advance(OLDEST_PERMISSION + Duration::from_secs(1)).await;
        let refused = granted();
        assert!(refused.is_err_and(|blocker| blocker.message.contains("15 minutes")));
        assert!(!known.still_grants("team", &[grant]));
    }

    #[tokio::test(start_paused = true)]
    async fn only_explicit_permissions_admit_a_namespace() {
        let (known, mut writer, mut namespaces) = identities(OwnNamespaces::List(BTreeSet::from(["own".to_owned()])));
        let labels = [("team".to_owned(), "blue".to_owned())].into();
        let namespace = Namespace {
            metadata: kube::core::ObjectMeta { name: Some("team".into()), labels: Some(labels), ..Default::default() },
            ..Namespace::default()
        };
        let partial = PartialObjectMeta::<Namespace> { metadata: namespace.metadata, ..Default::default() };
        namespaces.apply_watcher_event(&Event::Apply(partial));
        let selector = |value: &str| {
            let labels = [("team".to_owned(), value.to_owned())].into();
            let selector = k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector {
                match_labels: Some(labels),
                ..Default::default()
            };
            Some(AllowedNamespaces { selector: Some(selector), ..AllowedNamespaces::default() })
        };
        let empty = Some(AllowedNamespaces { selector: Some(Default::default()), ..AllowedNamespaces::default() });
        let all = Some(AllowedNamespaces { all: true, ..AllowedNamespaces::default() });
        for (allowed, admits) in [
            (None, false),
            (Some(AllowedNamespaces::default()), false),
            (list(&[]), false),
            (list(&["another"]), false),
            (empty, false),
            (selector("red"), false),
            (selector("blue"), true),
            (list(&["team"]), true),
            (all, true),
        ] {
            let row = format!("{allowed:?}");
            writer.apply_watcher_event(&Event::Apply(identity(allowed)));
            known.listed.0.listed();
            known.listed.1.listed();
            let granted = known.granted("team", Some("payments"), "f");
            assert_eq!(granted.is_ok(), admits, "{row}");
        }
        assert!(known.granted("own", None, "f").is_ok());
        assert!(known.granted("team", None, "f").is_err());
    }
}

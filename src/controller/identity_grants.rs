//! The permission of a namespace to use credentials. It is checked before every AWS call, and again before every step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use kube::core::{Selector, SelectorExt};
use kube::runtime::reflector::{ObjectRef, Store};

use super::cache_age::CacheAge;
use crate::api::{AllowedRegions, AwsIdentity, AwsIdentitySpec, Reason};
use crate::aws::{Principal, Role};
use crate::peering::endpoints::IdentityDefaults;
use crate::peering::settings::STALLED_REQUEUE;
use crate::peering::{Blocker, Limits, Progress};

/// The longest wait for the first listing of identities and namespaces.
const FIRST_LISTING: Duration = Duration::from_secs(5);

/// The oldest listing of identities and namespaces whose permissions still count. Both are listed every five minutes.
const OLDEST_PERMISSION: Duration = Duration::from_secs(900);

/// The limits of the operator's own credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnCredentials {
    pub namespaces: OwnNamespaces,
    pub regions: AllowedRegions,
    /// Whether they may adopt existing connections.
    pub adoption: bool,
    /// The region of an end that uses them and names no region.
    pub region: Option<String>,
}

/// The namespaces that may use the operator's own credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OwnNamespaces {
    All,
    /// The listed namespaces. An empty list allows no namespace.
    List(BTreeSet<String>),
}

/// All credentials, and the namespaces that may use them.
pub(crate) struct Credentials {
    pub identities: Store<AwsIdentity>,
    /// The namespaces with their labels.
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
    /// The age of both stores.
    pub listed: (CacheAge, CacheAge),
    pub own: OwnCredentials,
}

/// The permission to act as a principal within limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The `AwsIdentity`, or `None` for the operator's own credentials.
    identity: Option<String>,
    pub principal: Principal,
    pub limits: Limits,
    /// The region of an end that names none.
    default_region: Option<String>,
}

impl Grant {
    /// The defaults of this principal for its end. `own_account` is the account of the operator's own credentials, if it
    /// is known.
    pub(super) fn defaults(&self, own_account: Option<&str>) -> IdentityDefaults {
        let account_id = match &self.principal {
            Principal::Own => own_account.map(str::to_owned),
            Principal::Role(role) => Some(role.account_id.clone()),
        };
        IdentityDefaults { account_id, region: self.default_region.clone() }
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

impl Credentials {
    /// The grant of an identity, or of the operator's own credentials, to a namespace. Waits for the first listings.
    ///
    /// # Errors
    /// If the namespace may not use it. `field` is the field of the spec that names it.
    pub(super) async fn grant(&self, namespace: &str, identity: Option<&str>, field: &str) -> Result<Grant, Blocker> {
        if identity.is_some() {
            _ = tokio::time::timeout(FIRST_LISTING, self.identities.wait_until_ready()).await;
            _ = tokio::time::timeout(FIRST_LISTING, self.namespaces.wait_until_ready()).await;
        }
        self.grant_if_known(namespace, identity, field)
    }

    /// The same without waiting. An identity that is not listed yet grants nothing.
    ///
    /// # Errors
    /// If the namespace may not use it.
    pub(super) fn grant_if_known(
        &self,
        namespace: &str,
        identity: Option<&str>,
        field: &str,
    ) -> Result<Grant, Blocker> {
        let Some(name) = identity else { return self.grant_own(namespace, field) };
        // A broken watch would keep permissions that were withdrawn long ago.
        if let Some(age) = self.oldest_listing().filter(|age| *age > OLDEST_PERMISSION) {
            let message = format!(
                "{field}: the operator has not been able to list AwsIdentities and namespaces for {} minutes, so it cannot tell whether {name} may still be used; look at its log and its RBAC",
                age.as_secs() / 60
            );
            return Err(Blocker::passing(Reason::IdentityNotFound, message, STALLED_REQUEUE));
        }
        let Some(identity) = self.identities.get(&ObjectRef::new(name)) else {
            let message = format!("{field}: there is no AwsIdentity {name}, or the operator cannot read it");
            // Before the first listing, the identity may exist.
            let is_listed = self.listed.0.age() < Duration::MAX;
            let progress = if is_listed { Progress::Stalled } else { Progress::Reconciling };
            let blocker = Blocker::passing(Reason::IdentityNotFound, message, STALLED_REQUEUE);
            return Err(Blocker { progress, ..blocker });
        };
        if !self.admits(&identity.spec, namespace) {
            let message = format!(
                "{field}: the AwsIdentity {name} does not allow the namespace {namespace}; its spec.allowedNamespaces decides"
            );
            return Err(Blocker::stalled(Reason::IdentityNotAllowed, message));
        }
        let limits = Limits::of(format!("the AwsIdentity {name}"), &identity.spec);
        Ok(Grant {
            identity: Some(name.to_owned()),
            principal: Principal::Role(role(&identity)),
            limits,
            default_region: identity.spec.default_region.clone(),
        })
    }

    fn grant_own(&self, namespace: &str, field: &str) -> Result<Grant, Blocker> {
        if self.own.admits(namespace) {
            let principal = Principal::Own;
            let OwnCredentials { regions, adoption, region, .. } = &self.own;
            let limits = Limits::own(principal.to_string(), regions.clone(), *adoption);
            return Ok(Grant { identity: None, principal, limits, default_region: region.clone() });
        }
        let message = format!(
            "{field} is missing, and the namespace {namespace} may not use the operator's own credentials. Name an AwsIdentity that allows the namespace, or ask an administrator to list it in --own-credentials-namespaces"
        );
        Err(Blocker::stalled(Reason::IdentityNotAllowed, message))
    }

    /// The age of the older of both listings. `None` before the first ones.
    fn oldest_listing(&self) -> Option<Duration> {
        let (identities, namespaces) = &self.listed;
        Some(identities.age().max(namespaces.age())).filter(|age| *age < Duration::MAX)
    }

    fn admits(&self, spec: &AwsIdentitySpec, namespace: &str) -> bool {
        let known = self.namespaces.get(&ObjectRef::new(namespace));
        admits_namespace(spec, namespace, known.as_ref().map(|namespace| namespace.labels()))
    }
}

/// Whether an identity may be used by a namespace. `labels` are those of the namespace, if it can be read. An
/// unreadable selector or namespace permits nothing.
pub(crate) fn admits_namespace(
    spec: &AwsIdentitySpec,
    namespace: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> bool {
    let Some(allowed) = &spec.allowed_namespaces else { return false };
    if allowed.all || allowed.list.iter().flatten().any(|name| name == namespace) {
        return true;
    }
    let Some(selector) = &allowed.selector else { return false };
    match (Selector::try_from(selector.clone()), labels) {
        (Ok(selector), Some(labels)) if !selector.selects_all() => selector.matches(labels),
        _ => false,
    }
}

/// Whether every grant still holds in every detail.
pub(super) fn still_granted(credentials: &Credentials, namespace: &str, grants: &[Grant]) -> bool {
    let holds = |grant: &Grant| {
        let now = credentials.grant_if_known(namespace, grant.identity.as_deref(), "");
        now.is_ok_and(|now| now == *grant)
    };
    grants.iter().all(holds)
}

/// The role of an identity.
pub(crate) fn role(identity: &AwsIdentity) -> Role {
    let spec = &identity.spec;
    Role {
        identity: identity.name_any(),
        account_id: spec.account_id.clone(),
        arn: spec.role_arn.clone(),
        external_id: spec.external_id.clone(),
        session_tags: spec.session_tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect(),
        sts_region: spec.sts_region.clone(),
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector::{self, store::Writer};
    use kube::runtime::watcher::Event;

    use super::*;
    use crate::api::AllowedNamespaces;

    fn identities(own: OwnNamespaces) -> (Credentials, Writer<AwsIdentity>, Writer<PartialObjectMeta<Namespace>>) {
        let (identities, writer) = reflector::store();
        let (namespaces, namespace_writer) = reflector::store();
        let own = OwnCredentials {
            namespaces: own,
            regions: AllowedRegions { all: true, list: None },
            adoption: false,
            region: None,
        };
        let known = Credentials { identities, namespaces, listed: Default::default(), own };
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
    async fn a_permission_expires_with_its_listing() {
        let (known, mut writer, _namespaces) = identities(OwnNamespaces::List(BTreeSet::new()));
        let granted = || known.grant_if_known("team", Some("payments"), "spec.requester.identityRef");
        assert!(granted().is_err(), "nothing is listed yet");
        writer.apply_watcher_event(&Event::Apply(identity(list(&["team"]))));
        known.listed.0.listed();
        known.listed.1.listed();
        let Ok(grant) = granted() else { panic!("it is allowed") };
        assert!(still_granted(&known, "team", std::slice::from_ref(&grant)));
        tokio::time::advance(OLDEST_PERMISSION + Duration::from_secs(1)).await;
        let refused = granted();
        assert!(refused.is_err_and(|blocker| blocker.message.contains("15 minutes")));
        assert!(!still_granted(&known, "team", &[grant]));
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
            let granted = known.grant_if_known("team", Some("payments"), "f");
            assert_eq!(granted.is_ok(), admits, "{row}");
        }
        assert!(known.grant_if_known("own", None, "f").is_ok());
        assert!(known.grant_if_known("team", None, "f").is_err());
    }
}

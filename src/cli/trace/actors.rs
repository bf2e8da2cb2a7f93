//! The identities that act for the two ends, as the operator resolves them. Pure.

use std::collections::BTreeMap;

use kube::ResourceExt;

use super::line::{Line, Subject, action};
use crate::api::vpc_peering::StatusEnd;
use crate::api::{AwsIdentity, Reason, Side, VpcPeering};
use crate::aws::{Principal, regions};
use crate::controller::{admits_namespace, role};
use crate::peering::endpoints::{IdentityDefaults, Location, locations};
use crate::peering::{Blocker, Limits};

/// The knowledge of the cluster and STS about the identities of a resource.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// The identities that the resource names. `None` if one does not exist, and an error if it cannot be read.
    pub(super) identities: BTreeMap<String, Result<Option<AwsIdentity>, String>>,
    /// The labels of the namespace, if they can be read.
    pub(super) labels: Option<BTreeMap<String, String>>,
    /// The account of the own credentials, if it is known.
    pub(super) own_account: Option<String>,
}

/// One end of the peering, and the principal that acts for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) side: Side,
    pub(super) vpc_id: Option<String>,
    pub(super) region: Option<String>,
    pub(super) account: Option<String>,
    /// `None` if nobody acts for the end, or may not.
    pub(super) principal: Option<Principal>,
}

impl End {
    /// The VPC and the region, if both are known.
    pub(super) fn place(&self) -> Option<(&str, &str)> {
        Some((self.vpc_id.as_deref()?, self.region.as_deref()?))
    }
}

/// The identity that a side of the spec names.
pub(super) fn named(object: &VpcPeering, side: Side) -> Option<&str> {
    object.spec.side(side).identity_ref.as_ref().map(|reference| &*reference.name)
}

/// Resolves both ends, requester first, with a line for each identity.
pub(super) fn resolve(object: &VpcPeering, known: &Known) -> ([End; 2], Vec<Line>) {
    let mut lines = Vec::new();
    let (requester, accepter) = (defaults(object, Side::Requester, known), defaults(object, Side::Accepter, known));
    let recorded = object.status.as_ref().and_then(|status| status.ends.as_ref());
    let found = locations(&object.spec, recorded, &requester, &accepter);
    if let Err(blocker) = &found {
        lines.push(Line::blocked(Subject::Identity, blocker));
    }
    let found = found.map_or([None, None], |locations| locations.map(Some));
    let end = |side: Side, location: Option<&Location>| {
        let recorded = recorded.map(|ends| match side {
            Side::Requester => &ends.requester,
            Side::Accepter => &ends.accepter,
        });
        end(object, side, location, recorded)
    };
    let (mut requester, mut accepter) =
        (end(Side::Requester, found[0].as_ref()), end(Side::Accepter, found[1].as_ref()));
    if accepter.account.is_none() {
        accepter.account.clone_from(&requester.account);
    }
    let (principal, line) = acting(&requester, &accepter, &identity(object, Side::Requester, known), known);
    requester.principal = principal;
    lines.push(line.at(Side::Requester));
    let (principal, line) = match named(object, Side::Accepter) {
        Some(_) => acting(&accepter, &requester, &identity(object, Side::Accepter, known), known),
        None => of_accepter(&requester, &accepter, known),
    };
    accepter.principal = principal;
    lines.push(line.at(Side::Accepter));
    ([requester, accepter], lines)
}

fn end(object: &VpcPeering, side: Side, location: Option<&Location>, recorded: Option<&StatusEnd>) -> End {
    let spec = object.spec.side(side);
    let vpc_id = spec.vpc_id.as_ref().or(recorded.map(|end| &end.vpc_id));
    let region = location.map(|location| location.region.clone());
    End {
        side,
        vpc_id: vpc_id.map(ToString::to_string),
        region: region.or_else(|| recorded.map(|end| end.region.to_string())),
        account: location.and_then(|location| location.owner_id.clone()),
        principal: None,
    }
}

fn defaults(object: &VpcPeering, side: Side, known: &Known) -> IdentityDefaults {
    match (named(object, side), side) {
        (Some(name), _) => {
            let spec = known.identities.get(name).and_then(|found| found.as_ref().ok()?.as_ref());
            let spec = spec.map(|identity| &identity.spec);
            IdentityDefaults {
                account_id: spec.map(|spec| spec.account_id.clone()),
                region: spec.and_then(|spec| spec.default_region.clone()),
            }
        }
        (None, Side::Requester) => IdentityDefaults { account_id: known.own_account.clone(), region: None },
        (None, Side::Accepter) => IdentityDefaults::default(),
    }
}

/// The identity of a side that names one and may use it. `None` for the own credentials.
fn identity(object: &VpcPeering, side: Side, known: &Known) -> Result<Option<AwsIdentity>, Line> {
    let Some(name) = named(object, side) else { return Ok(None) };
    let (subject, field) = (Subject::Identity, format!("spec.{side}.identityRef"));
    let namespace = object.namespace().unwrap_or_default();
    match known.identities.get(name) {
        Some(Ok(Some(identity))) if admits_namespace(&identity.spec, &namespace, known.labels.as_ref()) => {
            Ok(Some(identity.clone()))
        }
        Some(Ok(Some(_))) => {
            let message = format!("{field}: the AwsIdentity {name} does not allow the namespace {namespace}");
            Err(Line::fail(
                subject,
                message,
                format!("add {namespace} to spec.allowedNamespaces of the AwsIdentity {name}"),
            ))
        }
        Some(Err(error)) => {
            let message = format!("{field}: cannot read the AwsIdentity {name}: {error}");
            Err(Line::fail(subject, message, "ask for the right to get awsidentities.vpcpeering.dev"))
        }
        Some(Ok(None)) | None => {
            let message = format!("{field}: there is no AwsIdentity {name}");
            Err(Line::fail(subject, message, action(Reason::IdentityNotFound)))
        }
    }
}

/// The principal of an end, if its limits admit both ends.
fn acting(
    end: &End,
    other: &End,
    identity: &Result<Option<AwsIdentity>, Line>,
    known: &Known,
) -> (Option<Principal>, Line) {
    let identity = match identity {
        Ok(Some(identity)) => identity,
        Ok(None) => {
            let account = known.own_account.as_deref().unwrap_or("unknown");
            let line = Line::pass(Subject::Identity, format!("the own credentials act, in account {account}"));
            return (Some(Principal::Own), line);
        }
        Err(line) => return (None, line.clone()),
    };
    let name = identity.name_any();
    let limits = Limits::of(format!("the AwsIdentity {name}"), &identity.spec);
    if let Err(blocker) = admitted(&limits, end, other) {
        return (None, Line::blocked(Subject::Identity, &blocker));
    }
    let account = &identity.spec.account_id;
    let message = format!("the AwsIdentity {name} of account {account} allows the namespace, the VPC and the peer");
    (Some(Principal::Role(role(identity))), Line::pass(Subject::Identity, message))
}

fn admitted(limits: &Limits, end: &End, other: &End) -> Result<(), Blocker> {
    let (side, peer) = (end.side, other.side);
    if let Some(region) = &end.region {
        limits.region(&format!("spec.{side}.region"), region, regions::is_known(region))?;
    }
    if let Some(vpc) = &end.vpc_id {
        limits.vpc(&format!("spec.{side}.vpcId"), vpc)?;
    }
    limits.peer(&format!("spec.{peer}"), other.account.as_deref(), other.vpc_id.as_deref())
}

/// The principal of an accepter without an identity of its own.
fn of_accepter(requester: &End, accepter: &End, known: &Known) -> (Option<Principal>, Line) {
    let account = accepter.account.as_deref();
    if account == requester.account.as_deref() {
        let Some(principal) = requester.principal.clone() else {
            let message = "the identity of the requester would act, but it may not";
            return (None, Line::skip(Subject::Identity, message, "correct the identity of the requester"));
        };
        let message = "the identity of the requester acts, because both ends are in one account";
        return (Some(principal), Line::pass(Subject::Identity, message));
    }
    if account.is_some() && account == known.own_account.as_deref() {
        let line = Line::pass(Subject::Identity, "the own credentials act, because the VPC is in their account");
        return (Some(Principal::Own), line);
    }
    let message =
        format!("no identity acts for account {}, so that its end is not checked", account.unwrap_or("unknown"));
    let remedy = "set spec.accepter.identityRef, or ask the owner of the account to check its end";
    (None, Line::skip(Subject::Identity, message, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{AllowedNamespaces, AllowedPeers, AllowedRegions, AllowedVpcs};
    use crate::cli::output::Verdict;
    use crate::peering::testing;

    fn object(identity: Option<&str>) -> VpcPeering {
        let mut object = VpcPeering::new("orders", testing::spec());
        object.metadata.namespace = Some("team".into());
        object.spec.accepter.identity_ref =
            identity.map(|name| crate::api::aws_identity::IdentityReference { name: name.into() });
        object
    }

    fn partner() -> AwsIdentity {
        let mut identity = AwsIdentity::nobody();
        identity.metadata.name = Some("partner".into());
        identity.spec.account_id = "222222222222".into();
        identity.spec.allowed_namespaces = Some(AllowedNamespaces { all: true, ..AllowedNamespaces::default() });
        identity.spec.allowed_vpcs = Some(AllowedVpcs { all: true, list: None });
        identity.spec.allowed_regions = Some(AllowedRegions { all: true, list: None });
        identity.spec.allowed_peers = Some(AllowedPeers { all: true, list: None });
        identity
    }

    #[test]
    fn an_identity_acts_only_if_everything_is_allowed() {
        let nobody = |identity: &mut AwsIdentity| identity.spec.allowed_namespaces = None;
        let no_vpc = |identity: &mut AwsIdentity| identity.spec.allowed_vpcs = None;
        let no_region = |identity: &mut AwsIdentity| identity.spec.allowed_regions = None;
        let no_peer = |identity: &mut AwsIdentity| identity.spec.allowed_peers = None;
        let unchanged = |_: &mut AwsIdentity| {};
        type Change = fn(&mut AwsIdentity);
        let cases: [(Change, &str); 5] = [
            (unchanged, ""),
            (nobody, "does not allow the namespace team"),
            (no_vpc, "allowedVpcs"),
            (no_region, "allowedRegions"),
            (no_peer, "allowedPeers"),
        ];
        for (change, problem) in cases {
            let mut identity = partner();
            change(&mut identity);
            let known = Known {
                identities: BTreeMap::from([("partner".to_owned(), Ok(Some(identity)))]),
                labels: None,
                own_account: Some("111111111111".into()),
            };
            let ([requester, accepter], lines) = resolve(&object(Some("partner")), &known);
            assert_eq!(requester.principal, Some(Principal::Own));
            assert_eq!(accepter.principal.is_some(), problem.is_empty(), "{lines:?}");
            let failed: Vec<_> = lines.iter().filter(|line| line.verdict == Verdict::Fail).collect();
            assert_eq!(failed.len(), usize::from(!problem.is_empty()), "{lines:?}");
            assert!(failed.iter().all(|line| line.message.contains(problem)), "{lines:?}");
        }
    }

    #[test]
    fn an_accepter_without_an_identity_is_in_a_known_account_or_not_checked() {
        let known = Known { own_account: Some("111111111111".into()), ..Known::default() };
        for (owner, principal, verdict) in [
            (None, Some(Principal::Own), Verdict::Pass),
            (Some("111111111111"), Some(Principal::Own), Verdict::Pass),
            (Some("222222222222"), None, Verdict::Skip),
        ] {
            let mut object = object(None);
            object.spec.accepter.owner_id = owner.map(Into::into);
            let ([_, accepter], lines) = resolve(&object, &known);
            assert_eq!(accepter.principal, principal, "{owner:?}");
            assert_eq!(
                lines.iter().map(|line| line.verdict).collect::<Vec<_>>(),
                [Verdict::Pass, verdict],
                "{lines:?}"
            );
        }
        let (ends, lines) = resolve(&object(Some("missing")), &known);
        assert!(
            ends[1].principal.is_none()
                && lines.iter().any(|line| line.message.contains("there is no AwsIdentity missing"))
        );
        let mut object = object(Some("partner"));
        object.spec.accepter.owner_id = Some("333333333333".into());
        let known = Known { identities: BTreeMap::from([("partner".to_owned(), Ok(Some(partner())))]), ..known };
        let (_, lines) = resolve(&object, &known);
        assert!(lines[0].message.contains("spec.accepter.ownerId is 333333333333"), "{lines:?}");
    }
}

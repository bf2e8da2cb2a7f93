//! What an administrator allows an identity to be used for. Checked before AWS is called, and again before each step. A
//! permission that is absent or empty allows nothing.

use super::{End, Ends, Trouble};
use crate::api::{AllowedNamespaces, AllowedPeers, AllowedRegions, AllowedVpcs, AwsIdentitySpec, Reason, Side};

/// What one identity, or the operator's own credentials, may be used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The identity, for messages.
    pub identity: String,
    /// The VPCs of its own account.
    pub vpcs: AllowedVpcs,
    /// The regions of its own end.
    pub regions: AllowedRegions,
    /// The other ends.
    pub peers: AllowedPeers,
    /// Whether it may add and change routes.
    pub routes: bool,
    /// Whether it may set DNS options.
    pub options: bool,
    /// Whether it may take over existing connections.
    pub adoption: bool,
}

/// What may be done at either end of a peering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// The limits of the identity that acts for the requester, if any does.
    pub requester: Option<Limits>,
    /// The limits of the identity that acts for the accepter, if any does.
    pub accepter: Option<Limits>,
}

impl Limits {
    /// The limits that an `AwsIdentity` names.
    #[must_use]
    pub fn of(identity: String, spec: &AwsIdentitySpec) -> Self {
        Self {
            identity,
            vpcs: spec.allowed_vpcs.clone().unwrap_or_default(),
            regions: spec.allowed_regions.clone().unwrap_or_default(),
            peers: spec.allowed_peers.clone().unwrap_or_default(),
            routes: spec.allow_routes,
            options: spec.allow_options,
            adoption: spec.allow_adoption,
        }
    }

    /// The limits of the operator's own credentials: IAM bounds the VPCs and the peers, flags the regions and adoption.
    #[must_use]
    pub fn own(identity: String, regions: AllowedRegions, adoption: bool) -> Self {
        let all = AllowedVpcs { all: true, list: None };
        let peers = AllowedPeers { all: true, list: None };
        Self { identity, vpcs: all, regions, peers, routes: true, options: true, adoption }
    }

    /// Whether the identity may be used in a region. `is_known` says whether this release knows the region: a name that
    /// somebody has invented is allowed only where a list names it.
    ///
    /// # Errors
    /// When it may not.
    pub fn region(&self, field: &str, region: &str, is_known: bool) -> Result<(), Trouble> {
        let is_listed = self.regions.list.iter().flatten().any(|allowed| allowed == region);
        if is_listed || (self.regions.all && is_known) {
            return Ok(());
        }
        let why = if self.regions.all {
            "this release of the operator does not know it; check the name, or list it in allowedRegions".to_owned()
        } else {
            "allowedRegions does not list it".to_owned()
        };
        let message = format!("{field}: {} may not be used in {region}: {why}", self.identity);
        Err(Trouble::stalled(Reason::RegionNotAllowed, message))
    }

    /// Whether the identity may be used for a VPC of its own account.
    ///
    /// # Errors
    /// When it may not.
    pub fn vpc(&self, field: &str, vpc_id: &str) -> Result<(), Trouble> {
        if self.allows_vpc(vpc_id) {
            return Ok(());
        }
        let message =
            format!("{field}: {} may not be used for {vpc_id}: its spec.allowedVpcs does not list it", self.identity);
        Err(Trouble::stalled(Reason::VpcNotAllowed, message))
    }

    /// Whether its own end may be this VPC.
    #[must_use]
    pub fn allows_vpc(&self, vpc_id: &str) -> bool {
        allows(&self.vpcs, vpc_id)
    }

    /// Whether the other end of a peering may be of this account, and be this VPC; what is not known yet is checked later.
    ///
    /// # Errors
    /// When it may not.
    pub fn peer(&self, field: &str, account_id: Option<&str>, vpc_id: Option<&str>) -> Result<(), Trouble> {
        if self.allows_peer(account_id, vpc_id) {
            return Ok(());
        }
        let vpc = vpc_id.map(|id| format!("{id} of ")).unwrap_or_default();
        let account = account_id.unwrap_or("an unknown account");
        let message = format!(
            "{field}: {} may not be used for a peering with {vpc}account {account}: its spec.allowedPeers does not list it",
            self.identity
        );
        Err(Trouble::stalled(Reason::PeerNotAllowed, message))
    }

    /// Whether the other end may be of this account, and be this VPC.
    #[must_use]
    pub fn allows_peer(&self, account_id: Option<&str>, vpc_id: Option<&str>) -> bool {
        let allows = |peer: &crate::api::AllowedPeer| {
            account_id == Some(&*peer.account_id) && vpc_id.is_none_or(|id| allows(&peer.vpcs, id))
        };
        self.peers.all || self.peers.list.iter().flatten().any(allows)
    }
}

impl Permissions {
    /// The limits at one end, if an identity acts for it.
    #[must_use]
    pub fn at(&self, side: Side) -> Option<&Limits> {
        match side {
            Side::Requester => self.requester.as_ref(),
            Side::Accepter => self.accepter.as_ref(),
        }
    }

    /// Whether a connection may be taken over.
    ///
    /// # Errors
    /// When the identity that acts for the requester does not allow it.
    pub fn adoption(&self) -> Result<(), Trouble> {
        let identity = match &self.requester {
            Some(limits) if limits.adoption => return Ok(()),
            Some(limits) => &limits.identity,
            None => "nobody",
        };
        let message = format!(
            "spec.vpcPeeringConnectionId: {identity} may not take over existing connections; an administrator permits it by allowAdoption, or for the operator's own credentials by --own-credentials-allow-adoption"
        );
        Err(Trouble::stalled(Reason::ActionNotAllowed, message))
    }

    /// Whether every identity that acts allows both ends.
    ///
    /// # Errors
    /// Which one does not, and why.
    pub fn admit(&self, ends: &Ends) -> Result<(), Trouble> {
        for (side, other) in [(Side::Requester, Side::Accepter), (Side::Accepter, Side::Requester)] {
            let (End { vpc_id, .. }, peer) = (ends.side(side), ends.side(other));
            let Some(limits) = self.at(side) else { continue };
            // An accepter without an owner is of the requester's account.
            let account = peer.owner_id.as_deref().or(ends.requester.owner_id.as_deref());
            limits.vpc(&format!("spec.{side}"), vpc_id)?;
            limits.peer(&format!("spec.{other}"), account, Some(&peer.vpc_id))?;
        }
        Ok(())
    }
}

/// Whether a list of VPCs allows this one.
#[must_use]
pub fn allows(vpcs: &AllowedVpcs, vpc_id: &str) -> bool {
    vpcs.all || vpcs.list.iter().flatten().any(|allowed| allowed == vpc_id)
}

/// Whether a list of namespaces allows nobody, whatever labels the namespaces have.
#[must_use]
pub fn allows_nobody(namespaces: Option<&AllowedNamespaces>) -> bool {
    namespaces.is_none_or(|allowed| {
        !allowed.all && allowed.list.as_ref().is_none_or(Vec::is_empty) && allowed.selector.is_none()
    })
}

/// The fields of an identity that permit nothing, and so keep it from being used at all.
#[must_use]
pub fn closed_fields(spec: &AwsIdentitySpec) -> Vec<&'static str> {
    let is_closed = |all: bool, is_empty: bool| !all && is_empty;
    let vpcs = spec.allowed_vpcs.as_ref();
    let regions = spec.allowed_regions.as_ref();
    let peers = spec.allowed_peers.as_ref();
    [
        ("spec.allowedNamespaces", allows_nobody(spec.allowed_namespaces.as_ref())),
        ("spec.allowedVpcs", vpcs.is_none_or(|vpcs| is_closed(vpcs.all, vpcs.list.iter().flatten().next().is_none()))),
        (
            "spec.allowedRegions",
            regions.is_none_or(|regions| is_closed(regions.all, regions.list.iter().flatten().next().is_none())),
        ),
        (
            "spec.allowedPeers",
            peers.is_none_or(|peers| is_closed(peers.all, peers.list.iter().flatten().next().is_none())),
        ),
    ]
    .into_iter()
    .filter_map(|(field, closed)| closed.then_some(field))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{AllowedPeer, AwsIdentity};
    use crate::peering::testing::ends;

    fn nobody() -> AwsIdentitySpec {
        AwsIdentity::nobody().spec
    }

    fn list<T>(list: impl IntoIterator<Item = T>) -> Option<Vec<T>> {
        Some(list.into_iter().collect())
    }

    #[test]
    fn absent_and_empty_permissions_allow_nothing() {
        let empty = AwsIdentitySpec {
            allowed_namespaces: Some(AllowedNamespaces { list: list([]), ..AllowedNamespaces::default() }),
            allowed_vpcs: Some(AllowedVpcs { all: false, list: list([]) }),
            allowed_regions: Some(AllowedRegions { all: false, list: list([]) }),
            allowed_peers: Some(AllowedPeers { all: false, list: list([]) }),
            ..nobody()
        };
        // `{}`, as an older version stored it.
        let stored = AwsIdentitySpec {
            allowed_namespaces: Some(AllowedNamespaces::default()),
            allowed_vpcs: Some(AllowedVpcs::default()),
            allowed_regions: Some(AllowedRegions::default()),
            allowed_peers: Some(AllowedPeers::default()),
            ..nobody()
        };
        for spec in [nobody(), empty, stored] {
            let limits = Limits::of("AwsIdentity a".into(), &spec);
            assert!(limits.region("f", "eu-central-1", true).is_err());
            assert!(limits.vpc("f", "vpc-11111111").is_err());
            assert!(limits.peer("f", Some("111111111111"), None).is_err());
            assert!(!limits.routes && !limits.options && !limits.adoption);
            assert!(allows_nobody(spec.allowed_namespaces.as_ref()));
            assert_eq!(closed_fields(&spec).len(), 4);
        }
    }

    #[test]
    fn an_invented_region_is_allowed_only_by_name() {
        let limits = |all, names: &[&str]| {
            let names = (!names.is_empty()).then(|| names.iter().map(|name| (*name).to_owned()).collect());
            let spec = AwsIdentitySpec { allowed_regions: Some(AllowedRegions { all, list: names }), ..nobody() };
            Limits::of("AwsIdentity a".into(), &spec)
        };
        assert!(limits(true, &[]).region("f", "eu-central-1", true).is_ok());
        let refused = limits(true, &[]).region("spec.requester.region", "eu-nowhere-1", false);
        assert!(refused.is_err_and(|trouble| trouble.reason == Reason::RegionNotAllowed
            && trouble.message.contains("spec.requester.region")
            && trouble.message.contains("eu-nowhere-1")));
        assert!(limits(false, &["eu-nowhere-1"]).region("f", "eu-nowhere-1", false).is_ok());
        assert!(limits(false, &["eu-nowhere-1"]).region("f", "eu-central-1", true).is_err());
    }

    #[test]
    fn a_peer_is_an_account_and_its_vpcs() {
        let peer = |account: &str, vpcs| AllowedPeer { account_id: account.into(), vpcs };
        let one = AllowedVpcs { all: false, list: list(["vpc-22222222".to_owned()]) };
        let all = AllowedVpcs { all: true, list: None };
        let peers =
            list([peer("222222222222", one), peer("333333333333", all), peer("444444444444", AllowedVpcs::default())]);
        let spec = AwsIdentitySpec { allowed_peers: Some(AllowedPeers { all: false, list: peers }), ..nobody() };
        let limits = Limits::of("AwsIdentity a".into(), &spec);
        let allows = |account, vpc| limits.peer("f", account, vpc).is_ok();
        assert!(allows(Some("222222222222"), Some("vpc-22222222")) && allows(Some("222222222222"), None));
        assert!(!allows(Some("222222222222"), Some("vpc-33333333")));
        assert!(allows(Some("333333333333"), Some("vpc-33333333")));
        assert!(!allows(Some("444444444444"), Some("vpc-44444444")), "an account without vpcs");
        assert!(!allows(Some("555555555555"), None) && !allows(None, None));
    }

    #[test]
    fn both_ends_must_be_allowed_by_each_identity_that_acts() {
        let own = || Limits::own("own".into(), AllowedRegions { all: true, list: None }, false);
        let narrow = |vpc: &str| Limits { vpcs: AllowedVpcs { all: false, list: list([vpc.to_owned()]) }, ..own() };
        let admit = |requester, accepter| Permissions { requester: Some(requester), accepter }.admit(&ends());
        assert!(admit(own(), None).is_ok());
        assert!(admit(narrow("vpc-11111111"), Some(narrow("vpc-22222222"))).is_ok());
        let refused = admit(own(), Some(narrow("vpc-33333333")));
        assert!(refused.is_err_and(|trouble| trouble.reason == Reason::VpcNotAllowed));
        let alone = Limits { peers: AllowedPeers::default(), ..own() };
        assert!(admit(alone, None).is_err_and(|trouble| trouble.reason == Reason::PeerNotAllowed));
    }
}

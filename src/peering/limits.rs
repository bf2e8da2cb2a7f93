//! The permissions that an administrator grants to an identity. They are checked before the first AWS call, and again
//! before each step. A permission that is absent or empty allows nothing.

use super::blocker::Blocker;
use super::endpoints::Endpoint;
use crate::api::{
    AllowedNamespaces, AllowedPeer, AllowedPeers, AllowedRegions, AllowedVpcs, AwsIdentitySpec, Reason, Side,
};

/// The permissions of one identity, or of the operator's own credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The name of the identity in messages, such as `the AwsIdentity a`.
    pub identity: String,
    /// The VPCs of its own end.
    pub vpcs: AllowedVpcs,
    /// The regions of its own end.
    pub regions: AllowedRegions,
    /// The other ends.
    pub peers: AllowedPeers,
    /// Whether it may create and replace routes.
    pub routes: bool,
    /// Whether it may set DNS options.
    pub options: bool,
    /// Whether it may turn on the DNS attributes of its VPCs.
    pub vpc_attributes: bool,
    /// Whether it may adopt existing connections.
    pub adoption: bool,
}

/// The permissions at both ends of a peering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Permissions {
    pub requester: Option<Limits>,
    /// `None` if no identity acts for the accepter.
    pub accepter: Option<Limits>,
}

impl Limits {
    /// The limits of an `AwsIdentity`.
    pub(crate) fn of(identity: String, spec: &AwsIdentitySpec) -> Self {
        Self {
            identity,
            vpcs: spec.allowed_vpcs.clone().unwrap_or_default(),
            regions: spec.allowed_regions.clone().unwrap_or_default(),
            peers: spec.allowed_peers.clone().unwrap_or_default(),
            routes: spec.allow_routes,
            options: spec.allow_options,
            vpc_attributes: spec.allow_vpc_attributes,
            adoption: spec.allow_adoption,
        }
    }

    /// The limits of the operator's own credentials. Flags limit the regions and adoption; IAM limits the VPCs,
    /// their attributes and the peers.
    pub(crate) fn own(identity: String, regions: AllowedRegions, adoption: bool) -> Self {
        let all = AllowedVpcs { all: true, list: None };
        let peers = AllowedPeers { all: true, list: None };
        Self { identity, vpcs: all, regions, peers, routes: true, options: true, vpc_attributes: true, adoption }
    }

    /// Checks a region. `is_known` is whether this release knows the region. An unknown region has to be listed, so
    /// that an invented name is not allowed.
    pub(crate) fn region(&self, field: &str, region: &str, is_known: bool) -> Result<(), Blocker> {
        let is_listed = self.regions.list.iter().flatten().any(|allowed| allowed == region);
        if is_listed || (self.regions.all && is_known) {
            return Ok(());
        }
        let why = if self.regions.all {
            "this release of the operator does not know the region; check the name, or list it in allowedRegions"
                .to_owned()
        } else {
            "allowedRegions does not list it".to_owned()
        };
        let message = format!("{field}: {} may not be used in {region}: {why}", self.identity);
        Err(Blocker::stalled(Reason::RegionNotAllowed, message))
    }

    /// Checks the VPC of its own end.
    pub(crate) fn vpc(&self, field: &str, vpc_id: &str) -> Result<(), Blocker> {
        if self.allows_vpc(vpc_id) {
            return Ok(());
        }
        let message =
            format!("{field}: {} may not be used for {vpc_id}: its spec.allowedVpcs does not list it", self.identity);
        Err(Blocker::stalled(Reason::VpcNotAllowed, message))
    }

    pub(crate) fn allows_vpc(&self, vpc_id: &str) -> bool {
        allows(&self.vpcs, vpc_id)
    }

    /// Checks the account and the VPC of the other end. A VPC that is not known yet is checked later.
    pub(crate) fn peer(&self, field: &str, account_id: Option<&str>, vpc_id: Option<&str>) -> Result<(), Blocker> {
        if self.allows_peer(account_id, vpc_id) {
            return Ok(());
        }
        let vpc = vpc_id.map(|id| format!("{id} of ")).unwrap_or_default();
        let account = account_id.unwrap_or("an unknown account");
        let message = format!(
            "{field}: {} may not be used for a peering with {vpc}account {account}: its spec.allowedPeers does not list it",
            self.identity
        );
        Err(Blocker::stalled(Reason::PeerNotAllowed, message))
    }

    pub(crate) fn allows_peer(&self, account_id: Option<&str>, vpc_id: Option<&str>) -> bool {
        let allows = |peer: &AllowedPeer| {
            account_id == Some(&*peer.account_id) && vpc_id.is_none_or(|id| allows(&peer.vpcs, id))
        };
        self.peers.all || self.peers.list.iter().flatten().any(allows)
    }

    /// Checks whether routes may be created and replaced.
    pub(crate) fn permits_routes(&self, field: &str) -> Result<(), Blocker> {
        self.permits(self.routes, field, "add or change routes; allowRoutes permits it")
    }

    /// Checks whether DNS options may be set.
    pub(crate) fn permits_options(&self, field: &str) -> Result<(), Blocker> {
        self.permits(self.options, field, "set DNS options; allowOptions permits it")
    }

    /// Checks whether DNS attributes of VPCs may be turned on.
    pub(crate) fn permits_vpc_attributes(&self, field: &str) -> Result<(), Blocker> {
        let field = format!("{field}.manageDnsAttributes");
        self.permits(self.vpc_attributes, &field, "turn on DNS attributes of a VPC; allowVpcAttributes permits it")
    }

    fn permits(&self, is_allowed: bool, field: &str, action: &str) -> Result<(), Blocker> {
        if is_allowed {
            return Ok(());
        }
        let message = format!("{field}: {} may not {action}", self.identity);
        Err(Blocker::stalled(Reason::ActionNotAllowed, message))
    }
}

impl Permissions {
    /// The limits at one end. `None` if no identity acts for it.
    pub(crate) fn at(&self, side: Side) -> Option<&Limits> {
        match side {
            Side::Requester => self.requester.as_ref(),
            Side::Accepter => self.accepter.as_ref(),
        }
    }

    /// Checks whether the identity that acts for an end may adopt a connection. `field` asks for the adoption.
    pub(crate) fn adoption(&self, side: Side, field: &str) -> Result<(), Blocker> {
        let identity = match self.at(side) {
            Some(limits) if limits.adoption => return Ok(()),
            Some(limits) => limits.identity.clone(),
            None => format!("no identity acts for the {side}, so this resource"),
        };
        let message = format!(
            "{field}: {identity} may not adopt existing connections; ask an administrator to set allowAdoption, or --own-credentials-allow-adoption for the operator's own credentials"
        );
        Err(Blocker::stalled(Reason::ActionNotAllowed, message))
    }

    /// Checks both ends against the limits of each identity that acts.
    pub(crate) fn admit(&self, requester: &Endpoint, accepter: &Endpoint) -> Result<(), Blocker> {
        let ends = [
            (Side::Requester, requester, Side::Accepter, accepter),
            (Side::Accepter, accepter, Side::Requester, requester),
        ];
        for (side, own, other, peer) in ends {
            let Some(limits) = self.at(side) else { continue };
            // An accepter without an owner belongs to the requester's account.
            let account = peer.owner_id.as_deref().or(requester.owner_id.as_deref());
            limits.vpc(&format!("spec.{side}"), &own.vpc_id)?;
            limits.peer(&format!("spec.{other}"), account, Some(&peer.vpc_id))?;
        }
        Ok(())
    }
}

pub(crate) fn allows(vpcs: &AllowedVpcs, vpc_id: &str) -> bool {
    vpcs.all || vpcs.list.iter().flatten().any(|allowed| allowed == vpc_id)
}

/// Whether no namespace is allowed, whatever its labels are.
pub(crate) fn allows_nobody(namespaces: Option<&AllowedNamespaces>) -> bool {
    namespaces.is_none_or(|allowed| {
        !allowed.all && allowed.list.as_ref().is_none_or(Vec::is_empty) && allowed.selector.is_none()
    })
}

/// The fields that allow nothing. An identity with such a field cannot be used.
pub(crate) fn closed_fields(spec: &AwsIdentitySpec) -> Vec<&'static str> {
    fn is_empty<T>(all: bool, list: Option<&Vec<T>>) -> bool {
        !all && list.is_none_or(Vec::is_empty)
    }
    let AwsIdentitySpec { allowed_vpcs: vpcs, allowed_regions: regions, allowed_peers: peers, .. } = spec;
    let fields = [
        ("spec.allowedNamespaces", allows_nobody(spec.allowed_namespaces.as_ref())),
        ("spec.allowedVpcs", vpcs.as_ref().is_none_or(|vpcs| is_empty(vpcs.all, vpcs.list.as_ref()))),
        ("spec.allowedRegions", regions.as_ref().is_none_or(|regions| is_empty(regions.all, regions.list.as_ref()))),
        ("spec.allowedPeers", peers.as_ref().is_none_or(|peers| is_empty(peers.all, peers.list.as_ref()))),
    ];
    fields.into_iter().filter_map(|(field, is_closed)| is_closed.then_some(field)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::AwsIdentity;
    use crate::peering::testing::ends;

    fn nobody() -> AwsIdentitySpec {
        AwsIdentity::nobody().spec
    }

    fn list<T>(list: impl IntoIterator<Item = T>) -> Option<Vec<T>> {
        Some(list.into_iter().collect())
    }

    #[test]
    fn each_field_of_the_namespaces_allows_somebody_by_itself() {
        for allowed in [
            AllowedNamespaces { all: true, ..AllowedNamespaces::default() },
            AllowedNamespaces { list: list(["team-a".to_owned()]), ..AllowedNamespaces::default() },
            AllowedNamespaces { selector: Some(Default::default()), ..AllowedNamespaces::default() },
        ] {
            assert!(!allows_nobody(Some(&allowed)), "{allowed:?}");
        }
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
        // An older version stored `{}`.
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
            assert!(!limits.routes && !limits.options && !limits.vpc_attributes && !limits.adoption);
            assert!(allows_nobody(spec.allowed_namespaces.as_ref()));
            assert_eq!(closed_fields(&spec).len(), 4);
        }
    }

    #[test]
    fn a_list_or_all_opens_a_field() {
        let vpcs = |all, ids| Some(AllowedVpcs { all, list: ids });
        for allowed_vpcs in [vpcs(true, None), vpcs(false, list(["vpc-11111111".to_owned()]))] {
            let closed = closed_fields(&AwsIdentitySpec { allowed_vpcs, ..nobody() });
            assert_eq!(closed, ["spec.allowedNamespaces", "spec.allowedRegions", "spec.allowedPeers"]);
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
        assert!(refused.is_err_and(|blocker| blocker.reason == Reason::RegionNotAllowed
            && blocker.message.contains("spec.requester.region")
            && blocker.message.contains("eu-nowhere-1")));
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
        let admit = |requester, accepter| {
            let ends = ends();
            Permissions { requester: Some(requester), accepter }.admit(&ends.requester, &ends.accepter)
        };
        assert!(admit(own(), None).is_ok());
        assert!(admit(narrow("vpc-11111111"), Some(narrow("vpc-22222222"))).is_ok());
        let refused = admit(own(), Some(narrow("vpc-33333333")));
        assert!(refused.is_err_and(|blocker| blocker.reason == Reason::VpcNotAllowed));
        let alone = Limits { peers: AllowedPeers::default(), ..own() };
        assert!(admit(alone, None).is_err_and(|blocker| blocker.reason == Reason::PeerNotAllowed));
    }
}

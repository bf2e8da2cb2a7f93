//! The two ends of a peering, with every default filled in.

use super::blocker::Blocker;
use super::vpc_reference::ReferencedVpc;
use crate::api::vpc_peering::{StatusEnd, StatusEnds};
use crate::api::{Reason, Side, VpcPeeringSpec};

/// Both ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoints {
    pub requester: Endpoint,
    pub accepter: Endpoint,
}

/// One end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub vpc_id: String,
    pub region: String,
    /// The account of the VPC. An accepter without one belongs to the requester's account.
    pub owner_id: Option<String>,
}

/// The defaults that an `AwsIdentity` gives to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdentityDefaults {
    pub account_id: Option<String>,
    pub region: Option<String>,
}

impl IdentityDefaults {
    /// The region of a referenced VPC comes before that of the identity.
    pub(crate) fn with_region_of(self, vpc: Option<&ReferencedVpc>) -> Self {
        Self { region: vpc.and_then(|vpc| vpc.region.clone()).or(self.region), ..self }
    }
}

/// The region and the account of an end whose VPC may not be known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub region: String,
    pub owner_id: Option<String>,
}

impl Endpoints {
    pub(crate) fn side(&self, side: Side) -> &Endpoint {
        match side {
            Side::Requester => &self.requester,
            Side::Accepter => &self.accepter,
        }
    }

    pub(crate) fn to_status(&self) -> StatusEnds {
        StatusEnds { requester: self.requester.to_status(), accepter: self.accepter.to_status() }
    }
}

impl Endpoint {
    pub(crate) fn to_status(&self) -> StatusEnd {
        StatusEnd { vpc_id: self.vpc_id.as_str().into(), region: self.region.as_str().into() }
    }
}

impl Location {
    pub(crate) fn endpoint(self, vpc_id: String) -> Endpoint {
        Endpoint { vpc_id, region: self.region, owner_id: self.owner_id }
    }
}

/// The locations of both ends, requester first. The spec comes before the record, and the record before the identities:
/// an identity that is edited later moves no peering.
///
/// # Errors
/// If the spec and an identity contradict each other, or the requester's region is missing.
pub(crate) fn locations(
    spec: &VpcPeeringSpec,
    recorded: Option<&StatusEnds>,
    requester: &IdentityDefaults,
    accepter: &IdentityDefaults,
) -> Result<[Location; 2], Blocker> {
    let region = |side: Side, recorded: Option<&StatusEnd>, identity: &IdentityDefaults| {
        let of_spec = spec.side(side).region.as_deref();
        of_spec.or(recorded.map(|end| end.region.as_str())).or(identity.region.as_deref()).map(str::to_owned)
    };
    let owner = |side: Side, identity: &IdentityDefaults| {
        let of_spec = spec.side(side).owner_id.as_deref();
        match (of_spec, identity.account_id.as_deref()) {
            (Some(of_spec), Some(identity)) if of_spec != identity => Err(Blocker::stalled(
                Reason::IdentityMismatch,
                format!(
                    "spec.{side}.ownerId is {of_spec}, but the identity that acts for the {side} belongs to account {identity}; correct spec.{side}.ownerId or spec.{side}.identityRef"
                ),
            )),
            (of_spec, identity) => Ok(of_spec.or(identity).map(str::to_owned)),
        }
    };
    let requester_region = region(Side::Requester, recorded.map(|ends| &ends.requester), requester);
    let requester_region = requester_region.ok_or_else(|| {
        let message = "spec.requester.region is missing, and there is no default; set it, defaultRegion of the AwsIdentity in spec.requester.identityRef, or --region of the operator (own credentials only)";
        Blocker::stalled(Reason::InvalidRequest, message.into())
    })?;
    let accepter_region = region(Side::Accepter, recorded.map(|ends| &ends.accepter), accepter);
    Ok([
        Location { region: requester_region.clone(), owner_id: owner(Side::Requester, requester)? },
        Location { region: accepter_region.unwrap_or(requester_region), owner_id: owner(Side::Accepter, accepter)? },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peering::testing::spec;

    fn identity(account: &str, region: Option<&str>) -> IdentityDefaults {
        IdentityDefaults { account_id: Some(account.into()), region: region.map(str::to_owned) }
    }

    #[test]
    fn the_record_and_the_identities_fill_in_the_spec() {
        let mut spec = spec();
        let none = IdentityDefaults::default();
        let regions = |spec: &VpcPeeringSpec, recorded: Option<&StatusEnds>, one: &IdentityDefaults, other| {
            locations(spec, recorded, one, other).map(|locations| locations.map(|location| location.region))
        };
        assert_eq!(regions(&spec, None, &none, &none), Ok(["eu-central-1".into(), "eu-central-1".into()]));
        let (one, other) = (identity("1", Some("us-east-1")), identity("2", Some("us-west-2")));
        assert_eq!(regions(&spec, None, &one, &other), Ok(["eu-central-1".into(), "us-west-2".into()]));
        spec.requester.region = None;
        assert_eq!(regions(&spec, None, &one, &other), Ok(["us-east-1".into(), "us-west-2".into()]));
        assert_eq!(regions(&spec, None, &one, &none), Ok(["us-east-1".into(), "us-east-1".into()]));
        assert!(regions(&spec, None, &none, &other).is_err());
        // An identity that is edited later moves nothing.
        let end = |region: &str| StatusEnd { vpc_id: "vpc-1".into(), region: region.into() };
        let recorded = StatusEnds { requester: end("eu-west-1"), accepter: end("eu-west-2") };
        assert_eq!(regions(&spec, Some(&recorded), &one, &other), Ok(["eu-west-1".into(), "eu-west-2".into()]));
    }

    #[test]
    fn an_identity_of_another_account_is_refused() {
        let mut spec = spec();
        spec.accepter.owner_id = Some("222222222222".into());
        let none = IdentityDefaults::default();
        assert!(locations(&spec, None, &none, &none).is_ok());
        assert!(locations(&spec, None, &none, &identity("222222222222", None)).is_ok());
        let refused = locations(&spec, None, &none, &identity("333333333333", None));
        assert_eq!(refused.map_err(|blocker| blocker.reason), Err(Reason::IdentityMismatch));
    }
}

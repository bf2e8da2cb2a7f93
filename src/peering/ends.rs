//! The two ends of a peering with every default filled in.

use super::facts::Trouble;
use crate::api::vpc_peering::{StatusEnd, StatusEnds};
use crate::api::{Reason, Side, VpcPeeringSpec};

/// Both ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The end that asks.
    pub requester: End,
    /// The end that is asked.
    pub accepter: End,
}

/// One end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// `vpc-…`
    pub vpc_id: String,
    /// Where it is.
    pub region: String,
    /// Whose it is; an accepter without one is the requester's own.
    pub owner_id: Option<String>,
}

/// What an `AwsIdentity` says of the end that it acts for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityDefaults {
    /// Its account.
    pub account_id: Option<String>,
    /// Its default region.
    pub region: Option<String>,
}

impl Ends {
    /// One of the two.
    #[must_use]
    pub fn side(&self, side: Side) -> &End {
        match side {
            Side::Requester => &self.requester,
            Side::Accepter => &self.accepter,
        }
    }

    /// As the status keeps them.
    #[must_use]
    pub fn to_status(&self) -> StatusEnds {
        let end = |end: &End| StatusEnd { vpc_id: end.vpc_id.clone(), region: end.region.clone() };
        StatusEnds { requester: end(&self.requester), accepter: end(&self.accepter) }
    }
}

/// Where an end is and whose it is: its VPC may still have to be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its region.
    pub region: String,
    /// Its owner, where it is known.
    pub owner_id: Option<String>,
}

/// Where the two ends are, requester first: what the spec says, or was recorded, or else what the identities do.
///
/// # Errors
/// When the spec and the identities say different things, or nobody says anything.
pub fn places(
    spec: &VpcPeeringSpec,
    recorded: Option<&StatusEnds>,
    requester: &IdentityDefaults,
    accepter: &IdentityDefaults,
) -> Result<[Place; 2], Trouble> {
    let region = |side: Side, recorded: Option<&StatusEnd>, identity: &IdentityDefaults| {
        let said = spec.side(side).region.as_ref();
        said.or(recorded.map(|end| &end.region)).or(identity.region.as_ref()).cloned()
    };
    let owner = |side: Side, identity: &IdentityDefaults| {
        let said = spec.side(side).owner_id.as_ref();
        match (said, &identity.account_id) {
            (Some(said), Some(identity)) if said != identity => Err(Trouble::stalled(
                Reason::IdentityMismatch,
                format!("spec.{side}.ownerId is {said}, and the identity that acts for the {side} is of {identity}"),
            )),
            (said, identity) => Ok(said.or(identity.as_ref()).cloned()),
        }
    };
    let requester_region = region(Side::Requester, recorded.map(|ends| &ends.requester), requester);
    let requester_region = requester_region.ok_or_else(|| {
        let message = "spec.requester.region is missing, and the AwsIdentity has no defaultRegion; set one of them";
        Trouble::stalled(Reason::InvalidRequest, message.into())
    })?;
    let accepter_region = region(Side::Accepter, recorded.map(|ends| &ends.accepter), accepter);
    Ok([
        Place { region: requester_region.clone(), owner_id: owner(Side::Requester, requester)? },
        Place { region: accepter_region.unwrap_or(requester_region), owner_id: owner(Side::Accepter, accepter)? },
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
    fn what_the_spec_leaves_out_the_record_and_the_identities_say() {
        let mut spec = spec();
        let none = IdentityDefaults::default();
        let regions = |spec: &VpcPeeringSpec, recorded: Option<&StatusEnds>, one: &IdentityDefaults, other| {
            places(spec, recorded, one, other).map(|places| places.map(|place| place.region))
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
        assert!(places(&spec, None, &none, &none).is_ok());
        assert!(places(&spec, None, &none, &identity("222222222222", None)).is_ok());
        let refused = places(&spec, None, &none, &identity("333333333333", None));
        assert_eq!(refused.map_err(|trouble| trouble.reason), Err(Reason::IdentityMismatch));
    }
}

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
        StatusEnds { requester: self.requester.to_status(), accepter: self.accepter.to_status() }
    }
}

impl End {
    /// As the status keeps it.
    #[must_use]
    pub fn to_status(&self) -> StatusEnd {
        StatusEnd { vpc_id: self.vpc_id.as_str().into(), region: self.region.as_str().into() }
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
        let said = spec.side(side).region.as_deref();
        said.or(recorded.map(|end| end.region.as_str())).or(identity.region.as_deref()).map(str::to_owned)
    };
    let owner = |side: Side, identity: &IdentityDefaults| {
        let said = spec.side(side).owner_id.as_deref();
        match (said, identity.account_id.as_deref()) {
            (Some(said), Some(identity)) if said != identity => Err(Trouble::stalled(
                Reason::IdentityMismatch,
                format!("spec.{side}.ownerId is {said}, and the identity that acts for the {side} is of {identity}"),
            )),
            (said, identity) => Ok(said.or(identity).map(str::to_owned)),
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

//! Plain data for the tests of the domain.

use super::authority::{Authority, Ownership};
use super::connection::{Connection, StatusCode, Tags};
use super::defaults::Defaults;
use super::endpoints::{Endpoint, Endpoints};
use super::limits::{Limits, Permissions};
use super::owner::Owner;
use crate::api::{AllowedRegions, PeeringSide, VpcInfo, VpcPeeringSpec};

/// EC2's nine codes, and one that it may add.
pub fn every_code() -> Vec<StatusCode> {
    let codes = [
        "initiating-request",
        "pending-acceptance",
        "provisioning",
        "active",
        "failed",
        "rejected",
        "expired",
        "deleting",
        "deleted",
        "on-vacation",
    ];
    codes.into_iter().map(StatusCode::from).collect()
}

pub fn owner() -> Owner {
    Owner { cluster: "cluster".into(), namespace: "team".into(), name: "peering".into(), uid: "uid".into() }
}

pub fn another_owner() -> Owner {
    Owner { name: "another".into(), uid: "another-uid".into(), ..owner() }
}

pub fn tags(owner: &Owner) -> Tags {
    owner.tags().into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}

/// A connection of [`owner`], between the VPCs of [`spec`], in one account.
pub fn connection(code: StatusCode) -> Connection {
    let end = |vpc: &str| VpcInfo {
        owner_id: Some("111111111111".into()),
        vpc_id: Some(vpc.into()),
        region: Some("eu-central-1".into()),
        ..VpcInfo::default()
    };
    Connection {
        id: "pcx-1".into(),
        code,
        message: None,
        expiration_time: None,
        requester: end("vpc-11111111"),
        accepter: end("vpc-22222222"),
        tags: tags(&owner()),
    }
}

pub fn spec() -> VpcPeeringSpec {
    let side = |vpc: &str| PeeringSide { vpc_id: Some(vpc.into()), ..PeeringSide::default() };
    VpcPeeringSpec {
        requester: PeeringSide { region: Some("eu-central-1".into()), ..side("vpc-11111111") },
        accepter: side("vpc-22222222"),
        acceptance: Default::default(),
        tags: Vec::new(),
        dry_run: false,
        deletion_policy: Default::default(),
        vpc_peering_connection_id: None,
        management_policy: Default::default(),
        recreate_on: Vec::new(),
        suspend: false,
    }
}

/// The defaults of an operator without settings.
pub fn defaults() -> Defaults {
    Defaults::default()
}

/// Everything is allowed at both ends.
pub fn permissions() -> Permissions {
    let limits = Limits::own("the operator's own credentials".into(), AllowedRegions { all: true, list: None }, true);
    Permissions { requester: Some(limits.clone()), accepter: Some(limits) }
}

/// The ends of [`spec`].
pub fn ends() -> Endpoints {
    let end = |vpc: &str| Endpoint { vpc_id: vpc.into(), region: "eu-central-1".into(), owner_id: None };
    Endpoints { requester: end("vpc-11111111"), accepter: end("vpc-22222222") }
}

/// The authority of a `VpcPeering` over its connections.
pub(crate) fn authority<'a>(owner: &'a Owner, ends: &'a Endpoints, permissions: &'a Permissions) -> Authority<'a> {
    Authority {
        owner,
        ownership: Ownership::Peering,
        requester: Some(&ends.requester),
        accepter: &ends.accepter,
        permissions,
        is_cluster_unique: true,
    }
}

//! The regions in which the resources of the cluster use each identity, and a connection there for dry runs.

use std::collections::BTreeMap;

use kube::ResourceExt;

use crate::api::{
    AwsIdentity, ManagedRoute, ManagementPolicy, Ownership, Routes, Side, VpcPeering, VpcPeeringAccepter,
};
use crate::peering::endpoints::{IdentityDefaults, locations};

/// The resources of the cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct Resources {
    pub(super) peerings: Vec<VpcPeering>,
    pub(super) accepters: Vec<VpcPeeringAccepter>,
    pub(super) identities: Vec<AwsIdentity>,
    /// The default region of the operator's own credentials.
    pub(super) own_region: Option<String>,
}

/// The use of an identity in one region.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Use {
    /// A connection that the operator manages, at each end that the identity acts for.
    pub(super) requester: Option<Sample>,
    pub(super) accepter: Option<Sample>,
    /// A prefix list to which the spec of an end asks for routes.
    pub(super) prefix_list: Option<String>,
}

/// A managed connection, to which dry runs can refer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) id: String,
    pub(super) code: String,
    pub(super) vpc_id: String,
    pub(super) peer_vpc_id: String,
    pub(super) peer_owner_id: Option<String>,
    pub(super) peer_region: Option<String>,
    /// The DNS option that the spec of this end sets.
    pub(super) allow_dns: Option<bool>,
    /// A route that the operator has created.
    pub(super) route: Option<ManagedRoute>,
}

impl Resources {
    /// The uses of an identity, or of the own credentials, by region.
    pub(super) fn uses(&self, identity: Option<&AwsIdentity>) -> BTreeMap<String, Use> {
        let mut uses = BTreeMap::<String, Use>::new();
        let name = identity.map(ResourceExt::name_any);
        let default = self.defaults(name.as_deref()).region;
        for peering in &self.peerings {
            for side in Side::BOTH {
                if acting(peering, side) != Some(name.as_deref()) {
                    continue;
                }
                let Some(region) = self.region(peering, side) else { continue };
                let usage = uses.entry(region).or_default();
                usage.add_prefix_list(peering.spec.side(side).routes.as_deref());
                let sample = match side {
                    Side::Requester => &mut usage.requester,
                    Side::Accepter => &mut usage.accepter,
                };
                if sample.as_ref().is_none_or(|sample| sample.code != "active") {
                    *sample = Sample::of(peering, side).or(sample.take());
                }
            }
        }
        for accepter in &self.accepters {
            let named = accepter.spec.identity_ref.as_ref().map(|reference| reference.name.as_str());
            if named == name.as_deref()
                && let Some(region) = accepter.spec.region.clone().or_else(|| default.clone())
            {
                uses.entry(region).or_default().add_prefix_list(accepter.spec.routes.as_deref());
            }
        }
        uses
    }

    /// The region of an end, as the operator resolves it. `None` if nothing names one.
    fn region(&self, peering: &VpcPeering, side: Side) -> Option<String> {
        let recorded = peering.status.as_ref().and_then(|status| status.ends.as_ref());
        let accepter = named(peering, Side::Accepter).map(|name| self.defaults(Some(name))).unwrap_or_default();
        let requester = self.defaults(named(peering, Side::Requester));
        let [requester, accepter] = locations(&peering.spec, recorded, &requester, &accepter).ok()?;
        Some(match side {
            Side::Requester => requester.region,
            Side::Accepter => accepter.region,
        })
    }

    /// The defaults of an identity, or of the own credentials.
    fn defaults(&self, name: Option<&str>) -> IdentityDefaults {
        let Some(name) = name else {
            return IdentityDefaults { account_id: None, region: self.own_region.clone() };
        };
        let identity = self.identities.iter().find(|identity| identity.name_any() == name);
        identity.map_or_else(IdentityDefaults::default, |identity| IdentityDefaults {
            account_id: Some(identity.spec.account_id.clone()),
            region: identity.spec.default_region.clone(),
        })
    }
}

impl Use {
    fn add_prefix_list(&mut self, routes: Option<&Routes>) {
        let first = || routes?.destination_prefix_list_ids.first().cloned();
        self.prefix_list = self.prefix_list.take().or_else(first);
    }
}

/// The identity that the spec of an end names.
fn named(peering: &VpcPeering, side: Side) -> Option<&str> {
    peering.spec.side(side).identity_ref.as_ref().map(|reference| reference.name.as_str())
}

/// The name of the identity that acts for an end: `Some(None)` for the own credentials, `None` if nobody does.
fn acting(peering: &VpcPeering, side: Side) -> Option<Option<&str>> {
    match (side, named(peering, side)) {
        (Side::Requester, name) => Some(name),
        (Side::Accepter, Some(name)) => Some(Some(name)),
        // An accepter in another account is somebody else's. One in the same account shares the identity.
        (Side::Accepter, None) => peering.spec.accepter.owner_id.is_none().then(|| named(peering, Side::Requester)),
    }
}

impl Sample {
    /// `None` unless the operator manages a connection.
    fn of(peering: &VpcPeering, side: Side) -> Option<Self> {
        let status = peering.status.as_ref()?;
        let ends = status.ends.as_ref()?;
        let is_managed = peering.spec.management_policy == ManagementPolicy::Full
            && !peering.spec.dry_run
            && status.ownership == Some(Ownership::Owned);
        is_managed.then_some(())?;
        let (own, peer, peer_info) = match side {
            Side::Requester => (&ends.requester, &ends.accepter, &status.accepter_vpc_info),
            Side::Accepter => (&ends.accepter, &ends.requester, &status.requester_vpc_info),
        };
        let options = peering.spec.side(side).options;
        Some(Self {
            namespace: peering.namespace()?,
            name: peering.name_any(),
            uid: peering.uid()?,
            id: status.vpc_peering_connection_id.as_ref()?.to_string(),
            code: status.status.as_ref()?.code.to_string(),
            vpc_id: own.vpc_id.to_string(),
            peer_vpc_id: peer.vpc_id.to_string(),
            peer_owner_id: peer_info.as_ref().and_then(|info| info.owner_id.as_ref()).map(ToString::to_string),
            peer_region: (peer.region != own.region).then(|| peer.region.to_string()),
            allow_dns: options.and_then(|options| options.allow_dns_resolution_from_remote_vpc),
            route: status.routes.iter().find(|route| route.side == side).cloned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn peering(spec: serde_json::Value) -> VpcPeering {
        let object = json!({
            "apiVersion": "vpcpeering.dev/v1alpha1", "kind": "VpcPeering",
            "metadata": {"name": "a", "namespace": "team", "uid": "u"},
            "spec": spec,
            "status": {
                "vpcPeeringConnectionId": "pcx-1", "ownership": "Owned", "status": {"code": "active"},
                "ends": {
                    "requester": {"vpcId": "vpc-1", "region": "eu-central-1"},
                    "accepter": {"vpcId": "vpc-2", "region": "us-west-2"},
                },
            },
        });
        serde_json::from_value(object).unwrap_or_else(|error| panic!("{error}"))
    }

    fn regions(resources: &Resources, identity: Option<&AwsIdentity>) -> Vec<String> {
        resources.uses(identity).into_keys().collect()
    }

    #[test]
    fn each_end_counts_for_the_identity_that_acts_for_it() {
        let mut identity = AwsIdentity::nobody();
        identity.metadata.name = Some("partner".into());
        let own = peering(json!({"requester": {"region": "eu-central-1"}, "accepter": {"region": "us-west-2"}}));
        let both = peering(json!({
            "requester": {"region": "eu-central-1"},
            "accepter": {"region": "us-west-2", "identityRef": {"name": "partner"}},
        }));
        let foreign =
            peering(json!({"requester": {"region": "eu-central-1"}, "accepter": {"ownerId": "222222222222"}}));
        for (peering, owns, partners) in [
            (own, &["eu-central-1", "us-west-2"][..], &[][..]),
            (both, &["eu-central-1"], &["us-west-2"]),
            (foreign, &["eu-central-1"], &[]),
        ] {
            let resources = Resources { peerings: vec![peering], ..Resources::default() };
            assert_eq!(regions(&resources, None), owns);
            assert_eq!(regions(&resources, Some(&identity)), partners);
        }
    }

    #[test]
    fn each_end_uses_the_prefix_lists_of_its_routes() {
        let routes = |id: &str| json!({"routeTables": {"main": true}, "destinationPrefixListIds": [id]});
        let peering = peering(json!({
            "requester": {"region": "eu-central-1"},
            "accepter": {"region": "us-west-2", "routes": routes("pl-11111111")},
        }));
        let spec = json!({
            "vpcId": "vpc-3", "region": "eu-west-1", "deletionPolicy": "Delete", "routes": routes("pl-22222222"),
        });
        let accepter: VpcPeeringAccepter = serde_json::from_value(json!({
            "apiVersion": "vpcpeering.dev/v1alpha1", "kind": "VpcPeeringAccepter",
            "metadata": {"name": "a", "namespace": "team"}, "spec": spec,
        }))
        .unwrap_or_else(|error| panic!("{error}"));
        let resources = Resources { peerings: vec![peering], accepters: vec![accepter], ..Resources::default() };
        let lists: Vec<_> =
            resources.uses(None).into_iter().map(|(region, usage)| (region, usage.prefix_list)).collect();
        let list = |region: &str, id: Option<&str>| (region.to_owned(), id.map(str::to_owned));
        assert_eq!(
            lists,
            [
                list("eu-central-1", None),
                list("eu-west-1", Some("pl-22222222")),
                list("us-west-2", Some("pl-11111111")),
            ]
        );
    }

    #[test]
    fn the_region_of_an_end_is_that_of_the_operator() {
        let mut identity = AwsIdentity::nobody();
        identity.metadata.name = Some("partner".into());
        identity.spec.default_region = Some("eu-west-1".into());
        let of_identity = json!({"requester": {}, "accepter": {"identityRef": {"name": "partner"}}});
        for (spec, own, partners) in [
            (json!({"requester": {}, "accepter": {}}), &["us-east-1"][..], &[][..]),
            (of_identity, &["us-east-1"], &["eu-west-1"]),
        ] {
            let mut peering = peering(spec);
            peering.status = None;
            let (identities, own_region) = (vec![identity.clone()], Some("us-east-1".to_owned()));
            let resources = Resources { peerings: vec![peering], identities, own_region, ..Resources::default() };
            assert_eq!(regions(&resources, None), own);
            assert_eq!(regions(&resources, Some(&identity)), partners);
        }
    }

    #[test]
    fn a_dry_run_refers_to_a_managed_connection() {
        let ends = json!({"requester": {"region": "eu-central-1"}, "accepter": {"region": "us-west-2"}});
        let managed = Resources { peerings: vec![peering(ends.clone())], ..Resources::default() };
        let sample = managed.uses(None).remove("eu-central-1").and_then(|usage| usage.requester);
        assert!(
            sample.is_some_and(|sample| sample.id == "pcx-1" && sample.peer_region.as_deref() == Some("us-west-2"))
        );
        let mut observed = peering(ends);
        observed.spec.management_policy = ManagementPolicy::Observe;
        let observed = Resources { peerings: vec![observed], ..Resources::default() };
        assert!(observed.uses(None).values().all(|usage| *usage == Use::default()));
    }
}

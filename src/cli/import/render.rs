//! The manifests of the connections. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use serde::Serialize;
use serde_json::{Value, json};

use super::model::{End, Inventory, Part, Peering};
use super::routes::routes;
use super::tags::{Kept, tags};
use crate::api::aws_identity::IdentityReference;
use crate::api::{
    Acceptance, AcceptedRequests, AllowedCidrBlocks, AllowedRegions, AllowedVpcs, DeletionPolicy, ManagementPolicy,
    PeeringSide, Side, SideOptions, VpcPeering, VpcPeeringAccepter, VpcPeeringAccepterSpec, VpcPeeringSpec,
};
use crate::peering::StatusCode;

/// How the manifests are written.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) policy: ManagementPolicy,
    pub(super) namespace: Option<String>,
    /// The names of the identities, by account.
    pub(super) identities: BTreeMap<String, String>,
}

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    /// The name of its file, without extension.
    pub(super) name: String,
    pub(super) object: Value,
    /// The parts of connections that it takes over.
    pub(super) parts: BTreeSet<Part>,
}

/// Renders the connections of the inventory, and notes what the manifests leave out.
///
/// # Errors
/// If a resource cannot be serialized.
pub(super) fn render(
    inventory: &mut Inventory,
    names: &BTreeMap<String, String>,
    options: &Options,
) -> anyhow::Result<Vec<Manifest>> {
    let (mut manifests, mut pending) = (Vec::new(), BTreeMap::new());
    for peering in inventory.peerings.clone().values() {
        let requester = peering.requester.owner_id.as_ref();
        let can_act = !peering.is_accepter_only || requester.is_some_and(|id| options.identities.contains_key(id));
        let made =
            if can_act { spec(peering, options, inventory) } else { Err(accepter(peering, options, &mut pending)) };
        match made {
            Ok(spec) => {
                let mut object = VpcPeering::new(&names[&peering.id], spec);
                object.metadata.namespace.clone_from(&options.namespace);
                let parts = parts(peering, &object.spec, acts(peering, options));
                manifests.push(Manifest { name: object.name_any(), object: without_status(&object)?, parts });
            }
            Err(reason) => inventory.note(format!("{}: {reason}", peering.id)),
        }
    }
    for (vpc, spec) in pending {
        let mut object = VpcPeeringAccepter::new(&vpc, spec);
        object.metadata.namespace.clone_from(&options.namespace);
        manifests.push(Manifest { name: vpc, object: without_status(&object)?, parts: BTreeSet::new() });
    }
    Ok(manifests)
}

/// Whether the operator acts for the ends: requester first. It uses the requester's credentials for an accepter in the
/// same account.
fn acts(peering: &Peering, options: &Options) -> [bool; 2] {
    let owner = peering.accepter.owner_id.as_ref();
    let has_identity = owner.is_some_and(|owner| options.identities.contains_key(owner));
    [true, peering.is_in_one_account() || has_identity]
}

/// The parts of the connection that the spec describes.
fn parts(peering: &Peering, spec: &VpcPeeringSpec, acts: [bool; 2]) -> BTreeSet<Part> {
    let id = || peering.id.clone();
    let mut parts = BTreeSet::from([Part::Connection(id())]);
    if acts[1] {
        parts.insert(Part::Accepter(id()));
    }
    for routes in Side::BOTH.into_iter().filter_map(|side| spec.side(side).routes.as_ref()) {
        for table in &routes.route_tables.ids {
            let to = |destination: &String| Part::Route(id(), table.clone(), destination.clone());
            parts.extend(routes.destination_cidr_blocks.iter().chain(&routes.destination_prefix_list_ids).map(to));
        }
    }
    parts
}

/// The spec that keeps the connection as it is, or the reason why there is none.
fn spec(peering: &Peering, options: &Options, inventory: &mut Inventory) -> Result<VpcPeeringSpec, String> {
    let identity = |end: &End| {
        let name = end.owner_id.as_ref().and_then(|owner| options.identities.get(owner))?;
        Some(IdentityReference { name: name.clone() })
    };
    let accepter_identity = identity(&peering.accepter).filter(|_| !peering.is_in_one_account());
    let acts = acts(peering, options);
    let Kept { shared, requester: own, accepter: others } = tags(peering, acts, &mut inventory.notes);
    let mut side = |side: Side, identity_ref, acts: bool, tags| {
        let end = peering.end(side);
        if acts {
            note_unknown(peering, side, options, &mut inventory.notes);
        }
        let unknown = |field: &str| {
            format!(
                "cannot be imported: the {field} of the {side}'s VPC is not known; import it from AWS with --region"
            )
        };
        Ok::<_, String>(PeeringSide {
            vpc_id: Some(end.vpc_id.as_deref().ok_or_else(|| unknown("ID"))?.into()),
            owner_id: end.owner_id.as_deref().map(Into::into),
            region: end.region.as_deref().map(Into::into),
            identity_ref,
            // `false` is the default of EC2. Without a permission for options, it would be an error.
            options: (acts && end.dns.and_then(|dns| dns.allows) == Some(true))
                .then_some(SideOptions { allow_dns_resolution_from_remote_vpc: Some(true), ..SideOptions::default() }),
            routes: routes(peering, side, acts, &mut inventory.notes).map(Box::new),
            tags,
            ..PeeringSide::default()
        })
    };
    let requester = side(Side::Requester, identity(&peering.requester), acts[0], own)?;
    let accepter = side(Side::Accepter, accepter_identity, acts[1], others)?;
    if requester.region.is_none() && requester.identity_ref.is_none() {
        return Err("cannot be imported: the region of the requester's VPC is not known; set --region".into());
    }
    if !acts[1] {
        note_other_account(peering, inventory);
    }
    // An import must not accept a request.
    let is_pending = peering.code.as_deref().is_some_and(|code| StatusCode::from(code).is_outstanding());
    Ok(VpcPeeringSpec {
        requester,
        accepter,
        vpc_peering_connection_id: Some(peering.id.clone()),
        management_policy: options.policy,
        acceptance: if is_pending { Acceptance::Manual } else { Acceptance::Auto },
        tags: shared,
        dry_run: false,
        // The connection existed before the resource, so that it stays if somebody deletes the resource.
        deletion_policy: Some(DeletionPolicy::Retain),
        recreate_on: Vec::new(),
        suspend: false,
    })
}

/// Notes the fields of an end that no source shows.
fn note_unknown(peering: &Peering, side: Side, options: &Options, notes: &mut BTreeSet<String>) {
    let (id, end) = (&peering.id, peering.end(side));
    let identity = end.owner_id.as_ref().and_then(|owner| options.identities.get(owner));
    let identity = identity.map(|name| format!(" --identity {name}")).unwrap_or_default();
    let flags = format!("--region {}{identity}", end.region.as_deref().unwrap_or("REGION"));
    if end.tags.is_none() && !peering.shares_tags() {
        notes.insert(format!(
            "{id}: the tags of the {side}'s end are not known, and not in the manifest; to read its tags and routes \
             from AWS, add {flags}"
        ));
    }
    if end.dns.is_some_and(|dns| dns.allows.is_none()) {
        notes.insert(format!(
            "{id}: the sources disagree on the DNS option of the {side}'s end, which is not in the manifest; refresh \
             them, or read it from AWS with {flags}"
        ));
    }
}

fn note_other_account(peering: &Peering, inventory: &mut Inventory) {
    let owner = peering.accepter.owner_id.as_deref().unwrap_or("unknown");
    inventory.note(format!(
        "{}: the accepter's end belongs to the account {owner}, so the manifest has only the requester's options, \
         routes and tags; to manage both ends, set --account-identity {owner}=NAME",
        peering.id
    ));
}

/// Adds a pending request of another account to the accepter of its VPC, and returns the note about it. Such an
/// accepter is suspended, because a person has to decide on the request.
fn accepter(peering: &Peering, options: &Options, pending: &mut BTreeMap<String, VpcPeeringAccepterSpec>) -> String {
    let (requester, accepter) = (&peering.requester, &peering.accepter);
    let owner = requester.owner_id.as_deref().unwrap_or("unknown");
    let is_pending = peering.code.as_deref().is_some_and(|code| StatusCode::from(code).is_outstanding());
    let (Some(vpc), Some(region), Some(requester_vpc), true) =
        (&accepter.vpc_id, &accepter.region, &requester.vpc_id, is_pending && requester.owner_id.is_some())
    else {
        return format!(
            "cannot be imported: the account {owner} requested it; import it with access to that account \
             (--own-credentials, or --account-identity {owner}=NAME), or list it in spec.adopt.connectionIds of a \
             VpcPeeringAccepter"
        );
    };
    let name = accepter.owner_id.as_ref().and_then(|owner| options.identities.get(owner));
    let spec = pending.entry(vpc.clone()).or_insert_with(|| VpcPeeringAccepterSpec {
        vpc_id: Some(vpc.clone()),
        region: Some(region.clone()),
        identity_ref: name.map(|name| IdentityReference { name: name.clone() }),
        deletion_policy: Some(DeletionPolicy::Retain),
        suspend: true,
        ..VpcPeeringAccepterSpec::default()
    });
    spec.accept.push(AcceptedRequests {
        owner_id: owner.to_owned(),
        vpcs: Some(AllowedVpcs { all: false, list: Some(vec![requester_vpc.clone()]) }),
        regions: Some(AllowedRegions { all: false, list: Some(requester.region.iter().cloned().collect()) }),
        cidr_blocks: Some(AllowedCidrBlocks {
            all: false,
            list: Some(requester.cidr_blocks.iter().cloned().collect()),
        }),
    });
    format!(
        "is a pending request of the account {owner}: review spec.accept of the VpcPeeringAccepter {vpc}, and set \
         spec.suspend to false to accept it"
    )
}

/// The resource without status and defaults.
fn without_status(object: &impl Serialize) -> anyhow::Result<Value> {
    let mut object = serde_json::to_value(object)?;
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    let defaults = [
        ("acceptance", json!("Auto")),
        ("dryRun", json!(false)),
        ("suspend", json!(false)),
        ("reject", json!(false)),
        ("manageDnsAttributes", json!(false)),
    ];
    let places = ["/spec", "/spec/requester/options", "/spec/accepter/options"];
    for place in places {
        if let Some(fields) = object.pointer_mut(place).and_then(Value::as_object_mut) {
            fields.retain(|key, value| !value.is_null() && !defaults.contains(&(key.as_str(), value.clone())));
        }
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::super::model::{Authority, Dns};
    use super::super::names::names;
    use super::*;

    fn peering() -> Peering {
        let end = |vpc: &str, owner: &str, other: &str| End {
            vpc_id: Some(vpc.into()),
            owner_id: Some(owner.into()),
            region: Some("eu-central-1".into()),
            dns: Dns::new(Authority::OwnEnd, Some(true)),
            tags: Some([("Name".into(), "a".into()), ("vpc".into(), vpc.into())].into()),
            routes: [("rtb-11111111".into(), [other.into()].into())].into(),
            ..End::default()
        };
        Peering {
            id: "pcx-11111111".into(),
            code: Some("active".into()),
            requester: end("vpc-11111111", "111111111111", "10.2.0.0/16"),
            accepter: end("vpc-22222222", "222222222222", "10.1.0.0/16"),
            is_accepter_only: false,
        }
    }

    fn rendered(peering: Peering, identities: &[(&str, &str)]) -> (Vec<Value>, Inventory) {
        let mut inventory = Inventory::default();
        inventory.add(peering);
        let identities = identities.iter().map(|(account, name)| ((*account).into(), (*name).into())).collect();
        let options = Options { policy: ManagementPolicy::Full, namespace: Some("team".into()), identities };
        let names = names(inventory.peerings.values());
        let manifests = render(&mut inventory, &names, &options).unwrap_or_else(|error| panic!("{error}"));
        let again = render(&mut inventory.clone(), &names, &options).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(manifests, again);
        let parse = |manifest: &Manifest| {
            serde_json::from_value(manifest.object.clone())
                .unwrap_or_else(|error| panic!("{error}: {}", manifest.object))
        };
        (manifests.iter().map(parse).collect(), inventory)
    }

    #[test]
    fn both_ends_are_kept_with_an_identity() {
        let (manifests, inventory) = rendered(peering(), &[("222222222222", "partner")]);
        let expected = json!({
            "apiVersion": "vpcpeering.dev/v1alpha1", "kind": "VpcPeering",
            "metadata": {"name": "a", "namespace": "team"},
            "spec": {
                "vpcPeeringConnectionId": "pcx-11111111", "managementPolicy": "Full", "deletionPolicy": "Retain",
                "tags": [{"key": "Name", "value": "a"}],
                "requester": {
                    "vpcId": "vpc-11111111", "ownerId": "111111111111", "region": "eu-central-1",
                    "options": {"allowDnsResolutionFromRemoteVpc": true},
                    "routes": {"routeTables": {"ids": ["rtb-11111111"]}, "destinationCidrBlocks": ["10.2.0.0/16"]},
                    "tags": [{"key": "vpc", "value": "vpc-11111111"}],
                },
                "accepter": {
                    "vpcId": "vpc-22222222", "ownerId": "222222222222", "region": "eu-central-1",
                    "identityRef": {"name": "partner"},
                    "options": {"allowDnsResolutionFromRemoteVpc": true},
                    "routes": {"routeTables": {"ids": ["rtb-11111111"]}, "destinationCidrBlocks": ["10.1.0.0/16"]},
                    "tags": [{"key": "vpc", "value": "vpc-22222222"}],
                },
            },
        });
        assert_eq!(manifests, [expected]);
        assert!(inventory.notes.is_empty(), "{:?}", inventory.notes);
    }

    /// The other tool keeps a route that the spec cannot describe.
    #[test]
    fn only_described_routes_are_taken_over() -> anyhow::Result<()> {
        let mut peering = peering();
        peering.requester.routes.insert("rtb-22222222".into(), ["10.2.0.0/16".into(), "10.2.8.0/24".into()].into());
        let mut inventory = Inventory::default();
        inventory.add(peering);
        let names = names(inventory.peerings.values());
        let manifests = render(&mut inventory, &names, &Options::default())?;
        let route = |table: &str, to: &str| Part::Route("pcx-11111111".into(), table.into(), to.into());
        let expected = [
            Part::Connection("pcx-11111111".into()),
            route("rtb-11111111", "10.2.0.0/16"),
            route("rtb-22222222", "10.2.0.0/16"),
        ];
        assert_eq!(manifests[0].parts, expected.into());
        assert!(
            inventory.notes.iter().any(|note| note.contains("10.2.8.0/24 in rtb-22222222")),
            "{:?}",
            inventory.notes
        );
        Ok(())
    }

    #[test]
    fn the_end_of_another_account_is_left_alone() {
        let (manifests, inventory) = rendered(peering(), &[]);
        let accepter = json!({"vpcId": "vpc-22222222", "ownerId": "222222222222", "region": "eu-central-1"});
        assert_eq!(manifests[0]["spec"]["accepter"], accepter);
        assert!(inventory.notes.iter().any(|note| note.contains("--account-identity 222222222222=NAME")));
    }

    #[test]
    fn a_connection_whose_requester_is_elsewhere_is_not_imported() {
        let (manifests, inventory) = rendered(Peering { is_accepter_only: true, ..peering() }, &[]);
        assert!(manifests.is_empty());
        assert!(inventory.notes.iter().any(|note| note.contains("pcx-11111111: cannot be imported: the account")));
        let mut pending = Peering { is_accepter_only: true, code: Some("pending-acceptance".into()), ..peering() };
        pending.requester.cidr_blocks = ["10.1.0.0/16".into()].into();
        let (manifests, _) = rendered(pending, &[]);
        let expected = json!({
            "apiVersion": "vpcpeering.dev/v1alpha1", "kind": "VpcPeeringAccepter",
            "metadata": {"name": "vpc-22222222", "namespace": "team"},
            "spec": {
                "vpcId": "vpc-22222222", "region": "eu-central-1", "deletionPolicy": "Retain", "suspend": true,
                "accept": [{
                    "ownerId": "111111111111", "vpcs": {"list": ["vpc-11111111"]},
                    "regions": {"list": ["eu-central-1"]}, "cidrBlocks": {"list": ["10.1.0.0/16"]},
                }],
            },
        });
        assert_eq!(manifests, [expected]);
        // With access to the requester's account, it is an ordinary import, which accepts nothing.
        let pending = Peering { is_accepter_only: true, code: Some("pending-acceptance".into()), ..peering() };
        let (manifests, _) = rendered(pending, &[("111111111111", "other")]);
        assert_eq!(manifests[0]["spec"]["acceptance"], "Manual");
    }
}

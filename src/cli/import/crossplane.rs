//! The connections that Crossplane's provider for AWS manages. Pure. Fields: the CRDs of the kinds in
//! <https://github.com/crossplane-contrib/provider-upjet-aws/tree/main/package/crds>. Version v1beta1 has blocks of
//! options as lists, v1beta2 as objects.

use std::collections::BTreeMap;

use anyhow::Context;
use serde_json::{Value, json};

use super::fields::{Form, block, field, place, tag_map};
use super::model::{Authority, Dns, End, Inventory, Part, Peering, Release, Route};
use super::object_name::{Name, is_of};

/// The groups of cluster-scoped and of namespaced resources.
pub(super) const GROUPS: [&str; 2] = ["ec2.aws.upbound.io", "ec2.aws.m.upbound.io"];
pub(super) const KINDS: [&str; 6] = [
    "VPC",
    "RouteTable",
    "VPCPeeringConnection",
    "VPCPeeringConnectionAccepter",
    "VPCPeeringConnectionOptions",
    "Route",
];

const CONNECTIONS: [&str; 3] = ["VPCPeeringConnection", "VPCPeeringConnectionAccepter", "VPCPeeringConnectionOptions"];

/// An object with the fields of `status.atProvider`, and of `spec.forProvider` if the status has none.
struct Managed<'a> {
    object: &'a Value,
    kind: &'static str,
    name: Name,
}

impl Managed<'_> {
    fn get(&self, key: &str, form: Form) -> anyhow::Result<Option<String>> {
        let observed = field(self.object, &format!("status.atProvider.{key}"), form)?;
        Ok(observed.or(field(self.object, &format!("spec.forProvider.{key}"), form)?))
    }

    /// The ID of the connection of the object.
    fn connection(&self) -> anyhow::Result<Option<String>> {
        let key = if self.kind == "VPCPeeringConnection" { "id" } else { "vpcPeeringConnectionId" };
        let id = self.get(key, Form::Id("pcx"))?;
        let name = self.object["metadata"]["annotations"]["crossplane.io/external-name"].as_str();
        let name = name.filter(|name| self.kind == "VPCPeeringConnection" && name.starts_with("pcx-"));
        Ok(id.or(name.map(str::to_owned)))
    }

    fn tags(&self) -> anyhow::Result<Option<BTreeMap<String, String>>> {
        let observed = tag_map(self.object, "status.atProvider.tagsAll")?;
        Ok(observed.or(tag_map(self.object, "spec.forProvider.tags")?))
    }

    /// The option of an end. Only a resource whose spec has the option manages it. The status shows what EC2 has.
    fn dns(&self, side: &str, is_own: bool) -> Option<Dns> {
        let [spec, status] = [&self.object["spec"]["forProvider"], &self.object["status"]["atProvider"]]
            .map(|place| block(place, side)["allowRemoteVpcDnsResolution"].as_bool());
        let authority = match (self.kind, is_own) {
            ("VPCPeeringConnectionOptions", _) if spec.is_some() => Authority::Options,
            (_, true) => Authority::OwnEnd,
            (_, false) => Authority::OtherEnd,
        };
        Dns::new(authority, status.or(spec))
    }

    /// The step that makes Crossplane let go without deleting. Namespaced resources have no deletionPolicy.
    /// <https://docs.crossplane.io/latest/managed-resources/managed-resources/#managementpolicies>
    fn release(&self) -> Release {
        let patch = if is_of(self.object, GROUPS[1], self.kind) {
            json!({"spec": {"managementPolicies": ["Observe"]}})
        } else {
            json!({"spec": {"deletionPolicy": "Orphan", "managementPolicies": ["Observe"]}})
        };
        let patch = self.name.command("patch", &format!("--type merge -p '{patch}'"));
        Release::Commands([patch, self.name.command("delete", "")])
    }
}

/// Adds the connections of the objects.
///
/// # Errors
/// If a field has another form. The error names the object and the field.
pub(super) fn read(objects: &[Value], inventory: &mut Inventory) -> anyhow::Result<()> {
    let mut managed = Vec::new();
    for object in objects {
        let kind = KINDS.into_iter().find(|kind| GROUPS.into_iter().any(|group| is_of(object, group, kind)));
        if let Some(kind) = kind {
            managed.push(Managed { object, kind, name: Name::of(object)? });
        }
    }
    let (mut owners, mut tables) = (BTreeMap::new(), BTreeMap::new());
    for object in &managed {
        let context = || object.name.to_string();
        match object.kind {
            "VPC" => owners.extend(owner(object).with_context(context)?),
            "RouteTable" => tables.extend(table(object).with_context(context)?),
            _ => {}
        }
    }
    // The resource of the accepter's end is read after the connection, which shows the order of the VPCs.
    for kind in CONNECTIONS {
        for object in managed.iter().filter(|object| object.kind == kind) {
            add_connection(object, &owners, inventory).with_context(|| object.name.to_string())?;
        }
    }
    for object in managed.iter().filter(|object| object.kind == "Route") {
        add_route(object, &tables, inventory).with_context(|| object.name.to_string())?;
    }
    Ok(())
}

/// The ID and the owner of a VPC.
fn owner(object: &Managed<'_>) -> anyhow::Result<Option<(String, String)>> {
    let Some(id) = object.get("id", Form::Id("vpc"))? else { return Ok(None) };
    let owner = object.get("ownerId", Form::Account)?;
    let arn = object.object["status"]["atProvider"]["arn"].as_str().and_then(place).map(|(_, account)| account);
    Ok(owner.or(arn).map(|owner| (id, owner)))
}

/// The ID of a route table and of its VPC.
fn table(object: &Managed<'_>) -> anyhow::Result<Option<(String, String)>> {
    Ok(object.get("id", Form::Id("rtb"))?.zip(object.get("vpcId", Form::Id("vpc"))?))
}

fn add_connection(
    object: &Managed<'_>,
    owners: &BTreeMap<String, String>,
    inventory: &mut Inventory,
) -> anyhow::Result<()> {
    let Some(id) = object.connection()? else {
        inventory.note(format!(
            "{} is left out: status.atProvider has no ID of a connection; wait until Crossplane sets it",
            object.name
        ));
        return Ok(());
    };
    let end = |vpc_id: Option<String>, owner_id: Option<String>| {
        let known = vpc_id.as_ref().and_then(|vpc| owners.get(vpc)).cloned();
        End { vpc_id, owner_id: owner_id.or(known), ..End::default() }
    };
    let own = end(object.get("vpcId", Form::Id("vpc"))?, None);
    let peer = end(object.get("peerVpcId", Form::Id("vpc"))?, object.get("peerOwnerId", Form::Account)?);
    let (region, peer_region) = (object.get("region", Form::Region)?, object.get("peerRegion", Form::Region)?);
    let (mut requester, mut accepter, part) = match object.kind {
        "VPCPeeringConnection" => {
            let (mut requester, accepter) = (own, peer);
            // EC2 accepts the request in the same call only within one account.
            if object.object["spec"]["forProvider"]["autoAccept"] == true {
                requester.owner_id = requester.owner_id.or_else(|| accepter.owner_id.clone());
            }
            let accepter = End { region: peer_region, ..accepter };
            (End { region, tags: object.tags()?, ..requester }, accepter, Part::Connection(id.clone()))
        }
        "VPCPeeringConnectionAccepter" => {
            let (requester, accepter) = if inventory.has_requesters_order(&id, &own, &peer) {
                let owner_id = own.owner_id.or_else(|| peer.owner_id.clone());
                (End { owner_id, ..own }, peer)
            } else {
                (peer, own)
            };
            (requester, End { region, tags: object.tags()?, ..accepter }, Part::Accepter(id.clone()))
        }
        _ => (End::default(), End::default(), Part::Connection(id.clone())),
    };
    requester.dns = object.dns("requester", object.kind == "VPCPeeringConnection");
    accepter.dns = object.dns("accepter", object.kind == "VPCPeeringConnectionAccepter");
    let code = object.object["status"]["atProvider"]["acceptStatus"].as_str().map(str::to_owned);
    inventory.releases.insert((part, object.release()));
    let is_accepter_only = object.kind != "VPCPeeringConnection";
    inventory.add(Peering { id, code, requester, accepter, is_accepter_only });
    Ok(())
}

fn add_route(object: &Managed<'_>, tables: &BTreeMap<String, String>, inventory: &mut Inventory) -> anyhow::Result<()> {
    let table = object.get("routeTableId", Form::Id("rtb"))?;
    let ipv4 = object.get("destinationCidrBlock", Form::CidrBlock)?;
    let ipv6 = object.get("destinationIpv6CidrBlock", Form::CidrBlock)?;
    let destination = ipv4.or(ipv6).or(object.get("destinationPrefixListId", Form::Id("pl"))?);
    let (Some(table), Some(destination), Some(connection)) = (table, destination, object.connection()?) else {
        return Ok(());
    };
    let vpc = tables.get(&table).map(String::as_str);
    if let Some(part) = inventory.add_route(Route { table, destination, connection }, vpc) {
        inventory.releases.insert((part, object.release()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &str, name: &str, spec: Value, status: Value) -> Value {
        json!({
            "apiVersion": "ec2.aws.upbound.io/v1beta1", "kind": kind, "metadata": {"name": name},
            "spec": {"forProvider": spec, "deletionPolicy": "Delete"}, "status": {"atProvider": status},
        })
    }

    #[test]
    fn both_ends_and_their_routes_are_found() -> anyhow::Result<()> {
        let connection = object(
            "VPCPeeringConnection",
            "a",
            json!({"region": "eu-central-1", "peerRegion": "us-west-2", "tags": {"crossplane-name": "a"}}),
            json!({
                "id": "pcx-11111111", "vpcId": "vpc-11111111", "peerVpcId": "vpc-22222222",
                "peerOwnerId": "222222222222", "acceptStatus": "active",
                "requester": [{"allowRemoteVpcDnsResolution": false}],
            }),
        );
        let objects = [
            connection.clone(),
            object(
                "VPCPeeringConnectionAccepter",
                "b",
                json!({"region": "us-west-2", "autoAccept": true, "vpcPeeringConnectionId": "pcx-11111111"}),
                json!({"vpcId": "vpc-22222222", "peerVpcId": "vpc-11111111", "peerOwnerId": "111111111111"}),
            ),
            object(
                "VPCPeeringConnectionOptions",
                "c",
                json!({
                    "region": "us-west-2", "vpcPeeringConnectionId": "pcx-11111111",
                    "accepter": [{"allowRemoteVpcDnsResolution": true}],
                }),
                json!({}),
            ),
            object("RouteTable", "t", json!({"vpcId": "vpc-22222222"}), json!({"id": "rtb-22222222"})),
            object(
                "Route",
                "r",
                json!({
                    "region": "us-west-2", "routeTableId": "rtb-22222222", "destinationCidrBlock": "10.1.0.0/16",
                    "vpcPeeringConnectionId": "pcx-11111111",
                }),
                json!({}),
            ),
        ];
        let mut inventory = Inventory::default();
        read(&objects, &mut inventory)?;
        let peering = &inventory.peerings["pcx-11111111"];
        assert_eq!(peering.requester.owner_id.as_deref(), Some("111111111111"));
        assert_eq!(peering.accepter.region.as_deref(), Some("us-west-2"));
        assert_eq!(peering.accepter.dns.and_then(|dns| dns.allows), Some(true));
        assert!(!peering.is_accepter_only && peering.accepter.routes.contains_key("rtb-22222222"));
        let steps: Vec<_> = inventory.releases.iter().map(|(_, step)| format!("{step:?}")).collect();
        assert_eq!(steps.len(), 4, "{steps:?}");
        assert!(steps.iter().all(|step| step.starts_with("Commands") && step.contains("Orphan")), "{steps:?}");
        let mut wrong = connection;
        wrong["status"]["atProvider"]["vpcId"] = json!(1);
        let error = read(&[wrong], &mut inventory).err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(error.starts_with("VPCPeeringConnection a: status.atProvider.vpcId: must be an ID"), "{error}");
        Ok(())
    }

    #[test]
    fn namespaced_resources_have_no_deletion_policy() -> anyhow::Result<()> {
        let connection = json!({
            "apiVersion": "ec2.aws.m.upbound.io/v1beta1", "kind": "VPCPeeringConnection",
            "metadata": {
                "name": "a", "namespace": "net", "annotations": {"crossplane.io/external-name": "pcx-11111111"},
            },
            "spec": {"forProvider": {"region": "eu-central-1", "vpcId": "vpc-11111111", "peerVpcId": "vpc-22222222"}},
        });
        let mut inventory = Inventory::default();
        read(&[connection], &mut inventory)?;
        let steps: Vec<_> = inventory.releases.into_iter().collect();
        let patch = "kubectl patch -n net vpcpeeringconnection.ec2.aws.m.upbound.io/a --type merge \
                     -p '{\"spec\":{\"managementPolicies\":[\"Observe\"]}}'";
        let delete = "kubectl delete -n net vpcpeeringconnection.ec2.aws.m.upbound.io/a";
        let expected = Release::Commands([patch.to_owned(), delete.to_owned()]);
        assert_eq!(steps, [(Part::Connection("pcx-11111111".to_owned()), expected)]);
        Ok(())
    }
}

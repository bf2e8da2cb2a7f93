//! The connections that the ACK controller for EC2 manages. Pure. Fields: the CRDs of the three kinds in
//! <https://github.com/aws-controllers-k8s/ec2-controller/tree/main/config/crd/bases>.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::fields::{Form, field};
use super::model::{Authority, Dns, End, Inventory, Part, Peering, Release, Route};
use super::object_name::{Name, is_of};

pub(super) const GROUP: &str = "ec2.services.k8s.aws";
pub(super) const KINDS: [&str; 3] = ["VPC", "VPCPeeringConnection", "RouteTable"];

/// The IDs of AWS resources, by the kind, the namespace and the name of their object. ACK keeps a reference in the
/// spec, and writes the ID only into the status of the other object.
/// <https://aws-controllers-k8s.github.io/community/docs/user-docs/references/>
#[derive(Debug, Default)]
struct Ids(BTreeMap<(&'static str, String, String), String>);

impl Ids {
    fn of(objects: &[Value]) -> anyhow::Result<Self> {
        let mut ids = Self::default();
        for (kind, path, prefix) in
            [("VPC", "status.vpcID", "vpc"), ("VPCPeeringConnection", "status.vpcPeeringConnectionID", "pcx")]
        {
            for object in objects.iter().filter(|object| is_of(object, GROUP, kind)) {
                let name = Name::of(object)?;
                let id = field(object, path, Form::Id(prefix)).with_context(|| name.to_string())?;
                let key = |id| ((kind, namespace(object).to_owned(), name.name().to_owned()), id);
                ids.0.extend(id.map(key));
            }
        }
        Ok(ids)
    }

    /// The ID in a field, or that of the object to which the reference beside it leads.
    fn get(
        &self,
        kind: &'static str,
        place: &Value,
        [id, reference]: [&str; 2],
        form: Form,
        namespace: &str,
    ) -> anyhow::Result<Option<String>> {
        let from = &place[reference]["from"];
        let referenced = || {
            let namespace = from["namespace"].as_str().unwrap_or(namespace);
            self.0.get(&(kind, namespace.to_owned(), from["name"].as_str()?.to_owned())).cloned()
        };
        Ok(field(place, id, form)?.or_else(referenced))
    }
}

fn namespace(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

/// Adds the connections of the objects.
///
/// # Errors
/// If a field has another form. The error names the object and the field.
pub(super) fn read(objects: &[Value], inventory: &mut Inventory) -> anyhow::Result<()> {
    let ids = Ids::of(objects)?;
    for object in objects.iter().filter(|object| is_of(object, GROUP, "VPCPeeringConnection")) {
        let name = Name::of(object)?;
        add_connection(object, &name, &ids, inventory).with_context(|| name.to_string())?;
    }
    for object in objects.iter().filter(|object| is_of(object, GROUP, "RouteTable")) {
        let name = Name::of(object)?;
        add_routes(object, &name, &ids, inventory).with_context(|| name.to_string())?;
    }
    Ok(())
}

fn add_connection(object: &Value, name: &Name, ids: &Ids, inventory: &mut Inventory) -> anyhow::Result<()> {
    let Some(id) = field(object, "status.vpcPeeringConnectionID", Form::Id("pcx"))? else {
        inventory.note(format!("{name} is left out: status.vpcPeeringConnectionID is not set; wait until ACK sets it"));
        return Ok(());
    };
    let vpc = |fields| {
        let found = ids.get("VPC", &object["spec"], fields, Form::Id("vpc"), namespace(object));
        found.context("spec")
    };
    let mut requester = end(object, "requester", vpc(["vpcID", "vpcRef"])?)?;
    let mut accepter = end(object, "accepter", vpc(["peerVPCID", "peerVPCRef"])?)?;
    // A status without an end is that of a connection that is not active.
    let metadata = |key: &str, form| field(object, &format!("status.ackResourceMetadata.{key}"), form);
    requester.owner_id = requester.owner_id.or(metadata("ownerAccountID", Form::Account)?);
    requester.region = requester.region.or(metadata("region", Form::Region)?);
    accepter.owner_id = accepter.owner_id.or(field(object, "spec.peerOwnerID", Form::Account)?);
    accepter.region = accepter.region.or(field(object, "spec.peerRegion", Form::Region)?);
    requester.tags = Some(tags(&object["spec"]["tags"])?);
    let code = object["status"]["status"]["code"].as_str().map(str::to_owned);
    inventory.releases.insert((Part::Connection(id.clone()), Release::Commands(release(name))));
    inventory.add(Peering { id, code, requester, accepter, is_accepter_only: false });
    Ok(())
}

/// The command that deletes the object, and keeps its resource in AWS.
/// <https://aws-controllers-k8s.github.io/community/docs/user-docs/deletion-policy/>
fn release(name: &Name) -> [String; 2] {
    let retain = name.command("annotate --overwrite", "services.k8s.aws/deletion-policy=retain");
    [retain, name.command("delete", "")]
}

fn end(object: &Value, side: &str, vpc_id: Option<String>) -> anyhow::Result<End> {
    let at = |key: &str| format!("status.{side}VPCInfo.{key}");
    let info = &object["status"][format!("{side}VPCInfo")];
    let sets = [("cidrBlockSet", "cidrBlock"), ("ipv6CIDRBlockSet", "ipv6CIDRBlock")];
    let blocks = sets
        .into_iter()
        .flat_map(|(set, key)| info[set].as_array().into_iter().flatten().filter_map(move |item| item[key].as_str()));
    // The status shows what EC2 has, so that the manifest changes nothing.
    let options = [&info["peeringOptions"], &object["spec"][format!("{side}PeeringConnectionOptions")]];
    let allows = options.into_iter().find_map(|it| it["allowDNSResolutionFromRemoteVPC"].as_bool());
    Ok(End {
        vpc_id: field(object, &at("vpcID"), Form::Id("vpc"))?.or(vpc_id),
        owner_id: field(object, &at("ownerID"), Form::Account)?,
        region: field(object, &at("region"), Form::Region)?,
        cidr_blocks: info["cidrBlock"].as_str().into_iter().chain(blocks).map(str::to_owned).collect(),
        dns: Dns::new(Authority::OwnEnd, allows),
        ..End::default()
    })
}

fn tags(list: &Value) -> anyhow::Result<BTreeMap<String, String>> {
    let items = list.as_array();
    ensure!(items.is_some() || list.is_null(), "spec.tags: must be a list, but is {list}");
    let tag = |(index, tag): (usize, &Value)| {
        let key = tag["key"].as_str().with_context(|| format!("spec.tags[{index}].key: must be a text"))?;
        Ok((key.to_owned(), tag["value"].as_str().unwrap_or_default().to_owned()))
    };
    items.into_iter().flatten().enumerate().map(tag).collect()
}

/// Adds the routes of a table: those that EC2 has, if the status shows them.
fn add_routes(object: &Value, name: &Name, ids: &Ids, inventory: &mut Inventory) -> anyhow::Result<()> {
    let namespace = namespace(object);
    let vpc = ids.get("VPC", &object["spec"], ["vpcID", "vpcRef"], Form::Id("vpc"), namespace).context("spec")?;
    let Some(table) = field(object, "status.routeTableID", Form::Id("rtb"))? else { return Ok(()) };
    let places =
        [("status.routeStatuses", &object["status"]["routeStatuses"]), ("spec.routes", &object["spec"]["routes"])];
    let Some((path, Value::Array(routes))) = places.into_iter().find(|(_, routes)| routes.is_array()) else {
        return Ok(());
    };
    for (index, route) in routes.iter().enumerate() {
        let context = || format!("{path}[{index}]");
        let fields = ["vpcPeeringConnectionID", "vpcPeeringConnectionRef"];
        let connection = ids.get("VPCPeeringConnection", route, fields, Form::Id("pcx"), namespace);
        let ipv4 = field(route, "destinationCIDRBlock", Form::CidrBlock).with_context(context)?;
        let ipv6 = field(route, "destinationIPv6CIDRBlock", Form::CidrBlock).with_context(context)?;
        let list = || field(route, "destinationPrefixListID", Form::Id("pl")).with_context(context);
        let destination = ipv4.or(ipv6).map_or_else(list, |block| Ok(Some(block)))?;
        let (Some(connection), Some(destination)) = (connection.with_context(context)?, destination) else { continue };
        let route = Route { table: table.clone(), destination, connection };
        if let Some(part) = inventory.add_route(route, vpc.as_deref()) {
            let step = format!(
                "{name} of ACK also keeps routes of the connection, and deletes others; leave these routes in its \
                 spec, with vpcPeeringConnectionID instead of a reference, or release it, too"
            );
            inventory.releases.insert((part, Release::Advice(step)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_status_shows_both_ends() -> anyhow::Result<()> {
        let info = |vpc: &str, block: &str| {
            json!({
                "vpcID": vpc, "ownerID": "111111111111", "region": "eu-central-1", "cidrBlock": block,
                "cidrBlockSet": [{"cidrBlock": block}], "peeringOptions": {"allowDNSResolutionFromRemoteVPC": true},
            })
        };
        let connection = json!({
            "apiVersion": "ec2.services.k8s.aws/v1alpha1", "kind": "VPCPeeringConnection",
            "metadata": {"name": "a", "namespace": "net"},
            "spec": {
                "vpcID": "vpc-11111111", "peerVPCRef": {"from": {"name": "b"}}, "acceptRequest": true,
                "requesterPeeringConnectionOptions": {"allowDNSResolutionFromRemoteVPC": false},
                "tags": [{"key": "team", "value": "net"}],
            },
            "status": {
                "ackResourceMetadata": {"ownerAccountID": "111111111111", "region": "eu-central-1"},
                "requesterVPCInfo": info("vpc-11111111", "10.1.0.0/16"),
                "accepterVPCInfo": info("vpc-22222222", "10.2.0.0/16"),
                "status": {"code": "active"}, "vpcPeeringConnectionID": "pcx-11111111",
            },
        });
        let table = json!({
            "apiVersion": "ec2.services.k8s.aws/v1alpha1", "kind": "RouteTable",
            "metadata": {"name": "t", "namespace": "net"},
            "spec": {"vpcRef": {"from": {"name": "b"}}, "routes": [
                {"destinationCIDRBlock": "10.1.0.0/16", "vpcPeeringConnectionRef": {"from": {"name": "a"}}},
                {"destinationCIDRBlock": "0.0.0.0/0", "gatewayID": "igw-1"},
            ]},
            "status": {"routeTableID": "rtb-22222222"},
        });
        let mut inventory = Inventory::default();
        let vpc = json!({
            "apiVersion": "ec2.services.k8s.aws/v1alpha1", "kind": "VPC",
            "metadata": {"name": "b", "namespace": "net"}, "status": {"vpcID": "vpc-22222222"},
        });
        read(&[connection.clone(), vpc, table], &mut inventory)?;
        let peering = &inventory.peerings["pcx-11111111"];
        assert_eq!(peering.accepter.vpc_id.as_deref(), Some("vpc-22222222"));
        assert!(
            [&peering.requester, &peering.accepter].map(|end| end.dns.and_then(|dns| dns.allows)) == [Some(true); 2]
        );
        assert!(peering.accepter.routes["rtb-22222222"].contains("10.1.0.0/16"));
        let steps = format!("{:?}", inventory.releases);
        assert!(steps.contains("services.k8s.aws/deletion-policy=retain"), "{steps}");
        let mut wrong = connection;
        wrong["metadata"]["name"] = json!("a; reboot");
        assert!(read(&[wrong], &mut inventory).is_err());
        Ok(())
    }
}

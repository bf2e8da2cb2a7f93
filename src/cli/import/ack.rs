//! The connections that the ACK controller for EC2 manages. Pure.
//! Fields: <https://aws-controllers-k8s.github.io/community/reference/ec2/v1alpha1/vpcpeeringconnection/>.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::kubernetes::{Name, is_of};
use super::model::{End, Form, Inventory, Peering, Route, field};

pub(super) const GROUP: &str = "ec2.services.k8s.aws";
pub(super) const KINDS: [&str; 2] = ["VPCPeeringConnection", "RouteTable"];

/// Adds the connections of the objects.
///
/// # Errors
/// If a field has another form. The error names the object and the field.
pub(super) fn read(objects: &[Value], inventory: &mut Inventory) -> anyhow::Result<()> {
    for object in objects.iter().filter(|object| is_of(object, GROUP, "VPCPeeringConnection")) {
        let name = Name::of(object)?;
        add_connection(object, &name, inventory).with_context(|| name.to_string())?;
    }
    for object in objects.iter().filter(|object| is_of(object, GROUP, "RouteTable")) {
        let name = Name::of(object)?;
        add_routes(object, &name, inventory).with_context(|| name.to_string())?;
    }
    Ok(())
}

fn add_connection(object: &Value, name: &Name, inventory: &mut Inventory) -> anyhow::Result<()> {
    let Some(id) = field(object, "status.vpcPeeringConnectionID", Form::Id("pcx"))? else {
        inventory.note(format!("{name} is left out: status.vpcPeeringConnectionID is not set"));
        return Ok(());
    };
    let mut requester = end(object, "requester", "spec.vpcID")?;
    let mut accepter = end(object, "accepter", "spec.peerVPCID")?;
    // A status without an end is that of a connection that is not active.
    let metadata = |key: &str, form| field(object, &format!("status.ackResourceMetadata.{key}"), form);
    requester.owner_id = requester.owner_id.or(metadata("ownerAccountID", Form::Account)?);
    requester.region = requester.region.or(metadata("region", Form::Region)?);
    accepter.owner_id = accepter.owner_id.or(field(object, "spec.peerOwnerID", Form::Account)?);
    accepter.region = accepter.region.or(field(object, "spec.peerRegion", Form::Region)?);
    requester.tags = Some(tags(&object["spec"]["tags"])?);
    let code = object["status"]["status"]["code"].as_str().map(str::to_owned);
    let retain = name.command("annotate", "services.k8s.aws/deletion-policy=retain");
    inventory.releases.insert((id.clone(), format!("ACK: {retain} && {}", name.command("delete", ""))));
    inventory.add(Peering { id, code, requester, accepter, is_accepter_only: false });
    Ok(())
}

fn end(object: &Value, side: &str, vpc: &str) -> anyhow::Result<End> {
    let at = |key: &str| format!("status.{side}VPCInfo.{key}");
    let info = &object["status"][format!("{side}VPCInfo")];
    let sets = [("cidrBlockSet", "cidrBlock"), ("ipv6CIDRBlockSet", "ipv6CIDRBlock")];
    let blocks = sets
        .into_iter()
        .flat_map(|(set, key)| info[set].as_array().into_iter().flatten().filter_map(move |item| item[key].as_str()));
    let options = &object["spec"][format!("{side}PeeringConnectionOptions")];
    let allows_dns = [options, &info["peeringOptions"]];
    Ok(End {
        vpc_id: field(object, &at("vpcID"), Form::Id("vpc"))?.or(field(object, vpc, Form::Id("vpc"))?),
        owner_id: field(object, &at("ownerID"), Form::Account)?,
        region: field(object, &at("region"), Form::Region)?,
        cidr_blocks: info["cidrBlock"].as_str().into_iter().chain(blocks).map(str::to_owned).collect(),
        allows_dns: allows_dns.into_iter().find_map(|it| it["allowDNSResolutionFromRemoteVPC"].as_bool()),
        tags: None,
        routes: BTreeMap::new(),
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

fn add_routes(object: &Value, name: &Name, inventory: &mut Inventory) -> anyhow::Result<()> {
    let vpc = field(object, "spec.vpcID", Form::Id("vpc"))?;
    let Some(table) = field(object, "status.routeTableID", Form::Id("rtb"))? else { return Ok(()) };
    for (index, route) in object["spec"]["routes"].as_array().into_iter().flatten().enumerate() {
        let context = || format!("spec.routes[{index}]");
        let connection = field(route, "vpcPeeringConnectionID", Form::Id("pcx")).with_context(context)?;
        let ipv4 = field(route, "destinationCIDRBlock", Form::CidrBlock).with_context(context)?;
        let destination = ipv4.or(field(route, "destinationIPv6CIDRBlock", Form::CidrBlock).with_context(context)?);
        let (Some(connection), Some(destination)) = (connection, destination) else { continue };
        let route = Route { table: table.clone(), destination, connection };
        if inventory.add_route(&route, vpc.as_deref()) {
            let step = format!(
                "ACK: {name} also keeps the route to {} in {}; annotate it with services.k8s.aws/deletion-policy=retain and \
                 delete it, or leave this route to ACK",
                route.destination, route.table
            );
            inventory.releases.insert((route.connection, step));
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
            "apiVersion": "ec2.services.k8s.aws/v1alpha1", "kind": "RouteTable", "metadata": {"name": "t"},
            "spec": {"vpcID": "vpc-22222222", "routes": [
                {"destinationCIDRBlock": "10.1.0.0/16", "vpcPeeringConnectionID": "pcx-11111111"},
                {"destinationCIDRBlock": "0.0.0.0/0", "gatewayID": "igw-1"},
            ]},
            "status": {"routeTableID": "rtb-22222222"},
        });
        let mut inventory = Inventory::default();
        read(&[connection.clone(), table], &mut inventory)?;
        let peering = &inventory.peerings["pcx-11111111"];
        assert_eq!(peering.accepter.vpc_id.as_deref(), Some("vpc-22222222"));
        assert_eq!((peering.requester.allows_dns, peering.accepter.allows_dns), (Some(false), Some(true)));
        assert!(peering.accepter.routes["rtb-22222222"].contains("10.1.0.0/16"));
        let steps = format!("{:?}", inventory.releases);
        assert!(steps.contains("services.k8s.aws/deletion-policy=retain"), "{steps}");
        let mut wrong = connection;
        wrong["metadata"]["name"] = json!("a; reboot");
        assert!(read(&[wrong], &mut inventory).is_err());
        Ok(())
    }
}

//! The action on network interfaces.

use std::borrow::Cow;

use super::listing::{Listing, PAGE, Shown, many, one};
use super::{Context, Handler, write_tags};
use crate::error::Result;
use crate::protocol::{Params, Xml};
use crate::world::id::ResourceKind;
use crate::world::{Call, NetworkInterface, World};

/// The filters that the API reference lists.
const FILTERS: &[&str] = &[
    "addresses.association.owner-id",
    "addresses.association.public-ip",
    "addresses.primary",
    "addresses.private-ip-address",
    "association.allocation-id",
    "association.association-id",
    "association.ip-owner-id",
    "association.public-dns-name",
    "association.public-ip",
    "attachment.attach-time",
    "attachment.attachment-id",
    "attachment.delete-on-termination",
    "attachment.device-index",
    "attachment.instance-id",
    "attachment.instance-owner-id",
    "attachment.status",
    "availability-zone",
    "availability-zone-id",
    "description",
    "group-id",
    "interface-type",
    "ipv6-addresses.ipv6-address",
    "mac-address",
    "network-interface-id",
    "operator.managed",
    "operator.principal",
    "owner-id",
    "private-dns-name",
    "private-ip-address",
    "requester-id",
    "requester-managed",
    "source-dest-check",
    "status",
    "subnet-id",
    "tag-key",
    "vpc-id",
];

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeNetworkInterfaces.html>
pub(super) struct Describe(Listing);

impl Handler for Describe {
    fn parse(params: &mut Params) -> Result<Self> {
        let kind = (ResourceKind::NetworkInterface, "NetworkInterfaceId");
        Listing::take(params, ("DescribeNetworkInterfaces", &PAGE), kind, FILTERS).map(Self)
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        let (world, call) = (&*world, &context.call);
        let all: Vec<_> = world.network_interfaces(&call.location).collect();
        let shown = Shown {
            set: "networkInterfaceSet",
            id: &|interface: &&NetworkInterface| &interface.id,
            values: &|interface, name| values(world, interface, name),
            write: &|xml, interface| write(xml, world, call, interface),
        };
        self.0.response(world, call, &all, &shown)
    }
}

fn vpc_of<'a>(world: &'a World, interface: &NetworkInterface) -> Option<&'a str> {
    world.any_subnet(&interface.subnet_id).map(|subnet| subnet.vpc_id.as_str())
}

fn status(interface: &NetworkInterface) -> &'static str {
    if interface.instance_id.is_some() { "in-use" } else { "available" }
}

fn zone(interface: &NetworkInterface) -> String {
    format!("{}a", interface.location.region)
}

fn write(xml: &mut Xml, world: &World, call: &Call, interface: &NetworkInterface) {
    xml.text("networkInterfaceId", &interface.id);
    xml.text("subnetId", &interface.subnet_id);
    xml.optional("vpcId", vpc_of(world, interface));
    xml.text("availabilityZone", zone(interface));
    xml.text("description", &interface.description);
    xml.text("ownerId", &interface.location.account);
    xml.text("requesterManaged", false);
    xml.text("status", status(interface));
    xml.text("sourceDestCheck", true);
    xml.text("interfaceType", "interface");
    xml.optional("privateIpAddress", interface.ipv4_addresses.first());
    xml.list("groupSet", &interface.group_ids, |xml, id| {
        xml.text("groupId", id);
        xml.optional("groupName", world.any_group(id).map(|group| &group.name));
    });
    if let Some(instance) = &interface.instance_id {
        xml.element("attachment", |xml| {
            xml.text("instanceId", instance);
            xml.text("instanceOwnerId", &interface.location.account);
            xml.text("deviceIndex", 0);
            xml.text("status", "attached");
        });
    }
    xml.list("privateIpAddressesSet", interface.ipv4_addresses.iter().enumerate(), |xml, (number, address)| {
        xml.text("privateIpAddress", address);
        xml.text("primary", number == 0);
    });
    xml.list("ipv4PrefixSet", &interface.ipv4_prefixes, |xml, prefix| xml.text("ipv4Prefix", prefix));
    xml.list("ipv6AddressesSet", &interface.ipv6_addresses, |xml, address| xml.text("ipv6Address", address));
    write_tags(xml, world.shown_tags(&call.location, &interface.id));
}

fn values(world: &World, interface: &NetworkInterface, name: &str) -> Vec<Cow<'static, str>> {
    match name {
        "addresses.primary" => many(interface.ipv4_addresses.iter().enumerate().map(|(number, _)| number == 0)),
        "addresses.private-ip-address" => many(&interface.ipv4_addresses),
        "attachment.instance-id" => many(&interface.instance_id),
        "attachment.status" => many(interface.instance_id.as_ref().map(|_| "attached")),
        "availability-zone" => one(zone(interface)),
        "description" => one(&interface.description),
        "group-id" => many(&interface.group_ids),
        "interface-type" => one("interface"),
        "ipv6-addresses.ipv6-address" => many(&interface.ipv6_addresses),
        "network-interface-id" => one(&interface.id),
        "owner-id" => one(&interface.location.account),
        "private-ip-address" => many(interface.ipv4_addresses.first()),
        "requester-managed" => one(false),
        "source-dest-check" => one(true),
        "status" => one(status(interface)),
        "subnet-id" => one(&interface.subnet_id),
        "vpc-id" => many(vpc_of(world, interface)),
        _ => Vec::new(),
    }
}

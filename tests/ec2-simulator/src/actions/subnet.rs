//! The action on subnets.

use std::borrow::Cow;

use super::listing::{Listing, PAGE, Shown, many, one};
use super::{Context, Handler, write_tags};
use crate::error::Result;
use crate::protocol::{Params, Xml};
use crate::world::id::{self, ResourceKind};
use crate::world::region::partition;
use crate::world::{Call, Subnet, World};

/// The filters that the API reference lists. Three have other spellings, too.
const FILTERS: &[&str] = &[
    "availability-zone",
    "availability-zone-id",
    "availabilityZone",
    "availabilityZoneId",
    "available-ip-address-count",
    "cidr",
    "cidr-block",
    "cidrBlock",
    "customer-owned-ipv4-pool",
    "default-for-az",
    "defaultForAz",
    "enable-dns64",
    "enable-lni-at-device-index",
    "ipv6-cidr-block-association.association-id",
    "ipv6-cidr-block-association.ipv6-cidr-block",
    "ipv6-cidr-block-association.state",
    "ipv6-native",
    "map-customer-owned-ip-on-launch",
    "map-public-ip-on-launch",
    "outpost-arn",
    "owner-id",
    "private-dns-name-options-on-launch.enable-resource-name-dns-a-record",
    "private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record",
    "private-dns-name-options-on-launch.hostname-type",
    "state",
    "subnet-arn",
    "subnet-id",
    "tag-key",
    "vpc-id",
];

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSubnets.html>
pub(super) struct Describe(Listing);

impl Handler for Describe {
    fn parse(params: &mut Params) -> Result<Self> {
        let kind = (ResourceKind::Subnet, "SubnetId");
        Listing::take(params, ("DescribeSubnets", &PAGE), kind, FILTERS).map(Self)
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        let (world, call) = (&*world, &context.call);
        let all: Vec<_> = world.visible_subnets(&call.location).collect();
        let shown = Shown {
            set: "subnetSet",
            id: &|subnet: &&Subnet| &subnet.id,
            values: &|subnet, name| values(world, subnet, name),
            write: &|xml, subnet| write(xml, world, call, subnet),
        };
        self.0.response(world, call, &all, &shown)
    }
}

/// The simulator has one availability zone in each region.
fn zone(subnet: &Subnet) -> String {
    format!("{}a", subnet.location.region)
}

fn arn(subnet: &Subnet) -> String {
    let location = &subnet.location;
    format!("arn:{}:ec2:{}:{}:subnet/{}", partition(&location.region), location.region, location.account, subnet.id)
}

fn association_id(subnet: &Subnet) -> String {
    id::derived("subnet-cidr-assoc", &subnet.id)
}

fn write(xml: &mut Xml, world: &World, call: &Call, subnet: &Subnet) {
    xml.text("subnetId", &subnet.id);
    xml.text("subnetArn", arn(subnet));
    xml.text("state", "available");
    xml.text("ownerId", &subnet.location.account);
    xml.text("vpcId", &subnet.vpc_id);
    xml.text("cidrBlock", subnet.cidr_block);
    xml.list("ipv6CidrBlockAssociationSet", subnet.ipv6_cidr_block, |xml, block| {
        xml.text("associationId", association_id(subnet));
        xml.text("ipv6CidrBlock", block);
        xml.element("ipv6CidrBlockState", |xml| xml.text("state", "associated"));
    });
    xml.text("availableIpAddressCount", world.free_addresses(subnet));
    xml.text("availabilityZone", zone(subnet));
    for off in ["defaultForAz", "mapPublicIpOnLaunch", "assignIpv6AddressOnCreation", "ipv6Native", "enableDns64"] {
        xml.text(off, false);
    }
    write_tags(xml, world.shown_tags(&call.location, &subnet.id));
}

fn values(world: &World, subnet: &Subnet, name: &str) -> Vec<Cow<'static, str>> {
    match name {
        "availability-zone" | "availabilityZone" => one(zone(subnet)),
        "available-ip-address-count" => one(world.free_addresses(subnet)),
        "cidr" | "cidr-block" | "cidrBlock" => one(subnet.cidr_block),
        "default-for-az" | "defaultForAz" | "enable-dns64" | "ipv6-native" | "map-public-ip-on-launch" => one(false),
        "ipv6-cidr-block-association.association-id" => many(subnet.ipv6_cidr_block.map(|_| association_id(subnet))),
        "ipv6-cidr-block-association.ipv6-cidr-block" => many(subnet.ipv6_cidr_block),
        "ipv6-cidr-block-association.state" => many(subnet.ipv6_cidr_block.map(|_| "associated")),
        "owner-id" => one(&subnet.location.account),
        "state" => one("available"),
        "subnet-arn" => one(arn(subnet)),
        "subnet-id" => one(&subnet.id),
        "vpc-id" => one(&subnet.vpc_id),
        _ => Vec::new(),
    }
}

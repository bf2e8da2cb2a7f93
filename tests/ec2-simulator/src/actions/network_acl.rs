//! The action on network ACLs.

use std::borrow::Cow;

use ipnet::IpNet;

use super::listing::{Listing, PAGE, Shown, many, one};
use super::{Context, Handler, write_tags};
use crate::error::Result;
use crate::protocol::{Params, Xml};
use crate::world::id::ResourceKind;
use crate::world::network_acl::AclEntry;
use crate::world::{Call, NetworkAcl, World};

/// The filters that the API reference lists.
const FILTERS: &[&str] = &[
    "association.association-id",
    "association.network-acl-id",
    "association.subnet-id",
    "default",
    "entry.cidr",
    "entry.egress",
    "entry.icmp.code",
    "entry.icmp.type",
    "entry.ipv6-cidr",
    "entry.port-range.from",
    "entry.port-range.to",
    "entry.protocol",
    "entry.rule-action",
    "entry.rule-number",
    "network-acl-id",
    "owner-id",
    "tag-key",
    "vpc-id",
];

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeNetworkAcls.html>
pub(super) struct Describe(Listing);

impl Handler for Describe {
    fn parse(params: &mut Params) -> Result<Self> {
        let kind = (ResourceKind::NetworkAcl, "NetworkAclId");
        Listing::take(params, ("DescribeNetworkAcls", &PAGE), kind, FILTERS).map(Self)
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        let (world, call) = (&*world, &context.call);
        let all: Vec<_> = world.network_acls(&call.location).collect();
        let shown = Shown {
            set: "networkAclSet",
            id: &|acl: &&NetworkAcl| &acl.id,
            values: &|acl, name| values(world, acl, name),
            write: &|xml, acl| write(xml, world, call, acl),
        };
        self.0.response(world, call, &all, &shown)
    }
}

fn entries(world: &World, acl: &NetworkAcl) -> Vec<AclEntry> {
    let vpc = world.any_vpc(&acl.vpc_id);
    acl.shown_entries(vpc.is_some_and(|vpc| !vpc.ipv6_cidr_blocks.is_empty()))
}

fn association_id(subnet: &str) -> String {
    subnet.replacen("subnet-", "aclassoc-", 1)
}

fn action(entry: &AclEntry) -> &'static str {
    if entry.allow { "allow" } else { "deny" }
}

fn write(xml: &mut Xml, world: &World, call: &Call, acl: &NetworkAcl) {
    xml.text("networkAclId", &acl.id);
    xml.text("vpcId", &acl.vpc_id);
    xml.text("ownerId", &acl.location.account);
    xml.text("default", acl.default);
    xml.list("entrySet", entries(world, acl), |xml, entry| {
        xml.text("ruleNumber", entry.number);
        xml.text("protocol", &entry.protocol);
        xml.text("ruleAction", action(&entry));
        xml.text("egress", entry.egress);
        match entry.block {
            IpNet::V4(block) => xml.text("cidrBlock", block),
            IpNet::V6(block) => xml.text("ipv6CidrBlock", block),
        }
        if let Some((from, to)) = entry.ports {
            xml.element("portRange", |xml| {
                xml.text("from", from);
                xml.text("to", to);
            });
        }
        if let Some((kind, code)) = entry.icmp {
            xml.element("icmpTypeCode", |xml| {
                xml.text("code", code);
                xml.text("type", kind);
            });
        }
    });
    xml.list("associationSet", world.subnets_of_acl(acl), |xml, subnet| {
        xml.text("networkAclAssociationId", association_id(subnet));
        xml.text("networkAclId", &acl.id);
        xml.text("subnetId", subnet);
    });
    write_tags(xml, world.shown_tags(&call.location, &acl.id));
}

/// The name of a protocol, which the filter takes beside the number.
fn protocol(entry: &AclEntry) -> &str {
    match entry.protocol.as_str() {
        "1" => "icmp",
        "6" => "tcp",
        "17" => "udp",
        other => other,
    }
}

fn values(world: &World, acl: &NetworkAcl, name: &str) -> Vec<Cow<'static, str>> {
    let entries = || entries(world, acl).into_iter();
    let is_ipv4 = |entry: &AclEntry| matches!(entry.block, IpNet::V4(_));
    match name {
        "association.association-id" => many(world.subnets_of_acl(acl).map(association_id)),
        "association.network-acl-id" => many(world.subnets_of_acl(acl).map(|_| &acl.id)),
        "association.subnet-id" => many(world.subnets_of_acl(acl)),
        "default" => one(acl.default),
        "entry.cidr" => many(entries().filter(is_ipv4).map(|entry| entry.block)),
        "entry.egress" => many(entries().map(|entry| entry.egress)),
        "entry.icmp.code" => many(entries().filter_map(|entry| Some(entry.icmp?.1))),
        "entry.icmp.type" => many(entries().filter_map(|entry| Some(entry.icmp?.0))),
        "entry.ipv6-cidr" => many(entries().filter(|entry| !is_ipv4(entry)).map(|entry| entry.block)),
        "entry.port-range.from" => many(entries().filter_map(|entry| Some(entry.ports?.0))),
        "entry.port-range.to" => many(entries().filter_map(|entry| Some(entry.ports?.1))),
        "entry.protocol" => many(entries().flat_map(|entry| [protocol(&entry).to_owned(), entry.protocol])),
        "entry.rule-action" => many(entries().map(|entry| action(&entry))),
        "entry.rule-number" => many(entries().map(|entry| entry.number)),
        "network-acl-id" => one(&acl.id),
        "owner-id" => one(&acl.location.account),
        "vpc-id" => one(&acl.vpc_id),
        _ => Vec::new(),
    }
}

//! The actions on security groups and their rules.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::listing::{Listing, PAGE, Shown, many, one};
use super::{Context, Handler, write_tags};
use crate::error::Result;
use crate::protocol::{Page, Params, Xml};
use crate::world::id::ResourceKind;
use crate::world::region::partition;
use crate::world::security_group::{GroupRule, Referenced, RuleOfGroup, RulePeer};
use crate::world::{Call, SecurityGroup, World};

/// The filters that the API reference lists. `egress.` precedes those on rules for egress.
const FILTERS: &[&str] = &[
    "description",
    "egress.ip-permission.cidr",
    "egress.ip-permission.from-port",
    "egress.ip-permission.group-id",
    "egress.ip-permission.group-name",
    "egress.ip-permission.ipv6-cidr",
    "egress.ip-permission.prefix-list-id",
    "egress.ip-permission.protocol",
    "egress.ip-permission.to-port",
    "egress.ip-permission.user-id",
    "group-id",
    "group-name",
    "ip-permission.cidr",
    "ip-permission.from-port",
    "ip-permission.group-id",
    "ip-permission.group-name",
    "ip-permission.ipv6-cidr",
    "ip-permission.prefix-list-id",
    "ip-permission.protocol",
    "ip-permission.to-port",
    "ip-permission.user-id",
    "owner-id",
    "tag-key",
    "vpc-id",
];

const RULE_FILTERS: &[&str] = &["group-id", "security-group-rule-id", "tag-key"];

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSecurityGroups.html>
pub(super) struct Describe(Listing);

impl Handler for Describe {
    fn parse(params: &mut Params) -> Result<Self> {
        let kind = (ResourceKind::SecurityGroup, "GroupId");
        Listing::take(params, ("DescribeSecurityGroups", &PAGE), kind, FILTERS).map(Self)
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        let (world, call) = (&*world, &context.call);
        let all: Vec<_> = world.security_groups(&call.location).collect();
        let shown = Shown {
            set: "securityGroupInfo",
            id: &|group: &&SecurityGroup| &group.id,
            values: &|group, name| values(world, group, name),
            write: &|xml, group| write(xml, world, call, group),
        };
        self.0.response(world, call, &all, &shown)
    }
}

/// The simulator has no descriptions.
fn description(group: &SecurityGroup) -> String {
    format!("{} security group", group.name)
}

fn arn(group: &SecurityGroup, kind: &str, id: &str) -> String {
    let location = &group.location;
    format!("arn:{}:ec2:{}:{}:{kind}/{id}", partition(&location.region), location.region, location.account)
}

fn write(xml: &mut Xml, world: &World, call: &Call, group: &SecurityGroup) {
    xml.text("groupId", &group.id);
    xml.text("groupName", &group.name);
    xml.text("groupDescription", description(group));
    xml.text("ownerId", &group.location.account);
    xml.text("vpcId", &group.vpc_id);
    xml.text("securityGroupArn", arn(group, "security-group", &group.id));
    for (element, egress) in [("ipPermissions", false), ("ipPermissionsEgress", true)] {
        let rules = group.rules.iter().filter(|rule| rule.egress == egress);
        write_permissions(xml, element, world, group, rules);
    }
    write_tags(xml, world.shown_tags(&call.location, &group.id));
}

/// Writes rules that have the same protocol and ports as one permission.
fn write_permissions<'a>(
    xml: &mut Xml,
    element: &str,
    world: &World,
    group: &SecurityGroup,
    rules: impl Iterator<Item = &'a GroupRule>,
) {
    let mut permissions: BTreeMap<_, Vec<&RulePeer>> = BTreeMap::new();
    for rule in rules {
        permissions.entry((&rule.protocol, rule.ports)).or_default().push(&rule.peer);
    }
    xml.list(element, permissions, |xml, ((protocol, ports), peers)| {
        xml.text("ipProtocol", protocol);
        if let Some((from, to)) = ports {
            xml.text("fromPort", from);
            xml.text("toPort", to);
        }
        let groups = peers.iter().filter_map(|peer| match peer {
            RulePeer::Group(id) => Some(world.referenced(group, id)),
            _ => None,
        });
        xml.list("groups", groups, |xml, referenced| write_reference(xml, group, &referenced));
        for (element, field) in [("ipRanges", "cidrIp"), ("ipv6Ranges", "cidrIpv6"), ("prefixListIds", "prefixListId")]
        {
            let of_kind = peers.iter().filter_map(|peer| match (peer, field) {
                (RulePeer::Ipv4(block), "cidrIp") => Some(block.to_string()),
                (RulePeer::Ipv6(block), "cidrIpv6") => Some(block.to_string()),
                (RulePeer::PrefixList(id), "prefixListId") => Some(id.clone()),
                _ => None,
            });
            xml.list(element, of_kind, |xml, value| xml.text(field, value));
        }
    });
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_UserIdGroupPair.html>
fn write_reference(xml: &mut Xml, own: &SecurityGroup, referenced: &Referenced<'_>) {
    xml.optional("userId", referenced.group.map(|group| &group.location.account));
    xml.text("groupId", referenced.id);
    xml.optional("vpcId", referenced.group.map(|group| &group.vpc_id).filter(|vpc| **vpc != own.vpc_id));
    xml.optional("vpcPeeringConnectionId", referenced.peering.map(|peering| &peering.id));
    xml.optional("peeringStatus", referenced.peering.map(|peering| peering.phase.code()));
}

fn values(world: &World, group: &SecurityGroup, name: &str) -> Vec<Cow<'static, str>> {
    let (name, egress) = name.strip_prefix("egress.").map_or((name, false), |rest| (rest, true));
    let rules = || group.rules.iter().filter(move |rule| rule.egress == egress);
    let referenced = || {
        rules().filter_map(|rule| match &rule.peer {
            RulePeer::Group(id) => world.any_group(id),
            _ => None,
        })
    };
    match name {
        "description" => one(description(group)),
        "group-id" => one(&group.id),
        "group-name" => one(&group.name),
        "ip-permission.cidr" => many(rules().filter_map(|rule| match &rule.peer {
            RulePeer::Ipv4(block) => Some(block),
            _ => None,
        })),
        "ip-permission.ipv6-cidr" => many(rules().filter_map(|rule| match &rule.peer {
            RulePeer::Ipv6(block) => Some(block),
            _ => None,
        })),
        "ip-permission.prefix-list-id" => many(rules().filter_map(|rule| match &rule.peer {
            RulePeer::PrefixList(id) => Some(id),
            _ => None,
        })),
        "ip-permission.group-id" => many(rules().filter_map(|rule| match &rule.peer {
            RulePeer::Group(id) => Some(id),
            _ => None,
        })),
        "ip-permission.group-name" => many(referenced().map(|group| &group.name)),
        "ip-permission.user-id" => many(referenced().map(|group| &group.location.account)),
        "ip-permission.from-port" => many(rules().filter_map(|rule| Some(rule.ports?.0))),
        "ip-permission.to-port" => many(rules().filter_map(|rule| Some(rule.ports?.1))),
        "ip-permission.protocol" => many(rules().map(|rule| &rule.protocol)),
        "owner-id" => one(&group.location.account),
        "vpc-id" => one(&group.vpc_id),
        _ => Vec::new(),
    }
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSecurityGroupRules.html>
pub(super) struct DescribeRules(Listing);

impl Handler for DescribeRules {
    fn parse(params: &mut Params) -> Result<Self> {
        let kind = (ResourceKind::SecurityGroupRule, "SecurityGroupRuleId");
        Listing::take(params, ("DescribeSecurityGroupRules", &PAGE), kind, RULE_FILTERS).map(Self)
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        let (world, call) = (&*world, &context.call);
        let mut all: Vec<_> = world.security_group_rules(&call.location).collect();
        all.sort_by(|one, two| one.id.cmp(&two.id));
        let shown = Shown {
            set: "securityGroupRuleSet",
            id: &|rule: &RuleOfGroup<'_>| &rule.id,
            values: &|rule, name| match name {
                "group-id" => one(&rule.group.id),
                "security-group-rule-id" => one(&rule.id),
                _ => Vec::new(),
            },
            write: &|xml, rule| write_rule(xml, world, call, rule),
        };
        self.0.response(world, call, &all, &shown)
    }
}

fn write_rule(xml: &mut Xml, world: &World, call: &Call, RuleOfGroup { id, group, rule }: &RuleOfGroup<'_>) {
    xml.text("securityGroupRuleId", id);
    xml.text("securityGroupRuleArn", arn(group, "security-group-rule", id));
    xml.text("groupId", &group.id);
    xml.text("groupOwnerId", &group.location.account);
    xml.text("isEgress", rule.egress);
    xml.text("ipProtocol", &rule.protocol);
    // This action shows -1 where a rule has no ports.
    let (from, to) = rule.ports.unwrap_or((-1, -1));
    xml.text("fromPort", from);
    xml.text("toPort", to);
    match &rule.peer {
        RulePeer::Ipv4(block) => xml.text("cidrIpv4", block),
        RulePeer::Ipv6(block) => xml.text("cidrIpv6", block),
        RulePeer::PrefixList(list) => xml.text("prefixListId", list),
        RulePeer::Group(id) => xml.element("referencedGroupInfo", |xml| {
            write_reference(xml, group, &world.referenced(group, id));
        }),
    }
    write_tags(xml, world.shown_tags(&call.location, id));
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeStaleSecurityGroups.html>
pub(super) struct DescribeStale {
    vpc_id: String,
    page: Page,
}

impl Handler for DescribeStale {
    fn parse(params: &mut Params) -> Result<Self> {
        let vpc_id = params.required("VpcId")?;
        Ok(Self { vpc_id, page: Page::take(params, "DescribeStaleSecurityGroups", &(5..=255))? })
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        let (world, call) = (&*world, &context.call);
        world.vpc(call, &self.vpc_id)?;
        call.proceed()?;
        let is_listed = |group: &&SecurityGroup| {
            group.vpc_id == self.vpc_id
                && self.page.after().is_none_or(|after| group.id.as_str() > after)
                && group.rules.iter().any(|rule| world.is_stale(group, rule))
        };
        let mut xml = Xml::default();
        self.page.write(
            &mut xml,
            "staleSecurityGroupSet",
            world.security_groups(&call.location).filter(is_listed),
            |group| group.id.clone(),
            |xml, group| {
                xml.text("groupId", &group.id);
                xml.text("groupName", &group.name);
                xml.text("description", description(group));
                xml.text("vpcId", &group.vpc_id);
                for (element, egress) in [("staleIpPermissions", false), ("staleIpPermissionsEgress", true)] {
                    let stale = |rule: &&GroupRule| rule.egress == egress && world.is_stale(group, rule);
                    write_permissions(xml, element, world, group, group.rules.iter().filter(stale));
                }
            },
        );
        Ok(xml)
    }
}

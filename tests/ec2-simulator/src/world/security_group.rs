//! Security groups and their rules. A VPC has a default group, and a scene can contain others.
//! <https://docs.aws.amazon.com/vpc/latest/userguide/vpc-security-groups.html>

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::call::Location;
use super::id;
use super::peering::{Peering, Phase};
use super::{Vpc, World};
use crate::error::{Error, Result};

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// The ID: `sg-…`.
    pub id: String,
    /// The account and region.
    #[serde(flatten)]
    pub location: Location,
    /// The VPC.
    pub vpc_id: String,
    /// The name. `default` is the group that was created with the VPC.
    pub name: String,
    /// The rules.
    #[serde(default)]
    pub rules: Vec<GroupRule>,
}

/// A rule of a security group. Every rule allows.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SecurityGroupRule.html>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRule {
    /// Whether it applies to traffic that leaves the interface.
    #[serde(default)]
    pub egress: bool,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, a number, or `-1` for every protocol.
    pub protocol: String,
    /// The first and the last port of TCP and UDP; of ICMP the type and the code, -1 for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<(i32, i32)>,
    /// The source, or the destination of a rule for egress.
    pub peer: RulePeer,
}

/// The other end of the traffic that a rule allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RulePeer {
    /// An IPv4 block.
    Ipv4(Ipv4Net),
    /// An IPv6 block.
    Ipv6(Ipv6Net),
    /// A prefix list.
    PrefixList(String),
    /// A group of the VPC or of a peer VPC. It may have been deleted.
    Group(String),
}

/// A rule with its ID and its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuleOfGroup<'a> {
    pub(crate) id: String,
    pub(crate) group: &'a SecurityGroup,
    pub(crate) rule: &'a GroupRule,
}

/// A group that a rule refers to, as far as EC2 knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Referenced<'a> {
    pub(crate) id: &'a str,
    /// `None` if it has been deleted.
    pub(crate) group: Option<&'a SecurityGroup>,
    /// The connection to its VPC, if it is in another VPC.
    pub(crate) peering: Option<&'a Peering>,
}

impl SecurityGroup {
    /// The default group of a VPC. Its ID is derived from the VPC's.
    pub(super) fn default_of(vpc: &Vpc) -> Self {
        let id = vpc.id.replacen("vpc-", "sg-", 1);
        let rule = |egress, peer| GroupRule { egress, protocol: "-1".into(), ports: None, peer };
        let rules = vec![rule(false, RulePeer::Group(id.clone())), rule(true, RulePeer::Ipv4(Ipv4Net::default()))];
        Self { id, location: vpc.location.clone(), vpc_id: vpc.id.clone(), name: "default".into(), rules }
    }

    pub(crate) fn is_default(&self) -> bool {
        self.name == "default"
    }

    /// The rules with their IDs, sorted by ID.
    pub(crate) fn rules_with_ids(&self) -> Vec<RuleOfGroup<'_>> {
        let id = |rule: &GroupRule| id::derived("sgr", &format!("{} {rule:?}", self.id));
        let mut rules: Vec<_> = self.rules.iter().map(|rule| RuleOfGroup { id: id(rule), group: self, rule }).collect();
        rules.sort_by(|one, two| one.id.cmp(&two.id));
        rules
    }
}

impl World {
    pub(crate) fn security_groups<'a>(&'a self, location: &'a Location) -> impl Iterator<Item = &'a SecurityGroup> {
        self.groups.values().filter(move |group| group.location == *location)
    }

    pub(crate) fn all_security_groups(&self) -> impl Iterator<Item = &SecurityGroup> {
        self.groups.values()
    }

    /// The rules of all groups of a location, sorted by group and ID.
    pub(crate) fn security_group_rules<'a>(&'a self, location: &'a Location) -> impl Iterator<Item = RuleOfGroup<'a>> {
        self.security_groups(location).flat_map(SecurityGroup::rules_with_ids)
    }

    pub(crate) fn any_group(&self, id: &str) -> Option<&SecurityGroup> {
        self.groups.get(id)
    }

    /// The group that a rule of `own` refers to.
    pub(crate) fn referenced<'a>(&'a self, own: &SecurityGroup, id: &'a str) -> Referenced<'a> {
        let group = self.any_group(id);
        let peer = group.map(|group| group.vpc_id.as_str()).filter(|vpc| *vpc != own.vpc_id);
        let between = |peering: &&Peering| {
            let ends = [&peering.requester.vpc_id, &peering.accepter.vpc_id];
            peer.is_some_and(|peer| ends.iter().any(|vpc| *vpc == peer))
        };
        let peering = self.peerings.of_vpc(&own.vpc_id).filter(between);
        let peering = peering.max_by_key(|peering| (peering.phase == Phase::Active, peering.phase.is_live()));
        Referenced { id, group, peering }
    }

    /// Whether a rule is stale: its group has been deleted, or the connection to the group's VPC has.
    /// <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-security-groups.html#vpc-peering-stale-groups>
    pub(crate) fn is_stale(&self, own: &SecurityGroup, rule: &GroupRule) -> bool {
        let RulePeer::Group(id) = &rule.peer else { return false };
        let referenced = self.referenced(own, id);
        let is_elsewhere = referenced.group.is_some_and(|group| group.vpc_id != own.vpc_id);
        let is_connected = referenced.peering.is_some_and(|peering| peering.phase.is_live());
        referenced.group.is_none() || is_elsewhere && !is_connected
    }

    /// Adds the groups of a scene. Fails if the VPC does not exist in the group's account and region.
    pub(super) fn add_security_groups(&mut self, groups: Vec<SecurityGroup>) -> Result<()> {
        for group in groups {
            if self.any_vpc(&group.vpc_id).is_none_or(|vpc| vpc.location.region != group.location.region) {
                return Err(Error::new("InvalidScene", format!("{}: there is no {}", group.id, group.vpc_id)));
            }
            if group.is_default() {
                self.groups.retain(|_, other| other.vpc_id != group.vpc_id || !other.is_default());
            }
            self.groups.insert(group.id.clone(), group);
        }
        Ok(())
    }
}

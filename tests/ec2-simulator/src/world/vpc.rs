//! VPCs, their CIDR blocks and their DNS attributes.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::call::{Call, Location};
use super::cidr_block::check_range;
use super::id::{self, ResourceKind};
use super::network_acl::NetworkAcl;
use super::peering::{Phase, Side};
use super::route::RouteTable;
use super::security_group::SecurityGroup;
use super::tag::Tags;
use super::{World, tag};
use crate::error::{Error, Result};

/// A VPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    /// The ID: `vpc-…`.
    pub id: String,
    /// The account and region.
    #[serde(flatten)]
    pub location: Location,
    /// The IPv4 blocks. The first is the primary block.
    pub cidr_blocks: Vec<Ipv4Net>,
    /// The IPv6 blocks.
    #[serde(default)]
    pub ipv6_cidr_blocks: Vec<Ipv6Net>,
    /// Blocks that were disassociated. `DescribeVpcs` shows them for a while.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disassociated: Vec<Disassociated>,
    /// The accounts with which the owner shares subnets of the VPC by AWS RAM. They see the VPC, but cannot peer it.
    /// <https://docs.aws.amazon.com/vpc/latest/userguide/vpc-sharing.html>
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_with: Vec<String>,
    /// `enableDnsSupport`
    #[serde(default = "enabled")]
    pub dns_support: bool,
    /// `enableDnsHostnames`
    #[serde(default)]
    pub dns_hostnames: bool,
}

fn enabled() -> bool {
    true
}

/// A block that was disassociated from a VPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disassociated {
    /// The block.
    pub block: IpNet,
    /// The time from which `DescribeVpcs` no longer shows it.
    pub hidden_from: Timestamp,
}

/// The IPv6 block of a new VPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv6Block {
    /// No IPv6 block.
    Absent,
    /// A block from Amazon's pool.
    Provided,
    /// A block from a pool of the caller.
    Own(Ipv6Net),
}

impl Vpc {
    /// The association ID of a block. The simulator derives it from the VPC and the block, so a block that is
    /// associated again gets the same ID.
    pub(crate) fn association_id(&self, block: IpNet) -> String {
        id::derived("vpc-cidr-assoc", &format!("{} {block}", self.id))
    }

    /// All associated CIDR blocks, IPv4 and IPv6.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = IpNet> + '_ {
        let ipv4 = self.cidr_blocks.iter().copied().map(IpNet::V4);
        ipv4.chain(self.ipv6_cidr_blocks.iter().copied().map(IpNet::V6))
    }

    /// The CIDR blocks that `DescribeVpcs` shows, each with the state of its association.
    pub(crate) fn associations(&self, now: Timestamp) -> impl Iterator<Item = (IpNet, &'static str)> + '_ {
        let shown = self.disassociated.iter().filter(move |entry| now < entry.hidden_from);
        let disassociated = shown.map(|entry| (entry.block, "disassociated"));
        self.blocks().map(|block| (block, "associated")).chain(disassociated)
    }

    /// Whether any associated CIDR block overlaps any CIDR block of the other VPC.
    /// <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html#vpc-peering-limitations>
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.blocks().any(|one| other.blocks().any(|two| one.contains(&two) || two.contains(&one)))
    }

    pub(super) fn is_visible(&self, location: &Location) -> bool {
        let is_shared = self.location.region == location.region && self.shared_with.contains(&location.account);
        self.location == *location || is_shared
    }

    /// Whether it has the DNS attributes that DNS resolution across a connection needs.
    pub(crate) fn resolves_names(&self) -> bool {
        self.dns_support && self.dns_hostnames
    }
}

impl World {
    pub(crate) fn vpcs<'a>(&'a self, location: &'a Location) -> impl Iterator<Item = &'a Vpc> {
        self.vpcs.values().filter(move |vpc| vpc.location == *location)
    }

    /// The VPCs of a location, and those that other accounts share with it.
    pub(crate) fn visible_vpcs<'a>(&'a self, location: &'a Location) -> impl Iterator<Item = &'a Vpc> {
        self.vpcs.values().filter(move |vpc| vpc.is_visible(location))
    }

    /// A VPC that is visible in the location of the call.
    pub(crate) fn visible_vpc(&self, call: &Call, id: &str) -> Result<&Vpc> {
        ResourceKind::Vpc.check(id)?;
        let visible = self.vpcs.get(id).filter(|vpc| vpc.is_visible(&call.location));
        visible.ok_or_else(|| ResourceKind::Vpc.not_found(&[id]))
    }

    /// A VPC that belongs to the location of the call.
    pub(crate) fn vpc(&self, call: &Call, id: &str) -> Result<&Vpc> {
        ResourceKind::Vpc.check(id)?;
        let own = self.vpcs.get(id).filter(|vpc| vpc.location == call.location);
        own.ok_or_else(|| ResourceKind::Vpc.not_found(&[id]))
    }

    /// A VPC in any account and region.
    pub(crate) fn any_vpc(&self, id: &str) -> Option<&Vpc> {
        self.vpcs.get(id)
    }

    /// Creates a VPC with its main route table, default network ACL and default security group.
    ///
    /// # Errors
    /// `InvalidVpcRange` if the size of the block is not between /16 and /28:
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVpc.html>.
    pub fn create_vpc(&mut self, call: &Call, block: Ipv4Net, ipv6: Ipv6Block, tags: Tags) -> Result<Vpc> {
        check_range(block)?;
        tag::check(&tags, &self.settings.quotas)?;
        call.proceed()?;
        let id = self.random.id("vpc");
        let vpc = Vpc {
            id: id.clone(),
            location: call.location.clone(),
            // EC2 clears the host bits of a block: 10.0.1.0/16 becomes 10.0.0.0/16.
            cidr_blocks: vec![block.trunc()],
            ipv6_cidr_blocks: match ipv6 {
                Ipv6Block::Absent => Vec::new(),
                Ipv6Block::Provided => self.provide_ipv6_block().into_iter().collect(),
                Ipv6Block::Own(block) => vec![block.trunc()],
            },
            disassociated: Vec::new(),
            shared_with: Vec::new(),
            dns_support: true,
            dns_hostnames: false,
        };
        let table = RouteTable::new(self.random.id("rtb"), &vpc, true);
        self.add_tags(&call.location, &table.id, self.settings.tags_of_vpcs.clone());
        self.tables.insert(table.id.clone(), table);
        self.add_defaults(&vpc);
        self.vpcs.insert(id.clone(), vpc.clone());
        self.add_tags(&call.location, &id, self.settings.tags_of_vpcs.clone());
        self.add_tags(&call.location, &id, tags);
        Ok(vpc)
    }

    /// Adds the default network ACL and the default security group of a VPC, unless it has them.
    pub(super) fn add_defaults(&mut self, vpc: &Vpc) {
        let acl = NetworkAcl::default_of(vpc);
        if !self.acls.contains_key(&acl.id) {
            self.acls.insert(acl.id.clone(), acl);
        }
        let group = SecurityGroup::default_of(vpc);
        if !self.groups.contains_key(&group.id) {
            self.groups.insert(group.id.clone(), group);
        }
    }

    /// Deletes a VPC and its pending requests.
    /// <https://docs.aws.amazon.com/vpc/latest/peering/delete-vpc-peering-connection.html>
    ///
    /// # Errors
    /// `DependencyViolation` while it has an accepted connection, a pending request from another account, a subnet, or
    /// a route table, network ACL or security group that was not created with it.
    pub(crate) fn delete_vpc(&mut self, call: &Call, id: &str) -> Result<()> {
        self.vpc(call, id)?;
        let has_peerings = self.peerings.of_vpc(id).any(|peering| match peering.phase {
            // The console deletes such a connection along with the VPC. The API does not.
            Phase::Provisioning { .. } | Phase::Active => true,
            Phase::PendingAcceptance => peering.accepter.vpc_id == id && !peering.is_same_account(),
            _ => false,
        });
        let has_tables = self.tables.values().any(|table| table.vpc_id == id && !table.main);
        if has_peerings || has_tables || self.has_parts(id) {
            let message = format!("The vpc '{id}' has dependencies and cannot be deleted.");
            return Err(Error::new("DependencyViolation", message));
        }
        call.proceed()?;
        // Pending requests of the VPC are deleted with it.
        let requests: Vec<_> = self
            .peerings
            .of_vpc(id)
            .filter(|peering| peering.phase.is_outstanding() && peering.requester.vpc_id == id)
            .map(|peering| peering.id.clone())
            .collect();
        for request in requests {
            self.start_deleting(&request, Side::Requester, call.now);
        }
        self.remove_vpc(id);
        Ok(())
    }

    /// Removes a VPC with its route tables, network ACLs, security groups and tags.
    pub(super) fn remove_vpc(&mut self, id: &str) {
        let tables: Vec<_> =
            self.tables.values().filter(|table| table.vpc_id == id).map(|table| table.id.clone()).collect();
        let acls = self.acls.values().filter(|acl| acl.vpc_id == id).map(|acl| acl.id.clone());
        let groups = self.groups.values().filter(|group| group.vpc_id == id).map(|group| group.id.clone());
        for part in tables.into_iter().chain(acls).chain(groups).collect::<Vec<_>>() {
            self.tables.remove(&part);
            self.acls.remove(&part);
            self.groups.remove(&part);
            self.forget_tags(&part);
        }
        self.vpcs.remove(id);
        self.forget_tags(id);
    }

    /// Sets one DNS attribute.
    ///
    /// # Errors
    /// `InvalidParameterCombination` if the call names none or both. `InvalidParameterValue` if it enables DNS host
    /// names while DNS support is disabled:
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVpcAttribute.html>.
    pub(crate) fn modify_vpc_attribute(
        &mut self,
        call: &Call,
        id: &str,
        support: Option<bool>,
        hostnames: Option<bool>,
    ) -> Result<()> {
        let vpc = self.vpc(call, id)?;
        match (support, hostnames) {
            (Some(_), Some(_)) | (None, None) => {
                return Err(Error::new("InvalidParameterCombination", "Exactly one attribute must be specified."));
            }
            (None, Some(true)) if !vpc.dns_support => {
                let message = "You cannot enable DNS hostnames while DNS support is disabled.";
                return Err(Error::new("InvalidParameterValue", message));
            }
            (Some(_), None) | (None, Some(_)) => {}
        }
        call.proceed()?;
        if let Some(vpc) = self.vpcs.get_mut(id) {
            vpc.dns_support = support.unwrap_or(vpc.dns_support);
            vpc.dns_hostnames = hostnames.unwrap_or(vpc.dns_hostnames);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn vpc(ipv4: &[&str], ipv6: &[&str]) -> Vpc {
        Vpc {
            id: "vpc-00000000000000001".into(),
            location: Location::new("111111111111", "us-east-1"),
            cidr_blocks: ipv4.iter().map(|block| block.parse().unwrap()).collect(),
            ipv6_cidr_blocks: ipv6.iter().map(|block| block.parse().unwrap()).collect(),
            disassociated: Vec::new(),
            shared_with: Vec::new(),
            dns_support: true,
            dns_hostnames: false,
        }
    }

    #[test]
    fn vpcs_overlap_if_any_of_their_blocks_do() {
        let one = vpc(&["10.0.0.0/16", "10.2.0.0/16"], &["2600:1f00::/56"]);
        for (other, overlaps) in [
            (vpc(&["10.1.0.0/16"], &[]), false),
            (vpc(&["10.0.0.0/16"], &[]), true),
            (vpc(&["10.0.3.0/24"], &[]), true),
            (vpc(&["10.1.0.0/16", "10.2.9.0/24"], &[]), true),
            (vpc(&["10.1.0.0/16"], &["2600:1f00:0:100::/56"]), false),
            (vpc(&["10.1.0.0/16"], &["2600:1f00::/56"]), true),
        ] {
            assert_eq!(one.overlaps(&other), overlaps, "{other:?}");
            assert_eq!(other.overlaps(&one), overlaps, "{other:?}");
        }
    }
}

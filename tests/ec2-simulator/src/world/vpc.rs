//! VPCs, their CIDR blocks and their DNS attributes.

use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::call::{Call, Location};
use super::id::ResourceKind;
use super::peering::{Phase, Side, saturating_add};
use super::route::RouteTable;
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

/// How long `DescribeVpcs` shows a disassociated block, by the simulator's clock. AWS does not document it. Users
/// observed 30 minutes to more than an hour (lyft/cni-ipvlan-vpc-k8s 49).
const DISASSOCIATED_VISIBILITY: Duration = Duration::from_secs(60 * 60);

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

/// A block to be associated with a VPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewBlock {
    Ipv4(Ipv4Net),
    Ipv6(Ipv6Block),
}

impl Vpc {
    /// The association ID of a block. The simulator derives it from the VPC and the block, so a block that is
    /// associated again gets the same ID.
    pub(crate) fn association_id(&self, block: IpNet) -> String {
        // FNV-1a gives the same hash on every machine and in every run.
        let input = format!("{} {block}", self.id);
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        format!("vpc-cidr-assoc-{:017x}", input.bytes().fold(0xcbf2_9ce4_8422_2325, mix))
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

    fn is_visible(&self, location: &Location) -> bool {
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
    pub(super) fn any_vpc(&self, id: &str) -> Option<&Vpc> {
        self.vpcs.get(id)
    }

    /// Creates a VPC and its main route table.
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
        self.vpcs.insert(id.clone(), vpc.clone());
        self.add_tags(&call.location, &id, self.settings.tags_of_vpcs.clone());
        self.add_tags(&call.location, &id, tags);
        Ok(vpc)
    }

    /// Generates a /56 block like those from Amazon's pool.
    fn provide_ipv6_block(&mut self) -> Option<Ipv6Net> {
        let network = u128::from(self.random.next_u64() >> 40);
        let site = (0x2600_1f00_u128 << 96) | (network << 72);
        Ipv6Net::new(site.into(), 56).ok()
    }

    /// Associates a block with a VPC.
    /// <https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html#add-cidr-block-restrictions>
    ///
    /// # Errors
    /// `InvalidVpcRange` if the size of an IPv4 block is not between /16 and /28. `CidrLimitExceeded` if the VPC has
    /// reached its quota. `CidrConflict` if the block overlaps a block of the VPC or of a peer VPC, or contains the
    /// destination of a route. `OperationNotPermitted` while a request of the VPC is pending.
    pub(crate) fn associate_block(&mut self, call: &Call, id: &str, new: NewBlock) -> Result<(Vpc, IpNet)> {
        let vpc = self.vpc(call, id)?;
        let quota = self.settings.quotas.cidr_blocks_per_vpc;
        let block = match new {
            NewBlock::Ipv4(block) => {
                check_range(block)?;
                Some(IpNet::V4(block.trunc()))
            }
            NewBlock::Ipv6(Ipv6Block::Own(block)) => Some(IpNet::V6(block.trunc())),
            NewBlock::Ipv6(Ipv6Block::Provided | Ipv6Block::Absent) => None,
        };
        let count = match new {
            NewBlock::Ipv4(_) => vpc.cidr_blocks.len(),
            NewBlock::Ipv6(_) => vpc.ipv6_cidr_blocks.len(),
        };
        if count >= quota {
            let message = format!("This network '{id}' has met its maximum number of allowed CIDRs: {quota}");
            return Err(Error::new("CidrLimitExceeded", message));
        }
        if let Some(block) = block {
            self.check_new_block(vpc, block)?;
        }
        call.proceed()?;
        let block = block.or_else(|| self.provide_ipv6_block().map(IpNet::V6));
        let vpc = self.vpcs.get_mut(id).zip(block).map(|(vpc, block)| {
            // An association ID is unique to a VPC and a block.
            vpc.disassociated.retain(|entry| entry.block != block);
            match block {
                IpNet::V4(block) => vpc.cidr_blocks.push(block),
                IpNet::V6(block) => vpc.ipv6_cidr_blocks.push(block),
            }
            (vpc.clone(), block)
        });
        vpc.ok_or_else(|| ResourceKind::Vpc.not_found(&[id]))
    }

    fn check_new_block(&self, vpc: &Vpc, block: IpNet) -> Result<()> {
        let overlaps = |other: IpNet| block.contains(&other) || other.contains(&block);
        let conflict =
            |with: String| Err(Error::new("CidrConflict", format!("The CIDR '{block}' conflicts with {with}")));
        if let Some(own) = vpc.blocks().find(|own| overlaps(*own)) {
            return conflict(format!("{own} of {}", vpc.id));
        }
        for peering in self.peerings.of_vpc(&vpc.id) {
            // <https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html#add-cidr-block-restrictions>
            if peering.phase == Phase::PendingAcceptance && peering.requester.vpc_id == vpc.id {
                return Err(Error::not_permitted(format!(
                    "A CIDR cannot be added to {} while its request {} is pending acceptance",
                    vpc.id, peering.id
                )));
            }
            let end = if peering.requester.vpc_id == vpc.id { &peering.accepter } else { &peering.requester };
            let mut theirs = self.vpc_at(end).into_iter().flat_map(Vpc::blocks);
            if let Some(theirs) = theirs.find(|theirs| peering.phase.is_accepted() && overlaps(*theirs)) {
                return conflict(format!("{theirs} of the peer in {}", peering.id));
            }
        }
        let tables = self.tables.values().filter(|table| table.vpc_id == vpc.id);
        let mut destinations = tables.flat_map(|table| &table.routes).map(|route| route.destination);
        match destinations.find(|destination| block.contains(destination)) {
            Some(destination) => conflict(format!("the destination {destination} of a route")),
            None => Ok(()),
        }
    }

    /// Disassociates a block from a VPC.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DisassociateVpcCidrBlock.html>
    ///
    /// # Errors
    /// `InvalidVpcCidrBlockAssociationID.NotFound`, or `OperationNotPermitted` for the primary block.
    pub(crate) fn disassociate_block(&mut self, call: &Call, association_id: &str) -> Result<(Vpc, IpNet)> {
        let of = |vpc: &Vpc| vpc.blocks().find(|block| vpc.association_id(*block) == association_id);
        let found = self.vpcs(&call.location).find_map(|vpc| Some((vpc.clone(), of(vpc)?)));
        let Some((vpc, block)) = found else {
            let message = format!("The vpc CIDR block association ID '{association_id}' does not exist");
            return Err(Error::new("InvalidVpcCidrBlockAssociationID.NotFound", message));
        };
        if vpc.cidr_blocks.first().is_some_and(|primary| IpNet::V4(*primary) == block) {
            return Err(Error::not_permitted(format!(
                "The vpc CIDR block with association ID {association_id} may not be disassociated. It is the primary \
                 IPv4 CIDR block of the VPC"
            )));
        }
        call.proceed()?;
        if let Some(vpc) = self.vpcs.get_mut(&vpc.id) {
            vpc.cidr_blocks.retain(|other| IpNet::V4(*other) != block);
            vpc.ipv6_cidr_blocks.retain(|other| IpNet::V6(*other) != block);
            vpc.disassociated.retain(|entry| call.now < entry.hidden_from);
            let hidden_from = saturating_add(call.now, DISASSOCIATED_VISIBILITY);
            vpc.disassociated.push(Disassociated { block, hidden_from });
        }
        Ok((vpc, block))
    }

    /// Deletes a VPC and its pending requests.
    /// <https://docs.aws.amazon.com/vpc/latest/peering/delete-vpc-peering-connection.html>
    ///
    /// # Errors
    /// `DependencyViolation` while it has an accepted connection, a pending request from another account, or a route
    /// table other than the main one.
    pub(crate) fn delete_vpc(&mut self, call: &Call, id: &str) -> Result<()> {
        self.vpc(call, id)?;
        let has_peerings = self.peerings.of_vpc(id).any(|peering| match peering.phase {
            // The console deletes such a connection along with the VPC. The API does not.
            Phase::Provisioning { .. } | Phase::Active => true,
            Phase::PendingAcceptance => peering.accepter.vpc_id == id && !peering.is_same_account(),
            _ => false,
        });
        let has_tables = self.tables.values().any(|table| table.vpc_id == id && !table.main);
        if has_peerings || has_tables {
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
        let tables: Vec<_> =
            self.tables.values().filter(|table| table.vpc_id == id).map(|table| table.id.clone()).collect();
        for table in tables {
            self.tables.remove(&table);
            self.forget_tags(&table);
        }
        self.vpcs.remove(id);
        self.forget_tags(id);
        Ok(())
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

fn check_range(block: Ipv4Net) -> Result<()> {
    if (16..=28).contains(&block.prefix_len()) {
        return Ok(());
    }
    Err(Error::new("InvalidVpcRange", format!("The CIDR '{block}' is invalid.")))
}

pub(crate) fn parse_block<T: std::str::FromStr>(name: &str, value: &str) -> Result<T> {
    value.parse().map_err(|_| Error::invalid_value(name, value, "This is not a valid CIDR block."))
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

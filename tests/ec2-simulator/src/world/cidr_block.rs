//! The CIDR blocks of a VPC: their ranges, association and disassociation.

use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::World;
use super::call::Call;
use super::id::ResourceKind;
use super::peering::{Phase, saturating_add};
use super::vpc::{Disassociated, Ipv6Block, Vpc};
use crate::error::{Error, Result};

/// How long `DescribeVpcs` shows a disassociated block, by the simulator's clock. AWS does not document it. Users
/// observed 30 minutes to more than an hour (lyft/cni-ipvlan-vpc-k8s 49).
const DISASSOCIATED_VISIBILITY: Duration = Duration::from_secs(60 * 60);

/// A block to be associated with a VPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewBlock {
    Ipv4(Ipv4Net),
    Ipv6(Ipv6Block),
}

impl World {
    /// Generates a /56 block like those from Amazon's pool.
    pub(super) fn provide_ipv6_block(&mut self) -> Option<Ipv6Net> {
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
        let mut destinations = tables.flat_map(|table| &table.routes).filter_map(|route| route.destination.block());
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
}

pub(super) fn check_range(block: Ipv4Net) -> Result<()> {
    if (16..=28).contains(&block.prefix_len()) {
        return Ok(());
    }
    Err(Error::new("InvalidVpcRange", format!("The CIDR '{block}' is invalid.")))
}

pub(crate) fn parse_block<T: std::str::FromStr>(name: &str, value: &str) -> Result<T> {
    value.parse().map_err(|_| Error::invalid_value(name, value, "This is not a valid CIDR block."))
}

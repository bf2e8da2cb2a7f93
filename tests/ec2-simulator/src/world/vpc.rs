//! VPCs: their CIDR blocks and their two DNS attributes.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::id::ResourceKind;
use super::peering::{Phase, Side};
use super::place::{Call, Place};
use super::route::RouteTable;
use super::tag::Tags;
use super::{World, tag};
use crate::error::{Error, Result};

/// A VPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    /// `vpc-…`
    pub id: String,
    /// Whose it is, and where.
    #[serde(flatten)]
    pub place: Place,
    /// The IPv4 blocks, the primary one first.
    pub cidr_blocks: Vec<Ipv4Net>,
    /// The IPv6 blocks.
    #[serde(default)]
    pub ipv6_cidr_blocks: Vec<Ipv6Net>,
    /// `enableDnsSupport`
    #[serde(default = "yes")]
    pub dns_support: bool,
    /// `enableDnsHostnames`
    #[serde(default)]
    pub dns_hostnames: bool,
}

fn yes() -> bool {
    true
}

/// The IPv6 block that a VPC is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv6Block {
    /// None.
    Absent,
    /// One out of Amazon's pool.
    Provided,
    /// One of the caller's own.
    Own(Ipv6Net),
}

/// What is to be associated with a VPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewBlock {
    /// An IPv4 block.
    Ipv4(Ipv4Net),
    /// An IPv6 block.
    Ipv6(Ipv6Block),
}

impl Vpc {
    /// The ID of a block's association. It has no life of its own here, so its ID follows from what it joins: the same
    /// block has the same one again.
    #[must_use]
    pub fn association_id(&self, block: IpNet) -> String {
        // FNV-1a, which is the same on every machine and in every run.
        let joined = format!("{} {block}", self.id);
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        format!("vpc-cidr-assoc-{:017x}", joined.bytes().fold(0xcbf2_9ce4_8422_2325, mix))
    }

    /// All its blocks.
    pub fn blocks(&self) -> impl Iterator<Item = IpNet> + '_ {
        let ipv4 = self.cidr_blocks.iter().copied().map(IpNet::V4);
        ipv4.chain(self.ipv6_cidr_blocks.iter().copied().map(IpNet::V6))
    }

    /// Whether any address is in both: any block of one and any of the other, IPv4 and IPv6.
    /// <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html#vpc-peering-limitations>
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.blocks().any(|one| other.blocks().any(|two| one.contains(&two) || two.contains(&one)))
    }

    /// Whether names can be resolved across a peering.
    #[must_use]
    pub fn resolves_names(&self) -> bool {
        self.dns_support && self.dns_hostnames
    }
}

impl World {
    /// The VPCs of a place.
    pub fn vpcs<'a>(&'a self, place: &'a Place) -> impl Iterator<Item = &'a Vpc> {
        self.vpcs.values().filter(move |vpc| vpc.place == *place)
    }

    /// A VPC that the caller has here.
    ///
    /// # Errors
    /// `InvalidVpcID.NotFound`, whether nobody has it or another has.
    pub fn vpc(&self, call: &Call, id: &str) -> Result<&Vpc> {
        ResourceKind::Vpc.check(id)?;
        let own = self.vpcs.get(id).filter(|vpc| vpc.place == call.place);
        own.ok_or_else(|| ResourceKind::Vpc.not_found(&[id]))
    }

    /// The VPC of this ID, whoever has it.
    pub(super) fn any_vpc(&self, id: &str) -> Option<&Vpc> {
        self.vpcs.get(id)
    }

    /// Makes a VPC, and its main route table with it.
    ///
    /// # Errors
    /// `InvalidVpcRange`, unless the block is a /16 to a /28:
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVpc.html>.
    pub fn create_vpc(&mut self, call: &Call, block: Ipv4Net, ipv6: Ipv6Block, tags: Tags) -> Result<Vpc> {
        check_range(block)?;
        tag::check(&tags, &self.settings.quotas)?;
        call.proceed()?;
        let id = self.random.id("vpc");
        let vpc = Vpc {
            id: id.clone(),
            place: call.place.clone(),
            // EC2 keeps the network of what it is given: 10.0.1.0/16 becomes 10.0.0.0/16.
            cidr_blocks: vec![block.trunc()],
            ipv6_cidr_blocks: match ipv6 {
                Ipv6Block::Absent => Vec::new(),
                Ipv6Block::Provided => self.provide_ipv6_block().into_iter().collect(),
                Ipv6Block::Own(block) => vec![block.trunc()],
            },
            dns_support: true,
            dns_hostnames: false,
        };
        let table = RouteTable::new(self.random.id("rtb"), &vpc, true);
        self.add_tags(&call.place, &table.id, self.settings.tags_of_vpcs.clone());
        self.tables.insert(table.id.clone(), table);
        self.vpcs.insert(id.clone(), vpc.clone());
        self.add_tags(&call.place, &id, self.settings.tags_of_vpcs.clone());
        self.add_tags(&call.place, &id, tags);
        Ok(vpc)
    }

    /// An IPv6 block as Amazon would provide it: a /56 that nobody else has.
    fn provide_ipv6_block(&mut self) -> Option<Ipv6Net> {
        let network = u128::from(self.random.next_u64() >> 40);
        let site = (0x2600_1f00_u128 << 96) | (network << 72);
        Ipv6Net::new(site.into(), 56).ok()
    }

    /// Adds a block to a VPC.
    /// <https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html#add-cidr-block-restrictions>
    ///
    /// # Errors
    /// `InvalidVpcRange`, unless an IPv4 block is a /16 to a /28; `CidrLimitExceeded`, when the VPC has as many as it
    /// may; `CidrConflict`, when the block overlaps one of the VPC or of a VPC that it is peered with, or contains a
    /// destination of its routes; `OperationNotPermitted`, while a request of the VPC's is pending.
    pub fn associate_block(&mut self, call: &Call, id: &str, new: NewBlock) -> Result<(Vpc, IpNet)> {
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

    /// Takes a block from a VPC.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DisassociateVpcCidrBlock.html>
    ///
    /// # Errors
    /// `InvalidVpcCidrBlockAssociationID.NotFound`, and `OperationNotPermitted` for the primary block.
    pub fn disassociate_block(&mut self, call: &Call, association_id: &str) -> Result<(Vpc, IpNet)> {
        let of = |vpc: &Vpc| vpc.blocks().find(|block| vpc.association_id(*block) == association_id);
        let found = self.vpcs(&call.place).find_map(|vpc| Some((vpc.clone(), of(vpc)?)));
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
        }
        Ok((vpc, block))
    }

    /// Deletes a VPC, as far as its peerings and route tables allow.
    /// <https://docs.aws.amazon.com/vpc/latest/peering/delete-vpc-peering-connection.html>
    ///
    /// # Errors
    /// `DependencyViolation`, while it has an accepted peering, another's request, or a route table besides its own.
    pub fn delete_vpc(&mut self, call: &Call, id: &str) -> Result<()> {
        self.vpc(call, id)?;
        let in_the_way = self.peerings.of_vpc(id).any(|peering| match peering.phase {
            // The console would delete it along with the VPC; the API leaves that to the caller.
            Phase::Provisioning { .. } | Phase::Active => true,
            Phase::PendingAcceptance => peering.accepter.vpc_id == id && !peering.is_same_account(),
            _ => false,
        });
        let has_tables = self.tables.values().any(|table| table.vpc_id == id && !table.main);
        if in_the_way || has_tables {
            let message = format!("The vpc '{id}' has dependencies and cannot be deleted.");
            return Err(Error::new("DependencyViolation", message));
        }
        call.proceed()?;
        // A request of one's own goes with the VPC.
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

    /// Sets the DNS attributes, of which one call may name one.
    ///
    /// # Errors
    /// `InvalidParameterCombination`, unless it is exactly one; `InvalidParameterValue`, when host names are to be
    /// enabled while DNS support is not:
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVpcAttribute.html>.
    pub fn modify_vpc_attribute(
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

/// A block as EC2 reads it.
///
/// # Errors
/// `InvalidParameterValue`, if it is none.
pub fn parse_block<T: std::str::FromStr>(name: &str, value: &str) -> Result<T> {
    value.parse().map_err(|_| Error::invalid_value(name, value, "This is not a valid CIDR block."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn vpc(ipv4: &[&str], ipv6: &[&str]) -> Vpc {
        Vpc {
            id: "vpc-00000000000000001".into(),
            place: Place::new("111111111111", "us-east-1"),
            cidr_blocks: ipv4.iter().map(|block| block.parse().unwrap()).collect(),
            ipv6_cidr_blocks: ipv6.iter().map(|block| block.parse().unwrap()).collect(),
            dns_support: true,
            dns_hostnames: false,
        }
    }

    #[test]
    fn any_two_blocks_can_overlap() {
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

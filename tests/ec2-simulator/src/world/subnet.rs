//! Subnets. Only a scene can contain them.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::call::{Call, Location};
use super::{Vpc, World};
use crate::error::{Error, Result};

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The ID: `subnet-…`.
    pub id: String,
    /// The account and region.
    #[serde(flatten)]
    pub location: Location,
    /// The VPC.
    pub vpc_id: String,
    /// The IPv4 block.
    pub cidr_block: Ipv4Net,
    /// The IPv6 block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_cidr_block: Option<Ipv6Net>,
}

impl World {
    /// The subnets of a location, and those of the VPCs that other accounts share with it.
    pub(crate) fn visible_subnets<'a>(&'a self, location: &'a Location) -> impl Iterator<Item = &'a Subnet> {
        let is_visible = |subnet: &&Subnet| self.any_vpc(&subnet.vpc_id).is_some_and(|vpc| vpc.is_visible(location));
        self.subnets.values().filter(is_visible)
    }

    pub(crate) fn any_subnet(&self, id: &str) -> Option<&Subnet> {
        self.subnets.get(id)
    }

    /// The number of addresses that a subnet has left. AWS reserves five of each subnet:
    /// <https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html>.
    pub(crate) fn free_addresses(&self, subnet: &Subnet) -> usize {
        let used: usize = self.interfaces_of(&subnet.id).map(|interface| interface.ipv4_addresses.len()).sum();
        let all = 1_usize << (32 - u32::from(subnet.cidr_block.prefix_len()));
        all.saturating_sub(5 + used)
    }

    /// Whether a VPC has parts that must be deleted before it.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteVpc.html>
    pub(super) fn has_parts(&self, vpc_id: &str) -> bool {
        self.subnets.values().any(|subnet| subnet.vpc_id == vpc_id)
            || self.acls.values().any(|acl| acl.vpc_id == vpc_id && !acl.default)
            || self.groups.values().any(|group| group.vpc_id == vpc_id && !group.is_default())
    }

    /// Adds the subnets of a scene. Fails if one is not inside its VPC.
    pub(super) fn add_subnets(&mut self, subnets: Vec<Subnet>) -> Result<()> {
        for subnet in subnets {
            let blocks = [IpNet::V4(subnet.cidr_block)].into_iter().chain(subnet.ipv6_cidr_block.map(IpNet::V6));
            let vpc = self.any_vpc(&subnet.vpc_id).filter(|vpc| vpc.location == subnet.location);
            let is_inside = |vpc: &Vpc| blocks.clone().all(|block| vpc.blocks().any(|all| all.contains(&block)));
            if !vpc.is_some_and(is_inside) {
                let message = format!("{} is not inside {}", subnet.id, subnet.vpc_id);
                return Err(Error::new("InvalidScene", message));
            }
            self.subnets.insert(subnet.id.clone(), subnet);
        }
        Ok(())
    }

    /// Fails unless all subnets belong to the VPC. `owner` is the resource that names them.
    pub(super) fn check_subnets(&self, owner: &str, vpc_id: &str, ids: &[String]) -> Result<()> {
        let is_own = |id: &String| self.any_subnet(id).is_some_and(|subnet| subnet.vpc_id == vpc_id);
        match ids.iter().find(|id| !is_own(id)) {
            Some(id) => Err(Error::new("InvalidScene", format!("{owner}: {vpc_id} has no subnet {id}"))),
            None => Ok(()),
        }
    }

    /// Whether a resource is visible to the caller. Route tables, VPCs and connections have checks of their own.
    pub(super) fn is_part_visible(&self, call: &Call, id: &str) -> bool {
        let here = &call.location;
        self.visible_subnets(here).any(|subnet| subnet.id == id)
            || self.acls.get(id).is_some_and(|acl| acl.location == *here)
            || self.groups.get(id).is_some_and(|group| group.location == *here)
            || self.security_group_rules(here).any(|rule| rule.id == id)
            || self.interfaces.get(id).is_some_and(|interface| interface.location == *here)
            || self.visible_prefix_lists(here).any(|list| list.id == id)
    }
}

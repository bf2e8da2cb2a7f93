//! Network ACLs. A VPC has a default one, and a scene can contain others.
//! <https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html>

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::call::Location;
use super::{Vpc, World};
use crate::error::{Error, Result};

/// A network ACL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAcl {
    /// The ID: `acl-…`.
    pub id: String,
    /// The account and region.
    #[serde(flatten)]
    pub location: Location,
    /// The VPC.
    pub vpc_id: String,
    /// Whether it is the default one of its VPC.
    #[serde(default)]
    pub default: bool,
    /// The subnets that it is associated with. The default one also has all subnets that no other ACL names.
    #[serde(default)]
    pub subnet_ids: Vec<String>,
    /// The entries, without those that deny the rest.
    #[serde(default)]
    pub entries: Vec<AclEntry>,
}

/// An entry of a network ACL. <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkAclEntry.html>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AclEntry {
    /// The number. Entries are evaluated in ascending order.
    pub number: u32,
    /// Whether it applies to traffic that leaves the subnet.
    #[serde(default)]
    pub egress: bool,
    /// Whether it allows the traffic.
    pub allow: bool,
    /// The number of the protocol, such as `6` for TCP; `-1` is every protocol.
    pub protocol: String,
    /// The source or the destination.
    pub block: IpNet,
    /// The first and the last port, of TCP and UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<(u16, u16)>,
    /// The type and the code, of ICMP; -1 is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<(i32, i32)>,
}

/// The numbers of the entries that EC2 shows as `*`. They cannot be changed.
/// <https://docs.aws.amazon.com/vpc/latest/userguide/default-network-acl.html>
const REST: u32 = 32767;
const REST_IPV6: u32 = 32768;

/// The numbers of the entries of a default ACL, which allow everything.
const ALL: u32 = 100;
const ALL_IPV6: u32 = 101;

impl AclEntry {
    fn every(block: IpNet, number: u32, allow: bool) -> [Self; 2] {
        let entry = |egress| Self { number, egress, allow, protocol: "-1".into(), block, ports: None, icmp: None };
        [entry(true), entry(false)]
    }
}

fn everywhere() -> [IpNet; 2] {
    [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())]
}

impl NetworkAcl {
    /// The default ACL of a VPC. Its ID is derived from the VPC's.
    pub(super) fn default_of(vpc: &Vpc) -> Self {
        Self {
            id: vpc.id.replacen("vpc-", "acl-", 1),
            location: vpc.location.clone(),
            vpc_id: vpc.id.clone(),
            default: true,
            subnet_ids: Vec::new(),
            entries: AclEntry::every(everywhere()[0], ALL, true).into(),
        }
    }

    /// The entries that `DescribeNetworkAcls` shows. EC2 adds entries for IPv6 when the VPC gets an IPv6 block; a
    /// default ACL then allows all of IPv6, unless somebody has set entries for it.
    pub(crate) fn shown_entries(&self, has_ipv6: bool) -> Vec<AclEntry> {
        let [ipv4, ipv6] = everywhere();
        let mut entries = self.entries.clone();
        let names_ipv6 = entries.iter().any(|entry| matches!(entry.block, IpNet::V6(_)));
        if self.default && has_ipv6 && !names_ipv6 {
            entries.extend(AclEntry::every(ipv6, ALL_IPV6, true));
        }
        entries.extend(AclEntry::every(ipv4, REST, false));
        if has_ipv6 {
            entries.extend(AclEntry::every(ipv6, REST_IPV6, false));
        }
        entries.sort_by_key(|entry| (!entry.egress, entry.number));
        entries
    }
}

impl World {
    pub(crate) fn network_acls<'a>(&'a self, location: &'a Location) -> impl Iterator<Item = &'a NetworkAcl> {
        self.acls.values().filter(move |acl| acl.location == *location)
    }

    /// The subnets of a network ACL. Each subnet has exactly one ACL.
    pub(crate) fn subnets_of_acl<'a>(&'a self, acl: &'a NetworkAcl) -> impl Iterator<Item = &'a str> {
        let is_named = |acl: &NetworkAcl, id: &String| acl.subnet_ids.contains(id);
        let of_acl =
            move |id: &String| is_named(acl, id) || acl.default && !self.acls.values().any(|other| is_named(other, id));
        let of_vpc = self.subnets.values().filter(move |subnet| subnet.vpc_id == acl.vpc_id);
        of_vpc.map(|subnet| &subnet.id).filter(move |id| of_acl(id)).map(String::as_str)
    }

    /// Adds the ACLs of a scene. Fails if the VPC or a subnet does not exist, or a subnet has two ACLs.
    pub(super) fn add_network_acls(&mut self, acls: Vec<NetworkAcl>) -> Result<()> {
        for acl in acls {
            self.check_subnets(&acl.id, &acl.vpc_id, &acl.subnet_ids)?;
            let is_named = |other: &&NetworkAcl| other.subnet_ids.iter().any(|id| acl.subnet_ids.contains(id));
            if let Some(other) = self.acls.values().filter(|other| other.id != acl.id).find(is_named) {
                return Err(Error::new("InvalidScene", format!("a subnet is in {} and {}", other.id, acl.id)));
            }
            let has_default = self.acls.values().any(|other| other.vpc_id == acl.vpc_id && other.default);
            if acl.default && has_default {
                self.acls.retain(|_, other| other.vpc_id != acl.vpc_id || !other.default);
            }
            self.acls.insert(acl.id.clone(), acl);
        }
        Ok(())
    }
}

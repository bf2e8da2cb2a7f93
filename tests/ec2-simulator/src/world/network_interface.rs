//! Network interfaces. Only a scene can contain them.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::World;
use super::call::Location;
use crate::error::{Error, Result};

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkInterface {
    /// The ID: `eni-…`.
    pub id: String,
    /// The account and region. In a shared VPC, the account may be a participant.
    #[serde(flatten)]
    pub location: Location,
    /// The subnet.
    pub subnet_id: String,
    /// The private IPv4 addresses. The first is the primary one.
    #[serde(default)]
    pub ipv4_addresses: Vec<Ipv4Addr>,
    /// The prefixes that are delegated to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ipv4_prefixes: Vec<Ipv4Net>,
    /// The IPv6 addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ipv6_addresses: Vec<Ipv6Addr>,
    /// The security groups.
    pub group_ids: Vec<String>,
    /// The description.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The instance that it is attached to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
}

impl World {
    pub(crate) fn network_interfaces<'a>(
        &'a self,
        location: &'a Location,
    ) -> impl Iterator<Item = &'a NetworkInterface> {
        self.interfaces.values().filter(move |interface| interface.location == *location)
    }

    pub(super) fn interfaces_of<'a>(&'a self, subnet_id: &'a str) -> impl Iterator<Item = &'a NetworkInterface> {
        self.interfaces.values().filter(move |interface| interface.subnet_id == subnet_id)
    }

    /// Adds the interfaces of a scene. Fails if the subnet or a group does not exist, or an address is outside the
    /// subnet.
    pub(super) fn add_network_interfaces(&mut self, interfaces: Vec<NetworkInterface>) -> Result<()> {
        for interface in interfaces {
            let invalid = |what: String| Error::new("InvalidScene", format!("{}: {what}", interface.id));
            let subnet = self.any_subnet(&interface.subnet_id);
            let subnet = subnet.ok_or_else(|| invalid(format!("there is no {}", interface.subnet_id)))?;
            if let Some(group) = interface.group_ids.iter().find(|id| self.any_group(id).is_none()) {
                return Err(invalid(format!("there is no {group}")));
            }
            if let Some(address) = interface.ipv4_addresses.iter().find(|one| !subnet.cidr_block.contains(*one)) {
                return Err(invalid(format!("{address} is not in {}", subnet.id)));
            }
            self.interfaces.insert(interface.id.clone(), interface);
        }
        Ok(())
    }
}

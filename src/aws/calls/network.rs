//! The calls on the parts of a VPC that decide whether a packet arrives.

use std::collections::BTreeSet;
use std::net::IpAddr;

use aws_sdk_ec2::types::{
    Filter, NetworkAclEntry, NetworkInterface, Route, RouteOrigin, RouteState, RuleAction, SecurityGroup,
};
use ipnet::IpNet;

use super::VPC_ID;
use crate::aws::ec2::Ec2;
use crate::aws::error::AwsError;
use crate::peering::network::{
    Acl, AclEntry, Group, GroupRule, Interface, NetworkRoute, NetworkTable, Ports, RouteDestination, RulePeer, Subnet,
};

fn of_vpc(id: &str) -> Filter {
    Filter::builder().name(VPC_ID).values(id).build()
}

impl Ec2 {
    /// The subnets of a VPC.
    pub async fn subnets_of(&self, region: &str, vpc_id: &str) -> Result<Vec<Subnet>, AwsError> {
        let call = self.read_client(region).describe_subnets().filters(of_vpc(vpc_id));
        let all = call.into_paginator().items().send().try_collect().await;
        let all = all.map_err(|error| self.error("DescribeSubnets", &error))?;
        Ok(all.into_iter().filter_map(read_subnet).collect())
    }

    /// The route tables of a VPC, with routes of every kind.
    pub async fn network_tables_of(&self, region: &str, vpc_id: &str) -> Result<Vec<NetworkTable>, AwsError> {
        let call = self.read_client(region).describe_route_tables().filters(of_vpc(vpc_id));
        let all = call.into_paginator().items().send().try_collect().await;
        let all = all.map_err(|error| self.error("DescribeRouteTables", &error))?;
        Ok(all.into_iter().filter_map(read_table).collect())
    }

    /// The network ACLs of a VPC.
    pub async fn network_acls_of(&self, region: &str, vpc_id: &str) -> Result<Vec<Acl>, AwsError> {
        let call = self.read_client(region).describe_network_acls().filters(of_vpc(vpc_id));
        let all = call.into_paginator().items().send().try_collect().await;
        let all = all.map_err(|error| self.error("DescribeNetworkAcls", &error))?;
        Ok(all.into_iter().filter_map(read_acl).collect())
    }

    /// The network interface of a VPC that has this address, or in the subnet a prefix that contains it. The nodes of
    /// EKS can have prefixes for their pods: <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-prefix-eni.html>.
    pub async fn interface_with(
        &self,
        region: &str,
        vpc_id: &str,
        subnet_id: Option<&str>,
        address: IpAddr,
    ) -> Result<Option<Interface>, AwsError> {
        let name = if address.is_ipv4() { "addresses.private-ip-address" } else { "ipv6-addresses.ipv6-address" };
        let exact = Filter::builder().name(name).values(address.to_string()).build();
        let found = self.interfaces(region, vec![of_vpc(vpc_id), exact]).await?.into_iter().next();
        let found = match (found, subnet_id) {
            (None, Some(subnet)) => {
                let of_subnet = Filter::builder().name("subnet-id").values(subnet).build();
                let all = self.interfaces(region, vec![of_subnet]).await?;
                all.into_iter().find(|interface| has_prefix(interface, address))
            }
            (found, _) => found,
        };
        Ok(found.and_then(read_interface))
    }

    /// The VPCs of these instances. Instances that EC2 does not show to these credentials are left out.
    pub async fn vpcs_of_instances(
        &self,
        region: &str,
        ids: impl IntoIterator<Item = String>,
    ) -> Result<BTreeSet<String>, AwsError> {
        let ids = ids.into_iter().collect();
        let filter = Filter::builder().name("attachment.instance-id").set_values(Some(ids)).build();
        let found = self.interfaces(region, vec![filter]).await?;
        Ok(found.into_iter().filter_map(|interface| interface.vpc_id).collect())
    }

    async fn interfaces(&self, region: &str, filters: Vec<Filter>) -> Result<Vec<NetworkInterface>, AwsError> {
        let call = self.read_client(region).describe_network_interfaces().set_filters(Some(filters));
        let all = call.into_paginator().items().send().try_collect().await;
        all.map_err(|error| self.error("DescribeNetworkInterfaces", &error))
    }

    /// The security groups with these IDs.
    pub async fn security_groups(&self, region: &str, ids: &[String]) -> Result<Vec<Group>, AwsError> {
        let ids = Filter::builder().name("group-id").set_values(Some(ids.to_vec())).build();
        let call = self.read_client(region).describe_security_groups().filters(ids);
        let all = call.into_paginator().items().send().try_collect().await;
        let all = all.map_err(|error| self.error("DescribeSecurityGroups", &error))?;
        Ok(all.into_iter().filter_map(read_group).collect())
    }

    /// The entries of a prefix list.
    pub async fn prefix_list(&self, region: &str, id: &str) -> Result<Vec<IpNet>, AwsError> {
        let call = self.read_client(region).get_managed_prefix_list_entries().prefix_list_id(id);
        let all = call.into_paginator().items().send().try_collect().await;
        let all = all.map_err(|error| self.error("GetManagedPrefixListEntries", &error))?;
        Ok(all.into_iter().filter_map(|entry| entry.cidr?.parse().ok()).collect())
    }
}

fn read_subnet(subnet: aws_sdk_ec2::types::Subnet) -> Option<Subnet> {
    let ipv6 = subnet.ipv6_cidr_block_association_set.unwrap_or_default();
    let ipv6 = ipv6.into_iter().filter_map(|association| association.ipv6_cidr_block);
    let blocks = subnet.cidr_block.into_iter().chain(ipv6).filter_map(|block| block.parse().ok());
    Some(Subnet { id: subnet.subnet_id?, blocks: blocks.collect() })
}

fn has_prefix(interface: &NetworkInterface, address: IpAddr) -> bool {
    let ipv4 = interface.ipv4_prefixes().iter().filter_map(|prefix| prefix.ipv4_prefix());
    let ipv6 = interface.ipv6_prefixes().iter().filter_map(|prefix| prefix.ipv6_prefix());
    ipv4.chain(ipv6).filter_map(|prefix| prefix.parse::<IpNet>().ok()).any(|prefix| prefix.contains(&address))
}

fn read_interface(interface: NetworkInterface) -> Option<Interface> {
    let groups = interface.groups.unwrap_or_default();
    Some(Interface {
        id: interface.network_interface_id?,
        group_ids: groups.into_iter().filter_map(|group| group.group_id).collect(),
    })
}

fn read_table(table: aws_sdk_ec2::types::RouteTable) -> Option<NetworkTable> {
    let associations = table.associations.unwrap_or_default();
    Some(NetworkTable {
        id: table.route_table_id?,
        main: associations.iter().any(|association| association.main == Some(true)),
        subnet_ids: associations.into_iter().filter_map(|association| association.subnet_id).collect(),
        routes: table.routes.unwrap_or_default().into_iter().filter_map(read_route).collect(),
    })
}

fn read_route(route: Route) -> Option<NetworkRoute> {
    let block = route.destination_cidr_block.as_ref().or(route.destination_ipv6_cidr_block.as_ref());
    Some(NetworkRoute {
        destination: match block {
            Some(block) => RouteDestination::Block(block.parse().ok()?),
            None => RouteDestination::PrefixList(route.destination_prefix_list_id.clone()?),
        },
        is_blackhole: route.state == Some(RouteState::Blackhole),
        is_propagated: route.origin == Some(RouteOrigin::EnableVgwRoutePropagation),
        target: super::routes::target(route).to_string(),
    })
}

fn read_acl(acl: aws_sdk_ec2::types::NetworkAcl) -> Option<Acl> {
    let associations = acl.associations.unwrap_or_default();
    Some(Acl {
        id: acl.network_acl_id?,
        subnet_ids: associations.into_iter().filter_map(|association| association.subnet_id).collect(),
        entries: acl.entries.unwrap_or_default().into_iter().filter_map(read_entry).collect(),
    })
}

fn read_entry(entry: NetworkAclEntry) -> Option<AclEntry> {
    let port = |port: Option<i32>| port.and_then(|port| u16::try_from(port).ok());
    let ports = entry.port_range.and_then(|range| Some(Ports { first: port(range.from)?, last: port(range.to)? }));
    Some(AclEntry {
        number: entry.rule_number?,
        egress: entry.egress?,
        allow: entry.rule_action? == RuleAction::Allow,
        protocol: protocol(&entry.protocol?),
        block: entry.cidr_block.or(entry.ipv6_cidr_block)?.parse().ok()?,
        ports,
        icmp: entry.icmp_type_code.map(|icmp| (icmp.r#type.unwrap_or(-1), icmp.code.unwrap_or(-1))),
    })
}

/// The number of a protocol; `None` for every protocol. Security groups name some, and ACLs have numbers.
fn protocol(text: &str) -> Option<u8> {
    match text {
        "tcp" => Some(6),
        "udp" => Some(17),
        "icmp" => Some(1),
        "icmpv6" => Some(58),
        number => number.parse().ok(),
    }
}

fn read_group(group: SecurityGroup) -> Option<Group> {
    let ingress = group.ip_permissions.unwrap_or_default().into_iter().map(|permission| (false, permission));
    let egress = group.ip_permissions_egress.unwrap_or_default().into_iter().map(|permission| (true, permission));
    let rules = ingress.chain(egress).flat_map(|(egress, permission)| {
        let protocol = permission.ip_protocol.as_deref().and_then(protocol);
        let range = permission.from_port.zip(permission.to_port);
        let ipv4 = permission.ip_ranges.unwrap_or_default().into_iter().filter_map(|range| range.cidr_ip);
        let ipv6 = permission.ipv6_ranges.unwrap_or_default().into_iter().filter_map(|range| range.cidr_ipv6);
        let blocks = ipv4.chain(ipv6).filter_map(|block| block.parse().ok()).map(RulePeer::Block);
        let lists = permission.prefix_list_ids.unwrap_or_default().into_iter();
        let lists = lists.filter_map(|list| list.prefix_list_id).map(RulePeer::PrefixList);
        let groups = permission.user_id_group_pairs.unwrap_or_default().into_iter().filter_map(|pair| {
            let is_stale = pair.peering_status.is_some_and(|status| status != "active");
            Some(RulePeer::Group { id: pair.group_id?, is_stale })
        });
        let peers: Vec<_> = blocks.chain(lists).chain(groups).collect();
        peers.into_iter().map(move |peer| GroupRule { egress, protocol, range, peer })
    });
    Some(Group { id: group.group_id?, rules: rules.collect() })
}

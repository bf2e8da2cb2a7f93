//! The parts of a VPC that decide whether a packet arrives, and how EC2 evaluates them: routes, network ACLs and
//! security groups.

mod acl;
mod flow;
mod routing;
mod security_group;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

pub(crate) use acl::{Acl, AclEntry, Decision};
pub(crate) use flow::{Flow, Ports, Protocol, Traffic};
pub(crate) use routing::{NetworkRoute, NetworkTable, best_route};
pub(crate) use security_group::{Group, GroupRule, Peer, RulePeer, permitted};

/// The entries of prefix lists, by ID. A list that could not be read is absent.
pub(crate) type PrefixLists = BTreeMap<String, Vec<IpNet>>;

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subnet {
    pub id: String,
    pub blocks: Vec<IpNet>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub id: String,
    pub group_ids: Vec<String>,
}

/// The subnet with this address.
pub(crate) fn subnet_with(subnets: &[Subnet], address: IpAddr) -> Option<&Subnet> {
    subnets.iter().find(|subnet| subnet.blocks.iter().any(|block| block.contains(&address)))
}

/// The route table of a subnet: its own, or else the main one.
/// <https://docs.aws.amazon.com/vpc/latest/userguide/subnet-route-tables.html>
pub(crate) fn table_of<'a>(tables: &'a [NetworkTable], subnet: &str) -> Option<&'a NetworkTable> {
    let own = tables.iter().find(|table| table.subnet_ids.iter().any(|id| id == subnet));
    own.or_else(|| tables.iter().find(|table| table.main))
}

/// The network ACL of a subnet. Each subnet has exactly one.
pub(crate) fn acl_of<'a>(acls: &'a [Acl], subnet: &str) -> Option<&'a Acl> {
    acls.iter().find(|acl| acl.subnet_ids.iter().any(|id| id == subnet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_without_a_table_of_its_own_uses_the_main_one() {
        let table = |id: &str, main, subnets: &[&str]| NetworkTable {
            id: id.into(),
            main,
            subnet_ids: subnets.iter().map(|id| (*id).to_owned()).collect(),
            routes: Vec::new(),
        };
        let tables = [table("main", true, &["c"]), table("own", false, &["a"])];
        for (subnet, expected) in [("a", "own"), ("b", "main"), ("c", "main")] {
            assert_eq!(table_of(&tables, subnet).map(|table| table.id.as_str()), Some(expected), "{subnet}");
        }
        assert!(table_of(&tables[1..], "b").is_none());
    }

    #[test]
    fn a_subnet_uses_the_acl_that_it_is_associated_with() {
        let acl = |id: &str, subnet: &str| Acl { id: id.into(), subnet_ids: vec![subnet.into()], entries: Vec::new() };
        let acls = [acl("acl-1", "a"), acl("acl-2", "b")];
        for (subnet, expected) in [("a", Some("acl-1")), ("b", Some("acl-2")), ("c", None)] {
            assert_eq!(acl_of(&acls, subnet).map(|acl| acl.id.as_str()), expected, "{subnet}");
        }
    }
}

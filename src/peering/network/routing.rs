//! The choice of a route.

use std::net::IpAddr;

use ipnet::IpNet;

use super::PrefixLists;
use crate::peering::routes::Destination;

/// A route table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetworkTable {
    pub id: String,
    pub main: bool,
    /// The subnets that it is associated with explicitly.
    pub subnet_ids: Vec<String>,
    pub routes: Vec<NetworkRoute>,
}

/// A route of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetworkRoute {
    pub destination: Destination,
    /// The ID of the target, or `local`.
    pub target: String,
    pub is_blackhole: bool,
    /// Whether a virtual private gateway propagates it.
    pub is_propagated: bool,
}

impl NetworkRoute {
    /// The most specific block of the destination that contains the address.
    fn block_with(&self, address: IpAddr, lists: &PrefixLists) -> Option<IpNet> {
        let blocks = match &self.destination {
            Destination::Cidr(block) => std::slice::from_ref(block),
            Destination::PrefixList(id) => lists.get(id).map(Vec::as_slice).unwrap_or_default(),
        };
        blocks.iter().filter(|block| block.contains(&address)).max_by_key(|block| block.prefix_len()).copied()
    }

    /// The rank among routes whose blocks have the same length: a static route to a block, then one to a prefix list,
    /// then a propagated route.
    fn rank(&self) -> u8 {
        match (self.is_propagated, &self.destination) {
            (false, Destination::Cidr(_)) => 2,
            (false, Destination::PrefixList(_)) => 1,
            (true, _) => 0,
        }
    }
}

/// The route that traffic to the address takes, of those that `is_candidate` admits, and its block. The longest prefix
/// wins. <https://docs.aws.amazon.com/vpc/latest/userguide/route-tables-priority.html>
pub(crate) fn best_route<'a>(
    table: &'a NetworkTable,
    address: IpAddr,
    lists: &PrefixLists,
    is_candidate: impl Fn(&NetworkRoute) -> bool,
) -> Option<(&'a NetworkRoute, IpNet)> {
    let matching = table.routes.iter().filter(|route| is_candidate(route));
    let matching = matching.filter_map(|route| Some((route, route.block_with(address, lists)?)));
    matching.max_by_key(|(route, block)| (block.prefix_len(), route.rank()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(destination: &str, target: &str) -> NetworkRoute {
        let block = destination.parse().map(Destination::Cidr);
        NetworkRoute {
            destination: block.unwrap_or_else(|_| Destination::PrefixList(destination.into())),
            target: target.into(),
            is_blackhole: false,
            is_propagated: target.starts_with("vgw-"),
        }
    }

    #[test]
    fn the_longest_prefix_wins_and_then_the_kind_of_route() -> Result<(), Box<dyn std::error::Error>> {
        let lists = PrefixLists::from([("pl-1".to_owned(), vec!["10.2.0.0/16".parse()?, "10.2.8.0/24".parse()?])]);
        let pcx = || route("10.2.0.0/16", "pcx-1");
        for (routes, address, expected) in [
            (vec![pcx()], "10.2.0.5", Some("pcx-1")),
            (vec![pcx()], "10.3.0.5", None),
            (vec![pcx(), route("0.0.0.0/0", "igw-1")], "10.2.0.5", Some("pcx-1")),
            (vec![pcx(), route("0.0.0.0/0", "igw-1")], "10.3.0.5", Some("igw-1")),
            (vec![pcx(), route("10.2.1.0/24", "tgw-1")], "10.2.1.5", Some("tgw-1")),
            (vec![pcx(), route("10.2.1.0/24", "tgw-1")], "10.2.2.5", Some("pcx-1")),
            (vec![route("10.2.0.0/16", "vgw-1"), pcx()], "10.2.0.5", Some("pcx-1")),
            (vec![route("10.2.1.0/24", "vgw-1"), pcx()], "10.2.1.5", Some("vgw-1")),
            (vec![pcx(), route("pl-1", "tgw-1")], "10.2.0.5", Some("pcx-1")),
            (vec![pcx(), route("pl-1", "tgw-1")], "10.2.8.5", Some("tgw-1")),
            (vec![route("10.2.0.0/16", "vgw-1"), route("pl-1", "tgw-1")], "10.2.0.5", Some("tgw-1")),
            (vec![route("pl-unread", "tgw-1")], "10.2.0.5", None),
            (vec![route("::/0", "pcx-1")], "10.2.0.5", None),
            (vec![route("2001:db8::/32", "pcx-1"), route("::/0", "eigw-1")], "2001:db8::5", Some("pcx-1")),
        ] {
            let table = NetworkTable { id: "rtb-1".into(), main: true, subnet_ids: Vec::new(), routes };
            let best = best_route(&table, address.parse()?, &lists, |_| true);
            assert_eq!(best.map(|(route, _)| route.target.as_str()), expected, "{address} {table:?}");
        }
        Ok(())
    }
}

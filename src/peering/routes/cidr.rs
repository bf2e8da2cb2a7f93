//! CIDR blocks.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use crate::api::VpcInfo;

/// The CIDR blocks of an end that EC2 shows, IPv4 and IPv6.
pub(crate) fn cidr_blocks(end: &VpcInfo) -> BTreeSet<IpNet> {
    let ipv4 = end.cidr_block_set.iter().map(|block| &block.cidr_block);
    let ipv6 = end.ipv6_cidr_block_set.iter().map(|block| &block.ipv6_cidr_block);
    end.cidr_block.iter().chain(ipv4).chain(ipv6).filter_map(|block| parse(block)).collect()
}

/// Parses CIDR blocks. Invalid ones are left out.
pub(crate) fn parse_all<'a>(blocks: impl IntoIterator<Item = &'a String>) -> BTreeSet<IpNet> {
    blocks.into_iter().filter_map(|block| parse(block)).collect()
}

/// Parses a CIDR block into the form that EC2 stores: 100.68.0.18/18 becomes 100.68.0.0/18.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateRoute.html>
pub(super) fn parse(block: &str) -> Option<IpNet> {
    block.parse::<IpNet>().ok().map(|block| block.trunc())
}

pub(super) fn is_ipv4(block: &IpNet) -> bool {
    matches!(block, IpNet::V4(_))
}

/// Whether an IPv4 block is private address space: RFC 1918 and RFC 6598.
pub(super) fn is_private(block: &Ipv4Net) -> bool {
    const PRIVATE: [(Ipv4Addr, u8); 4] = [
        (Ipv4Addr::new(10, 0, 0, 0), 8),
        (Ipv4Addr::new(172, 16, 0, 0), 12),
        (Ipv4Addr::new(192, 168, 0, 0), 16),
        (Ipv4Addr::new(100, 64, 0, 0), 10),
    ];
    let contains = |(address, length)| Ipv4Net::new(address, length).is_ok_and(|private| private.contains(block));
    PRIVATE.into_iter().any(contains)
}

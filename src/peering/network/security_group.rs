//! Security groups. They are stateful, so that replies pass, and every rule allows.
//! <https://docs.aws.amazon.com/vpc/latest/userguide/vpc-security-groups.html>

use std::net::IpAddr;

use ipnet::IpNet;

use super::PrefixLists;
use super::flow::{Ports, Traffic};

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub id: String,
    pub rules: Vec<GroupRule>,
}

/// A rule of a security group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupRule {
    pub egress: bool,
    /// `None` for every protocol.
    pub protocol: Option<u8>,
    /// The ports of TCP and UDP; of ICMP the type and the code. `None` or -1 for all.
    pub range: Option<(i32, i32)>,
    /// The source, or the destination of a rule for egress.
    pub peer: RulePeer,
}

/// The other end of the traffic that a rule allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RulePeer {
    Block(IpNet),
    /// The ID of a prefix list.
    PrefixList(String),
    /// The ID of a group. A rule that refers to a group of a peer VPC is stale after the end of the connection, and
    /// then allows nothing.
    Group {
        id: String,
        is_stale: bool,
    },
}

/// The interface at the other end of the traffic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer<'a> {
    pub address: IpAddr,
    /// The groups of its interface. Empty if they are not known.
    pub groups: &'a [String],
}

impl GroupRule {
    fn names(&self, peer: Peer<'_>, lists: &PrefixLists) -> bool {
        let has = |blocks: &[IpNet]| blocks.iter().any(|block| block.contains(&peer.address));
        match &self.peer {
            RulePeer::Block(block) => has(&[*block]),
            RulePeer::PrefixList(id) => lists.get(id).is_some_and(|blocks| has(blocks)),
            RulePeer::Group { id, is_stale } => !is_stale && peer.groups.contains(id),
        }
    }

    /// The ports of the traffic that the rule allows.
    fn allows(&self, traffic: &Traffic) -> Option<Ports> {
        if self.protocol.is_some_and(|number| number != traffic.number) {
            return None;
        }
        let Some((first, last)) = self.range.filter(|(first, _)| self.protocol.is_some() && *first != -1) else {
            return Some(traffic.ports);
        };
        match traffic.icmp {
            Some(kind) => (first == i32::from(kind) && matches!(last, -1 | 0)).then_some(traffic.ports),
            None => {
                let (first, last) = (u16::try_from(first).ok()?, u16::try_from(last).ok()?);
                traffic.ports.overlap(Ports { first, last })
            }
        }
    }
}

/// The ports to which the groups of an interface let the traffic pass.
pub(crate) fn permitted<'a>(
    groups: impl IntoIterator<Item = &'a Group>,
    egress: bool,
    peer: Peer<'_>,
    lists: &PrefixLists,
    traffic: &Traffic,
) -> Vec<Ports> {
    let rules = groups.into_iter().flat_map(|group| &group.rules).filter(|rule| rule.egress == egress);
    let rules = rules.filter(|rule| rule.names(peer, lists));
    Ports::merge(rules.filter_map(|rule| rule.allows(traffic)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::{Flow, Protocol};
    use super::*;

    #[test]
    fn a_rule_allows_its_protocol_ports_and_peer() -> Result<(), Box<dyn std::error::Error>> {
        let tcp = Flow { from: "10.1.0.5".parse()?, to: "10.2.0.5".parse()?, protocol: Protocol::Tcp, port: Some(443) };
        let ping = Flow { protocol: Protocol::Icmp, port: None, ..tcp };
        let any_port = Flow { port: None, ..tcp };
        let lists = PrefixLists::from([("pl-1".to_owned(), vec!["10.1.0.0/24".parse()?])]);
        let block = |text: &str| text.parse().map(RulePeer::Block);
        let list = |id: &str| RulePeer::PrefixList(id.into());
        let group = |id: &str, is_stale| RulePeer::Group { id: id.into(), is_stale };
        for (protocol, range, peer, flow, expected) in [
            (None, None, block("0.0.0.0/0")?, tcp, "443"),
            (Some(6), Some((443, 443)), block("10.1.0.0/16")?, tcp, "443"),
            (Some(6), Some((80, 80)), block("10.1.0.0/16")?, tcp, ""),
            (Some(17), Some((443, 443)), block("10.1.0.0/16")?, tcp, ""),
            (Some(6), Some((443, 443)), block("10.3.0.0/16")?, tcp, ""),
            (Some(6), Some((0, 65535)), block("::/0")?, tcp, ""),
            (Some(6), Some((80, 90)), block("10.1.0.0/16")?, any_port, "80-90"),
            (Some(6), Some((443, 443)), list("pl-1"), tcp, "443"),
            (Some(6), Some((443, 443)), list("pl-unread"), tcp, ""),
            (Some(6), Some((443, 443)), group("sg-client", false), tcp, "443"),
            (Some(6), Some((443, 443)), group("sg-client", true), tcp, ""),
            (Some(6), Some((443, 443)), group("sg-other", false), tcp, ""),
            (Some(1), Some((8, 0)), block("10.1.0.0/16")?, ping, "0-65535"),
            (Some(1), Some((8, -1)), block("10.1.0.0/16")?, ping, "0-65535"),
            (Some(1), Some((-1, -1)), block("10.1.0.0/16")?, ping, "0-65535"),
            (Some(1), Some((3, 0)), block("10.1.0.0/16")?, ping, ""),
        ] {
            let rule = GroupRule { egress: false, protocol, range, peer };
            let shown = format!("{rule:?}");
            let group = Group { id: "sg-server".into(), rules: vec![rule] };
            let peer = Peer { address: flow.from, groups: &["sg-client".to_owned()] };
            let allowed = |egress| permitted([&group], egress, peer, &lists, &flow.request());
            let text: Vec<_> = allowed(false).iter().map(ToString::to_string).collect();
            assert_eq!(text.join(","), expected, "{shown}");
            assert!(allowed(true).is_empty(), "{shown}");
        }
        Ok(())
    }
}

//! The traffic between two addresses, as network ACLs and security groups see it.

use std::fmt;
use std::net::IpAddr;

/// The ports that a client may send from. Network ACLs are stateless, so that they must let replies to these ports
/// pass. Systems use parts of this range:
/// <https://docs.aws.amazon.com/vpc/latest/userguide/custom-network-acl.html#nacl-ephemeral-ports>.
const EPHEMERAL: Ports = Ports { first: 1024, last: u16::MAX };

/// Every port.
const ANY: Ports = Ports { first: 0, last: u16::MAX };

/// The ICMP types of an echo request and of its reply. <https://www.iana.org/assignments/icmp-parameters>
const ECHO: (u16, u16) = (8, 0);
/// The same for ICMPv6. <https://www.iana.org/assignments/icmpv6-parameters>
const ECHO_IPV6: (u16, u16) = (128, 129);

/// A protocol that can be traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    /// An echo request, for an IPv6 address of ICMPv6.
    Icmp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        })
    }
}

/// Ports from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ports {
    pub first: u16,
    pub last: u16,
}

impl Ports {
    pub(super) fn overlap(self, other: Self) -> Option<Self> {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (first <= last).then_some(Self { first, last })
    }

    /// These ports without others.
    pub(super) fn without(self, other: Self) -> impl Iterator<Item = Self> {
        let below = other.first.checked_sub(1).and_then(|last| self.overlap(Self { first: 0, last }));
        let above = other.last.checked_add(1).and_then(|first| self.overlap(Self { first, last: u16::MAX }));
        below.into_iter().chain(above)
    }

    /// Joins ports that overlap or adjoin.
    pub(super) fn merge(mut ports: Vec<Self>) -> Vec<Self> {
        ports.sort_unstable();
        let mut merged: Vec<Self> = Vec::new();
        for next in ports {
            match merged.last_mut() {
                Some(last) if next.first <= last.last.saturating_add(1) => last.last = last.last.max(next.last),
                _ => merged.push(next),
            }
        }
        merged
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// The traffic of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// The number of the protocol. <https://www.iana.org/assignments/protocol-numbers>
    pub number: u8,
    /// The destination ports of TCP and UDP.
    pub ports: Ports,
    /// The ICMP type. Its code is 0.
    pub icmp: Option<u16>,
}

/// A client and the server that it connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    pub from: IpAddr,
    pub to: IpAddr,
    pub protocol: Protocol,
    /// The port of the server. `None` for any port, and for ICMP.
    pub port: Option<u16>,
}

impl Flow {
    /// From the client to the server.
    pub(crate) fn request(&self) -> Traffic {
        self.traffic(self.port.map_or(ANY, |port| Ports { first: port, last: port }), |(request, _)| request)
    }

    /// From the server back to the client.
    pub(crate) fn reply(&self) -> Traffic {
        self.traffic(EPHEMERAL, |(_, reply)| reply)
    }

    fn traffic(&self, ports: Ports, echo: fn((u16, u16)) -> u16) -> Traffic {
        let (number, icmp) = match (self.protocol, self.to.is_ipv4()) {
            (Protocol::Tcp, _) => (6, None),
            (Protocol::Udp, _) => (17, None),
            (Protocol::Icmp, true) => (1, Some(echo(ECHO))),
            (Protocol::Icmp, false) => (58, Some(echo(ECHO_IPV6))),
        };
        Traffic { number, ports: if icmp.is_some() { ANY } else { ports }, icmp }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {} to {}", self.protocol, self.from, self.to)?;
        self.port.map_or(Ok(()), |port| write!(f, " port {port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(first: u16, last: u16) -> Ports {
        Ports { first, last }
    }

    #[test]
    fn ports_are_cut_and_joined() {
        let without = |other| ports(10, 20).without(other).collect::<Vec<_>>();
        assert_eq!(without(ports(12, 15)), [ports(10, 11), ports(16, 20)]);
        assert_eq!(without(ports(0, 10)), [ports(11, 20)]);
        assert_eq!(without(ports(0, u16::MAX)), []);
        assert_eq!(without(ports(30, 40)), [ports(10, 20)]);
        let merged = Ports::merge(vec![ports(5, 9), ports(1, 2), ports(3, 4), ports(20, 30), ports(25, u16::MAX)]);
        assert_eq!(merged, [ports(1, 9), ports(20, u16::MAX)]);
        assert_eq!((ports(1, 1).to_string(), ports(1, 2).to_string()), ("1".into(), "1-2".into()));
    }

    #[test]
    fn a_reply_goes_to_the_port_of_the_client() -> Result<(), std::net::AddrParseError> {
        let (from, to) = ("10.1.0.5".parse()?, "10.2.0.5".parse()?);
        let flow = Flow { from, to, protocol: Protocol::Tcp, port: Some(443) };
        assert_eq!((flow.request().ports, flow.reply().ports), (ports(443, 443), ports(1024, u16::MAX)));
        assert_eq!(flow.to_string(), "tcp from 10.1.0.5 to 10.2.0.5 port 443");
        let ping = Flow { protocol: Protocol::Icmp, port: None, ..flow };
        assert_eq!((ping.request().icmp, ping.reply().icmp, ping.request().number), (Some(8), Some(0), 1));
        let ipv6 = Flow { from: "2001:db8::1".parse()?, to: "2001:db8::2".parse()?, ..ping };
        assert_eq!((ipv6.request().icmp, ipv6.reply().icmp, ipv6.request().number), (Some(128), Some(129), 58));
        Ok(())
    }
}

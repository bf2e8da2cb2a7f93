//! Network ACLs. They are stateless, and the entry with the lowest number that matches decides.
//! <https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html>

use std::net::IpAddr;

use ipnet::IpNet;

use super::flow::{Ports, Traffic};

/// A network ACL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acl {
    pub id: String,
    pub subnet_ids: Vec<String>,
    pub entries: Vec<AclEntry>,
}

/// An entry of a network ACL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AclEntry {
    pub number: i32,
    pub egress: bool,
    pub allow: bool,
    /// `None` for every protocol.
    pub protocol: Option<u8>,
    /// The source, or the destination of an entry for egress.
    pub block: IpNet,
    /// `None` for every port.
    pub ports: Option<Ports>,
    /// The ICMP type and code; -1 is all. `None` for every type.
    pub icmp: Option<(i32, i32)>,
}

/// The decision of an ACL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The ports to which the traffic passes.
    pub allowed: Vec<Ports>,
    /// The number of the first entry that denies some of the traffic. `None` if it is the rest that no entry matches.
    pub denied_by: Option<i32>,
}

impl AclEntry {
    /// The ports of the traffic that the entry decides about.
    fn matches(&self, egress: bool, peer: IpAddr, traffic: &Traffic) -> Option<Ports> {
        let is_protocol = self.protocol.is_none_or(|number| number == traffic.number);
        let is_icmp = match (self.icmp, traffic.icmp) {
            (Some((kind, code)), Some(sent)) => (kind == -1 || kind == i32::from(sent)) && matches!(code, -1 | 0),
            _ => true,
        };
        let matches = self.egress == egress && self.block.contains(&peer) && is_protocol && is_icmp;
        let ports = self.ports.filter(|_| traffic.icmp.is_none() && self.protocol.is_some());
        ports.map_or(Some(traffic.ports), |ports| ports.overlap(traffic.ports)).filter(|_| matches)
    }
}

impl Acl {
    /// Decides about traffic that leaves the subnet for `peer`, or that enters it from `peer`.
    pub(crate) fn decide(&self, egress: bool, peer: IpAddr, traffic: &Traffic) -> Decision {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|entry| entry.number);
        let (mut open, mut allowed, mut denied_by) = (vec![traffic.ports], Vec::new(), None);
        for entry in entries {
            let Some(ports) = entry.matches(egress, peer, traffic) else { continue };
            let decided: Vec<_> = open.iter().filter_map(|open| open.overlap(ports)).collect();
            if decided.is_empty() {
                continue;
            }
            open = open.iter().flat_map(|open| open.without(ports)).collect();
            if entry.allow {
                allowed.extend(decided);
            } else if denied_by.is_none() {
                denied_by = Some(entry.number);
            }
        }
        Decision { allowed: Ports::merge(allowed), denied_by }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Flow, Protocol};
    use super::*;

    /// `NUMBER in|out allow|deny PROTOCOL BLOCK [FIRST-LAST]`
    fn entry(text: &str) -> AclEntry {
        let parts: Vec<_> = text.split(' ').collect();
        let range = parts.get(5).and_then(|range| range.split_once('-'));
        let range = range.and_then(|(first, last)| Some((first.parse::<u16>().ok()?, last.parse::<u16>().ok()?)));
        let protocol = match parts[3] {
            "tcp" => Some(6),
            "udp" => Some(17),
            "icmp" => Some(1),
            _ => None,
        };
        AclEntry {
            number: parts[0].parse().unwrap_or_default(),
            egress: parts[1] == "out",
            allow: parts[2] == "allow",
            protocol,
            block: parts[4].parse().unwrap_or_default(),
            ports: range.filter(|_| protocol != Some(1)).map(|(first, last)| Ports { first, last }),
            icmp: range.filter(|_| protocol == Some(1)).map(|(kind, code)| (i32::from(kind), i32::from(code))),
        }
    }

    #[test]
    fn the_entry_with_the_lowest_number_decides() -> Result<(), std::net::AddrParseError> {
        let peer = "10.2.0.5".parse()?;
        let tcp = Flow { from: "10.1.0.5".parse()?, to: peer, protocol: Protocol::Tcp, port: Some(443) };
        let ping = Flow { protocol: Protocol::Icmp, port: None, ..tcp };
        let rest = "32767 out deny all 0.0.0.0/0";
        for (entries, traffic, allowed, denied_by) in [
            (&["100 out allow all 0.0.0.0/0", rest][..], tcp.request(), "443", None),
            // The ports count only beside a protocol.
            (&["100 out allow all 0.0.0.0/0 22-22", rest], tcp.request(), "443", None),
            (&[rest], tcp.request(), "", Some(32767)),
            (&[], tcp.request(), "", None),
            (&["100 in allow all 0.0.0.0/0", rest], tcp.request(), "", Some(32767)),
            (&["100 out allow tcp 10.2.0.0/16 443-443", rest], tcp.request(), "443", None),
            (&["100 out allow tcp 10.3.0.0/16 443-443", rest], tcp.request(), "", Some(32767)),
            (&["100 out allow udp 10.2.0.0/16 443-443", rest], tcp.request(), "", Some(32767)),
            (&["90 out deny tcp 10.2.0.0/24 0-500", "100 out allow all 0.0.0.0/0"], tcp.request(), "", Some(90)),
            (&["110 out deny tcp 10.2.0.0/24 0-500", "100 out allow all 0.0.0.0/0"], tcp.request(), "443", None),
            (&["100 out allow tcp 0.0.0.0/0 1024-65535", rest], tcp.reply(), "1024-65535", None),
            (&["100 out allow tcp 0.0.0.0/0 32768-60999", rest], tcp.reply(), "32768-60999", Some(32767)),
            (
                &["90 out deny tcp 0.0.0.0/0 3389-3389", "100 out allow all 0.0.0.0/0"],
                tcp.reply(),
                "1024-3388,3390-65535",
                Some(90),
            ),
            (&["100 out allow tcp 0.0.0.0/0 80-443", rest], tcp.reply(), "", Some(32767)),
            (&["100 out allow icmp 0.0.0.0/0 8-0", rest], ping.request(), "0-65535", None),
            (&["100 out allow icmp 0.0.0.0/0 8-0", rest], ping.reply(), "", Some(32767)),
            (&["100 out allow icmp 0.0.0.0/0", rest], ping.reply(), "0-65535", None),
        ] {
            let acl = Acl {
                id: "acl-1".into(),
                subnet_ids: Vec::new(),
                entries: entries.iter().map(|text| entry(text)).collect(),
            };
            let decision = acl.decide(true, peer, &traffic);
            let shown: Vec<_> = decision.allowed.iter().map(ToString::to_string).collect();
            assert_eq!((shown.join(",").as_str(), decision.denied_by), (allowed, denied_by), "{entries:?}");
        }
        Ok(())
    }

    #[test]
    fn an_entry_for_icmp_matches_its_type_and_code_or_all_of_them() -> Result<(), std::net::AddrParseError> {
        let (from, to) = ("10.1.0.5".parse()?, "10.2.0.5".parse()?);
        let ping = Flow { from, to, protocol: Protocol::Icmp, port: None }.request();
        for (icmp, is_allowed) in [
            (None, true),
            (Some((8, 0)), true),
            (Some((8, -1)), true),
            (Some((-1, -1)), true),
            (Some((8, 1)), false),
            (Some((1, -1)), false),
            (Some((3, 0)), false),
        ] {
            let entry = AclEntry { icmp, ..entry("100 out allow icmp 0.0.0.0/0") };
            let acl = Acl { id: "acl-1".into(), subnet_ids: Vec::new(), entries: vec![entry] };
            assert_eq!(!acl.decide(true, to, &ping).allowed.is_empty(), is_allowed, "{icmp:?}");
        }
        Ok(())
    }
}

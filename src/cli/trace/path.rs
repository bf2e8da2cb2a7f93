//! The lines on a packet and its reply: the route, the network ACL and the security group at both ends. Pure.

use std::net::IpAddr;

use super::hop::{Hop, Way};
use super::line::{Line, Subject};
use super::routes;
use crate::peering::network::{
    Acl, Decision, Flow, Group, Peer, Ports, Subnet, Traffic, acl_of, permitted, subnet_with,
};

/// The lines on the request and the reply. `from` is the client, and `to` the server.
pub(super) fn lines(flow: &Flow, from: Hop<'_>, to: Hop<'_>, way: Way<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    let subnets = [(from, "--from"), (to, "--to")].map(|(hop, flag)| {
        let (subnet, line) = subnet(hop, flag)?;
        lines.push(line);
        subnet
    });
    for (own, other, subnet) in [(from, to, subnets[0]), (to, from, subnets[1])] {
        if let (Some(subnet), Some((view, seen))) = (subnet, own.parts) {
            lines.extend(routes::toward(view, &seen.lists, subnet, other, way).map(|line| line.at(own.side)));
        }
    }
    let (request, reply) = (flow.request(), flow.reply());
    for (own, other, subnet, egress, is_reply) in [
        (from, to, subnets[0], true, false),
        (to, from, subnets[1], false, false),
        (to, from, subnets[1], true, true),
        (from, to, subnets[0], false, true),
    ] {
        let traffic = if is_reply { reply } else { request };
        let acls = own.parts.and_then(|(_, seen)| seen.acls.as_ref().ok());
        let Some(acl) = subnet.zip(acls).and_then(|(subnet, acls)| acl_of(acls, &subnet.id)) else { continue };
        let step = Step { flow, other: other.address, egress, is_reply };
        lines.push(of_acl(acl, &step, &traffic).at(own.side));
    }
    for (own, other, egress, flag) in [(from, to, true, "--from"), (to, from, false, "--to")] {
        lines.extend(security_group(flow, own, other, egress, flag).map(|line| line.at(own.side)));
    }
    lines
}

/// The subnet of an address. `None` if it could not be read.
fn subnet<'a>(hop: Hop<'a>, flag: &str) -> Option<(Option<&'a Subnet>, Line)> {
    let (view, _) = hop.parts?;
    let subnets = view.subnets.as_ref().ok()?;
    let found = subnet_with(subnets, hop.address);
    let line = match found {
        Some(subnet) => Line::pass(Subject::Subnet, format!("{} is in {}", hop.address, subnet.id)),
        None => {
            let message = format!("no subnet of {} contains {}", view.vpc_id, hop.address);
            Line::fail(Subject::Subnet, message, format!("correct {flag}, or create a subnet with the address"))
        }
    };
    Some((found, line.at(hop.side)))
}

/// One pass of a filter.
struct Step<'a> {
    flow: &'a Flow,
    /// The address at the other end of the traffic.
    other: IpAddr,
    egress: bool,
    is_reply: bool,
}

impl Step<'_> {
    /// The traffic in words.
    fn traffic(&self) -> String {
        let (protocol, other) = (self.flow.protocol, self.other);
        let preposition = if self.egress { "to" } else { "from" };
        if self.is_reply {
            return format!("{protocol} replies {preposition} {other}");
        }
        let port = self.flow.port.map(|port| format!(" port {port}")).unwrap_or_default();
        format!("{protocol}{port} {preposition} {other}")
    }

    fn direction(&self) -> &'static str {
        if self.egress { "outbound" } else { "inbound" }
    }

    fn ports(&self) -> String {
        match (self.is_reply, self.flow.port) {
            _ if self.flow.request().icmp.is_some() => String::new(),
            (true, _) => " to ports 1024-65535".to_owned(),
            (false, Some(port)) => format!(" to port {port}"),
            (false, None) => String::new(),
        }
    }
}

fn of_acl(acl: &Acl, step: &Step<'_>, traffic: &Traffic) -> Line {
    let subject = Subject::NetworkAcl;
    let Decision { allowed, denied_by } = acl.decide(step.egress, step.other, traffic);
    let (id, sent, direction) = (&acl.id, step.traffic(), step.direction());
    let protocol = step.flow.protocol;
    // An IPv4 or IPv6 entry with this number or a higher one is the end of the list, which cannot be changed.
    let number = denied_by.filter(|number| *number < 32767);
    let below = number.map(|number| format!(" with a number below {number}")).unwrap_or_default();
    let (preposition, other) = (if step.egress { "to" } else { "from" }, step.other);
    let remedy =
        format!("add an {direction} entry to {id}{below} that allows {protocol} {preposition} {other}{}", step.ports());
    if allowed.is_empty() {
        let by = number.map_or_else(|| "no entry allows it".to_owned(), |number| format!("entry {number} denies it"));
        return Line::fail(subject, format!("{id} stops {sent}: {by}"), remedy);
    }
    if step.is_reply && allowed != [traffic.ports] {
        let message = format!("{id} lets {sent} pass to ports {} only", list(&allowed));
        let remedy = format!("compare them with the ports that the client sends from; if they differ, {remedy}");
        return Line::skip(subject, message, remedy);
    }
    Line::pass(subject, format!("{id} lets {sent} pass{}", some_ports(step, &allowed, traffic)))
}

/// The ports that pass, if not all of them do.
fn some_ports(step: &Step<'_>, allowed: &[Ports], traffic: &Traffic) -> String {
    if step.flow.port.is_some() || allowed == [traffic.ports] {
        return String::new();
    }
    format!(", to ports {} only", list(allowed))
}

fn list(ports: &[Ports]) -> String {
    ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The security groups of the interface with the address. `None` if they could not be read.
fn security_group(flow: &Flow, own: Hop<'_>, other: Hop<'_>, egress: bool, flag: &str) -> Option<Line> {
    let (view, seen) = own.parts?;
    if let Ok(subnets) = &view.subnets {
        // Without a subnet, nobody looked for an interface.
        subnet_with(subnets, own.address)?;
    }
    let subject = Subject::SecurityGroup;
    let Some(interface) = seen.interface.as_ref().ok()? else {
        let message = format!("no network interface of {} has {}", view.vpc_id, own.address);
        return Some(Line::fail(subject, message, format!("correct {flag}, or start the instance with this address")));
    };
    let groups = seen.groups.as_ref().ok()?;
    let peers = other.parts.and_then(|(_, seen)| seen.interface.as_ref().ok()?.as_ref());
    let peer = Peer { address: other.address, groups: peers.map(|peer| &*peer.group_ids).unwrap_or_default() };
    let traffic = flow.request();
    let allowed = permitted(groups, egress, peer, &seen.lists, &traffic);
    let step = Step { flow, other: other.address, egress, is_reply: false };
    let (ids, sent) = (ids(groups), step.traffic());
    if !allowed.is_empty() {
        let message = format!("{ids} of {} lets {sent} pass{}", interface.id, some_ports(&step, &allowed, &traffic));
        return Some(Line::pass(subject, message));
    }
    let unread: Vec<_> = seen.unread.iter().map(|(id, _)| id.as_str()).collect();
    if !unread.is_empty() {
        let message = format!("{ids} may let {sent} pass by {}, which could not be read", unread.join(", "));
        return Some(Line::skip(subject, message, routes::ALLOW_PREFIX_LISTS));
    }
    let preposition = if egress { "to" } else { "from" };
    let message = format!("no rule of {ids} of {} lets {sent} pass", interface.id);
    let first = groups.first().map_or("the security group", |group| &group.id);
    let remedy = format!(
        "add an {} rule to {first} that allows {} {preposition} {}{}",
        step.direction(),
        flow.protocol,
        other.address,
        step.ports()
    );
    Some(Line::fail(subject, message, remedy))
}

fn ids(groups: &[Group]) -> String {
    groups.iter().map(|group| group.id.as_str()).collect::<Vec<_>>().join(", ")
}

//! The lines on the two VPCs: whether they exist, belong to the accounts that act, and have what a peering needs. Pure.

use ipnet::IpNet;

use super::line::{Line, Subject, action};
use super::look::View;
use crate::api::{Reason, Side, VpcInfo, VpcPeering};
use crate::peering::Connection;
use crate::peering::preflight::{self, Vpc};

/// Whether the VPC of an end exists in its account and region. `None` if that could not be read.
pub(super) fn existence(view: &View, account: Option<&str>) -> Option<Line> {
    let View { side, vpc_id, region, .. } = view;
    let line = match view.vpc.as_ref().ok()? {
        None => {
            let account = account.map(|account| format!(" of account {account}")).unwrap_or_default();
            let message = format!("EC2 shows no {vpc_id} in {region}{account}");
            let remedy = format!(
                "correct vpcId, region or ownerId of spec.{side} in a new VpcPeering, or use the identity of the VPC's account"
            );
            Line::fail(Subject::Vpc, message, remedy)
        }
        Some(vpc) => match account.and_then(|account| preflight::shared(&format!("spec.{side}"), vpc, account)) {
            Some(message) => Line::fail(Subject::Vpc, message, action(Reason::IdentityMismatch)),
            None => {
                let blocks = vpc.cidr_blocks.join(", ");
                Line::pass(Subject::Vpc, format!("{vpc_id} in {region} has {blocks}"))
            }
        },
    };
    Some(line.at(*side))
}

/// The CIDR blocks of an end: those of its VPC, or else those that the connection shows.
pub(super) fn blocks(vpc: Option<&Vpc>, shown: Option<&VpcInfo>) -> Vec<IpNet> {
    let of_vpc = vpc.map(|vpc| vpc.cidr_blocks.iter().map(String::as_str).collect::<Vec<_>>());
    let of_connection = || {
        let ipv4 = shown.into_iter().flat_map(|end| &end.cidr_block_set).map(|block| block.cidr_block.as_str());
        let ipv6 =
            shown.into_iter().flat_map(|end| &end.ipv6_cidr_block_set).map(|block| block.ipv6_cidr_block.as_str());
        ipv4.chain(ipv6).collect()
    };
    of_vpc.unwrap_or_else(of_connection).into_iter().filter_map(|block| block.parse().ok()).collect()
}

/// Whether CIDR blocks of the two VPCs overlap. `None` if those of an end are not known.
pub(super) fn overlap([requester, accepter]: [&[IpNet]; 2]) -> Option<Line> {
    if requester.is_empty() || accepter.is_empty() {
        return None;
    }
    let pairs = requester.iter().flat_map(|one| accepter.iter().map(move |other| (one, other)));
    let overlapping = pairs.into_iter().find(|(one, other)| one.contains(*other) || other.contains(*one));
    Some(match overlapping {
        Some((one, other)) => {
            let message =
                format!("{one} of the requester and {other} of the accepter overlap, so that EC2 cannot peer them");
            Line::fail(Subject::CidrBlocks, message, action(Reason::OverlappingCidrBlocks))
        }
        None => Line::pass(Subject::CidrBlocks, "no CIDR blocks of the two VPCs overlap"),
    })
}

/// Whether the resource asks for DNS resolution at any end.
pub(super) fn wants_dns(object: &VpcPeering) -> bool {
    let wants = |side: Side| {
        let options = object.spec.side(side).options.as_ref();
        options.is_some_and(|options| options.allow_dns_resolution_from_remote_vpc == Some(true))
    };
    Side::BOTH.into_iter().any(wants)
}

/// The DNS attributes of both VPCs, and the options of the connection.
pub(super) fn dns(object: &VpcPeering, views: &[Option<View>; 2], connection: Option<&Connection>) -> Vec<Line> {
    let subject = Subject::Dns;
    if !wants_dns(object) {
        let message = "the spec asks for no DNS resolution: public names of the other VPC resolve to public addresses";
        return vec![Line::pass(subject, message)];
    }
    let mut lines: Vec<_> = views.iter().flatten().filter_map(attributes).collect();
    if let Some(connection) = connection.filter(|connection| connection.code.is_accepted()) {
        lines.extend(Side::BOTH.into_iter().filter_map(|side| option(object, side, connection)));
    }
    lines
}

/// The DNS attributes of one VPC. `None` if they could not be read.
fn attributes(view: &View) -> Option<Line> {
    let View { side, vpc_id, region, .. } = view;
    let missing: Vec<_> = view.dns.as_ref()?.as_ref().ok()?.missing().collect();
    if missing.is_empty() {
        let message = format!("enableDnsSupport and enableDnsHostnames of {vpc_id} are on");
        return Some(Line::pass(Subject::Dns, message).at(*side));
    }
    let names = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let commands = missing.iter().map(|attribute| attribute.command(region, vpc_id)).collect::<Vec<_>>().join(" && ");
    let verb = if missing.len() > 1 { "are" } else { "is" };
    let message = format!("{names} of {vpc_id} {verb} off, so that DNS resolution across the peering has no effect");
    let remedy = format!("set manageDnsAttributes in spec.{side}.options, or run: {commands}");
    Some(Line::fail(Subject::Dns, message, remedy).at(*side))
}

/// The option of one end, if the spec sets it to true and EC2 shows that it is off.
fn option(object: &VpcPeering, side: Side, connection: &Connection) -> Option<Line> {
    let wanted = object.spec.side(side).options.as_ref()?.allow_dns_resolution_from_remote_vpc?;
    let shown = match side {
        Side::Requester => connection.requester.peering_options.as_ref(),
        Side::Accepter => connection.accepter.peering_options.as_ref(),
    };
    let is_on = shown?.allow_dns_resolution_from_remote_vpc.unwrap_or_default();
    if !wanted || is_on {
        return None;
    }
    let message = format!("allowDnsResolutionFromRemoteVpc of {} is off, but the spec sets it", connection.id);
    let remedy = "read the condition OptionsSynced, and check with kubectl pcx check that the operator runs";
    Some(Line::fail(Subject::Dns, message, remedy).at(side))
}

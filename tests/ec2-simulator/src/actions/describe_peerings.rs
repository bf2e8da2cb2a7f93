//! `DescribeVpcPeeringConnections`, and the XML of a peering connection as the caller sees it.
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeVpcPeeringConnections.html>

use std::borrow::Cow;
use std::collections::BTreeSet;

use ipnet::{Ipv4Net, Ipv6Net};

use super::{Context, Handler, write_tags};
use crate::error::Result;
use crate::protocol::{Filters, Page, Params, Xml, answer};
use crate::world::id::ResourceKind;
use crate::world::peering::Options;
use crate::world::settings::BlocksOfRequests;
use crate::world::{Call, Peering, Phase, Side, Tags, World};

/// The filters that the API reference lists.
const FILTERS: &[&str] = &[
    "accepter-vpc-info.cidr-block",
    "accepter-vpc-info.owner-id",
    "accepter-vpc-info.vpc-id",
    "expiration-time",
    "requester-vpc-info.cidr-block",
    "requester-vpc-info.owner-id",
    "requester-vpc-info.vpc-id",
    "status-code",
    "status-message",
    "tag-key",
    "vpc-peering-connection-id",
];

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeVpcPeeringConnections.html>
pub(super) struct Describe {
    ids: Vec<String>,
    filters: Filters,
    page: Page,
}

impl Handler for Describe {
    fn parse(params: &mut Params) -> Result<Self> {
        let mut ids = params.list("VpcPeeringConnectionId");
        ids.sort();
        ids.dedup();
        let filters = Filters::take(params, FILTERS)?;
        Ok(Self { ids, filters, page: Page::take(params, "DescribeVpcPeeringConnections", &(5..=1000))? })
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        let call = &context.call;
        let mut missing = Vec::new();
        for id in &self.ids {
            ResourceKind::VpcPeeringConnection.check(id)?;
            if world.peering(call, id).is_err() {
                missing.push(id.as_str());
            }
        }
        if !missing.is_empty() {
            return Err(ResourceKind::VpcPeeringConnection.not_found(&missing));
        }
        call.proceed()?;
        let world = &*world;
        let passes = |peering: &&Peering| {
            let tags = || world.shown_tags(&call.location, &peering.id);
            self.filters.match_all(tags, |name| values(world, peering, name))
        };
        let mut xml = Xml::default();
        self.page.write(
            &mut xml,
            "vpcPeeringConnectionSet",
            self.candidates(world, call).filter(passes),
            |peering| peering.id.clone(),
            |xml, peering| write(xml, world, peering, world.shown_tags(&call.location, &peering.id)),
        );
        Ok(xml)
    }
}

impl Describe {
    /// The connections that the filters are applied to. Connections that are named by ID or by VPC are looked up in an
    /// index, so that the cost does not grow with the number of other connections.
    fn candidates<'a>(&'a self, world: &'a World, call: &'a Call) -> Box<dyn Iterator<Item = &'a Peering> + 'a> {
        let after = self.page.after();
        let is_new = move |peering: &&Peering| after.is_none_or(|after| peering.id.as_str() > after);
        let named = match self.ids.as_slice() {
            [] => self.filters.exact("vpc-peering-connection-id").cloned(),
            ids => Some(ids.iter().cloned().collect::<BTreeSet<_>>()),
        };
        if let Some(ids) = named {
            return Box::new(ids.into_iter().filter_map(|id| world.peering(call, &id).ok()).filter(is_new));
        }
        let of_vpcs = ["requester-vpc-info.vpc-id", "accepter-vpc-info.vpc-id"];
        if let Some(vpcs) = of_vpcs.iter().find_map(|name| self.filters.exact(name)) {
            let of_vpcs = vpcs.iter().flat_map(|vpc| world.peerings().of_vpc(vpc));
            let ids: BTreeSet<_> = of_vpcs.map(|peering| &peering.id).collect();
            return Box::new(ids.into_iter().filter_map(|id| world.peering(call, id).ok()).filter(is_new));
        }
        Box::new(world.visible_peerings(call, after))
    }
}

/// The response of an action that returns one connection.
pub(super) fn response(world: &World, call: &Call, peering: &Peering) -> Xml {
    response_with(peering, world, world.tags(&call.location, &peering.id))
}

/// The response of an action that returns one connection, with these tags.
pub(super) fn response_with(peering: &Peering, world: &World, tags: Option<&Tags>) -> Xml {
    let mut xml = Xml::default();
    xml.element("vpcPeeringConnection", |xml| write(xml, world, peering, tags));
    xml
}

fn write(xml: &mut Xml, world: &World, peering: &Peering, tags: Option<&Tags>) {
    xml.text("vpcPeeringConnectionId", &peering.id);
    for (name, side) in [("requesterVpcInfo", Side::Requester), ("accepterVpcInfo", Side::Accepter)] {
        xml.element(name, |xml| write_end(xml, world, peering, side));
    }
    xml.element("status", |xml| {
        xml.text("code", peering.phase.code());
        xml.text("message", peering.message());
    });
    xml.optional("expirationTime", peering.expires.map(answer::time));
    let allowed = (peering.requester.options.multipath, peering.accepter.options.multipath);
    xml.text(
        "multipathResilienceStatus",
        match allowed {
            (true, true) => "enabled",
            (false, false) => "disabled",
            (true, false) | (false, true) => "pending",
        },
    );
    write_tags(xml, tags);
}

/// Whether an end shows its CIDR blocks and options. A request shows those of the requester, an accepted connection
/// those of both ends, and an ended connection none (ansible-collections/amazon.aws `ec2_vpc_peering`).
fn shows_details(peering: &Peering, side: Side) -> bool {
    match peering.phase {
        Phase::InitiatingRequest { .. } | Phase::PendingAcceptance => side == Side::Requester,
        Phase::Provisioning { .. } | Phase::Active => true,
        Phase::Failed { .. }
        | Phase::Rejected { .. }
        | Phase::Expired { .. }
        | Phase::Deleting { .. }
        | Phase::Deleted { .. } => false,
    }
}

/// The CIDR blocks that an end shows.
fn shown_blocks<'a>(world: &'a World, peering: &Peering, side: Side) -> (&'a [Ipv4Net], &'a [Ipv6Net]) {
    let vpc = world.vpc_at(peering.end(side)).filter(|_| shows_details(peering, side));
    let Some(vpc) = vpc else { return (&[], &[]) };
    let is_partial = !peering.phase.is_accepted() && world.settings().blocks_of_requests == BlocksOfRequests::Primary;
    match vpc.cidr_blocks.split_first_chunk::<1>() {
        Some((primary, _)) if is_partial => (primary, &[]),
        _ => (&vpc.cidr_blocks, &vpc.ipv6_cidr_blocks),
    }
}

fn write_end(xml: &mut Xml, world: &World, peering: &Peering, side: Side) {
    let end = peering.end(side);
    xml.text("ownerId", &end.location.account);
    xml.text("vpcId", &end.vpc_id);
    xml.text("region", &end.location.region);
    let (ipv4, ipv6) = shown_blocks(world, peering, side);
    xml.optional("cidrBlock", ipv4.first());
    if !ipv4.is_empty() {
        xml.list("cidrBlockSet", ipv4, |xml, block| xml.text("cidrBlock", block));
    }
    if !ipv6.is_empty() {
        xml.list("ipv6CidrBlockSet", ipv6, |xml, block| xml.text("ipv6CidrBlock", block));
    }
    if shows_details(peering, side) {
        xml.element("peeringOptions", |xml| write_options(xml, &world.shown_options(peering, side)));
    }
}

pub(super) fn write_options(xml: &mut Xml, options: &Options) {
    xml.text("allowDnsResolutionFromRemoteVpc", options.dns_resolution);
    xml.text("allowEgressFromLocalClassicLinkToRemoteVpc", false);
    xml.text("allowEgressFromLocalVpcToRemoteClassicLink", false);
    xml.text("allowMultipathResilience", options.multipath);
    xml.optional("multipathResilienceMode", options.multipath.then_some("always-on"));
}

/// The values that a filter matches against. A CIDR block matches only while it is shown.
fn values<'a>(world: &'a World, peering: &'a Peering, name: &str) -> Vec<Cow<'a, str>> {
    let blocks =
        |side| shown_blocks(world, peering, side).0.iter().map(|block| block.to_string().into()).collect::<Vec<_>>();
    match name {
        "accepter-vpc-info.cidr-block" => blocks(Side::Accepter),
        "accepter-vpc-info.owner-id" => vec![peering.accepter.location.account.as_str().into()],
        "accepter-vpc-info.vpc-id" => vec![peering.accepter.vpc_id.as_str().into()],
        "expiration-time" => peering.expires.map(|time| answer::time(time).into()).into_iter().collect(),
        "requester-vpc-info.cidr-block" => blocks(Side::Requester),
        "requester-vpc-info.owner-id" => vec![peering.requester.location.account.as_str().into()],
        "requester-vpc-info.vpc-id" => vec![peering.requester.vpc_id.as_str().into()],
        "status-code" => vec![peering.phase.code().into()],
        "status-message" => vec![peering.message().into()],
        "vpc-peering-connection-id" => vec![peering.id.as_str().into()],
        _ => Vec::new(),
    }
}

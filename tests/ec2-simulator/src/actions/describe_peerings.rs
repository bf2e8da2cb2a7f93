//! `DescribeVpcPeeringConnections`, and the XML of a peering connection as the caller sees it.
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeVpcPeeringConnections.html>

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{Context, Handler, write_tags};
use crate::error::Result;
use crate::protocol::{Filters, Page, Params, Xml, answer};
use crate::world::id::ResourceKind;
use crate::world::peering::{End, Options};
use crate::world::{Call, Peering, Phase, Side, World};

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
            let tags = || world.tags(&call.location, &peering.id);
            self.filters.match_all(tags, |name| values(world, peering, name))
        };
        let mut xml = Xml::default();
        self.page.write(
            &mut xml,
            "vpcPeeringConnectionSet",
            self.candidates(world, call).filter(passes),
            |peering| peering.id.clone(),
            |xml, peering| write(xml, world, call, peering),
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
    let mut xml = Xml::default();
    xml.element("vpcPeeringConnection", |xml| write(xml, world, call, peering));
    xml
}

fn write(xml: &mut Xml, world: &World, call: &Call, peering: &Peering) {
    xml.text("vpcPeeringConnectionId", &peering.id);
    for (name, side) in [("requesterVpcInfo", Side::Requester), ("accepterVpcInfo", Side::Accepter)] {
        xml.element(name, |xml| write_end(xml, world, peering, peering.end(side)));
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
    write_tags(xml, world.tags(&call.location, &peering.id));
}

fn shows_blocks(world: &World, peering: &Peering) -> bool {
    peering.phase == Phase::Active || world.settings().cidr_blocks_of_requests
}

/// The API reference documents CIDR blocks for active connections only. Options can be set on active connections only.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VpcPeeringConnection.html>
fn write_end(xml: &mut Xml, world: &World, peering: &Peering, end: &End) {
    xml.text("ownerId", &end.location.account);
    xml.text("vpcId", &end.vpc_id);
    xml.text("region", &end.location.region);
    if !shows_blocks(world, peering) {
        return;
    }
    if let Some(vpc) = world.vpc_at(end) {
        xml.optional("cidrBlock", vpc.cidr_blocks.first());
        xml.list("cidrBlockSet", &vpc.cidr_blocks, |xml, block| xml.text("cidrBlock", block));
        if !vpc.ipv6_cidr_blocks.is_empty() {
            xml.list("ipv6CidrBlockSet", &vpc.ipv6_cidr_blocks, |xml, block| xml.text("ipv6CidrBlock", block));
        }
    }
    xml.element("peeringOptions", |xml| write_options(xml, &end.options));
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
    let blocks = |end: &End| match world.vpc_at(end).filter(|_| shows_blocks(world, peering)) {
        Some(vpc) => vpc.cidr_blocks.iter().map(|block| block.to_string().into()).collect(),
        None => Vec::new(),
    };
    match name {
        "accepter-vpc-info.cidr-block" => blocks(&peering.accepter),
        "accepter-vpc-info.owner-id" => vec![peering.accepter.location.account.as_str().into()],
        "accepter-vpc-info.vpc-id" => vec![peering.accepter.vpc_id.as_str().into()],
        "expiration-time" => peering.expires.map(|time| answer::time(time).into()).into_iter().collect(),
        "requester-vpc-info.cidr-block" => blocks(&peering.requester),
        "requester-vpc-info.owner-id" => vec![peering.requester.location.account.as_str().into()],
        "requester-vpc-info.vpc-id" => vec![peering.requester.vpc_id.as_str().into()],
        "status-code" => vec![peering.phase.code().into()],
        "status-message" => vec![peering.message().into()],
        "vpc-peering-connection-id" => vec![peering.id.as_str().into()],
        _ => Vec::new(),
    }
}

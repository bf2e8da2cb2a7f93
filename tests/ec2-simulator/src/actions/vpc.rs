//! The actions on VPCs.

use std::borrow::Cow;

use ipnet::{IpNet, Ipv4Net};
use jiff::Timestamp;

use super::{Context, Handler, done, write_tags};
use crate::error::{Error, Result};
use crate::protocol::{Filters, Page, Params, Xml};
use crate::world::cidr_block::{NewBlock, parse_block};
use crate::world::id::ResourceKind;
use crate::world::vpc::Ipv6Block;
use crate::world::{Call, Tags, Vpc, World};

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVpc.html>
pub(super) struct Create {
    block: Ipv4Net,
    ipv6: Ipv6Block,
    tags: Tags,
}

impl Handler for Create {
    fn parse(params: &mut Params) -> Result<Self> {
        let block = parse_block("CidrBlock", &params.required("CidrBlock")?)?;
        let ipv6 = take_ipv6(params)?;
        let tenancy = params.take("InstanceTenancy");
        if let Some(tenancy) = tenancy.filter(|tenancy| !matches!(tenancy.as_str(), "default" | "dedicated")) {
            return Err(Error::invalid_value("InstanceTenancy", &tenancy, "It is not a tenancy."));
        }
        Ok(Self { block, ipv6, tags: params.tag_specifications(ResourceKind::Vpc)? })
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        let vpc = world.create_vpc(&context.call, self.block, self.ipv6, self.tags)?;
        let mut xml = Xml::default();
        xml.element("vpc", |xml| write(xml, world, &context.call, &vpc, "pending"));
        Ok(xml)
    }
}

fn take_ipv6(params: &mut Params) -> Result<Ipv6Block> {
    // The caller's own block comes from a pool of the caller. The simulator does not check the pool.
    let own = (params.take("Ipv6CidrBlock"), params.take("Ipv6Pool"));
    match (own, params.parsed("AmazonProvidedIpv6CidrBlock")?.unwrap_or_default()) {
        ((None, None), false) => Ok(Ipv6Block::Absent),
        ((None, None), true) => Ok(Ipv6Block::Provided),
        ((Some(block), Some(_)), false) => Ok(Ipv6Block::Own(parse_block("Ipv6CidrBlock", &block)?)),
        _ => {
            let message = "An IPv6 block is either provided by Amazon, or given along with its pool.";
            Err(Error::new("InvalidParameterCombination", message))
        }
    }
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AssociateVpcCidrBlock.html>
pub(super) struct AssociateCidrBlock(String, NewBlock);

impl Handler for AssociateCidrBlock {
    fn parse(params: &mut Params) -> Result<Self> {
        let id = params.required("VpcId")?;
        let block = match (params.take("CidrBlock"), take_ipv6(params)?) {
            (Some(block), Ipv6Block::Absent) => NewBlock::Ipv4(parse_block("CidrBlock", &block)?),
            (None, Ipv6Block::Absent) => return Err(Error::missing_parameter("CidrBlock")),
            (None, ipv6) => NewBlock::Ipv6(ipv6),
            (Some(_), _) => {
                let message = "One call associates either an IPv4 block or an IPv6 block.";
                return Err(Error::new("InvalidParameterCombination", message));
            }
        };
        Ok(Self(id, block))
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        let (vpc, block) = world.associate_block(&context.call, &self.0, self.1)?;
        Ok(association(&vpc, block, "associating"))
    }
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DisassociateVpcCidrBlock.html>
pub(super) struct DisassociateCidrBlock(String);

impl Handler for DisassociateCidrBlock {
    fn parse(params: &mut Params) -> Result<Self> {
        params.required("AssociationId").map(Self)
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        let (vpc, block) = world.disassociate_block(&context.call, &self.0)?;
        Ok(association(&vpc, block, "disassociating"))
    }
}

/// The response of an action on one CIDR block. It shows a transitional state; the next Describe shows the final state.
fn association(vpc: &Vpc, block: IpNet, state: &str) -> Xml {
    let mut xml = Xml::default();
    let name = match block {
        IpNet::V4(_) => "cidrBlockAssociation",
        IpNet::V6(_) => "ipv6CidrBlockAssociation",
    };
    xml.element(name, |xml| write_block(xml, vpc, block, state));
    xml.text("vpcId", &vpc.id);
    xml
}

fn write_block(xml: &mut Xml, vpc: &Vpc, block: IpNet, state: &str) {
    xml.text("associationId", vpc.association_id(block));
    match block {
        IpNet::V4(block) => {
            xml.text("cidrBlock", block);
            xml.element("cidrBlockState", |xml| xml.text("state", state));
        }
        IpNet::V6(block) => {
            xml.text("ipv6CidrBlock", block);
            xml.text("ipv6Pool", IPV6_POOL);
            xml.element("ipv6CidrBlockState", |xml| xml.text("state", state));
        }
    }
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteVpc.html>
pub(super) struct Delete(String);

impl Handler for Delete {
    fn parse(params: &mut Params) -> Result<Self> {
        params.required("VpcId").map(Self)
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        world.delete_vpc(&context.call, &self.0)?;
        Ok(done())
    }
}

/// The filters that the API reference lists.
const FILTERS: &[&str] = &[
    "cidr",
    "cidr-block-association.association-id",
    "cidr-block-association.cidr-block",
    "cidr-block-association.state",
    "dhcp-options-id",
    "ipv6-cidr-block-association.association-id",
    "ipv6-cidr-block-association.ipv6-cidr-block",
    "ipv6-cidr-block-association.ipv6-pool",
    "ipv6-cidr-block-association.state",
    "is-default",
    "owner-id",
    "state",
    "tag-key",
    "vpc-id",
];

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeVpcs.html>
pub(super) struct Describe {
    ids: Vec<String>,
    filters: Filters,
    page: Page,
}

impl Handler for Describe {
    fn parse(params: &mut Params) -> Result<Self> {
        let ids = params.list("VpcId");
        let filters = Filters::take(params, FILTERS)?;
        Ok(Self { ids, filters, page: Page::take(params, "DescribeVpcs", &(5..=1000))? })
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        let call = &context.call;
        for id in &self.ids {
            world.visible_vpc(call, id)?;
        }
        call.proceed()?;
        let world = &*world;
        let passes = |vpc: &&Vpc| {
            (self.ids.is_empty() || self.ids.contains(&vpc.id))
                && self.page.after().is_none_or(|after| vpc.id.as_str() > after)
                && self
                    .filters
                    .match_all(|| world.shown_tags(&call.location, &vpc.id), |name| values(vpc, call.now, name))
        };
        let mut xml = Xml::default();
        self.page.write(
            &mut xml,
            "vpcSet",
            world.visible_vpcs(&call.location).filter(passes),
            |vpc| vpc.id.clone(),
            |xml, vpc| write(xml, world, call, vpc, "available"),
        );
        Ok(xml)
    }
}

fn write(xml: &mut Xml, world: &World, call: &Call, vpc: &Vpc, state: &str) {
    xml.text("vpcId", &vpc.id);
    xml.text("ownerId", &vpc.location.account);
    xml.text("state", state);
    xml.optional("cidrBlock", vpc.cidr_blocks.first());
    let (ipv4, ipv6): (Vec<_>, Vec<_>) =
        vpc.associations(call.now).partition(|(block, _)| matches!(block, IpNet::V4(_)));
    xml.list("cidrBlockAssociationSet", ipv4, |xml, (block, state)| write_block(xml, vpc, block, state));
    if !ipv6.is_empty() {
        xml.list("ipv6CidrBlockAssociationSet", ipv6, |xml, (block, state)| write_block(xml, vpc, block, state));
    }
    xml.text("dhcpOptionsId", DHCP_OPTIONS_ID);
    xml.text("instanceTenancy", "default");
    xml.text("isDefault", false);
    write_tags(xml, world.shown_tags(&call.location, &vpc.id));
}

const DHCP_OPTIONS_ID: &str = "dopt-00000000000000000";
const IPV6_POOL: &str = "Amazon";

fn values<'a>(vpc: &'a Vpc, now: Timestamp, name: &str) -> Vec<Cow<'a, str>> {
    let of = |is_ipv4: bool, value: &dyn Fn(IpNet, &'static str) -> Cow<'a, str>| {
        let associations = vpc.associations(now).filter(|(block, _)| matches!(block, IpNet::V4(_)) == is_ipv4);
        associations.map(|(block, state)| value(block, state)).collect()
    };
    let id = |block: IpNet, _: &'static str| vpc.association_id(block).into();
    let block = |block: IpNet, _: &'static str| block.to_string().into();
    match name {
        "cidr" => vpc.cidr_blocks.first().map(|block| block.to_string().into()).into_iter().collect(),
        "cidr-block-association.association-id" => of(true, &id),
        "cidr-block-association.cidr-block" => of(true, &block),
        "cidr-block-association.state" => of(true, &|_, state| state.into()),
        "dhcp-options-id" => vec![DHCP_OPTIONS_ID.into()],
        "ipv6-cidr-block-association.association-id" => of(false, &id),
        "ipv6-cidr-block-association.ipv6-cidr-block" => of(false, &block),
        "ipv6-cidr-block-association.ipv6-pool" => of(false, &|_, _| IPV6_POOL.into()),
        "ipv6-cidr-block-association.state" => of(false, &|_, state| state.into()),
        "is-default" => vec!["false".into()],
        "owner-id" => vec![vpc.location.account.as_str().into()],
        "state" => vec!["available".into()],
        "vpc-id" => vec![vpc.id.as_str().into()],
        _ => Vec::new(),
    }
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVpcAttribute.html>
pub(super) struct ModifyAttribute {
    id: String,
    support: Option<bool>,
    hostnames: Option<bool>,
}

impl Handler for ModifyAttribute {
    fn parse(params: &mut Params) -> Result<Self> {
        Ok(Self {
            id: params.required("VpcId")?,
            support: params.parsed("EnableDnsSupport.Value")?,
            hostnames: params.parsed("EnableDnsHostnames.Value")?,
        })
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        world.modify_vpc_attribute(&context.call, &self.id, self.support, self.hostnames)?;
        Ok(done())
    }
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeVpcAttribute.html>
pub(super) struct DescribeAttribute {
    id: String,
    attribute: String,
}

impl Handler for DescribeAttribute {
    fn parse(params: &mut Params) -> Result<Self> {
        let (id, attribute) = (params.required("VpcId")?, params.required("Attribute")?);
        if !matches!(attribute.as_str(), "enableDnsSupport" | "enableDnsHostnames") {
            return Err(Error::invalid_value("Attribute", &attribute, "Unknown attribute."));
        }
        Ok(Self { id, attribute })
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        let vpc = world.vpc(&context.call, &self.id)?;
        context.call.proceed()?;
        let value = if self.attribute == "enableDnsSupport" { vpc.dns_support } else { vpc.dns_hostnames };
        let mut xml = Xml::default();
        xml.text("vpcId", &vpc.id);
        xml.element(&self.attribute, |xml| xml.text("value", value));
        Ok(xml)
    }
}

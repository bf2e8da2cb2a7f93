//! The actions on route tables and routes.

use std::borrow::Cow;
use std::collections::BTreeSet;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Context, Handler, done, write_tags};
use crate::error::{Error, Result};
use crate::protocol::{Filters, Page, Params, Xml};
use crate::world::id::ResourceKind;
use crate::world::route::{Origin, Route, Target};
use crate::world::vpc::parse_block;
use crate::world::{Call, RouteTable, Tags, Vpc, World};

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateRouteTable.html>
pub(super) struct CreateTable {
    vpc_id: String,
    tags: Tags,
    client_token: Option<String>,
}

impl Handler for CreateTable {
    fn parse(params: &mut Params) -> Result<Self> {
        Ok(Self {
            vpc_id: params.required("VpcId")?,
            tags: params.tag_specifications(ResourceKind::RouteTable)?,
            // Returned, but not used to detect repeated calls: SDKs generate a new token for each call.
            client_token: params.take("ClientToken"),
        })
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        let table = world.create_table(&context.call, &self.vpc_id, self.tags)?;
        let mut xml = Xml::default();
        xml.element("routeTable", |xml| write(xml, world, &context.call, &table));
        xml.optional("clientToken", self.client_token);
        Ok(xml)
    }
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteRouteTable.html>
pub(super) struct DeleteTable(String);

impl Handler for DeleteTable {
    fn parse(params: &mut Params) -> Result<Self> {
        Ok(Self(params.required("RouteTableId")?))
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        world.delete_table(&context.call, &self.0)?;
        Ok(done())
    }
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateRoute.html>
pub(super) struct Create(String, Route);

impl Handler for Create {
    fn parse(params: &mut Params) -> Result<Self> {
        Ok(Self(params.required("RouteTableId")?, take_route(params)?))
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        world.create_route(&context.call, &self.0, self.1)?;
        Ok(done())
    }
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ReplaceRoute.html>
pub(super) struct Replace(String, Route);

impl Handler for Replace {
    fn parse(params: &mut Params) -> Result<Self> {
        Ok(Self(params.required("RouteTableId")?, take_route(params)?))
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        world.replace_route(&context.call, &self.0, self.1)?;
        Ok(done())
    }
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteRoute.html>
pub(super) struct Delete(String, IpNet);

impl Handler for Delete {
    fn parse(params: &mut Params) -> Result<Self> {
        Ok(Self(params.required("RouteTableId")?, take_destination(params)?))
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        world.delete_route(&context.call, &self.0, self.1)?;
        Ok(done())
    }
}

fn take_route(params: &mut Params) -> Result<Route> {
    let destination = take_destination(params)?;
    let target = match (params.take("VpcPeeringConnectionId"), params.take("GatewayId")) {
        (Some(id), None) => Target::Peering(id),
        (None, Some(id)) => Target::Gateway(id),
        (None, None) => {
            let message = "The request must contain exactly one of gatewayId, vpcPeeringConnectionId";
            return Err(Error::new("MissingParameter", message));
        }
        (Some(_), Some(_)) => {
            return Err(Error::new("InvalidParameterCombination", "A route has exactly one target."));
        }
    };
    Ok(Route { destination, target, origin: Origin::CreateRoute })
}

/// EC2 clears the host bits of a block: 100.68.0.18/18 becomes 100.68.0.0/18.
fn take_destination(params: &mut Params) -> Result<IpNet> {
    match (params.take("DestinationCidrBlock"), params.take("DestinationIpv6CidrBlock")) {
        (Some(block), None) => {
            parse_block::<Ipv4Net>("DestinationCidrBlock", &block).map(|block| IpNet::V4(block.trunc()))
        }
        (None, Some(block)) => {
            parse_block::<Ipv6Net>("DestinationIpv6CidrBlock", &block).map(|block| IpNet::V6(block.trunc()))
        }
        (None, None) => Err(Error::missing_parameter("DestinationCidrBlock")),
        (Some(_), Some(_)) => Err(Error::new("InvalidParameterCombination", "A route has exactly one destination.")),
    }
}

/// The filters that the API reference lists.
const FILTERS: &[&str] = &[
    "association.gateway-id",
    "association.main",
    "association.route-table-association-id",
    "association.route-table-id",
    "association.subnet-id",
    "owner-id",
    "route-table-id",
    "route.destination-cidr-block",
    "route.destination-ipv6-cidr-block",
    "route.destination-prefix-list-id",
    "route.egress-only-internet-gateway-id",
    "route.gateway-id",
    "route.instance-id",
    "route.nat-gateway-id",
    "route.origin",
    "route.state",
    "route.transit-gateway-id",
    "route.vpc-peering-connection-id",
    "tag-key",
    "vpc-id",
];

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeRouteTables.html>
pub(super) struct DescribeTables {
    ids: Vec<String>,
    filters: Filters,
    page: Page,
}

impl Handler for DescribeTables {
    fn parse(params: &mut Params) -> Result<Self> {
        let ids = params.list("RouteTableId");
        let filters = Filters::take(params, FILTERS)?;
        Ok(Self { ids, filters, page: Page::take(params, "DescribeRouteTables", &(5..=100))? })
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        let call = &context.call;
        for id in &self.ids {
            world.table(call, id)?;
        }
        call.proceed()?;
        let world = &*world;
        let passes = |table: &&RouteTable| {
            (self.ids.is_empty() || self.ids.contains(&table.id))
                && self.page.after().is_none_or(|after| table.id.as_str() > after)
                && self
                    .filters
                    .match_all(|| world.shown_tags(&call.location, &table.id), |name| values(world, table, name))
        };
        let mut xml = Xml::default();
        self.page.write(
            &mut xml,
            "routeTableSet",
            world.tables(&call.location).filter(passes),
            |table| table.id.clone(),
            |xml, table| write(xml, world, call, table),
        );
        Ok(xml)
    }
}

/// A route as `DescribeRouteTables` shows it. Local routes are included.
struct ShownRoute {
    destination: IpNet,
    gateway: Option<String>,
    peering: Option<String>,
    state: &'static str,
    origin: &'static str,
}

fn shown_routes(world: &World, table: &RouteTable) -> Vec<ShownRoute> {
    let local = world.vpc_of(table).into_iter().flat_map(Vpc::blocks).map(|destination| ShownRoute {
        destination,
        gateway: Some("local".into()),
        peering: None,
        state: "active",
        origin: "CreateRouteTable",
    });
    let made = table.routes.iter().map(|route| {
        let (gateway, peering) = match &route.target {
            Target::Peering(id) => (None, Some(id.clone())),
            Target::Gateway(id) => (Some(id.clone()), None),
        };
        let state = if world.is_route_active(route) { "active" } else { "blackhole" };
        let origin = match route.origin {
            Origin::CreateRoute => "CreateRoute",
            Origin::EnableVgwRoutePropagation => "EnableVgwRoutePropagation",
        };
        ShownRoute { destination: route.destination, gateway, peering, state, origin }
    });
    local.chain(made).collect()
}

fn write(xml: &mut Xml, world: &World, call: &Call, table: &RouteTable) {
    xml.text("routeTableId", &table.id);
    xml.text("vpcId", &table.vpc_id);
    xml.text("ownerId", &table.location.account);
    xml.list("routeSet", shown_routes(world, table), |xml, route| {
        match route.destination {
            IpNet::V4(block) => xml.text("destinationCidrBlock", block),
            IpNet::V6(block) => xml.text("destinationIpv6CidrBlock", block),
        }
        xml.optional("gatewayId", route.gateway);
        xml.optional("vpcPeeringConnectionId", route.peering);
        xml.text("state", route.state);
        xml.text("origin", route.origin);
    });
    xml.list("associationSet", is_associated(table).then_some(()), |xml, ()| {
        xml.text("routeTableAssociationId", association_id(table));
        xml.text("routeTableId", &table.id);
        xml.text("main", table.main);
        xml.optional("gatewayId", table.gateway_id.as_ref());
        xml.element("associationState", |xml| xml.text("state", "associated"));
    });
    let propagated = table.routes.iter().filter(|route| !route.is_static());
    let gateways: BTreeSet<&str> = propagated
        .filter_map(|route| match &route.target {
            Target::Gateway(id) => Some(id.as_str()),
            Target::Peering(_) => None,
        })
        .collect();
    xml.list("propagatingVgwSet", gateways, |xml, id| xml.text("gatewayId", id));
    write_tags(xml, world.shown_tags(&call.location, &table.id));
}

/// The simulator associates main route tables with their VPC, and the tables of a scene with their gateway. A table has
/// at most one association.
fn is_associated(table: &RouteTable) -> bool {
    table.main || table.gateway_id.is_some()
}

fn association_id(table: &RouteTable) -> String {
    table.id.replacen("rtb-", "rtbassoc-", 1)
}

fn values<'a>(world: &World, table: &'a RouteTable, name: &str) -> Vec<Cow<'a, str>> {
    let of_routes = |value: fn(ShownRoute) -> Option<String>| {
        shown_routes(world, table).into_iter().filter_map(value).map(Cow::Owned).collect()
    };
    match name {
        "association.gateway-id" => table.gateway_id.iter().map(|id| id.as_str().into()).collect(),
        "association.main" if is_associated(table) => vec![table.main.to_string().into()],
        "association.route-table-association-id" if is_associated(table) => vec![association_id(table).into()],
        "association.route-table-id" if is_associated(table) => vec![table.id.as_str().into()],
        "owner-id" => vec![table.location.account.as_str().into()],
        "route-table-id" => vec![table.id.as_str().into()],
        "route.destination-cidr-block" => of_routes(|route| match route.destination {
            IpNet::V4(block) => Some(block.to_string()),
            IpNet::V6(_) => None,
        }),
        "route.destination-ipv6-cidr-block" => of_routes(|route| match route.destination {
            IpNet::V4(_) => None,
            IpNet::V6(block) => Some(block.to_string()),
        }),
        "route.gateway-id" => of_routes(|route| route.gateway),
        "route.origin" => of_routes(|route| Some(route.origin.to_owned())),
        "route.state" => of_routes(|route| Some(route.state.to_owned())),
        "route.vpc-peering-connection-id" => of_routes(|route| route.peering),
        "vpc-id" => vec![table.vpc_id.as_str().into()],
        // The targets that the other filters name are not simulated, so these filters match nothing.
        _ => Vec::new(),
    }
}

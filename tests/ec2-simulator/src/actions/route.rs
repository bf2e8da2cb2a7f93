//! The actions on route tables and routes.

use std::borrow::Cow;
use std::collections::BTreeSet;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Context, Handler, done, write_tags};
use crate::error::{Error, Result};
use crate::protocol::{Filters, Page, Params, Xml};
use crate::world::cidr_block::parse_block;
use crate::world::id::ResourceKind;
use crate::world::route::{Destination, Origin, Route, Target};
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
pub(super) struct Delete(String, Destination);

impl Handler for Delete {
    fn parse(params: &mut Params) -> Result<Self> {
        Ok(Self(params.required("RouteTableId")?, take_destination(params)?))
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        world.delete_route(&context.call, &self.0, &self.1)?;
        Ok(done())
    }
}

/// The parameters that name a target, and the elements of the response that show it.
const TARGETS: &[(&str, &str, &str)] = &[
    ("VpcPeeringConnectionId", "vpcPeeringConnectionId", "pcx"),
    ("TransitGatewayId", "transitGatewayId", "tgw"),
    ("NatGatewayId", "natGatewayId", "nat"),
    ("EgressOnlyInternetGatewayId", "egressOnlyInternetGatewayId", "eigw"),
    ("NetworkInterfaceId", "networkInterfaceId", "eni"),
    ("InstanceId", "instanceId", "i"),
    ("GatewayId", "gatewayId", ""),
];

/// The element of the response that shows a target. Gateways of all other kinds share one.
fn element_of(target: &str) -> &'static str {
    let prefix = target.split_once('-').map_or("", |(prefix, _)| prefix);
    TARGETS.iter().find(|(_, _, one)| *one == prefix).map_or("gatewayId", |(_, element, _)| element)
}

fn take_route(params: &mut Params) -> Result<Route> {
    let destination = take_destination(params)?;
    let mut targets: Vec<_> = TARGETS.iter().filter_map(|(name, ..)| Some((*name, params.take(name)?))).collect();
    let target = match (targets.pop(), targets.pop()) {
        (Some(("VpcPeeringConnectionId", id)), None) => Target::Peering(id),
        (Some((_, id)), None) => Target::Gateway(id),
        (None, _) => {
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
fn take_destination(params: &mut Params) -> Result<Destination> {
    let names = ["DestinationCidrBlock", "DestinationIpv6CidrBlock", "DestinationPrefixListId"];
    match names.map(|name| params.take(name)) {
        [Some(block), None, None] => {
            parse_block::<Ipv4Net>(names[0], &block).map(|block| Destination::Block(IpNet::V4(block.trunc())))
        }
        [None, Some(block), None] => {
            parse_block::<Ipv6Net>(names[1], &block).map(|block| Destination::Block(IpNet::V6(block.trunc())))
        }
        [None, None, Some(list)] => Ok(Destination::PrefixList(list)),
        [None, None, None] => Err(Error::missing_parameter("DestinationCidrBlock")),
        _ => Err(Error::new("InvalidParameterCombination", "A route has exactly one destination.")),
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
    destination: Destination,
    target: String,
    state: &'static str,
    origin: &'static str,
}

impl ShownRoute {
    /// The target, if the element of the response shows it.
    fn target_as(&self, element: &str) -> Option<String> {
        (element_of(&self.target) == element).then(|| self.target.clone())
    }
}

fn shown_routes(world: &World, table: &RouteTable) -> Vec<ShownRoute> {
    let local = world.vpc_of(table).into_iter().flat_map(Vpc::blocks).map(|destination| ShownRoute {
        destination: Destination::Block(destination),
        target: "local".into(),
        state: "active",
        origin: "CreateRouteTable",
    });
    let made = table.routes.iter().map(|route| {
        let (Target::Peering(target) | Target::Gateway(target)) = route.target.clone();
        let state = if world.is_route_active(route) { "active" } else { "blackhole" };
        let origin = match route.origin {
            Origin::CreateRoute => "CreateRoute",
            Origin::EnableVgwRoutePropagation => "EnableVgwRoutePropagation",
        };
        ShownRoute { destination: route.destination.clone(), target, state, origin }
    });
    local.chain(made).collect()
}

/// An association as `DescribeRouteTables` shows it.
struct ShownAssociation<'a> {
    id: String,
    main: bool,
    subnet: Option<&'a str>,
    gateway: Option<&'a str>,
}

/// The main table is associated with its VPC, in addition to the subnets that it may be associated with. A subnet
/// without a table of its own uses the main table and is not shown there.
/// <https://docs.aws.amazon.com/vpc/latest/userguide/WorkWithRouteTables.html#subnet-association-main>
fn associations(table: &RouteTable) -> Vec<ShownAssociation<'_>> {
    let id = |resource: &str| {
        let digits = resource.split_once('-').map_or("", |(_, digits)| digits);
        format!("rtbassoc-{digits}")
    };
    let main = ShownAssociation { id: id(&table.id), main: true, subnet: None, gateway: None };
    let subnets = table.subnet_ids.iter().map(|subnet| ShownAssociation {
        id: id(subnet),
        main: false,
        subnet: Some(subnet),
        gateway: None,
    });
    let gateways = table.gateway_id.iter().map(|gateway| ShownAssociation {
        id: id(gateway),
        main: false,
        subnet: None,
        gateway: Some(gateway),
    });
    table.main.then_some(main).into_iter().chain(subnets).chain(gateways).collect()
}

fn write(xml: &mut Xml, world: &World, call: &Call, table: &RouteTable) {
    xml.text("routeTableId", &table.id);
    xml.text("vpcId", &table.vpc_id);
    xml.text("ownerId", &table.location.account);
    xml.list("routeSet", shown_routes(world, table), |xml, route| {
        match &route.destination {
            Destination::Block(IpNet::V4(block)) => xml.text("destinationCidrBlock", block),
            Destination::Block(IpNet::V6(block)) => xml.text("destinationIpv6CidrBlock", block),
            Destination::PrefixList(list) => xml.text("destinationPrefixListId", list),
        }
        xml.text(element_of(&route.target), &route.target);
        xml.text("state", route.state);
        xml.text("origin", route.origin);
    });
    xml.list("associationSet", associations(table), |xml, association| {
        xml.text("routeTableAssociationId", association.id);
        xml.text("routeTableId", &table.id);
        xml.text("main", association.main);
        xml.optional("subnetId", association.subnet);
        xml.optional("gatewayId", association.gateway);
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

fn values<'a>(world: &World, table: &'a RouteTable, name: &str) -> Vec<Cow<'a, str>> {
    let of_routes = |value: &dyn Fn(&ShownRoute) -> Option<String>| {
        shown_routes(world, table).iter().filter_map(value).map(Cow::Owned).collect()
    };
    let by_target = |element| of_routes(&|route| route.target_as(element));
    let of_associations = |value: fn(ShownAssociation<'a>) -> Option<Cow<'a, str>>| {
        associations(table).into_iter().filter_map(value).collect()
    };
    match name {
        "association.gateway-id" => of_associations(|one| one.gateway.map(Cow::Borrowed)),
        "association.main" => of_associations(|one| Some(one.main.to_string().into())),
        "association.route-table-association-id" => of_associations(|one| Some(one.id.into())),
        "association.route-table-id" if !associations(table).is_empty() => vec![table.id.as_str().into()],
        "association.subnet-id" => of_associations(|one| one.subnet.map(Cow::Borrowed)),
        "owner-id" => vec![table.location.account.as_str().into()],
        "route-table-id" => vec![table.id.as_str().into()],
        "route.destination-cidr-block" => of_routes(&|route| match route.destination.block()? {
            IpNet::V4(block) => Some(block.to_string()),
            IpNet::V6(_) => None,
        }),
        "route.destination-ipv6-cidr-block" => of_routes(&|route| match route.destination.block()? {
            IpNet::V4(_) => None,
            IpNet::V6(block) => Some(block.to_string()),
        }),
        "route.destination-prefix-list-id" => of_routes(&|route| match &route.destination {
            Destination::Block(_) => None,
            Destination::PrefixList(list) => Some(list.clone()),
        }),
        "route.egress-only-internet-gateway-id" => by_target("egressOnlyInternetGatewayId"),
        "route.gateway-id" => by_target("gatewayId"),
        "route.instance-id" => by_target("instanceId"),
        "route.nat-gateway-id" => by_target("natGatewayId"),
        "route.origin" => of_routes(&|route| Some(route.origin.to_owned())),
        "route.state" => of_routes(&|route| Some(route.state.to_owned())),
        "route.transit-gateway-id" => by_target("transitGatewayId"),
        "route.vpc-peering-connection-id" => by_target("vpcPeeringConnectionId"),
        "vpc-id" => vec![table.vpc_id.as_str().into()],
        _ => Vec::new(),
    }
}

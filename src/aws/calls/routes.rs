//! The calls on route tables and routes.

use aws_sdk_ec2::operation::create_route::builders::CreateRouteFluentBuilder;
use aws_sdk_ec2::operation::delete_route::builders::DeleteRouteFluentBuilder;
use aws_sdk_ec2::operation::replace_route::builders::ReplaceRouteFluentBuilder;
use aws_sdk_ec2::types::{Filter, RouteOrigin, RouteState, RouteTableAssociation, RouteTableAssociationStateCode};
use ipnet::IpNet;

use super::vpc_resources::{Describe, tags};
use crate::api::ManagedRoute;
use crate::aws::ec2::Ec2;
use crate::aws::error::{AwsError, Class};
use crate::aws::inventory::view::Page;
use crate::peering::routes::{Destination, Route, RouteTable, Target};

/// A route's destination. EC2 has one parameter for each address family, and one for prefix lists.
struct Parameters {
    ipv4: Option<String>,
    ipv6: Option<String>,
    prefix_list: Option<String>,
}

impl Parameters {
    fn of(route: &ManagedRoute) -> Self {
        let prefix_list = route.destination_prefix_list_id.clone();
        // EC2 rejects an invalid block in the IPv4 parameter with a clear message.
        let is_ipv6 = |block: &String| matches!(block.parse(), Ok(IpNet::V6(_)));
        match route.destination_cidr_block.clone() {
            Some(block) if is_ipv6(&block) => Self { ipv4: None, ipv6: Some(block), prefix_list },
            ipv4 => Self { ipv4, ipv6: None, prefix_list },
        }
    }
}

impl Describe for RouteTable {
    const PAGE_SIZE: usize = 100;
    const NAME: &'static str = "route tables";

    async fn page(
        ec2: &Ec2,
        region: &str,
        filter: Option<Filter>,
        token: Option<String>,
    ) -> Result<Page<RouteTable>, AwsError> {
        let call = ec2.read_client(region).describe_route_tables().max_results(Self::PAGE_SIZE as i32);
        let answer = call.set_filters(filter.map(|filter| vec![filter])).set_next_token(token).send().await;
        let answer = answer.map_err(|error| ec2.error("DescribeRouteTables", &error))?;
        let items = answer.route_tables.unwrap_or_default().into_iter().filter_map(read).collect();
        Ok(Page { items, next: answer.next_token.filter(|token| !token.is_empty()) })
    }
}

impl Ec2 {
    /// If the table already has a route to that destination, the error is [`Class::Wait`]: the next listing shows it.
    pub async fn create_route(&self, region: &str, route: &ManagedRoute) -> Result<(), AwsError> {
        self.check("CreateRoute", self.create_route_call(region, route).send().await)
    }

    /// Changes the target of an existing route.
    pub async fn replace_route(&self, region: &str, route: &ManagedRoute) -> Result<(), AwsError> {
        self.check("ReplaceRoute", self.replace_route_call(region, route).send().await)
    }

    /// Succeeds also if the route or its table no longer exists. EC2 deletes whatever route has this destination, so
    /// the caller must have verified the target in a new listing.
    pub async fn delete_route(&self, region: &str, route: &ManagedRoute) -> Result<(), AwsError> {
        match self.check("DeleteRoute", self.delete_route_call(region, route).send().await) {
            Err(error) if error.class == Class::Gone => Ok(()),
            outcome => outcome,
        }
    }

    pub(super) fn create_route_call(&self, region: &str, route: &ManagedRoute) -> CreateRouteFluentBuilder {
        let Parameters { ipv4, ipv6, prefix_list } = Parameters::of(route);
        let call = self.write_client(region).create_route().route_table_id(&route.route_table_id);
        let call = call.set_destination_cidr_block(ipv4).set_destination_ipv6_cidr_block(ipv6);
        let call = call.set_destination_prefix_list_id(prefix_list);
        call.vpc_peering_connection_id(&route.vpc_peering_connection_id)
    }

    pub(super) fn replace_route_call(&self, region: &str, route: &ManagedRoute) -> ReplaceRouteFluentBuilder {
        let Parameters { ipv4, ipv6, prefix_list } = Parameters::of(route);
        let call = self.write_client(region).replace_route().route_table_id(&route.route_table_id);
        let call = call.set_destination_cidr_block(ipv4).set_destination_ipv6_cidr_block(ipv6);
        let call = call.set_destination_prefix_list_id(prefix_list);
        call.vpc_peering_connection_id(&route.vpc_peering_connection_id)
    }

    pub(super) fn delete_route_call(&self, region: &str, route: &ManagedRoute) -> DeleteRouteFluentBuilder {
        let Parameters { ipv4, ipv6, prefix_list } = Parameters::of(route);
        let call = self.write_client(region).delete_route().route_table_id(&route.route_table_id);
        let call = call.set_destination_cidr_block(ipv4).set_destination_ipv6_cidr_block(ipv6);
        call.set_destination_prefix_list_id(prefix_list)
    }
}

/// Skips a table without an ID.
fn read(table: aws_sdk_ec2::types::RouteTable) -> Option<RouteTable> {
    let associations = table.associations.unwrap_or_default();
    let current = || associations.iter().filter(|association| is_current(association));
    Some(RouteTable {
        id: table.route_table_id?,
        vpc_id: table.vpc_id.unwrap_or_default(),
        main: associations.iter().any(|association| association.main == Some(true)),
        gateway_id: current().find_map(|association| association.gateway_id.clone()),
        subnet_ids: current().filter_map(|association| association.subnet_id.clone()).collect(),
        tags: tags(table.tags),
        routes: table.routes.unwrap_or_default().into_iter().filter_map(read_route).collect(),
    })
}

/// Whether the association is neither ended nor failed.
fn is_current(association: &RouteTableAssociation) -> bool {
    let state = association.association_state.as_ref().and_then(|state| state.state.as_ref());
    !matches!(state, Some(RouteTableAssociationStateCode::Disassociated | RouteTableAssociationStateCode::Failed))
}

/// Skips a propagated route: a static route to the same destination can exist beside it, and takes priority.
/// <https://docs.aws.amazon.com/vpc/latest/userguide/route-tables-priority.html>
fn read_route(route: aws_sdk_ec2::types::Route) -> Option<Route> {
    if route.origin == Some(RouteOrigin::EnableVgwRoutePropagation) {
        return None;
    }
    let block = route.destination_cidr_block.as_ref().or(route.destination_ipv6_cidr_block.as_ref());
    let destination = match block {
        Some(block) => Destination::Cidr(block.parse::<IpNet>().ok()?.trunc()),
        None => Destination::PrefixList(route.destination_prefix_list_id.clone()?),
    };
    Some(Route { destination, is_blackhole: route.state == Some(RouteState::Blackhole), target: target(route) })
}

/// The target of a route. A route to an instance also has a network interface ID; the instance ID is the more useful one
/// in messages.
pub(super) fn target(route: aws_sdk_ec2::types::Route) -> Target {
    let others = [
        route.gateway_id,
        route.nat_gateway_id,
        route.transit_gateway_id,
        route.egress_only_internet_gateway_id,
        route.instance_id,
        route.network_interface_id,
        route.local_gateway_id,
        route.carrier_gateway_id,
        route.core_network_arn,
        route.odb_network_arn,
    ];
    match route.vpc_peering_connection_id {
        Some(id) => Target::Peering(id),
        None => Target::Other(
            others.into_iter().flatten().next().unwrap_or_else(|| "a target of an unknown kind".to_owned()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use aws_sdk_ec2::types::{Route as SdkRoute, RouteTable as SdkRouteTable, RouteTableAssociationState, Tag};
    use ec2_simulator::Client;
    use ec2_simulator::journal::Query;

    use super::*;
    use crate::api::Side;
    use crate::aws::inventory::view::all_pages;
    use crate::aws::testing;
    use crate::peering::routes::RouteTables;

    const REGION: &str = "eu-central-1";

    async fn list(ec2: &Ec2) -> Result<RouteTables, Box<dyn Error>> {
        Ok(all_pages::<RouteTables>(ec2, REGION, None).await?.into_iter().collect())
    }

    #[tokio::test]
    async fn routes_of_both_families_are_created_replaced_and_deleted() -> Result<(), Box<dyn Error>> {
        let (_server, ec2) = testing::instant_simulator().await?;
        let ours = testing::vpc(&ec2, REGION, "10.0.0.0/16").await?;
        let add = ec2.read_client(REGION).associate_vpc_cidr_block().vpc_id(&ours);
        add.amazon_provided_ipv6_cidr_block(true).send().await?;
        let (one, two) =
            (testing::vpc(&ec2, REGION, "10.1.0.0/16").await?, testing::vpc(&ec2, REGION, "10.2.0.0/16").await?);
        let (first, second) =
            (testing::peering(&ec2, REGION, &ours, &one).await?, testing::peering(&ec2, REGION, &ours, &two).await?);
        let tables = list(&ec2).await?;
        let table = tables.of_vpc(&ours).next().ok_or("no table")?.id.clone();
        for destination in ["10.1.0.0/16", "2001:db8::/56"] {
            let block = Destination::Cidr(destination.parse()?);
            let through = |id: &str| block.managed_route(Side::Requester, &table, id);
            let shown = async || -> Result<Vec<Target>, Box<dyn Error>> {
                let tables = list(&ec2).await?;
                let routes = tables.get(&table).into_iter().flat_map(|table| table.routes.clone());
                let there = routes.filter(|route| route.destination.to_string() == destination && !route.is_blackhole);
                Ok(there.map(|route| route.target).collect())
            };
            let refused = ec2.replace_route(REGION, &through(&first)).await;
            assert!(refused.is_err(), "there is no route to replace");
            ec2.create_route(REGION, &through(&first)).await?;
            assert_eq!(shown().await?, [Target::Peering(first.clone())]);
            let refused = ec2.create_route(REGION, &through(&second)).await;
            assert_eq!(refused.map_err(|error| error.class), Err(Class::Wait), "the next listing shows it");
            ec2.replace_route(REGION, &through(&second)).await?;
            assert_eq!(shown().await?, [Target::Peering(second.clone())]);
            ec2.delete_route(REGION, &through(&second)).await?;
            assert_eq!(shown().await?, []);
            ec2.delete_route(REGION, &through(&second)).await?;
        }
        let gone = ManagedRoute {
            side: Side::Requester,
            route_table_id: "rtb-0123456789abcdef0".into(),
            destination_cidr_block: Some("10.1.0.0/16".into()),
            destination_prefix_list_id: None,
            vpc_peering_connection_id: first,
        };
        ec2.delete_route(REGION, &gone).await?;
        assert_eq!(ec2.create_route(REGION, &gone).await.map_err(|error| error.class), Err(Class::Gone));
        Ok(())
    }

    #[tokio::test]
    async fn several_pages_of_route_tables_are_read() -> Result<(), Box<dyn Error>> {
        let (server, ec2) = testing::instant_simulator().await?;
        let vpc = testing::vpc(&ec2, REGION, "10.0.0.0/16").await?;
        for _ in 0..RouteTable::PAGE_SIZE {
            ec2.read_client(REGION).create_route_table().vpc_id(&vpc).send().await?;
        }
        let tables = list(&ec2).await?;
        assert_eq!((tables.len(), tables.of_vpc(&vpc).count()), (RouteTable::PAGE_SIZE + 1, RouteTable::PAGE_SIZE + 1));
        assert_eq!(tables.of_vpc(&vpc).filter(|table| table.main).count(), 1);
        let journal = Client::new(&server.url()).journal(&Query::default()).await?;
        assert_eq!(journal.counters["DescribeRouteTables"].calls, 2);
        Ok(())
    }

    #[test]
    fn every_kind_of_static_route_is_read() {
        let to = |block: &str| SdkRoute::builder().destination_cidr_block(block);
        let rows = [
            (to("10.1.0.0/16").vpc_peering_connection_id("pcx-1"), Some(("10.1.0.0/16", "pcx-1", false))),
            (
                SdkRoute::builder().destination_ipv6_cidr_block("2001:DB8::/56").vpc_peering_connection_id("pcx-1"),
                Some(("2001:db8::/56", "pcx-1", false)),
            ),
            (to("10.0.0.0/16").gateway_id("local"), Some(("10.0.0.0/16", "local", false))),
            (to("0.0.0.0/0").nat_gateway_id("nat-1").state(RouteState::Blackhole), Some(("0.0.0.0/0", "nat-1", true))),
            (to("10.2.0.0/16").instance_id("i-1").network_interface_id("eni-1"), Some(("10.2.0.0/16", "i-1", false))),
            (to("10.2.0.0/16").network_interface_id("eni-1"), Some(("10.2.0.0/16", "eni-1", false))),
            (to("10.3.0.0/16"), Some(("10.3.0.0/16", "a target of an unknown kind", false))),
            (
                SdkRoute::builder().destination_prefix_list_id("pl-1").gateway_id("vpce-1"),
                Some(("pl-1", "vpce-1", false)),
            ),
            (
                to("10.4.0.0/16").gateway_id("vgw-1").origin(RouteOrigin::CreateRoute),
                Some(("10.4.0.0/16", "vgw-1", false)),
            ),
            (to("10.4.0.0/16").gateway_id("vgw-1").origin(RouteOrigin::EnableVgwRoutePropagation), None),
        ];
        for (shown, expected) in rows {
            let shown = shown.build();
            let route = read_route(shown.clone());
            let seen = route.map(|route| (route.destination.to_string(), route.target.to_string(), route.is_blackhole));
            let seen = seen.as_ref().map(|(to, through, lost)| (to.as_str(), through.as_str(), *lost));
            assert_eq!(seen, expected, "{shown:?}");
        }
    }

    #[test]
    fn a_route_table_is_read_with_its_tags() {
        let main = RouteTableAssociation::builder().main(true).build();
        let subnet = RouteTableAssociation::builder().main(false).subnet_id("subnet-1").build();
        let table = SdkRouteTable::builder().route_table_id("rtb-1").vpc_id("vpc-1").associations(subnet.clone());
        let tagged = table.clone().associations(main).tags(Tag::builder().key("tier").value("private").build()).build();
        let expected = RouteTable {
            id: "rtb-1".into(),
            vpc_id: "vpc-1".into(),
            main: true,
            gateway_id: None,
            subnet_ids: ["subnet-1".to_owned()].into(),
            tags: [("tier".to_owned(), "private".to_owned())].into(),
            routes: Vec::new(),
        };
        assert_eq!(read(tagged), Some(expected.clone()));
        assert_eq!(read(table.build()), Some(RouteTable { main: false, tags: [].into(), ..expected }));
        assert_eq!(read(SdkRouteTable::builder().build()), None);
        for (state, gateway_id) in [
            (RouteTableAssociationStateCode::Associated, Some("igw-1")),
            (RouteTableAssociationStateCode::Disassociated, None),
            (RouteTableAssociationStateCode::Failed, None),
        ] {
            let state = RouteTableAssociationState::builder().state(state).build();
            let gateway = RouteTableAssociation::builder().gateway_id("igw-1").association_state(state.clone());
            let table = SdkRouteTable::builder().route_table_id("rtb-1").associations(gateway.build()).build();
            assert_eq!(read(table).and_then(|table| table.gateway_id).as_deref(), gateway_id, "{state:?}");
        }
    }
}

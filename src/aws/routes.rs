//! The calls to EC2 by which packets find their way: route tables and routes, and what an end's options allow.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_sdk_ec2::types::{Filter, PeeringConnectionOptionsRequest, RouteState};
use ipnet::IpNet;
use smol_str::SmolStr;

use super::inventory::{Page, View};
use super::{AwsError, Class, Ec2, Questions};
use crate::api::{ManagedRoute, Side};
use crate::peering::routes::{Route, RouteTable, RouteTables, Target};

/// Where a route leads to, in the parameters that EC2 has for either family.
struct Destination {
    ipv4: Option<String>,
    ipv6: Option<String>,
}

impl Destination {
    fn of(route: &ManagedRoute) -> Self {
        let block = route.destination_cidr_block.clone();
        // What is no block at all goes where EC2 says so.
        match block.parse() {
            Ok(IpNet::V6(_)) => Self { ipv4: None, ipv6: Some(block) },
            Ok(IpNet::V4(_)) | Err(_) => Self { ipv4: Some(block), ipv6: None },
        }
    }
}

/// What finds the route tables of a VPC.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeRouteTables.html>
pub const VPC_ID: &str = "vpc-id";

impl View for RouteTables {
    type Item = RouteTable;

    const PAGE: usize = 100;
    const WHAT: &'static str = "route tables";

    async fn page(
        ec2: &Ec2,
        region: &str,
        filter: Option<Filter>,
        token: Option<String>,
    ) -> Result<Page<RouteTable>, AwsError> {
        let call = ec2.client(region).describe_route_tables().max_results(Self::PAGE as i32);
        let answer = call.set_filters(filter.map(|filter| vec![filter])).set_next_token(token).send().await;
        let answer = answer.map_err(|error| ec2.error("DescribeRouteTables", &error))?;
        let items = answer.route_tables.unwrap_or_default().into_iter().filter_map(read).collect();
        Ok(Page { items, next: answer.next_token.filter(|token| !token.is_empty()) })
    }

    fn items(&self) -> impl ExactSizeIterator<Item = &Arc<RouteTable>> {
        self.tables()
    }

    fn share(&self, table: RouteTable, _: &SmolStr) -> Arc<RouteTable> {
        self.share(table)
    }

    fn value<'a>(table: &'a RouteTable, filter: &str) -> Option<&'a str> {
        (filter == VPC_ID).then_some(&table.vpc_id)
    }

    fn changes_since(&self, earlier: &Self) -> BTreeSet<String> {
        self.changes_since(earlier)
    }

    fn in_motion(&self, _: &str) -> Questions {
        Questions::default()
    }
}

impl Ec2 {
    /// Makes a route.
    ///
    /// # Errors
    /// What AWS, or the way to it, refuses; [`Class::Wait`] if there is a route to that destination, which the next look
    /// at the table shows.
    pub async fn create_route(&self, region: &str, route: &ManagedRoute) -> Result<(), AwsError> {
        let destination = Destination::of(route);
        let call = self
            .changing(region)
            .create_route()
            .route_table_id(&route.route_table_id)
            .set_destination_cidr_block(destination.ipv4)
            .set_destination_ipv6_cidr_block(destination.ipv6)
            .vpc_peering_connection_id(&route.vpc_peering_connection_id)
            .send();
        self.done("CreateRoute", call.await)
    }

    /// Leads a route, which must be there, through another connection.
    ///
    /// # Errors
    /// What AWS, or the way to it, refuses.
    pub async fn replace_route(&self, region: &str, route: &ManagedRoute) -> Result<(), AwsError> {
        let destination = Destination::of(route);
        let call = self
            .changing(region)
            .replace_route()
            .route_table_id(&route.route_table_id)
            .set_destination_cidr_block(destination.ipv4)
            .set_destination_ipv6_cidr_block(destination.ipv6)
            .vpc_peering_connection_id(&route.vpc_peering_connection_id)
            .send();
        self.done("ReplaceRoute", call.await)
    }

    /// Takes a route away; that it, or its table, is gone already is as good. EC2 takes no condition, so it must have
    /// been seen to be ours a moment ago.
    ///
    /// # Errors
    /// What AWS, or the way to it, refuses.
    pub async fn delete_route(&self, region: &str, route: &ManagedRoute) -> Result<(), AwsError> {
        let destination = Destination::of(route);
        let call = self
            .changing(region)
            .delete_route()
            .route_table_id(&route.route_table_id)
            .set_destination_cidr_block(destination.ipv4)
            .set_destination_ipv6_cidr_block(destination.ipv6)
            .send();
        match self.done("DeleteRoute", call.await) {
            Err(error) if error.class == Class::Gone => Ok(()),
            outcome => outcome,
        }
    }

    /// Sets whether names of this side's VPC resolve to private addresses when asked for from the other; belongs in this
    /// side's region. Nothing else is sent: `ClassicLink` is retired, and refused across regions.
    ///
    /// # Errors
    /// What AWS, or the way to it, refuses.
    pub async fn modify_vpc_peering_connection_options(
        &self,
        region: &str,
        id: &str,
        side: Side,
        allow_dns: bool,
    ) -> Result<(), AwsError> {
        let options =
            PeeringConnectionOptionsRequest::builder().allow_dns_resolution_from_remote_vpc(allow_dns).build();
        let call = self.changing(region).modify_vpc_peering_connection_options().vpc_peering_connection_id(id);
        let call = match side {
            Side::Requester => call.requester_peering_connection_options(options),
            Side::Accepter => call.accepter_peering_connection_options(options),
        };
        self.done("ModifyVpcPeeringConnectionOptions", call.send().await)
    }
}

/// Takes over what EC2 shows. A table without an ID cannot be meant by anybody.
fn read(table: aws_sdk_ec2::types::RouteTable) -> Option<RouteTable> {
    let associations = table.associations.unwrap_or_default();
    Some(RouteTable {
        id: table.route_table_id?,
        vpc_id: table.vpc_id.unwrap_or_default(),
        main: associations.iter().any(|association| association.main == Some(true)),
        tags: table
            .tags
            .unwrap_or_default()
            .into_iter()
            .filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default())))
            .collect(),
        routes: table.routes.unwrap_or_default().into_iter().filter_map(read_route).collect(),
    })
}

/// A route to a CIDR block; one to a prefix list is never in the way of ours.
fn read_route(route: aws_sdk_ec2::types::Route) -> Option<Route> {
    let destination: IpNet = route.destination_cidr_block.or(route.destination_ipv6_cidr_block)?.parse().ok()?;
    // An instance's route names its network interface, too; the more telling one comes first.
    let other = || {
        [
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
        ]
        .into_iter()
        .flatten()
        .next()
    };
    Some(Route {
        destination: destination.trunc(),
        target: match route.vpc_peering_connection_id {
            Some(id) => Target::Peering(id),
            None => Target::Other(other().unwrap_or_else(|| "a target of an unknown kind".to_owned())),
        },
        is_blackhole: route.state == Some(RouteState::Blackhole),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::error::Error;
    use std::net::Ipv4Addr;

    use aws_sdk_ec2::types::{
        AttributeBooleanValue, Route as Shown, RouteTable as ShownTable, RouteTableAssociation, Tag,
    };
    use ec2_simulator::clock::Clock;
    use ec2_simulator::journal::Query;
    use ec2_simulator::{Client, Server, Settings, Simulator};
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::aws::CreateRequest;
    use crate::aws::inventory::all_pages;
    use crate::aws::testing::{self, Unwatched};

    const REGION: &str = "eu-central-1";

    /// A simulator in which everything happens at once.
    async fn simulator() -> Result<(Server, Ec2), Box<dyn Error>> {
        let mut settings = Settings::default();
        settings.delays.initiating = Default::default();
        settings.delays.provisioning = Default::default();
        let simulator = Simulator::new(settings, Clock::new(Timestamp::now(), 1.0), 1);
        let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), simulator).await?;
        let ec2 = testing::ec2(&server.url(), Arc::new(Unwatched));
        Ok((server, ec2))
    }

    async fn all(ec2: &Ec2) -> Result<RouteTables, Box<dyn Error>> {
        Ok(all_pages::<RouteTables>(ec2, REGION, None).await?.into_iter().collect())
    }

    async fn vpc(ec2: &Ec2, block: &str) -> Result<String, Box<dyn Error>> {
        let made = ec2.client(REGION).create_vpc().cidr_block(block).send().await?;
        Ok(made.vpc.and_then(|vpc| vpc.vpc_id).ok_or("no VPC")?)
    }

    /// An active connection between two VPCs.
    async fn peering(ec2: &Ec2, vpc_id: &str, peer_vpc_id: &str) -> Result<String, Box<dyn Error>> {
        let request = CreateRequest {
            region: REGION.into(),
            vpc_id: vpc_id.to_owned(),
            peer_vpc_id: peer_vpc_id.to_owned(),
            peer_owner_id: None,
            peer_region: None,
            tags: BTreeMap::new(),
        };
        let id = ec2.create_vpc_peering_connection(&request).await?.id;
        ec2.accept_vpc_peering_connection(REGION, &id).await?;
        Ok(id)
    }

    #[tokio::test]
    async fn routes_of_both_families_come_change_and_go() -> Result<(), Box<dyn Error>> {
        let (_server, ec2) = simulator().await?;
        let ours = vpc(&ec2, "10.0.0.0/16").await?;
        let (one, two) = (vpc(&ec2, "10.1.0.0/16").await?, vpc(&ec2, "10.2.0.0/16").await?);
        let (first, second) = (peering(&ec2, &ours, &one).await?, peering(&ec2, &ours, &two).await?);
        let tables = all(&ec2).await?;
        let table = tables.of_vpc(&ours).next().ok_or("no table")?.id.clone();
        for destination in ["10.1.0.0/16", "2001:db8::/56"] {
            let through = |id: &str| ManagedRoute {
                side: Side::Requester,
                route_table_id: table.clone(),
                destination_cidr_block: destination.into(),
                vpc_peering_connection_id: id.to_owned(),
            };
            let shown = async || -> Result<Vec<Target>, Box<dyn Error>> {
                let tables = all(&ec2).await?;
                let routes = tables.get(&table).into_iter().flat_map(|table| table.routes.clone());
                let there = routes.filter(|route| route.destination.to_string() == destination && !route.is_blackhole);
                Ok(there.map(|route| route.target).collect())
            };
            let refused = ec2.replace_route(REGION, &through(&first)).await;
            assert!(refused.is_err(), "there is none to replace");
            ec2.create_route(REGION, &through(&first)).await?;
            assert_eq!(shown().await?, [Target::Peering(first.clone())]);
            let refused = ec2.create_route(REGION, &through(&second)).await;
            assert_eq!(refused.map_err(|error| error.class), Err(Class::Wait), "the next look shows it");
            ec2.replace_route(REGION, &through(&second)).await?;
            assert_eq!(shown().await?, [Target::Peering(second.clone())]);
            ec2.delete_route(REGION, &through(&second)).await?;
            assert_eq!(shown().await?, []);
            ec2.delete_route(REGION, &through(&second)).await?;
        }
        let gone = ManagedRoute {
            side: Side::Requester,
            route_table_id: "rtb-0123456789abcdef0".into(),
            destination_cidr_block: "10.1.0.0/16".into(),
            vpc_peering_connection_id: first,
        };
        ec2.delete_route(REGION, &gone).await?;
        assert_eq!(ec2.create_route(REGION, &gone).await.map_err(|error| error.class), Err(Class::Gone));
        Ok(())
    }

    #[tokio::test]
    async fn more_tables_than_fit_on_a_page_are_read() -> Result<(), Box<dyn Error>> {
        let (server, ec2) = simulator().await?;
        let vpc = vpc(&ec2, "10.0.0.0/16").await?;
        for _ in 0..RouteTables::PAGE {
            ec2.client(REGION).create_route_table().vpc_id(&vpc).send().await?;
        }
        let tables = all(&ec2).await?;
        assert_eq!((tables.len(), tables.of_vpc(&vpc).count()), (RouteTables::PAGE + 1, RouteTables::PAGE + 1));
        assert_eq!(tables.of_vpc(&vpc).filter(|table| table.main).count(), 1);
        let journal = Client::new(&server.url()).journal(&Query::default()).await?;
        assert_eq!(journal.counters["DescribeRouteTables"].calls, 2);
        Ok(())
    }

    #[tokio::test]
    async fn options_are_sent_for_one_side_and_nothing_else() -> Result<(), Box<dyn Error>> {
        let (server, ec2) = simulator().await?;
        let (one, two) = (vpc(&ec2, "10.0.0.0/16").await?, vpc(&ec2, "10.1.0.0/16").await?);
        for vpc in [&one, &two] {
            let yes = AttributeBooleanValue::builder().value(true).build();
            ec2.client(REGION).modify_vpc_attribute().vpc_id(vpc).enable_dns_hostnames(yes).send().await?;
        }
        let id = peering(&ec2, &one, &two).await?;
        let control = Client::new(&server.url());
        for (side, name) in [(Side::Requester, "Requester"), (Side::Accepter, "Accepter")] {
            control.clear_journal().await?;
            ec2.modify_vpc_peering_connection_options(REGION, &id, side, true).await?;
            let journal = control.journal(&Query::default()).await?;
            let sent = &journal.entries[0].parameters;
            let option = format!("{name}PeeringConnectionOptions.AllowDnsResolutionFromRemoteVpc");
            let expected = BTreeMap::from([(option, "true".into()), ("VpcPeeringConnectionId".into(), id.clone())]);
            assert_eq!(*sent, expected);
        }
        Ok(())
    }

    #[test]
    fn every_kind_of_route_is_read() {
        let to = |block: &str| Shown::builder().destination_cidr_block(block);
        let rows = [
            (to("10.1.0.0/16").vpc_peering_connection_id("pcx-1"), Some(("10.1.0.0/16", "pcx-1", false))),
            (
                Shown::builder().destination_ipv6_cidr_block("2001:DB8::/56").vpc_peering_connection_id("pcx-1"),
                Some(("2001:db8::/56", "pcx-1", false)),
            ),
            (to("10.0.0.0/16").gateway_id("local"), Some(("10.0.0.0/16", "local", false))),
            (to("0.0.0.0/0").nat_gateway_id("nat-1").state(RouteState::Blackhole), Some(("0.0.0.0/0", "nat-1", true))),
            (to("10.2.0.0/16").instance_id("i-1").network_interface_id("eni-1"), Some(("10.2.0.0/16", "i-1", false))),
            (to("10.2.0.0/16").network_interface_id("eni-1"), Some(("10.2.0.0/16", "eni-1", false))),
            (to("10.3.0.0/16"), Some(("10.3.0.0/16", "a target of an unknown kind", false))),
            (Shown::builder().destination_prefix_list_id("pl-1").gateway_id("vpce-1"), None),
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
    fn a_table_is_read_with_its_tags() {
        let main = RouteTableAssociation::builder().main(true).build();
        let subnet = RouteTableAssociation::builder().main(false).subnet_id("subnet-1").build();
        let table = ShownTable::builder().route_table_id("rtb-1").vpc_id("vpc-1").associations(subnet.clone());
        let tagged = table.clone().associations(main).tags(Tag::builder().key("tier").value("private").build()).build();
        let expected = RouteTable {
            id: "rtb-1".into(),
            vpc_id: "vpc-1".into(),
            main: true,
            tags: [("tier".to_owned(), "private".to_owned())].into(),
            routes: Vec::new(),
        };
        assert_eq!(read(tagged), Some(expected.clone()));
        assert_eq!(read(table.build()), Some(RouteTable { main: false, tags: [].into(), ..expected }));
        assert_eq!(read(ShownTable::builder().build()), None);
    }
}

//! Routes, where AWS does not document an answer and the simulator is strict.

use crate::cloud::{Cloud, HERE, at_once, frozen, refused_with, simulator};

#[tokio::test]
async fn an_ipv6_route_needs_an_ipv6_block_in_the_vpc_of_the_table() {
    let server = simulator(at_once(), frozen()).await;
    let cloud = Cloud::at(server.url());
    let (ec2, id) = (cloud.ec2(HERE), cloud.active().await.unwrap());
    let shown = cloud.describe(HERE, &id).await.unwrap();
    let vpc = shown.requester_vpc_info().and_then(|end| end.vpc_id()).unwrap();
    let table = ec2.create_route_table().vpc_id(vpc).send().await.unwrap();
    let table = table.route_table.and_then(|table| table.route_table_id).unwrap();
    let create = || {
        let create = ec2.create_route().route_table_id(&table).destination_ipv6_cidr_block("2001:db8:1::/56");
        create.vpc_peering_connection_id(&id).send()
    };
    refused_with(create().await, "InvalidParameterValue").unwrap();
    let add = ec2.associate_vpc_cidr_block().vpc_id(vpc).amazon_provided_ipv6_cidr_block(true);
    add.send().await.unwrap();
    create().await.unwrap();
}

//! EC2 clients, with which tests prepare and check the EC2 endpoint.

use anyhow::{Context, Result};
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_ec2::types::VpcPeeringConnection;

/// Creates a client for a region, in the default account of the endpoint.
#[must_use]
pub fn client(endpoint: &str, region: &str) -> Client {
    client_as(endpoint, region, "test")
}

/// Creates a client for the account of an access key. The test endpoints do not check signatures.
#[must_use]
pub fn client_as(endpoint: &str, region: &str, access_key_id: &str) -> Client {
    client_with(endpoint, region, Credentials::from_keys(access_key_id, "any", None))
}

/// Creates a client with any credentials, such as those of a role session.
#[must_use]
pub fn client_with(endpoint: &str, region: &str, credentials: Credentials) -> Client {
    let config = aws_sdk_ec2::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(credentials)
        .endpoint_url(endpoint)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .region(Region::new(region.to_owned()))
        .build();
    Client::from_conf(config)
}

/// Creates a VPC and returns its ID.
///
/// # Errors
/// If EC2 returns an error.
pub async fn create_vpc(client: &Client, cidr_block: &str) -> Result<String> {
    let answer = client.create_vpc().cidr_block(cidr_block).send().await?;
    answer.vpc.and_then(|vpc| vpc.vpc_id).context("the response of CreateVpc has no VPC ID")
}

/// All peering connections whose requester is this VPC.
///
/// # Errors
/// If EC2 returns an error.
pub async fn peerings_of(client: &Client, vpc_id: &str) -> Result<Vec<VpcPeeringConnection>> {
    let answer = client.describe_vpc_peering_connections().send().await?;
    let is_of = |connection: &VpcPeeringConnection| {
        connection.requester_vpc_info.as_ref().is_some_and(|info| info.vpc_id.as_deref() == Some(vpc_id))
    };
    Ok(answer.vpc_peering_connections.unwrap_or_default().into_iter().filter(is_of).collect())
}

/// The status code of a connection.
#[must_use]
pub fn code(connection: &VpcPeeringConnection) -> &str {
    connection.status.as_ref().and_then(|status| status.code.as_ref()).map_or("", |code| code.as_str())
}

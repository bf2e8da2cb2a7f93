//! A client of the EC2 endpoint under test, for what a test arranges and checks there.

use anyhow::{Context, Result};
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_ec2::types::VpcPeeringConnection;

/// A client for one region of an endpoint, in the endpoint's default account.
#[must_use]
pub fn client(endpoint: &str, region: &str) -> Client {
    client_as(endpoint, region, "test")
}

/// A client with the account of an access key. Nobody here checks signatures.
#[must_use]
pub fn client_as(endpoint: &str, region: &str, access_key_id: &str) -> Client {
    client_with(endpoint, region, Credentials::from_keys(access_key_id, "any", None))
}

/// A client with credentials that somebody gave, such as a role's session.
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

/// Makes a VPC and returns its ID.
///
/// # Errors
/// When EC2 refuses.
pub async fn create_vpc(client: &Client, cidr_block: &str) -> Result<String> {
    let answer = client.create_vpc().cidr_block(cidr_block).send().await?;
    answer.vpc.and_then(|vpc| vpc.vpc_id).context("the answer has no VPC")
}

/// Every peering connection that has this VPC as its requester.
///
/// # Errors
/// When EC2 refuses.
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

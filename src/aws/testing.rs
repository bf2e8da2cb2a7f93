//! EC2 clients for tests, and a simulator that answers them.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use ec2_simulator::clock::Clock;
use ec2_simulator::{Server, Settings, Simulator};
use k8s_openapi::jiff::Timestamp;

use super::ec2::Ec2;
use super::interceptor::{Interceptor, Unobserved};
use super::principal::Principal;
use crate::peering::CreateRequest;

/// EC2 at this endpoint.
pub fn ec2(url: &str, interceptor: Arc<dyn Interceptor>) -> Ec2 {
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test")))
        .endpoint_url(url)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Ec2::new(Principal::Own, config, interceptor, Arc::default())
}

/// A simulator without delays between the states of a connection.
pub async fn instant_simulator() -> Result<(Server, Ec2), Box<dyn Error>> {
    let mut settings = Settings::default();
    settings.delays.initiating = Default::default();
    settings.delays.provisioning = Default::default();
    let simulator = Simulator::new(settings, Clock::new(Timestamp::now(), 1.0), 1);
    let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), simulator).await?;
    let ec2 = ec2(&server.url(), Arc::new(Unobserved));
    Ok((server, ec2))
}

/// Creates a VPC.
pub async fn vpc(ec2: &Ec2, region: &str, block: &str) -> Result<String, Box<dyn Error>> {
    let made = ec2.read_client(region).create_vpc().cidr_block(block).send().await?;
    Ok(made.vpc.and_then(|vpc| vpc.vpc_id).ok_or("no VPC")?)
}

/// Creates an active connection between two VPCs.
pub async fn peering(ec2: &Ec2, region: &str, vpc_id: &str, peer_vpc_id: &str) -> Result<String, Box<dyn Error>> {
    let request = CreateRequest {
        region: region.to_owned(),
        vpc_id: vpc_id.to_owned(),
        peer_vpc_id: peer_vpc_id.to_owned(),
        peer_owner_id: None,
        peer_region: None,
        tags: BTreeMap::new(),
    };
    let id = ec2.create_vpc_peering_connection(&request).await?.id;
    ec2.accept_vpc_peering_connection(region, &id).await?;
    Ok(id)
}

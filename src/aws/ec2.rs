//! EC2 clients, one for each region, from one set of credentials.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ec2::Client;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use super::traffic::{Intercepted, Traffic};

/// A request without an answer for so long has failed; whether EC2 carried it out is then unknown.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// EC2, in every region.
#[derive(Debug)]
pub struct Ec2 {
    config: SdkConfig,
    traffic: Arc<dyn Traffic>,
    clients: Mutex<HashMap<String, Client>>,
}

impl Ec2 {
    /// EC2 with the credentials of aws-config's default chain: environment, profile, web identity (IRSA),
    /// EKS Pod Identity, instance metadata. `AWS_ENDPOINT_URL` is honoured.
    pub async fn from_environment(traffic: Arc<dyn Traffic>) -> Self {
        let http =
            aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .build();
        let config = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .timeout_config(timeouts)
            // EC2 is called in the region that a resource names; this one is for STS, when it gives credentials.
            .region(
                RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
                    .or_else(ProfileFileRegionProvider::new())
                    .or_else(Region::new("us-east-1")),
            )
            .load()
            .await;
        Self { config, traffic, clients: Mutex::default() }
    }

    /// The client for one region. Cheap after the first time.
    #[must_use]
    pub fn client(&self, region: &str) -> Client {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let client = clients.entry(region.to_owned()).or_insert_with(|| {
            let config = aws_sdk_ec2::config::Builder::from(&self.config)
                .region(Region::new(region.to_owned()))
                .interceptor(Intercepted(Arc::clone(&self.traffic)))
                .build();
            Client::from_conf(config)
        });
        client.clone()
    }
}

//! The configuration of every SDK client, from the environment.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

/// Timeout of each attempt of a request. After it, AWS may still carry out the request.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Idle time after which an HTTP connection is closed. Its buffer has grown to the size of the largest page.
const CONNECTION_IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// No region is configured.
#[derive(Debug, thiserror::Error)]
#[error("{}; {}", self.problem(), self.remedy())]
pub struct UnknownRegion;

impl UnknownRegion {
    pub fn problem(&self) -> &'static str {
        "the operator's own AWS region is unknown"
    }

    pub fn remedy(&self) -> &'static str {
        "set the environment variable AWS_REGION, or `region` in the AWS profile"
    }
}

/// Uses the credentials of aws-config's default chain: environment, profile, web identity (IRSA), EKS Pod Identity,
/// instance metadata. `AWS_ENDPOINT_URL` is honoured. The region is that of STS; each EC2 client has the region that a
/// resource names.
///
/// # Errors
/// If neither `AWS_REGION` nor the profile nor instance metadata has a region. There is no default, because a region
/// belongs to a partition, and credentials are valid in one partition only.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>
pub async fn from_environment() -> Result<SdkConfig, UnknownRegion> {
    let http = aws_smithy_http_client::Builder::new()
        .pool_idle_timeout(CONNECTION_IDLE_TIMEOUT)
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let timeouts =
        TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).connect_timeout(CONNECT_TIMEOUT).build();
    let config =
        aws_config::defaults(BehaviorVersion::latest()).http_client(http).timeout_config(timeouts).load().await;
    let has_region = config.region().is_some_and(|region| !region.as_ref().is_empty());
    has_region.then_some(config).ok_or(UnknownRegion)
}

//! EC2 by its wire protocol, for the tests of what calls it.

use std::sync::Arc;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;

use super::{Answered, Ec2, Principal, Traffic};

/// Lets everything through, and tells nobody.
#[derive(Debug)]
pub struct Unwatched;

impl Traffic for Unwatched {
    fn may_send(&self) -> bool {
        true
    }

    fn answered(&self, _: &Answered<'_>) {}
}

/// EC2 where a simulator answers.
pub fn ec2(url: &str, traffic: Arc<dyn Traffic>) -> Ec2 {
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test")))
        .endpoint_url(url)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Ec2::new(Principal::Own, config, traffic, Arc::default())
}

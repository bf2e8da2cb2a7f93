//! Helpers for tests against any EC2 endpoint: the simulator or moto.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use aws_credential_types::Credentials;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::config::{BehaviorVersion, Region, SharedHttpClient, timeout::TimeoutConfig};
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::RequestId;
use aws_sdk_ec2::types::{Filter, Tag, TagSpecification, VpcPeeringConnection};
use ec2_simulator::clock::Clock;
use ec2_simulator::{Server, Settings, Simulator};
use jiff::Timestamp;

use crate::contract::run::Run;

/// The first region. A run on AWS may use another one: see [`Cloud::region`].
pub(crate) const HERE: &str = "us-east-1";
pub(crate) const ELSEWHERE: &str = "eu-west-1";
pub(crate) const ANOTHER_ACCOUNT: &str = "222222222222";

/// Pause between two looks at a simulated EC2.
const FAST: Duration = Duration::from_millis(20);

/// Pause between two looks at AWS.
pub(crate) const POLITE: Duration = Duration::from_secs(1);

/// An EC2 endpoint, and the credentials for it.
#[derive(Clone, Debug)]
pub(crate) struct Cloud {
    /// `None` for the endpoints of AWS.
    pub(crate) url: Option<String>,
    pub(crate) credentials: Credentials,
    /// The run that cleans up what the checks make. `None` if the endpoint ends with the check.
    pub(crate) run: Option<Arc<Run>>,
}

/// The error of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) status: u16,
    pub(crate) request_id: Option<String>,
}

impl Cloud {
    pub(crate) fn at(url: String) -> Self {
        Self { url: Some(url), credentials: Credentials::from_keys("test", "any", None), run: None }
    }

    /// The name of the region that the checks call [`HERE`] or [`ELSEWHERE`].
    pub(crate) fn region(&self, name: &'static str) -> &str {
        self.run.as_ref().map_or(name, |run| run.region(name))
    }

    pub(crate) fn ec2(&self, region: &'static str) -> aws_sdk_ec2::Client {
        self.ec2_as(region, self.credentials.clone())
    }

    pub(crate) fn ec2_as(&self, region: &'static str, credentials: Credentials) -> aws_sdk_ec2::Client {
        let config = aws_sdk_ec2::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(self.http())
            .region(Region::new(self.region(region).to_owned()))
            .credentials_provider(credentials.clone())
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(Duration::from_secs(20)).build());
        let mut config = config;
        config.set_endpoint_url(self.url.clone());
        if let Some(run) = &self.run {
            config = config.interceptor(run.recorder(region, credentials));
        }
        aws_sdk_ec2::Client::from_conf(config.build())
    }

    pub(crate) fn sts(&self) -> aws_sdk_sts::Client {
        self.sts_in(HERE)
    }

    pub(crate) fn sts_in(&self, region: &'static str) -> aws_sdk_sts::Client {
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(aws_sdk_sts::config::BehaviorVersion::latest())
            .http_client(self.http())
            .region(aws_sdk_sts::config::Region::new(self.region(region).to_owned()))
            .credentials_provider(self.credentials.clone())
            .retry_config(aws_sdk_sts::config::retry::RetryConfig::disabled());
        let mut config = config;
        config.set_endpoint_url(self.url.clone());
        aws_sdk_sts::Client::from_conf(config.build())
    }

    fn http(&self) -> SharedHttpClient {
        match &self.run {
            Some(run) => run.http(),
            None => aws_smithy_http_client::Builder::new().build_http(),
        }
    }

    /// The same endpoint with credentials of another account.
    pub(crate) async fn another(&self) -> Result<Self> {
        if let Some(run) = &self.run {
            return Ok(Self { credentials: run.other(), ..self.clone() });
        }
        let role = format!("arn:aws:iam::{ANOTHER_ACCOUNT}:role/peer");
        let session = self.sts().assume_role().role_arn(role).role_session_name("contract").send().await?;
        let keys = session.credentials.context("no credentials")?;
        let token = Some(keys.session_token);
        let credentials = Credentials::from_keys(keys.access_key_id, keys.secret_access_key, token);
        Ok(Self { credentials, ..self.clone() })
    }

    pub(crate) async fn account(&self) -> Result<String> {
        self.sts().get_caller_identity().send().await?.account.context("no account")
    }

    pub(crate) async fn vpc(&self, region: &'static str, block: &str) -> Result<String> {
        let made = self.ec2(region).create_vpc().cidr_block(block).send().await?;
        made.vpc.and_then(|vpc| vpc.vpc_id).context("no VPC")
    }

    /// Creates two VPCs whose CIDR blocks do not overlap.
    pub(crate) async fn pair(&self) -> Result<(String, String)> {
        Ok((self.vpc(HERE, "10.0.0.0/16").await?, self.vpc(HERE, "10.1.0.0/16").await?))
    }

    pub(crate) async fn request(&self, vpc: &str, peer: &str) -> Result<VpcPeeringConnection> {
        let made = self.ec2(HERE).create_vpc_peering_connection().vpc_id(vpc).peer_vpc_id(peer).send().await?;
        made.vpc_peering_connection.context("no connection")
    }

    /// Creates a pending request within the account.
    pub(crate) async fn pending(&self) -> Result<String> {
        let (vpc, peer) = self.pair().await?;
        let id = id_of(&self.request(&vpc, &peer).await?)?;
        self.settle(HERE, &id, "pending-acceptance").await?;
        Ok(id)
    }

    /// Creates an active connection within the account.
    pub(crate) async fn active(&self) -> Result<String> {
        let id = self.pending().await?;
        self.ec2(HERE).accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
        self.settle(HERE, &id, "active").await?;
        Ok(id)
    }

    pub(crate) async fn describe(&self, region: &'static str, id: &str) -> Result<VpcPeeringConnection> {
        let all = self.ec2(region).describe_vpc_peering_connections().vpc_peering_connection_ids(id).send().await?;
        all.vpc_peering_connections.unwrap_or_default().pop().context("not shown")
    }

    /// Waits until the connection has this status code.
    pub(crate) async fn settle(&self, region: &'static str, id: &str, code: &str) -> Result<VpcPeeringConnection> {
        let deadline = Instant::now() + self.run.as_ref().map_or(Duration::from_secs(10), |run| run.patience());
        loop {
            let connection = self.describe(region, id).await;
            if connection.as_ref().is_ok_and(|connection| code_of(connection) == code) {
                return connection;
            }
            ensure!(Instant::now() < deadline, "{id} does not become {code}: {connection:?}");
            tokio::time::sleep(if self.url.is_some() { FAST } else { POLITE }).await;
        }
    }
}

pub(crate) fn id_of(connection: &VpcPeeringConnection) -> Result<String> {
    connection.vpc_peering_connection_id.clone().context("no ID")
}

pub(crate) fn code_of(connection: &VpcPeeringConnection) -> &str {
    connection.status().and_then(|status| status.code()).map_or("", |code| code.as_str())
}

pub(crate) fn filter(name: &str, values: &[&str]) -> Filter {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    Filter::builder().name(name).set_values(Some(values)).build()
}

pub(crate) fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

pub(crate) fn tags_of(kind: &str, tags: impl IntoIterator<Item = Tag>) -> TagSpecification {
    let tags = tags.into_iter().collect();
    TagSpecification::builder().resource_type(kind.into()).set_tags(Some(tags)).build()
}

/// Returns the error of a call. A successful call fails the test.
pub(crate) fn refusal<T, E>(outcome: Result<T, SdkError<E>>) -> Result<Refusal>
where
    E: ProvideErrorMetadata + std::fmt::Debug,
{
    match outcome {
        Ok(_) => bail!("it was not refused"),
        Err(SdkError::ServiceError(error)) => Ok(Refusal {
            code: error.err().code().unwrap_or_default().to_owned(),
            message: error.err().message().unwrap_or_default().to_owned(),
            status: error.raw().status().as_u16(),
            request_id: error.err().meta().request_id().map(str::to_owned),
        }),
        Err(other) => Err(anyhow!("no response from EC2: {other:?}")),
    }
}

/// Returns the error of a call, which must have this code.
pub(crate) fn refused_with<T, E>(outcome: Result<T, SdkError<E>>, code: &str) -> Result<Refusal>
where
    E: ProvideErrorMetadata + std::fmt::Debug,
{
    let refusal = refusal(outcome)?;
    ensure!(refusal.code == code, "expected {code}: {refusal:?}");
    Ok(refusal)
}

/// Starts a simulator in the test process.
pub(crate) async fn simulator(settings: Settings, clock: Clock) -> Server {
    let simulator = Simulator::new(settings, clock, 1);
    Server::start(([127, 0, 0, 1], 0).into(), simulator).await.expect("a free port")
}

/// A clock that is stopped at the start of 2026.
pub(crate) fn frozen() -> Clock {
    Clock::new("2026-01-01T00:00:00Z".parse::<Timestamp>().expect("a time"), 0.0)
}

/// Settings without delays.
pub(crate) fn at_once() -> Settings {
    let mut settings = Settings { any_role: true, ..Settings::default() };
    for delay in [&mut settings.delays.initiating, &mut settings.delays.provisioning, &mut settings.delays.deleting] {
        *delay = Duration::ZERO;
    }
    settings
}

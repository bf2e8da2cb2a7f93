//! Sessions of assumed roles. Calls that change AWS for one resource use a session of that resource, which has its name
//! and the tags of its cluster and namespace.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::identity::IdentityCache;
use aws_config::timeout::TimeoutConfig;
use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_sts::Client;
use aws_sdk_sts::operation::assume_role::builders::AssumeRoleFluentBuilder;
use aws_sdk_sts::types::Tag;
use tokio::time::Instant;

use super::ec2::Ec2;
use super::interceptor::SdkInterceptor;
use super::principal::{Role, Session};

/// Sessions are renewed this long before they expire.
const RENEWAL_MARGIN: Duration = Duration::from_secs(300);

/// Timeout of a renewal, longer than all attempts of AssumeRole together, so that its own error is reported.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum number of cached sessions of all accounts together. Each takes about 40 KiB. A new session evicts the least
/// recently used one.
pub const MAX_SESSIONS: usize = 512;

/// The cache of per-resource sessions, shared by all accounts.
#[derive(Debug, Default)]
pub struct Sessions {
    by_key: Mutex<HashMap<SessionKey, (Arc<Ec2>, Instant)>>,
    account_count: AtomicU64,
}

/// The account's number and the UID of the resource.
pub type SessionKey = (u64, String);

impl Sessions {
    /// A number for a new account. The ID of an account is not unique here: several identities can share it.
    pub fn next_account_number(&self) -> u64 {
        self.account_count.fetch_add(1, Ordering::Relaxed)
    }

    pub fn get(&self, key: &SessionKey) -> Option<Arc<Ec2>> {
        let mut sessions = self.lock();
        let (ec2, last_used) = sessions.get_mut(key)?;
        *last_used = Instant::now();
        Some(Arc::clone(ec2))
    }

    pub fn add(&self, key: SessionKey, ec2: Arc<Ec2>) {
        let mut sessions = self.lock();
        if sessions.len() >= MAX_SESSIONS
            && let Some(oldest) =
                sessions.iter().min_by_key(|(_, (_, last_used))| *last_used).map(|(key, _)| key.clone())
        {
            sessions.remove(&oldest);
        }
        sessions.insert(key, (ec2, Instant::now()));
    }

    pub fn forget_idle(&self, idle: Duration) {
        let mut sessions = self.lock();
        sessions.retain(|_, (_, last_used)| last_used.elapsed() < idle);
        sessions.shrink_to_fit();
    }

    pub fn forget_account(&self, number: u64) {
        self.lock().retain(|(account, _), _| *account != number);
    }

    pub fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, (Arc<Ec2>, Instant)>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens sessions of one role.
#[derive(Debug)]
pub(super) struct RoleSessions {
    /// The configuration with the operator's own credentials.
    base: SdkConfig,
    region: Option<Region>,
    sts: Client,
    role: Role,
}

impl RoleSessions {
    /// `interceptor` observes the calls of AssumeRole.
    pub(super) fn new(base: &SdkConfig, role: &Role, interceptor: SdkInterceptor) -> Self {
        let region = role.sts_region.clone().map(Region::new).or_else(|| base.region().cloned());
        let mut config = aws_sdk_sts::config::Builder::from(base).region(region.clone()).interceptor(interceptor);
        // The attempt of the EC2 call includes all attempts of AssumeRole. They must end first, so that the error names
        // STS.
        if let Some(attempt) = base.timeout_config().and_then(TimeoutConfig::operation_attempt_timeout) {
            let timeouts = base.timeout_config().map(TimeoutConfig::to_builder).unwrap_or_default();
            config.set_timeout_config(Some(timeouts.operation_attempt_timeout(attempt / 4).build()));
        }
        Self { base: base.clone(), region, sts: Client::from_conf(config.build()), role: role.clone() }
    }

    /// The SDK configuration of a session. The first call that needs credentials assumes the role.
    pub(super) fn open(&self, session: Session) -> SdkConfig {
        let Session { name, tags } = session;
        // `build` fails only without a key or a value.
        let tags = tags.into_iter().flat_map(|(key, value)| Tag::builder().key(key).value(value).build());
        let tags: Vec<_> = tags.collect();
        let request = self
            .sts
            .assume_role()
            .role_arn(&self.role.arn)
            .set_external_id(self.role.external_id.clone())
            .role_session_name(name)
            .set_tags((!tags.is_empty()).then_some(tags));
        self.base
            .to_builder()
            .region(self.region.clone())
            .credentials_provider(SharedCredentialsProvider::new(AssumedRole(request)))
            // Each session has its own cache, so that its credentials are dropped with it.
            .identity_cache(IdentityCache::lazy().buffer_time(RENEWAL_MARGIN).load_timeout(RENEWAL_TIMEOUT).build())
            .build()
    }
}

/// The credentials of a session. `AssumeRoleProvider` of aws-config takes no interceptor, so that its calls would not
/// be in the metrics.
#[derive(Debug)]
struct AssumedRole(AssumeRoleFluentBuilder);

impl ProvideCredentials for AssumedRole {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let answer = self.0.clone().send().await.map_err(CredentialsError::provider_error)?;
            let incomplete = || CredentialsError::unhandled("STS returned no credentials, or an invalid expiration");
            let credentials = answer.credentials.ok_or_else(incomplete)?;
            let expires = SystemTime::try_from(credentials.expiration).map_err(|_| incomplete())?;
            Ok(Credentials::new(
                credentials.access_key_id,
                credentials.secret_access_key,
                Some(credentials.session_token),
                Some(expires),
                "AssumeRole",
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::error::Error;
    use std::net::Ipv4Addr;
    use std::sync::OnceLock;

    use aws_config::BehaviorVersion;
    use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
    use aws_smithy_types::error::ErrorMetadata;
    use aws_smithy_types::retry::RetryConfig;
    use ec2_simulator::clock::Clock;
    use ec2_simulator::journal::Query;
    use ec2_simulator::{Client as Control, Server, Settings, Simulator};
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::aws::Unobserved;
    use crate::aws::error::{AwsError, Class};
    use crate::aws::interceptor::{CompletedRequest, Interceptor};
    use crate::aws::principal::{Principal, SessionTags};

    /// Remembers the calls that the metrics count.
    #[derive(Debug, Default)]
    struct Counted(Mutex<Vec<String>>);

    impl Interceptor for Counted {
        fn may_send(&self) -> bool {
            true
        }

        fn completed(&self, request: &CompletedRequest<'_>) {
            let CompletedRequest { action, account, region, code, .. } = request;
            let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            counted.push(format!("{action} {account} {region} {code}"));
        }
    }

    fn base(url: &str, region: &str) -> SdkConfig {
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test")))
            .endpoint_url(url)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .identity_cache(IdentityCache::lazy().build())
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(1)).build())
            .region(Region::new(region.to_owned()))
            .build()
    }

    fn role(partition: &str, sts_region: Option<&str>) -> Role {
        Role {
            identity: "payments".into(),
            account_id: "222222222222".into(),
            arn: format!("arn:{partition}:iam::222222222222:role/peering"),
            external_id: None,
            session_tags: BTreeMap::new(),
            sts_region: sts_region.map(str::to_owned),
        }
    }

    fn open(base: &SdkConfig, role: &Role, interceptor: Arc<dyn Interceptor>) -> (Principal, Ec2) {
        let account = Arc::new(OnceLock::from(role.account_id.clone()));
        let sdk = SdkInterceptor { interceptor: Arc::clone(&interceptor), account: Arc::clone(&account) };
        let config = RoleSessions::new(base, role, sdk).open(role.shared_session(SessionTags::Automatic, "cluster"));
        let principal = Principal::Role(role.clone());
        (principal.clone(), Ec2::new(principal, config, interceptor, account))
    }

    async fn list(ec2: &Ec2, region: &str) -> Result<(), AwsError> {
        ec2.check("DescribeVpcs", ec2.read_client(region).describe_vpcs().send().await)
    }

    async fn simulator() -> Result<(Server, Control), Box<dyn Error>> {
        let settings = Settings {
            any_role: true,
            enabled_regions: BTreeMap::from([("222222222222".to_owned(), ["eu-south-1".to_owned()].into())]),
            ..Settings::default()
        };
        let simulator = Simulator::new(settings, Clock::new(Timestamp::now(), 1.0), 1);
        let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), simulator).await?;
        let control = Control::new(&server.url());
        Ok((server, control))
    }

    #[tokio::test]
    async fn a_role_is_assumed_in_the_region_of_the_operator_and_counted() -> Result<(), Box<dyn Error>> {
        let (server, control) = simulator().await?;
        let counted = Arc::new(Counted::default());
        for (own, partition, sts_region, at, code) in [
            // The VPCs are in an opt-in region that only the account of the role has enabled.
            ("eu-central-1", "aws", None, "eu-central-1", "OK"),
            ("eu-central-1", "aws", Some("us-west-2"), "us-west-2", "OK"),
            ("eu-central-1", "aws", Some("eu-south-1"), "eu-south-1", "InvalidClientTokenId"),
            ("eu-central-1", "aws", Some("eu-south-2"), "eu-south-2", "InvalidClientTokenId"),
            ("cn-north-1", "aws-cn", None, "cn-north-1", "OK"),
            ("us-gov-west-1", "aws-us-gov", None, "us-gov-west-1", "OK"),
        ] {
            control.clear_journal().await?;
            let interceptor = Arc::clone(&counted) as Arc<dyn Interceptor>;
            let (_, ec2) = open(&base(&server.url(), own), &role(partition, sts_region), interceptor);
            let answer = list(&ec2, "eu-south-1").await;
            let assumed =
                control.journal(&Query { action: Some("AssumeRole".into()), ..Query::default() }).await?.entries;
            assert_eq!(assumed.iter().map(|call| call.region.as_str()).collect::<Vec<_>>(), [at]);
            let mut counted = counted.0.lock().unwrap_or_else(PoisonError::into_inner);
            assert_eq!(counted.first(), Some(&format!("AssumeRole 222222222222 {at} {code}")), "{answer:?}");
            counted.clear();
            match answer {
                Ok(()) => assert_eq!(code, "OK"),
                Err(error) => {
                    assert_eq!(error.code.as_deref(), Some(code));
                    assert_eq!((error.action, error.class), ("AssumeRole", Class::FixPermissions));
                    assert!(error.to_string().contains("spec.stsRegion"), "{error}");
                }
            }
        }
        Ok(())
    }

    /// With IRSA, STS refuses the operator's own credentials before any other call is sent.
    #[tokio::test]
    async fn a_refused_web_identity_is_counted_once() -> Result<(), Box<dyn Error>> {
        #[derive(Debug)]
        struct Refused;

        impl ProvideCredentials for Refused {
            fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
            where
                Self: 'a,
            {
                let meta = ErrorMetadata::builder().code("AccessDenied").message("Not authorized").build();
                let error = AssumeRoleWithWebIdentityError::generic(meta);
                future::ProvideCredentials::ready(Err(CredentialsError::provider_error(error)))
            }
        }

        let refused = base("http://127.0.0.1:1", "eu-central-1").to_builder();
        let refused = refused.credentials_provider(SharedCredentialsProvider::new(Refused)).build();
        let counted = Arc::new(Counted::default());
        let (_, ec2) = open(&refused, &role("aws", None), Arc::clone(&counted) as Arc<dyn Interceptor>);
        let error = list(&ec2, "eu-central-1").await.err().ok_or("it answered")?;
        let text = "AssumeRoleWithWebIdentity by the operator's own credentials: AccessDenied: Not authorized";
        assert_eq!(error.to_string(), text);
        let counted = counted.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(*counted, ["AssumeRoleWithWebIdentity 222222222222 eu-central-1 AccessDenied"]);
        Ok(())
    }

    #[tokio::test]
    async fn without_an_answer_of_sts_the_message_is_one_sentence() -> Result<(), Box<dyn Error>> {
        // Accepts connections, and answers none.
        let silent = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let silent = format!("http://{}", silent.local_addr()?);
        for url in ["http://127.0.0.1:1", &silent] {
            let (_, ec2) = open(&base(url, "eu-central-1"), &role("aws", None), Arc::new(Unobserved));
            let error = list(&ec2, "eu-central-1").await.err().ok_or("it answered")?;
            let text = error.to_string();
            assert!(text.chars().count() < 300 && !text.contains(['{', '\n']), "{text}");
            assert!(text.contains("STS cannot be reached") && !error.ambiguous && error.code.is_none(), "{text}");
        }
        Ok(())
    }
}

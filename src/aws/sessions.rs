//! Sessions of assumed roles. Calls that change AWS for one resource use a session of that resource, which has its name
//! and the tags of its cluster and namespace.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::identity::IdentityCache;
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
        let config = aws_sdk_sts::config::Builder::from(base).region(region.clone()).interceptor(interceptor);
        Self { base: base.clone(), region, sts: Client::from_conf(config.build()), role: role.clone() }
    }

    /// The SDK configuration of a session. The first call that needs credentials assumes the role.
    pub(super) fn open(&self, session: Session) -> SdkConfig {
        let Session { name, tags } = session;
        let tags = tags.into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
        let request = self
            .sts
            .assume_role()
            .role_arn(&self.role.arn)
            .set_external_id(self.role.external_id.clone())
            .role_session_name(name)
            // `build` fails only without a key or a value.
            .set_tags(Some(tags.flatten().collect()));
        self.base
            .to_builder()
            .region(self.region.clone())
            .credentials_provider(SharedCredentialsProvider::new(AssumedRole(request)))
            // Each session has its own cache, so that its credentials are dropped with it.
            .identity_cache(IdentityCache::lazy().buffer_time(RENEWAL_MARGIN).build())
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

//! Sessions of assumed roles. Calls that change AWS for one resource use a session of that resource, which is tagged
//! with its identity.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use tokio::time::Instant;

use super::ec2::Ec2;
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

/// The SDK configuration of a session. The first call that needs credentials assumes the role.
pub async fn assume(base: &SdkConfig, role: &Role, session: Session) -> SdkConfig {
    let region = role.region.clone().map(Region::new).or_else(|| base.region().cloned());
    let mut builder =
        AssumeRoleProvider::builder(&role.arn).configure(base).session_name(session.name).tags(session.tags);
    if let Some(external_id) = &role.external_id {
        builder = builder.external_id(external_id);
    }
    if let Some(region) = &region {
        builder = builder.region(region.clone());
    }
    base.to_builder()
        .region(region)
        .credentials_provider(SharedCredentialsProvider::new(builder.build().await))
        // Each session has its own cache, so that its credentials are dropped with it.
        .identity_cache(IdentityCache::lazy().buffer_time(RENEWAL_MARGIN).build())
        .build()
}

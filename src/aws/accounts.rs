//! Everything that we hold of AWS, account by account: one for the operator's own credentials, and one for each
//! `AwsIdentity` in use.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::identity::IdentityCache;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use smol_str::SmolStr;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::inventory::{Inventories, Polling};
use super::principal::Session;
use super::traffic::Intercepted;
use super::{AwsError, Ec2, Principal, Role, Traffic, Vpcs};
use crate::peering::routes::RouteTables;
use crate::peering::{Owner, Snapshot};

/// A request without an answer for so long has failed; whether AWS carried it out is then unknown.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that nobody uses is closed after so long: where pages came through it, its buffer is of their size.
const IDLE_CONNECTION: Duration = Duration::from_secs(10);

/// How long AWS's refusal to tell the account holds for all who want to know.
const AFTER_REFUSAL: Duration = Duration::from_secs(5);

/// So long before a session ends, the next one begins.
const RENEW_EARLY: Duration = Duration::from_secs(300);

/// A resource's own session, and the clients of a region, are dropped when they have not been used for so long.
const IDLE: Duration = Duration::from_secs(600);

/// How often to see what is idle.
const SWEEP: Duration = Duration::from_secs(60);

/// The most sessions of all accounts together; each takes some 40 KiB. The one that was used longest ago goes first.
const SESSIONS: usize = 512;

/// All accounts in use.
#[derive(Debug)]
pub struct Accounts {
    config: SdkConfig,
    traffic: Arc<dyn Traffic>,
    polling: Polling,
    own: Arc<Account>,
    /// By the name of the `AwsIdentity`.
    assumed: Arc<Mutex<HashMap<String, Arc<Account>>>>,
    sessions: Arc<Sessions>,
}

/// The sessions of all accounts.
#[derive(Debug, Default)]
struct Sessions {
    by_user: Mutex<HashMap<User, (Arc<Ec2>, Instant)>>,
    /// How many accounts there have been.
    accounts: AtomicU64,
}

/// Whose a session is: the account's number, and the UID of the resource.
type User = (u64, String);

impl Sessions {
    fn get(&self, user: &User) -> Option<Arc<Ec2>> {
        let mut sessions = self.lock();
        let (ec2, used) = sessions.get_mut(user)?;
        *used = Instant::now();
        Some(Arc::clone(ec2))
    }

    fn add(&self, user: User, ec2: Arc<Ec2>) {
        let mut sessions = self.lock();
        if sessions.len() >= SESSIONS
            && let Some(oldest) = sessions.iter().min_by_key(|(_, (_, used))| *used).map(|(user, _)| user.clone())
        {
            sessions.remove(&oldest);
        }
        sessions.insert(user, (ec2, Instant::now()));
    }

    fn forget_idle(&self, idle: Duration) {
        let mut sessions = self.lock();
        sessions.retain(|_, (_, used)| used.elapsed() < idle);
        sessions.shrink_to_fit();
    }

    /// What an account has held goes with it.
    fn forget_account(&self, number: u64) {
        self.lock().retain(|(account, _), _| *account != number);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<User, (Arc<Ec2>, Instant)>> {
        self.by_user.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One account, as one principal reaches it.
#[derive(Debug)]
pub struct Account {
    /// Who calls.
    pub principal: Principal,
    /// Every peering, by region.
    pub peerings: Inventories<Snapshot>,
    /// Every route table, by region.
    pub route_tables: Inventories<RouteTables>,
    /// The VPCs that the account has.
    pub vpcs: Vpcs,
    ec2: Arc<Ec2>,
    sts: aws_sdk_sts::Client,
    base: SdkConfig,
    traffic: Arc<dyn Traffic>,
    id: Arc<OnceLock<String>>,
    /// Which of the sessions are this account's.
    number: u64,
    sessions: Arc<Sessions>,
    /// Why AWS did not tell the account, and when.
    refusal: tokio::sync::Mutex<Option<(AwsError, Instant)>>,
}

/// Who AWS says that a principal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerIdentity {
    /// The account: 12 digits.
    pub account_id: String,
    /// The user, role or session.
    pub arn: String,
}

impl Accounts {
    /// The credentials of aws-config's default chain: environment, profile, web identity (IRSA), EKS Pod Identity,
    /// instance metadata. `AWS_ENDPOINT_URL` is honoured. The IDs of connections that come, go or change are sent to
    /// `changed`.
    pub async fn from_environment(
        traffic: Arc<dyn Traffic>,
        cluster: SmolStr,
        poll_interval: Duration,
        changed: mpsc::UnboundedSender<String>,
    ) -> Self {
        let http = aws_smithy_http_client::Builder::new()
            .pool_idle_timeout(IDLE_CONNECTION)
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .build();
        let config = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .timeout_config(timeouts)
            // EC2 is called in the region that a resource names; this one is for STS.
            .region(
                RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
                    .or_else(ProfileFileRegionProvider::new())
                    .or_else(Region::new("us-east-1")),
            )
            .load()
            .await;
        let polling = Polling { cluster, interval: poll_interval, changed };
        let accounts = Self::new(config, traffic, polling);
        accounts.sweep();
        accounts
    }

    fn new(config: SdkConfig, traffic: Arc<dyn Traffic>, polling: Polling) -> Self {
        let sessions = Arc::new(Sessions::default());
        let account = Account::new(Principal::Own, &config, config.clone(), Arc::clone(&traffic), &polling, &sessions);
        let own = Arc::new(account);
        Self { config, traffic, polling, own, assumed: Arc::default(), sessions }
    }

    /// Drops what is idle from time to time, for as long as this value lives.
    fn sweep(&self) {
        let (own, assumed) = (Arc::downgrade(&self.own), Arc::downgrade(&self.assumed));
        let sessions = Arc::downgrade(&self.sessions);
        tokio::spawn(async move {
            while let (Some(own), Some(assumed), Some(sessions)) =
                (own.upgrade(), assumed.upgrade(), sessions.upgrade())
            {
                let accounts = all(&own, &assumed);
                drop((own, assumed));
                sessions.forget_idle(IDLE);
                drop(sessions);
                for account in accounts {
                    account.ec2.forget_idle(IDLE);
                    account.vpcs.forget_idle(IDLE);
                }
                tokio::time::sleep(SWEEP).await;
            }
        });
    }

    /// The account of the operator's own credentials.
    #[must_use]
    pub fn own(&self) -> &Arc<Account> {
        &self.own
    }

    /// The account that this principal reaches. What was held for the same identity, when it was another role, is let
    /// go of.
    pub async fn of(&self, principal: &Principal) -> Arc<Account> {
        let Principal::Role(role) = principal else { return Arc::clone(&self.own) };
        let known = self.assumed().get(&role.identity).filter(|account| account.principal == *principal).cloned();
        if let Some(account) = known {
            return account;
        }
        let config = assume(&self.config, role, role.looking(&self.polling.cluster)).await;
        let account = Account::new(
            principal.clone(),
            &self.config,
            config,
            Arc::clone(&self.traffic),
            &self.polling,
            &self.sessions,
        );
        let mut assumed = self.assumed();
        match assumed.get(&role.identity).filter(|account| account.principal == *principal) {
            // Somebody else was faster.
            Some(known) => Arc::clone(known),
            None => {
                let account = Arc::new(account);
                assumed.insert(role.identity.clone(), Arc::clone(&account));
                account
            }
        }
    }

    /// Lets go of what is held for an identity that is gone.
    pub fn forget(&self, identity: &str) {
        self.assumed().remove(identity);
    }

    /// What every client is made from.
    pub(super) fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// Every account in use.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Account>> {
        all(&self.own, &self.assumed)
    }

    fn assumed(&self) -> MutexGuard<'_, HashMap<String, Arc<Account>>> {
        self.assumed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn all(own: &Arc<Account>, assumed: &Mutex<HashMap<String, Arc<Account>>>) -> Vec<Arc<Account>> {
    let assumed = assumed.lock().unwrap_or_else(PoisonError::into_inner);
    std::iter::once(own).chain(assumed.values()).cloned().collect()
}

impl Drop for Account {
    fn drop(&mut self) {
        self.sessions.forget_account(self.number);
    }
}

impl Account {
    fn new(
        principal: Principal,
        base: &SdkConfig,
        config: SdkConfig,
        traffic: Arc<dyn Traffic>,
        polling: &Polling,
        sessions: &Arc<Sessions>,
    ) -> Self {
        let id = Arc::new(match &principal {
            Principal::Own => OnceLock::new(),
            Principal::Role(role) => OnceLock::from(role.account_id.clone()),
        });
        let intercepted = Intercepted { traffic: Arc::clone(&traffic), account: Arc::clone(&id) };
        let sts = aws_sdk_sts::config::Builder::from(&config).interceptor(intercepted).build();
        let ec2 = Arc::new(Ec2::new(principal.clone(), config, Arc::clone(&traffic), Arc::clone(&id)));
        Self {
            principal,
            peerings: Inventories::new(Arc::clone(&ec2), polling.clone()),
            route_tables: Inventories::new(Arc::clone(&ec2), polling.clone()),
            vpcs: Vpcs::new(Arc::clone(&ec2)),
            ec2,
            sts: aws_sdk_sts::Client::from_conf(sts),
            base: base.clone(),
            traffic,
            id,
            number: sessions.accounts.fetch_add(1, Ordering::Relaxed),
            sessions: Arc::clone(sessions),
            refusal: tokio::sync::Mutex::default(),
        }
    }

    /// The account's ID, as AWS tells it; AWS is asked once, however many want to know, and after a refusal not at once
    /// again.
    ///
    /// # Errors
    /// What AWS, or the way to it, refuses.
    pub async fn id(&self) -> Result<String, AwsError> {
        if let Some(id) = self.id.get() {
            return Ok(id.clone());
        }
        let mut refusal = self.refusal.lock().await;
        if let Some(id) = self.id.get() {
            return Ok(id.clone());
        }
        if let Some((error, at)) = &*refusal
            && at.elapsed() < AFTER_REFUSAL
        {
            return Err(error.clone());
        }
        match self.caller_identity().await {
            Ok(told) => Ok(self.id.get_or_init(|| told.account_id).clone()),
            Err(error) => {
                *refusal = Some((error.clone(), Instant::now()));
                Err(error)
            }
        }
    }

    /// The account's ID, if it is known by now.
    #[must_use]
    pub fn known_id(&self) -> Option<&str> {
        self.id.get().map(String::as_str)
    }

    /// What stands between clients of this account and AWS.
    pub(super) fn intercepted(&self) -> Intercepted {
        Intercepted { traffic: Arc::clone(&self.traffic), account: Arc::clone(&self.id) }
    }

    /// What the account is called where each needs a name: its ID, or the principal's while that is unknown.
    #[must_use]
    pub fn label(&self) -> String {
        self.known_id().map_or_else(|| self.principal.to_string(), str::to_owned)
    }

    /// Asks AWS who calls.
    ///
    /// # Errors
    /// What AWS, or the way to it, refuses.
    pub async fn caller_identity(&self) -> Result<CallerIdentity, AwsError> {
        const ACTION: &str = "GetCallerIdentity";
        let answer = self.sts.get_caller_identity().send().await;
        let answer = answer.map_err(|error| AwsError::new(ACTION, &self.principal, &error))?;
        match (answer.account, answer.arn) {
            (Some(account_id), Some(arn)) => Ok(CallerIdentity { account_id, arn }),
            _ => Err(AwsError::incomplete(ACTION, "STS answered without an account")),
        }
    }

    /// EC2 for calls that change something for this resource: by the operator's own credentials, or in a session of the
    /// role that is the resource's own.
    pub async fn acting_for(&self, owner: &Owner) -> Arc<Ec2> {
        let Principal::Role(role) = &self.principal else { return Arc::clone(&self.ec2) };
        let user = (self.number, owner.uid.clone());
        if let Some(ec2) = self.sessions.get(&user) {
            return ec2;
        }
        let config = assume(&self.base, role, role.acting_for(owner)).await;
        let ec2 = Arc::new(Ec2::new(self.principal.clone(), config, Arc::clone(&self.traffic), Arc::clone(&self.id)));
        self.sessions.add(user, Arc::clone(&ec2));
        ec2
    }
}

/// The configuration of a session of this role. AWS is first asked for it by the first call that needs it.
async fn assume(base: &SdkConfig, role: &Role, session: Session) -> SdkConfig {
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
        // One of its own, so that it goes with the session.
        .identity_cache(IdentityCache::lazy().buffer_time(RENEW_EARLY).build())
        .build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aws_credential_types::Credentials;

    use super::*;
    use crate::aws::testing::Unwatched;
    use crate::peering::testing::owner;

    async fn accounts() -> Accounts {
        let config = aws_config::defaults(BehaviorVersion::latest())
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            // Nobody answers there, and nothing is asked.
            .endpoint_url("http://127.0.0.1:1")
            .region(Region::new("eu-central-1"))
            .load()
            .await;
        let (changed, _) = mpsc::unbounded_channel();
        let polling = Polling { cluster: "cluster".into(), interval: Duration::from_secs(60), changed };
        Accounts::new(config, Arc::new(Unwatched), polling)
    }

    fn role(number: usize) -> Principal {
        Principal::Role(Role {
            identity: format!("identity-{number}"),
            account_id: format!("{number:012}"),
            arn: format!("arn:aws:iam::{number:012}:role/peering"),
            external_id: None,
            session_tags: BTreeMap::new(),
            region: Some("eu-central-1".into()),
        })
    }

    async fn act(account: &Account, number: usize) -> Arc<Ec2> {
        let ec2 = account.acting_for(&Owner { uid: number.to_string(), ..owner() }).await;
        drop(ec2.changing("eu-central-1"));
        ec2
    }

    #[tokio::test]
    async fn sessions_are_few_in_all_accounts_together() {
        let accounts = accounts().await;
        let mut held = Vec::new();
        for number in 0..SESSIONS / 100 {
            held.push(accounts.of(&role(number)).await);
        }
        let first = act(&held[0], 0).await;
        for (number, account) in (1..=2 * SESSIONS).zip(held.iter().cycle().skip(1)) {
            act(account, number).await;
            assert!(Arc::ptr_eq(&first, &act(&held[0], 0).await), "the one that is in use went, not the oldest");
        }
        assert_eq!(accounts.sessions.lock().len(), SESSIONS);
        // Another account with the same resource shares nothing.
        assert!(!Arc::ptr_eq(&first, &act(&held[1], 0).await));
    }

    #[tokio::test]
    async fn a_session_goes_when_it_is_idle_and_with_its_account() {
        let accounts = accounts().await;
        let (one, other) = (accounts.of(&role(1)).await, accounts.of(&role(2)).await);
        act(&one, 1).await;
        let idle = Duration::from_millis(50);
        tokio::time::sleep(idle).await;
        act(&one, 2).await;
        act(&other, 3).await;
        accounts.sessions.forget_idle(idle);
        assert_eq!(accounts.sessions.lock().len(), 2, "no new one was needed for that");
        accounts.forget("identity-1");
        drop(one);
        assert_eq!(accounts.sessions.lock().keys().map(|(_, uid)| uid.as_str()).collect::<Vec<_>>(), ["3"]);
    }

    #[tokio::test]
    async fn what_is_idle_is_looked_for_until_the_end() {
        let accounts = accounts().await;
        accounts.sweep();
        tokio::task::yield_now().await;
        let own = Arc::downgrade(&accounts.own);
        drop(accounts);
        assert!(own.upgrade().is_none(), "the sweep holds what it looks through");
    }
}

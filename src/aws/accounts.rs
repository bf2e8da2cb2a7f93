//! Everything that we hold of AWS, account by account: one for the operator's own credentials, and one for each
//! `AwsIdentity` in use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
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

/// A resource's own session is forgotten when it has not been used for so long, and when there are more than so many.
const IDLE: Duration = Duration::from_secs(600);
const SESSIONS: usize = 256;

/// All accounts in use.
#[derive(Debug)]
pub struct Accounts {
    config: SdkConfig,
    traffic: Arc<dyn Traffic>,
    polling: Polling,
    own: Arc<Account>,
    /// By the name of the `AwsIdentity`.
    assumed: Mutex<HashMap<String, Arc<Account>>>,
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
    sessions: Mutex<HashMap<String, (Arc<Ec2>, Instant)>>,
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
        let own = Arc::new(Account::new(Principal::Own, &config, config.clone(), Arc::clone(&traffic), &polling));
        Self { config, traffic, polling, own, assumed: Mutex::default() }
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
        let account = Account::new(principal.clone(), &self.config, config, Arc::clone(&self.traffic), &self.polling);
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
        std::iter::once(&self.own).chain(self.assumed().values()).cloned().collect()
    }

    fn assumed(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Account>>> {
        self.assumed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    fn new(
        principal: Principal,
        base: &SdkConfig,
        config: SdkConfig,
        traffic: Arc<dyn Traffic>,
        polling: &Polling,
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
            sessions: Mutex::default(),
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
        let now = Instant::now();
        if let Some((ec2, used)) = self.sessions().get_mut(&owner.uid) {
            *used = now;
            return Arc::clone(ec2);
        }
        let config = assume(&self.base, role, role.acting_for(owner)).await;
        let ec2 = Arc::new(Ec2::new(self.principal.clone(), config, Arc::clone(&self.traffic), Arc::clone(&self.id)));
        let mut sessions = self.sessions();
        sessions.retain(|_, (_, used)| now.duration_since(*used) < IDLE);
        if sessions.len() >= SESSIONS
            && let Some(oldest) = sessions.iter().min_by_key(|(_, (_, used))| *used).map(|(uid, _)| uid.clone())
        {
            sessions.remove(&oldest);
        }
        sessions.insert(owner.uid.clone(), (Arc::clone(&ec2), now));
        ec2
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Arc<Ec2>, Instant)>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
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

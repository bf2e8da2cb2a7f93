//! The AWS accounts in use: one for the operator's own credentials, and one for each `AwsIdentity`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use aws_config::SdkConfig;
use smol_str::SmolStr;
use tokio::time::Instant;

use super::dns_lookup::DnsLookup;
use super::ec2::Ec2;
use super::error::AwsError;
use super::interceptor::{Interceptor, SdkInterceptor};
use super::inventory::Inventories;
use super::inventory::poller::{ChangeListener, PollSettings};
use super::prefix_list_lookup::PrefixListLookup;
use super::principal::{Principal, SessionTags};
use super::quota_lookup::QuotaLookup;
use super::security_group_lookup::SecurityGroupLookup;
use super::sessions::{RoleSessions, Sessions};
use super::vpc_lookup::VpcLookup;
use crate::peering::routes::{PrefixLists, RouteTables, Subnets};
use crate::peering::{Owner, Snapshot};

/// How long a failed lookup of the account ID is the answer for all callers.
const IDENTITY_ERROR_TTL: Duration = Duration::from_secs(5);

/// Idle time after which sessions of resources, EC2 clients of regions, and VPC lookups are dropped.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);

/// Pause between searches for idle sessions and clients.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// All accounts in use.
#[derive(Debug)]
pub struct Accounts {
    config: SdkConfig,
    interceptor: Arc<dyn Interceptor>,
    poll_settings: PollSettings,
    session_tags: SessionTags,
    own: Arc<Account>,
    /// By the name of the `AwsIdentity`.
    assumed: Arc<Mutex<HashMap<String, Arc<Account>>>>,
    sessions: Arc<Sessions>,
}

/// One account, as one principal reaches it.
#[derive(Debug)]
pub struct Account {
    pub principal: Principal,
    pub peerings: Inventories<Snapshot>,
    pub route_tables: Inventories<RouteTables>,
    pub subnets: Inventories<Subnets>,
    pub prefix_lists: Inventories<PrefixLists>,
    pub prefix_list_entries: PrefixListLookup,
    pub vpcs: VpcLookup,
    pub dns: DnsLookup,
    pub security_groups: SecurityGroupLookup,
    pub quotas: QuotaLookup,
    ec2: Arc<Ec2>,
    sts: aws_sdk_sts::Client,
    /// `None` for the operator's own credentials.
    roles: Option<RoleSessions>,
    session_tags: SessionTags,
    interceptor: Arc<dyn Interceptor>,
    id: Arc<OnceLock<String>>,
    /// The key of this account's sessions in `sessions`.
    number: u64,
    sessions: Arc<Sessions>,
    /// The last failed lookup of the account ID, and when it failed.
    id_error: tokio::sync::Mutex<Option<(AwsError, Instant)>>,
}

/// The answer of `GetCallerIdentity`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerIdentity {
    pub account_id: String,
    pub arn: String,
}

impl Accounts {
    /// `config` has the operator's own credentials and region. Inventories report changes to `on_change`.
    pub fn start(
        config: SdkConfig,
        interceptor: Arc<dyn Interceptor>,
        session_tags: SessionTags,
        cluster: SmolStr,
        poll_interval: Duration,
        on_change: ChangeListener,
    ) -> Self {
        let settings = PollSettings { cluster, interval: poll_interval, on_change };
        let accounts = Self::new(config, interceptor, settings, session_tags);
        accounts.sweep();
        accounts
    }

    fn new(
        config: SdkConfig,
        interceptor: Arc<dyn Interceptor>,
        poll_settings: PollSettings,
        session_tags: SessionTags,
    ) -> Self {
        let (own, assumed, sessions) = (Principal::Own, Arc::default(), Arc::new(Sessions::default()));
        let own = Account::new(own, &config, Arc::clone(&interceptor), &poll_settings, session_tags, &sessions);
        Self { config, interceptor, poll_settings, session_tags, own: Arc::new(own), assumed, sessions }
    }

    /// Starts the task that drops idle sessions and clients. It ends when `self` is dropped.
    fn sweep(&self) {
        let (own, assumed) = (Arc::downgrade(&self.own), Arc::downgrade(&self.assumed));
        let sessions = Arc::downgrade(&self.sessions);
        tokio::spawn(async move {
            while let (Some(own), Some(assumed), Some(sessions)) =
                (own.upgrade(), assumed.upgrade(), sessions.upgrade())
            {
                let accounts = all(&own, &assumed);
                drop((own, assumed));
                sessions.forget_idle(IDLE_TIMEOUT);
                drop(sessions);
                for account in accounts {
                    account.ec2.forget_idle(IDLE_TIMEOUT);
                    account.vpcs.forget_idle(IDLE_TIMEOUT);
                    account.dns.forget_idle();
                    account.prefix_list_entries.forget_idle();
                    account.security_groups.forget_idle();
                    account.quotas.forget_idle(IDLE_TIMEOUT);
                }
                tokio::time::sleep(SWEEP_INTERVAL).await;
            }
        });
    }

    /// The account of the operator's own credentials.
    pub fn own(&self) -> &Arc<Account> {
        &self.own
    }

    /// The account of this principal. Replaces the account of the same identity if the identity's role has changed.
    pub fn of(&self, principal: &Principal) -> Arc<Account> {
        let Principal::Role(role) = principal else { return Arc::clone(&self.own) };
        let mut assumed = self.assumed();
        if let Some(known) = assumed.get(&role.identity).filter(|account| account.principal == *principal) {
            return Arc::clone(known);
        }
        let account = Arc::new(Account::new(
            principal.clone(),
            &self.config,
            Arc::clone(&self.interceptor),
            &self.poll_settings,
            self.session_tags,
            &self.sessions,
        ));
        assumed.insert(role.identity.clone(), Arc::clone(&account));
        account
    }

    /// Drops the account of a deleted `AwsIdentity`.
    pub fn forget(&self, identity: &str) {
        self.assumed().remove(identity);
    }

    /// The base configuration of every SDK client.
    pub(super) fn config(&self) -> &SdkConfig {
        &self.config
    }

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
    /// `base` has the operator's own credentials.
    fn new(
        principal: Principal,
        base: &SdkConfig,
        interceptor: Arc<dyn Interceptor>,
        poll_settings: &PollSettings,
        session_tags: SessionTags,
        sessions: &Arc<Sessions>,
    ) -> Self {
        let id = match &principal {
            Principal::Own => OnceLock::new(),
            Principal::Role(role) => OnceLock::from(role.account_id.clone()),
        };
        let id = Arc::new(id);
        let sdk_interceptor = SdkInterceptor { interceptor: Arc::clone(&interceptor), account: Arc::clone(&id) };
        let (roles, config) = match &principal {
            Principal::Own => (None, base.clone()),
            Principal::Role(role) => {
                let roles = RoleSessions::new(base, role, sdk_interceptor.clone());
                let config = roles.open(role.shared_session(session_tags, &poll_settings.cluster));
                (Some(roles), config)
            }
        };
        let sts = aws_sdk_sts::config::Builder::from(&config).interceptor(sdk_interceptor.clone()).build();
        let quotas = QuotaLookup::new(principal.clone(), config.clone(), sdk_interceptor);
        let ec2 = Arc::new(Ec2::new(principal.clone(), config, Arc::clone(&interceptor), Arc::clone(&id)));
        Self {
            principal,
            peerings: Inventories::new(Arc::clone(&ec2), poll_settings.clone()),
            route_tables: Inventories::new(Arc::clone(&ec2), poll_settings.clone()),
            subnets: Inventories::new(Arc::clone(&ec2), poll_settings.clone()),
            prefix_lists: Inventories::new(Arc::clone(&ec2), poll_settings.clone()),
            prefix_list_entries: PrefixListLookup::new(Arc::clone(&ec2)),
            vpcs: VpcLookup::new(Arc::clone(&ec2)),
            dns: DnsLookup::new(Arc::clone(&ec2)),
            security_groups: SecurityGroupLookup::new(Arc::clone(&ec2)),
            quotas,
            ec2,
            sts: aws_sdk_sts::Client::from_conf(sts),
            roles,
            session_tags,
            interceptor,
            id,
            number: sessions.next_account_number(),
            sessions: Arc::clone(sessions),
            id_error: tokio::sync::Mutex::default(),
        }
    }

    /// The account's ID. Concurrent callers share one call to AWS, and a failure is the answer for a few seconds.
    pub async fn id(&self) -> Result<String, AwsError> {
        if let Some(id) = self.id.get() {
            return Ok(id.clone());
        }
        let mut id_error = self.id_error.lock().await;
        if let Some(id) = self.id.get() {
            return Ok(id.clone());
        }
        if let Some((error, failed_at)) = &*id_error
            && failed_at.elapsed() < IDENTITY_ERROR_TTL
        {
            return Err(error.clone());
        }
        match self.caller_identity().await {
            Ok(caller) => Ok(self.id.get_or_init(|| caller.account_id).clone()),
            Err(error) => {
                *id_error = Some((error.clone(), Instant::now()));
                Err(error)
            }
        }
    }

    /// The account's ID, if it is known without a call to AWS.
    pub fn known_id(&self) -> Option<&str> {
        self.id.get().map(String::as_str)
    }

    /// The interceptor of an SDK client of this account.
    pub(super) fn sdk_interceptor(&self) -> SdkInterceptor {
        SdkInterceptor { interceptor: Arc::clone(&self.interceptor), account: Arc::clone(&self.id) }
    }

    /// A unique name of the account: its ID, or the principal while the ID is unknown.
    pub fn label(&self) -> String {
        self.known_id().map_or_else(|| self.principal.to_string(), str::to_owned)
    }

    pub async fn caller_identity(&self) -> Result<CallerIdentity, AwsError> {
        const ACTION: &str = "GetCallerIdentity";
        let answer = self.sts.get_caller_identity().send().await;
        let answer = answer.map_err(|error| AwsError::new(ACTION, &self.principal, &error))?;
        match (answer.account, answer.arn) {
            (Some(account_id), Some(arn)) => Ok(CallerIdentity { account_id, arn }),
            _ => Err(AwsError::incomplete(ACTION, "STS returned no account ID or no ARN")),
        }
    }

    /// EC2 for calls that concern no single resource.
    pub fn ec2(&self) -> &Arc<Ec2> {
        &self.ec2
    }

    /// EC2 for calls that change AWS for this resource: with the operator's own credentials, or in the resource's own
    /// session of the role.
    pub fn acting_for(&self, owner: &Owner) -> Arc<Ec2> {
        let (Principal::Role(role), Some(roles)) = (&self.principal, &self.roles) else {
            return Arc::clone(&self.ec2);
        };
        let key = (self.number, owner.uid.clone());
        if let Some(ec2) = self.sessions.get(&key) {
            return ec2;
        }
        let config = roles.open(role.session_for(self.session_tags, owner));
        let ec2 =
            Arc::new(Ec2::new(self.principal.clone(), config, Arc::clone(&self.interceptor), Arc::clone(&self.id)));
        self.sessions.add(key, Arc::clone(&ec2));
        ec2
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aws_config::{BehaviorVersion, Region};
    use aws_credential_types::Credentials;

    use super::*;
    use crate::aws::Unobserved;
    use crate::aws::principal::Role;
    use crate::aws::sessions::MAX_SESSIONS;
    use crate::peering::testing::owner;

    async fn accounts() -> Accounts {
        let config = aws_config::defaults(BehaviorVersion::latest())
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            // No server listens there: these tests send no request.
            .endpoint_url("http://127.0.0.1:1")
            .region(Region::new("eu-central-1"))
            .load()
            .await;
        let (cluster, interval) = ("cluster".into(), Duration::from_secs(60));
        let settings = PollSettings { cluster, interval, on_change: Arc::new(|_| {}) };
        Accounts::new(config, Arc::new(Unobserved), settings, SessionTags::Automatic)
    }

    fn role(number: usize) -> Principal {
        Principal::Role(Role {
            identity: format!("identity-{number}"),
            account_id: format!("{number:012}"),
            arn: format!("arn:aws:iam::{number:012}:role/peering"),
            external_id: None,
            session_tags: BTreeMap::new(),
            sts_region: None,
        })
    }

    fn act(account: &Account, number: usize) -> Arc<Ec2> {
        let ec2 = account.acting_for(&Owner { uid: number.to_string(), ..owner() });
        drop(ec2.write_client("eu-central-1"));
        ec2
    }

    #[tokio::test]
    async fn all_accounts_together_hold_a_limited_number_of_sessions() {
        let accounts = accounts().await;
        let mut held = Vec::new();
        for number in 0..MAX_SESSIONS / 100 {
            held.push(accounts.of(&role(number)));
        }
        let first = act(&held[0], 0);
        for (number, account) in (1..=2 * MAX_SESSIONS).zip(held.iter().cycle().skip(1)) {
            act(account, number);
            assert!(Arc::ptr_eq(&first, &act(&held[0], 0)), "the most recently used session was evicted");
        }
        assert_eq!(accounts.sessions.lock().len(), MAX_SESSIONS);
        // Sessions are not shared between accounts, not even for the same resource.
        assert!(!Arc::ptr_eq(&first, &act(&held[1], 0)));
    }

    #[tokio::test]
    async fn a_session_is_dropped_when_it_is_idle_and_with_its_account() {
        let accounts = accounts().await;
        let (one, other) = (accounts.of(&role(1)), accounts.of(&role(2)));
        act(&one, 1);
        let idle = Duration::from_millis(50);
        tokio::time::sleep(idle).await;
        act(&one, 2);
        act(&other, 3);
        accounts.sessions.forget_idle(idle);
        assert_eq!(accounts.sessions.lock().len(), 2, "an idle session is dropped without a new one");
        accounts.forget("identity-1");
        drop(one);
        assert_eq!(accounts.sessions.lock().keys().map(|(_, uid)| uid.as_str()).collect::<Vec<_>>(), ["3"]);
    }

    #[tokio::test]
    async fn the_sweep_does_not_keep_accounts_alive() {
        let accounts = accounts().await;
        accounts.sweep();
        tokio::task::yield_now().await;
        let own = Arc::downgrade(&accounts.own);
        drop(accounts);
        assert!(own.upgrade().is_none(), "the sweep holds a reference");
    }
}

//! AWS: the own credentials, the roles of the identities, and the event queue.

use std::sync::Arc;
use std::time::Duration;

use super::clock::{self, AwsClock};
use super::finding::{Finding, Subject};
use super::permissions;
use super::usage::Resources;
use crate::api::AwsIdentity;
use crate::aws::{Account, Accounts, Class, Principal, SdkConfig, SessionTags, event_queue};
use crate::controller::role;
use kube::ResourceExt;

/// The accounts for one run of a command: it has no resources to wake, and polls nothing.
pub(super) fn accounts(config: SdkConfig, session_tags: SessionTags, cluster: &str, clock: Arc<AwsClock>) -> Accounts {
    let poll_interval = Duration::from_secs(3600);
    Accounts::start(config, clock, session_tags, cluster.into(), poll_interval, Arc::new(|_| {}))
}

/// Checks the own credentials, and with their answer the clock.
pub(super) async fn check_own(accounts: &Accounts, clock: &AwsClock) -> Vec<Finding> {
    let caller = accounts.own().caller_identity().await;
    let finding = match caller {
        Ok(caller) => Finding::pass(Subject::Credentials, format!("act as {}", caller.arn)),
        Err(error) => {
            let remedy = match error.class {
                Class::FixPermissions => {
                    "correct the credentials of the default chain: IRSA, Pod Identity, environment"
                }
                _ => "check the network to the STS endpoint, and that the pod or the environment has credentials",
            };
            Finding::fail(Subject::Credentials, error.to_string(), remedy)
        }
    };
    vec![finding, clock::judge("AWS", clock.skew())]
}

/// Checks the event queue.
pub(super) async fn check_queue(accounts: &Accounts, url: Option<&str>) -> Finding {
    let Some(url) = url else {
        let remedy =
            "set --event-queue-url if the operator uses a queue; without one, it sees changes at the next poll";
        return Finding::skip(Subject::EventQueue, "no queue is configured", remedy);
    };
    match event_queue::message_count(accounts, url).await {
        Ok(count) => Finding::pass(Subject::EventQueue, format!("{url} has {count} messages")),
        Err(error) => {
            let remedy = "check the URL, and allow sqs:GetQueueAttributes as deploy/iam/events-sqs.json does";
            Finding::fail(Subject::EventQueue, format!("{url}: {error}"), remedy)
        }
    }
}

/// Checks the EC2 permissions of the own credentials, if a resource uses them.
pub(super) async fn check_own_permissions(accounts: &Accounts, resources: &Resources, cluster: &str) -> Vec<Finding> {
    let uses = resources.uses(None);
    if uses.is_empty() {
        return Vec::new();
    }
    let who = "the operator's own credentials";
    permissions::check(accounts.own(), Subject::Credentials, who, &uses, cluster).await
}

/// Assumes the role of an identity, and checks its EC2 permissions in each region that it is used in.
pub(super) async fn check_identity(
    accounts: &Accounts,
    identity: &AwsIdentity,
    resources: &Resources,
    cluster: &str,
) -> Vec<Finding> {
    let name = identity.name_any();
    let account = accounts.of(&Principal::Role(role(identity)));
    let mut findings = vec![assume(&account, identity).await];
    if findings.iter().any(|finding| finding.verdict != super::finding::Verdict::Pass) {
        return findings;
    }
    let mut uses = resources.uses(Some(identity));
    let listed = identity.spec.allowed_regions.iter().flat_map(|regions| regions.list.iter().flatten());
    for region in listed.chain(&identity.spec.default_region) {
        uses.entry(region.clone()).or_default();
    }
    if uses.is_empty() {
        let message = format!("{name}: no region is known, so that no EC2 permission was checked");
        let remedy = "set spec.defaultRegion, or create a VpcPeering that refers to it";
        findings.push(Finding::skip(Subject::Identities, message, remedy));
    }
    findings.extend(permissions::check(&account, Subject::Identities, &name, &uses, cluster).await);
    findings
}

async fn assume(account: &Account, identity: &AwsIdentity) -> Finding {
    let (name, spec) = (identity.name_any(), &identity.spec);
    match account.caller_identity().await {
        Ok(caller) if caller.account_id == spec.account_id => {
            Finding::pass(Subject::Identities, format!("{name}: acts as {}", caller.arn))
        }
        Ok(caller) => Finding::fail(
            Subject::Identities,
            format!("{name}: {} does not belong to spec.accountId {}", caller.arn, spec.account_id),
            "correct spec.accountId or spec.roleArn",
        ),
        Err(error) => Finding::fail(
            Subject::Identities,
            format!("{name}: {error}"),
            format!(
                "check spec.roleArn {} and spec.externalId, the trust policy of the role (deploy/iam/trust.json), and \
                 sts:AssumeRole of the operator",
                spec.role_arn
            ),
        ),
    }
}

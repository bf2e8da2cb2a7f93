//! The DNS attributes of the VPCs of an object, looked up only while they are needed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tokio::time::Instant;

use super::blocked::blocker_of;
use super::context::Context;
use super::kind::{Kind, Look, Status, is_reconcile_requested};
use crate::api::ConditionType;
use crate::aws::Account;
use crate::peering::conditions;
use crate::peering::dns::DnsAttributes;
use crate::peering::settings::{DNS_RECHECK, EFFECT_REQUEUE, STALLED_REQUEUE};
use crate::peering::{Blocker, Endpoint};

/// The oldest look that still counts. `None` if no look is needed: the options of this generation are in place, and
/// this process has not run for long.
pub(super) fn since<K: Kind>(object: &K, context: &Context, look: Look) -> Option<Instant> {
    if is_reconcile_requested(object) {
        return Some(look.absent_since);
    }
    let status = object.status().map(Status::conditions).unwrap_or_default();
    let generation = object.meta().generation;
    let is_synced = |condition: &Condition| condition.status == "True" && condition.observed_generation == generation;
    if conditions::find(status, ConditionType::OptionsSynced).is_some_and(is_synced) {
        return Instant::now().checked_sub(DNS_RECHECK).filter(|since| *since >= context.started);
    }
    Some(Instant::now().checked_sub(EFFECT_REQUEUE).unwrap_or(context.started))
}

/// The DNS attributes of the VPC of one end. `None` if the credentials may not look.
pub(super) async fn attributes(
    account: &Account,
    end: &Endpoint,
    since: Instant,
) -> Option<Result<DnsAttributes, Blocker>> {
    let answer = account.dns.get(&end.region, &end.vpc_id, since).await;
    answer.map_err(|error| Blocker { requeue_after: Some(STALLED_REQUEUE), ..blocker_of(&error) }).transpose()
}

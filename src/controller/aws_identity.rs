//! `AwsIdentity`: whether its role can be assumed, and is of the account that it should be.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;
use tracing::instrument;

use super::Context;
use super::access::role;
use super::record::{MANAGER, is_conflict, is_not_found};
use super::vpc_peering::readiness_after;
use crate::api::{AwsIdentity, AwsIdentityStatus, ConditionType, Reason};
use crate::aws::{AwsError, CallerIdentity, Principal};
use crate::peering::Readiness;
use crate::peering::limits::closed_fields;
use crate::peering::status::{self, Progress};

/// How often to ask again.
const LOOK_AGAIN: Duration = Duration::from_secs(600);
const AFTER_REFUSAL: Duration = Duration::from_secs(60);

/// Asks AWS who the role is, and shows it.
///
/// # Errors
/// What the API server refuses. What AWS refuses is told in the status.
#[instrument(skip_all, fields(object = %object.name_any()))]
pub async fn reconcile(object: Arc<AwsIdentity>, context: Arc<Context>) -> Result<Action, kube::Error> {
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let account = context.accounts.of(&Principal::Role(role(&object))).await;
    let answer = account.caller_identity().await;
    let status = status(&object, &answer);
    if object.status.as_ref() != Some(&status) {
        write(&object, &context, &status).await?;
    }
    Ok(Action::requeue(if answer.is_ok() { LOOK_AGAIN } else { AFTER_REFUSAL }))
}

/// When to repeat a reconciliation that the API server cut short.
pub fn retry(_: Arc<AwsIdentity>, error: &kube::Error, _: Arc<Context>) -> Action {
    if is_not_found(error) {
        return Action::await_change();
    }
    if !is_conflict(error) {
        tracing::warn!(%error, "the API server refuses");
    }
    Action::requeue(Duration::from_secs(5))
}

fn status(object: &AwsIdentity, answer: &Result<CallerIdentity, AwsError>) -> AwsIdentityStatus {
    let previous = object.status.clone().unwrap_or_default();
    let readiness = match answer {
        Err(error) => readiness_after(error, Some(false)),
        Ok(told) if told.account_id != object.spec.account_id => Readiness {
            ready: Some(false),
            progress: Progress::Stalled,
            reason: Reason::IdentityMismatch,
            message: format!(
                "AWS says that {} is of account {}, not {}",
                told.arn, told.account_id, object.spec.account_id
            ),
        },
        Ok(told) if !closed_fields(&object.spec).is_empty() => Readiness {
            ready: Some(false),
            progress: Progress::Stalled,
            reason: Reason::NothingAllowed,
            message: format!(
                "the role can be assumed ({}), and this identity permits nothing, since these fields are absent or empty: {}. Set each to all: true or to a list",
                told.arn,
                closed_fields(&object.spec).join(", ")
            ),
        },
        Ok(told) => Readiness {
            ready: Some(true),
            progress: Progress::Settled,
            reason: Reason::Verified,
            message: format!("acts as {}", told.arn),
        },
    };
    let generation = object.metadata.generation.unwrap_or_default();
    let conditions = readiness.conditions(generation, Timestamp::now()).into_iter();
    AwsIdentityStatus {
        account_id: answer.as_ref().ok().map(|told| told.account_id.clone()),
        arn: answer.as_ref().ok().map(|told| told.arn.clone()),
        observed_generation: Some(generation),
        conditions: status::all_following(&previous.conditions, conditions),
    }
}

async fn write(object: &AwsIdentity, context: &Context, status: &AwsIdentityStatus) -> Result<(), kube::Error> {
    let patch = json!({
        "apiVersion": AwsIdentity::api_version(&()),
        "kind": AwsIdentity::kind(&()),
        "metadata": {"name": object.name_any(), "resourceVersion": object.resource_version()},
        "status": status,
    });
    let api = Api::<AwsIdentity>::all(context.client.clone());
    api.patch_status(&object.name_any(), &PatchParams::apply(MANAGER).force(), &Patch::Apply(patch)).await?;
    let before = object.status.as_ref().and_then(|status| status::find(&status.conditions, ConditionType::Ready));
    if let Some(ready) = status::find(&status.conditions, ConditionType::Ready)
        && status::is_news(before, ready)
    {
        let type_ = if ready.status == "True" { EventType::Normal } else { EventType::Warning };
        context.announcer.announce(object, type_, &ready.reason, &ready.message);
    }
    Ok(())
}

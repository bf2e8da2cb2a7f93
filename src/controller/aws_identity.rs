//! The `AwsIdentity` kind: whether its role can be assumed and belongs to the right account.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;
use tracing::instrument;

use super::blocked::blocker_of;
use super::context::Context;
use super::identity_grants::role;
use super::status_writer::{MANAGER, is_conflict, is_not_found};
use crate::api::{AwsIdentity, AwsIdentityStatus, ConditionType, Reason};
use crate::aws::{AwsError, CallerIdentity, Principal};
use crate::peering::conditions;
use crate::peering::limits::closed_fields;
use crate::peering::{Progress, Readiness};

/// Interval of the checks of a role that can be assumed.
const VERIFIED_REQUEUE: Duration = Duration::from_secs(600);

/// Interval of the checks of a role that cannot be assumed.
const REFUSED_REQUEUE: Duration = Duration::from_secs(60);

/// Pause after an error of the API server.
const AFTER_API_ERROR: Duration = Duration::from_secs(5);

/// Asks STS for the identity of the role, and reports it.
///
/// # Errors
/// Those of the API server. The status shows those of AWS.
#[instrument(skip_all, fields(object = %object.name_any()))]
pub(super) async fn reconcile(object: Arc<AwsIdentity>, context: Arc<Context>) -> Result<Action, kube::Error> {
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let account = context.accounts.of(&Principal::Role(role(&object)));
    let answer = account.caller_identity().await;
    let status = status(&object, &answer);
    if object.status.as_ref() != Some(&status) {
        write(&object, &context, &status).await?;
    }
    Ok(Action::requeue(if answer.is_ok() { VERIFIED_REQUEUE } else { REFUSED_REQUEUE }))
}

/// The next attempt after an error of the API server.
pub(super) fn retry(object: Arc<AwsIdentity>, error: &kube::Error, _: Arc<Context>) -> Action {
    if is_not_found(error) {
        return Action::await_change();
    }
    if !is_conflict(error) {
        tracing::warn!(object = %object.name_any(), %error, "the API server refused a request");
    }
    Action::requeue(AFTER_API_ERROR)
}

fn readiness(object: &AwsIdentity, answer: &Result<CallerIdentity, AwsError>) -> Readiness {
    let stalled = |reason, message| Readiness { ready: Some(false), progress: Progress::Stalled, reason, message };
    match answer {
        Err(error) => Readiness::blocked(blocker_of(error), Some(false)),
        Ok(caller) if caller.account_id != object.spec.account_id => stalled(
            Reason::IdentityMismatch,
            format!(
                "{} belongs to account {}, not to spec.accountId {}; correct spec.accountId or spec.roleArn",
                caller.arn, caller.account_id, object.spec.account_id
            ),
        ),
        Ok(caller) if !closed_fields(&object.spec).is_empty() => stalled(
            Reason::NothingAllowed,
            format!(
                "the role can be assumed ({}), but this identity permits nothing, because these fields are absent or empty: {}. Set each to all: true or to a list",
                caller.arn,
                closed_fields(&object.spec).join(", ")
            ),
        ),
        Ok(caller) => Readiness {
            ready: Some(true),
            progress: Progress::Settled,
            reason: Reason::Verified,
            message: format!("acts as {}", caller.arn),
        },
    }
}

fn status(object: &AwsIdentity, answer: &Result<CallerIdentity, AwsError>) -> AwsIdentityStatus {
    let previous = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or_default();
    let current = readiness(object, answer).conditions(generation, Timestamp::now());
    AwsIdentityStatus {
        account_id: answer.as_ref().ok().map(|caller| caller.account_id.clone()),
        arn: answer.as_ref().ok().map(|caller| caller.arn.clone()),
        observed_generation: Some(generation),
        conditions: conditions::all_following(&previous.conditions, current),
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
    let before = object.status.as_ref().and_then(|status| conditions::find(&status.conditions, ConditionType::Ready));
    if let Some(ready) = conditions::find(&status.conditions, ConditionType::Ready)
        && conditions::has_changed(before, ready)
    {
        let type_ = if ready.status == "True" { EventType::Normal } else { EventType::Warning };
        context.events.publish(object, type_, &ready.reason, &ready.message);
    }
    Ok(())
}

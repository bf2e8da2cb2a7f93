//! Writes to the API server: the status and the finalizer. An unchanged status costs no write.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::Instant;

use super::context::Context;
use super::index::By;
use super::kind::{Kind, Status, has_finalizer, stored_conditions, with_state};
use super::queued_resource::QueuedResource;
use super::watch::decode::Wire;
use crate::api::{ConditionType, FINALIZER, Reason, StepEvent};
use crate::peering::conditions::{find, has_changed};
use crate::peering::routes::RouteChange;

/// The operator's name in `managedFields`.
pub(super) const MANAGER: &str = "vpc-peering-operator";

/// Pause after a conflict. By then the watch has mostly caught up.
pub(super) const AFTER_CONFLICT: Duration = Duration::from_millis(200);

/// Pause after any other error of the API server.
const AFTER_API_ERROR: Duration = Duration::from_secs(5);

/// Writes a status, and publishes Events for its news. The write is guarded by the resource version: a reconcile of an
/// old object fails here with 409, before it asks AWS for a change.
pub(super) async fn write<K: Kind>(context: &Context, object: &K, status: K::Status) -> Result<K, kube::Error> {
    if object.status() == Some(&status) {
        return Ok(object.clone());
    }
    let written = replace_status(context, object, &status).await?;
    publish_news(context, &written, stored_conditions(object), status.conditions());
    Ok(written)
}

/// An update of the whole status. It costs the API server less than server-side apply, and nobody else writes the
/// status.
async fn replace_status<K: Kind>(context: &Context, object: &K, status: &K::Status) -> Result<K, kube::Error> {
    let mut updated = object.clone();
    *updated.status_mut() = Some(status.clone());
    let parameters = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
    let body = serde_json::to_vec(&updated).map_err(kube::Error::SerdeError)?;
    drop(updated);
    let request = Request::new(K::url_path(&(), object.meta().namespace.as_deref()));
    let request = request.replace_subresource("status", &object.name_any(), &parameters, body);
    let written = context.client.request::<Wire<K>>(request.map_err(kube::Error::BuildRequest)?).await?.0?;
    with_state(context, &written, |state| state.wrote(written.meta().resource_version.as_deref()));
    Ok(written)
}

/// Publishes an Event for each condition that has news.
fn publish_news<K: Kind>(context: &Context, object: &K, previous: &[Condition], current: &[Condition]) {
    let before = |kind| find(previous, kind);
    let publish = |type_, reason: &str, note: &str| context.events.publish(object, type_, reason, note);
    let ready = find(current, ConditionType::Ready);
    if let Some(ready) = ready {
        let reason = Reason::ALL.iter().find(|reason| reason.as_str() == ready.reason);
        let is_problem = find(current, ConditionType::Stalled).is_some()
            || ready.status == "Unknown"
            || reason.is_some_and(|reason| reason.is_trouble());
        // Emit an Event when the reason changes; for problems, also when the message changes. `Created` reports a
        // request.
        let is_reported = match before(ConditionType::Ready) {
            previous if is_problem => has_changed(previous, ready),
            _ if reason == Some(&Reason::InitiatingRequest) => false,
            Some(previous) => previous.reason != ready.reason || previous.status != ready.status,
            None => true,
        };
        if is_reported {
            let type_ = if is_problem { EventType::Warning } else { EventType::Normal };
            publish(type_, &ready.reason, &ready.message);
        }
    }
    let news = |kind| find(current, kind).filter(|condition| has_changed(before(kind), condition));
    for (kind, event) in [
        (ConditionType::ExpiringSoon, StepEvent::ExpiringSoon),
        (ConditionType::UnexpectedConnection, StepEvent::UnexpectedConnection),
    ] {
        if let Some(condition) = news(kind) {
            publish(EventType::Warning, event.as_str(), &condition.message);
        }
    }
    let routes = news(ConditionType::RoutesReady)
        .filter(|routes| routes.reason == Reason::UnexpectedCidrBlock.as_str())
        .filter(|routes| ready.is_some_and(|ready| ready.reason != routes.reason));
    if let Some(routes) = routes {
        publish(EventType::Warning, &routes.reason, &routes.message);
    }
}

/// Publishes the AWS resources that stay when an object goes.
pub(super) fn publish_left_in_aws<K: Kind>(context: &Context, object: &K, left: &[String]) {
    if !left.is_empty() {
        let note = format!("left in AWS: {}", left.join("; "));
        context.events.publish(object, EventType::Warning, StepEvent::LeftInAws.as_str(), &note);
    }
}

/// Records EC2's answers to route calls. The flag of each is whether it has succeeded.
pub(super) fn changed_routes<K: Kind>(context: &Context, object: &K, changes: &[(RouteChange, bool)]) {
    if !changes.is_empty() {
        with_state(context, object, |state| state.changed_routes(changes, Instant::now()));
    }
}

/// Records the end of a call that changes EC2. Only a later poll shows its effect.
pub(super) fn wrote_to_ec2<K: Kind>(context: &Context, object: &K) {
    with_state(context, object, |state| state.wrote_to_ec2(Instant::now()));
}

pub(super) async fn add_finalizer<K: Kind>(context: &Context, object: &K) -> Result<K, kube::Error> {
    let mut finalizers = object.finalizers().to_vec();
    finalizers.push(FINALIZER.to_owned());
    set_finalizers(context, object, &finalizers).await
}

pub(super) async fn remove_finalizer<K: Kind>(context: &Context, object: &K) -> Result<(), kube::Error> {
    debug_assert!(has_finalizer(object));
    let finalizers: Vec<_> = object.finalizers().iter().filter(|name| *name != FINALIZER).cloned().collect();
    match set_finalizers(context, object, &finalizers).await {
        Err(error) if is_not_found(&error) => Ok(()),
        outcome => outcome.map(drop),
    }
}

async fn set_finalizers<K: Kind>(context: &Context, object: &K, finalizers: &[String]) -> Result<K, kube::Error> {
    let patch = json!({"metadata": {"resourceVersion": object.resource_version(), "finalizers": finalizers}});
    let parameters = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    let api: Api<Wire<K>> = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let written = api.patch(&object.name_any(), &parameters, &Patch::Merge(patch)).await?.0?;
    with_state(context, &written, |state| state.wrote(written.meta().resource_version.as_deref()));
    Ok(written)
}

/// Forgets an object that is gone.
pub(super) fn forget<K: Kind>(context: &Context, object: &K) {
    let cache = K::cache(context);
    cache.states.forget(object.meta().uid.as_deref().unwrap_or_default());
    cache.index.set(By::AwsId, &object.namespace().unwrap_or_default(), &object.name_any(), [""; 0]);
    context.queue.forget(&QueuedResource::of(object));
}

/// The outcome of a reconcile. An object that was deleted meanwhile is forgotten.
pub(super) fn unless_deleted<K: Kind>(
    context: &Context,
    object: &K,
    outcome: Result<Action, kube::Error>,
) -> Result<Action, kube::Error> {
    match outcome {
        Err(error) if is_not_found(&error) => {
            forget(context, object);
            Ok(Action::await_change())
        }
        outcome => outcome,
    }
}

pub(super) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

pub(super) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// The next attempt after an error of the API server.
pub(super) fn retry<K: Kind>(object: Arc<K>, error: &kube::Error, _: Arc<Context>) -> Action {
    if is_conflict(error) {
        return Action::requeue(AFTER_CONFLICT);
    }
    let (namespace, object) = (object.namespace(), object.name_any());
    tracing::warn!(namespace, %object, %error, "the API server refused a request");
    Action::requeue(AFTER_API_ERROR)
}

//! Writes to the API server: the status, the finalizer, Events. Nothing is written that is there already.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::Instant;

use super::Context;
use super::index::By;
use super::kept::{Managed, Status, conditions, has_finalizer};
use super::memory::Memory;
use super::watch::wire::Wire;
use crate::api::{ConditionType, FINALIZER, Reason, StepEvent};
use crate::peering::Readiness;
use crate::peering::status;

/// Our name in `managedFields`.
pub(super) const MANAGER: &str = "vpc-peering-operator";

impl Context {
    /// Writes `status` with the conditions of `readiness`, and announces the change. Guarded by the resource version:
    /// whoever acts on an old object fails with 409 here, before AWS is asked for anything.
    pub async fn write_status<K: Managed>(
        &self,
        object: &K,
        mut status: K::Status,
        readiness: &Readiness,
        notes: Vec<Condition>,
    ) -> Result<K, kube::Error> {
        let generation = object.meta().generation.unwrap_or_default();
        let previous = conditions(object).to_vec();
        let conditions = readiness.conditions(generation, Timestamp::now()).into_iter().chain(notes);
        status.conclude(generation, status::all_following(&previous, conditions));
        if object.status() == Some(&status) {
            return Ok(object.clone());
        }
        let written = self.replace_status(object, &status).await?;
        let before = |kind| status::find(&previous, kind);
        let find = |kind| status::find(status.conditions(), kind);
        // Progress is told by its reason, blocker by its words as well; that a request was made is told by `Created`.
        let is_told = |ready: &&Condition| match before(ConditionType::Ready) {
            _ if readiness.is_trouble() => status::is_news(before(ConditionType::Ready), ready),
            _ if readiness.reason == Reason::InitiatingRequest => false,
            Some(before) => before.reason != ready.reason || before.status != ready.status,
            None => true,
        };
        if let Some(ready) = find(ConditionType::Ready).filter(is_told) {
            let type_ = if readiness.is_trouble() { EventType::Warning } else { EventType::Normal };
            self.announcer.announce(&written, type_, &ready.reason, &ready.message);
        }
        for (kind, event) in [
            (ConditionType::ExpiringSoon, StepEvent::ExpiringSoon),
            (ConditionType::UnexpectedConnection, StepEvent::UnexpectedConnection),
        ] {
            if let Some(note) = find(kind).filter(|note| status::is_news(before(kind), note)) {
                self.announcer.announce(&written, EventType::Warning, event.as_str(), &note.message);
            }
        }
        let routes =
            find(ConditionType::RoutesReady).filter(|routes| routes.reason == Reason::UnexpectedCidrBlock.as_str());
        if let Some(note) = routes.filter(|note| status::is_news(before(ConditionType::RoutesReady), note))
            && find(ConditionType::Ready).is_some_and(|ready| ready.reason != note.reason)
        {
            self.announcer.announce(&written, EventType::Warning, &note.reason, &note.message);
        }
        Ok(written)
    }

    /// Writes `status` as it is. An update costs the API server less than server-side apply does, and no one else writes
    /// there.
    pub async fn replace_status<K: Managed>(&self, object: &K, status: &K::Status) -> Result<K, kube::Error> {
        let mut updated = object.clone();
        *updated.status_mut() = Some(status.clone());
        let parameters = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
        let body = serde_json::to_vec(&updated).map_err(kube::Error::SerdeError)?;
        drop(updated);
        let request = Request::new(K::url_path(&(), object.meta().namespace.as_deref()));
        let request = request.replace_subresource("status", &object.name_any(), &parameters, body);
        let written = self.client.request::<Wire<K>>(request.map_err(kube::Error::BuildRequest)?).await?.0?;
        self.memory(&written, |memory| memory.wrote(written.meta().resource_version.as_deref()));
        Ok(written)
    }

    /// The outcome of a reconciliation; an object that went in its midst is forgotten.
    pub(super) fn unless_gone<K: Managed>(
        &self,
        object: &K,
        outcome: Result<Action, kube::Error>,
    ) -> Result<Action, kube::Error> {
        match outcome {
            Err(error) if is_not_found(&error) => {
                self.forget(object);
                Ok(Action::await_change())
            }
            outcome => outcome,
        }
    }

    /// Puts our finalizer on the object.
    pub async fn add_finalizer<K: Managed>(&self, object: &K) -> Result<K, kube::Error> {
        let mut finalizers = object.finalizers().to_vec();
        finalizers.push(FINALIZER.to_owned());
        self.set_finalizers(object, &finalizers).await
    }

    /// Takes our finalizer off the object.
    pub async fn remove_finalizer<K: Managed>(&self, object: &K) -> Result<(), kube::Error> {
        let finalizers: Vec<_> = object.finalizers().iter().filter(|name| *name != FINALIZER).cloned().collect();
        match self.set_finalizers(object, &finalizers).await {
            Err(error) if is_not_found(&error) => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    async fn set_finalizers<K: Managed>(&self, object: &K, finalizers: &[String]) -> Result<K, kube::Error> {
        let patch = json!({"metadata": {"resourceVersion": object.resource_version(), "finalizers": finalizers}});
        let parameters = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        let written = self.api(object).patch(&object.name_any(), &parameters, &Patch::Merge(patch)).await?.0?;
        self.memory(&written, |memory| memory.wrote(written.meta().resource_version.as_deref()));
        Ok(written)
    }

    /// Reads or changes what is remembered of a resource.
    pub(super) fn memory<K: Managed, T>(&self, object: &K, act: impl FnOnce(&mut Memory<K::Step>) -> T) -> T {
        K::kept(self).memories.with(object.meta().uid.as_deref().unwrap_or_default(), act)
    }

    /// Forgets a resource that is gone.
    pub(super) fn forget<K: Managed>(&self, object: &K) {
        let kept = K::kept(self);
        kept.memories.forget(object.meta().uid.as_deref().unwrap_or_default());
        kept.index.set(By::Interest, &object.namespace().unwrap_or_default(), &object.name_any(), [""; 0]);
    }

    /// Lets a resource go that nothing of ours is left of.
    pub(super) async fn release<K: Managed>(&self, object: &K) -> Result<Action, kube::Error> {
        if has_finalizer(object) {
            self.remove_finalizer(object).await?;
        }
        self.forget(object);
        Ok(Action::await_change())
    }

    /// Tells a person what is left in AWS of a resource that goes.
    pub(super) fn tell_what_is_left<K: Managed>(&self, object: &K, left: &[String]) {
        if !left.is_empty() {
            let note = format!("left in AWS: {}", left.join("; "));
            self.announcer.announce(object, EventType::Warning, StepEvent::LeftInAws.as_str(), &note);
        }
    }

    /// A call that changes EC2 was made: the next listing must be a newer one.
    pub(super) fn wrote_to_ec2<K: Managed>(&self, object: &K) {
        self.memory(object, |memory| memory.wrote_to_ec2(Instant::now()));
    }

    fn api<K: Managed>(&self, object: &K) -> Api<Wire<K>> {
        Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default())
    }
}

/// Whether the API server says that the object is gone.
#[must_use]
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether the API server says that we have seen an old object.
#[must_use]
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// The API server told us no; ask again when the cache has caught up.
pub(super) const AFTER_CONFLICT: Duration = Duration::from_millis(200);
const AFTER_API_ERROR: Duration = Duration::from_secs(5);

/// When to repeat a reconciliation that the API server cut short.
pub fn retry<K: Managed>(object: Arc<K>, error: &kube::Error, _: Arc<Context>) -> Action {
    if is_conflict(error) {
        return Action::requeue(AFTER_CONFLICT);
    }
    tracing::warn!(namespace = object.namespace(), object = %object.name_any(), %error, "the API server refuses");
    Action::requeue(AFTER_API_ERROR)
}

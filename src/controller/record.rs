//! Writes to the API server: the status, the finalizer, Events. Nothing is written that is there already.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::Context;
use crate::api::{ConditionType, FINALIZER, Reason, StepEvent, VpcPeering, VpcPeeringStatus};
use crate::peering::Standing;
use crate::peering::status;

/// Our name in `managedFields`.
pub(super) const MANAGER: &str = "vpc-peering-operator";

impl Context {
    /// Writes `status` with the conditions of `standing`, and announces the change. Guarded by the resource version:
    /// whoever acts on an old object fails with 409 here, before AWS is asked for anything.
    pub async fn write_status(
        &self,
        object: &VpcPeering,
        mut status: VpcPeeringStatus,
        standing: &Standing,
        notes: Vec<Condition>,
    ) -> Result<VpcPeering, kube::Error> {
        let generation = object.meta().generation.unwrap_or_default();
        let previous = object.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
        let conditions = standing.conditions(generation, Timestamp::now()).into_iter().chain(notes);
        status.observed_generation = Some(generation);
        status.conditions = conditions
            .map(|condition| {
                let before = previous.iter().find(|before| before.type_ == condition.type_);
                status::following(before, condition)
            })
            .collect();
        if object.status.as_ref() == Some(&status) {
            return Ok(object.clone());
        }
        let written = self.patch_status(object, &status).await?;
        let before = |kind| status::find(&previous, kind);
        let find = |kind| status::find(&status.conditions, kind);
        // Progress is told by its reason, trouble by its words as well; that a request was made is told by `Created`.
        let is_told = |ready: &&Condition| match before(ConditionType::Ready) {
            _ if standing.is_trouble() => status::is_news(before(ConditionType::Ready), ready),
            _ if standing.reason == Reason::InitiatingRequest => false,
            Some(before) => before.reason != ready.reason || before.status != ready.status,
            None => true,
        };
        if let Some(ready) = find(ConditionType::Ready).filter(is_told) {
            let type_ = if standing.is_trouble() { EventType::Warning } else { EventType::Normal };
            self.announce(&written.object_ref(&()), type_, &ready.reason, &ready.message).await;
        }
        let is_new = |expiring: &&Condition| status::is_news(before(ConditionType::ExpiringSoon), expiring);
        if let Some(expiring) = find(ConditionType::ExpiringSoon).filter(is_new) {
            let (event, note) = (StepEvent::ExpiringSoon.as_str(), &expiring.message);
            self.announce(&written.object_ref(&()), EventType::Warning, event, note).await;
        }
        Ok(written)
    }

    /// Writes `status` as it is.
    pub async fn patch_status(
        &self,
        object: &VpcPeering,
        status: &VpcPeeringStatus,
    ) -> Result<VpcPeering, kube::Error> {
        let patch = json!({
            "apiVersion": VpcPeering::api_version(&()),
            "kind": VpcPeering::kind(&()),
            "metadata": {"name": object.name_any(), "resourceVersion": object.resource_version()},
            "status": status,
        });
        let parameters = PatchParams::apply(MANAGER).force();
        let written = self.api(object).patch_status(&object.name_any(), &parameters, &Patch::Apply(patch)).await?;
        self.memory(&written, |memory| memory.wrote(written.metadata.resource_version.as_deref()));
        Ok(written)
    }

    /// Puts our finalizer on the object.
    pub async fn add_finalizer(&self, object: &VpcPeering) -> Result<VpcPeering, kube::Error> {
        let mut finalizers = object.finalizers().to_vec();
        finalizers.push(FINALIZER.to_owned());
        self.set_finalizers(object, &finalizers).await
    }

    /// Takes our finalizer off the object.
    pub async fn remove_finalizer(&self, object: &VpcPeering) -> Result<(), kube::Error> {
        let finalizers: Vec<_> = object.finalizers().iter().filter(|name| *name != FINALIZER).cloned().collect();
        match self.set_finalizers(object, &finalizers).await {
            Err(error) if is_not_found(&error) => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    async fn set_finalizers(&self, object: &VpcPeering, finalizers: &[String]) -> Result<VpcPeering, kube::Error> {
        let patch = json!({"metadata": {"resourceVersion": object.resource_version(), "finalizers": finalizers}});
        let written = self.api(object).patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await?;
        self.memory(&written, |memory| memory.wrote(written.metadata.resource_version.as_deref()));
        Ok(written)
    }

    /// Publishes an Event, and logs it. Its loss is no reason to stop.
    pub async fn announce(&self, object: &ObjectReference, type_: EventType, reason: &str, note: &str) {
        tracing::info!(reason, "{note}");
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note.chars().take(NOTE_LENGTH).collect()),
            action: "Reconcile".into(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, object).await {
            tracing::warn!(%error, reason, "cannot publish an Event");
        }
    }

    fn api(&self, object: &VpcPeering) -> Api<VpcPeering> {
        Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default())
    }
}

/// The API server takes notes of at most 1 KiB; ours are ASCII but for what AWS says.
const NOTE_LENGTH: usize = 512;

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

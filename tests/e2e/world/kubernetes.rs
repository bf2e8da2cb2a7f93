//! Kubernetes as the test sees it: the `VpcPeering` under test, its identities and its Events.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use environment::eventually;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use vpc_peering_operator::api::{AwsIdentity, VpcPeering};

use super::{REGION, World};
use crate::iam;

/// Time until a wait fails, in seconds. Generous for a slow machine; a test that passes does not wait this long.
const LIMIT: Duration = Duration::from_secs(60);

impl World {
    /// Applies an `AwsIdentity` for an account and returns its name. It allows everything except namespaces; `spec`
    /// adds or replaces fields, and null removes them.
    pub async fn apply_identity(&self, account: &str, spec: Value) -> Result<String> {
        let name = format!("{}-{account}", self.namespace);
        self.apply_identity_named(&name, account, spec).await?;
        Ok(name)
    }

    pub async fn apply_identity_named(&self, name: &str, account: &str, spec: Value) -> Result<()> {
        let arn = self.create_role(account).await?;
        let mut manifest = json!({
            "apiVersion": "vpcpeering.dev/v1alpha1",
            "kind": "AwsIdentity",
            "metadata": {"name": name},
            "spec": {
                "accountId": account,
                "roleArn": arn,
                "externalId": iam::EXTERNAL_ID,
                "allowedVpcs": {"all": true},
                "allowedRegions": {"all": true},
                "allowedPeers": {"all": true},
                "allowRoutes": true,
                "allowOptions": true,
                "allowAdoption": true,
            },
        });
        for (key, value) in spec.as_object().into_iter().flatten() {
            manifest["spec"][key] = value.clone();
        }
        manifest["spec"].as_object_mut().context("no spec")?.retain(|_, value| !value.is_null());
        let api = Api::<AwsIdentity>::all(self.client.clone());
        api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(manifest)).await?;
        Ok(())
    }

    /// A `VpcPeering` of the test's two VPCs.
    pub fn manifest(&self) -> Value {
        json!({
            "apiVersion": "vpcpeering.dev/v1alpha1",
            "kind": "VpcPeering",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                "requester": {"vpcId": self.requester, "region": REGION},
                "accepter": {"vpcId": self.accepter},
            },
        })
    }

    /// A `VpcPeering` of the test's two VPCs, with fields of its spec added or replaced.
    pub fn manifest_with(&self, spec: Value) -> Value {
        let mut manifest = self.manifest();
        for (key, value) in spec.as_object().into_iter().flatten() {
            manifest["spec"][key] = value.clone();
        }
        manifest
    }

    pub fn api(&self) -> Api<VpcPeering> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub async fn patch(&self, patch: Value) -> Result<VpcPeering> {
        Ok(self.api().patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await?)
    }

    /// Requests a reconciliation as a user does, by the annotation.
    pub async fn request_reconcile(&self, value: &str) -> Result<VpcPeering> {
        self.patch(json!({"metadata": {"annotations": {"vpcpeering.dev/reconcile-at": value}}})).await
    }

    /// Waits until the status shows this status code of EC2.
    pub async fn until_code(&self, code: &str) -> Result<VpcPeering> {
        self.until(code, |object| status_code(object) == Some(code)).await
    }

    /// Applies a manifest as GitOps tools do. The JSON is sent unchanged, without the types of this project.
    pub async fn apply(&self, manifest: &Value) -> Result<VpcPeering, kube::Error> {
        self.api().patch(&self.name, &PatchParams::apply("test").force(), &Patch::Apply(manifest)).await
    }

    /// Applies a manifest with kubectl, for resources that the types of this project may not be able to read.
    pub async fn apply_text(&self, manifest: &Value) -> Result<()> {
        let file = self.shared.control_plane.folder().join(format!("{}-{}.json", self.namespace, self.name));
        std::fs::write(&file, manifest.to_string())?;
        self.shared
            .control_plane
            .kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &file.to_string_lossy()])
            .await?;
        Ok(())
    }

    pub async fn get(&self) -> Result<VpcPeering> {
        Ok(self.api().get(&self.name).await?)
    }

    pub async fn delete(&self) -> Result<()> {
        self.api().delete(&self.name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Waits until the resource meets a condition.
    pub async fn until(&self, what: &str, is_so: impl Fn(&VpcPeering) -> bool) -> Result<VpcPeering> {
        eventually(what, LIMIT, async || {
            let object = self.get().await?;
            ensure!(is_so(&object), "status is {}", serde_json::to_string_pretty(&object.status)?);
            Ok(object)
        })
        .await
        .map_err(|error| self.with_log(error))
    }

    pub async fn until_ready(&self) -> Result<VpcPeering> {
        self.until("ready", |object| condition(object, "Ready").is_some_and(|ready| ready.status == "True")).await
    }

    /// Waits until the resource is stalled for this reason.
    pub async fn until_stalled(&self, reason: &str) -> Result<VpcPeering> {
        let is_so = |object: &VpcPeering| condition(object, "Stalled").is_some_and(|stalled| stalled.reason == reason);
        let object = self.until(&format!("stalled: {reason}"), is_so).await?;
        let ready = condition(&object, "Ready").context("no condition Ready")?;
        ensure!(ready.status == "False" && ready.reason == reason, "Ready is {ready:?}");
        ensure!(condition(&object, "Reconciling").is_none(), "both Stalled and Reconciling");
        Ok(object)
    }

    /// Waits until the resource is stalled for this reason and `Ready` is Unknown.
    pub async fn until_stalled_unknown(&self, reason: &str) -> Result<VpcPeering> {
        self.until(&format!("unknown: {reason}"), |object| {
            condition(object, "Stalled").is_some_and(|stalled| stalled.reason == reason)
                && condition(object, "Ready").is_some_and(|ready| ready.status == "Unknown")
        })
        .await
    }

    pub async fn until_gone(&self) -> Result<()> {
        eventually("gone", LIMIT, async || match self.api().get_opt(&self.name).await? {
            None => Ok(()),
            Some(object) => bail!("status is {}", serde_json::to_string_pretty(&object.status)?),
        })
        .await
        .map_err(|error| self.with_log(error))
    }

    /// The reasons of the Events in the namespace, oldest first.
    pub async fn events(&self) -> Result<Vec<String>> {
        let events =
            Api::<Event>::namespaced(self.client.clone(), &self.namespace).list(&ListParams::default()).await?;
        let mut events = events.items;
        events.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
        Ok(events.into_iter().filter_map(|event| event.reason).collect())
    }

    /// Waits until Events with these reasons exist: Events follow some time after the status.
    pub async fn until_events(&self, reasons: &[&str]) -> Result<Vec<String>> {
        eventually("Events", LIMIT, async || {
            let events = self.events().await?;
            for reason in reasons {
                ensure!(events.iter().any(|event| event == reason), "no Event {reason}: {events:?}");
            }
            Ok(events)
        })
        .await
        .map_err(|error| self.with_log(error))
    }
}

pub fn condition<'a>(object: &'a VpcPeering, type_: &str) -> Option<&'a Condition> {
    object.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_)
}

pub fn connection_id(object: &VpcPeering) -> Option<&str> {
    object.status.as_ref()?.vpc_peering_connection_id.as_deref()
}

pub fn status_code(object: &VpcPeering) -> Option<&str> {
    Some(object.status.as_ref()?.status.as_ref()?.code.as_str())
}

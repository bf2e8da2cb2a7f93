//! The VPCs of `vpcRef`. An object is read when a resource needs its VPC, and watched until then.

mod cluster_vpc;
mod watches;

use std::sync::Arc;

use kube::api::{ApiResource, DynamicObject};
use kube::core::discovery::Scope as ResourceScope;
use kube::error::DiscoveryError;
use kube::{Api, Client, Error, discovery};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::blocked::Blocked;
use crate::api::{Reason, VpcReference};
use crate::aws::Account;
use crate::peering::Blocker;
use crate::peering::settings::STALLED_REQUEUE;
use crate::peering::vpc_reference::{Reference, ReferenceKind, ReferencedVpc};
use watches::{OnChange, Watches};

pub(super) use watches::Referenced;

/// Reads the objects that `vpcRef` names.
pub(crate) struct References {
    client: Client,
    kinds: Vec<ReferenceKind>,
    /// The operator's own account, which sees the instances of the nodes.
    own: Arc<Account>,
    watches: Watches,
    /// The VPC of the nodes. It never changes.
    cluster_vpc: OnceCell<ReferencedVpc>,
}

impl References {
    /// `on_change` learns of each object that changes. Without it, nothing is watched.
    pub(super) fn new(
        client: Client,
        kinds: Vec<ReferenceKind>,
        own: Arc<Account>,
        on_change: Option<OnChange>,
    ) -> Self {
        Self { watches: Watches::new(client.clone(), on_change), client, kinds, own, cluster_vpc: OnceCell::new() }
    }

    /// The VPC that a reference selects. `from` is the namespace of the resource, and `field` its field.
    ///
    /// # Errors
    /// If there is no such object, it has no VPC, or the namespace may not use it.
    pub(super) async fn vpc(
        &self,
        reference: &VpcReference,
        from: &str,
        field: &str,
    ) -> Result<ReferencedVpc, Blocked> {
        if reference.this_cluster == Some(true) {
            let vpc = self.cluster_vpc.get_or_try_init(|| cluster_vpc::find(&self.client, &self.own, field)).await?;
            return Ok(ReferencedVpc {
                source: format!("{field}: the VPC of the nodes of this cluster"),
                ..vpc.clone()
            });
        }
        let text = |text: &Option<crate::api::Text>| text.as_deref().unwrap_or_default().to_owned();
        let (group, kind_name, name) = (text(&reference.group), text(&reference.kind), text(&reference.name));
        let Some(kind) = self.kinds.iter().find(|kind| kind.group == group && kind.kind == kind_name) else {
            return Err(self.unknown_kind(field, &group, &kind_name).into());
        };
        let (resource, scope) = self.discover(kind, field).await?;
        let is_namespaced = scope == ResourceScope::Namespaced;
        let namespace = is_namespaced.then(|| reference.namespace.as_deref().unwrap_or(from));
        let reference = Reference { field, from, kind, namespace, name: &name };
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let object = api.get_opt(&name).await.map_err(|error| unreadable(&reference, &error))?;
        self.watches.start(&resource, namespace);
        let object = object.and_then(|object| serde_json::to_value(object).ok()).unwrap_or(Value::Null);
        Ok(reference.resolve(&object)?)
    }

    fn unknown_kind(&self, field: &str, group: &str, kind: &str) -> Blocker {
        let known =
            self.kinds.iter().map(|kind| format!("{}.{}", kind.kind, kind.group)).collect::<Vec<_>>().join(", ");
        let message = format!(
            "{field}: the operator cannot read a VPC from {kind}.{group}. Use one of {known}, or ask an administrator to add the kind to --reference-kinds"
        );
        Blocker::stalled(Reason::ReferenceNotFound, message)
    }

    /// The version of a kind that the API server prefers.
    async fn discover(&self, kind: &ReferenceKind, field: &str) -> Result<(ApiResource, ResourceScope), Blocker> {
        let ReferenceKind { group, kind, .. } = kind;
        let found = match discovery::group(&self.client, group).await {
            Ok(found) => found.recommended_kind(kind),
            Err(Error::Discovery(DiscoveryError::MissingApiGroup(_) | DiscoveryError::EmptyApiGroup(_))) => None,
            Err(error) => {
                let message = format!("{field}: cannot ask the API server for the kind {kind}.{group}: {error}");
                return Err(Blocker::passing(Reason::ReferenceNotFound, message, STALLED_REQUEUE));
            }
        };
        found.map(|(resource, capabilities)| (resource, capabilities.scope)).ok_or_else(|| {
            let message =
                format!("{field}: the API server has no kind {kind}.{group}; install its CustomResourceDefinition");
            Blocker::rechecked(Reason::ReferenceNotFound, message)
        })
    }
}

fn unreadable(reference: &Reference<'_>, error: &Error) -> Blocker {
    let ReferenceKind { group, resource, .. } = reference.kind;
    match error {
        Error::Api(status) if status.code == 403 => {
            let place = reference.namespace.map(|namespace| format!(" in {namespace}")).unwrap_or_default();
            let problem = format!(
                "cannot be read: grant the operator get, list and watch on {resource}.{group}{place}, or, for a kind of --reference-kinds, add it to references.kinds of the chart"
            );
            reference.blocker(Reason::ReferenceNotFound, &problem)
        }
        error => {
            let problem = format!("cannot be read: {error}; the operator tries again");
            Blocker {
                progress: crate::peering::Progress::Reconciling,
                ..reference.blocker(Reason::ReferenceNotFound, &problem)
            }
        }
    }
}

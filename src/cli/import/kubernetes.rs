//! The objects of other controllers: their names, and those in the cluster.

use std::fmt;

use anyhow::{Context, ensure};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client, discovery};
use serde_json::Value;

/// Whether an object has a kind of a group.
pub(super) fn is_of(object: &Value, group: &str, kind: &str) -> bool {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    object["kind"] == kind && version.split_once('/').is_some_and(|(name, _)| name == group)
}

/// The name of an object. It is safe in a shell command.
#[derive(Clone, Debug)]
pub(super) struct Name {
    group: String,
    kind: String,
    namespace: Option<String>,
    name: String,
}

impl Name {
    /// # Errors
    /// If the object has no valid name.
    pub(super) fn of(object: &Value) -> anyhow::Result<Self> {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let text = |key: &str| {
            let value = object["metadata"][key].as_str();
            let is_valid = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '.');
            let is_name = value.is_none_or(|text| text.chars().all(is_valid) && !text.starts_with('-'));
            ensure!(is_name, "a {kind} has an invalid metadata.{key}: {value:?}");
            Ok(value.map(str::to_owned))
        };
        let name = text("name")?.with_context(|| format!("a {kind} has no metadata.name"))?;
        let group = object["apiVersion"].as_str().and_then(|version| version.split_once('/')).map(|(group, _)| group);
        Ok(Self { namespace: text("namespace")?, name, group: group.unwrap_or_default().to_owned(), kind })
    }

    /// A kubectl command about the object.
    pub(super) fn command(&self, verb: &str, arguments: &str) -> String {
        let namespace = self.namespace.as_ref().map(|name| format!(" -n {name}")).unwrap_or_default();
        let kind = self.kind.to_ascii_lowercase();
        format!("kubectl {verb}{namespace} {kind}.{}/{} {arguments}", self.group, self.name).trim_end().to_owned()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// The objects of some kinds of a group in the cluster, of all namespaces. A kind that is not installed has none.
///
/// # Errors
/// If a kind cannot be listed.
pub(super) async fn list(client: &Client, group: &str, kinds: &[&str]) -> anyhow::Result<Vec<Value>> {
    let Ok(known) = discovery::group(client, group).await else { return Ok(Vec::new()) };
    let mut objects = Vec::new();
    for kind in kinds {
        let Some((resource, _)) = known.recommended_kind(kind) else { continue };
        let gvk = GroupVersionKind::gvk(&resource.group, &resource.version, &resource.kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, &resource.plural);
        let listed = Api::<DynamicObject>::all_with(client.clone(), &resource).list(&ListParams::default()).await;
        for mut object in listed.with_context(|| format!("cannot list {}.{group}", resource.plural))?.items {
            // The items of a list have no types.
            object.types =
                Some(kube::core::TypeMeta { api_version: resource.api_version.clone(), kind: (*kind).into() });
            objects.push(serde_json::to_value(object)?);
        }
    }
    Ok(objects)
}

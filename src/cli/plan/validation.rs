//! The validation of a manifest by the API server. A dry run stores nothing.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run>

use std::fmt::Debug;

use anyhow::{Context, bail};
use kube::api::PostParams;
use kube::core::Request;
use kube::{Client, Resource, ResourceExt};
use serde_json::Value;

use crate::cli::manifests::Document;

/// Lets the API server validate a manifest. Returns a note if the user may not ask for that.
///
/// # Errors
/// If the manifest is not valid.
pub(super) async fn validate<K>(
    client: &Client,
    document: &Document,
    namespace: Option<&str>,
    known: Option<&K>,
) -> anyhow::Result<Option<String>>
where
    K: Resource<DynamicType = ()> + Clone + Debug,
{
    let mut object = document.object.clone();
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = namespace.into();
    }
    let resources = Request::new(K::url_path(&(), namespace));
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let (verb, request) = match known {
        Some(known) => {
            object["metadata"]["resourceVersion"] = known.resource_version().into();
            ("update", resources.replace(&known.name_any(), &params, serde_json::to_vec(&object)?))
        }
        None => ("create", resources.create(&params, serde_json::to_vec(&object)?)),
    };
    let mut request = request?;
    // Unknown fields are errors.
    *request.uri_mut() = format!("{}&fieldValidation=Strict", request.uri()).parse()?;
    match client.request::<Value>(request).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            let message = &status.message;
            Ok(Some(format!("{document} was not validated: {message}; grant the verb {verb} to validate manifests")))
        }
        Err(kube::Error::Api(status)) if status.code == 404 => {
            bail!("{document}: {}; create the namespace, or correct metadata.namespace", status.message)
        }
        Err(kube::Error::Api(status)) if [400, 422].contains(&status.code) => bail!("{document}: {}", status.message),
        Err(error) => Err(error).with_context(|| format!("{document}: the API server cannot validate it; try again")),
    }
}

//! The objects of other controllers in files and in the cluster.

use anyhow::{anyhow, bail, ensure};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::error::DiscoveryError;
use kube::{Api, Client, Error, discovery};
use serde_json::Value;

use super::object_name::group;
use super::{ack, crossplane};

/// Fails unless the objects of a file can be imported. Other kinds of the same controllers are ignored, as a file often
/// contains VPCs and subnets, too.
///
/// # Errors
/// If an object is a peering of another controller, or no object belongs to ACK or Crossplane.
pub(super) fn check_kinds(objects: &[Value]) -> anyhow::Result<()> {
    let expected = "the supported groups are ec2.services.k8s.aws (ACK), ec2.aws.upbound.io and ec2.aws.m.upbound.io \
                    (Crossplane); import its connections from AWS with --region";
    let is_known =
        |object: &&Value| group(object).is_some_and(|group| group == ack::GROUP || crossplane::GROUPS.contains(&group));
    let has_known = objects.iter().any(|object| is_known(&object));
    let is_peering =
        |object: &Value| object["kind"].as_str().is_some_and(|kind| kind.to_ascii_lowercase().contains("peering"));
    let Some(wrong) = objects.iter().find(|object| !is_known(object) && (is_peering(object) || !has_known)) else {
        ensure!(has_known, "contains no object; {expected}");
        return Ok(());
    };
    let name = wrong["metadata"]["name"].as_str().unwrap_or("without a name");
    let (kind, version) = (wrong["kind"].as_str(), wrong["apiVersion"].as_str());
    bail!(
        "{} {name:?}: the type {} is not supported; {expected}",
        kind.unwrap_or("an object"),
        version.unwrap_or("without apiVersion")
    )
}

/// The objects of some kinds of a group in the cluster, of all namespaces. `None` if the group is not installed. A kind
/// that is not installed has no objects.
///
/// # Errors
/// If the API server is unreachable, or a kind cannot be listed.
pub(super) async fn list(client: &Client, group: &str, kinds: &[&str]) -> anyhow::Result<Option<Vec<Value>>> {
    let known = match discovery::group(client, group).await {
        Err(Error::Discovery(DiscoveryError::MissingApiGroup(_))) => return Ok(None),
        known => known.map_err(|error| explain(error, &format!("look for the API group {group}")))?,
    };
    // A version does not have all kinds of its group.
    let resources = known.resources_by_stability();
    let mut objects = Vec::new();
    for kind in kinds {
        let Some((resource, _)) = resources.iter().find(|(resource, _)| resource.kind == *kind) else { continue };
        let gvk = GroupVersionKind::gvk(&resource.group, &resource.version, &resource.kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, &resource.plural);
        let listed = Api::<DynamicObject>::all_with(client.clone(), &resource).list(&ListParams::default()).await;
        let listed = listed.map_err(|error| explain(error, &format!("list {}.{group}", resource.plural)))?;
        for mut object in listed.items {
            // The items of a list have no types.
            object.types =
                Some(kube::core::TypeMeta { api_version: resource.api_version.clone(), kind: (*kind).into() });
            objects.push(serde_json::to_value(object)?);
        }
    }
    Ok(Some(objects))
}

/// An error of the API server with its remedy.
fn explain(error: Error, work: &str) -> anyhow::Error {
    match &error {
        Error::Api(status) if status.is_forbidden() => {
            anyhow!(
                "cannot {work}; grant the verb list in all namespaces, or pass the objects as a FILE: {}",
                status.message
            )
        }
        _ => anyhow::Error::new(error).context(format!("cannot {work}; check --kubeconfig and --context")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(version: &str, kind: &str, name: &str) -> Value {
        json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "net"}})
    }

    #[test]
    fn objects_of_other_controllers_are_refused() {
        let ack = object("ec2.services.k8s.aws/v1alpha1", "Subnet", "a");
        let legacy = object("vpcpeering.aws.crossplane.io/v1alpha1", "VPCPeeringConnection", "b");
        let other = object("v1", "ConfigMap", "c");
        let error = |objects: &[Value]| check_kinds(objects).err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(error(&[ack.clone(), other.clone()]), "");
        assert!(
            error(&[ack, legacy]).starts_with("VPCPeeringConnection \"b\": the type vpcpeering.aws.crossplane.io/")
        );
        assert!(error(&[other]).starts_with("ConfigMap \"c\": the type v1 is not supported; the supported groups are"));
        assert!(error(&[]).starts_with("contains no object; "));
    }
}

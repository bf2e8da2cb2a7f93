//! The VPC of the nodes of this cluster.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client, Error, ResourceExt};

use crate::api::Reason;
use crate::aws::Account;
use crate::controller::blocked::Blocked;
use crate::peering::Blocker;
use crate::peering::settings::STALLED_REQUEUE;
use crate::peering::vpc_reference::ReferencedVpc;

/// The number of nodes that are looked at. All nodes of a cluster are in one VPC; more than one node detects others.
const NODES: u32 = 20;

/// The label of a node with the name of its region.
/// <https://kubernetes.io/docs/reference/labels-annotations-taints/#topologykubernetesioregion>
const REGION: &str = "topology.kubernetes.io/region";

/// The VPC of the instances of the nodes.
///
/// # Errors
/// If the operator may not list nodes or network interfaces, no node is an EC2 instance, or the nodes are in several
/// VPCs.
pub(super) async fn find(client: &Client, own: &Account, field: &str) -> Result<ReferencedVpc, Blocked> {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default().limit(NODES)).await;
    let nodes = nodes.map_err(|error| unlisted(field, &error))?;
    let instances: Vec<_> = nodes.items.iter().filter_map(instance).collect();
    let Some((region, _)) = instances.first() else {
        let message = format!(
            "{field}: no node of this cluster is an EC2 instance with the label {REGION} and a providerID such as aws:///eu-central-1a/i-…; set vpcId instead"
        );
        return Err(stalled(Reason::ReferenceNotFound, message));
    };
    let ids: BTreeSet<String> =
        instances.iter().filter(|(other, _)| other == region).map(|(_, id)| id.clone()).collect();
    let vpcs = own.ec2().vpcs_of_instances(region, ids).await.map_err(|error| {
        if !error.is_unauthorized() {
            return Blocked::from(error);
        }
        let message = format!(
            "{field}: {error}; attach deploy/iam/this-cluster.json to the operator's own credentials, or set vpcId instead"
        );
        stalled(Reason::Unauthorized, message)
    })?;
    match Vec::from_iter(vpcs).as_slice() {
        [vpc_id] => Ok(ReferencedVpc {
            source: String::new(),
            vpc_id: vpc_id.clone(),
            region: Some(region.clone()),
            // The owner of an instance need not own its subnet: it may be shared. EC2 shows the owner of the VPC.
            owner_id: None,
        }),
        [] => {
            let message = format!(
                "{field}: the operator's own credentials see no instance of a node in {region}; set vpcId instead"
            );
            Err(stalled(Reason::ReferenceNotFound, message))
        }
        several => {
            let message = format!(
                "{field}: the nodes of this cluster are in several VPCs: {}; set vpcId instead",
                several.join(", ")
            );
            Err(stalled(Reason::AmbiguousVpc, message))
        }
    }
}

fn stalled(reason: Reason, message: String) -> Blocked {
    Blocker::rechecked(reason, message).into()
}

fn unlisted(field: &str, error: &Error) -> Blocked {
    let is_forbidden = matches!(error, Error::Api(status) if status.code == 403);
    if is_forbidden {
        let message = format!(
            "{field}: thisCluster needs the right to list nodes; set references.thisCluster of the chart, or set vpcId instead"
        );
        return stalled(Reason::ReferenceNotFound, message);
    }
    let message = format!("{field}: cannot list the nodes of this cluster: {error}");
    Blocker::passing(Reason::ReferenceNotFound, message, STALLED_REQUEUE).into()
}

/// The region and the instance ID of a node. `None` if it is not an EC2 instance, as on Fargate.
/// <https://github.com/kubernetes/cloud-provider-aws/blob/master/pkg/providers/v1/instances.go>
fn instance(node: &Node) -> Option<(String, String)> {
    let id = node.spec.as_ref()?.provider_id.as_deref()?.strip_prefix("aws://")?.rsplit('/').next()?;
    let is_instance = id.strip_prefix("i-").is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let region = node.labels().get(REGION)?;
    is_instance.then(|| (region.clone(), id.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn only_ec2_instances_count() {
        let node = |provider: &str, region: Option<&str>| -> Option<(String, String)> {
            let labels = region.map(|region| json!({REGION: region}));
            instance(
                &serde_json::from_value(json!({"metadata": {"labels": labels}, "spec": {"providerID": provider}}))
                    .unwrap(),
            )
        };
        let found = Some(("eu-central-1".to_owned(), "i-0a1b2c3d4e5f67890".to_owned()));
        assert_eq!(node("aws:///eu-central-1a/i-0a1b2c3d4e5f67890", Some("eu-central-1")), found);
        assert_eq!(node("aws:///eu-central-1a/i-0a1b2c3d4e5f67890", None), None);
        for other in
            ["aws:///eu-central-1a/1234/fargate-ip-10-0-0-1", "eks-hybrid:///eu-central-1/c/mi-1", "kind://a/b", ""]
        {
            assert_eq!(node(other, Some("eu-central-1")), None, "{other}");
        }
    }
}

//! `vpcRef`: the VPC that another object describes.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::Text;

/// Names an object that describes the VPC: a VPC of ACK or Crossplane, an AWSCluster of Cluster API, or a kind that an
/// administrator has added. Set either `thisCluster: true`, or `group`, `kind` and `name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.thisCluster) && self.thisCluster ? !has(self.group) && !has(self.kind) && !has(self.name) && !has(self.namespace) : has(self.group) && has(self.kind) && has(self.name)")
        .message("set either thisCluster: true alone, or group, kind and name of the object"),
)]
#[serde(rename_all = "camelCase")]
pub struct VpcReference {
    /// Selects the VPC of the nodes of this cluster. The operator finds it by the instances of the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub this_cluster: Option<bool>,
    /// The API group of the object, without the version: `ec2.services.k8s.aws`, `ec2.aws.upbound.io`,
    /// `ec2.aws.m.upbound.io`, `infrastructure.cluster.x-k8s.io`, or a group of `--reference-kinds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub group: Option<Text>,
    /// The kind of the object, for example `VPC` or `AWSCluster`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: Option<Text>,
    /// The name of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: Option<Text>,
    /// The namespace of the object. Defaults to the namespace of this resource. An object in another namespace, and an
    /// object of a cluster-scoped kind, must permit the reference: its annotation `vpcpeering.dev/allowed-namespaces`
    /// lists the namespace of this resource, or is `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: Option<Text>,
}

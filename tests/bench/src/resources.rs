//! The resources, with only the fields that the benchmark reads. Parsing more would take CPU time from the operator.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

#[derive(Clone, CustomResource, Debug, Deserialize, Serialize)]
#[kube(group = "vpcpeering.dev", version = "v1alpha1", kind = "VpcPeering", namespaced, schema = "disabled")]
#[kube(status = "VpcPeeringStatus")]
pub struct VpcPeeringSpec {}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VpcPeeringStatus {
    pub vpc_peering_connection_id: Option<String>,
    pub status: Option<StatusReason>,
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// EC2's status of the connection.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StatusReason {
    pub code: String,
}

#[derive(Clone, CustomResource, Debug, Deserialize, Serialize)]
#[kube(group = "vpcpeering.dev", version = "v1alpha1", kind = "AwsIdentity", schema = "disabled")]
pub struct AwsIdentitySpec {}

//! The resources, with as much of them as is looked at: to read more would take time from what is measured.

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

/// What EC2 says of the connection.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StatusReason {
    pub code: String,
}

#[derive(Clone, CustomResource, Debug, Deserialize, Serialize)]
#[kube(group = "vpcpeering.dev", version = "v1alpha1", kind = "AwsIdentity", schema = "disabled")]
pub struct AwsIdentitySpec {}

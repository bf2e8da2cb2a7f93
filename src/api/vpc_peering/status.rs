//! The status of a `VpcPeering`, with EC2's names.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DeletionPolicy;
use crate::api::Text;
use crate::api::routes::ManagedRoute;
use crate::api::tag::ManagedTag;
use crate::api::vpc_info::VpcInfo;

/// VpcPeeringStatus is the observed state of the peering connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VpcPeeringStatus {
    /// The ID of the peering connection, for example `pcx-0a1b2c3d4e5f67890`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc_peering_connection_id: Option<Text>,
    /// The status code and message that EC2 shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = MapMerge::Atomic)]
    pub status: Option<PeeringStatus>,
    /// The time at which EC2 expires the request if nobody accepts it: seven days after the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<Time>,
    /// The VPC and region of both ends, as resolved before the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = MapMerge::Atomic)]
    pub ends: Option<StatusEnds>,
    /// The requester's end, as EC2 describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = MapMerge::Atomic)]
    pub requester_vpc_info: Option<VpcInfo>,
    /// The accepter's end, as EC2 describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = MapMerge::Atomic)]
    pub accepter_vpc_info: Option<VpcInfo>,
    /// All tags of the peering connection in the requester's account and region, including tags that others set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub tags: Vec<StatusTag>,
    /// All tags of the peering connection in the accepter's account and region. Present only if the accepter is in
    /// another account or region and the operator acts for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub accepter_tags: Vec<StatusTag>,
    /// Whether this resource owns the peering connection or only observes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ownership: Option<Ownership>,
    /// The tags from the spec that the operator has set at the requester's end. A tag is recorded before the call to
    /// EC2. It is removed only if EC2 still shows the recorded value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub managed_tags: Vec<ManagedTag>,
    /// The same as `managedTags` for the accepter's end, if it is in another account or region.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub accepter_managed_tags: Vec<ManagedTag>,
    /// The CIDR blocks of the accepter at the time when the connection first became active. Present only if the
    /// operator does not act for the accepter. A block that is added later gets no route until `destinationCidrBlocks`
    /// lists it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub accepted_cidr_blocks: Option<Vec<Text>>,
    /// The routes that the operator has created for this resource. A route is recorded before the call to EC2. Only
    /// recorded routes are replaced or deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<ManagedRoute>,
    /// The last five connections that this resource owned and that have ended, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<EndedConnection>,
    /// The number of consecutive new requests because of `recreateOn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recreations: Option<i32>,
    /// The deletion policy in effect: that of the spec, or the default of the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// The last value of the annotation `vpcpeering.dev/reconcile-at` that the operator has handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The time of the last intent to create a connection. It is written before the call to EC2 and removed when the
    /// answer is recorded. If it is set and there is no ID, EC2 may have created a connection whose ID the operator has
    /// not received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_started_at: Option<Time>,
    /// The generation of the spec that this status describes; -1 until the operator has written a status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The conditions. `Ready` is always present. `Reconciling` or `Stalled`, `ExpiringSoon`, `UnexpectedConnection`
    /// and `Suspended` are present while they are True, `DryRunSucceeded` after a dry run, `OptionsSynced` and
    /// `RoutesReady` if the spec sets options or routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// The VPC and region of both ends, as resolved before the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusEnds {
    /// The end that sends the request.
    pub requester: StatusEnd,
    /// The end that receives the request.
    pub accepter: StatusEnd,
}

/// The VPC and region of one end, as resolved by the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusEnd {
    /// The ID of the VPC.
    pub vpc_id: Text,
    /// The AWS region of the VPC.
    pub region: Text,
}

/// The status of a peering connection: EC2's `VpcPeeringConnectionStateReason`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeeringStatus {
    /// EC2's status code: `initiating-request`, `pending-acceptance`, `provisioning`, `active`, `failed`, `rejected`,
    /// `expired`, `deleting`, `deleted`, or one that EC2 adds later.
    pub code: Text,
    /// EC2's status message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Text>,
}

/// A tag that EC2 shows on the peering connection. Anybody may have set it, and its key may be reserved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct StatusTag {
    /// The key of the tag.
    pub key: Text,
    /// The value of the tag.
    pub value: Text,
}

/// How the resource relates to the peering connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Ownership {
    /// This resource created or adopted the connection.
    Owned,
    /// This resource only observes the connection.
    Observed,
}

/// A connection that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndedConnection {
    /// The ID of the peering connection.
    pub vpc_peering_connection_id: String,
    /// The status code with which the connection ended; `deleted` if EC2 no longer shows the connection.
    pub code: String,
    /// The time at which the operator observed the end.
    pub time: Time,
}

//! `VpcPeering`: one peering connection between two VPCs.

// Each printer column is an attribute of its own; clippy takes their equal parts for mistakes.
#![allow(clippy::duplicated_attributes)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Tag, VpcInfo};

/// What the peering shall be. The two ends can not be changed: another pair of VPCs is another peering.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "vpcpeering.dev",
    version = "v1alpha1",
    kind = "VpcPeering",
    plural = "vpcpeerings",
    singular = "vpcpeering",
    shortname = "pcx",
    category = "aws",
    namespaced,
    status = "VpcPeeringStatus",
    derive = "PartialEq",
    doc = "VpcPeering is an AWS VPC peering connection: it is requested, accepted where we may, watched, and deleted with this resource.",
    printcolumn(
        name = "ID",
        type_ = "string",
        json_path = ".status.vpcPeeringConnectionId",
        description = "EC2's ID of the peering connection"
    ),
    printcolumn(name = "Code", type_ = "string", json_path = ".status.status.code", description = "EC2's status code"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status",
        description = "Whether the peering is as the spec wants it"
    ),
    printcolumn(
        name = "Requester",
        type_ = "string",
        json_path = ".spec.requester.vpcId",
        description = "The requester's VPC"
    ),
    printcolumn(
        name = "Accepter",
        type_ = "string",
        json_path = ".spec.accepter.vpcId",
        description = "The accepter's VPC"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        priority = 1,
        description = "Why it is ready or not"
    ),
    printcolumn(
        name = "Expires",
        type_ = "string",
        json_path = ".status.expirationTime",
        priority = 1,
        description = "When an unaccepted request expires"
    )
)]
#[x_kube(
    validation = Rule::new("self.requester.vpcId != self.accepter.vpcId")
        .message("a VPC cannot be peered with itself: requester.vpcId and accepter.vpcId must differ")
        .field_path(".accepter.vpcId"),
    validation = Rule::new("self.requester.vpcId == oldSelf.requester.vpcId && self.requester.region == oldSelf.requester.region")
        .message("requester.vpcId and requester.region cannot be changed: create another VpcPeering instead")
        .field_path(".requester"),
    validation = Rule::new("self.accepter.vpcId == oldSelf.accepter.vpcId && has(self.accepter.ownerId) == has(oldSelf.accepter.ownerId) && (!has(self.accepter.ownerId) || self.accepter.ownerId == oldSelf.accepter.ownerId) && has(self.accepter.region) == has(oldSelf.accepter.region) && (!has(self.accepter.region) || self.accepter.region == oldSelf.accepter.region)")
        .message("accepter.vpcId, accepter.ownerId and accepter.region cannot be changed, added or removed: create another VpcPeering instead")
        .field_path(".accepter"),
)]
#[serde(rename_all = "camelCase")]
pub struct VpcPeeringSpec {
    /// The end that asks: EC2's `VpcId`, in the account of the operator's credentials.
    pub requester: Requester,
    /// The end that is asked: EC2's `PeerVpcId`, `PeerOwnerId` and `PeerRegion`.
    pub accepter: Accepter,
    /// Who accepts the request. `Auto`: the operator, where its own credentials may, so when both VPCs are of
    /// one account. `Manual`: the accepter's owner, by other means.
    #[serde(default)]
    pub acceptance: Acceptance,
    /// Tags to create the peering with, beside the four of our own that record who owns it.
    // EC2 allows 50 tags on a resource; four are ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 46))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    pub tags: Vec<Tag>,
    /// Ask EC2 whether the request would be allowed, report the answer in the condition `DryRunSucceeded`,
    /// and create nothing. A peering that exists already is left as it is.
    #[serde(default)]
    pub dry_run: bool,
    /// What becomes of the peering when this resource is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// The VPC that asks for the peering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Requester {
    /// The VPC's ID, for example `vpc-0a1b2c3d4e5f67890`.
    #[schemars(length(max = 21), regex(pattern = r"^vpc-([0-9a-f]{8}|[0-9a-f]{17})$"))]
    pub vpc_id: String,
    /// The VPC's region, for example `eu-central-1`.
    #[schemars(length(max = 32), regex(pattern = r"^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$"))]
    pub region: String,
}

/// The VPC that is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Accepter {
    /// The VPC's ID, for example `vpc-0a1b2c3d4e5f67890`.
    #[schemars(length(max = 21), regex(pattern = r"^vpc-([0-9a-f]{8}|[0-9a-f]{17})$"))]
    pub vpc_id: String,
    /// The AWS account that owns the VPC: 12 digits. Defaults to the requester's account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12), regex(pattern = r"^[0-9]{12}$"))]
    pub owner_id: Option<String>,
    /// The VPC's region. Defaults to the requester's region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$"))]
    pub region: Option<String>,
}

/// Who accepts the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Acceptance {
    /// The operator accepts where its own credentials may.
    #[default]
    Auto,
    /// The accepter's owner accepts by other means; the operator waits.
    Manual,
}

/// What becomes of the peering when its resource is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// The peering is deleted too.
    #[default]
    Delete,
    /// The peering stays in AWS.
    Retain,
}

/// What we know of the peering, in EC2's words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VpcPeeringStatus {
    /// The ID of the peering connection that this resource owns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc_peering_connection_id: Option<String>,
    /// EC2's status code and message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<PeeringStatus>,
    /// When an unaccepted request expires, seven days after it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<Time>,
    /// The requester's end as EC2 describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester_vpc_info: Option<VpcInfo>,
    /// The accepter's end as EC2 describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepter_vpc_info: Option<VpcInfo>,
    /// Every tag that EC2 shows on the peering, ours and others'.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    pub tags: Vec<StatusTag>,
    /// Written before EC2 is asked to create the peering, removed when its answer is recorded: while it is here
    /// and no ID is, a request may have reached EC2 whose answer we never saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_started_at: Option<Time>,
    /// The generation of the spec that this status speaks of; -1 until there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` always; `Reconciling` or `Stalled` while they hold; `DryRunSucceeded` after a dry run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// EC2's status of a peering connection (`VpcPeeringConnectionStateReason`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeeringStatus {
    /// One of EC2's nine codes: `initiating-request`, `pending-acceptance`, `provisioning`, `active`, `failed`,
    /// `rejected`, `expired`, `deleting`, `deleted`; or one that EC2 added since.
    pub code: String,
    /// EC2's own words on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A tag as EC2 shows it; unlike a tag of the spec it may be anybody's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct StatusTag {
    /// The tag's key.
    pub key: String,
    /// The tag's value.
    pub value: String,
}

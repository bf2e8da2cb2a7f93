//! `VpcPeering`: one peering connection between two VPCs.

// Each printer column is an attribute of its own; clippy takes their equal parts for mistakes.
#![allow(clippy::duplicated_attributes)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::aws_identity::IdentityReference;
use super::{ManagedRoute, ManagedTag, Routes, Side, Tag, VpcInfo};

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
    validation = Rule::new("!has(self.requester.vpcId) || !has(self.accepter.vpcId) || self.requester.vpcId != self.accepter.vpcId")
        .message("a VPC cannot be peered with itself: requester.vpcId and accepter.vpcId must differ")
        .field_path(".accepter.vpcId"),
    validation = Rule::new("has(self.requester.region) || has(self.requester.identityRef)")
        .message("requester.region is required, unless requester.identityRef names an AwsIdentity that has a defaultRegion")
        .field_path(".requester.region"),
    validation = Rule::new("has(self.vpcPeeringConnectionId) == has(oldSelf.vpcPeeringConnectionId)")
        .message("vpcPeeringConnectionId cannot be added or removed: create another VpcPeering instead")
        .field_path(".vpcPeeringConnectionId"),
    validation = Rule::new("!has(self.vpcPeeringConnectionId) || !has(self.recreateOn) || size(self.recreateOn) == 0")
        .message("recreateOn cannot be set together with vpcPeeringConnectionId: a connection that was taken over cannot be requested anew")
        .field_path(".recreateOn"),
)]
#[serde(rename_all = "camelCase")]
pub struct VpcPeeringSpec {
    /// The end that asks: EC2's `VpcId`.
    pub requester: PeeringSide,
    /// The end that is asked: EC2's `PeerVpcId`, `PeerOwnerId` and `PeerRegion`.
    pub accepter: PeeringSide,
    /// An existing connection to take over instead of requesting a new one. Both its ends must match the spec, and no
    /// other resource may own it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 21), regex(pattern = r"^pcx-([0-9a-f]{8}|[0-9a-f]{17})$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("vpcPeeringConnectionId cannot be changed: create another VpcPeering instead"))]
    pub vpc_peering_connection_id: Option<String>,
    /// `Full`: the operator does what the spec says. `Observe`: it only reports what EC2 shows, and never writes to AWS.
    #[serde(default)]
    pub management_policy: ManagementPolicy,
    /// Who accepts the request. `Auto`: the operator, where it acts for the accepter: by `accepter.identityRef`, or when
    /// both VPCs are of one account. `Manual`: the accepter's owner, by other means.
    #[serde(default)]
    pub acceptance: Acceptance,
    /// Tags to keep on the peering, beside the four of our own that record who owns it. Tags that others set are left
    /// alone. Tags exist only in the account and region that made them: these are kept at both ends where we act for
    /// both.
    // EC2 allows 50 tags on a resource; four are ours, and each end may have ten of its own.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[schemars(length(max = 36))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    pub tags: Box<[Tag]>,
    /// Ask EC2 whether the request would be allowed, report the answer in the condition `DryRunSucceeded`,
    /// and create nothing. A peering that exists already is left as it is.
    #[serde(default)]
    pub dry_run: bool,
    /// What becomes of the peering when this resource is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// The ends of a peering after which a new one is requested, with pauses that grow, at most eight times in a row.
    /// None by default, since EC2 does not tell an accident from a decision.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub recreate_on: Box<[End]>,
    /// Stop all writes to AWS, the deletion of the peering included, and go on reporting what EC2 shows.
    #[serde(default)]
    pub suspend: bool,
}

impl VpcPeeringSpec {
    /// One of the two ends.
    #[must_use]
    pub fn side(&self, side: Side) -> &PeeringSide {
        match side {
            Side::Requester => &self.requester,
            Side::Accepter => &self.accepter,
        }
    }
}

/// One end of a peering. Its VPC cannot be changed: another VPC is another peering.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.vpcId) != has(self.vpcSelector)")
        .message("name the VPC by either vpcId or vpcSelector"),
    validation = Rule::new("has(self.vpcId) == has(oldSelf.vpcId) && has(self.vpcSelector) == has(oldSelf.vpcSelector) && has(self.ownerId) == has(oldSelf.ownerId) && has(self.region) == has(oldSelf.region)")
        .message("vpcId, vpcSelector, ownerId and region cannot be added or removed: create another VpcPeering instead"),
)]
#[serde(rename_all = "camelCase")]
pub struct PeeringSide {
    /// The VPC's ID, for example `vpc-0a1b2c3d4e5f67890`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 21), regex(pattern = r"^vpc-([0-9a-f]{8}|[0-9a-f]{17})$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("vpcId cannot be changed: create another VpcPeering instead"))]
    pub vpc_id: Option<SmolStr>,
    /// The VPC by its tags, instead of its ID. Exactly one VPC of the account and region must match. It is looked up
    /// once, before the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("vpcSelector cannot be changed: create another VpcPeering instead"))]
    pub vpc_selector: Option<Box<VpcSelector>>,
    /// The AWS account that owns the VPC: 12 digits. Defaults to the account of `identityRef`, and without one to the
    /// requester's account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12), regex(pattern = r"^[0-9]{12}$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("ownerId cannot be changed: create another VpcPeering instead"))]
    pub owner_id: Option<SmolStr>,
    /// The VPC's region, for example `eu-central-1`. Defaults to that of `identityRef`, and for the accepter then to the
    /// requester's region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("region cannot be changed: create another VpcPeering instead"))]
    pub region: Option<SmolStr>,
    /// The `AwsIdentity` by which to act for this end. Without one, the operator's own credentials act for the requester,
    /// and whoever acts for the requester acts for an accepter of the same account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_ref: Option<IdentityReference>,
    /// What this end allows the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<SideOptions>,
    /// The routes of this end's VPC that lead to the other. They are made when the peering is active, kept, and removed
    /// before the peering is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Box<Routes>>,
    /// Tags of this end, beside `spec.tags`.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[schemars(length(max = 10))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    pub tags: Box<[Tag]>,
}

/// Finds a VPC by its tags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct VpcSelector {
    /// The VPC must carry all of these.
    #[schemars(extend(
        "minProperties" = 1,
        "maxProperties" = 10,
        "additionalProperties" = {"type": "string", "maxLength": 256}
    ))]
    #[x_kube(validation = Rule::new("self.all(key, size(key) <= 127)").message("a tag's key has at most 127 characters"))]
    pub tags: BTreeMap<String, String>,
}

/// What one end allows the other.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_PeeringConnectionOptionsRequest.html>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SideOptions {
    /// Whether public DNS names of this end resolve to private addresses when asked for from the other end. Left as it
    /// is where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_dns_resolution_from_remote_vpc: Option<bool>,
}

/// Who accepts the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Acceptance {
    /// The operator accepts where it acts for the accepter.
    #[default]
    Auto,
    /// The accepter's owner accepts by other means; the operator waits.
    Manual,
}

/// Whether the operator writes to AWS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ManagementPolicy {
    /// The operator does what the spec says.
    #[default]
    Full,
    /// The operator only reports what EC2 shows.
    Observe,
}

/// How a peering ended: EC2's codes of the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum End {
    /// Nobody accepted the request within seven days.
    Expired,
    /// An owner deleted the peering, and not this operator.
    Deleted,
    /// The accepter's owner rejected the request.
    Rejected,
    /// The request was not valid.
    Failed,
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
    /// The ID of the peering connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc_peering_connection_id: Option<SmolStr>,
    /// EC2's status code and message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = MapMerge::Atomic)]
    pub status: Option<PeeringStatus>,
    /// When an unaccepted request expires, seven days after it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<Time>,
    /// The two VPCs, as they were looked up before the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = MapMerge::Atomic)]
    pub ends: Option<Box<StatusEnds>>,
    /// The requester's end as EC2 describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = MapMerge::Atomic)]
    pub requester_vpc_info: Option<VpcInfo>,
    /// The accepter's end as EC2 describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = MapMerge::Atomic)]
    pub accepter_vpc_info: Option<VpcInfo>,
    /// Every tag that EC2 shows on the peering in the requester's account and region, ours and others'.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub tags: Box<[StatusTag]>,
    /// Every tag that EC2 shows on the peering in the accepter's account and region, where that is another place and we
    /// act there.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub accepter_tags: Box<[StatusTag]>,
    /// Whether the connection is this resource's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ownership: Option<Ownership>,
    /// The tags of the spec that this resource has set, or is about to. A tag is removed only while EC2 shows it with a
    /// value that is recorded here.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub managed_tags: Box<[ManagedTag]>,
    /// The same for the tags at the accepter's end, where that is another account or region.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub accepter_managed_tags: Box<[ManagedTag]>,
    /// The accepter's CIDR blocks when the peering first became active, where the operator does not act for the accepter. A
    /// block that comes later gets no route until `destinationCidrBlocks` names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub accepted_cidr_blocks: Option<Box<[SmolStr]>>,
    /// The routes that this resource has made, or is about to: only these are ever changed or removed.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub routes: Box<[ManagedRoute]>,
    /// The last five connections that this resource owned and that ended, newest last.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub history: Box<[EndedConnection]>,
    /// How often in a row a new connection was requested because the last one had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recreations: Option<i32>,
    /// The value of the annotation `vpcpeering.dev/reconcile-at` that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<Box<str>>,
    /// Written before EC2 is asked to create the peering, removed when its answer is recorded: while it is here
    /// and no ID is, a request may have reached EC2 whose answer we never saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_started_at: Option<Time>,
    /// The generation of the spec that this status speaks of; -1 until there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` always; `Reconciling` or `Stalled`, `ExpiringSoon` and `Suspended` while they hold; `DryRunSucceeded`
    /// after a dry run; `OptionsSynced` and `RoutesReady` where options or routes are asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// The two VPCs, as they were looked up before the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusEnds {
    /// The end that asks.
    pub requester: StatusEnd,
    /// The end that is asked.
    pub accepter: StatusEnd,
}

/// A VPC, as it was looked up before the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusEnd {
    /// The VPC's ID.
    pub vpc_id: SmolStr,
    /// The VPC's region.
    pub region: SmolStr,
}

/// EC2's status of a peering connection (`VpcPeeringConnectionStateReason`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeeringStatus {
    /// One of EC2's nine codes: `initiating-request`, `pending-acceptance`, `provisioning`, `active`, `failed`,
    /// `rejected`, `expired`, `deleting`, `deleted`; or one that EC2 added since.
    pub code: SmolStr,
    /// EC2's own words on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<SmolStr>,
}

/// A tag as EC2 shows it; unlike a tag of the spec it may be anybody's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct StatusTag {
    /// The tag's key.
    pub key: SmolStr,
    /// The tag's value.
    pub value: SmolStr,
}

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Ownership {
    /// This resource created it or took it over.
    Owned,
    /// This resource only looks at it.
    Observed,
}

/// A connection that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndedConnection {
    /// The ID of the peering connection.
    pub vpc_peering_connection_id: String,
    /// The code that it ended with; `deleted` where EC2 no longer knew it.
    pub code: String,
    /// When that was noticed.
    pub time: Time,
}

//! `VpcPeeringAccepter`: accepts the peering requests of others for one VPC.

// Printer columns share attribute values, which clippy reports as mistakes.
#![allow(clippy::duplicated_attributes)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::allow_list::{AllowedCidrBlocks, AllowedRegions, AllowedVpcs};
use super::aws_identity::IdentityReference;
use super::deletion_summary::DeletionSummary;
use super::routes::{ManagedRoute, Routes};
use super::tag::{ManagedTag, Tag};
use super::vpc_peering::{DeletionPolicy, SideOptions, StatusEnd, VpcSelector};
use super::vpc_reference::VpcReference;

/// VpcPeeringAccepterSpec selects the VPC, the requests to accept, and the settings of the VPC's end of the accepted
/// connections. The VPC is immutable: for another VPC, create another VpcPeeringAccepter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "vpcpeering.dev",
    version = "v1alpha1",
    kind = "VpcPeeringAccepter",
    plural = "vpcpeeringaccepters",
    singular = "vpcpeeringaccepter",
    shortname = "pcxa",
    category = "aws",
    namespaced,
    status = "VpcPeeringAccepterStatus",
    derive = "PartialEq",
    doc = "VpcPeeringAccepter accepts requests of others to peer with one VPC. It accepts only the requests that its spec lists, and manages the tags, options and routes of the VPC's end of each accepted connection. When it is deleted, the operator removes its tags and routes, unless deletionPolicy is Retain; the connections stay.",
    printcolumn(name = "VPC", type_ = "string", json_path = ".status.vpc.vpcId", description = "The ID of the VPC"),
    printcolumn(
        name = "Region",
        type_ = "string",
        json_path = ".status.vpc.region",
        description = "The AWS region of the VPC"
    ),
    printcolumn(
        name = "Accepted",
        type_ = "integer",
        json_path = ".status.accepted",
        description = "The number of accepted and adopted connections that have not ended"
    ),
    printcolumn(
        name = "Pending",
        type_ = "integer",
        json_path = ".status.pending",
        description = "The number of pending requests, including denied ones"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status",
        description = "Whether every accepted connection matches the spec"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        priority = 1,
        description = "The reason of the Ready condition"
    )
)]
#[x_kube(
    validation = Rule::new("[has(self.vpcId), has(self.vpcSelector), has(self.vpcRef)].exists_one(isSet, isSet)")
        .message("set exactly one of vpcId, vpcSelector and vpcRef to select the VPC"),
    validation = Rule::new("has(self.vpcId) == has(oldSelf.vpcId) && has(self.vpcSelector) == has(oldSelf.vpcSelector) && has(self.vpcRef) == has(oldSelf.vpcRef) && has(self.region) == has(oldSelf.region)")
        .message("vpcId, vpcSelector, vpcRef and region cannot be added or removed: create another VpcPeeringAccepter instead"),
    validation = Rule::new("!has(self.reject) || !self.reject || has(self.deny) && size(self.deny) > 0")
        .message("reject: true needs deny: list the requests to reject in deny, or remove reject")
        .field_path(".reject"),
)]
#[serde(rename_all = "camelCase")]
pub struct VpcPeeringAccepterSpec {
    /// The ID of the VPC that receives the requests, for example `vpc-0a1b2c3d4e5f67890`. Set exactly
    /// one of `vpcId`, `vpcSelector` and `vpcRef`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 21), regex(pattern = r"^vpc-([0-9a-f]{8}|[0-9a-f]{17})$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("vpcId cannot be changed: create another VpcPeeringAccepter instead"))]
    pub vpc_id: Option<String>,
    /// Selects the VPC by its tags. Exactly one VPC of the account and region must match. The operator looks it up
    /// once; later changes of the tags have no effect. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("vpcSelector cannot be changed: create another VpcPeeringAccepter instead"))]
    pub vpc_selector: Option<VpcSelector>,
    /// Names an object that describes the VPC. The operator reads it once; later changes of the object have no effect.
    /// Its VPC must be in the account and region of this end. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("vpcRef cannot be changed: create another VpcPeeringAccepter instead"))]
    pub vpc_ref: Option<Box<VpcReference>>,
    /// The AWS region of the VPC, for example `eu-central-1`. Defaults to the region of the object in `vpcRef`,
    /// then to `defaultRegion` of the `AwsIdentity` in `identityRef`, or without `identityRef` to `--region` of the operator. If there is no default, the region is
    /// required. The status records the region, so that a default that changes later moves nothing. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("region cannot be changed: create another VpcPeeringAccepter instead"))]
    pub region: Option<String>,
    /// The `AwsIdentity` that the operator uses for this VPC. Defaults to the operator's own credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_ref: Option<IdentityReference>,
    /// The requests to accept, at most 100 entries. A request is accepted if it matches one of them and no entry of
    /// `deny`. Defaults to none: then no request is accepted. Connections that were accepted earlier stay accepted when
    /// an entry is removed. To accept a request from another region also accepts multipath resilience, if the requester
    /// has asked for it. AWS may charge for it, and the operator cannot see it.
    // AWS on peer phishing: https://docs.aws.amazon.com/vpc/latest/peering/accept-vpc-peering-connection.html
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[x_kube(validation = Rule::new("self.map(entry, (has(entry.vpcs.list) ? size(entry.vpcs.list) : 0) + (has(entry.regions.list) ? size(entry.regions.list) : 0) + (has(entry.cidrBlocks.list) ? size(entry.cidrBlocks.list) : 0)).sum() <= 1000").message("accept must list at most 1000 VPC IDs, regions and CIDR blocks in all entries together"))]
    pub accept: Vec<AcceptedRequests>,
    /// The requests that are never accepted, even if `accept` matches, at most 100 entries. They stay pending until
    /// they expire after seven days, unless `reject` is true. Defaults to none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[x_kube(validation = Rule::new("self.map(entry, (has(entry.vpcIds) ? size(entry.vpcIds) : 0) + (has(entry.regions) ? size(entry.regions) : 0) + (has(entry.cidrBlocks) ? size(entry.cidrBlocks) : 0)).sum() <= 1000").message("deny must list at most 1000 VPC IDs, regions and CIDR blocks in all entries together"))]
    pub deny: Vec<DeniedRequests>,
    /// Rejects the requests that `deny` matches instead of leaving them pending. Defaults to false.
    #[serde(default)]
    pub reject: bool,
    /// The connections to adopt: they are active, somebody else accepted them, and no other resource owns them. An
    /// adopted connection gets the same upkeep as an accepted one, and stays adopted when its entry is removed. Adoption
    /// must be permitted: by `allowAdoption` of the `AwsIdentity`, or by `--own-credentials-allow-adoption` of the
    /// operator. If absent, no connection is adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = MapMerge::Atomic)]
    pub adopt: Option<AdoptedConnections>,
    /// The maximum number of connections that this resource has accepted or adopted and that have not ended, from 0 to
    /// 125, the AWS maximum per VPC. Further requests stay pending, and the condition `AtCapacity` is True. It does not
    /// limit adoption. Defaults to 50.
    // https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-peering
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 125))]
    pub max_connections: Option<i32>,
    /// The peering options of this end for every connection that this resource has accepted: what it permits the other
    /// end to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<SideOptions>,
    /// Tags of every connection that this resource has accepted, at most 36. The operator adds its default tags
    /// (`--default-tags`) whose keys are not listed here. It adds four ownership tags, which record that this resource accepted the connection, and leaves tags of others unchanged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 36))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    pub tags: Vec<Tag>,
    /// The routes from this VPC through each connection that this resource has accepted or adopted, while it is active.
    /// They lead only to CIDR blocks that an entry of `accept` allows. A route that leads through the connection already
    /// is taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Box<Routes>>,
    /// The effect of deleting this resource. `Delete`: the operator removes its routes and tags. `Retain`: they stay in
    /// AWS, without ownership tags. The connections stay in both cases. If the operator may no longer act in AWS for
    /// this resource, `Delete` waits, and `Retain` leaves the ownership tags, too. Defaults to
    /// `--default-deletion-policy` of the operator, which is `Delete` unless an administrator sets it. The status shows
    /// the policy in effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// Stops all writes to AWS. The operator still reports what EC2 shows. Defaults to false.
    #[serde(default)]
    pub suspend: bool,
}

/// Accepts requests of one account whose VPC, region and CIDR blocks are all allowed here. Routes lead only to CIDR
/// blocks that an entry allows: when an entry is removed, its routes are removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["ownerId", "vpcs", "regions", "cidrBlocks"]))]
pub struct AcceptedRequests {
    /// The ID of the requester's AWS account: 12 digits. Required.
    #[schemars(length(max = 12), regex(pattern = r"^[0-9]{12}$"))]
    pub owner_id: String,
    /// The allowed VPCs of the requester. Required.
    // Optional in Rust, so that an object of an older version can be read. If absent, no VPC is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpcs: Option<AllowedVpcs>,
    /// The allowed AWS regions of the requester's VPC. Required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<AllowedRegions>,
    /// The allowed CIDR blocks of the requester's VPC. Every block of the VPC must lie within one of these. A pending
    /// request may not show all blocks, so they are checked again when the connection is active: if a block is not
    /// allowed then, the connection stays, gets no routes, and the condition `Stalled` names the block. Required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr_blocks: Option<AllowedCidrBlocks>,
}

/// Selects connections that somebody else accepted: those that it lists, and those that the rules of the spec match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdoptedConnections {
    /// The IDs of connections to adopt, at most 125, for example `pcx-0a1b2c3d4e5f67890`. They need no entry of
    /// `accept`, but they get routes only to CIDR blocks that an entry allows. A connection that `deny` matches is not
    /// adopted. The condition `Ready` names an ID that cannot be adopted, and the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 125), inner(length(max = 21), regex(pattern = r"^pcx-([0-9a-f]{8}|[0-9a-f]{17})$")))]
    pub connection_ids: Vec<String>,
    /// Adopts every connection that `accept` and `deny` allow with all CIDR blocks that EC2 shows now. Defaults to
    /// false.
    #[serde(default)]
    pub matching: bool,
}

/// Denies the requests that match every field that is set. At least one field must be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.ownerId) || has(self.vpcIds) || has(self.regions) || has(self.cidrBlocks)")
        .message("set at least one of ownerId, vpcIds, regions and cidrBlocks"),
)]
#[serde(rename_all = "camelCase")]
pub struct DeniedRequests {
    /// The ID of the requester's AWS account: 12 digits. If absent, every account matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12), regex(pattern = r"^[0-9]{12}$"))]
    pub owner_id: Option<String>,
    /// The VPC IDs of the requester, at most 100. If absent, every VPC matches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 100),
        inner(length(max = 21), regex(pattern = r"^vpc-([0-9a-f]{8}|[0-9a-f]{17})$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub vpc_ids: Vec<String>,
    /// The AWS regions of the requester's VPC, at most 50. If absent, every region matches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 50),
        inner(length(max = 32), regex(pattern = r"^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub regions: Vec<String>,
    /// CIDR blocks, at most 50. A request matches if a block of the requester's VPC overlaps one of these. A pending
    /// request may not show all blocks, so they are checked again when the connection is active: if a block matches
    /// then, the connection stays, gets no routes, and the condition `Stalled` names the block. If absent, every block
    /// matches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 50), inner(length(max = 43)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(block, isCIDR(block))")
            .message("cidrBlocks must be CIDR blocks, for example 10.1.0.0/16 or 2001:db8::/56"),
    )]
    pub cidr_blocks: Vec<String>,
}

/// VpcPeeringAccepterStatus is the observed state of the requests and connections of the VPC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VpcPeeringAccepterStatus {
    /// The ID and region of the VPC, as resolved by the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc: Option<StatusEnd>,
    /// The ID of the AWS account that owns the VPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<String>,
    /// The number of accepted and adopted connections that have not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<i32>,
    /// The number of pending requests, including denied ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<i32>,
    /// The number of pending requests that `deny` matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<i32>,
    /// The number of rejected requests that EC2 still shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<i32>,
    /// The number of connections with this VPC that do not belong to this resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignored: Option<i32>,
    /// The connections with this VPC that others requested: every accepted or adopted one and at most 100 others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub connections: Vec<RequestedConnection>,
    /// The routes that the operator has created for this resource. A route is recorded before the call to EC2. Only
    /// recorded routes are replaced or deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<ManagedRoute>,
    /// The deletion policy in effect: that of the spec, or the default of the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// The effect that the deletion of this resource would have in AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = MapMerge::Atomic)]
    pub deletion: Option<DeletionSummary>,
    /// The last value of the annotation `vpcpeering.dev/reconcile-at` that the operator has handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The generation of the spec that this status describes; -1 until the operator has written a status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The conditions. `Ready` is always present. `Reconciling` or `Stalled`, `AtCapacity` and `Suspended` are present
    /// while they are True, `OptionsSynced` and `RoutesReady` if the spec sets options or routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// A peering connection that somebody else requested, and the operator's decision on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestedConnection {
    /// The ID of the peering connection.
    pub vpc_peering_connection_id: String,
    /// The requester's end.
    #[serde(default)]
    pub requester: Requester,
    /// The status code that EC2 shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The decision on the request.
    pub decision: AccepterDecision,
    /// The reason for the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The time of the decision to accept the request. It is written before the call to EC2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<Time>,
    /// The time of the decision to adopt the connection, which somebody else accepted. It is written before the first
    /// call to EC2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted_at: Option<Time>,
    /// The tags from the spec that the operator has set on this connection. A tag is recorded before the call to EC2.
    /// It is removed only if EC2 still shows the recorded value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managed_tags: Vec<ManagedTag>,
    /// The requester's CIDR blocks at the time when the connection first became active, or was adopted. Present only if
    /// the requester belongs to another account. A block that is added later gets no route until `cidrBlocks` of an `accept` entry
    /// lists it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted_cidr_blocks: Vec<String>,
}

impl RequestedConnection {
    /// Whether this resource has decided to accept or to adopt the connection.
    pub(crate) fn is_accepted(&self) -> bool {
        self.accepted_at.is_some() || self.adopted_at.is_some()
    }
}

/// The requester's end of a peering connection, as EC2 shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Requester {
    /// The ID of the requester's AWS account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<String>,
    /// The ID of the requester's VPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc_id: Option<String>,
    /// The AWS region of the requester's VPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// The decision on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum AccepterDecision {
    /// This resource has decided to accept the request, or has adopted the connection (`adoptedAt`). The operator
    /// manages the tags, options and routes of this end.
    Accepted,
    /// This resource rejected the request.
    Rejected,
    /// `deny` matches the request, which stays pending.
    Denied,
    /// The request stays pending. The message says why.
    Pending,
    /// The request belongs to another resource, or somebody else decided on it.
    Ignored,
}

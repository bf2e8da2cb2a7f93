//! `VpcPeeringAccepter`: the other half of peerings that others ask for.

// Each printer column is an attribute of its own; clippy takes their equal parts for mistakes.
#![allow(clippy::duplicated_attributes)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::allow_list::{AllowedCidrBlocks, AllowedRegions, AllowedVpcs};
use super::aws_identity::IdentityReference;
use super::vpc_peering::{StatusEnd, VpcSelector};
use super::{ManagedRoute, ManagedTag, Routes, SideOptions, Tag};

/// Whose requests to peer with a VPC are accepted, and what is kept at this end of the connections that come of it. The
/// VPC cannot be changed: another VPC is another resource.
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
    doc = "VpcPeeringAccepter accepts the requests of others to peer with a VPC, those that it names and no other, and keeps this end of what comes of them. The connections stay when it is deleted; its tags and routes do not.",
    printcolumn(name = "VPC", type_ = "string", json_path = ".status.vpc.vpcId", description = "The VPC"),
    printcolumn(name = "Region", type_ = "string", json_path = ".status.vpc.region", description = "Its region"),
    printcolumn(
        name = "Accepted",
        type_ = "integer",
        json_path = ".status.accepted",
        description = "Accepted connections that live"
    ),
    printcolumn(
        name = "Pending",
        type_ = "integer",
        json_path = ".status.pending",
        description = "Requests that wait, the denied ones included"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status",
        description = "Whether all is as the spec wants it"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        priority = 1,
        description = "Why it is ready or not"
    )
)]
#[x_kube(
    validation = Rule::new("has(self.vpcId) != has(self.vpcSelector)")
        .message("name the VPC by either vpcId or vpcSelector"),
    validation = Rule::new("has(self.region) || has(self.identityRef)")
        .message("region is required, unless identityRef names an AwsIdentity that has a defaultRegion")
        .field_path(".region"),
    validation = Rule::new("has(self.vpcId) == has(oldSelf.vpcId) && has(self.vpcSelector) == has(oldSelf.vpcSelector) && has(self.region) == has(oldSelf.region)")
        .message("vpcId, vpcSelector and region cannot be added or removed: create another VpcPeeringAccepter instead"),
    validation = Rule::new("!has(self.reject) || !self.reject || has(self.deny) && size(self.deny) > 0")
        .message("reject: true rejects the requests that deny matches: say which, or leave it out")
        .field_path(".reject"),
)]
#[serde(rename_all = "camelCase")]
pub struct VpcPeeringAccepterSpec {
    /// The ID of the VPC that others ask to peer with, for example `vpc-0a1b2c3d4e5f67890`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 21), regex(pattern = r"^vpc-([0-9a-f]{8}|[0-9a-f]{17})$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("vpcId cannot be changed: create another VpcPeeringAccepter instead"))]
    pub vpc_id: Option<String>,
    /// The VPC by its tags, instead of its ID. Exactly one VPC of the account and region must match. It is looked up
    /// once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("vpcSelector cannot be changed: create another VpcPeeringAccepter instead"))]
    pub vpc_selector: Option<VpcSelector>,
    /// The VPC's region, for example `eu-central-1`. Defaults to that of `identityRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("region cannot be changed: create another VpcPeeringAccepter instead"))]
    pub region: Option<String>,
    /// The `AwsIdentity` by which to act. Without one, the operator's own credentials do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_ref: Option<IdentityReference>,
    /// The requests to accept: those that match one of these. Without any, none is accepted.
    // AWS on peer phishing: https://docs.aws.amazon.com/vpc/latest/peering/accept-vpc-peering-connection.html
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[x_kube(validation = Rule::new("self.map(entry, (has(entry.vpcs.list) ? size(entry.vpcs.list) : 0) + (has(entry.regions.list) ? size(entry.regions.list) : 0) + (has(entry.cidrBlocks.list) ? size(entry.cidrBlocks.list) : 0)).sum() <= 1000").message("accept has at most 1000 VPC IDs, regions and CIDR blocks, of all its entries together"))]
    pub accept: Vec<AcceptedRequests>,
    /// The requests that are never accepted, whatever `accept` says. They stay pending, and expire after seven days.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[x_kube(validation = Rule::new("self.map(entry, (has(entry.vpcIds) ? size(entry.vpcIds) : 0) + (has(entry.regions) ? size(entry.regions) : 0) + (has(entry.cidrBlocks) ? size(entry.cidrBlocks) : 0)).sum() <= 1000").message("deny has at most 1000 VPC IDs, regions and CIDR blocks, of all its entries together"))]
    pub deny: Vec<DeniedRequests>,
    /// Reject the requests that `deny` matches, instead of leaving them pending.
    #[serde(default)]
    pub reject: bool,
    /// The most connections that this resource has accepted and that live; further requests stay pending. AWS allows a
    /// VPC 125 at most.
    // https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-peering
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 125))]
    pub max_connections: Option<i32>,
    /// What this end allows the other, on every connection that this resource has accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<SideOptions>,
    /// Tags to keep on every connection that this resource has accepted, beside the four of our own that say who did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 36))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    pub tags: Vec<Tag>,
    /// The routes of this VPC that lead through each connection that this resource has accepted, while it is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Routes>,
    /// Stop all writes to AWS, and go on reporting what EC2 shows.
    #[serde(default)]
    pub suspend: bool,
}

/// Requests that are accepted: those of one account whose VPC, region and CIDR blocks are all allowed here. Routes lead
/// only to the CIDR blocks that an entry allows, so that removing an entry withdraws the routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["ownerId", "vpcs", "regions", "cidrBlocks"]))]
pub struct AcceptedRequests {
    /// The AWS account that asks: 12 digits.
    #[schemars(length(max = 12), regex(pattern = r"^[0-9]{12}$"))]
    pub owner_id: String,
    /// The VPCs that ask.
    // Optional here, so that an object of an older version can be read: absent allows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpcs: Option<AllowedVpcs>,
    /// The regions of the VPCs that ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<AllowedRegions>,
    /// Every CIDR block of the VPC that asks must lie within one of these. A request whose blocks EC2 does not show is
    /// not accepted, unless all are allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr_blocks: Option<AllowedCidrBlocks>,
}

/// Requests that are not accepted: those that all the given fields match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.ownerId) || has(self.vpcIds) || has(self.regions) || has(self.cidrBlocks)")
        .message("say which requests by at least one of ownerId, vpcIds, regions, cidrBlocks"),
)]
#[serde(rename_all = "camelCase")]
pub struct DeniedRequests {
    /// The AWS account that asks: 12 digits. Any, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12), regex(pattern = r"^[0-9]{12}$"))]
    pub owner_id: Option<String>,
    /// The VPCs that ask. Any, where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 100),
        inner(length(max = 21), regex(pattern = r"^vpc-([0-9a-f]{8}|[0-9a-f]{17})$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub vpc_ids: Vec<String>,
    /// The regions of the VPCs that ask. Any, where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 50),
        inner(length(max = 32), regex(pattern = r"^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub regions: Vec<String>,
    /// A CIDR block of the VPC that asks overlaps one of these. Where EC2 does not show them of a request, it is neither
    /// accepted nor rejected. Any, where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 50), inner(length(max = 43)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(block, isCIDR(block))")
            .message("cidrBlocks takes CIDR blocks such as 10.1.0.0/16 or 2001:db8::/56"),
    )]
    pub cidr_blocks: Vec<String>,
}

/// What became of the requests to peer with the VPC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VpcPeeringAccepterStatus {
    /// The VPC, as it was looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc: Option<StatusEnd>,
    /// The AWS account that owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<String>,
    /// How many accepted connections live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<i32>,
    /// How many requests wait, the denied ones included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<i32>,
    /// How many of those are denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<i32>,
    /// How many requests were rejected, and are still shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<i32>,
    /// How many connections with this VPC are not this resource's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignored: Option<i32>,
    /// The connections that others asked for: every accepted one, and at most 100 of the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub connections: Vec<RequestedConnection>,
    /// The routes that this resource has made, or is about to: only these are ever changed or removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<ManagedRoute>,
    /// The value of the annotation `vpcpeering.dev/reconcile-at` that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<Box<str>>,
    /// The generation of the spec that this status speaks of; -1 until there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` always; `Reconciling` or `Stalled`, `AtCapacity` and `Suspended` while they hold; `OptionsSynced` and
    /// `RoutesReady` where options or routes are asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// A connection that others asked for, and what was decided on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestedConnection {
    /// The ID of the peering connection.
    pub vpc_peering_connection_id: String,
    /// Who asks.
    #[serde(default)]
    pub requester: Requester,
    /// EC2's status code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What was decided.
    pub decision: AccepterDecision,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it was decided to accept it: this is written before EC2 is asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<Time>,
    /// The tags of the spec that this resource has set on it, or is about to. A tag is removed only while EC2 shows it with
    /// a value that is recorded here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managed_tags: Vec<ManagedTag>,
    /// The requester's CIDR blocks when the connection first became active, where the requester is another account's. A
    /// block that comes later gets no route until `cidrBlocks` of an `accept` entry lists it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted_cidr_blocks: Vec<String>,
}

/// The end of a connection that asks, as EC2 shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Requester {
    /// Its AWS account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<String>,
    /// Its VPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc_id: Option<String>,
    /// Its region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// What was decided on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum AccepterDecision {
    /// This resource accepted it, or is about to; its tags, options and routes are looked after.
    Accepted,
    /// This resource rejected it.
    Rejected,
    /// `deny` matches it; it stays pending.
    Denied,
    /// It stays pending; the message says why.
    Pending,
    /// It is not this resource's to decide, or was decided by others.
    Ignored,
}

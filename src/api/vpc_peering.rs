//! `VpcPeering`: a peering connection between two VPCs.

// Printer columns share attribute values, which clippy reports as mistakes.
#![allow(clippy::duplicated_attributes)]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Text;
use super::aws_identity::IdentityReference;
use super::routes::Routes;
use super::side::Side;
use super::tag::{Tag, tag_selector};
use super::vpc_reference::VpcReference;

mod status;

pub use status::{EndedConnection, Ownership, PeeringStatus, StatusEnd, StatusEnds, StatusTag, VpcPeeringStatus};

/// VpcPeeringSpec is the desired state of the peering connection. Its VPCs are immutable: to peer another pair of VPCs,
/// create another VpcPeering.
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
    doc = "VpcPeering is an AWS VPC peering connection between two VPCs. The operator requests it, accepts it if it acts for the accepter, reports its state, and deletes it together with this resource.",
    printcolumn(
        name = "ID",
        type_ = "string",
        json_path = ".status.vpcPeeringConnectionId",
        description = "The ID of the peering connection"
    ),
    printcolumn(
        name = "Code",
        type_ = "string",
        json_path = ".status.status.code",
        description = "The status code that EC2 shows"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status",
        description = "Whether the peering connection is active and matches the spec"
    ),
    printcolumn(
        name = "Requester",
        type_ = "string",
        json_path = ".spec.requester.vpcId",
        description = "The VPC of the requester"
    ),
    printcolumn(
        name = "Accepter",
        type_ = "string",
        json_path = ".spec.accepter.vpcId",
        description = "The VPC of the accepter"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        priority = 1,
        description = "The reason of the Ready condition"
    ),
    printcolumn(
        name = "Expires",
        type_ = "string",
        json_path = ".status.expirationTime",
        priority = 1,
        description = "The time at which the request expires if nobody accepts it"
    )
)]
#[x_kube(
    validation = Rule::new("!has(self.requester.vpcId) || !has(self.accepter.vpcId) || self.requester.vpcId != self.accepter.vpcId")
        .message("a VPC cannot be peered with itself: requester.vpcId and accepter.vpcId must differ")
        .field_path(".accepter.vpcId"),
    validation = Rule::new("has(self.vpcPeeringConnectionId) == has(oldSelf.vpcPeeringConnectionId)")
        .message("vpcPeeringConnectionId cannot be added or removed: create another VpcPeering instead")
        .field_path(".vpcPeeringConnectionId"),
    validation = Rule::new("!has(self.vpcPeeringConnectionId) || !has(self.recreateOn) || size(self.recreateOn) == 0")
        .message("recreateOn cannot be set together with vpcPeeringConnectionId: an adopted connection cannot be requested again")
        .field_path(".recreateOn"),
)]
#[serde(rename_all = "camelCase")]
pub struct VpcPeeringSpec {
    /// The end that sends the request. Its VPC is `VpcId` of EC2's `CreateVpcPeeringConnection`.
    pub requester: PeeringSide,
    /// The end that receives the request: `PeerVpcId`, `PeerOwnerId` and `PeerRegion` of EC2's
    /// `CreateVpcPeeringConnection`.
    pub accepter: PeeringSide,
    /// The ID of an existing peering connection to adopt instead of requesting a new one, for example
    /// `pcx-0a1b2c3d4e5f67890`. Both of its ends must match the spec, and no other resource may own it. Adoption must
    /// be permitted: by `allowAdoption` of the requester's `AwsIdentity`, or by `--own-credentials-allow-adoption` of
    /// the operator. Deleting this resource deletes the connection, unless `deletionPolicy` is `Retain`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 21), regex(pattern = r"^pcx-([0-9a-f]{8}|[0-9a-f]{17})$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("vpcPeeringConnectionId cannot be changed: create another VpcPeering instead"))]
    pub vpc_peering_connection_id: Option<String>,
    /// Whether the operator writes to AWS. `Full`: it creates, changes and deletes what the spec describes. `Observe`:
    /// it only reports what EC2 shows. Defaults to `Full`.
    #[serde(default)]
    pub management_policy: ManagementPolicy,
    /// How the request is accepted. `Auto`: the operator accepts it if it acts for the accepter, which it does if
    /// `accepter.identityRef` is set or both VPCs belong to the same account. Otherwise it waits for the accepter's
    /// owner. `Manual`: the operator always waits for the accepter's owner. Defaults to `Auto`.
    #[serde(default)]
    pub acceptance: Acceptance,
    /// Tags of the peering connection, at most 36. The operator keeps them up to date, adds its default tags
    /// (`--default-tags`) whose keys are not listed here, adds four ownership tags, and leaves tags of others unchanged. EC2 stores the tags of a connection separately in the account and region of
    /// each end. They are set at both ends if the operator acts for both.
    // EC2 allows 50 tags on a resource. The operator adds four, and each end may have ten of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 36))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    pub tags: Vec<Tag>,
    /// Asks EC2 whether the credentials have the permissions for the request, reports the answer in the condition
    /// `DryRunSucceeded`, and creates nothing. EC2 checks nothing else: overlapping CIDR blocks, quotas and a wrong
    /// accepter show only after the request. The operator itself checks the VPCs that it can see. An existing peering
    /// connection is left unchanged. Defaults to false.
    #[serde(default)]
    pub dry_run: bool,
    /// The effect of deleting this resource. `Delete`: the operator deletes the peering connection.
    /// `Retain`: it stays in AWS, without ownership tags. If the operator may no longer act in AWS for this resource,
    /// `Delete` waits, and `Retain` leaves the ownership tags, too. Defaults to `--default-deletion-policy` of the
    /// operator, which is `Delete` unless an administrator sets it. The status shows the policy in effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// The terminal states after which the operator requests a new peering connection: `Expired`, `Deleted`, `Rejected`
    /// and `Failed`. The operator waits before each request, twice as long each time up to one hour, and requests at
    /// most eight connections in a row. Defaults to none, because EC2 does not show whether a connection ended by
    /// accident or by decision. Cannot be set together with `vpcPeeringConnectionId`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub recreate_on: Vec<TerminalState>,
    /// Stops all writes to AWS, including the deletion of the peering connection. The operator still reports what EC2
    /// shows. Defaults to false.
    #[serde(default)]
    pub suspend: bool,
}

impl VpcPeeringSpec {
    /// The spec of one of the two ends.
    #[must_use]
    pub fn side(&self, side: Side) -> &PeeringSide {
        match side {
            Side::Requester => &self.requester,
            Side::Accepter => &self.accepter,
        }
    }
}

/// One end of a peering connection. Its VPC, account and region are immutable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("[has(self.vpcId), has(self.vpcSelector), has(self.vpcRef)].exists_one(isSet, isSet)")
        .message("set exactly one of vpcId, vpcSelector and vpcRef to select the VPC"),
    validation = Rule::new("has(self.vpcId) == has(oldSelf.vpcId) && has(self.vpcSelector) == has(oldSelf.vpcSelector) && has(self.vpcRef) == has(oldSelf.vpcRef) && has(self.ownerId) == has(oldSelf.ownerId) && has(self.region) == has(oldSelf.region)")
        .message("vpcId, vpcSelector, vpcRef, ownerId and region cannot be added or removed: create another VpcPeering instead"),
)]
#[serde(rename_all = "camelCase")]
pub struct PeeringSide {
    /// The ID of the VPC, for example `vpc-0a1b2c3d4e5f67890`. Set exactly one of `vpcId`, `vpcSelector` and
    /// `vpcRef`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 21), regex(pattern = r"^vpc-([0-9a-f]{8}|[0-9a-f]{17})$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("vpcId cannot be changed: create another VpcPeering instead"))]
    pub vpc_id: Option<Text>,
    /// Selects the VPC by its tags. Exactly one VPC of the account and region must match. The operator looks it up
    /// once, before the request; later changes of the tags have no effect. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("vpcSelector cannot be changed: create another VpcPeering instead"))]
    pub vpc_selector: Option<VpcSelector>,
    /// Names an object that describes the VPC. The operator reads it once; later changes of the object have no effect.
    /// Its VPC must be in the account and region of this end. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("vpcRef cannot be changed: create another VpcPeering instead"))]
    pub vpc_ref: Option<Box<VpcReference>>,
    /// The ID of the AWS account that owns the VPC: 12 digits. Defaults to the account of `identityRef`. Without
    /// `identityRef`, the accepter's account defaults to the requester's, and the requester's to the account of the
    /// operator's own credentials. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12), regex(pattern = r"^[0-9]{12}$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("ownerId cannot be changed: create another VpcPeering instead"))]
    pub owner_id: Option<Text>,
    /// The AWS region of the VPC, for example `eu-central-1`. Defaults to the region of the object in `vpcRef`,
    /// then to `defaultRegion` of the `AwsIdentity` in `identityRef`. Without both, the requester's region defaults to `--region` of the operator. If there is
    /// no default, the accepter's region defaults to the requester's, and the requester's region is required. The
    /// status records the region, so that a default that changes later moves nothing. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("region cannot be changed: create another VpcPeering instead"))]
    pub region: Option<Text>,
    /// The `AwsIdentity` that the operator uses for this end. Without it, the operator uses its own credentials for the
    /// requester, and the requester's credentials for an accepter in the same account. It does not act for an accepter
    /// in another account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_ref: Option<IdentityReference>,
    /// The peering options of this end: what it permits the other end to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<SideOptions>,
    /// The routes from this end's VPC to the other end. The operator creates them when the peering connection is
    /// active, repairs them, and removes them before it deletes the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Box<Routes>>,
    /// Tags of the peering connection at this end only, in addition to `spec.tags`, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    pub tags: Vec<Tag>,
}

/// Selects a VPC by its tags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct VpcSelector {
    /// The tags that the VPC must have, by key and value: 1 to 10 tags.
    #[schemars(schema_with = "tag_selector")]
    pub tags: BTreeMap<String, String>,
}

/// The peering options of one end.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_PeeringConnectionOptionsRequest.html>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SideOptions {
    /// Whether public DNS names of instances at this end resolve to private IP addresses when queried from the other
    /// end. If absent, the option is left unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_dns_resolution_from_remote_vpc: Option<bool>,
    /// Lets the operator turn on the attributes `enableDnsSupport` and `enableDnsHostnames` of this end's VPC.
    /// `allowDnsResolutionFromRemoteVpc` has no effect without them, at either end. Both attributes apply to the whole
    /// VPC: instances with a public address also get a public DNS name. The operator never turns them off again, also
    /// not when this resource is deleted. The `AwsIdentity` must set `allowVpcAttributes`. Defaults to false: then the
    /// condition `OptionsSynced` names the attribute that is off.
    #[serde(default)]
    pub manage_dns_attributes: bool,
}

/// How the request is accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Acceptance {
    /// The operator accepts the request if it acts for the accepter.
    #[default]
    Auto,
    /// The operator waits until the accepter's owner accepts the request.
    Manual,
}

/// Whether the operator writes to AWS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ManagementPolicy {
    /// The operator creates, changes and deletes what the spec describes.
    #[default]
    Full,
    /// The operator only reports what EC2 shows.
    Observe,
}

/// A terminal state of a peering connection, named after EC2's status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TerminalState {
    /// Nobody accepted the request within seven days.
    Expired,
    /// An owner of one of the VPCs deleted the connection, without the operator.
    Deleted,
    /// The accepter's owner rejected the request.
    Rejected,
    /// The request failed, for example because CIDR blocks overlap.
    Failed,
}

/// The effect of deleting a resource on what the operator keeps for it in AWS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// The operator removes it: for a `VpcPeering` the connection, for a `VpcPeeringAccepter` its routes and tags.
    #[default]
    Delete,
    /// It stays in AWS, without ownership tags.
    Retain,
}

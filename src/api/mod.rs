//! The custom resources: what a user may say and what we answer. Types and their defaults, no other logic.

pub mod allow_list;
pub mod aws_identity;
pub mod condition;
pub mod crd;
pub mod routes;
pub mod side;
pub mod tag;
pub mod vpc_info;
pub mod vpc_peering;
pub mod vpc_peering_accepter;

pub use allow_list::{AllowedCidrBlocks, AllowedNamespaces, AllowedPeer, AllowedPeers, AllowedRegions, AllowedVpcs};
pub use aws_identity::{AwsIdentity, AwsIdentitySpec, AwsIdentityStatus};
pub use condition::{ConditionType, Reason, StepEvent};
pub use routes::{ManagedRoute, RouteTableSelector, Routes};
pub use side::Side;
pub use tag::{ManagedTag, Tag};
pub use vpc_info::{CidrBlock, Ipv6CidrBlock, PeeringOptions, VpcInfo};
pub use vpc_peering::{
    Acceptance, DeletionPolicy, End, EndedConnection, ManagementPolicy, Ownership, PeeringSide, PeeringStatus,
    SideOptions, VpcPeering, VpcPeeringSpec, VpcPeeringStatus,
};
pub use vpc_peering_accepter::{
    AcceptedRequests, AccepterDecision, DeniedRequests, RequestedConnection, Requester, VpcPeeringAccepter,
    VpcPeeringAccepterSpec, VpcPeeringAccepterStatus,
};

/// The API group of every resource here, and the prefix of our tags and finalizer.
pub const GROUP: &str = "vpcpeering.dev";

/// An annotation: a new value asks for an immediate look, and for one new request after an end.
pub const RECONCILE_AT: &str = "vpcpeering.dev/reconcile-at";

/// Present on an object for as long as AWS may hold something of ours for it.
pub const FINALIZER: &str = "vpcpeering.dev/finalizer";

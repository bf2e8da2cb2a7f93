//! The EC2 calls that change something, with their parameters under the names of EC2's API reference:
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/>

use std::collections::{BTreeMap, BTreeSet};

use super::dns::DnsAttribute;
use super::routes::RouteChange;
use crate::api::Side;

/// The parameters of `CreateVpcPeeringConnection`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CreateRequest {
    /// The requester's region, in which the call is made.
    pub region: String,
    pub vpc_id: String,
    pub peer_vpc_id: String,
    pub peer_owner_id: Option<String>,
    pub peer_region: Option<String>,
    pub tags: BTreeMap<String, String>,
}

/// One EC2 call that changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ec2Call {
    Create(CreateRequest),
    /// EC2 answers whether it would create the connection.
    DryRunCreate(CreateRequest),
    Accept {
        id: String,
    },
    Reject {
        id: String,
    },
    Delete {
        id: String,
    },
    Tag {
        id: String,
        tags: BTreeMap<String, String>,
    },
    Untag {
        id: String,
        keys: BTreeSet<String>,
    },
    SetOptions {
        id: String,
        side: Side,
        allow_dns_resolution_from_remote_vpc: bool,
    },
    TurnOnDnsAttribute {
        vpc_id: String,
        attribute: DnsAttribute,
    },
    ChangeRoute(RouteChange),
}

impl Ec2Call {
    pub(crate) fn action(&self) -> &'static str {
        match self {
            Self::Create(_) | Self::DryRunCreate(_) => "CreateVpcPeeringConnection",
            Self::Accept { .. } => "AcceptVpcPeeringConnection",
            Self::Reject { .. } => "RejectVpcPeeringConnection",
            Self::Delete { .. } => "DeleteVpcPeeringConnection",
            Self::Tag { .. } => "CreateTags",
            Self::Untag { .. } => "DeleteTags",
            Self::SetOptions { .. } => "ModifyVpcPeeringConnectionOptions",
            Self::TurnOnDnsAttribute { .. } => "ModifyVpcAttribute",
            Self::ChangeRoute(RouteChange::Create(_)) => "CreateRoute",
            Self::ChangeRoute(RouteChange::Replace(_)) => "ReplaceRoute",
            Self::ChangeRoute(RouteChange::Delete(_)) => "DeleteRoute",
        }
    }

    /// The parameters, without the tags.
    pub(crate) fn parameters(&self) -> BTreeMap<&'static str, String> {
        const ID: &str = "VpcPeeringConnectionId";
        match self {
            Self::Create(request) => request.parameters().collect(),
            Self::DryRunCreate(request) => request.parameters().chain([("DryRun", "true".to_owned())]).collect(),
            Self::Accept { id } | Self::Reject { id } | Self::Delete { id } => [(ID, id.clone())].into(),
            Self::Tag { id, .. } | Self::Untag { id, .. } => [("ResourceId", id.clone())].into(),
            Self::SetOptions { id, side, allow_dns_resolution_from_remote_vpc: allow } => {
                let option = match side {
                    Side::Requester => "RequesterPeeringConnectionOptions.AllowDnsResolutionFromRemoteVpc",
                    Side::Accepter => "AccepterPeeringConnectionOptions.AllowDnsResolutionFromRemoteVpc",
                };
                [(ID, id.clone()), (option, allow.to_string())].into()
            }
            Self::TurnOnDnsAttribute { vpc_id, attribute } => {
                let attribute = match attribute {
                    DnsAttribute::Support => "EnableDnsSupport.Value",
                    DnsAttribute::Hostnames => "EnableDnsHostnames.Value",
                };
                [("VpcId", vpc_id.clone()), (attribute, "true".to_owned())].into()
            }
            Self::ChangeRoute(change) => {
                let route = change.route();
                let text = route.destination().to_owned();
                let destination = match &route.destination_prefix_list_id {
                    Some(_) => "DestinationPrefixListId",
                    None if text.contains(':') => "DestinationIpv6CidrBlock",
                    None => "DestinationCidrBlock",
                };
                let target = (ID, route.vpc_peering_connection_id.to_string());
                let target = (!matches!(change, RouteChange::Delete(_))).then_some(target);
                let place = [("RouteTableId", route.route_table_id.to_string()), (destination, text)];
                place.into_iter().chain(target).collect()
            }
        }
    }

    /// The tags that the call sets. `None` as the value is a tag that the call removes.
    pub(crate) fn tags(&self) -> BTreeMap<String, Option<String>> {
        let set = |tags: &BTreeMap<String, String>| {
            tags.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect()
        };
        match self {
            Self::Create(request) | Self::DryRunCreate(request) => set(&request.tags),
            Self::Tag { tags, .. } => set(tags),
            Self::Untag { keys, .. } => keys.iter().map(|key| (key.clone(), None)).collect(),
            Self::Accept { .. }
            | Self::Reject { .. }
            | Self::Delete { .. }
            | Self::SetOptions { .. }
            | Self::TurnOnDnsAttribute { .. }
            | Self::ChangeRoute(_) => BTreeMap::new(),
        }
    }
}

impl CreateRequest {
    fn parameters(&self) -> impl Iterator<Item = (&'static str, String)> {
        let owner = self.peer_owner_id.clone().map(|owner| ("PeerOwnerId", owner));
        let region = self.peer_region.clone().map(|region| ("PeerRegion", region));
        let vpcs = [("VpcId", self.vpc_id.clone()), ("PeerVpcId", self.peer_vpc_id.clone())];
        vpcs.into_iter().chain(owner).chain(region)
    }
}

#[cfg(test)]
mod tests;

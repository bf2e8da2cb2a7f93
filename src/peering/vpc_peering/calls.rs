//! The EC2 calls of a step with their parameters, under the names of EC2's API reference.
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/>

use std::collections::BTreeMap;

use super::state::{AccepterView, Desired};
use super::step::Step;
use super::upkeep::sides_tagged_with;
use crate::api::Side;
use crate::peering::routes::RouteChange;
use crate::peering::upkeep::UpkeepStep;

/// One EC2 call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub action: &'static str,
    /// The end whose identity makes the call.
    pub side: Side,
    /// The account of that end, if it is known.
    pub account: Option<String>,
    pub region: String,
    pub parameters: BTreeMap<String, String>,
    /// The tags that the call sets. `None` as the value is a tag that the call removes.
    pub tags: BTreeMap<String, Option<String>>,
}

/// The calls of a step, in their order. A step that only writes the object has none.
pub(crate) fn calls(step: &Step, desired: Desired<'_>, accepter: &AccepterView) -> Vec<Call> {
    let at = |side, action, parameters: &[(&str, &str)], tags| call(desired, side, action, parameters, tags);
    let on = |side, action, id: &str| vec![at(side, action, &[("VpcPeeringConnectionId", id)], BTreeMap::new())];
    match step {
        Step::AddFinalizer | Step::Preflight | Step::Record { .. } | Step::Retire { .. } => Vec::new(),
        Step::DryRun => {
            let mut request = create(desired, accepter);
            request.parameters.insert("DryRun".into(), "true".into());
            vec![request]
        }
        Step::Create => vec![create(desired, accepter)],
        Step::Accept { id, .. } => on(Side::Accepter, "AcceptVpcPeeringConnection", id),
        Step::DeleteOrphan { id } | Step::Delete { id } => on(Side::Requester, "DeleteVpcPeeringConnection", id),
        Step::Upkeep { side, step } => of_upkeep(desired, *side, step),
    }
}

fn of_upkeep(desired: Desired<'_>, side: Side, step: &UpkeepStep) -> Vec<Call> {
    let at = |action, parameters: &[(&str, &str)], tags| call(desired, side, action, parameters, tags);
    match step {
        UpkeepStep::RecordTags { .. } | UpkeepStep::RecordRoutes { .. } => Vec::new(),
        UpkeepStep::Tag { id, tags } => {
            let tags = tags.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
            vec![at("CreateTags", &[("ResourceId", id)], tags)]
        }
        UpkeepStep::Untag { id, keys } => {
            vec![at("DeleteTags", &[("ResourceId", id)], keys.iter().map(|key| (key.clone(), None)).collect())]
        }
        UpkeepStep::SetOptions { id, allow_dns_resolution_from_remote_vpc: allow } => {
            let option = match side {
                Side::Requester => "RequesterPeeringConnectionOptions.AllowDnsResolutionFromRemoteVpc",
                Side::Accepter => "AccepterPeeringConnectionOptions.AllowDnsResolutionFromRemoteVpc",
            };
            let allow = allow.to_string();
            let parameters = [("VpcPeeringConnectionId", &**id), (option, allow.as_str())];
            vec![at("ModifyVpcPeeringConnectionOptions", &parameters, BTreeMap::new())]
        }
        UpkeepStep::ChangeRoutes { changes } => changes.iter().map(|change| route(desired, side, change)).collect(),
    }
}

fn create(desired: Desired<'_>, accepter: &AccepterView) -> Call {
    let (ours, theirs) = (&desired.ends.requester, &desired.ends.accepter);
    let owner = theirs.owner_id.as_deref().map(|owner| ("PeerOwnerId", owner));
    let region = (theirs.region != ours.region).then_some(("PeerRegion", theirs.region.as_str()));
    let vpcs = [("VpcId", ours.vpc_id.as_str()), ("PeerVpcId", theirs.vpc_id.as_str())];
    let parameters: Vec<_> = vpcs.into_iter().chain(owner).chain(region).collect();
    let tags = desired.tags(sides_tagged_with(Side::Requester, accepter));
    let tags = tags.into_iter().map(|(key, value)| (key, Some(value))).collect();
    call(desired, Side::Requester, "CreateVpcPeeringConnection", &parameters, tags)
}

fn route(desired: Desired<'_>, side: Side, change: &RouteChange) -> Call {
    let route = change.route();
    let is_ipv6 = route.destination_cidr_block.contains(':');
    let destination = if is_ipv6 { "DestinationIpv6CidrBlock" } else { "DestinationCidrBlock" };
    let place = [("RouteTableId", &*route.route_table_id), (destination, &*route.destination_cidr_block)];
    let target = ("VpcPeeringConnectionId", &*route.vpc_peering_connection_id);
    let (action, target) = match change {
        RouteChange::Create(_) => ("CreateRoute", Some(target)),
        RouteChange::Replace(_) => ("ReplaceRoute", Some(target)),
        RouteChange::Delete(_) => ("DeleteRoute", None),
    };
    let parameters: Vec<_> = place.into_iter().chain(target).collect();
    call(desired, side, action, &parameters, BTreeMap::new())
}

fn call(
    desired: Desired<'_>,
    side: Side,
    action: &'static str,
    parameters: &[(&str, &str)],
    tags: BTreeMap<String, Option<String>>,
) -> Call {
    let end = desired.ends.side(side);
    // An accepter without an owner belongs to the requester's account.
    let account = end.owner_id.clone().or_else(|| desired.ends.requester.owner_id.clone());
    let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Call { action, side, account, region: end.region.clone(), parameters, tags }
}

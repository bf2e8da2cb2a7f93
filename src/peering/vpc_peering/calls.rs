//! The EC2 calls of a step.

use super::state::{AccepterView, Desired};
use super::step::Step;
use super::upkeep::sides_tagged_with;
use crate::api::Side;
use crate::peering::ec2_call::{CreateRequest, Ec2Call};
use crate::peering::forecast::PlacedCall;

impl Desired<'_> {
    /// The request of a new connection.
    pub(crate) fn request(&self, accepter: &AccepterView) -> CreateRequest {
        let (ours, theirs) = (&self.ends.requester, &self.ends.accepter);
        CreateRequest {
            region: ours.region.clone(),
            vpc_id: ours.vpc_id.clone(),
            peer_vpc_id: theirs.vpc_id.clone(),
            peer_owner_id: theirs.owner_id.clone(),
            peer_region: (theirs.region != ours.region).then(|| theirs.region.clone()),
            tags: self.tags(sides_tagged_with(Side::Requester, accepter)),
        }
    }
}

/// The calls of a step, in their order. A step that only writes the object has none.
pub(super) fn calls(step: &Step, desired: Desired<'_>, accepter: &AccepterView) -> Vec<PlacedCall> {
    let place = |side: Side, call: Ec2Call| {
        let end = desired.ends.side(side);
        // An accepter without an owner belongs to the requester's account.
        let account = end.owner_id.clone().or_else(|| desired.ends.requester.owner_id.clone());
        PlacedCall { side, account, region: end.region.clone(), call }
    };
    let one = |side, call| vec![place(side, call)];
    match step {
        Step::AddFinalizer | Step::Preflight | Step::Record { .. } | Step::Retire { .. } => Vec::new(),
        Step::DryRun => one(Side::Requester, Ec2Call::DryRunCreate(desired.request(accepter))),
        Step::Create => one(Side::Requester, Ec2Call::Create(desired.request(accepter))),
        Step::Accept { id, .. } => one(Side::Accepter, Ec2Call::Accept { id: id.to_string() }),
        Step::DeleteOrphan { id } | Step::Delete { id } => one(Side::Requester, Ec2Call::Delete { id: id.to_string() }),
        Step::Upkeep { side, step } => step.ec2_calls(*side).into_iter().map(|call| place(*side, call)).collect(),
    }
}

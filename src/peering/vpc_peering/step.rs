//! The steps of a `VpcPeering`.

use std::sync::Arc;

use crate::api::{Ownership, Side};
use crate::peering::authority::Authorized;
use crate::peering::connection::Connection;
use crate::peering::plan::{self, Aspect, Calls};
use crate::peering::upkeep::UpkeepStep;

/// One effect for a `VpcPeering`. Each is safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    AddFinalizer,
    /// Check the two VPCs.
    Preflight,
    /// Ask EC2 whether it would create the peering.
    DryRun,
    /// Record the intent, and create the peering. The next status write records the ID.
    Create,
    Record {
        connection: Arc<Connection>,
        ownership: Ownership,
    },
    /// Move a connection that has ended into the history, so that a new one can be requested.
    Retire {
        id: String,
        code: String,
        recreations: u32,
    },
    /// Accept the request in the accepter's region.
    Accept {
        id: Authorized,
        region: String,
    },
    Upkeep {
        side: Side,
        step: UpkeepStep,
    },
    /// Delete the connection of an earlier resource of this name.
    DeleteOrphan {
        id: Authorized,
    },
    Delete {
        id: Authorized,
    },
}

impl plan::Step for Step {
    type Aspect = Aspect;

    fn aspect(&self) -> Option<Aspect> {
        match self {
            Self::AddFinalizer
            | Self::Preflight
            | Self::DryRun
            | Self::Create
            | Self::Record { .. }
            | Self::Retire { .. }
            | Self::Delete { .. } => None,
            Self::Accept { .. } => Some(Aspect::Acceptance),
            Self::DeleteOrphan { .. } => Some(Aspect::Orphans),
            Self::Upkeep { side, step } => Some(step.aspect(*side)),
        }
    }

    fn change(&self) -> Option<String> {
        match self {
            Self::AddFinalizer | Self::Preflight | Self::DryRun | Self::Record { .. } | Self::Retire { .. } => None,
            Self::Create => Some("request the peering connection".into()),
            Self::Accept { id, .. } => Some(format!("accept {id}")),
            Self::Upkeep { side, step } => step.change(*side),
            Self::DeleteOrphan { id } => {
                Some(format!("delete {id}, the connection of an earlier resource of this name"))
            }
            Self::Delete { id } => Some(format!("delete {id}")),
        }
    }

    fn is_destructive(&self) -> bool {
        match self {
            Self::DeleteOrphan { .. } | Self::Delete { .. } => true,
            Self::Upkeep { step, .. } => step.is_destructive(),
            Self::AddFinalizer
            | Self::Preflight
            | Self::DryRun
            | Self::Create
            | Self::Record { .. }
            | Self::Retire { .. }
            | Self::Accept { .. } => false,
        }
    }

    fn calls(&self) -> Option<Calls> {
        match self {
            Self::AddFinalizer | Self::Preflight | Self::Record { .. } | Self::Retire { .. } => None,
            // A dry run counts towards the same request rate limit.
            Self::DryRun | Self::Create => Some(Calls::one("CreateVpcPeeringConnection", Side::Requester)),
            Self::Accept { .. } => Some(Calls::one("AcceptVpcPeeringConnection", Side::Accepter)),
            Self::Upkeep { side, step } => step.calls(*side),
            Self::DeleteOrphan { .. } | Self::Delete { .. } => {
                Some(Calls::one("DeleteVpcPeeringConnection", Side::Requester))
            }
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Upkeep { side, step }, Self::Upkeep { side: of, step: other }) => side == of && step.covers(other),
            _ => false,
        }
    }

    fn beside(&self, refused: &Self) -> Option<Self> {
        match (self, refused) {
            (Self::Upkeep { side, step }, Self::Upkeep { step: refused, .. }) => {
                Some(Self::Upkeep { side: *side, step: step.beside(refused)? })
            }
            _ => None,
        }
    }

    fn is_continued_by_ec2(&self) -> bool {
        matches!(self, Self::Create | Self::Accept { .. })
    }
}

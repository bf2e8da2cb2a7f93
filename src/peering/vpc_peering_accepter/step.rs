//! The steps of a `VpcPeeringAccepter`.

use crate::api::Side;
use crate::peering::authority::Authorized;
use crate::peering::plan::{self, Aspect, Calls};
use crate::peering::upkeep::UpkeepStep;

/// One effect for a `VpcPeeringAccepter`. Each is safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    AddFinalizer,
    /// Record the intent to accept a request. It comes first, so that a crash leaves no accepted connection without
    /// upkeep.
    RecordAcceptance {
        id: Authorized,
    },
    Accept {
        id: Authorized,
    },
    Reject {
        id: Authorized,
    },
    /// Change the accepter's end of a connection, which EC2 may not show any more.
    Upkeep {
        id: String,
        step: UpkeepStep,
    },
}

impl Step {
    pub(crate) fn connection_id(&self) -> Option<&str> {
        match self {
            Self::AddFinalizer => None,
            Self::RecordAcceptance { id } | Self::Accept { id } | Self::Reject { id } => Some(id),
            Self::Upkeep { id, .. } => Some(id),
        }
    }
}

impl plan::Step for Step {
    /// The connection and its aspect.
    type Aspect = (String, Aspect);

    fn aspect(&self) -> Option<(String, Aspect)> {
        let aspect = match self {
            Self::AddFinalizer => return None,
            Self::RecordAcceptance { .. } | Self::Accept { .. } | Self::Reject { .. } => Aspect::Acceptance,
            Self::Upkeep { step, .. } => step.aspect(Side::Accepter),
        };
        Some((self.connection_id()?.to_owned(), aspect))
    }

    fn change(&self) -> Option<String> {
        match self {
            Self::AddFinalizer | Self::RecordAcceptance { .. } => None,
            Self::Accept { id } => Some(format!("accept {id}")),
            Self::Reject { id } => Some(format!("reject {id}")),
            Self::Upkeep { step, .. } => step.change(Side::Accepter),
        }
    }

    fn is_destructive(&self) -> bool {
        match self {
            Self::Reject { .. } => true,
            Self::Upkeep { step, .. } => step.is_destructive(),
            Self::AddFinalizer | Self::RecordAcceptance { .. } | Self::Accept { .. } => false,
        }
    }

    fn calls(&self) -> Option<Calls> {
        match self {
            Self::AddFinalizer | Self::RecordAcceptance { .. } => None,
            Self::Accept { .. } => Some(Calls::one("AcceptVpcPeeringConnection", Side::Accepter)),
            Self::Reject { .. } => Some(Calls::one("RejectVpcPeeringConnection", Side::Accepter)),
            Self::Upkeep { step, .. } => step.calls(Side::Accepter),
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Upkeep { step, .. }, Self::Upkeep { step: other, .. }) => step.covers(other),
            _ => false,
        }
    }

    fn beside(&self, refused: &Self) -> Option<Self> {
        match (self, refused) {
            (Self::Upkeep { id, step }, Self::Upkeep { step: refused, .. }) => {
                Some(Self::Upkeep { id: id.clone(), step: step.beside(refused)? })
            }
            _ => None,
        }
    }
}

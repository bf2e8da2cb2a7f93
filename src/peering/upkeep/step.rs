//! The steps of the upkeep of one end.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{ManagedRoute, ManagedTag, Side};
use crate::peering::authority::Authorized;
use crate::peering::plan::{Aspect, Calls};
use crate::peering::routes::{RouteChange, RouteStep};

/// A change to one end of a connection, or to the record of such changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UpkeepStep {
    /// Record the tags of the spec that the operator sets.
    RecordTags {
        tags: BTreeSet<ManagedTag>,
    },
    Tag {
        id: Authorized,
        tags: BTreeMap<String, String>,
    },
    Untag {
        id: Authorized,
        keys: BTreeSet<String>,
    },
    SetOptions {
        id: Authorized,
        allow_dns_resolution_from_remote_vpc: bool,
    },
    /// Record the routes that the operator creates.
    RecordRoutes {
        routes: BTreeSet<ManagedRoute>,
    },
    /// Change routes, with one call each.
    ChangeRoutes {
        changes: Vec<RouteChange>,
    },
}

impl UpkeepStep {
    /// The change in AWS, as a verb phrase. `None` for a record.
    pub(crate) fn change(&self, side: Side) -> Option<String> {
        let list = |keys: Vec<&String>| keys.into_iter().cloned().collect::<Vec<_>>().join(", ");
        match self {
            Self::RecordTags { .. } | Self::RecordRoutes { .. } => None,
            Self::Tag { id, tags } => Some(format!("set the tags {} on {id}", list(tags.keys().collect()))),
            Self::Untag { id, keys } => Some(format!("remove the tags {} from {id}", list(keys.iter().collect()))),
            Self::SetOptions { id, .. } => Some(format!("set the DNS options of the {side} of {id}")),
            Self::ChangeRoutes { changes } => Some(format!("change {} routes of the {side}", changes.len())),
        }
    }

    pub(crate) fn is_destructive(&self) -> bool {
        match self {
            Self::Untag { .. } => true,
            Self::ChangeRoutes { changes } => changes.iter().any(RouteChange::is_destructive),
            Self::RecordTags { .. } | Self::Tag { .. } | Self::SetOptions { .. } | Self::RecordRoutes { .. } => false,
        }
    }

    pub(crate) fn calls(&self, side: Side) -> Option<Calls> {
        match self {
            Self::RecordTags { .. } | Self::RecordRoutes { .. } => None,
            Self::Tag { .. } => Some(Calls::one("CreateTags", side)),
            Self::Untag { .. } => Some(Calls::one("DeleteTags", side)),
            Self::SetOptions { .. } => Some(Calls::one("ModifyVpcPeeringConnectionOptions", side)),
            // Creating, replacing and deleting routes are three EC2 actions. One limit for all of them errs on the safe
            // side.
            Self::ChangeRoutes { changes } => Some(Calls { action: "CreateRoute", side, count: changes.len() }),
        }
    }

    pub(crate) fn aspect(&self, side: Side) -> Aspect {
        match self {
            Self::RecordTags { .. } | Self::Tag { .. } | Self::Untag { .. } => Aspect::Tags(side),
            Self::SetOptions { .. } => Aspect::Options(side),
            Self::RecordRoutes { .. } | Self::ChangeRoutes { .. } => Aspect::Routes(side),
        }
    }
}

impl From<RouteStep> for UpkeepStep {
    fn from(step: RouteStep) -> Self {
        match step {
            RouteStep::Record(routes) => Self::RecordRoutes { routes },
            RouteStep::Change(changes) => Self::ChangeRoutes { changes },
        }
    }
}

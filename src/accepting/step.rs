//! What is done at the accepter's end.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{ManagedRoute, Side};
use crate::peering::Concern;
use crate::peering::routes::{RouteChange, RouteStep};
use crate::peering::tags::TagStep;

/// One effect, safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Put the finalizer on the resource.
    AddFinalizer,
    /// Record that a connection is ours to accept, and to look after.
    RecordAcceptance {
        /// Which.
        id: String,
    },
    /// Accept a request.
    Accept {
        /// Which.
        id: String,
    },
    /// Reject a request.
    Reject {
        /// Which.
        id: String,
    },
    /// Record which tags of a connection are ours to change and remove.
    RecordTagKeys {
        /// Of which connection.
        id: String,
        /// Their keys.
        keys: BTreeSet<String>,
    },
    /// Set tags on a connection.
    Tag {
        /// Which.
        id: String,
        /// The tags.
        tags: BTreeMap<String, String>,
    },
    /// Remove tags from a connection.
    Untag {
        /// Which.
        id: String,
        /// Their keys.
        keys: BTreeSet<String>,
    },
    /// Set the options of this end.
    SetOptions {
        /// Of which connection.
        id: String,
        /// Whether this end's public DNS names resolve to private addresses when asked for from the other.
        allow_dns_resolution_from_remote_vpc: bool,
    },
    /// Record which routes are ours to change and remove.
    RecordRoutes {
        /// Through which connection there is something new.
        id: String,
        /// All of them, through every connection.
        routes: BTreeSet<ManagedRoute>,
    },
    /// Change routes.
    ChangeRoutes {
        /// Through which connection.
        id: String,
        /// One call each.
        changes: Vec<RouteChange>,
    },
}

impl Step {
    /// What the step would change in AWS, for a person; none where it changes nothing there.
    #[must_use]
    pub fn change(&self) -> Option<String> {
        let list = |keys: &mut dyn Iterator<Item = &String>| keys.cloned().collect::<Vec<_>>().join(", ");
        match self {
            Self::AddFinalizer
            | Self::RecordAcceptance { .. }
            | Self::RecordTagKeys { .. }
            | Self::RecordRoutes { .. } => None,
            Self::Accept { id } => Some(format!("accept {id}")),
            Self::Reject { id } => Some(format!("reject {id}")),
            Self::Tag { id, tags } => Some(format!("set the tags {} on {id}", list(&mut tags.keys()))),
            Self::Untag { id, keys } => Some(format!("remove the tags {} from {id}", list(&mut keys.iter()))),
            Self::SetOptions { id, .. } => Some(format!("set the options of {id}")),
            Self::ChangeRoutes { id, changes } => Some(format!("change {} routes through {id}", changes.len())),
        }
    }

    /// The action of EC2 that the step calls, and how often; none where it changes nothing in AWS.
    #[must_use]
    pub fn calls(&self) -> Option<(&'static str, usize)> {
        Some(match self {
            Self::AddFinalizer
            | Self::RecordAcceptance { .. }
            | Self::RecordTagKeys { .. }
            | Self::RecordRoutes { .. } => return None,
            Self::Accept { .. } => ("AcceptVpcPeeringConnection", 1),
            Self::Reject { .. } => ("RejectVpcPeeringConnection", 1),
            Self::Tag { .. } => ("CreateTags", 1),
            Self::Untag { .. } => ("DeleteTags", 1),
            Self::SetOptions { .. } => ("ModifyVpcPeeringConnectionOptions", 1),
            // There are three actions, and a step may take them all.
            Self::ChangeRoutes { changes, .. } => ("CreateRoute", changes.len()),
        })
    }

    /// What the step keeps up, of which connection.
    #[must_use]
    pub fn concern(&self) -> Option<(String, Concern)> {
        let concern = match self {
            Self::AddFinalizer => return None,
            Self::RecordAcceptance { .. } | Self::Accept { .. } | Self::Reject { .. } => Concern::Acceptance,
            Self::RecordTagKeys { .. } | Self::Tag { .. } | Self::Untag { .. } => Concern::Tags(Side::Accepter),
            Self::SetOptions { .. } => Concern::Options(Side::Accepter),
            Self::RecordRoutes { .. } | Self::ChangeRoutes { .. } => Concern::Routes(Side::Accepter),
        };
        Some((self.connection()?.to_owned(), concern))
    }

    /// The connection that it is about.
    #[must_use]
    pub fn connection(&self) -> Option<&str> {
        match self {
            Self::AddFinalizer => None,
            Self::RecordAcceptance { id }
            | Self::Accept { id }
            | Self::Reject { id }
            | Self::RecordTagKeys { id, .. }
            | Self::Tag { id, .. }
            | Self::Untag { id, .. }
            | Self::SetOptions { id, .. }
            | Self::RecordRoutes { id, .. }
            | Self::ChangeRoutes { id, .. } => Some(id),
        }
    }

    pub(super) fn of_tags(id: &str, step: TagStep) -> Self {
        let id = id.to_owned();
        match step {
            TagStep::Record(keys) => Self::RecordTagKeys { id, keys },
            TagStep::Set(tags) => Self::Tag { id, tags },
            TagStep::Remove(keys) => Self::Untag { id, keys },
        }
    }

    /// `others` are the routes through other connections.
    pub(super) fn of_routes(id: &str, step: RouteStep, others: BTreeSet<ManagedRoute>) -> Self {
        let id = id.to_owned();
        match step {
            RouteStep::Record(routes) => Self::RecordRoutes { id, routes: &others | &routes },
            RouteStep::Change(changes) => Self::ChangeRoutes { id, changes },
        }
    }
}

//! What is done at the accepter's end.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{ManagedRoute, ManagedTag, Side};
use crate::peering::routes::{RouteChange, RouteStep};
use crate::peering::tags::TagStep;
use crate::peering::{Authorized, Aspect};

/// One effect, safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Put the finalizer on the resource.
    AddFinalizer,
    /// Record that a connection is ours to accept, and to look after.
    RecordAcceptance {
        /// Which.
        id: Authorized,
    },
    /// Accept a request.
    Accept {
        /// Which.
        id: Authorized,
    },
    /// Reject a request.
    Reject {
        /// Which.
        id: Authorized,
    },
    /// Record which tags of the spec are set on a connection.
    RecordTags {
        /// On which connection.
        id: Authorized,
        /// The tags.
        tags: BTreeSet<ManagedTag>,
    },
    /// Set tags on a connection.
    Tag {
        /// Which.
        id: Authorized,
        /// The tags.
        tags: BTreeMap<String, String>,
    },
    /// Remove tags from a connection.
    Untag {
        /// Which.
        id: Authorized,
        /// Their keys.
        keys: BTreeSet<String>,
    },
    /// Set the options of this end.
    SetOptions {
        /// Of which connection.
        id: Authorized,
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
            | Self::RecordTags { .. }
            | Self::RecordRoutes { .. } => None,
            Self::Accept { id } => Some(format!("accept {id}")),
            Self::Reject { id } => Some(format!("reject {id}")),
            Self::Tag { id, tags } => Some(format!("set the tags {} on {id}", list(&mut tags.keys()))),
            Self::Untag { id, keys } => Some(format!("remove the tags {} from {id}", list(&mut keys.iter()))),
            Self::SetOptions { id, .. } => Some(format!("set the options of {id}")),
            Self::ChangeRoutes { id, changes } => Some(format!("change {} routes through {id}", changes.len())),
        }
    }

    /// Whether the step takes something away, or leads traffic elsewhere: it is taken only if a look made just before still
    /// asks for it.
    #[must_use]
    pub fn is_destructive(&self) -> bool {
        match self {
            Self::Reject { .. } | Self::Untag { .. } => true,
            Self::ChangeRoutes { changes, .. } => changes.iter().any(RouteChange::is_destructive),
            Self::AddFinalizer
            | Self::RecordAcceptance { .. }
            | Self::Accept { .. }
            | Self::RecordTags { .. }
            | Self::Tag { .. }
            | Self::SetOptions { .. }
            | Self::RecordRoutes { .. } => false,
        }
    }

    /// The action of EC2 that the step calls, and how often; none where it changes nothing in AWS.
    #[must_use]
    pub fn calls(&self) -> Option<(&'static str, usize)> {
        Some(match self {
            Self::AddFinalizer
            | Self::RecordAcceptance { .. }
            | Self::RecordTags { .. }
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
    pub fn aspect(&self) -> Option<(String, Aspect)> {
        let aspect = match self {
            Self::AddFinalizer => return None,
            Self::RecordAcceptance { .. } | Self::Accept { .. } | Self::Reject { .. } => Aspect::Acceptance,
            Self::RecordTags { .. } | Self::Tag { .. } | Self::Untag { .. } => Aspect::Tags(Side::Accepter),
            Self::SetOptions { .. } => Aspect::Options(Side::Accepter),
            Self::RecordRoutes { .. } | Self::ChangeRoutes { .. } => Aspect::Routes(Side::Accepter),
        };
        Some((self.connection()?.to_owned(), aspect))
    }

    /// The connection that it is about.
    #[must_use]
    pub fn connection(&self) -> Option<&str> {
        match self {
            Self::AddFinalizer => None,
            Self::RecordAcceptance { id }
            | Self::Accept { id }
            | Self::Reject { id }
            | Self::RecordTags { id, .. }
            | Self::Tag { id, .. }
            | Self::Untag { id, .. }
            | Self::SetOptions { id, .. } => Some(id),
            Self::RecordRoutes { id, .. } | Self::ChangeRoutes { id, .. } => Some(id),
        }
    }

    pub(super) fn of_tags(target: &Authorized, step: TagStep) -> Self {
        let id = target.clone();
        match step {
            TagStep::Record(tags) => Self::RecordTags { id, tags },
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

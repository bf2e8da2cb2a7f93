//! What a decision comes to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::authority::Authorized;
use super::routes::RouteChange;
use super::status::Progress;
use super::{Connection, Trouble};
use crate::api::{ManagedRoute, ManagedTag, Ownership, Reason, Side};

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan<S = Step> {
    /// Take this step, then observe again.
    Act(S),
    /// We, or EC2, are on the way: look again when something changes, or after this time.
    Wait {
        /// What for.
        reason: Reason,
        /// The same for a person.
        message: String,
        /// How long to wait at most.
        look_again: Option<Duration>,
    },
    /// The peering is as the spec wants it.
    Steady {
        /// The same for a person.
        message: String,
        /// How long to wait at most.
        look_again: Option<Duration>,
    },
    /// The dry run that the spec asks for has succeeded.
    DryRunSucceeded,
    /// There is something to do, and the spec says not to.
    Suspended {
        /// What.
        message: String,
    },
    /// Nothing will change until somebody acts.
    Stalled {
        /// Why.
        reason: Reason,
        /// What happened, and what to do.
        message: String,
        /// When to look again, where EC2 does not tell us of a change.
        look_again: Option<Duration>,
    },
    /// Nothing of ours is left to look after: the finalizer may go.
    Release,
}

impl<S> From<Trouble> for Plan<S> {
    fn from(trouble: Trouble) -> Self {
        let Trouble { progress, reason, message, look_again } = trouble;
        match progress {
            Progress::Stalled => Self::Stalled { reason, message, look_again },
            Progress::Settled | Progress::Reconciling => Self::Wait { reason, message, look_again },
        }
    }
}

impl<S> Plan<S> {
    /// When to look again, where nothing else tells of a change.
    #[must_use]
    pub fn look_again(&self) -> Option<Duration> {
        match self {
            Self::Wait { look_again, .. } | Self::Stalled { look_again, .. } | Self::Steady { look_again, .. } => {
                *look_again
            }
            Self::Act(_) | Self::DryRunSucceeded | Self::Suspended { .. } | Self::Release => None,
        }
    }
}

/// One effect, safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Put the finalizer on the resource.
    AddFinalizer,
    /// Look at the two VPCs.
    Preflight,
    /// Ask EC2 whether it would create the peering.
    DryRun,
    /// Record the intent, and create the peering; its ID is recorded with what is told next.
    Create,
    /// Record a connection.
    Record {
        /// Which.
        connection: Arc<Connection>,
        /// Whose it is.
        ownership: Ownership,
    },
    /// Put a connection that has ended into the history, so that a new one can be requested.
    Retire {
        /// Which.
        id: String,
        /// The code that it ended with.
        code: String,
        /// How often in a row this has been done.
        recreations: u32,
    },
    /// Accept the request, in the accepter's region.
    Accept {
        /// Which request.
        id: Authorized,
        /// The accepter's region.
        region: String,
    },
    /// Record which tags of the spec are set.
    RecordTags {
        /// In whose place.
        side: Side,
        /// The tags.
        tags: BTreeSet<ManagedTag>,
    },
    /// Set tags on the connection.
    Tag {
        /// By whom, and where.
        side: Side,
        /// Which connection.
        id: Authorized,
        /// The tags.
        tags: BTreeMap<String, String>,
    },
    /// Remove tags from the connection.
    Untag {
        /// By whom, and where.
        side: Side,
        /// Which connection.
        id: Authorized,
        /// Their keys.
        keys: BTreeSet<String>,
    },
    /// Set the options of one end.
    SetOptions {
        /// Whose.
        side: Side,
        /// Of which connection.
        id: Authorized,
        /// Whether this end's public DNS names resolve to private addresses when asked for from the other.
        allow_dns_resolution_from_remote_vpc: bool,
    },
    /// Record which routes are ours to change and remove.
    RecordRoutes {
        /// At which end there is something new.
        side: Side,
        /// All of them, of both ends.
        routes: BTreeSet<ManagedRoute>,
    },
    /// Change routes of one end.
    ChangeRoutes {
        /// At which end.
        side: Side,
        /// One call each.
        changes: Vec<RouteChange>,
    },
    /// Delete a peering that an earlier resource of this name left behind.
    CleanUp {
        /// Which one.
        id: Authorized,
    },
    /// Delete the peering.
    Delete {
        /// Which one.
        id: Authorized,
    },
}

impl Step {
    /// What the step would change in AWS, for a person; none where it changes nothing there.
    #[must_use]
    pub fn change(&self) -> Option<String> {
        let list = |keys: &mut dyn Iterator<Item = &String>| keys.cloned().collect::<Vec<_>>().join(", ");
        match self {
            Self::AddFinalizer
            | Self::Preflight
            | Self::DryRun
            | Self::Record { .. }
            | Self::Retire { .. }
            | Self::RecordTags { .. }
            | Self::RecordRoutes { .. } => None,
            Self::Create => Some("request the peering connection".into()),
            Self::Accept { id, .. } => Some(format!("accept {id}")),
            Self::Tag { id, tags, .. } => Some(format!("set the tags {} on {id}", list(&mut tags.keys()))),
            Self::Untag { id, keys, .. } => Some(format!("remove the tags {} from {id}", list(&mut keys.iter()))),
            Self::SetOptions { side, id, .. } => Some(format!("set the options of the {side} of {id}")),
            Self::ChangeRoutes { side, changes } => Some(format!("change {} of the {side}'s routes", changes.len())),
            Self::CleanUp { id } => Some(format!("delete {id}, which an earlier resource of this name left behind")),
            Self::Delete { id } => Some(format!("delete {id}")),
        }
    }

    /// Whether the step takes something away, or leads traffic elsewhere: it is taken only if a look made just before still
    /// asks for it.
    #[must_use]
    pub fn is_destructive(&self) -> bool {
        match self {
            Self::Untag { .. } | Self::CleanUp { .. } | Self::Delete { .. } => true,
            Self::ChangeRoutes { changes, .. } => changes.iter().any(RouteChange::is_destructive),
            Self::AddFinalizer
            | Self::Preflight
            | Self::DryRun
            | Self::Create
            | Self::Record { .. }
            | Self::Retire { .. }
            | Self::Accept { .. }
            | Self::RecordTags { .. }
            | Self::Tag { .. }
            | Self::SetOptions { .. }
            | Self::RecordRoutes { .. } => false,
        }
    }

    /// The API action by which the step changes AWS, in whose place, and how many calls that takes; none where it
    /// changes nothing there.
    #[must_use]
    pub fn calls(&self) -> Option<(&'static str, Side, usize)> {
        Some(match self {
            Self::AddFinalizer
            | Self::Preflight
            | Self::Record { .. }
            | Self::Retire { .. }
            | Self::RecordTags { .. }
            | Self::RecordRoutes { .. } => return None,
            // A dry run draws from the same bucket.
            Self::DryRun | Self::Create => ("CreateVpcPeeringConnection", Side::Requester, 1),
            Self::Accept { .. } => ("AcceptVpcPeeringConnection", Side::Accepter, 1),
            Self::Tag { side, .. } => ("CreateTags", *side, 1),
            Self::Untag { side, .. } => ("DeleteTags", *side, 1),
            Self::SetOptions { side, .. } => ("ModifyVpcPeeringConnectionOptions", *side, 1),
            // There are three actions, and a step may take them all.
            Self::ChangeRoutes { side, changes } => ("CreateRoute", *side, changes.len()),
            Self::CleanUp { .. } | Self::Delete { .. } => ("DeleteVpcPeeringConnection", Side::Requester, 1),
        })
    }

    /// What the step keeps up; none for the steps to and from a connection.
    #[must_use]
    pub fn concern(&self) -> Option<Concern> {
        match self {
            Self::AddFinalizer
            | Self::Preflight
            | Self::DryRun
            | Self::Create
            | Self::Record { .. }
            | Self::Retire { .. }
            | Self::Delete { .. } => None,
            Self::Accept { .. } => Some(Concern::Acceptance),
            Self::CleanUp { .. } => Some(Concern::LeftBehind),
            Self::RecordTags { side, .. } | Self::Tag { side, .. } | Self::Untag { side, .. } => {
                Some(Concern::Tags(*side))
            }
            Self::SetOptions { side, .. } => Some(Concern::Options(*side)),
            Self::RecordRoutes { side, .. } | Self::ChangeRoutes { side, .. } => Some(Concern::Routes(*side)),
        }
    }
}

/// What is kept up of a living connection. Each goes its own way: what AWS refuses of one holds up no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Concern {
    /// That the request is accepted.
    Acceptance,
    /// The tags in the place of this end.
    Tags(Side),
    /// The options of this end.
    Options(Side),
    /// The routes of this end.
    Routes(Side),
    /// That nothing is left of earlier resources of this name.
    LeftBehind,
}

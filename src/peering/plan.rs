//! What a decision comes to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Connection;
use crate::api::{Ownership, Reason};

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Take this step, then observe again.
    Act(Step),
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

impl Plan {
    /// When to look again, where nothing else tells of a change.
    #[must_use]
    pub fn look_again(&self) -> Option<Duration> {
        match self {
            Self::Wait { look_again, .. } | Self::Stalled { look_again, .. } => *look_again,
            Self::Act(_) | Self::Steady { .. } | Self::DryRunSucceeded | Self::Suspended { .. } | Self::Release => None,
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
    /// Record the intent, create the peering, record its ID.
    Create,
    /// Record a connection.
    Record {
        /// Which.
        connection: Box<Connection>,
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
        id: String,
        /// The accepter's region.
        region: String,
    },
    /// Record which tags are ours to change and remove.
    RecordTagKeys {
        /// Their keys.
        keys: BTreeSet<String>,
    },
    /// Set tags on the connection.
    Tag {
        /// Which connection.
        id: String,
        /// The tags.
        tags: BTreeMap<String, String>,
    },
    /// Remove tags from the connection.
    Untag {
        /// Which connection.
        id: String,
        /// Their keys.
        keys: BTreeSet<String>,
    },
    /// Delete the peering.
    Delete {
        /// Which one.
        id: String,
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
            | Self::RecordTagKeys { .. } => None,
            Self::Create => Some("request the peering connection".into()),
            Self::Accept { id, .. } => Some(format!("accept {id}")),
            Self::Tag { id, tags } => Some(format!("set the tags {} on {id}", list(&mut tags.keys()))),
            Self::Untag { id, keys } => Some(format!("remove the tags {} from {id}", list(&mut keys.iter()))),
            Self::Delete { id } => Some(format!("delete {id}")),
        }
    }
}

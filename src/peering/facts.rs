//! What a decision is made from: what is wanted, what was recorded, what is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::preflight::Preflight;
use super::{Connection, Owner};
use crate::api::{Ownership, VpcPeeringSpec};

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Desired<'a> {
    /// Whose peering it is.
    pub owner: &'a Owner,
    /// What the user says.
    pub spec: &'a VpcPeeringSpec,
    /// The resource is being deleted.
    pub deleted: bool,
    /// Our finalizer is on the resource.
    pub finalizer: bool,
    /// The user asks for an immediate look, and we have not answered yet.
    pub look_requested: bool,
}

impl Desired<'_> {
    /// Every tag that the peering shall carry, beside those of others.
    #[must_use]
    pub fn tags(&self) -> BTreeMap<String, String> {
        let users = self.spec.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone()));
        let ours = self.owner.tags().into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        users.chain(ours).collect()
    }
}

/// What we wrote down earlier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The connection of this resource.
    pub connection_id: Option<String>,
    /// Whether that is its own.
    pub ownership: Option<Ownership>,
    /// A request may have reached EC2 whose answer we never recorded.
    pub creation_started: bool,
    /// EC2 has answered a dry run of this spec: it would succeed.
    pub dry_run_succeeded: bool,
    /// The tags that are ours to change and remove.
    pub managed_tag_keys: BTreeSet<String>,
    /// How often in a row a new connection was requested because the last one had ended.
    pub recreations: u32,
    /// When the last one was seen to have ended.
    pub ended_at: Option<Timestamp>,
}

impl Recorded {
    /// The connection that this resource owns.
    #[must_use]
    pub fn owned_id(&self) -> Option<&String> {
        self.connection_id.as_ref().filter(|_| self.ownership == Some(Ownership::Owned))
    }
}

/// What EC2, and the cluster, show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// The connection with the recorded ID.
    pub recorded: Option<Connection>,
    /// Live connections that carry the owner's tags.
    pub owned: Vec<Connection>,
    /// The connection that the spec wants to take over.
    pub wanted: Option<Connection>,
    /// A live connection between the same VPCs that is not the owner's.
    pub rival: Option<Connection>,
    /// An older resource of this cluster that asks for the same VPCs.
    pub older_claim: Option<Claim>,
    /// A quota of AWS's that one more connection between these VPCs may meet.
    pub near_quota: Option<String>,
    /// What a look at the two VPCs showed, if there was one lately.
    pub preflight: Option<Preflight>,
    /// For how long we have been looking, in vain, for what the record says must be there.
    pub missing_for: Duration,
}

/// A resource that asks for a peering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What people call it.
    pub resource: String,
    /// It is being deleted.
    pub is_leaving: bool,
}

impl Observation {
    /// Whether EC2 shows nothing that is, or may be, the owner's.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.recorded.is_none() && self.owned.is_empty()
    }

    /// Whether EC2 lacks what the record says must be there.
    #[must_use]
    pub fn lacks(&self, recorded: &Recorded) -> bool {
        match recorded.connection_id {
            Some(_) => self.recorded.is_none(),
            None => recorded.creation_started && self.owned.is_empty(),
        }
    }
}

/// What the decision is tuned by.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long EC2 may take to show what it has already done. EC2 promises no bound:
    /// <https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>.
    pub consistency_window: Duration,
    /// The pause before a peering that has ended is requested anew; it doubles with each time in a row.
    pub recreation_pause: Duration,
}

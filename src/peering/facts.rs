//! What a decision is made from: what is wanted, what was recorded, what is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::authority::{Authority, Authorized};
use super::limits::Permissions;
use super::plan::Concern;
use super::preflight::Preflight;
use super::routes::RouteTables;
use super::status::Progress;
use super::{Connection, Ends, Owner, authority};
use crate::api::{ManagedRoute, ManagedTag, Ownership, Reason, Side, VpcPeeringSpec};

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Desired<'a> {
    /// Whose peering it is.
    pub owner: &'a Owner,
    /// What the user says.
    pub spec: &'a VpcPeeringSpec,
    /// Its two ends, with every default filled in.
    pub ends: &'a Ends,
    /// What the identities that act for it allow.
    pub permissions: &'a Permissions,
    /// Whether no other cluster has this cluster's ID, so that the names of a resource identify it.
    pub is_cluster_unique: bool,
    /// The resource is being deleted.
    pub deleted: bool,
    /// Our finalizer is on the resource.
    pub finalizer: bool,
    /// The user asks for an immediate look, and we have not answered yet.
    pub look_requested: bool,
}

impl<'a> Desired<'a> {
    /// What this resource may act on.
    #[must_use]
    pub fn authority(&self) -> Authority<'a> {
        Authority {
            owner: self.owner,
            ownership: authority::Ownership::Peering,
            requester: Some(&self.ends.requester),
            accepter: &self.ends.accepter,
            permissions: self.permissions,
            is_cluster_unique: self.is_cluster_unique,
        }
    }

    /// Every tag that the peering shall carry in one place, which may be the place of both ends, beside those of others.
    #[must_use]
    pub fn tags(&self, sides: &[Side]) -> BTreeMap<String, String> {
        let sides = sides.iter().flat_map(|side| &self.spec.side(*side).tags);
        let users = self.spec.tags.iter().chain(sides).map(|tag| (tag.key.clone(), tag.value.clone()));
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
    /// The tags of the spec that we have set, or are about to, in the requester's place.
    pub managed_tags: BTreeSet<ManagedTag>,
    /// The same in the accepter's, where that is another.
    pub accepter_managed_tags: BTreeSet<ManagedTag>,
    /// The accepter's CIDR blocks when the peering first became active, where we do not act for the accepter.
    pub accepted_cidr_blocks: Option<Vec<String>>,
    /// The routes that we have made, or are about to.
    pub routes: BTreeSet<ManagedRoute>,
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
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The connection with the recorded ID.
    pub recorded: Option<Arc<Connection>>,
    /// Live connections that carry the owner's tags.
    pub owned: Vec<Arc<Connection>>,
    /// Live connections that an earlier resource of this name owned, which is gone.
    pub left_behind: Vec<Arc<Connection>>,
    /// The connection that the spec wants to take over.
    pub wanted: Option<Arc<Connection>>,
    /// The connections that recorded routes lead through, beside the recorded one.
    pub earlier: Vec<Arc<Connection>>,
    /// Connections that EC2 has shown to this process as the owner's own, and may show no more.
    pub remembered: BTreeSet<Authorized>,
    /// A live connection between the same VPCs that is not the owner's.
    pub rival: Option<Arc<Connection>>,
    /// An older resource of this cluster that asks for the same VPCs.
    pub older_claim: Option<Claim>,
    /// A quota of AWS's that one more connection between these VPCs may meet.
    pub near_quota: Option<String>,
    /// What a look at the two VPCs showed, if there was one lately.
    pub preflight: Option<Preflight>,
    /// For how long we have been looking, in vain, for what the record says must be there.
    pub missing_for: Duration,
    /// For how long EC2 has shown the code of the recorded connection, where that is on its way to another.
    pub shown_for: Duration,
    /// What we see, and may do, at the accepter's end.
    pub accepter: AccepterView,
    /// The route tables of each end, where its routes are ours to look after.
    pub tables: BTreeMap<Side, Result<Arc<RouteTables>, Trouble>>,
    /// EC2 has had time to show what we did last.
    pub is_settled: bool,
    /// What AWS refused, and is not to be asked for again yet.
    pub refused: BTreeMap<Concern, Trouble>,
}

/// What we see, and may do, at the accepter's end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccepterView {
    /// It is somebody else's.
    #[default]
    Nobody,
    /// It is in the requester's account and region, and so are its tags.
    Same,
    /// It is in another account or region, and this is the connection as shown there, if it is shown.
    Elsewhere(Result<Option<Arc<Connection>>, Trouble>),
}

/// What stands in the way, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Whether it may pass, or somebody has to act.
    pub progress: Progress,
    /// Why.
    pub reason: Reason,
    /// The same for a person.
    pub message: String,
    /// When to look again, where nothing tells of a change.
    pub look_again: Option<Duration>,
}

impl Trouble {
    /// Somebody has to act.
    #[must_use]
    pub fn stalled(reason: Reason, message: String) -> Self {
        Self { progress: Progress::Stalled, reason, message, look_again: None }
    }

    /// It may pass.
    #[must_use]
    pub fn passing(reason: Reason, message: String, look_again: Duration) -> Self {
        Self { progress: Progress::Reconciling, reason, message, look_again: Some(look_again) }
    }
}

/// How many troubles a message tells one by one.
const TOLD: usize = 5;

impl Trouble {
    /// All that stands in the way, as one: what somebody has to act on comes first.
    #[must_use]
    pub fn together<'a>(troubles: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut troubles: Vec<_> = troubles.into_iter().collect();
        troubles.sort_by_key(|trouble| trouble.progress != Progress::Stalled);
        let first = troubles.first()?;
        // Two concerns may be in the same trouble.
        let mut messages: Vec<_> = troubles.iter().map(|trouble| trouble.message.clone()).collect();
        messages.dedup();
        let untold = messages.len().saturating_sub(TOLD);
        messages.truncate(TOLD);
        if untold > 0 {
            messages.push(format!("and {untold} more"));
        }
        Some(Self {
            progress: first.progress,
            reason: first.reason,
            message: messages.join("; "),
            look_again: troubles.iter().filter_map(|trouble| trouble.look_again).min(),
        })
    }
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
    /// Every connection that it shows in the requester's place.
    pub fn shown(&self) -> impl Iterator<Item = &Arc<Connection>> {
        let one = self.recorded.iter().chain(&self.wanted).chain(&self.rival);
        one.chain(&self.owned).chain(&self.left_behind).chain(&self.earlier)
    }

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
    /// Whether the cluster's ID is surely no other cluster's, so that what a namesake left behind is surely nobody's.
    pub is_cluster_unique: bool,
}

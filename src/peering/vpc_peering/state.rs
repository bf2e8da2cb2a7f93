//! The input of the decision: the spec, the record in the status, and EC2's view.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::step::Step;
use crate::api::{
    ConditionType, DeletionPolicy, ManagedRoute, ManagedTag, Ownership, Side, SideOptions, VpcPeeringSpec,
    VpcPeeringStatus,
};
use crate::peering::authority::{self, Authority, Authorized, Hint};
use crate::peering::blocker::Blocker;
use crate::peering::conditions;
use crate::peering::connection::Connection;
use crate::peering::defaults::Defaults;
use crate::peering::dns::DnsAttributes;
use crate::peering::endpoints::Endpoints;
use crate::peering::goal::Goal;
use crate::peering::limits::Permissions;
use crate::peering::owner::Owner;
use crate::peering::plan::{Aspect, Refusal, Unseen};
use crate::peering::preflight::Preflight;
use crate::peering::quota::Quotas;
use crate::peering::routes::{NamedPrefixLists, RouteAnswers, RouteTables, Subnets};
use crate::peering::security_groups::SecurityGroupReferences;

/// The desired state, and the object that it comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Desired<'a> {
    pub owner: &'a Owner,
    pub spec: &'a VpcPeeringSpec,
    /// Both ends, with every default filled in.
    pub ends: &'a Endpoints,
    /// The limits of the identities that act.
    pub permissions: &'a Permissions,
    /// The defaults of the operator for what the spec leaves open.
    pub defaults: &'a Defaults,
    /// See [`Settings::is_cluster_unique`](crate::peering::Settings::is_cluster_unique).
    pub is_cluster_unique: bool,
    pub deleted: bool,
    /// Whether the object has the operator's finalizer.
    pub finalizer: bool,
    /// Whether a person has asked for an immediate reconcile by annotation, and the status does not answer yet.
    pub reconcile_requested: bool,
    /// The value of that annotation, which the status repeats as an answer.
    pub reconcile_at: Option<&'a str>,
    pub generation: i64,
    /// The status as it is stored.
    pub status: Option<&'a VpcPeeringStatus>,
}

impl<'a> Desired<'a> {
    /// The parts that the status answers.
    pub(crate) fn goal(&self) -> Goal<'a, VpcPeeringSpec> {
        Goal {
            spec: self.spec,
            deletion_policy: self.deletion_policy(),
            deleted: self.deleted,
            generation: self.generation,
        }
    }

    /// The connections that this resource may act on.
    pub(crate) fn authority(&self) -> Authority<'a> {
        Authority {
            owner: self.owner,
            ownership: authority::Ownership::Peering,
            requester: Some(&self.ends.requester),
            accepter: &self.ends.accepter,
            permissions: self.permissions,
            is_cluster_unique: self.is_cluster_unique,
        }
    }

    /// The default tags, the tags of the spec for these ends, and the ownership tags.
    pub(crate) fn tags(&self, sides: &[Side]) -> BTreeMap<String, String> {
        let sides = sides.iter().flat_map(|side| &self.spec.side(*side).tags);
        let of_spec = self.defaults.with_tags(self.spec.tags.iter().chain(sides));
        let ownership = self.owner.tags().into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        of_spec.into_iter().chain(ownership).collect()
    }

    /// The reason why EC2 would refuse the tags of these ends.
    pub(super) fn excess_tags(&self, sides: &[Side]) -> Option<Blocker> {
        let of_side = |side: &Side| match side {
            Side::Requester => ("spec.requester.tags", self.spec.requester.tags.len()),
            Side::Accepter => ("spec.accepter.tags", self.spec.accepter.tags.len()),
        };
        let fields = [("spec.tags", self.spec.tags.len())].into_iter().chain(sides.iter().map(of_side));
        self.defaults.excess(&self.tags(sides), fields)
    }

    pub(crate) fn deletion_policy(&self) -> DeletionPolicy {
        self.defaults.deletion_policy(self.spec.deletion_policy)
    }

    /// Whether an end allows DNS resolution, for which both VPCs need their DNS attributes.
    pub(crate) fn needs_dns(&self) -> bool {
        let allows = |options: SideOptions| options.allow_dns_resolution_from_remote_vpc == Some(true);
        [&self.spec.requester, &self.spec.accepter].into_iter().any(|end| end.options.is_some_and(allows))
    }

    /// The connections with the ownership tags that EC2 proves to be the resource's own.
    pub(super) fn owned<'b>(&self, observed: &'b Observation) -> Vec<(&'b Arc<Connection>, Authorized)> {
        let authority = self.authority();
        let owned = observed.owned.iter();
        owned.filter_map(|connection| Some((connection, authority.over(connection, Hint::Tagged).ok()?))).collect()
    }
}

/// The record in the status. Other people can write it, so that it proves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub connection_id: Option<String>,
    pub ownership: Option<Ownership>,
    /// A request may have reached EC2, and its answer is not recorded.
    pub creation_started: bool,
    /// A dry run of this generation of the spec has succeeded.
    pub dry_run_succeeded: bool,
    /// The tags of the spec that the operator has set, or is about to set, at the requester's end.
    pub managed_tags: BTreeSet<ManagedTag>,
    /// The same at the accepter's end, if it has tags of its own.
    pub accepter_managed_tags: BTreeSet<ManagedTag>,
    /// The accepter's CIDR blocks when the peering first became active, if no identity acts for the accepter.
    pub accepted_cidr_blocks: Option<Vec<String>>,
    /// The routes that the operator has created, or is about to create.
    pub routes: BTreeSet<ManagedRoute>,
    /// The number of requests in a row that replaced a peering that had ended.
    pub recreations: u32,
    /// The time at which the last peering was seen to have ended.
    pub ended_at: Option<Timestamp>,
}

impl Recorded {
    pub(crate) fn of(status: Option<&VpcPeeringStatus>, generation: Option<i64>) -> Self {
        let Some(status) = status else { return Self::default() };
        let dry_run = conditions::find(&status.conditions, ConditionType::DryRunSucceeded);
        Self {
            connection_id: status.vpc_peering_connection_id.as_deref().map(str::to_owned),
            ownership: status.ownership,
            managed_tags: status.managed_tags.iter().cloned().collect(),
            accepter_managed_tags: status.accepter_managed_tags.iter().cloned().collect(),
            accepted_cidr_blocks: status
                .accepted_cidr_blocks
                .as_ref()
                .map(|blocks| blocks.iter().map(ToString::to_string).collect()),
            routes: status.routes.iter().cloned().collect(),
            recreations: status.recreations.and_then(|number| number.try_into().ok()).unwrap_or_default(),
            ended_at: status.history.last().map(|ended| ended.time.0),
            creation_started: status.creation_started_at.is_some(),
            dry_run_succeeded: dry_run
                .is_some_and(|condition| condition.status == "True" && condition.observed_generation == generation),
        }
    }

    /// The connection that the record calls the resource's own.
    pub(crate) fn owned_id(&self) -> Option<&String> {
        self.connection_id.as_ref().filter(|_| self.ownership == Some(Ownership::Owned))
    }
}

/// The view of EC2 and of the cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observation {
    /// The connection with the recorded ID.
    pub recorded: Option<Arc<Connection>>,
    /// Live connections with the owner's tags.
    pub owned: Vec<Arc<Connection>>,
    /// Live connections with the tags of an earlier resource of this name, which is deleted.
    pub orphaned: Vec<Arc<Connection>>,
    /// The connection that the spec names for adoption.
    pub wanted: Option<Arc<Connection>>,
    /// The connections of recorded routes, other than the recorded connection.
    pub earlier: Vec<Arc<Connection>>,
    /// Connections that EC2 has shown to this process as the owner's own. EC2 may not show them any more.
    pub remembered: BTreeSet<Authorized>,
    /// A live connection between the same VPCs that is not the owner's.
    pub conflicting: Option<Arc<Connection>>,
    /// An older resource of this cluster that claims the same VPCs.
    pub older_claim: Option<OlderClaim>,
    /// The result of the last check of the two VPCs, if it is recent.
    pub preflight: Option<Preflight>,
    /// Time for which EC2 has not shown a connection that must exist by the record.
    pub missing_for: Duration,
    /// Time for which EC2 has shown the current code of the recorded connection, if the code is transient.
    pub transient_for: Duration,
    /// The view from the accepter's end.
    pub accepter: AccepterView,
    /// The route tables of each end whose routes the operator manages.
    pub tables: BTreeMap<Side, Result<Arc<RouteTables>, Blocker>>,
    /// The subnets of each end whose route tables the spec selects by subnet.
    pub subnets: BTreeMap<Side, Result<Arc<Subnets>, Blocker>>,
    /// The prefix lists of each end whose routes lead to some.
    pub lists: BTreeMap<Side, NamedPrefixLists>,
    /// AWS's quotas at each end of [`tables`](Self::tables).
    pub quotas: BTreeMap<Side, Quotas>,
    /// The DNS attributes of the VPC of each end where the operator acts, if it has looked.
    pub dns: BTreeMap<Side, Result<DnsAttributes, Blocker>>,
    /// The references between security groups of both VPCs, at each end at which the operator has looked. `None` if the
    /// credentials may not look.
    pub security_groups: BTreeMap<Side, Option<Arc<SecurityGroupReferences>>>,
    /// EC2's answers to the route calls of this process.
    pub route_answers: RouteAnswers,
    /// The refusals of AWS whose next attempt is not due yet.
    pub refused: BTreeMap<Aspect, Vec<Refusal<Step>>>,
    /// The changes that EC2 has accepted and does not show yet.
    pub unseen: BTreeMap<Aspect, Unseen<Step>>,
}

/// The view from the accepter's end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum AccepterView {
    /// No identity acts for the accepter.
    #[default]
    Nobody,
    /// The accepter is in the requester's account and region, and has the same tags.
    Same,
    /// The accepter is in another account or region, which shows this connection.
    Elsewhere(Result<Option<Arc<Connection>>, Blocker>),
}

/// An older resource that claims the same VPCs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OlderClaim {
    /// Its kind and name, for messages.
    pub resource: String,
    pub is_deleted: bool,
}

impl Observation {
    /// Every connection of the requester's region in this view.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Arc<Connection>> {
        let one = self.recorded.iter().chain(&self.wanted).chain(&self.conflicting);
        one.chain(&self.owned).chain(&self.orphaned).chain(&self.earlier)
    }

    /// The connections of recorded routes, with the reason to believe that each is the owner's. A connection that the record
    /// only observes needs the ownership tags.
    pub(crate) fn routed<'a>(&'a self, recorded: &Recorded) -> impl Iterator<Item = (&'a Arc<Connection>, Hint)> {
        let hint = if recorded.owned_id().is_some() { Hint::Recorded } else { Hint::Tagged };
        let of_record = self.recorded.iter().map(move |connection| (connection, hint));
        of_record.chain(self.earlier.iter().map(|connection| (connection, Hint::Tagged)))
    }

    /// Whether EC2 shows the effect of a change of tags, options or DNS attributes.
    pub(crate) fn shows(&self, step: &Step) -> bool {
        let Step::Upkeep { side, step } = step else { return true };
        let id = step.connection_id();
        let is_it = |connection: &&Arc<Connection>| id.is_some_and(|id| connection.id == id.as_str());
        let connection = match (side, &self.accepter) {
            (Side::Accepter, AccepterView::Elsewhere(view)) => {
                view.as_ref().ok().and_then(Option::as_ref).filter(is_it)
            }
            _ => self.shown().find(is_it),
        };
        step.is_shown(*side, connection.map(|connection| &**connection), self.dns.get(side))
    }

    /// Whether the accepter's end has tags of its own.
    pub(super) fn has_accepter_tags(&self) -> bool {
        matches!(self.accepter, AccepterView::Elsewhere(_))
    }

    /// Whether EC2 shows no connection that is, or may be, the owner's.
    pub(crate) fn is_empty(&self) -> bool {
        self.recorded.is_none() && self.owned.is_empty()
    }

    /// Whether EC2 does not show a connection that must exist by the record.
    pub(crate) fn lacks(&self, recorded: &Recorded) -> bool {
        match recorded.connection_id {
            Some(_) => self.recorded.is_none(),
            None => recorded.creation_started && self.owned.is_empty(),
        }
    }
}

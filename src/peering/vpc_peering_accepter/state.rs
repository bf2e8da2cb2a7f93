//! The input of the decision: the spec, the record in the status, and EC2's view.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::rules::{self, Rule};
use super::step::Step;
use crate::api::{
    DeletionPolicy, ManagedRoute, RequestedConnection, Side, VpcPeeringAccepterSpec, VpcPeeringAccepterStatus,
};
use crate::peering::authority::{self, Authority, Authorized};
use crate::peering::blocker::Blocker;
use crate::peering::connection::{Connection, StatusCode};
use crate::peering::defaults::Defaults;
use crate::peering::dns::DnsAttributes;
use crate::peering::endpoints::Endpoint;
use crate::peering::goal::Goal;
use crate::peering::limits::Permissions;
use crate::peering::owner::Owner;
use crate::peering::plan::{Aspect, Refusal, Unseen};
use crate::peering::quota::Quotas;
use crate::peering::routes::{NamedPrefixLists, RouteAnswers, RouteTables, Subnets};
use crate::peering::settings::Settings;

/// The desired state, and the object that it comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Desired<'a> {
    pub owner: &'a Owner,
    pub spec: &'a VpcPeeringAccepterSpec,
    /// The VPC, with every default filled in.
    pub end: &'a Endpoint,
    /// The limits of the identity that acts.
    pub permissions: &'a Permissions,
    /// The defaults of the operator for what the spec leaves open.
    pub defaults: &'a Defaults,
    /// See [`Settings::is_cluster_unique`](crate::peering::Settings::is_cluster_unique).
    pub is_cluster_unique: bool,
    pub deleted: bool,
    /// Whether the object has the operator's finalizer.
    pub finalizer: bool,
    /// The value of the annotation that asks for an immediate reconcile, which the status repeats as an answer.
    pub reconcile_at: Option<&'a str>,
    pub generation: i64,
    /// The status as it is stored.
    pub status: Option<&'a VpcPeeringAccepterStatus>,
}

impl<'a> Desired<'a> {
    /// The parts that the status answers.
    pub(crate) fn goal(&self) -> Goal<'a, VpcPeeringAccepterSpec> {
        Goal {
            spec: self.spec,
            deletion_policy: self.deletion_policy(),
            deleted: self.deleted,
            generation: self.generation,
        }
    }

    /// The answer of the lists in the spec.
    pub(super) fn rule(&self, connection: &Connection) -> Rule {
        rules::judge(&self.spec.accept, &self.spec.deny, &connection.requester)
    }

    /// The connections that this resource may act on.
    pub(crate) fn authority(&self) -> Authority<'a> {
        Authority {
            owner: self.owner,
            ownership: authority::Ownership::Acceptance,
            requester: None,
            accepter: self.end,
            permissions: self.permissions,
            is_cluster_unique: self.is_cluster_unique,
        }
    }

    /// The reason why EC2 would refuse the tags.
    pub(super) fn excess_tags(&self) -> Option<Blocker> {
        self.defaults.excess(&self.tags(), [("spec.tags", self.spec.tags.len())])
    }

    pub(crate) fn deletion_policy(&self) -> DeletionPolicy {
        self.defaults.deletion_policy(self.spec.deletion_policy)
    }

    /// Whether the VPC needs its DNS attributes.
    pub(crate) fn needs_dns(&self) -> bool {
        self.spec.options.is_some_and(|options| options.allow_dns_resolution_from_remote_vpc == Some(true))
    }

    /// The default tags, the tags of the spec, and those that name this resource as the accepter.
    pub(super) fn tags(&self) -> BTreeMap<String, String> {
        let of_spec = self.defaults.with_tags(&self.spec.tags);
        let ownership = self.owner.accepter_tags().into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        of_spec.into_iter().chain(ownership).collect()
    }
}

/// The record in the status. Other people can write it, so that it proves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub connections: BTreeMap<String, RequestedConnection>,
    /// The routes that the operator has created, or is about to create, through any connection.
    pub routes: BTreeSet<ManagedRoute>,
}

impl Recorded {
    pub(crate) fn of(status: Option<&VpcPeeringAccepterStatus>) -> Self {
        let connections = status.into_iter().flat_map(|status| &status.connections);
        Self {
            connections: connections
                .map(|connection| (connection.vpc_peering_connection_id.clone(), connection.clone()))
                .collect(),
            routes: status.into_iter().flat_map(|status| &status.routes).cloned().collect(),
        }
    }

    /// The connections that the operator has accepted or adopted, or was about to.
    pub(crate) fn accepted(&self) -> impl Iterator<Item = &RequestedConnection> {
        self.connections.values().filter(|connection| connection.is_accepted())
    }

    /// The record of a connection that the operator has accepted or adopted, or was about to.
    pub(crate) fn acceptance(&self, id: &str) -> Option<&RequestedConnection> {
        self.connections.get(id).filter(|connection| connection.is_accepted())
    }

    /// The routes through one connection, and those through all others.
    pub(super) fn routes_through(&self, id: &str) -> (BTreeSet<ManagedRoute>, BTreeSet<ManagedRoute>) {
        self.routes.iter().cloned().partition(|route| route.vpc_peering_connection_id == id)
    }
}

/// The view of EC2 and of the cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observation {
    /// The connections whose accepter is the VPC, and those that are recorded as accepted.
    pub connections: BTreeMap<String, Arc<Connection>>,
    /// Time for which EC2 has not shown a connection that is recorded as accepted.
    pub missing_for: BTreeMap<String, Duration>,
    /// Connections that EC2 has shown to this process as the owner's own. EC2 may not show them any more.
    pub remembered: BTreeSet<Authorized>,
    /// The route tables of the VPC, if the operator manages routes in them.
    pub tables: Option<Result<Arc<RouteTables>, Blocker>>,
    /// The subnets of the VPC, if the spec selects route tables by subnet.
    pub subnets: Option<Result<Arc<Subnets>, Blocker>>,
    /// The prefix lists of the spec, if its routes lead to some.
    pub lists: Option<NamedPrefixLists>,
    /// AWS's quotas.
    pub quotas: Quotas,
    /// An older resource of this cluster that decides on requests to the same VPC: its kind and name.
    pub older_accepter: Option<String>,
    /// The connections that a `VpcPeering` of this cluster records as its own, although its tags are not shown yet.
    pub claimed: BTreeSet<String>,
    /// Whether EC2 has had time to show the last change.
    pub is_settled: bool,
    /// The DNS attributes of the VPC, if the operator has looked.
    pub dns: Option<Result<DnsAttributes, Blocker>>,
    /// EC2's answers to the route calls of this process.
    pub route_answers: RouteAnswers,
    /// The refusals of AWS whose next attempt is not due yet.
    pub refused: BTreeMap<(String, Aspect), Vec<Refusal<Step>>>,
    /// The changes that EC2 has accepted and does not show yet.
    pub unseen: BTreeMap<(String, Aspect), Unseen<Step>>,
}

impl Observation {
    /// Whether EC2 shows the effect of a change of tags, options or DNS attributes.
    pub(crate) fn shows(&self, step: &Step) -> bool {
        let Step::Upkeep { id, step } = step else { return true };
        let connection = self.connections.get(id).map(|connection| &**connection);
        step.is_shown(Side::Accepter, connection, self.dns.as_ref())
    }

    /// Whether an accepted connection is certainly gone: EC2 shows that it has ended, has shown it before, or has not
    /// shown the connection for the consistency window.
    pub(super) fn is_gone(&self, record: &RequestedConnection, settings: Settings) -> bool {
        let id = &record.vpc_peering_connection_id;
        match self.connections.get(id) {
            Some(connection) => connection.code.has_ended(),
            None => {
                record.code.as_deref().is_some_and(|code| StatusCode::from(code).has_ended())
                    || self.missing_for.get(id).is_some_and(|missing| *missing >= settings.consistency_window)
            }
        }
    }
}

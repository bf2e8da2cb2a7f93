//! What a decision is made from: what is wanted, what was recorded, what is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::api::{ManagedRoute, RequestedConnection, VpcPeeringAccepterSpec, VpcPeeringAccepterStatus};
use crate::peering::authority::{self, Authority, Authorized};
use crate::peering::routes::RouteTables;
use crate::peering::{Claim, Aspect, Connection, Endpoint, Owner, Permissions, Blocker};

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Desired<'a> {
    /// Who accepts.
    pub owner: &'a Owner,
    /// What the user says.
    pub spec: &'a VpcPeeringAccepterSpec,
    /// The VPC, with every default filled in.
    pub end: &'a Endpoint,
    /// What the identity that acts for it allows.
    pub permissions: &'a Permissions,
    /// Whether no other cluster has this cluster's ID, so that the names of a resource identify it.
    pub is_cluster_unique: bool,
    /// The resource is being deleted.
    pub deleted: bool,
    /// Our finalizer is on the resource.
    pub finalizer: bool,
}

impl<'a> Desired<'a> {
    /// What this resource may act on.
    #[must_use]
    pub fn authority(&self) -> Authority<'a> {
        Authority {
            owner: self.owner,
            ownership: authority::Ownership::Acceptance,
            requester: None,
            accepter: self.end,
            permissions: self.permissions,
            is_cluster_unique: self.is_cluster_unique,
        }
    }
}

/// What we wrote down earlier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// What was decided, by connection.
    pub connections: BTreeMap<String, RequestedConnection>,
    /// The routes that we have made, or are about to, through any of them.
    pub routes: BTreeSet<ManagedRoute>,
}

impl Recorded {
    /// What the status says.
    #[must_use]
    pub fn of(status: Option<&VpcPeeringAccepterStatus>) -> Self {
        let connections = status.into_iter().flat_map(|status| &status.connections);
        Self {
            connections: connections
                .map(|connection| (connection.vpc_peering_connection_id.clone(), connection.clone()))
                .collect(),
            routes: status.into_iter().flat_map(|status| &status.routes).cloned().collect(),
        }
    }

    /// The connections that we have accepted, or were about to.
    pub fn accepted(&self) -> impl Iterator<Item = &RequestedConnection> {
        self.connections.values().filter(|connection| connection.accepted_at.is_some())
    }

    /// What is recorded of a connection that we have accepted, or were about to.
    #[must_use]
    pub fn acceptance(&self, id: &str) -> Option<&RequestedConnection> {
        self.connections.get(id).filter(|connection| connection.accepted_at.is_some())
    }

    /// The routes through one connection, and those through all others.
    pub(super) fn routes_through(&self, id: &str) -> (BTreeSet<ManagedRoute>, BTreeSet<ManagedRoute>) {
        self.routes.iter().cloned().partition(|route| route.vpc_peering_connection_id == id)
    }
}

/// What EC2, and the cluster, show.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The connections whose accepter is the VPC, and those that are recorded as accepted.
    pub connections: BTreeMap<String, Arc<Connection>>,
    /// For how long we have been looking, in vain, for those that are recorded as accepted.
    pub missing_for: BTreeMap<String, Duration>,
    /// Connections that EC2 has shown to this process as the owner's own, and may show no more.
    pub remembered: BTreeSet<Authorized>,
    /// The VPC's route tables, where its routes are ours to look after.
    pub tables: Option<Result<Arc<RouteTables>, Blocker>>,
    /// An older resource of this cluster that decides on requests to the same VPC.
    pub older_claim: Option<Claim>,
    /// EC2 has had time to show what we did last.
    pub is_settled: bool,
    /// What AWS refused, and is not to be asked for again yet.
    pub refused: BTreeMap<(String, Aspect), Blocker>,
}

//! The connections that a resource may act on. The status, the ownership tags and the spec of a resource are only
//! hints, because other people can write them. A resource may act on a connection while all of these hold:
//! - EC2 shows the connection with the ends of the spec.
//! - The connection does not carry the tags of another owner.
//! - The identities that act allow both VPCs.
//!
//! Every step on a connection carries an [`Authorized`]. Only [`Authority::over`] creates one, so a new kind of step
//! cannot omit the check.

use std::fmt;
use std::ops::Deref;

use super::blocker::Blocker;
use super::connection::{Connection, Tags};
use super::endpoints::Endpoint;
use super::limits::Permissions;
use super::owner::Owner;
use crate::api::{Reason, Side, Text};

/// The ID of a connection that a resource may act on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Authorized(String);

/// The hint that a connection belongs to the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// The status records it. The ownership tags may be missing, because somebody may have removed them.
    Recorded,
    /// It carries the ownership tags of the resource.
    Tagged,
    /// The spec asks to adopt it.
    Named,
    /// It carries the tags of an earlier resource of the same name in this cluster, which no longer exists.
    Predecessor,
    /// It is a request that the rules of the spec accept, or have accepted before.
    Requested,
}

/// The set of ownership tags that a kind uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// The tags of a `VpcPeering`.
    Peering,
    /// The tags of a `VpcPeeringAccepter`, at the accepter's end.
    Acceptance,
}

/// The input of the check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Authority<'a> {
    pub owner: &'a Owner,
    pub ownership: Ownership,
    /// The requester's end of the spec. `None` for a `VpcPeeringAccepter`, which accepts the requests of others.
    pub requester: Option<&'a Endpoint>,
    /// The accepter's end of the spec.
    pub accepter: &'a Endpoint,
    /// The permissions of the identities that act.
    pub permissions: &'a Permissions,
    /// Whether no other cluster can have this cluster's ID. If so, the namespace and name identify a resource.
    pub is_cluster_unique: bool,
}

impl Authorized {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Skips the check.
    #[cfg(test)]
    pub(crate) fn unchecked(id: &str) -> Self {
        Self(id.to_owned())
    }
}

impl Deref for Authorized {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Authorized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Authority<'_> {
    /// Checks whether the resource may act on a connection, as EC2 shows it now.
    ///
    /// # Errors
    /// If the ends differ, another resource owns the connection, or an identity does not allow it.
    pub(crate) fn over(&self, connection: &Connection, hint: Hint) -> Result<Authorized, Blocker> {
        if let Some(difference) = self.difference(connection) {
            return Err(Blocker::stalled(Reason::ConnectionMismatch, difference));
        }
        self.check_ownership(connection, hint)?;
        self.check_permissions(connection, hint)?;
        Ok(Authorized(connection.id.clone()))
    }

    /// The message if the ends that EC2 shows differ from those of the spec. It does not name the shown VPC or account,
    /// which may belong to somebody else.
    pub(crate) fn difference(&self, connection: &Connection) -> Option<String> {
        let requester = self.requester.map(|end| (Side::Requester, end, &connection.requester, None));
        // An accepter without an owner belongs to the requester's account.
        let accepter = (
            Side::Accepter,
            self.accepter,
            &connection.accepter,
            self.requester.map(|_| &connection.requester.owner_id),
        );
        for (side, end, shown, default_owner) in requester.into_iter().chain([accepter]) {
            let owner = match (&end.owner_id, default_owner) {
                (Some(owner), _) => Some(owner.as_str()),
                (None, Some(default)) => Some(default.as_deref().unwrap_or_default()),
                (None, None) => None,
            };
            let field = if shown.vpc_id.as_deref() != Some(&end.vpc_id) {
                ("vpcId", end.vpc_id.as_str(), &shown.vpc_id)
            } else if shown.owner_id.is_none() || owner.is_some_and(|owner| shown.owner_id.as_deref() != Some(owner)) {
                ("ownerId", owner.unwrap_or_default(), &shown.owner_id)
            // EC2 omits the region of an end in the caller's region.
            } else if shown.region.as_ref().is_some_and(|region| *region != end.region) {
                ("region", end.region.as_str(), &shown.region)
            } else {
                continue;
            };
            return Some(self.mismatch(connection, side, field));
        }
        None
    }

    fn mismatch(&self, connection: &Connection, side: Side, field: (&str, &str, &Option<Text>)) -> String {
        let (id, (name, wanted, shown)) = (&connection.id, field);
        let place = match self.ownership {
            Ownership::Peering => format!("spec.{side}.{name}"),
            Ownership::Acceptance => format!("spec.{name}"),
        };
        let shown = if shown.is_some() { "EC2 shows another value" } else { "EC2 does not show it" };
        let wanted = if wanted.is_empty() { "the requester's account" } else { wanted };
        format!("{id} does not match the spec, and was not changed: {place} is {wanted}, but {shown}")
    }

    fn check_ownership(&self, connection: &Connection, hint: Hint) -> Result<(), Blocker> {
        let is_ours = self.is_ours(&connection.tags);
        let is_predecessors = self.is_predecessors(&connection.tags);
        let is_free = !self.is_anothers(&connection.tags);
        let is_proven = match hint {
            Hint::Tagged => is_ours,
            Hint::Recorded => is_ours || is_free,
            Hint::Predecessor => is_predecessors,
            Hint::Named | Hint::Requested => is_ours || is_free || is_predecessors,
        };
        if is_proven {
            return Ok(());
        }
        Err(Blocker::stalled(Reason::ConnectionNotOwned, self.not_owned(connection)))
    }

    fn check_permissions(&self, connection: &Connection, hint: Hint) -> Result<(), Blocker> {
        match self.requester {
            Some(requester) => {
                self.permissions.admit(requester, self.accepter)?;
            }
            None => {
                let limits = self.permissions.at(Side::Accepter);
                let limits = limits.ok_or_else(|| {
                    let message = format!("no identity acts for {}; set spec.identityRef", self.accepter.vpc_id);
                    Blocker::stalled(Reason::IdentityNotFound, message)
                })?;
                limits.vpc("spec.vpcId", &self.accepter.vpc_id)?;
                let peer = &connection.requester;
                limits.peer(&connection.id, peer.owner_id.as_deref(), peer.vpc_id.as_deref())?;
            }
        }
        let adopts = hint == Hint::Named && !self.is_ours(&connection.tags);
        if adopts { self.adoption() } else { Ok(()) }
    }

    /// Checks whether the identity may adopt connections.
    pub(crate) fn adoption(&self) -> Result<(), Blocker> {
        match self.ownership {
            Ownership::Peering => self.permissions.adoption(Side::Requester, "spec.vpcPeeringConnectionId"),
            Ownership::Acceptance => self.permissions.adoption(Side::Accepter, "spec.adopt"),
        }
    }

    /// Whether the tags name this resource. The UID and the cluster ID decide; the names are for people.
    pub(crate) fn is_ours(&self, tags: &Tags) -> bool {
        let [cluster, _, _, uid] = self.keys();
        has(tags, uid, &self.owner.uid) && has(tags, cluster, &self.owner.cluster)
    }

    /// Whether the tags name an earlier resource of the same name in this cluster. That resource no longer exists.
    pub(crate) fn is_predecessors(&self, tags: &Tags) -> bool {
        let [cluster, namespace, name, uid] = self.keys();
        self.is_cluster_unique
            && has(tags, cluster, &self.owner.cluster)
            && has(tags, namespace, &self.owner.namespace)
            && has(tags, name, &self.owner.name)
            && tags.get(uid).is_some_and(|uid| *uid != self.owner.uid)
    }

    /// Whether any of the tags names another owner. One differing tag is enough. Absent tags name nobody.
    pub(crate) fn is_anothers(&self, tags: &Tags) -> bool {
        let [cluster, _, _, uid] = self.keys();
        let differs = |key: &str, ours: &str| tags.get(key).is_some_and(|value| value != ours);
        differs(uid, &self.owner.uid) || differs(cluster, &self.owner.cluster)
    }

    /// The keys of the ownership tags of this kind: cluster, namespace, name, UID.
    pub(crate) fn keys(&self) -> [&'static str; 4] {
        match self.ownership {
            Ownership::Peering => [Owner::CLUSTER, Owner::NAMESPACE, Owner::NAME, Owner::UID],
            Ownership::Acceptance => {
                [Owner::ACCEPTER_CLUSTER, Owner::ACCEPTER_NAMESPACE, Owner::ACCEPTER_NAME, Owner::ACCEPTER_UID]
            }
        }
    }

    /// The message for a connection between the VPCs of the spec that another owner has. It does not name a resource of
    /// another namespace, because such a name may be confidential.
    pub(crate) fn not_owned(&self, connection: &Connection) -> String {
        let (id, code) = (&connection.id, &connection.code);
        let [cluster, namespace, name, _] = self.keys().map(|key| connection.tags.get(key));
        if self.is_predecessors(&connection.tags) {
            return format!(
                "{id} ({code}) already joins these VPCs and belongs to an earlier resource of this name, which no longer exists. To adopt the connection, create the resource again with spec.vpcPeeringConnectionId; otherwise delete the connection in EC2"
            );
        }
        if !self.is_anothers(&connection.tags) && !self.is_ours(&connection.tags) {
            return format!(
                "{id} ({code}) already joins these VPCs, and this resource did not create it, so {id} was not changed. To adopt it, create a resource with spec.vpcPeeringConnectionId"
            );
        }
        let is_same_namespace = cluster.is_some_and(|cluster| *cluster == self.owner.cluster)
            && namespace.is_some_and(|namespace| *namespace == self.owner.namespace);
        let whose = match name.filter(|_| is_same_namespace) {
            Some(name) => format!("VpcPeering {}/{name}", self.owner.namespace),
            None => "a resource of another namespace or cluster".to_owned(),
        };
        format!(
            "{id} ({code}) already joins these VPCs and belongs to {whose}, so {id} was not changed. Delete one of the two resources"
        )
    }
}

fn has(tags: &Tags, key: &str, value: &str) -> bool {
    tags.get(key).is_some_and(|tag| tag == value)
}

#[cfg(test)]
mod tests;

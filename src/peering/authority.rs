//! Which connections a resource may act on. The status, the ownership tags and the spec of a resource are only hints: other
//! people can write them. A connection is a resource's own only while EC2 shows it with the ends of the spec, no other
//! owner's tags are on it, and the identities that act allow both VPCs.
//!
//! Every step that names a connection carries an [`Authorized`], which nothing but [`Authority::over`] makes. A new kind of
//! step cannot forget the check.

use std::fmt;
use std::ops::Deref;

use smol_str::SmolStr;

use super::limits::Permissions;
use super::{Connection, End, Ends, Owner, Tags, Trouble};
use crate::api::{Reason, Side};

/// The ID of a connection that a resource may act on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Authorized(String);

/// What suggests that a connection is the resource's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The status names it. EC2 may show it without our tags, which somebody may have removed.
    Recorded,
    /// It carries our ownership tags.
    Tagged,
    /// The spec asks to take it over.
    Named,
    /// It carries the tags of an earlier resource of the same name in this cluster, which is gone.
    Predecessor,
    /// It is a request that the rules of the spec let in, or that was let in before.
    Requested,
}

/// By which tags a kind of resource owns a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// A `VpcPeering`.
    Peering,
    /// A `VpcPeeringAccepter`, at the accepter's end.
    Acceptance,
}

/// What a resource may act on.
#[derive(Clone, Copy, Debug)]
pub struct Authority<'a> {
    /// The resource.
    pub owner: &'a Owner,
    /// By which tags it owns a connection.
    pub ownership: Ownership,
    /// The requester's end of the spec; none where the resource takes requests of others.
    pub requester: Option<&'a End>,
    /// The accepter's end of the spec.
    pub accepter: &'a End,
    /// What the identities that act allow.
    pub permissions: &'a Permissions,
    /// Whether no other cluster has this cluster's ID, so that the names of a resource identify it.
    pub is_cluster_unique: bool,
}

impl Authorized {
    /// The ID.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For tests that do not test the check itself.
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
    /// Whether the resource may act on this connection, as EC2 shows it now.
    ///
    /// # Errors
    /// Why it may not: the ends differ, another resource owns it, or an identity does not allow it.
    pub fn over(&self, connection: &Connection, hint: Hint) -> Result<Authorized, Trouble> {
        if let Some(difference) = self.difference(connection) {
            return Err(Trouble::stalled(Reason::ConnectionMismatch, difference));
        }
        self.ownership_by(connection, hint)?;
        self.permitted(connection, hint)?;
        Ok(Authorized(connection.id.clone()))
    }

    /// How the ends that EC2 shows differ from those of the spec.
    #[must_use]
    pub fn difference(&self, connection: &Connection) -> Option<String> {
        let requester = self.requester.map(|end| (Side::Requester, end, &connection.requester, None));
        // An accepter without an owner is of the requester's account.
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
            // EC2 leaves out the region of an end in the caller's own.
            } else if shown.region.as_ref().is_some_and(|region| *region != end.region) {
                ("region", end.region.as_str(), &shown.region)
            } else {
                continue;
            };
            return Some(self.mismatch(connection, side, field));
        }
        None
    }

    fn mismatch(&self, connection: &Connection, side: Side, field: (&str, &str, &Option<SmolStr>)) -> String {
        let (id, (name, wanted, shown)) = (&connection.id, field);
        let place = match self.ownership {
            Ownership::Peering => format!("spec.{side}.{name}"),
            Ownership::Acceptance => format!("spec.{name}"),
        };
        let shown = if shown.is_some() { "EC2 shows another one" } else { "EC2 does not show it" };
        let wanted = if wanted.is_empty() { "the requester's account" } else { wanted };
        format!("{id} is not a peering of this spec, and was left alone: {place} is {wanted}, and {shown}")
    }

    fn ownership_by(&self, connection: &Connection, hint: Hint) -> Result<(), Trouble> {
        let is_ours = self.is_ours(&connection.tags);
        let is_predecessors = self.is_predecessors(&connection.tags);
        let is_free = !self.is_anybodys(&connection.tags);
        let is_proven = match hint {
            Hint::Tagged => is_ours,
            Hint::Recorded => is_ours || is_free,
            Hint::Predecessor => is_predecessors,
            Hint::Named | Hint::Requested => is_ours || is_free || is_predecessors,
        };
        if is_proven {
            return Ok(());
        }
        Err(Trouble::stalled(Reason::ConnectionNotOwned, self.not_owned(connection)))
    }

    fn permitted(&self, connection: &Connection, hint: Hint) -> Result<(), Trouble> {
        match self.requester {
            Some(requester) => {
                let ends = Ends { requester: requester.clone(), accepter: self.accepter.clone() };
                self.permissions.admit(&ends)?;
            }
            None => {
                let limits = self.permissions.at(Side::Accepter);
                let limits = limits.ok_or_else(|| {
                    let message = format!("no identity acts for {}", self.accepter.vpc_id);
                    Trouble::stalled(Reason::IdentityNotFound, message)
                })?;
                limits.vpc("spec.vpcId", &self.accepter.vpc_id)?;
                let peer = &connection.requester;
                limits.peer(&connection.id, peer.owner_id.as_deref(), peer.vpc_id.as_deref())?;
            }
        }
        let takes_over = hint == Hint::Named && !self.is_ours(&connection.tags);
        if takes_over { self.permissions.adoption() } else { Ok(()) }
    }

    /// Whether these tags name this resource. The names are for people; the IDs decide.
    #[must_use]
    pub fn is_ours(&self, tags: &Tags) -> bool {
        let [cluster, _, _, uid] = self.keys();
        has(tags, uid, &self.owner.uid) && has(tags, cluster, &self.owner.cluster)
    }

    /// Whether these tags name an earlier resource of this name in this cluster, which must be gone.
    #[must_use]
    pub fn is_predecessors(&self, tags: &Tags) -> bool {
        let [cluster, namespace, name, uid] = self.keys();
        self.is_cluster_unique
            && has(tags, cluster, &self.owner.cluster)
            && has(tags, namespace, &self.owner.namespace)
            && has(tags, name, &self.owner.name)
            && tags.get(uid).is_some_and(|uid| *uid != self.owner.uid)
    }

    /// Whether these tags name anybody but this resource, at least by half.
    fn is_anybodys(&self, tags: &Tags) -> bool {
        let [cluster, _, _, uid] = self.keys();
        let differs = |key: &str, ours: &str| tags.get(key).is_some_and(|value| value != ours);
        differs(uid, &self.owner.uid) || differs(cluster, &self.owner.cluster)
    }

    /// The keys of the tags by which this kind of resource owns a connection: cluster, namespace, name, UID.
    #[must_use]
    pub fn keys(&self) -> [&'static str; 4] {
        match self.ownership {
            Ownership::Peering => [Owner::CLUSTER, Owner::NAMESPACE, Owner::NAME, Owner::UID],
            Ownership::Acceptance => {
                [Owner::ACCEPTER_CLUSTER, Owner::ACCEPTER_NAMESPACE, Owner::ACCEPTER_NAME, Owner::ACCEPTER_UID]
            }
        }
    }

    /// Why a connection between the VPCs of the spec is not this resource's. Another namespace's resource is not named: its
    /// name is nobody's business here.
    #[must_use]
    pub fn not_owned(&self, connection: &Connection) -> String {
        let (id, code) = (&connection.id, &connection.code);
        let [cluster, namespace, name, _] = self.keys().map(|key| connection.tags.get(key));
        if self.is_predecessors(&connection.tags) {
            return format!(
                "{id} ({code}) already joins these VPCs and belongs to an earlier resource of this name, which is gone. To take it over, create the resource again with spec.vpcPeeringConnectionId; otherwise delete the connection in EC2"
            );
        }
        if !self.is_anybodys(&connection.tags) && !self.is_ours(&connection.tags) {
            return format!(
                "{id} ({code}) already joins these VPCs and was not made by this resource. To take it over, create a resource with spec.vpcPeeringConnectionId; this one leaves {id} alone"
            );
        }
        let is_near = cluster.is_some_and(|cluster| *cluster == self.owner.cluster)
            && namespace.is_some_and(|namespace| *namespace == self.owner.namespace);
        let whose = match name.filter(|_| is_near) {
            Some(name) => format!("VpcPeering {}/{name}", self.owner.namespace),
            None => "a resource of another namespace or cluster".to_owned(),
        };
        format!(
            "{id} ({code}) already joins these VPCs and belongs to {whose}. Delete one of the two resources; this one leaves {id} alone"
        )
    }
}

fn has(tags: &Tags, key: &str, value: &str) -> bool {
    tags.get(key).is_some_and(|tag| tag == value)
}

#[cfg(test)]
mod tests;

//! Every connection that one account sees in one region, at one time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::quota::Usage;
use super::{Connection, Ends, Observation, Owner, Recorded};

/// Every connection that one account sees in one region, indexed for the questions that reconciles ask.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    connections: BTreeMap<String, Connection>,
    by_owner: HashMap<String, Vec<String>>,
    /// By a hash of the owner's names.
    by_name: HashMap<u64, Vec<String>>,
    by_pair: HashMap<[String; 2], Vec<String>>,
    by_accepter: HashMap<String, Vec<String>>,
    usage: Usage,
}

impl Snapshot {
    /// The connection with this ID.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Connection> {
        self.connections.get(id)
    }

    /// How many connections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Whether a connection of this cluster's is on its way to another code.
    #[must_use]
    pub fn has_motion_of(&self, cluster: &str) -> bool {
        self.connections.values().any(|connection| {
            let owners = [Owner::of(&connection.tags), Owner::accepter_of(&connection.tags)];
            connection.code.is_in_motion() && owners.into_iter().flatten().any(|owner| owner.cluster == cluster)
        })
    }

    /// The IDs of all connections that came, went or changed since `earlier`, and what [`requests_to`] calls those to a
    /// VPC.
    #[must_use]
    pub fn changes_since(&self, earlier: &Self) -> BTreeSet<String> {
        let ids = self.connections.keys().chain(earlier.connections.keys());
        let pairs = ids.map(|id| (self.get(id), earlier.get(id))).filter(|(now, then)| now != then);
        let changed = pairs.flat_map(|(now, then)| [now, then]).flatten();
        let keys = changed.flat_map(|connection| {
            [Some(connection.id.clone()), connection.accepter.vpc_id.as_deref().map(requests_to)]
        });
        keys.flatten().collect()
    }

    /// The connections whose accepter is this VPC.
    pub fn to(&self, vpc_id: &str) -> impl Iterator<Item = &Connection> {
        self.by_accepter.get(vpc_id).into_iter().flatten().filter_map(|id| self.get(id))
    }

    /// What this snapshot shows of one resource's peering.
    #[must_use]
    pub fn observe(&self, owner: &Owner, recorded: &Recorded, ends: &Ends, wanted: Option<&String>) -> Observation {
        let (requester, accepter) = (&ends.requester.vpc_id, &ends.accepter.vpc_id);
        let living = |ids: Option<&Vec<String>>| -> Vec<&Connection> {
            let connections = ids.into_iter().flatten().filter_map(|id| self.get(id));
            connections.filter(|connection| !connection.code.has_ended()).collect()
        };
        let is_owned = |connection: &&Connection| owner.is_named_by(&connection.tags);
        let find = |id: Option<&String>| id.and_then(|id| self.get(id)).cloned();
        Observation {
            recorded: find(recorded.connection_id.as_ref()),
            near_quota: self.usage.warning(requester, accepter),
            wanted: find(wanted),
            owned: living(self.by_owner.get(&owner.uid)).into_iter().filter(is_owned).cloned().collect(),
            left_behind: living(self.by_name.get(&name(owner)))
                .into_iter()
                .filter(|connection| Owner::of(&connection.tags).is_some_and(|other| owner.succeeds(&other)))
                .cloned()
                .collect(),
            rival: living(self.by_pair.get(&pair(requester, accepter)))
                .into_iter()
                .find(|connection| !is_owned(connection))
                .cloned(),
            ..Observation::default()
        }
    }
}

impl FromIterator<Connection> for Snapshot {
    fn from_iter<T: IntoIterator<Item = Connection>>(connections: T) -> Self {
        let mut snapshot = Self::default();
        for connection in connections {
            let id = &connection.id;
            if let Some(owner) = Owner::of(&connection.tags) {
                snapshot.by_name.entry(name(&owner)).or_default().push(id.clone());
                snapshot.by_owner.entry(owner.uid).or_default().push(id.clone());
            }
            if let (Some(requester), Some(accepter)) = (&connection.requester.vpc_id, &connection.accepter.vpc_id) {
                snapshot.by_pair.entry(pair(requester, accepter)).or_default().push(id.clone());
            }
            if let Some(accepter) = &connection.accepter.vpc_id {
                snapshot.by_accepter.entry(accepter.clone()).or_default().push(id.clone());
            }
            snapshot.usage.add(&connection);
            snapshot.connections.insert(id.clone(), connection);
        }
        snapshot
    }
}

/// What owners of one name have in common.
fn name(owner: &Owner) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&owner.cluster, &owner.namespace, &owner.name).hash(&mut hasher);
    hasher.finish()
}

/// What the connections to a VPC are called together, by who waits for a change of one.
#[must_use]
pub fn requests_to(vpc_id: &str) -> String {
    format!("requests to {vpc_id}")
}

/// The two VPCs whichever asked: EC2 allows one active peering between them.
fn pair(one: &str, other: &str) -> [String; 2] {
    let mut pair = [one.to_owned(), other.to_owned()];
    pair.sort();
    pair
}

#[cfg(test)]
mod tests;

//! Every connection that one account sees in one region, at one time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::quota::Usage;
use super::{Connection, Ends, Observation, Owner, Recorded};

/// Every connection that one account sees in one region, indexed for the questions that reconciles ask.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    connections: BTreeMap<String, Connection>,
    by_owner: HashMap<String, Vec<String>>,
    by_pair: HashMap<[String; 2], Vec<String>>,
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
            connection.code.is_in_motion() && Owner::of(&connection.tags).is_some_and(|owner| owner.cluster == cluster)
        })
    }

    /// The IDs of all connections that came, went or changed since `earlier`.
    #[must_use]
    pub fn changes_since(&self, earlier: &Self) -> BTreeSet<String> {
        let differs = |id: &&String| self.get(id) != earlier.get(id);
        self.connections.keys().chain(earlier.connections.keys()).filter(differs).cloned().collect()
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
                snapshot.by_owner.entry(owner.uid).or_default().push(id.clone());
            }
            if let (Some(requester), Some(accepter)) = (&connection.requester.vpc_id, &connection.accepter.vpc_id) {
                snapshot.by_pair.entry(pair(requester, accepter)).or_default().push(id.clone());
            }
            snapshot.usage.add(&connection);
            snapshot.connections.insert(id.clone(), connection);
        }
        snapshot
    }
}

/// The two VPCs whichever asked: EC2 allows one active peering between them.
fn pair(one: &str, other: &str) -> [String; 2] {
    let mut pair = [one.to_owned(), other.to_owned()];
    pair.sort();
    pair
}

#[cfg(test)]
mod tests;

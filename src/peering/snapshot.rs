//! Every connection that one account sees in one region, at one time.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::sync::Arc;

use smol_str::SmolStr;

use super::{Connection, Ends, Observation, Owner, Recorded, quota};

/// Every connection that one account sees in one region, indexed for the questions that reconciles ask.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// In the order of their IDs. What has not changed is shared with earlier snapshots.
    connections: Vec<Arc<Connection>>,
    by_uid: Index,
    by_name: Index,
    by_vpc: Index,
    /// The requests that count towards the quota on those.
    outstanding: usize,
}

/// Positions by the hash of a key. Keys are not kept, so that it is small: whoever finds something checks that it is
/// what was looked for.
#[derive(Clone, Debug, Default)]
struct Index(Vec<(u32, u32)>);

impl Snapshot {
    /// The connection with this ID.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<Connection>> {
        let position = self.connections.binary_search_by(|connection| connection.id.as_str().cmp(id)).ok()?;
        self.connections.get(position)
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

    /// The connection as it is shared by this snapshot, where it is the same here.
    #[must_use]
    pub fn share(&self, mut connection: Connection, cluster: &SmolStr) -> Arc<Connection> {
        if let Some(known) = self.get(&connection.id).filter(|known| ***known == connection) {
            return Arc::clone(known);
        }
        let tags = connection.tags.iter().map(|(key, value)| [key, value].map(|text| Owner::share(text, cluster)));
        connection.tags = tags.map(|[key, value]| (key, value)).collect();
        // What was read has room for more; a copy has none.
        Arc::new(connection.clone())
    }

    /// All of them.
    pub fn connections(&self) -> impl ExactSizeIterator<Item = &Arc<Connection>> {
        self.connections.iter()
    }

    /// Those of this cluster's that are on their way to another code.
    pub fn in_motion(&self, cluster: &str) -> impl Iterator<Item = &Arc<Connection>> {
        let is_of_cluster = move |connection: &&Arc<Connection>| {
            let clusters = [Owner::CLUSTER, Owner::ACCEPTER_CLUSTER].map(|key| connection.tags.get(key));
            clusters.into_iter().flatten().any(|owner| owner == cluster)
        };
        self.connections.iter().filter(|connection| connection.code.is_in_motion()).filter(is_of_cluster)
    }

    /// The IDs of all connections that came, went or changed since `earlier`, and what [`requests_to`] calls those to a
    /// VPC.
    #[must_use]
    pub fn changes_since(&self, earlier: &Self) -> BTreeSet<String> {
        let differ = |one: &&Arc<Connection>, other: &Self| {
            other.get(&one.id).is_none_or(|other| !Arc::ptr_eq(one, other) && **one != *other)
        };
        let now = self.connections.iter().filter(|connection| differ(connection, earlier));
        let then = earlier.connections.iter().filter(|connection| differ(connection, self));
        let keys = now.chain(then).flat_map(|connection| {
            [Some(connection.id.clone()), connection.accepter.vpc_id.as_deref().map(requests_to)]
        });
        keys.flatten().collect()
    }

    /// The connections whose accepter is this VPC.
    pub fn to(&self, vpc_id: &str) -> impl Iterator<Item = &Arc<Connection>> {
        self.of(vpc_id).filter(move |connection| connection.accepter.vpc_id.as_deref() == Some(vpc_id))
    }

    /// The connections of which this VPC is an end.
    fn of(&self, vpc_id: &str) -> impl Iterator<Item = &Arc<Connection>> {
        self.find(&self.by_vpc, vpc_id)
            .filter(move |connection| vpcs(connection).into_iter().flatten().any(|vpc| vpc == vpc_id))
    }

    /// What this snapshot shows of one resource's peering.
    #[must_use]
    pub fn observe(&self, owner: &Owner, recorded: &Recorded, ends: &Ends, wanted: Option<&String>) -> Observation {
        let (requester, accepter) = (ends.requester.vpc_id.as_str(), ends.accepter.vpc_id.as_str());
        let is_living = |connection: &&Arc<Connection>| !connection.code.has_ended();
        let is_owned = |connection: &&Arc<Connection>| owner.is_named_by(&connection.tags);
        // EC2 allows one active peering between two VPCs, whichever asked.
        let joins_them = |connection: &&Arc<Connection>| {
            let vpcs = vpcs(connection);
            vpcs == [Some(requester), Some(accepter)] || vpcs == [Some(accepter), Some(requester)]
        };
        let active_of = |vpc| (vpc, self.of(vpc).filter(|connection| quota::counts_as_active(connection)).count());
        Observation {
            recorded: recorded.connection_id.as_ref().and_then(|id| self.get(id)).cloned(),
            near_quota: quota::warning([active_of(requester), active_of(accepter)], self.outstanding),
            wanted: wanted.and_then(|id| self.get(id)).cloned(),
            owned: self.find(&self.by_uid, &owner.uid).filter(is_living).filter(is_owned).cloned().collect(),
            left_behind: self
                .find(&self.by_name, &name(owner))
                .filter(is_living)
                .filter(|connection| Owner::of(&connection.tags).is_some_and(|other| owner.succeeds(&other)))
                .cloned()
                .collect(),
            earlier: recorded
                .routes
                .iter()
                .map(|route| &route.vpc_peering_connection_id)
                .filter(|id| Some(*id) != recorded.connection_id.as_ref())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .filter_map(|id| self.get(id))
                .cloned()
                .collect(),
            rival: self
                .of(requester)
                .filter(is_living)
                .filter(joins_them)
                .find(|connection| !is_owned(connection))
                .cloned(),
            ..Observation::default()
        }
    }

    fn find<'a>(&'a self, index: &'a Index, key: &(impl Hash + ?Sized)) -> impl Iterator<Item = &'a Arc<Connection>> {
        index.find(key).filter_map(|position| self.connections.get(position))
    }
}

impl Index {
    fn add(&mut self, key: &(impl Hash + ?Sized), position: usize) {
        // EC2 has fewer connections than that.
        self.0.push((hash(key), u32::try_from(position).unwrap_or(u32::MAX)));
    }

    fn sort(&mut self) {
        self.0.sort_unstable();
        self.0.shrink_to_fit();
    }

    fn find(&self, key: &(impl Hash + ?Sized)) -> impl Iterator<Item = usize> {
        let hash = hash(key);
        let first = self.0.partition_point(|(other, _)| *other < hash);
        let found = self.0.iter().skip(first).take_while(move |(other, _)| *other == hash);
        found.map(|(_, position)| *position as usize)
    }
}

fn hash(key: &(impl Hash + ?Sized)) -> u32 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(key) as u32
}

impl<C: Into<Arc<Connection>>> FromIterator<C> for Snapshot {
    fn from_iter<T: IntoIterator<Item = C>>(connections: T) -> Self {
        let mut connections: Vec<_> = connections.into_iter().map(Into::into).collect();
        connections.sort_by(|one: &Arc<Connection>, other| one.id.cmp(&other.id));
        // What moved while EC2 was listed may stand on two pages; the later one counts.
        connections.dedup_by(|later, earlier| {
            let same = later.id == earlier.id;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        connections.shrink_to_fit();
        let mut snapshot = Self::default();
        for (connection, position) in connections.iter().zip(0..) {
            if let Some(owner) = Owner::of(&connection.tags) {
                snapshot.by_name.add(&name(&owner), position);
                snapshot.by_uid.add(&owner.uid, position);
            }
            for vpc in vpcs(connection).into_iter().flatten() {
                snapshot.by_vpc.add(vpc, position);
            }
            snapshot.outstanding += usize::from(quota::counts_as_outstanding(connection));
        }
        for index in [&mut snapshot.by_uid, &mut snapshot.by_name, &mut snapshot.by_vpc] {
            index.sort();
        }
        Self { connections, ..snapshot }
    }
}

/// The VPCs of both ends, requester first.
fn vpcs(connection: &Connection) -> [Option<&str>; 2] {
    [&connection.requester, &connection.accepter].map(|end| end.vpc_id.as_deref())
}

/// What owners of one name have in common.
fn name(owner: &Owner) -> [&str; 3] {
    [&owner.cluster, &owner.namespace, &owner.name]
}

/// What the connections to a VPC are called together, by who waits for a change of one.
#[must_use]
pub fn requests_to(vpc_id: &str) -> String {
    format!("requests to {vpc_id}")
}

#[cfg(test)]
mod tests;

//! All connections that one account sees in one region, at one time.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::sync::Arc;

use super::connection::Connection;
use super::owner::Owner;
use crate::api::Text;

/// All connections that one account sees in one region, indexed for the queries of a reconcile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Sorted by ID. An unchanged connection is shared with the previous snapshot.
    connections: Vec<Arc<Connection>>,
    by_uid: Index,
    by_name: Index,
    by_vpc: Index,
    /// The numbers of outstanding requests, by account and region of the requester.
    outstanding: BTreeMap<[Option<Text>; 2], usize>,
}

/// Positions by the hash of a key, sorted by hash. The keys are not stored: this saves 6.3 MiB at 10,000 resources,
/// compared with a `HashMap<String, Vec<u32>>` per index. The caller compares the keys of the connections that it
/// finds.
#[derive(Clone, Debug, Default)]
struct Index(Vec<(u32, u32)>);

impl Snapshot {
    pub(crate) fn get(&self, id: &str) -> Option<&Arc<Connection>> {
        let position = self.connections.binary_search_by(|connection| connection.id.as_str().cmp(id)).ok()?;
        self.connections.get(position)
    }

    /// Returns the connection of this snapshot if it equals `connection`, so that both share their memory. This saves
    /// 9.0 MiB during a poll at 10,000 resources.
    pub(crate) fn share(&self, mut connection: Connection, cluster: &Text) -> Arc<Connection> {
        if let Some(known) = self.get(&connection.id).filter(|known| ***known == connection) {
            return Arc::clone(known);
        }
        let tags = connection.tags.iter().map(|(key, value)| [key, value].map(|text| Owner::share(text, cluster)));
        connection.tags = tags.map(|[key, value]| (key, value)).collect();
        // A copy has no spare capacity. With the shared texts, this saves 3.1 MiB at 10,000 resources.
        Arc::new(connection.clone())
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn connections(&self) -> impl ExactSizeIterator<Item = &Arc<Connection>> {
        self.connections.iter()
    }

    /// The connections of this cluster with a transient status code.
    pub(crate) fn transient(&self, cluster: &str) -> impl Iterator<Item = &Arc<Connection>> {
        let is_of_cluster = move |connection: &&Arc<Connection>| {
            let clusters = [Owner::CLUSTER, Owner::ACCEPTER_CLUSTER].map(|key| connection.tags.get(key));
            clusters.into_iter().flatten().any(|owner| owner == cluster)
        };
        self.connections.iter().filter(|connection| connection.code.is_transient()).filter(is_of_cluster)
    }

    /// The IDs of the connections that differ from those of `earlier`, and the [`requests_to`] keys of their accepter
    /// VPCs.
    pub(crate) fn changes_since(&self, earlier: &Self) -> BTreeSet<String> {
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
    pub(crate) fn to(&self, vpc_id: &str) -> impl Iterator<Item = &Arc<Connection>> {
        self.of(vpc_id).filter(move |connection| connection.accepter.vpc_id.as_deref() == Some(vpc_id))
    }

    /// The connections with this VPC at either end.
    pub(crate) fn of(&self, vpc_id: &str) -> impl Iterator<Item = &Arc<Connection>> {
        self.find(&self.by_vpc, vpc_id)
            .filter(move |connection| vpcs(connection).into_iter().flatten().any(|vpc| vpc == vpc_id))
    }

    /// The connections whose tags name a resource by this UID.
    pub(crate) fn owned_by(&self, uid: &str) -> impl Iterator<Item = &Arc<Connection>> {
        self.find(&self.by_uid, uid)
    }

    /// The connections whose tags name a resource by the cluster, the namespace and the name of this owner.
    pub(crate) fn owned_by_namesakes(&self, owner: &Owner) -> impl Iterator<Item = &Arc<Connection>> {
        let found: Vec<_> = self.find(&self.by_name, &name(owner)).collect();
        found.into_iter()
    }

    /// The number of outstanding requests from this account and region. A requester that EC2 does not show counts for
    /// every account.
    pub(crate) fn outstanding_of(&self, account: &str, region: &str) -> usize {
        let is = |shown: &Option<Text>, expected: &str| shown.as_deref().is_none_or(|shown| shown == expected);
        let of_account = |key: &[Option<Text>; 2]| is(&key[0], account) && is(&key[1], region);
        self.outstanding.iter().filter(|(key, _)| of_account(key)).map(|(_, number)| number).sum()
    }

    fn find<'a>(&'a self, index: &'a Index, key: &(impl Hash + ?Sized)) -> impl Iterator<Item = &'a Arc<Connection>> {
        index.find(key).filter_map(|position| self.connections.get(position))
    }
}

impl Index {
    fn add(&mut self, key: &(impl Hash + ?Sized), position: usize) {
        // The number of connections is far below this limit.
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
        // A connection that moves during the listing may be on two pages. The later page wins.
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
            if connection.code.is_outstanding() {
                let requester = &connection.requester;
                *snapshot.outstanding.entry([requester.owner_id.clone(), requester.region.clone()]).or_default() += 1;
            }
        }
        for index in [&mut snapshot.by_uid, &mut snapshot.by_name, &mut snapshot.by_vpc] {
            index.sort();
        }
        Self { connections, ..snapshot }
    }
}

/// The VPCs of both ends, requester first.
pub(crate) fn vpcs(connection: &Connection) -> [Option<&str>; 2] {
    [&connection.requester, &connection.accepter].map(|end| end.vpc_id.as_deref())
}

/// The key of `by_name`. It contains no UID.
fn name(owner: &Owner) -> [&str; 3] {
    [&owner.cluster, &owner.namespace, &owner.name]
}

/// The key for changes to any connection whose accepter is this VPC.
pub(crate) fn requests_to(vpc_id: &str) -> String {
    format!("requests to {vpc_id}")
}

#[cfg(test)]
mod tests;

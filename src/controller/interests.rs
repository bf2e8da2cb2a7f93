//! Which resources want to know when a connection changes in EC2.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A resource's namespace and name.
type Key = (String, String);

/// Connection IDs and resources, both ways round.
#[derive(Debug, Default)]
pub struct Interests(Mutex<Indexes>);

#[derive(Debug, Default)]
struct Indexes {
    by_resource: BTreeMap<Key, BTreeSet<String>>,
    by_connection: BTreeMap<String, BTreeSet<Key>>,
}

impl Interests {
    /// This resource wants to know of changes to these connections, and of no others.
    pub fn set(&self, namespace: &str, name: &str, connections: BTreeSet<String>) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut indexes = self.lock();
        if indexes.by_resource.get(&key).unwrap_or(&BTreeSet::new()) == &connections {
            return;
        }
        for id in indexes.by_resource.remove(&key).unwrap_or_default() {
            if let Some(resources) = indexes.by_connection.get_mut(&id) {
                resources.remove(&key);
                if resources.is_empty() {
                    indexes.by_connection.remove(&id);
                }
            }
        }
        for id in &connections {
            indexes.by_connection.entry(id.clone()).or_default().insert(key.clone());
        }
        if !connections.is_empty() {
            indexes.by_resource.insert(key, connections);
        }
    }

    /// The resources that want to know of changes to this connection.
    #[must_use]
    pub fn in_connection(&self, id: &str) -> BTreeSet<Key> {
        self.lock().by_connection.get(id).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Indexes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn the_last_word_of_a_resource_counts() {
        let interests = Interests::default();
        interests.set("a", "x", ids(&["pcx-1", "pcx-2"]));
        interests.set("b", "x", ids(&["pcx-2"]));
        interests.set("a", "x", ids(&["pcx-1"]));
        assert_eq!(interests.in_connection("pcx-1"), BTreeSet::from([("a".into(), "x".into())]));
        assert_eq!(interests.in_connection("pcx-2"), BTreeSet::from([("b".into(), "x".into())]));
        interests.set("a", "x", ids(&[]));
        interests.set("b", "x", ids(&[]));
        assert!(interests.lock().by_connection.is_empty() && interests.lock().by_resource.is_empty());
    }
}

//! Resources by what they are found by: a connection in EC2 that they wait for, or the VPCs that they ask for.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smol_str::SmolStr;

/// A resource's namespace and name.
pub type Key = (SmolStr, SmolStr);

/// By what.
#[derive(Clone, Copy, Debug)]
pub enum By {
    /// IDs in EC2 that a resource waits for: of connections, and of VPCs whose route tables matter.
    Interest,
    /// The two VPCs that it asks for.
    Vpcs,
}

/// Resources by any number of terms each.
#[derive(Debug, Default)]
pub struct Index(Mutex<Relation>);

/// The same both ways round. Each resource has a place here, so that it is to be small: of a term there is only its hash,
/// whose lowest bit tells by what it is.
#[derive(Debug, Default)]
struct Relation {
    by_resource: HashMap<Arc<Key>, Box<[u64]>>,
    by_term: BTreeSet<(u64, Arc<Key>)>,
}

impl Index {
    /// This resource is found by these terms, and by no others of the kind.
    pub fn set(&self, by: By, namespace: &str, name: &str, terms: impl IntoIterator<Item = impl AsRef<str>>) {
        let terms: BTreeSet<u64> = terms.into_iter().map(|term| hash(by, term.as_ref())).collect();
        let key = Arc::new((namespace.into(), name.into()));
        let mut relation = self.lock();
        let known = relation.by_resource.get(&key).map(|terms| &**terms).unwrap_or_default();
        let is_of_kind = |term: &u64| term & 1 == by as u64;
        if known.iter().filter(|term| is_of_kind(term)).eq(&terms) {
            return;
        }
        let known = relation.by_resource.remove(&key).unwrap_or_default();
        let (known, others): (Vec<u64>, Vec<u64>) = known.into_iter().partition(is_of_kind);
        for term in known {
            relation.by_term.remove(&(term, Arc::clone(&key)));
        }
        relation.by_term.extend(terms.iter().map(|term| (*term, Arc::clone(&key))));
        let all: Box<[_]> = terms.into_iter().chain(others).collect();
        if !all.is_empty() {
            relation.by_resource.insert(key, all);
        }
    }

    /// The resources that are found by this term, and, rarely, one that is not.
    #[must_use]
    pub fn find(&self, by: By, term: &str) -> Vec<Key> {
        let term = hash(by, term);
        let relation = self.lock();
        let found = relation.by_term.range((term, Arc::default())..).take_while(|(other, _)| *other == term);
        found.map(|(_, key)| Key::clone(key)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Relation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(by: By, term: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(term) & !1 | by as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_a_resource_counts() {
        let index = Index::default();
        index.set(By::Interest, "a", "x", ["pcx-1", "pcx-2"]);
        index.set(By::Interest, "b", "x", ["pcx-2"]);
        index.set(By::Vpcs, "a", "x", ["pcx-2"]);
        index.set(By::Interest, "a", "x", ["pcx-1"]);
        assert_eq!(index.find(By::Interest, "pcx-1"), [("a".into(), "x".into())]);
        assert_eq!(index.find(By::Interest, "pcx-2"), [("b".into(), "x".into())]);
        assert_eq!(index.find(By::Vpcs, "pcx-2"), [("a".into(), "x".into())]);
        assert_eq!(index.find(By::Interest, "pcx"), []);
        index.set(By::Interest, "a", "x", [""; 0]);
        assert_eq!(index.find(By::Vpcs, "pcx-2"), [("a".into(), "x".into())]);
        index.set(By::Vpcs, "a", "x", [""; 0]);
        index.set(By::Interest, "b", "x", [""; 0]);
        assert!(index.lock().by_term.is_empty() && index.lock().by_resource.is_empty());
    }
}

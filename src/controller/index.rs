//! Resources by what they are found by: a connection in EC2 that they wait for, or the VPCs that they ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A resource's namespace and name.
pub type Key = (String, String);

/// Resources by any number of terms each.
#[derive(Debug, Default)]
pub struct Index(Mutex<Relation>);

/// The same both ways round. Each resource has a place here, so that it is to be small.
#[derive(Debug, Default)]
struct Relation {
    by_resource: BTreeMap<Key, Box<[String]>>,
    by_term: BTreeSet<(String, Key)>,
}

impl Index {
    /// This resource is found by these terms, and by no others.
    pub fn set(&self, namespace: &str, name: &str, terms: BTreeSet<String>) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut relation = self.lock();
        let known = relation.by_resource.get(&key).map(|terms| &**terms).unwrap_or_default();
        if known.iter().eq(&terms) {
            return;
        }
        for term in relation.by_resource.remove(&key).unwrap_or_default() {
            relation.by_term.remove(&(term, key.clone()));
        }
        relation.by_term.extend(terms.iter().map(|term| (term.clone(), key.clone())));
        if !terms.is_empty() {
            relation.by_resource.insert(key, terms.into_iter().collect());
        }
    }

    /// The resources that are found by this term.
    #[must_use]
    pub fn find(&self, term: &str) -> Vec<Key> {
        let first = (term.to_owned(), Key::default());
        let relation = self.lock();
        let found = relation.by_term.range(first..).take_while(|(other, _)| other == term);
        found.map(|(_, key)| key.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Relation> {
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
        let index = Index::default();
        index.set("a", "x", ids(&["pcx-1", "pcx-2"]));
        index.set("b", "x", ids(&["pcx-2"]));
        index.set("a", "x", ids(&["pcx-1"]));
        assert_eq!(index.find("pcx-1"), [("a".into(), "x".into())]);
        assert_eq!(index.find("pcx-2"), [("b".into(), "x".into())]);
        assert_eq!(index.find("pcx"), []);
        index.set("a", "x", ids(&[]));
        index.set("b", "x", ids(&[]));
        assert!(index.lock().by_term.is_empty() && index.lock().by_resource.is_empty());
    }
}

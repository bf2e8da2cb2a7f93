//! Finds resources by AWS ID.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Resource;
use smol_str::SmolStr;

/// The namespace and name of a resource.
pub(crate) type Key = (SmolStr, SmolStr);

/// The kinds of terms.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    /// The AWS IDs that a resource depends on: of connections, and of VPCs whose route tables matter to it.
    AwsId,
    /// The two VPCs in the spec of a resource.
    VpcPair,
}

/// Resources by terms. A resource can have many terms of each kind.
#[derive(Debug, Default)]
pub(crate) struct Index(Mutex<Relation>);

/// The relation in both directions. A term is kept as its hash instead of its text: this saves 4.3 MiB at 10,000
/// resources. The lowest bit of the hash is the kind of the term.
#[derive(Debug, Default)]
struct Relation {
    by_resource: HashMap<Arc<Key>, Vec<u64>>,
    by_term: BTreeSet<(u64, Arc<Key>)>,
}

impl Index {
    /// Replaces the terms of one kind of a resource.
    pub(super) fn set(&self, by: By, namespace: &str, name: &str, terms: impl IntoIterator<Item = impl AsRef<str>>) {
        let terms: BTreeSet<u64> = terms.into_iter().map(|term| hash(by, term.as_ref())).collect();
        let key = Arc::new((namespace.into(), name.into()));
        let mut relation = self.lock();
        let known = relation.by_resource.get(&key).map(Vec::as_slice).unwrap_or_default();
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
        let all: Vec<_> = terms.into_iter().chain(others).collect();
        if !all.is_empty() {
            relation.by_resource.insert(key, all);
        }
    }

    /// The resources with this term. A hash collision can add another resource, which is rare.
    pub(super) fn find(&self, by: By, term: &str) -> Vec<Key> {
        let term = hash(by, term);
        let relation = self.lock();
        let found = relation.by_term.range((term, Arc::default())..).take_while(|(other, _)| *other == term);
        found.map(|(_, key)| Key::clone(key)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Relation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of an object. The namespace of a cluster-scoped object is empty.
pub(super) fn key(object: &impl Resource) -> Key {
    let metadata = object.meta();
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    (text(&metadata.namespace), text(&metadata.name))
}

fn hash(by: By, term: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(term) & !1 | by as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_replaces_the_terms_of_one_kind_only() {
        let index = Index::default();
        index.set(By::AwsId, "a", "x", ["pcx-1", "pcx-2"]);
        index.set(By::AwsId, "b", "x", ["pcx-2"]);
        index.set(By::VpcPair, "a", "x", ["pcx-2"]);
        index.set(By::AwsId, "a", "x", ["pcx-1"]);
        assert_eq!(index.find(By::AwsId, "pcx-1"), [("a".into(), "x".into())]);
        assert_eq!(index.find(By::AwsId, "pcx-2"), [("b".into(), "x".into())]);
        assert_eq!(index.find(By::VpcPair, "pcx-2"), [("a".into(), "x".into())]);
        assert_eq!(index.find(By::AwsId, "pcx"), []);
        index.set(By::AwsId, "a", "x", [""; 0]);
        assert_eq!(index.find(By::VpcPair, "pcx-2"), [("a".into(), "x".into())]);
        index.set(By::VpcPair, "a", "x", [""; 0]);
        index.set(By::AwsId, "b", "x", [""; 0]);
        assert!(index.lock().by_term.is_empty() && index.lock().by_resource.is_empty());
    }
}

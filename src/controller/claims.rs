//! Which resources ask for a peering of the same two VPCs.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;

use crate::api::vpc_peering::StatusEnd;
use crate::api::{ManagementPolicy, PeeringSide, VpcPeering};

/// Two VPCs, whichever asks.
type Pair = [String; 2];
type Key = ObjectRef<VpcPeering>;

/// Resources by the pair of VPCs that they ask for, as the watch last showed them.
#[derive(Debug, Default)]
pub struct Claims(Mutex<Indexes>);

#[derive(Debug, Default)]
struct Indexes {
    by_pair: HashMap<Pair, HashSet<Key>>,
    by_resource: HashMap<Key, Pair>,
}

impl Claims {
    /// Follows the watch.
    pub fn follow(&self, event: &Event<VpcPeering>) {
        match event {
            Event::Apply(object) | Event::InitApply(object) => self.set(ObjectRef::from_obj(object), pair_of(object)),
            Event::Delete(object) => self.set(ObjectRef::from_obj(object), None),
            // What has gone meanwhile is not found in the store.
            Event::Init | Event::InitDone => {}
        }
    }

    /// The resources that ask for a peering of these VPCs, in either direction.
    #[must_use]
    pub fn of(&self, one: &str, other: &str) -> Vec<Key> {
        self.lock().by_pair.get(&pair(one, other)).into_iter().flatten().cloned().collect()
    }

    fn set(&self, key: Key, claimed: Option<Pair>) {
        let mut indexes = self.lock();
        if indexes.by_resource.get(&key) == claimed.as_ref() {
            return;
        }
        if let Some(before) = indexes.by_resource.remove(&key)
            && let Some(resources) = indexes.by_pair.get_mut(&before)
        {
            resources.remove(&key);
            if resources.is_empty() {
                indexes.by_pair.remove(&before);
            }
        }
        if let Some(pair) = claimed {
            indexes.by_pair.entry(pair.clone()).or_default().insert(key.clone());
            indexes.by_resource.insert(key, pair);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Indexes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The VPCs that a resource asks for, where it asks EC2 for anything and they are known.
fn pair_of(object: &VpcPeering) -> Option<Pair> {
    let recorded = object.status.as_ref().and_then(|status| status.ends.as_ref());
    let vpc = |side: &PeeringSide, recorded: Option<&StatusEnd>| {
        side.vpc_id.clone().or_else(|| recorded.map(|end| end.vpc_id.clone()))
    };
    let one = vpc(&object.spec.requester, recorded.map(|ends| &ends.requester))?;
    let other = vpc(&object.spec.accepter, recorded.map(|ends| &ends.accepter))?;
    (object.spec.management_policy == ManagementPolicy::Full).then(|| pair(&one, &other))
}

fn pair(one: &str, other: &str) -> Pair {
    let mut pair = [one.to_owned(), other.to_owned()];
    pair.sort();
    pair
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_claim_of_a_resource_counts() {
        let (claims, key) = (Claims::default(), ObjectRef::new("a").within("x"));
        claims.set(key.clone(), Some(pair("vpc-2", "vpc-1")));
        assert_eq!(claims.of("vpc-1", "vpc-2"), std::slice::from_ref(&key));
        claims.set(key.clone(), Some(pair("vpc-1", "vpc-3")));
        assert!(claims.of("vpc-1", "vpc-2").is_empty());
        assert_eq!(claims.of("vpc-3", "vpc-1"), std::slice::from_ref(&key));
        claims.set(key, None);
        assert!(claims.lock().by_pair.is_empty() && claims.lock().by_resource.is_empty());
    }
}

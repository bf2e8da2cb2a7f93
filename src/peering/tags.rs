//! Tags that drift: ours are repaired, those of others are left alone.

use std::collections::{BTreeMap, BTreeSet};

use super::authority::{Authority, Authorized};
use super::{Connection, Owner, Step};
use crate::api::{ManagedTag, Side};

/// One effect on the tags of a connection in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagStep {
    /// Make these tags the record of what is ours.
    Record(BTreeSet<ManagedTag>),
    /// Set these tags.
    Set(BTreeMap<String, String>),
    /// Remove the tags with these keys.
    Remove(BTreeSet<String>),
}

/// The next step towards the tags that are wanted in one place, of which those in `managed` have been set by us. A tag of
/// the spec is recorded before it is set, so that it is known to be ours whatever happens then. A tag is removed only while
/// EC2 shows a value that we have set. The ownership tags need no record: their values are known.
#[must_use]
pub fn repair(
    wanted: BTreeMap<String, String>,
    managed: &BTreeSet<ManagedTag>,
    connection: &Connection,
) -> Option<TagStep> {
    let users = wanted.iter().filter(|(key, _)| !Owner::is_ownership_key(key));
    let users: BTreeSet<ManagedTag> =
        users.map(|(key, value)| ManagedTag { key: key.into(), value: value.into() }).collect();
    if !managed.is_superset(&users) {
        return Some(TagStep::Record(managed | &users));
    }
    let is_missing =
        |(key, value): &(&String, &String)| connection.tags.get(key.as_str()).is_none_or(|tag| tag != *value);
    let missing: BTreeMap<_, _> =
        wanted.iter().filter(is_missing).map(|(key, value)| (key.clone(), value.clone())).collect();
    if !missing.is_empty() {
        return Some(TagStep::Set(missing));
    }
    let surplus = managed.iter().filter(|tag| !wanted.contains_key(tag.key.as_str()));
    let shown = surplus.filter(|tag| connection.tags.get(&tag.key) == Some(&tag.value));
    let shown: BTreeSet<String> = shown.map(|tag| tag.key.to_string()).collect();
    if !shown.is_empty() {
        return Some(TagStep::Remove(shown));
    }
    (*managed != users).then_some(TagStep::Record(users))
}

/// The step by which a connection stops naming its owner in one place.
#[must_use]
pub fn disown(authority: &Authority<'_>, side: Side, target: &Authorized, connection: &Connection) -> Option<Step> {
    if !authority.is_ours(&connection.tags) {
        return None;
    }
    let keys = authority.keys().into_iter().filter(|key| connection.tags.contains_key(*key)).map(str::to_owned);
    let keys: BTreeSet<String> = keys.collect();
    (!keys.is_empty()).then(|| Step::Untag { side, id: target.clone(), keys })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peering::StatusCode;
    use crate::peering::testing::connection;

    #[test]
    fn a_tag_is_removed_only_with_a_value_that_we_have_set() {
        let tag = |key: &str, value: &str| ManagedTag { key: key.into(), value: value.into() };
        let mut shown = connection(StatusCode::Active);
        shown.tags.insert("Owner".into(), "somebody".into());
        let ours: BTreeMap<String, String> =
            crate::peering::testing::owner().tags().map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        // A record that somebody has forged: it names the key, and a value that is not there.
        let forged = BTreeSet::from([tag("Owner", "us")]);
        assert_eq!(repair(ours.clone(), &forged, &shown), Some(TagStep::Record(BTreeSet::new())));
        let honest = BTreeSet::from([tag("Owner", "somebody"), tag("Owner", "before")]);
        assert_eq!(repair(ours.clone(), &honest, &shown), Some(TagStep::Remove(BTreeSet::from(["Owner".to_owned()]))));
        // An edited value is recorded beside the one before, until EC2 shows it.
        let mut wanted = ours;
        wanted.insert("Owner".into(), "us".into());
        let both = BTreeSet::from([tag("Owner", "somebody"), tag("Owner", "us")]);
        let before = BTreeSet::from([tag("Owner", "somebody")]);
        assert_eq!(repair(wanted.clone(), &before, &shown), Some(TagStep::Record(both.clone())));
        assert!(matches!(repair(wanted.clone(), &both, &shown), Some(TagStep::Set(_))));
        shown.tags.insert("Owner".into(), "us".into());
        let after = BTreeSet::from([tag("Owner", "us")]);
        assert_eq!(repair(wanted.clone(), &both, &shown), Some(TagStep::Record(after.clone())));
        assert_eq!(repair(wanted, &after, &shown), None);
    }
}

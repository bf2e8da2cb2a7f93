//! Tags that drift: ours are repaired, those of others are left alone.

use std::collections::{BTreeMap, BTreeSet};

use super::{Connection, Desired, Step};
use crate::api::Side;

/// One effect on the tags of a connection in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagStep {
    /// Make these keys the record of what is ours.
    Record(BTreeSet<String>),
    /// Set these tags.
    Set(BTreeMap<String, String>),
    /// Remove the tags with these keys.
    Remove(BTreeSet<String>),
}

/// The next step towards the tags that are wanted in one place, whose `managed` keys are ours. What we are about to set
/// is recorded first, so that it is known to be ours whatever happens then.
#[must_use]
pub fn repair(
    wanted: BTreeMap<String, String>,
    managed: &BTreeSet<String>,
    connection: &Connection,
) -> Option<TagStep> {
    let keys: BTreeSet<String> = wanted.keys().cloned().collect();
    if !managed.is_superset(&keys) {
        return Some(TagStep::Record(managed | &keys));
    }
    let is_missing = |(key, value): &(String, String)| connection.tags.get(key.as_str()).is_none_or(|tag| tag != value);
    let missing: BTreeMap<_, _> = wanted.into_iter().filter(is_missing).collect();
    if !missing.is_empty() {
        return Some(TagStep::Set(missing));
    }
    let surplus = managed - &keys;
    let shown: BTreeSet<String> =
        surplus.iter().filter(|key| connection.tags.contains_key(key.as_str())).cloned().collect();
    if !shown.is_empty() {
        return Some(TagStep::Remove(shown));
    }
    (!surplus.is_empty()).then_some(TagStep::Record(keys))
}

/// The step by which a connection stops naming its owner in one place.
#[must_use]
pub fn disown(desired: Desired<'_>, side: Side, connection: &Connection) -> Option<Step> {
    let ours = desired.owner.tags().map(|(key, _)| key.to_owned());
    let shown: BTreeSet<String> = ours.into_iter().filter(|key| connection.tags.contains_key(key.as_str())).collect();
    (!shown.is_empty()).then(|| Step::Untag { side, id: connection.id.clone(), keys: shown })
}

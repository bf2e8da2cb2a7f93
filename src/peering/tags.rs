//! Tags that drift: ours are repaired, those of others are left alone.

use std::collections::BTreeSet;

use super::{Connection, Desired, Recorded, Step};

/// The next step towards the tags that are wanted. What we are about to set is recorded first, so that it is known to
/// be ours whatever happens then.
#[must_use]
pub fn repair(desired: Desired<'_>, recorded: &Recorded, connection: &Connection) -> Option<Step> {
    let wanted = desired.tags();
    let keys: BTreeSet<String> = wanted.keys().cloned().collect();
    if !recorded.managed_tag_keys.is_superset(&keys) {
        return Some(Step::RecordTagKeys { keys: &recorded.managed_tag_keys | &keys });
    }
    let id = connection.id.clone();
    let is_missing = |(key, value): &(String, String)| connection.tags.get(key) != Some(value);
    let missing: std::collections::BTreeMap<_, _> = wanted.into_iter().filter(is_missing).collect();
    if !missing.is_empty() {
        return Some(Step::Tag { id, tags: missing });
    }
    let surplus = &recorded.managed_tag_keys - &keys;
    let shown: BTreeSet<String> = surplus.iter().filter(|key| connection.tags.contains_key(*key)).cloned().collect();
    if !shown.is_empty() {
        return Some(Step::Untag { id, keys: shown });
    }
    (!surplus.is_empty()).then_some(Step::RecordTagKeys { keys })
}

/// The step by which a connection stops naming its owner.
#[must_use]
pub fn disown(desired: Desired<'_>, connection: &Connection) -> Option<Step> {
    let ours = desired.owner.tags().map(|(key, _)| key.to_owned());
    let shown: BTreeSet<String> = ours.into_iter().filter(|key| connection.tags.contains_key(key)).collect();
    (!shown.is_empty()).then(|| Step::Untag { id: connection.id.clone(), keys: shown })
}

//! The tags that a spec can describe. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::model::Peering;
use crate::api::{Side, Tag};

/// The maximum number of tags in `spec.tags`, and of each end, as in the schema.
const SHARED: usize = 36;
const OF_END: usize = 10;

/// The maximum number of characters of a key and a value, as in the schema.
const KEY: usize = 127;
const VALUE: usize = 256;

/// The tags of `spec.tags` and of each end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) shared: Vec<Tag>,
    pub(super) requester: Vec<Tag>,
    pub(super) accepter: Vec<Tag>,
}

type Map = BTreeMap<String, String>;

/// The tags of the ends for which the operator acts: requester first. The tags of `spec.tags` exist at every such end,
/// so that the operator has none to add.
pub(super) fn tags(peering: &Peering, acts: [bool; 2], notes: &mut BTreeSet<String>) -> Kept {
    let [requester, accepter] = [(Side::Requester, acts[0]), (Side::Accepter, acts[1])]
        .map(|(side, acts)| peering.end(side).tags.as_ref().filter(|_| acts).map(|tags| valid(peering, tags, notes)));
    if peering.shares_tags() || !acts[1] {
        let mut all = requester.unwrap_or_default();
        all.extend(accepter.unwrap_or_default());
        return Kept { shared: limited(peering, "spec.tags", all, SHARED, notes), ..Kept::default() };
    }
    let is_shared = |key: &String, value: &String| {
        [&requester, &accepter].into_iter().all(|tags| tags.as_ref().is_some_and(|tags| tags.get(key) == Some(value)))
    };
    let (shared, own) = requester.clone().unwrap_or_default().into_iter().partition::<Map, _>(|(k, v)| is_shared(k, v));
    let others = accepter.clone().unwrap_or_default().into_iter().filter(|(k, v)| !is_shared(k, v)).collect();
    Kept {
        shared: limited(peering, "spec.tags", shared, SHARED, notes),
        requester: limited(peering, "spec.requester.tags", own, OF_END, notes),
        accepter: limited(peering, "spec.accepter.tags", others, OF_END, notes),
    }
}

/// The tags that the schema accepts.
fn valid(peering: &Peering, tags: &Map, notes: &mut BTreeSet<String>) -> Map {
    let mut kept = tags.clone();
    kept.retain(|key, value| {
        let lower = key.to_ascii_lowercase();
        let reason = if lower.starts_with("aws:") {
            "AWS reserves keys that start with aws:"
        } else if lower.starts_with("vpcpeering.dev/") {
            "the operator reserves keys that start with vpcpeering.dev/"
        } else if key.is_empty() || key.chars().count() > KEY || value.chars().count() > VALUE {
            "a key may have 1 to 127 characters, a value at most 256"
        } else {
            return true;
        };
        notes.insert(format!("{}: the tag {key:?} is not in the manifest: {reason}", peering.id));
        false
    });
    kept
}

fn limited(peering: &Peering, field: &str, tags: Map, limit: usize, notes: &mut BTreeSet<String>) -> Vec<Tag> {
    for key in tags.keys().skip(limit) {
        let id = &peering.id;
        notes.insert(format!("{id}: the tag {key:?} is not in the manifest: {field} may have at most {limit} tags"));
    }
    tags.into_iter().take(limit).map(|(key, value)| Tag { key, value }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_that_the_schema_refuses_are_named() {
        let mut peering = Peering { id: "pcx-1".into(), ..Peering::default() };
        let mut tags: Map = (0..40).map(|number| (format!("key{number:02}"), String::new())).collect();
        tags.insert("aws:cloudformation:stack-name".into(), "a".into());
        tags.insert("k".repeat(128), "a".into());
        peering.requester.tags = Some(tags);
        let mut notes = BTreeSet::new();
        let kept = super::tags(&peering, [true, true], &mut notes);
        assert_eq!(kept.shared.len(), 36);
        assert!(kept.requester.is_empty() && kept.accepter.is_empty());
        assert_eq!(notes.len(), 6, "{notes:?}");
        assert!(notes.iter().any(|note| note.contains("\"aws:cloudformation:stack-name\"")), "{notes:?}");
    }
}

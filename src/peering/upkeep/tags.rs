//! Tags of a connection: the operator repairs its own and leaves all others alone.

use std::collections::{BTreeMap, BTreeSet};

use super::step::UpkeepStep;
use crate::api::ManagedTag;
use crate::peering::authority::{Authority, Authorized};
use crate::peering::connection::Connection;
use crate::peering::owner::Owner;

/// The next step towards the `wanted` tags at one end. `managed` are the tags that the operator has set there.
///
/// - A tag of the spec is recorded before it is set. After a crash, the record still shows that the operator set it.
/// - A tag is removed only while EC2 shows the value that the operator has set.
/// - Ownership tags need no record: their values are known.
pub(crate) fn repair(
    wanted: BTreeMap<String, String>,
    managed: &BTreeSet<ManagedTag>,
    (target, connection): (&Authorized, &Connection),
) -> Option<UpkeepStep> {
    let of_spec = wanted.iter().filter(|(key, _)| !Owner::is_ownership_key(key));
    let of_spec: BTreeSet<ManagedTag> =
        of_spec.map(|(key, value)| ManagedTag { key: key.into(), value: value.into() }).collect();
    if !managed.is_superset(&of_spec) {
        return Some(UpkeepStep::RecordTags { tags: managed | &of_spec });
    }
    let is_missing =
        |(key, value): &(&String, &String)| connection.tags.get(key.as_str()).is_none_or(|tag| tag != *value);
    let missing: BTreeMap<_, _> =
        wanted.iter().filter(is_missing).map(|(key, value)| (key.clone(), value.clone())).collect();
    if !missing.is_empty() {
        return Some(UpkeepStep::Tag { id: target.clone(), tags: missing });
    }
    let surplus = managed.iter().filter(|tag| !wanted.contains_key(tag.key.as_str()));
    let shown = surplus.filter(|tag| connection.tags.get(&tag.key) == Some(&tag.value));
    let shown: BTreeSet<String> = shown.map(|tag| tag.key.to_string()).collect();
    if !shown.is_empty() {
        return Some(UpkeepStep::Untag { id: target.clone(), keys: shown });
    }
    (*managed != of_spec).then_some(UpkeepStep::RecordTags { tags: of_spec })
}

/// The keys of the ownership tags that EC2 shows, if they name this resource. `VpcPeeringAccepter` also takes the tags
/// of an earlier resource of the same name, which `takes_orphans` permits.
pub(crate) fn ownership_keys(
    authority: &Authority<'_>,
    connection: &Connection,
    takes_orphans: bool,
) -> BTreeSet<String> {
    let tags = &connection.tags;
    let is_ours = authority.is_ours(tags) || (takes_orphans && authority.is_predecessors(tags));
    if !is_ours {
        return BTreeSet::new();
    }
    authority.keys().into_iter().filter(|key| tags.contains_key(*key)).map(str::to_owned).collect()
}

/// The step that removes tags, if there are any to remove.
pub(crate) fn remove(target: &Authorized, keys: BTreeSet<String>) -> Option<UpkeepStep> {
    (!keys.is_empty()).then(|| UpkeepStep::Untag { id: target.clone(), keys })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peering::connection::StatusCode;
    use crate::peering::testing;

    #[test]
    fn a_tag_is_removed_only_while_it_has_the_value_that_the_operator_set() {
        let tag = |key: &str, value: &str| ManagedTag { key: key.into(), value: value.into() };
        let target = Authorized::unchecked("pcx-1");
        let mut shown = testing::connection(StatusCode::Active);
        shown.tags.insert("Owner".into(), "somebody".into());
        let ours: BTreeMap<String, String> =
            testing::owner().tags().map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        // A forged record: the key is there, but with another value.
        let forged = BTreeSet::from([tag("Owner", "us")]);
        assert_eq!(
            repair(ours.clone(), &forged, (&target, &shown)),
            Some(UpkeepStep::RecordTags { tags: BTreeSet::new() })
        );
        let honest = BTreeSet::from([tag("Owner", "somebody"), tag("Owner", "before")]);
        let untag = UpkeepStep::Untag { id: target.clone(), keys: BTreeSet::from(["Owner".to_owned()]) };
        assert_eq!(repair(ours.clone(), &honest, (&target, &shown)), Some(untag));
        // A new tag is recorded beside those that stay and those that go.
        let before = BTreeSet::from([tag("Owner", "somebody"), tag("Team", "network")]);
        let mut wanted = ours.clone();
        wanted.extend([("Team".into(), "network".into()), ("Name".into(), "x".into())]);
        let all = BTreeSet::from([tag("Owner", "somebody"), tag("Team", "network"), tag("Name", "x")]);
        assert_eq!(repair(wanted, &before, (&target, &shown)), Some(UpkeepStep::RecordTags { tags: all }));
        // An edited value is recorded beside the one before, until EC2 shows it.
        let mut wanted = ours;
        wanted.insert("Owner".into(), "us".into());
        let both = BTreeSet::from([tag("Owner", "somebody"), tag("Owner", "us")]);
        let before = BTreeSet::from([tag("Owner", "somebody")]);
        let record = |tags: &BTreeSet<ManagedTag>| Some(UpkeepStep::RecordTags { tags: tags.clone() });
        assert_eq!(repair(wanted.clone(), &before, (&target, &shown)), record(&both));
        assert!(matches!(repair(wanted.clone(), &both, (&target, &shown)), Some(UpkeepStep::Tag { .. })));
        shown.tags.insert("Owner".into(), "us".into());
        let after = BTreeSet::from([tag("Owner", "us")]);
        assert_eq!(repair(wanted.clone(), &both, (&target, &shown)), record(&after));
        assert_eq!(repair(wanted, &after, (&target, &shown)), None);
    }

    #[test]
    fn ownership_tags_are_removed_only_if_they_name_the_resource_or_its_predecessor() {
        let (owner, ends, permissions) = (testing::owner(), testing::ends(), testing::permissions());
        let authority = testing::authority(&owner, &ends, &permissions);
        let keys = |tags, takes_orphans| {
            let shown = Connection { tags, ..testing::connection(StatusCode::Active) };
            ownership_keys(&authority, &shown, takes_orphans).len()
        };
        let named = |owner: Owner| testing::tags(&owner);
        let mut theirs = named(owner.clone());
        theirs.insert("Name".into(), "x".into());
        let predecessor = Owner { uid: "earlier".into(), ..owner.clone() };
        assert_eq!([true, false].map(|takes_orphans| keys(theirs.clone(), takes_orphans)), [4, 4]);
        assert_eq!([true, false].map(|takes_orphans| keys(named(predecessor.clone()), takes_orphans)), [4, 0]);
        let name_only = [(Owner::NAME.into(), "x".into())].into_iter().collect();
        for tags in [named(testing::another_owner()), name_only] {
            assert_eq!([true, false].map(|takes_orphans| keys(tags.clone(), takes_orphans)), [0, 0], "{tags:?}");
        }
    }
}

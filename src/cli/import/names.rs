//! The names of the resources. Pure.

use std::collections::BTreeMap;

use super::model::Peering;

/// The maximum length of a name. A label of 63 characters fits every use of a name.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>
const LENGTH: usize = 63;

/// A valid and unique name of each connection, by its ID: its `Name` tag, or its ID. Connections with the same `Name`
/// tag get the ID as a suffix.
pub(super) fn names<'a>(peerings: impl Iterator<Item = &'a Peering> + Clone) -> BTreeMap<String, String> {
    let base = |peering: &Peering| peering.name_tag().map(|tag| label(tag, LENGTH)).filter(|name| !name.is_empty());
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for peering in peerings.clone() {
        *counts.entry(base(peering).unwrap_or_else(|| peering.id.clone())).or_default() += 1;
    }
    let name = |peering: &Peering| match base(peering) {
        Some(name) if counts.get(&name) == Some(&1) => name,
        Some(name) => format!("{}-{}", label(&name, LENGTH - peering.id.len() - 1), peering.id),
        None => peering.id.clone(),
    };
    peerings.map(|peering| (peering.id.clone(), name(peering))).collect()
}

/// The text as a DNS label.
fn label(text: &str, length: usize) -> String {
    let mut label = String::new();
    for char in text.chars().map(|char| char.to_ascii_lowercase()) {
        match char {
            'a'..='z' | '0'..='9' => label.push(char),
            _ if label.ends_with('-') || label.is_empty() => {}
            _ => label.push('-'),
        }
    }
    label.truncate(length);
    label.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::model::End;
    use super::*;

    #[test]
    fn names_are_valid_and_unique() {
        let peering = |id: &str, name: &str| Peering {
            id: id.into(),
            requester: End { tags: Some([("Name".into(), name.into())].into()), ..End::default() },
            ..Peering::default()
        };
        let peerings = [
            peering("pcx-11111111", "Prod ↔ Shared (EU)"),
            peering("pcx-22222222", "same"),
            peering("pcx-33333333", "SAME"),
            peering("pcx-44444444", "***"),
            peering("pcx-55555555", &"a".repeat(300)),
        ];
        let names = names(peerings.iter());
        let names: Vec<_> = names.values().map(String::as_str).collect();
        let long = "a".repeat(63);
        assert_eq!(names, ["prod-shared-eu", "same-pcx-22222222", "same-pcx-33333333", "pcx-44444444", &long]);
    }
}

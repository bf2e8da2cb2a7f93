//! The texts of `status.deletion`: what the deletion of a resource would remove from AWS, and what would stay.

use std::fmt::Display;

use crate::api::{DeletionSummary, ManagedRoute};
use crate::peering::owner::Owner;

/// The most items that an entry lists before it only counts the rest. The status has to fit into one object.
const LISTED: usize = 10;

/// The summary. `None` if nothing of the resource is in AWS.
pub(crate) fn summary(
    removes: impl IntoIterator<Item = String>,
    stays: impl IntoIterator<Item = String>,
) -> Option<DeletionSummary> {
    let summary = DeletionSummary { removes: removes.into_iter().collect(), stays: stays.into_iter().collect() };
    (summary != DeletionSummary::default()).then_some(summary)
}

/// A count and the first items, such as `2 routes at the requester's end: a, b`. `None` without items.
pub(crate) fn list<T: Display>(noun: &str, place: &str, items: impl IntoIterator<Item = T>) -> Option<String> {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    let count = items.len();
    let plural = if count == 1 { "" } else { "s" };
    (count > 0).then(|| format!("{count} {noun}{plural}{place}: {}", join(items)))
}

/// The first items, and the number of the others.
pub(crate) fn join(mut items: Vec<String>) -> String {
    let more = items.len().saturating_sub(LISTED);
    items.truncate(LISTED);
    if more > 0 {
        items.push(format!("and {more} more"));
    }
    items.join(", ")
}

/// Routes in the form `10.2.0.0/16 in rtb-1`. `place` says at which end.
pub(crate) fn routes<'a>(place: &str, routes: impl IntoIterator<Item = &'a ManagedRoute>) -> Option<String> {
    let text = |route: &ManagedRoute| format!("{} in {}", route.destination(), route.route_table_id);
    list("route", place, routes.into_iter().map(text))
}

/// Connections that the resource keeps at an end, with `parts` of them.
pub(crate) fn connections<'a>(ids: impl IntoIterator<Item = &'a str>, parts: &str) -> Option<String> {
    list("peering connection", "", ids).map(|text| format!("{text} ({parts})"))
}

/// Tag keys, with one entry for all ownership tags under `prefix`.
pub(crate) fn tags<'a>(prefix: &str, keys: impl IntoIterator<Item = &'a String>) -> String {
    let (owned, mut others): (Vec<String>, Vec<String>) =
        keys.into_iter().cloned().partition(|key| Owner::is_ownership_key(key));
    others.sort();
    others.dedup();
    if !owned.is_empty() {
        others.insert(0, format!("{prefix}*"));
    }
    join(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_counts_all_items_and_names_the_first_ten() {
        assert_eq!(list::<String>("route", "", []), None);
        assert_eq!(list("route", "", ["a"]).as_deref(), Some("1 route: a"));
        let listed = list("route", " at this end", 0..12);
        assert_eq!(listed.as_deref(), Some("12 routes at this end: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and 2 more"));
        assert_eq!(summary([], []), None);
    }

    #[test]
    fn ownership_tags_are_one_item() {
        let keys = ["Name", "vpcpeering.dev/uid", "vpcpeering.dev/name"].map(str::to_owned);
        assert_eq!(tags("vpcpeering.dev/", &keys), "vpcpeering.dev/*, Name");
    }
}

//! Descriptions of what stays in AWS when a resource goes, for an Event. They come from the record in the status, so
//! that they need no AWS call.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{ManagedRoute, ManagedTag};

/// How many routes of a connection are listed before the rest is only counted. A note of an Event has 1024 bytes.
const LISTED: usize = 5;

/// A connection with the ownership tags under `prefix`, and the tags of the spec.
pub(crate) fn connection<'a>(id: &str, prefix: &str, tags: impl IntoIterator<Item = &'a ManagedTag>) -> String {
    let keys: BTreeSet<&str> = tags.into_iter().map(|tag| tag.key.as_str()).collect();
    let keys: String = keys.into_iter().flat_map(|key| [", ", key]).collect();
    format!("{id} with the tags {prefix}*{keys}")
}

/// The routes, one description for each connection.
pub(crate) fn routes(routes: &BTreeSet<ManagedRoute>) -> Vec<String> {
    let mut by_connection: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for route in routes {
        let text = format!("{} in {}", route.destination(), route.route_table_id);
        by_connection.entry(&route.vpc_peering_connection_id).or_default().push(text);
    }
    let describe = |(id, mut routes): (&str, Vec<String>)| {
        let count = routes.len();
        routes.truncate(LISTED);
        if count > LISTED {
            routes.push(format!("and {} more", count - LISTED));
        }
        format!("routes through {id}: {}", routes.join(", "))
    };
    by_connection.into_iter().map(describe).collect()
}

#[cfg(test)]
mod tests;

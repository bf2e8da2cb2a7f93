//! The record of what the test itself did in AWS, which the operator must not change.

use std::collections::{BTreeMap, BTreeSet};

use crate::snapshot::Tags;

/// A route table and a destination.
pub type RouteKey = (String, String);

/// The foreign objects that exist because of the test.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Connections that belong to somebody else and stay active, with their tags.
    pub peerings: BTreeMap<String, Tags>,
    /// Requests that no resource may accept.
    pub unwanted: BTreeSet<String>,
    /// The target of each foreign route, and the time of its last change in seconds of the run.
    pub routes: BTreeMap<RouteKey, (String, f64)>,
    /// The value of each foreign tag on a connection, by the ID of the connection and the key.
    pub tags: BTreeMap<(String, String), String>,
}

impl Ledger {
    /// Whether a connection belongs to somebody else.
    pub fn is_foreign(&self, id: &str) -> bool {
        self.peerings.contains_key(id) || self.unwanted.contains(id)
    }
}

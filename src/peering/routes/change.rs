//! The steps of the routes of one end, and their EC2 calls.

use std::collections::BTreeSet;
use std::fmt;

use crate::api::ManagedRoute;

/// One effect. Each is safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RouteStep {
    /// Replace the record of both ends. A route enters the record before it is created, and leaves it after it is gone.
    Record(BTreeSet<ManagedRoute>),
    /// Make these changes. They are independent: a failure of one does not stop the others.
    Change(Vec<RouteChange>),
}

/// One EC2 call. The order of the variants is the order of the calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RouteChange {
    /// `DeleteRoute`.
    Delete(ManagedRoute),
    /// `ReplaceRoute`: point a route of this resource to its current connection.
    Replace(ManagedRoute),
    /// `CreateRoute`.
    Create(ManagedRoute),
}

impl fmt::Display for RouteChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self {
            Self::Create(_) => "create",
            Self::Replace(_) => "replace",
            Self::Delete(_) => "delete",
        };
        let ManagedRoute { route_table_id, vpc_peering_connection_id, .. } = self.route();
        let destination = self.route().destination();
        write!(f, "{verb} the route to {destination} through {vpc_peering_connection_id} in {route_table_id}")
    }
}

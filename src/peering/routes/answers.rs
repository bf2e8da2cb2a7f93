//! EC2's answers to the route calls of this process, as far as a listing may not show their effect yet.

use std::collections::BTreeSet;

use super::change::RouteChange;
use crate::api::{ManagedRoute, Side};

/// The route table and the destination of a route at one end.
type Place = (Side, String, String);

/// The route calls whose effect EC2 may not show yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RouteAnswers {
    /// Whether EC2 has had time to show the last route that was created or replaced. Until then, a recorded route that
    /// EC2 does not show may exist.
    pub is_settled: bool,
    /// The routes that EC2 has confirmed as deleted.
    pub deleted: DeletedRoutes,
}

/// Recorded routes that EC2 has confirmed as deleted. Such a route is gone, also within the consistency window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeletedRoutes(BTreeSet<Place>);

impl RouteAnswers {
    /// Whether a recorded route that EC2 does not show is certainly gone.
    pub(super) fn proves_absence(&self, route: &ManagedRoute) -> bool {
        self.is_settled || self.deleted.0.contains(&place(route))
    }
}

impl DeletedRoutes {
    /// EC2 has answered a call. A call that may have created a route ends the proof of an earlier deletion, also if EC2
    /// returned an error.
    pub(crate) fn answered(&mut self, change: &RouteChange, has_succeeded: bool) {
        match change {
            RouteChange::Delete(route) if has_succeeded => _ = self.0.insert(place(route)),
            RouteChange::Delete(_) => {}
            RouteChange::Create(route) | RouteChange::Replace(route) => _ = self.0.remove(&place(route)),
        }
    }

    /// Forgets the routes that are no longer recorded.
    pub(crate) fn retain(&mut self, recorded: &BTreeSet<ManagedRoute>) {
        if !self.0.is_empty() {
            let recorded: BTreeSet<Place> = recorded.iter().map(place).collect();
            self.0.retain(|place| recorded.contains(place));
        }
    }
}

fn place(route: &ManagedRoute) -> Place {
    (route.side, route.route_table_id.clone(), route.destination().to_owned())
}

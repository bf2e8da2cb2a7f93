//! A deleted resource leaves nothing behind.

use std::collections::BTreeSet;

use super::Violation;
use crate::ledger::Ledger;
use crate::resources::{Resource, Scenario};
use crate::snapshot::{Snapshot, Tags};

const INVARIANT: &str = "a deleted resource leaves nothing in AWS";

/// The prefixes of the ownership tags of both kinds.
const OWNERSHIP: &str = "vpcpeering.dev/";
const OWNERSHIP_OF_ACCEPTER: &str = "vpcpeering.dev/accepter-";

/// Checks the resources that no longer exist in Kubernetes. `reported` are the connections that the operator reported
/// as left (`LeftInAws`).
pub fn check(snapshot: &Snapshot, ledger: &Ledger, reported: &BTreeSet<String>, gone: &[Resource]) -> Vec<Violation> {
    gone.iter().flat_map(|resource| of(snapshot, ledger, reported, *resource)).collect()
}

fn of(snapshot: &Snapshot, ledger: &Ledger, reported: &BTreeSet<String>, resource: Resource) -> Vec<Violation> {
    let found = |message: String, about: Vec<String>| Violation { invariant: INVARIANT, message, about };
    let name = resource.name();
    let (requester, accepter) = (resource.requester().vpc, resource.accepter().vpc);
    let is_accepter = resource.scenario() == Scenario::Accepter;
    let own = snapshot.peerings.iter().filter(|peering| {
        let is_of = if is_accepter { peering.accepter == accepter } else { peering.joins(&requester, &accepter) };
        is_of && peering.is_living() && !ledger.is_foreign(&peering.id)
    });
    let keeps_connection = is_accepter || resource.scenario() == Scenario::Retained;
    let mut violations = Vec::new();
    for peering in own {
        let id = &peering.id;
        if !keeps_connection {
            violations.push(found(format!("{name} left {id}"), vec![id.clone(), requester.clone()]));
        }
        let is_ownership = |key: &&String| key.starts_with(if is_accepter { OWNERSHIP_OF_ACCEPTER } else { OWNERSHIP });
        let tags = snapshot.tags.get(id).into_iter().flat_map(Tags::keys).filter(is_ownership);
        let tags: Vec<_> = tags.collect();
        // While AWS refuses the operator, a resource with `Retain` goes without a call, and the connection keeps its tags.
        let is_reported = resource.scenario() == Scenario::Retained && reported.contains(id);
        if !tags.is_empty() && !is_reported {
            violations.push(found(format!("{name} left the tags {tags:?} of {id}"), vec![id.clone()]));
        }
    }
    // A retained connection keeps its routes.
    if resource.scenario() != Scenario::Retained {
        violations.extend(routes(snapshot, ledger, resource).map(|(message, about)| found(message, about)));
    }
    violations
}

/// The routes through a connection that are left in the route tables of the resource. The routes of the test lead to
/// gateways, or are in the record. EC2 proves nothing about a route through a connection that it no longer shows: the
/// operator leaves it, and reports it (`LeftInAws`).
fn routes(
    snapshot: &Snapshot,
    ledger: &Ledger,
    resource: Resource,
) -> impl Iterator<Item = (String, Vec<String>)> + use<> {
    let tables = [resource.requester().table, resource.accepter().table];
    let left = snapshot.routes.iter().filter(|route| {
        let key = (route.table.clone(), route.destination.clone());
        let is_shown = snapshot.peerings.iter().any(|peering| peering.id == route.target && peering.is_shown);
        tables.contains(&route.table) && is_shown && !ledger.routes.contains_key(&key)
    });
    let left = left.map(|route| {
        let message = format!("{} left the route {route:?}", resource.name());
        (message, vec![route.table.clone(), route.target.clone()])
    });
    left.collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Peering, Route};

    fn with_connection(resource: Resource) -> Snapshot {
        let (requester, accepter) = (resource.requester().vpc, resource.accepter().vpc);
        let peering = Peering { id: "pcx-1".into(), requester, accepter, code: "active".into(), is_shown: true };
        Snapshot { peerings: vec![peering], ..Snapshot::default() }
    }

    fn count(snapshot: &Snapshot, resource: Resource) -> usize {
        check(snapshot, &Ledger::default(), &BTreeSet::new(), &[resource]).len()
    }

    #[test]
    fn a_connection_that_is_left_is_found() {
        let mut snapshot = with_connection(Resource(0));
        assert_eq!(count(&snapshot, Resource(0)), 1);
        snapshot.peerings[0].code = "deleted".into();
        assert_eq!(count(&snapshot, Resource(0)), 0);
        let retained = Resource(6);
        assert_eq!(retained.scenario(), Scenario::Retained);
        assert_eq!(count(&with_connection(retained), retained), 0);
    }

    #[test]
    fn ownership_tags_that_are_left_are_found() {
        for (resource, key) in [(Resource(6), "vpcpeering.dev/uid"), (Resource(4), "vpcpeering.dev/accepter-uid")] {
            let mut snapshot = with_connection(resource);
            assert_eq!(count(&snapshot, resource), 0);
            snapshot.tags.insert("pcx-1".into(), [(key.to_owned(), "1".to_owned())].into());
            assert_eq!(count(&snapshot, resource), 1);
        }
    }

    #[test]
    fn a_retained_connection_may_keep_the_tags_that_the_operator_reports() {
        let found = |resource: Resource, reported: &str| {
            let mut snapshot = with_connection(resource);
            let tags =
                ["vpcpeering.dev/uid", "vpcpeering.dev/accepter-uid"].map(|key| (key.to_owned(), "1".to_owned()));
            snapshot.tags.insert("pcx-1".into(), tags.into());
            check(&snapshot, &Ledger::default(), &[reported.to_owned()].into(), &[resource]).len()
        };
        assert_eq!((found(Resource(6), "pcx-1"), found(Resource(6), "pcx-2"), found(Resource(4), "pcx-1")), (0, 1, 1));
    }

    #[test]
    fn a_route_that_is_left_is_found() {
        let table = Resource(0).requester().table;
        let mut snapshot = with_connection(Resource(0));
        snapshot.peerings[0].code = "deleted".into();
        snapshot.routes.push(Route { table, destination: "10.1.0.0/24".into(), target: "pcx-1".into() });
        assert_eq!(count(&snapshot, Resource(0)), 1);
        snapshot.peerings[0].is_shown = false;
        assert_eq!(count(&snapshot, Resource(0)), 0);
        snapshot.peerings[0].is_shown = true;
        snapshot.routes[0].target = "igw-1".into();
        assert_eq!(count(&snapshot, Resource(0)), 0);
    }
}

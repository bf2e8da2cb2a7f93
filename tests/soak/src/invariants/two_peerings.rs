//! Never two living peerings for one resource.

use super::Violation;
use crate::ledger::Ledger;
use crate::resources::{Resource, Scenario};
use crate::snapshot::Snapshot;

const INVARIANT: &str = "a resource never has two living connections";

/// Checks every resource. EC2 makes a second connection if it is asked twice (`mint-new`).
pub fn check(snapshot: &Snapshot, ledger: &Ledger, resources: &[Resource]) -> Vec<Violation> {
    let of_connections = resources.iter().filter(|resource| resource.scenario() != Scenario::Accepter);
    of_connections.filter_map(|resource| violation(snapshot, ledger, *resource)).collect()
}

fn violation(snapshot: &Snapshot, ledger: &Ledger, resource: Resource) -> Option<Violation> {
    let (requester, accepter) = (resource.requester().vpc, resource.accepter().vpc);
    let living = snapshot.living(&requester, &accepter).filter(|peering| !ledger.is_foreign(&peering.id));
    let ids: Vec<_> = living.map(|peering| peering.id.clone()).collect();
    (ids.len() > 1).then(|| Violation {
        invariant: INVARIANT,
        message: format!("{} has {ids:?}", resource.name()),
        about: ids.into_iter().chain([requester]).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Peering;

    fn peering(id: &str, code: &str) -> Peering {
        let (requester, accepter) = (Resource(0).requester().vpc, Resource(0).accepter().vpc);
        Peering { id: id.into(), requester, accepter, code: code.into(), is_shown: true }
    }

    #[test]
    fn a_second_living_connection_is_found() {
        let mut snapshot = Snapshot { peerings: vec![peering("pcx-1", "active")], ..Snapshot::default() };
        let check = |snapshot: &Snapshot, ledger: &Ledger| check(snapshot, ledger, &[Resource(0)]).len();
        assert_eq!(check(&snapshot, &Ledger::default()), 0);
        snapshot.peerings.push(peering("pcx-2", "deleted"));
        snapshot.peerings.push(peering("pcx-3", "deleting"));
        assert_eq!(check(&snapshot, &Ledger::default()), 0);
        snapshot.peerings.push(peering("pcx-4", "initiating-request"));
        assert_eq!(check(&snapshot, &Ledger::default()), 1);
        let ledger = Ledger { peerings: [("pcx-4".into(), [].into())].into(), ..Ledger::default() };
        assert_eq!(check(&snapshot, &ledger), 0);
    }
}

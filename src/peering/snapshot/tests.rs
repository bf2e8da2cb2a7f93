use super::*;
use crate::peering::connection::StatusCode;
use crate::peering::testing::{another_owner, connection, ends, owner, tags};
use crate::peering::vpc_peering::{Observation, Recorded, view};

fn named(id: &str, code: StatusCode, owner: &Owner) -> Connection {
    Connection { id: id.into(), tags: tags(owner), ..connection(code) }
}

fn observe(connections: Vec<Connection>, recorded: Option<&str>) -> Observation {
    let recorded = Recorded { connection_id: recorded.map(str::to_owned), ..Recorded::default() };
    view(&connections.into_iter().collect::<Snapshot>(), &owner(), &recorded, &ends(), None)
}

fn ids(connections: &[Arc<Connection>]) -> Vec<&str> {
    connections.iter().map(|connection| connection.id.as_str()).collect()
}

#[test]
fn the_recorded_connection_is_shown_with_any_code_and_owned_connections_until_they_end() {
    let connections = vec![named("pcx-1", StatusCode::Deleted, &owner()), named("pcx-2", StatusCode::Active, &owner())];
    let observed = observe(connections, Some("pcx-1"));
    assert_eq!(observed.recorded.map(|connection| connection.id.clone()).as_deref(), Some("pcx-1"));
    assert_eq!(ids(&observed.owned), ["pcx-2"]);
    assert_eq!(observed.conflicting, None);
}

#[test]
fn an_owner_with_the_same_name_and_another_uid_or_cluster_is_another_owner() {
    for another in [Owner { uid: "old".into(), ..owner() }, Owner { cluster: "other".into(), ..owner() }] {
        let observed = observe(vec![named("pcx-1", StatusCode::Active, &another)], None);
        assert_eq!(ids(&observed.owned), [""; 0]);
        assert_eq!(observed.conflicting.map(|connection| connection.id.clone()).as_deref(), Some("pcx-1"));
    }
}

#[test]
fn a_connection_of_an_earlier_resource_with_the_same_name_is_orphaned_until_it_ends() {
    let earlier = Owner { uid: "earlier".into(), ..owner() };
    let elsewhere = Owner { namespace: "elsewhere".into(), ..earlier.clone() };
    let observed = observe(
        vec![
            named("pcx-1", StatusCode::Active, &earlier),
            named("pcx-2", StatusCode::Deleted, &earlier),
            named("pcx-3", StatusCode::Active, &elsewhere),
            named("pcx-4", StatusCode::Active, &owner()),
        ],
        None,
    );
    assert_eq!((ids(&observed.orphaned), ids(&observed.owned)), (vec!["pcx-1"], vec!["pcx-4"]));
}

#[test]
fn the_connections_of_recorded_routes_are_shown_beside_the_recorded_one() {
    let route = |id: &str| crate::api::ManagedRoute {
        side: crate::api::Side::Requester,
        route_table_id: "rtb-1".into(),
        destination_cidr_block: None,
        destination_prefix_list_id: None,
        vpc_peering_connection_id: id.into(),
    };
    let recorded = Recorded {
        connection_id: Some("pcx-1".into()),
        routes: ["pcx-1", "pcx-2", "pcx-9"].map(route).into(),
        ..Recorded::default()
    };
    let shown = ["pcx-1", "pcx-2", "pcx-3"].map(|id| named(id, StatusCode::Deleted, &owner()));
    let snapshot: Snapshot = shown.into_iter().collect();
    let observed = view(&snapshot, &owner(), &recorded, &ends(), Some(&"pcx-3".to_owned()));
    assert_eq!(
        (ids(&observed.earlier), observed.wanted.map(|wanted| wanted.id.clone())),
        (vec!["pcx-2"], Some("pcx-3".into()))
    );
}

#[test]
fn a_conflicting_connection_is_found_in_either_direction_until_it_ends() {
    let mut swapped = named("pcx-1", StatusCode::Active, &another_owner());
    std::mem::swap(&mut swapped.requester, &mut swapped.accepter);
    assert!(observe(vec![swapped.clone()], None).conflicting.is_some());
    swapped.code = StatusCode::Deleted;
    assert!(observe(vec![swapped], None).conflicting.is_none());
}

#[test]
fn created_deleted_and_changed_connections_are_reported() {
    let old: Snapshot =
        ["pcx-1", "pcx-2", "pcx-3"].map(|id| named(id, StatusCode::Active, &owner())).into_iter().collect();
    let new: Snapshot = [
        named("pcx-2", StatusCode::Deleting, &owner()),
        named("pcx-3", StatusCode::Active, &owner()),
        named("pcx-4", StatusCode::InitiatingRequest, &owner()),
    ]
    .into_iter()
    .collect();
    assert_eq!(
        new.changes_since(&old),
        BTreeSet::from(["pcx-1", "pcx-2", "pcx-4", "requests to vpc-22222222"].map(str::to_owned))
    );
}

#[test]
fn only_connections_of_this_cluster_count_as_transient() {
    let cluster = &owner().cluster;
    let snapshot = |connection: Connection| [connection].into_iter().collect::<Snapshot>();
    assert!(snapshot(named("pcx-1", StatusCode::Provisioning, &owner())).transient(cluster).next().is_some());
    assert!(snapshot(named("pcx-1", StatusCode::Active, &owner())).transient(cluster).next().is_none());
    let theirs = Owner { cluster: "other".into(), ..owner() };
    assert!(snapshot(named("pcx-1", StatusCode::Provisioning, &theirs)).transient(cluster).next().is_none());
}

#[test]
fn an_unchanged_connection_is_shared_with_the_earlier_snapshot() {
    let earlier: Snapshot = ["pcx-1", "pcx-2"].map(|id| named(id, StatusCode::Active, &owner())).into_iter().collect();
    let later = [named("pcx-1", StatusCode::Active, &owner()), named("pcx-2", StatusCode::Deleted, &owner())];
    let later: Snapshot = later.into_iter().map(|connection| earlier.share(connection, &"cluster".into())).collect();
    let is_shared = |id| earlier.get(id).zip(later.get(id)).is_some_and(|(then, now)| Arc::ptr_eq(then, now));
    assert_eq!(["pcx-1", "pcx-2"].map(is_shared), [true, false]);
    assert_eq!(later.get("pcx-2").map(|connection| &connection.code), Some(&StatusCode::Deleted));
}

#[test]
fn the_later_page_wins_for_a_connection_on_two_pages() {
    let twice = [StatusCode::Provisioning, StatusCode::Active].map(|code| named("pcx-1", code, &owner()));
    let snapshot: Snapshot = twice.into_iter().collect();
    let code = snapshot.get("pcx-1").map(|connection| &connection.code);
    assert_eq!((snapshot.connections().len(), code), (1, Some(&StatusCode::Active)));
}

#[test]
fn connections_are_found_by_the_vpc_of_either_end_and_of_the_accepter() {
    let snapshot: Snapshot = [named("pcx-1", StatusCode::Active, &owner())].into_iter().collect();
    for (vpc, at_either_end, as_accepter) in [("vpc-11111111", 1, 0), ("vpc-22222222", 1, 1), ("vpc-33333333", 0, 0)] {
        let found = (snapshot.of(vpc).count(), snapshot.to(vpc).count());
        assert_eq!(found, (at_either_end, as_accepter), "{vpc}");
    }
}

#[test]
fn a_vpc_with_the_same_hash_as_another_has_connections_of_its_own() {
    let mut by_hash = std::collections::HashMap::new();
    let collision = (0..).map(|number| format!("vpc-{number:08x}")).find_map(|vpc| {
        let earlier = by_hash.insert(hash(vpc.as_str()), vpc.clone())?;
        Some((earlier, vpc))
    });
    let Some((one, other)) = collision else { panic!("no collision") };
    let mut of_one = named("pcx-1", StatusCode::Active, &owner());
    of_one.requester.vpc_id = Some(one.as_str().into());
    let snapshot: Snapshot = [of_one].into_iter().collect();
    assert_eq!((snapshot.of(&one).count(), snapshot.of(&other).count()), (1, 0));
}

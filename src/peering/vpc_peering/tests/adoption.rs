//! The adoption of existing connections, and of orphans of an earlier resource with the same name.

use super::*;

/// A resource whose spec adopts `connection`.
fn adoption(connection: Connection) -> Case {
    let mut case = Case::new();
    case.spec.vpc_peering_connection_id = Some(connection.id.clone());
    case.observed.conflicting =
        Some(connection.clone().into()).filter(|connection: &Arc<Connection>| !connection.code.has_ended());
    case.observed.wanted = Some(connection.into());
    case
}

#[test]
fn adoption_tags_a_connection_and_then_records_it() {
    let mut untagged = connection(StatusCode::Active);
    untagged.tags.clear();
    let mut case = adoption(untagged);
    assert_eq!(case.summary(), "tag pcx-1 cluster name namespace uid");
    case.spec.suspend = true;
    assert_eq!(case.summary(), "suspended");
    case.observed.owned = vec![connection(StatusCode::Active).into()];
    assert_eq!(case.summary(), "record pcx-1 as Owned");
}

#[test]
fn adoption_needs_a_free_connection_that_matches_the_spec() {
    let change = |change: fn(&mut Connection)| {
        let mut connection = connection(StatusCode::Active);
        connection.tags.clear();
        change(&mut connection);
        adoption(connection).summary()
    };
    let mismatch = "stalled: ConnectionMismatch";
    assert_eq!(change(|connection| connection.requester.vpc_id = Some("vpc-3".into())), mismatch);
    assert_eq!(change(|connection| connection.accepter.vpc_id = Some("vpc-3".into())), mismatch);
    assert_eq!(change(|connection| connection.accepter.region = Some("eu-west-1".into())), mismatch);
    assert_eq!(change(|connection| std::mem::swap(&mut connection.requester, &mut connection.accepter)), mismatch);
    assert_eq!(change(|connection| connection.tags = tags(&another_owner())), "stalled: ConnectionNotOwned");
    assert_eq!(change(|connection| connection.code = StatusCode::Rejected), "stalled: Rejected");
    assert_eq!(change(|connection| connection.code = StatusCode::Deleting), "wait: Deleting");
    let mut case = adoption(connection(StatusCode::Active));
    case.observed.wanted = None;
    assert_eq!(case.summary(), "stalled: NotFound");
}

#[test]
fn only_an_orphan_of_the_same_name_can_be_adopted() {
    let earlier = Owner { uid: "earlier".into(), ..owner() };
    let mut orphaned = connection(StatusCode::Active);
    orphaned.tags = tags(&earlier);
    let mut case = Case::new();
    case.observed.conflicting = Some(orphaned.clone().into());
    let plan = case.decide();
    let Plan::Stalled { reason: Reason::ConnectionNotOwned, message, .. } = plan else { panic!("{plan:?}") };
    assert!(message.contains("earlier resource"), "{message}");
    assert_eq!(case.deleted().summary(), "remove finalizer");
    let case = adoption(orphaned);
    assert_eq!(case.summary(), "tag pcx-1 uid");
    for other in [Owner { cluster: "x".into(), ..earlier.clone() }, Owner { namespace: "x".into(), ..earlier }] {
        let mut foreign = connection(StatusCode::Active);
        foreign.tags = tags(&other);
        assert_eq!(adoption(foreign).summary(), "stalled: ConnectionNotOwned");
    }
}

#[test]
fn an_orphan_is_adopted_only_between_the_same_vpcs() {
    let mut left = connection(StatusCode::Active);
    left.tags = tags(&Owner { uid: "earlier".into(), ..owner() });
    let mut case = Case::new();
    (case.observed.orphaned, case.observed.conflicting) = (vec![left.clone().into()], Some(left.clone().into()));
    assert_eq!(case.summary(), "tag pcx-1 uid", "an orphan between the same VPCs is adopted");
    case.is_cluster_unique = false;
    assert_eq!(case.summary(), "stalled: ConnectionNotOwned", "another cluster may have the same ID");
    // Beside an owned connection, the orphan is deleted.
    let mut beside = Case::with(StatusCode::Active);
    beside.observed.orphaned = vec![Connection { id: "pcx-9".into(), ..left }.into()];
    assert_eq!(beside.summary(), "delete orphan pcx-9");
    beside.refuse(Aspect::Orphans);
    assert_eq!(beside.summary(), "stalled: Unauthorized");
    beside.observed.refused.clear();
    beside.spec.deletion_policy = Some(DeletionPolicy::Retain);
    assert_eq!(beside.summary(), "settled", "deletionPolicy: Retain keeps the orphan");
    beside.spec.deletion_policy = Some(DeletionPolicy::Delete);
    Arc::make_mut(&mut beside.observed.orphaned[0]).accepter.vpc_id = Some("vpc-3".into());
    assert_eq!(beside.summary(), "settled", "tags on a connection between other VPCs prove nothing");
    let mut alone = Case::new();
    alone.observed.orphaned = beside.observed.orphaned;
    assert_eq!(alone.summary(), "preflight");
}

#[test]
fn adoption_and_options_need_their_own_permissions() {
    let mut untagged = connection(StatusCode::Active);
    untagged.tags.clear();
    let mut case = adoption(untagged);
    if let Some(limits) = &mut case.permissions.requester {
        limits.adoption = false;
    }
    assert_eq!(case.summary(), "stalled: ActionNotAllowed");
    let mut case = Case::with(StatusCode::Active);
    case.spec.requester.options =
        Some(SideOptions { allow_dns_resolution_from_remote_vpc: Some(true), ..SideOptions::default() });
    if let Some(limits) = &mut case.permissions.requester {
        limits.options = false;
    }
    assert_eq!(case.summary(), "stalled: ActionNotAllowed");
}

#[test]
fn a_dry_run_adopts_nothing() {
    let mut untagged = connection(StatusCode::Active);
    untagged.tags.clear();
    let mut case = adoption(untagged);
    case.spec.dry_run = true;
    assert_eq!(case.summary(), "stalled: DryRun");
    let mut left = connection(StatusCode::Active);
    left.tags = tags(&Owner { uid: "earlier".into(), ..owner() });
    let mut case = Case::new();
    (case.observed.orphaned, case.observed.conflicting) = (vec![left.clone().into()], Some(left.into()));
    case.spec.dry_run = true;
    assert_eq!(case.summary(), "stalled: ConnectionNotOwned", "an orphan is not adopted either");
}

#[test]
fn an_adopted_connection_needs_no_second_permission() {
    let mut untagged = connection(StatusCode::Active);
    untagged.tags.clear();
    for mut case in [Case::with(StatusCode::Active), Case::showing(untagged)] {
        case.spec.vpc_peering_connection_id = Some("pcx-1".into());
        let before = case.summary();
        if let Some(limits) = &mut case.permissions.requester {
            limits.adoption = false;
        }
        assert_eq!(case.summary(), before);
    }
}

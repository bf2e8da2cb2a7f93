//! Managed prefix lists as destinations.

use super::*;

const LIST: &str = "pl-1";
const ACCOUNT: &str = "111111111111";

/// The prefix list, of this owner, with these entries.
fn list(owner: &str, entries: &[&str]) -> (PrefixList, Result<Arc<Entries>, Blocker>) {
    let entries: Entries = entries.iter().map(|entry| entry.parse().unwrap()).collect();
    let list = PrefixList {
        id: LIST.into(),
        owner_id: owner.into(),
        is_ipv6: entries.iter().any(|entry| matches!(entry, IpNet::V6(_))),
        max_entries: Some(4),
        version: Some(1),
        is_changing: false,
    };
    (list, Ok(Arc::new(entries)))
}

fn named((list, entries): (PrefixList, Result<Arc<Entries>, Blocker>)) -> NamedPrefixLists {
    let entries = [(list.id.clone(), entries)].into();
    NamedPrefixLists { shown: Ok(Arc::new([Arc::new(list)].into_iter().collect())), entries }
}

/// The prefix list of this end's account, with the other end's first block.
pub(super) fn named_list() -> NamedPrefixLists {
    named(list(ACCOUNT, &["10.1.0.0/16"]))
}

/// Routes to the prefix list in the main table.
fn spec() -> Routes {
    Routes { destination_prefix_list_ids: vec![LIST.into()], ..to(main_table(), &[]) }
}

/// The main table has `routes`.
fn case(routes: &[&str], recorded: &[&str], lists: NamedPrefixLists) -> Case {
    let mut case = Case::new(Some(spec()), &[table("main", routes)], recorded);
    case.own.owner_id = Some(ACCOUNT.into());
    case.lists = Some(lists);
    case
}

const RECORDED: &[&str] = &["main pl-1 pcx-ours"];
const PRESENT: &[&str] = &["pl-1 pcx-ours"];

#[test]
fn a_list_gets_a_route_instead_of_the_blocks_of_the_other_end() {
    let good = || named(list(ACCOUNT, &["10.1.3.0/24", "10.2.0.0/16"]));
    assert_eq!(short(&case(&[], &[], good()).repair()), ["record main pl-1 pcx-ours"]);
    assert_eq!(short(&case(&[], RECORDED, good()).repair()), ["create the route to pl-1 through pcx-ours in main"]);
    let settled = case(PRESENT, RECORDED, good()).repair();
    assert_eq!((short(&settled), settled.blocker()), (vec![], None));
    let earlier = case(&["pl-1 pcx-earlier!"], &["main pl-1 pcx-earlier", "main pl-1 pcx-ours"], good());
    assert_eq!(short(&earlier.repair()), ["replace the route to pl-1 through pcx-ours in main"]);
    let mut both = case(&[], &[], good());
    both.routes = Some(Routes { destination_cidr_blocks: vec!["10.1.0.0/16".into()], ..spec() });
    assert_eq!(short(&both.repair()), ["record main 10.1.0.0/16 pcx-ours", "record main pl-1 pcx-ours"]);
    // A list without entries routes nothing. Later entries are checked when they come.
    assert_eq!(short(&case(&[], &[], named(list(ACCOUNT, &[]))).repair()), ["record main pl-1 pcx-ours"]);
}

#[test]
fn a_foreign_route_to_the_list_is_a_conflict() {
    let mut case = case(&["pl-1 tgw-1"], RECORDED, named_list());
    let plan = case.repair();
    assert_eq!(plan.blocker().map(|blocker| blocker.reason), Some(Reason::RouteConflict));
    assert_eq!(short(&plan), ["record nothing"]);
    case.recorded = record(&[]);
    assert_eq!((short(&case.repair()), short(&case.withdraw())), (vec![], vec![]));
}

#[test]
fn every_entry_must_lie_within_the_other_end() {
    for entries in [
        &["10.1.0.0/16", "10.3.0.0/16"][..],
        &["0.0.0.0/0"],
        &["::/0"],
        // Larger than a block, although both halves are blocks of the other end.
        &["10.0.0.0/15"],
        &["2001:db8::/32"],
    ] {
        let bad = named(list(ACCOUNT, entries));
        let plan = case(&[], &[], bad.clone()).repair();
        let blocker = plan.blocker().unwrap();
        assert_eq!((short(&plan), blocker.reason), (vec![], Reason::UnexpectedCidrBlock), "{entries:?}");
        for part in [LIST, entries[entries.len() - 1], "10.1.0.0/16", "spec.requester.routes.destinationPrefixListIds"]
        {
            assert!(blocker.message.contains(part), "{part}: {}", blocker.message);
        }
        // A route that exists would draw the traffic of the entry into the peering.
        let plan = case(PRESENT, RECORDED, bad).repair();
        assert_eq!(short(&plan), ["delete the route to pl-1 through pcx-ours in main"], "{entries:?}");
    }
}

#[test]
fn a_list_of_another_account_needs_allowed_blocks() {
    let trust = |to_allow: Option<&str>| Trust {
        recorded: ["10.1.0.0/16".parse().unwrap()].into(),
        by_destination: true,
        to_allow: to_allow.map(str::to_owned),
        ..Trust::default()
    };
    for (owner, entry, is_allowed) in [
        ("222222222222", "10.1.3.0/24", true),
        // The other end added this block later, and shares a list with it.
        ("222222222222", "10.2.0.0/16", false),
        (ACCOUNT, "10.2.0.0/16", true),
    ] {
        let mut case = case(PRESENT, RECORDED, named(list(owner, &[entry])));
        case.trust = trust(None);
        let plan = case.repair();
        let reason = plan.blocker().map(|blocker| blocker.reason);
        assert_eq!(reason.is_none(), is_allowed, "{owner} {entry}: {plan:?}");
        let step =
            if is_allowed { vec![] } else { vec!["delete the route to pl-1 through pcx-ours in main".to_owned()] };
        assert_eq!(short(&plan), step, "{owner} {entry}");
        if !is_allowed {
            let message = plan.blocker().unwrap().message;
            assert!(message.contains(owner) && message.contains(entry), "{message}");
        }
    }
    // An allow list permits the entries within it, also if it does not permit all of the other end's block.
    let mut listed = case(PRESENT, RECORDED, named(list("222222222222", &["10.1.3.0/28"])));
    listed.trust = Trust { listed: ["10.1.3.0/24".parse().unwrap()].into(), ..Trust::default() };
    assert_eq!((short(&listed.repair()), listed.repair().blocker()), (vec![], None));
    // With every block allowed, a denied part withholds no entry beside it.
    listed.trust = Trust { denied: ["10.1.4.0/24".parse().unwrap()].into(), ..Trust::all() };
    assert_eq!((short(&listed.repair()), listed.repair().blocker()), (vec![], None));
    // A denied block gets no route, whoever owns the list.
    let mut denied = case(&[], &[], named(list(ACCOUNT, &["10.1.3.0/24"])));
    denied.trust = Trust { denied: ["10.1.3.0/28".parse().unwrap()].into(), ..Trust::all() };
    assert_eq!(denied.repair().blocker().map(|blocker| blocker.reason), Some(Reason::UnexpectedCidrBlock));
}

#[test]
fn a_list_that_cannot_be_read_changes_no_route() {
    let refused = || Blocker::stalled(Reason::Unauthorized, "GetManagedPrefixListEntries: no".into());
    let (readable, _) = list(ACCOUNT, &[]);
    let unknown = NamedPrefixLists { shown: Ok(Arc::default()), entries: BTreeMap::new() };
    for (lists, reason) in [
        (unknown, Reason::PrefixListNotFound),
        (named((readable, Err(refused()))), Reason::Unauthorized),
        (NamedPrefixLists { shown: Err(refused()), entries: BTreeMap::new() }, Reason::Unauthorized),
    ] {
        for (routes, recorded) in [(&[][..], &[][..]), (PRESENT, RECORDED)] {
            let mut case = case(routes, recorded, lists.clone());
            // The other destinations get their routes.
            case.routes = Some(Routes { destination_cidr_blocks: vec!["10.1.0.0/16".into()], ..spec() });
            let plan = case.repair();
            let added = ["record main 10.1.0.0/16 pcx-ours"].into_iter();
            let kept = recorded.iter().map(|_| "record main pl-1 pcx-ours");
            assert_eq!(short(&plan), added.chain(kept).collect::<Vec<_>>());
            let blocker = plan.blocker().unwrap();
            assert_eq!(blocker.reason, reason);
            assert!(blocker.message.contains(LIST), "{}", blocker.message);
            // A table that the spec no longer selects loses its route all the same.
            case.routes = Some(Routes { route_tables: ids(&["other"]), ..spec() });
            let step = recorded.iter().map(|_| "delete the route to pl-1 through pcx-ours in main");
            assert_eq!(short(&case.repair()), step.collect::<Vec<_>>());
        }
    }
}

#[test]
fn routes_to_lists_are_removed_without_looking_at_the_lists() {
    for recorded in [RECORDED, &[]] {
        let mut case = case(PRESENT, recorded, named(list(ACCOUNT, &["0.0.0.0/0"])));
        case.lists = None;
        assert_eq!(short(&case.withdraw()), ["delete the route to pl-1 through pcx-ours in main"]);
    }
    // The spec names the list no more.
    let mut case = case(PRESENT, RECORDED, named_list());
    (case.routes, case.lists) = (Some(to(main_table(), &["10.1.0.0/16"])), None);
    case.recorded.extend(record(&["main 10.1.0.0/16 pcx-ours"]));
    let [delete, create] = &short(&case.repair())[..] else { panic!("{:?}", case.repair()) };
    assert!(delete.starts_with("delete the route to pl-1") && create.starts_with("create the route to 10.1.0.0/16"));
}

#[test]
fn a_list_counts_with_its_maximum_number_of_entries() {
    let good = named_list;
    let tables =
        || [table("rtb-1", &["10.9.0.0/24 igw-1", "10.9.1.0/24 igw-1"]), table("rtb-2", &["10.9.0.0/24 igw-1"])];
    let mut case = case(&[], &[], good());
    case.tables = tables().into_iter().collect();
    case.quota = Quota { limit: 5, is_confirmed: true };
    case.routes = Some(Routes { route_tables: every_table(), ..spec() });
    let plan = case.repair();
    assert_eq!(short(&plan), ["record rtb-2 pl-1 pcx-ours"], "the other table stays up to date");
    let blocker = plan.blocker().unwrap();
    assert_eq!(blocker.reason, Reason::RouteTableFull);
    for part in ["rtb-1 has 2 of the 5 routes", "pl-1 counts as 4", "spec.requester.routes.routeTables.exclude"] {
        assert!(blocker.message.contains(part), "{part}: {}", blocker.message);
    }
    assert!(!blocker.message.contains("rtb-2"), "{}", blocker.message);
    // The routes of the table to the list count, too, and IPv6 apart.
    case.tables = [table("rtb-1", &["pl-1 tgw-1", "2001:db8:1::/64 igw-1"])].into_iter().collect();
    case.routes = Some(to(every_table(), &["10.1.0.0/16", "10.2.0.0/16", "2001:db8::/56"]));
    let plan = case.repair();
    assert_eq!(short(&plan), ["record rtb-1 10.1.0.0/16 pcx-ours", "record rtb-1 2001:db8::/56 pcx-ours"]);
    assert_eq!(plan.blocker().map(|blocker| blocker.reason), Some(Reason::RouteTableFull));
}

#[test]
fn a_list_of_aws_or_of_a_missing_family_gets_no_route() {
    let mut aws = list(PrefixList::AWS, &[]);
    aws.0.max_entries = None;
    let plan = case(&[], &[], named(aws)).repair();
    assert_eq!((short(&plan), plan.blocker().map(|it| it.reason)), (vec![], Some(Reason::InvalidRequest)));
    let mut case = case(&[], &[], named(list(ACCOUNT, &["2001:db8::/64"])));
    assert_eq!(short(&case.repair()), ["record main pl-1 pcx-ours"]);
    case.own.ipv6_cidr_block_set.clear();
    let plan = case.repair();
    assert_eq!((short(&plan), plan.blocker().map(|it| it.reason)), (vec![], Some(Reason::InvalidRequest)));
}

#[test]
fn a_list_of_another_requester_is_left_to_its_connection() {
    let mut case = case(&[], &[], named(list(ACCOUNT, &["10.7.0.0/16"])));
    case.shares_destinations = true;
    assert_eq!(case.repair().blocker().map(|blocker| blocker.reason), Some(Reason::UnexpectedCidrBlock));
    case.sibling_blocks = vec![["10.7.0.0/16".parse().unwrap()].into()];
    assert_eq!((short(&case.repair()), case.repair().blocker()), (vec![], None));
    // A list with entries of two requesters leads to neither.
    case.lists = Some(named(list(ACCOUNT, &["10.1.0.0/16", "10.7.0.0/16"])));
    assert_eq!(case.repair().blocker().map(|blocker| blocker.reason), Some(Reason::UnexpectedCidrBlock));
}

#[test]
fn the_changes_since_a_snapshot_are_the_lists_that_differ() {
    let of = |lists: &[&PrefixList]| -> PrefixLists { lists.iter().map(|list| Arc::new((*list).clone())).collect() };
    let (one, _) = list(ACCOUNT, &["10.1.0.0/16"]);
    let two = PrefixList { id: "pl-2".into(), ..one.clone() };
    let edited = PrefixList { version: Some(2), ..one.clone() };
    let rows: &[(&[&PrefixList], &[&str])] = &[
        (&[&one, &two], &[]),
        (&[&edited, &two], &["pl-1"]),
        (&[&one], &["pl-2"]),
        (&[&one, &two, &PrefixList { id: "pl-3".into(), ..one.clone() }], &["pl-3"]),
    ];
    for (now, changed) in rows {
        let changed: BTreeSet<String> = changed.iter().map(|id| (*id).to_owned()).collect();
        assert_eq!(of(now).changes_since(&of(&[&one, &two])), changed, "{now:?}");
    }
}

//! `spec.adopt`: the connections of others that are taken over, and those that are left alone.

use super::*;
use crate::api::AdoptedConnections;
use crate::peering::vpc_peering_accepter::status::record_adoption;

fn by_id(ids: &[&str]) -> Option<AdoptedConnections> {
    Some(AdoptedConnections { connection_ids: ids.iter().map(|id| (*id).to_owned()).collect(), matching: false })
}

fn matching() -> Option<AdoptedConnections> {
    Some(AdoptedConnections { connection_ids: Vec::new(), matching: true })
}

fn active(blocks: &[&str]) -> Connection {
    Connection {
        requester: info(THEIRS, "vpc-11111111", "eu-west-1", blocks),
        ..connection("pcx-1", StatusCode::Active)
    }
}

fn within(block: &str) -> AcceptedRequests {
    AcceptedRequests { cidr_blocks: Some(AllowedCidrBlocks { all: false, list: list(&[block]) }), ..any_of(THEIRS) }
}

fn adopting(connection: Connection, adopt: Option<AdoptedConnections>) -> Case {
    let mut case = Case::new([connection]);
    case.spec.adopt = adopt;
    case
}

fn adopts() -> Option<Step> {
    Some(Step::RecordAdoption { id: Authorized::unchecked("pcx-1") })
}

/// A decision on an active connection that nobody owns, with the reason of `Stalled`.
#[derive(Debug, PartialEq)]
enum Answer {
    Adopted,
    Ignored,
    Stalled(Reason),
}

fn answer(case: &Case) -> Answer {
    match case.plan() {
        Plan::Act(step) if Some(&step) == adopts().as_ref() => Answer::Adopted,
        Plan::Settled { .. } => Answer::Ignored,
        Plan::Stalled { reason, .. } => Answer::Stalled(reason),
        plan => panic!("{plan:?}"),
    }
}

#[test]
fn an_active_connection_is_adopted_only_if_the_spec_asks_and_its_lists_allow_it() {
    use Answer::{Adopted, Ignored, Stalled};

    let denied = DeniedRequests { owner_id: Some(THEIRS.into()), ..DeniedRequests::default() };
    let one = &["10.1.0.0/16"][..];
    let two = &["10.1.0.0/16", "10.200.0.0/16"][..];
    let empty = Some(AdoptedConnections::default());
    let rows = [
        ("absent", None, vec![any_of(THEIRS)], vec![], one, Ignored),
        ("an empty object", empty, vec![any_of(THEIRS)], vec![], one, Ignored),
        ("an entry for every block", matching(), vec![any_of(THEIRS)], vec![], two, Adopted),
        ("an entry for its blocks", matching(), vec![within("10.0.0.0/8")], vec![], two, Adopted),
        ("a block outside", matching(), vec![within("10.1.0.0/16")], vec![], two, Ignored),
        ("hidden blocks", matching(), vec![within("10.0.0.0/8")], vec![], &[][..], Ignored),
        ("no entry", matching(), vec![], vec![], one, Ignored),
        ("another account", matching(), vec![any_of(OURS)], vec![], one, Ignored),
        ("denied", matching(), vec![any_of(THEIRS)], vec![denied.clone()], one, Ignored),
        ("by ID", by_id(&["pcx-1"]), vec![any_of(THEIRS)], vec![], one, Adopted),
        ("by ID, without an entry", by_id(&["pcx-1"]), vec![], vec![], one, Adopted),
        ("by ID, denied", by_id(&["pcx-1"]), vec![any_of(THEIRS)], vec![denied], one, Stalled(Reason::InvalidRequest)),
        ("another ID", by_id(&["pcx-2"]), vec![any_of(THEIRS)], vec![], one, Stalled(Reason::NotFound)),
    ];
    for (name, adopt, accept, deny, blocks, expected) in rows {
        let mut case = adopting(active(blocks), adopt);
        (case.spec.accept, case.spec.deny) = (accept, deny);
        assert_eq!(answer(&case), expected, "{name}");
    }
}

#[test]
fn a_connection_that_is_not_adopted_says_why() {
    let message = |adopt| adopting(active(&["10.1.0.0/16"]), adopt).described().connections[0].message.clone();
    assert!(message(None).is_some_and(|message| message.contains("leaves it alone")));
    let mut older = adopting(active(&["10.1.0.0/16"]), matching());
    older.spec.accept.clear();
    let message = older.described().connections[0].message.clone();
    assert!(message.is_some_and(|message| message.contains("no entry of spec.accept")));
}

#[test]
fn an_id_that_cannot_be_adopted_is_named_with_its_field() {
    let another = Owner { name: "another".into(), uid: "another".into(), ..owner() };
    let foreign: [(&str, Reason, &str, fn(&mut Connection, &Owner)); 6] = [
        ("a VpcPeering", Reason::ConnectionNotOwned, "VpcPeering team/another", |shown, another| {
            shown.tags = tags(another.tags());
        }),
        ("another accepter", Reason::ConnectionNotOwned, "VpcPeeringAccepter team/another", |shown, another| {
            shown.tags = tags(another.accepter_tags());
        }),
        ("another cluster", Reason::ConnectionNotOwned, "another namespace or cluster", |shown, another| {
            let other = Owner { cluster: "x".into(), namespace: "secret".into(), ..another.clone() };
            shown.tags = tags(other.accepter_tags());
        }),
        ("another VPC", Reason::ConnectionNotOwned, "spec.vpcId", |shown, _| {
            shown.accepter.vpc_id = Some("vpc-3".into());
        }),
        ("deleted", Reason::Deleted, "it has ended, and is deleted", |shown, _| shown.code = StatusCode::Deleted),
        ("expired", Reason::Expired, "it has ended, and is expired", |shown, _| shown.code = StatusCode::Expired),
    ];
    for (name, reason, part, change) in foreign {
        let mut shown = active(&["10.1.0.0/16"]);
        change(&mut shown, &another);
        let case = adopting(shown.clone(), by_id(&["pcx-1"]));
        let Plan::Stalled { reason: found, message, .. } = case.plan() else { panic!("{name}: {:?}", case.plan()) };
        assert_eq!(found, reason, "{name}: {message}");
        for part in ["spec.adopt.connectionIds", "pcx-1", part] {
            assert!(message.contains(part), "{name}: {message}");
        }
        assert!(!message.contains("secret"), "{name}: {message}");
        // The rules take none of them either, and the resource is ready.
        assert_eq!(answer(&adopting(shown, matching())), Answer::Ignored, "{name}");
    }
    for (code, reason) in [
        (StatusCode::Provisioning, Reason::Provisioning),
        (StatusCode::Deleting, Reason::Deleting),
        (StatusCode::PendingAcceptance, Reason::PendingAcceptance),
    ] {
        let mut case = adopting(Connection { code: code.clone(), ..active(&[]) }, by_id(&["pcx-1"]));
        case.spec.accept.clear();
        let Plan::Wait { reason: found, message, .. } = case.plan() else { panic!("{code}: {:?}", case.plan()) };
        assert!(found == reason && message.contains("pcx-1"), "{code}: {message}");
        assert!(!message.contains("ended"), "{code}: {message}");
    }
}

#[test]
fn adoption_needs_a_permission_and_no_other_claim() {
    let stalled = |change: fn(&mut Case), adopt| {
        let mut case = adopting(active(&["10.1.0.0/16"]), adopt);
        change(&mut case);
        answer(&case)
    };
    let forbid = |case: &mut Case| {
        if let Some(limits) = &mut case.permissions.accepter {
            limits.adoption = false;
        }
    };
    let claim = |case: &mut Case| _ = case.observed.claimed.insert("pcx-1".into());
    let older = |case: &mut Case| case.observed.older_accepter = Some("VpcPeeringAccepter team/older".into());
    let peer = |case: &mut Case| {
        if let Some(limits) = &mut case.permissions.accepter {
            limits.peers = crate::api::AllowedPeers::default();
        }
    };
    for adopt in [by_id(&["pcx-1"]), matching()] {
        assert_eq!(stalled(forbid, adopt.clone()), Answer::Stalled(Reason::ActionNotAllowed));
        assert_eq!(stalled(older, adopt), Answer::Stalled(Reason::ConnectionNotOwned));
    }
    for (adopt, opening) in [(by_id(&["pcx-1"]), "spec.adopt.connectionIds: pcx-1 "), (matching(), "spec.adopt: ")] {
        let mut case = adopting(active(&["10.1.0.0/16"]), adopt);
        forbid(&mut case);
        let Plan::Stalled { message, .. } = case.plan() else { panic!("{:?}", case.plan()) };
        assert!(message.starts_with(opening) && message.contains("allowAdoption"), "{message}");
    }
    assert_eq!(stalled(claim, by_id(&["pcx-1"])), Answer::Stalled(Reason::ConnectionNotOwned));
    assert_eq!(stalled(claim, matching()), Answer::Ignored);
    assert_eq!(stalled(peer, by_id(&["pcx-1"])), Answer::Stalled(Reason::PeerNotAllowed));
    assert_eq!(stalled(peer, matching()), Answer::Ignored);
}

/// A connection that is recorded as adopted. EC2 does not show the tags yet.
fn recorded(adopt: Option<AdoptedConnections>) -> Case {
    let mut case = adopting(active(&["10.1.0.0/16"]), adopt);
    record_adoption(&mut case.status, &active(&["10.1.0.0/16"]), case.now);
    case
}

#[test]
fn an_adopted_connection_gets_the_upkeep_of_an_accepted_one() {
    let mut case = recorded(by_id(&["pcx-1"]));
    let record = &case.status.connections[0];
    assert!(record.adopted_at.is_some() && record.accepted_at.is_none(), "{record:?}");
    assert_eq!(record.accepted_cidr_blocks, ["10.1.0.0/16"]);
    assert!(matches!(case.step(), Some(Step::Upkeep { step: UpkeepStep::Tag { .. }, .. })), "{:?}", case.plan());
    let tagged = Connection { tags: tags(owner().accepter_tags()), ..active(&["10.1.0.0/16"]) };
    case.observed.connections.insert("pcx-1".into(), tagged.into());
    // A route that leads through the connection already is taken over: it is recorded, and not changed.
    with_routes(&mut case, "10.1.0.0/16", Some(Target::Peering("pcx-1".into())));
    let step = case.step();
    let Some(Step::Upkeep { step: UpkeepStep::RecordRoutes { .. }, .. }) = step else { panic!("{step:?}") };
    case.status.routes = vec![route("pcx-1")];
    assert!(matches!(case.plan(), Plan::Settled { .. }), "{:?}", case.plan());
    // It stays adopted when the entry goes, and counts as a live connection.
    case.spec.adopt = None;
    assert!(matches!(case.plan(), Plan::Settled { .. }), "{:?}", case.plan());
    let described = case.described();
    assert!(described.connections[0].adopted_at.is_some() && described.accepted == Some(1), "{described:?}");
    // Routes of others to the same destination stay.
    with_routes(&mut case, "10.1.0.0/16", Some(Target::Other("igw-1".into())));
    case.status.routes.clear();
    assert!(matches!(case.plan(), Plan::Stalled { reason: Reason::RouteConflict, .. }), "{:?}", case.plan());
}

#[test]
fn without_an_entry_of_accept_an_adopted_connection_gets_no_routes() {
    let mut case = recorded(by_id(&["pcx-1"]));
    case.spec.accept.clear();
    with_routes(&mut case, "10.1.0.0/16", None);
    assert!(matches!(case.step(), Some(Step::Upkeep { step: UpkeepStep::Tag { .. }, .. })), "{:?}", case.plan());
    let tagged = Connection { tags: tags(owner().accepter_tags()), ..active(&["10.1.0.0/16"]) };
    case.observed.connections.insert("pcx-1".into(), tagged.into());
    assert!(matches!(case.plan(), Plan::Settled { .. }), "{:?}", case.plan());
    let message = case.described().connections[0].message.clone().expect("a message");
    assert!(message.contains("gets no routes"), "{message}");
}

#[test]
fn a_record_of_an_adoption_proves_nothing_without_the_spec() {
    for change in [(|case| case.spec.adopt = None) as fn(&mut Case), |case| {
        if let Some(limits) = &mut case.permissions.accepter {
            limits.adoption = false;
        }
    }] {
        let mut case = recorded(matching());
        change(&mut case);
        assert_eq!((case.step(), case.verdict()), (None, Some(AccepterDecision::Ignored)), "{:?}", case.plan());
    }
}

#[test]
fn the_deletion_keeps_an_adopted_connection_and_routes_that_were_there_before() {
    let mut case = recorded(by_id(&["pcx-1"]));
    with_routes(&mut case, "10.1.0.0/16", Some(Target::Peering("pcx-1".into())));
    case.deleted = true;
    assert_eq!(case.plan(), Plan::RemoveFinalizer, "nothing was changed before the tags were set");
    let tagged = Connection { tags: tags(owner().accepter_tags()), ..active(&["10.1.0.0/16"]) };
    case.observed.connections.insert("pcx-1".into(), tagged.into());
    case.status.routes = vec![route("pcx-1")];
    let step = case.step();
    let Some(Step::Upkeep { step: UpkeepStep::ChangeRoutes { .. }, .. }) = step else { panic!("{step:?}") };
    case.status.routes.clear();
    with_routes(&mut case, "10.1.0.0/16", None);
    let step = case.step();
    let Some(Step::Upkeep { step: UpkeepStep::Untag { .. }, .. }) = step else { panic!("{step:?}") };
    case.observed.connections.insert("pcx-1".into(), active(&["10.1.0.0/16"]).into());
    assert_eq!(case.plan(), Plan::RemoveFinalizer);
}

//! The owners of connections: others, earlier resources, and this one without a permission.

use super::*;
use crate::api::AdoptedConnections;

fn tagged(code: StatusCode, tags: Tags) -> Connection {
    Connection { tags, ..connection("pcx-1", code) }
}

#[test]
fn an_ended_connection_of_another_owner_is_mentioned_only_if_it_is_recorded() {
    let ended = || tagged(StatusCode::Deleted, tags([(Owner::UID, "somebody")]));
    assert_eq!(Case::new([ended()]).verdict(), None);
    let mut case = Case::new([]).accepted("pcx-1");
    case.observed.connections.insert("pcx-1".into(), ended().into());
    assert_eq!(case.verdict(), Some(AccepterDecision::Ignored));
    // The spec names it for adoption: it is enough to say that it has ended.
    let connection_ids = vec!["pcx-1".to_owned()];
    case.spec.adopt = Some(AdoptedConnections { connection_ids, ..AdoptedConnections::default() });
    let Plan::Stalled { reason: Reason::Deleted, message, .. } = case.plan() else { panic!("{:?}", case.plan()) };
    assert_eq!(message.matches("pcx-1").count(), 1, "{message}");
}

#[test]
fn an_ended_connection_with_the_tags_of_the_resource_needs_a_record() {
    let ended = tagged(StatusCode::Deleted, tags(owner().accepter_tags()));
    assert_eq!(Case::new([ended.clone()]).verdict(), None);
    let live = Connection { code: StatusCode::Provisioning, ..ended };
    assert_eq!(Case::new([live]).verdict(), Some(AccepterDecision::Accepted));
}

#[test]
fn a_withdrawn_permission_blocks_a_live_connection() {
    for (code, is_blocked) in [(StatusCode::Active, true), (StatusCode::Deleted, false)] {
        let mut case = Case::new([connection("pcx-1", code.clone())]).accepted("pcx-1");
        if let Some(limits) = &mut case.permissions.accepter {
            limits.peers = crate::api::AllowedPeers::default();
        }
        let plan = case.plan();
        let is_stalled = matches!(plan, Plan::Stalled { reason: Reason::PeerNotAllowed, .. });
        assert_eq!(is_stalled, is_blocked, "{code}: {plan:?}");
    }
}

#[test]
fn an_accepted_connection_that_the_lists_no_longer_allow_says_why_it_gets_no_routes() {
    let message = |code, with_spec: bool| {
        let mut case = Case::new([connection("pcx-1", code)]).accepted("pcx-1");
        case.spec.accept.clear();
        if with_spec {
            with_routes(&mut case, "10.1.0.0/16", None);
        }
        case.described().connections[0].message.clone()
    };
    assert!(message(StatusCode::Active, true).is_some_and(|message| message.contains("gets no routes")));
    assert_eq!(message(StatusCode::Active, false), None, "the spec asks for no routes");
    assert_eq!(message(StatusCode::Deleted, true), None);
}

#[test]
fn blocks_outside_the_lists_are_reported_only_of_a_connection_that_is_accepted() {
    let outside = |code| Connection {
        requester: info(THEIRS, "vpc-11111111", "eu-west-1", &["10.2.0.0/16"]),
        ..connection("pcx-1", code)
    };
    for (code, is_reported) in
        [(StatusCode::Active, true), (StatusCode::Provisioning, true), (StatusCode::Deleting, false)]
    {
        let mut case = Case::new([outside(code.clone())]).accepted("pcx-1");
        let cidr_blocks = Some(AllowedCidrBlocks { all: false, list: list(&["10.1.0.0/16"]) });
        case.spec.accept = vec![AcceptedRequests { cidr_blocks, ..any_of(THEIRS) }];
        let message = case.described().connections[0].message.clone();
        assert_eq!(message.is_some_and(|message| message.contains("10.2.0.0/16")), is_reported, "{code}");
    }
}

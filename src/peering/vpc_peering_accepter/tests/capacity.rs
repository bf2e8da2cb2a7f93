//! The connections that count: towards `spec.maxConnections`, and in the messages.

use super::*;

fn message(case: &Case) -> String {
    match case.plan() {
        Plan::Settled { message, .. } => message,
        plan => panic!("{plan:?}"),
    }
}

#[test]
fn ended_connections_and_those_of_others_take_no_room() {
    let ended = connection("pcx-1", StatusCode::Deleted);
    let foreign = Connection { tags: tags([(Owner::UID, "somebody")]), ..connection("pcx-2", StatusCode::Active) };
    let mut case = Case::new([ended, foreign, pending("pcx-3")]).accepted("pcx-1");
    case.spec.max_connections = Some(1);
    assert_eq!(case.step(), Some(Step::RecordAcceptance { id: Authorized::unchecked("pcx-3") }));
    // A request that is accepted takes room at once.
    case.observed.connections.insert("pcx-4".into(), pending("pcx-4").into());
    let assessment = case.assess();
    assert!(assessment.at_capacity.is_some_and(|message| message.starts_with("pcx-4")));
}

#[test]
fn a_settled_resource_counts_its_active_connections_and_the_pending_requests() {
    let foreign = Connection { tags: tags([(Owner::UID, "somebody")]), ..connection("pcx-3", StatusCode::Active) };
    let other = AcceptedRequests { owner_id: OURS.into(), ..any_of(THEIRS) };
    let active = ["pcx-0", "pcx-1"].map(|id| connection(id, StatusCode::Active));
    let mut case = Case::new(active.into_iter().chain([connection("pcx-2", StatusCode::Deleted)]));
    for id in ["pcx-0", "pcx-1", "pcx-2"] {
        case = case.accepted(id);
    }
    case.observed.connections.insert("pcx-3".into(), foreign.into());
    assert_eq!(message(&case), "2 accepted and active, 0 pending");
    case.spec.accept = vec![other];
    case.observed.connections.insert("pcx-4".into(), pending("pcx-4").into());
    assert_eq!(message(&case), "2 accepted and active, 1 pending");
}

#[test]
fn a_recorded_acceptance_counts_until_the_consistency_window_is_over() {
    for (seconds, expected) in [(59, AccepterDecision::Accepted), (60, AccepterDecision::Pending)] {
        let mut case = Case::new([pending("pcx-1")]);
        let began = case.now - k8s_openapi::jiff::SignedDuration::from_secs(seconds);
        record_acceptance(&mut case.status, &pending("pcx-1"), began);
        case.spec.accept.clear();
        assert_eq!(case.verdict(), Some(expected), "{seconds} s");
    }
}

#[test]
fn options_wait_only_for_a_connection_of_the_resource() {
    let options = |code, is_ours| {
        let foreign = Connection { tags: tags([(Owner::UID, "somebody")]), ..connection("pcx-2", code) };
        let mut case = Case::new([connection("pcx-1", StatusCode::Active), foreign]).accepted("pcx-1");
        if is_ours {
            case.observed.connections.get_mut("pcx-2").map(Arc::make_mut).expect("a connection").tags.clear();
            case = case.accepted("pcx-2");
        }
        case.spec.options =
            Some(SideOptions { allow_dns_resolution_from_remote_vpc: Some(false), ..SideOptions::default() });
        case.assess().aspects.remove(0).1
    };
    assert_eq!(options(StatusCode::Provisioning, false), Ok(()));
    assert!(options(StatusCode::Provisioning, true).is_err_and(|blocker| blocker.message.contains("pcx-2")));
    assert_eq!(options(StatusCode::Active, true), Ok(()));
}

#[test]
fn five_destinations_without_a_requester_are_listed_and_the_others_counted() {
    let mut case = Case::new([connection("pcx-1", StatusCode::Active)]).accepted("pcx-1");
    let active = Connection {
        requester: info(THEIRS, "vpc-11111111", "eu-west-1", &["10.1.0.0/16"]),
        tags: tags(owner().accepter_tags()),
        ..connection("pcx-1", StatusCode::Active)
    };
    case.observed.connections.insert("pcx-1".into(), active.into());
    with_routes(&mut case, "10.1.0.0/16", None);
    let mut reported = |count: u8| {
        let routes = case.spec.routes.as_mut().expect("routes");
        routes.destination_cidr_blocks = (0..count).map(|number| format!("10.{}.0.0/16", 100 + number)).collect();
        let of_routes = case.assess().aspects.into_iter().find_map(|(_, outcome)| outcome.err());
        of_routes.map(|blocker| blocker.message).unwrap_or_default()
    };
    assert!(
        reported(5).contains("contains 10.100.0.0/16, 10.101.0.0/16, 10.102.0.0/16, 10.103.0.0/16, 10.104.0.0/16,")
    );
    assert!(!reported(5).contains("more"), "{}", reported(5));
    assert!(reported(7).contains("10.104.0.0/16, and 2 more"), "{}", reported(7));
}

#[test]
fn more_tags_than_ec2_allows_block_requests_and_later_changes() {
    let tags = |count| {
        let tag = |number| crate::api::Tag { key: format!("key-{number}"), value: String::new() };
        (0..count).map(tag).collect::<Vec<_>>()
    };
    for shown in [pending("pcx-1"), connection("pcx-1", StatusCode::Active)] {
        let mut case = Case::new([shown.clone()]);
        if shown.code == StatusCode::Active {
            case = case.accepted("pcx-1");
        }
        case.spec.tags = tags(46);
        assert!(case.step().is_some(), "50 tags: {:?}", case.plan());
        case.spec.tags = tags(47);
        let Plan::Stalled { reason: Reason::InvalidRequest, message, .. } = case.plan() else {
            panic!("{:?}", case.plan())
        };
        assert!(message.contains("51") && message.contains("47 of spec.tags"), "{message}");
    }
}

#[test]
fn dns_attributes_are_turned_on_only_for_an_option_that_needs_them() {
    let mut case = Case::new([connection("pcx-1", StatusCode::Active)]).accepted("pcx-1");
    case.spec.options =
        Some(SideOptions { allow_dns_resolution_from_remote_vpc: Some(false), manage_dns_attributes: true });
    case.observed.dns = Some(Ok(DnsAttributes { support: true, hostnames: false }));
    assert!(matches!(case.plan(), Plan::Settled { .. }), "{:?}", case.plan());
}

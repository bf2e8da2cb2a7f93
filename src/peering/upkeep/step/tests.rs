use super::*;
use crate::api::PeeringOptions;
use crate::peering::connection::StatusCode;
use crate::peering::testing;

const SIDE: Side = Side::Requester;

fn id() -> Authorized {
    Authorized::unchecked("pcx-1")
}

fn route(destination: &str) -> ManagedRoute {
    ManagedRoute {
        side: SIDE,
        route_table_id: "rtb-1".into(),
        destination_cidr_block: Some(destination.into()),
        destination_prefix_list_id: None,
        vpc_peering_connection_id: "pcx-1".into(),
    }
}

fn tag(tags: &[(&str, &str)]) -> UpkeepStep {
    let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    UpkeepStep::Tag { id: id(), tags }
}

fn untag(keys: &[&str]) -> UpkeepStep {
    UpkeepStep::Untag { id: id(), keys: keys.iter().map(|key| (*key).to_owned()).collect() }
}

fn set_options(allow: bool) -> UpkeepStep {
    UpkeepStep::SetOptions { id: id(), allow_dns_resolution_from_remote_vpc: allow }
}

fn turn_on(attribute: DnsAttribute) -> UpkeepStep {
    UpkeepStep::SetDnsAttribute { id: id(), vpc_id: "vpc-1".into(), attribute }
}

fn change_routes(changes: impl IntoIterator<Item = RouteChange>) -> UpkeepStep {
    UpkeepStep::ChangeRoutes { changes: changes.into_iter().collect() }
}

fn record_tags() -> UpkeepStep {
    UpkeepStep::RecordTags { tags: BTreeSet::new() }
}

fn record_routes() -> UpkeepStep {
    UpkeepStep::RecordRoutes { routes: BTreeSet::new() }
}

fn create(destination: &str) -> RouteChange {
    RouteChange::Create(route(destination))
}

/// Each step with its summary. All but the records change something in AWS.
fn every_step() -> [(UpkeepStep, &'static str); 8] {
    [
        (record_tags(), "record the tags of the requester in the status"),
        (record_routes(), "record the routes of the requester in the status"),
        (tag(&[("a", "1"), ("b", "2")]), "set the tags a, b on pcx-1"),
        (untag(&["a", "b"]), "remove the tags a, b from pcx-1"),
        (set_options(true), "set the DNS options of the requester of pcx-1"),
        (turn_on(DnsAttribute::Support), "turn on enableDnsSupport of vpc-1"),
        (change_routes([create("10.1.0.0/16")]), "change 1 route of the requester"),
        (change_routes([create("10.1.0.0/16"), create("10.2.0.0/16")]), "change 2 routes of the requester"),
    ]
}

#[test]
fn a_step_counts_towards_the_request_rate_with_the_calls_that_it_makes() {
    for (step, summary) in every_step() {
        let calls = step.ec2_calls(SIDE);
        let first = calls.first().map(Ec2Call::action);
        let expected = first.map(|action| Calls { action, side: SIDE, count: calls.len() });
        assert_eq!(step.calls(SIDE), expected, "{summary}");
        let is_record = matches!(step, UpkeepStep::RecordTags { .. } | UpkeepStep::RecordRoutes { .. });
        assert_eq!(calls.is_empty(), is_record, "{summary}");
        assert_eq!(step.change(SIDE).as_deref(), (!is_record).then_some(summary));
        assert_eq!(step.summary(SIDE), summary);
    }
}

#[test]
fn removed_tags_and_changed_or_deleted_routes_need_a_new_read() {
    let rows = [
        (untag(&["a"]), true),
        (change_routes([RouteChange::Replace(route("10.1.0.0/16"))]), true),
        (change_routes([create("10.1.0.0/16"), RouteChange::Delete(route("10.2.0.0/16"))]), true),
        (change_routes([create("10.1.0.0/16")]), false),
        (tag(&[("a", "1")]), false),
        (set_options(false), false),
        (record_routes(), false),
    ];
    for (step, expected) in rows {
        assert_eq!(step.is_destructive(), expected, "{step:?}");
    }
}

#[test]
fn a_step_covers_only_its_own_effect() {
    let (one, both) = (tag(&[("a", "1")]), tag(&[("a", "1"), ("b", "2")]));
    let elsewhere = |step: &UpkeepStep| match step.clone() {
        UpkeepStep::Tag { tags, .. } => UpkeepStep::Tag { id: Authorized::unchecked("pcx-2"), tags },
        UpkeepStep::Untag { keys, .. } => UpkeepStep::Untag { id: Authorized::unchecked("pcx-2"), keys },
        step => step,
    };
    let rows = [
        (both.clone(), one.clone(), true),
        (one.clone(), both.clone(), false),
        (tag(&[("a", "2")]), one.clone(), false),
        (elsewhere(&both), one.clone(), false),
        (untag(&["a", "b"]), untag(&["a"]), true),
        (untag(&["a"]), untag(&["a", "b"]), false),
        (elsewhere(&untag(&["a"])), untag(&["a"]), false),
        (set_options(true), set_options(true), true),
        (set_options(true), set_options(false), false),
        (turn_on(DnsAttribute::Support), turn_on(DnsAttribute::Support), true),
        (turn_on(DnsAttribute::Support), turn_on(DnsAttribute::Hostnames), false),
        (one, untag(&["a"]), false),
        // EC2 may show a route late, too. Its record and EC2's answers say whether it exists.
        (change_routes([create("10.1.0.0/16")]), change_routes([create("10.1.0.0/16")]), false),
    ];
    for (step, other, expected) in rows {
        assert_eq!(step.covers(&other), expected, "{step:?} {other:?}");
    }
}

#[test]
fn refused_routes_delay_no_others() {
    let both = change_routes([create("10.1.0.0/16"), create("10.2.0.0/16")]);
    let first = change_routes([create("10.1.0.0/16")]);
    let second = change_routes([create("10.2.0.0/16")]);
    let rows = [
        (&both, &first, Some(&second)),
        (&first, &both, None),
        (&first, &second, Some(&first)),
        (&record_routes(), &both, Some(&record_routes())),
        (&both, &record_routes(), None),
        (&set_options(true), &set_options(false), None),
    ];
    for (step, refused, rest) in rows {
        assert_eq!(step.beside(refused).as_ref(), rest, "{step:?} {refused:?}");
    }
}

#[test]
fn ec2_shows_a_step_when_the_connection_or_the_vpc_has_the_new_value() {
    let mut shown = testing::connection(StatusCode::Active);
    shown.tags = [("a", "1"), ("b", "2")].map(|(key, value)| (key.into(), value.into())).into_iter().collect();
    let options = PeeringOptions { allow_dns_resolution_from_remote_vpc: Some(true), ..PeeringOptions::default() };
    shown.requester.peering_options = Some(options);
    let dns = Ok(DnsAttributes { support: true, hostnames: false });
    let rows = [
        (tag(&[("a", "1")]), SIDE, true),
        (tag(&[("a", "1"), ("b", "1")]), SIDE, false),
        (tag(&[("a", "1"), ("c", "3")]), SIDE, false),
        (untag(&["c", "d"]), SIDE, true),
        (untag(&["a", "c"]), SIDE, false),
        (set_options(true), SIDE, true),
        (set_options(false), SIDE, false),
        (set_options(true), Side::Accepter, false),
        (set_options(false), Side::Accepter, true),
        (turn_on(DnsAttribute::Support), SIDE, true),
        (turn_on(DnsAttribute::Hostnames), SIDE, false),
        (record_routes(), SIDE, true),
    ];
    for (step, side, expected) in rows {
        assert_eq!(step.is_shown(side, Some(&shown), Some(&dns)), expected, "{step:?} {side}");
    }
    for (step, _) in every_step() {
        let needs_a_look = step.aspect(SIDE) != Aspect::Routes(SIDE) && step != record_tags();
        assert_eq!(step.is_shown(SIDE, None, None), !needs_a_look, "{step:?}");
    }
}

//! The DNS attributes of both VPCs, and their conditions.

use super::*;
use crate::api::ConditionType;
use crate::peering::conditions::{find, is_ready};
use crate::peering::dns::DnsAttributes;
use crate::peering::testing;

const OFF: DnsAttributes = DnsAttributes { support: false, hostnames: false };
const ON: DnsAttributes = DnsAttributes { support: true, hostnames: true };

fn options(allow: Option<bool>, manage: bool) -> Option<SideOptions> {
    Some(SideOptions { allow_dns_resolution_from_remote_vpc: allow, manage_dns_attributes: manage })
}

/// An active peering whose requester allows DNS resolution, and the attributes of both VPCs.
fn case(requester: DnsAttributes, accepter: DnsAttributes) -> Case {
    let mut case = Case::with(StatusCode::Active);
    case.spec.requester.options = options(Some(true), false);
    case.observed.dns = [(Side::Requester, Ok(requester)), (Side::Accepter, Ok(accepter))].into();
    case
}

fn set(case: &mut Case) {
    let shown = case.observed.recorded.as_mut().map(Arc::make_mut).unwrap();
    shown.requester.peering_options =
        Some(crate::api::PeeringOptions { allow_dns_resolution_from_remote_vpc: Some(true), ..Default::default() });
}

fn message(case: &Case) -> String {
    match case.decide() {
        Plan::Stalled { reason: Reason::DnsAttributeDisabled, message, requeue_after: Some(_) } => message,
        plan => panic!("{plan:?}"),
    }
}

#[test]
fn an_attribute_that_is_off_is_named_with_the_command_that_turns_it_on() {
    assert_eq!(case(ON, ON).summary(), "requester of pcx-1 allows dns: true");
    let own = message(&case(DnsAttributes { hostnames: false, ..ON }, ON));
    let command = "aws ec2 modify-vpc-attribute --region eu-central-1 --vpc-id vpc-11111111 --enable-dns-hostnames '{\"Value\":true}'";
    assert!(own.contains("vpc-11111111 in eu-central-1: enableDnsHostnames is off") && own.contains(command), "{own}");
    assert!(own.ends_with("or set spec.requester.options.manageDnsAttributes to true"), "{own}");
    let both = message(&case(OFF, ON));
    assert!(both.contains("enableDnsSupport and enableDnsHostnames are off"), "{both}");
    assert!(both.contains("--enable-dns-support") && both.contains("--enable-dns-hostnames"), "{both}");
    let other = message(&case(ON, OFF));
    assert!(other.contains("vpc-22222222"), "EC2 needs the attributes of both VPCs: {other}");
    assert!(other.ends_with("or set spec.accepter.options.manageDnsAttributes to true"), "{other}");
    // An option that is set has no effect without the attributes.
    let mut set_before = case(OFF, ON);
    set(&mut set_before);
    message(&set_before);
    // Nobody needs them to turn the option off.
    let mut off = case(OFF, OFF);
    off.spec.requester.options = options(Some(false), true);
    assert_eq!(off.summary(), "settled");
}

#[test]
fn attributes_are_turned_on_only_where_the_spec_and_the_identity_permit_it() {
    let mut case = case(OFF, OFF);
    case.spec.requester.options = options(Some(true), true);
    assert_eq!(case.summary(), "requester: turn on enableDnsSupport of vpc-11111111");
    case.observed.dns.insert(Side::Requester, Ok(DnsAttributes { support: true, hostnames: false }));
    assert_eq!(case.summary(), "requester: turn on enableDnsHostnames of vpc-11111111");
    case.observed.dns.insert(Side::Requester, Ok(ON));
    assert!(message(&case).contains("vpc-22222222"), "the spec does not permit it at the accepter's end");
    case.spec.accepter.options = options(None, true);
    assert_eq!(case.summary(), "accepter: turn on enableDnsSupport of vpc-22222222");
    let limits = case.permissions.accepter.as_mut().unwrap();
    limits.vpc_attributes = false;
    let plan = case.decide();
    assert!(matches!(&plan, Plan::Stalled { message, .. } if message.contains("allowVpcAttributes")), "{plan:?}");
    // A suspended resource changes nothing in AWS, and a deleted one turns nothing off.
    case.permissions = testing::permissions();
    case.spec.suspend = true;
    assert_eq!(case.summary(), "suspended");
    case.spec.suspend = false;
    assert_eq!(case.deleted().summary(), "delete pcx-1");
}

#[test]
fn a_settled_option_is_looked_at_again_only_slowly() {
    let mut case = case(ON, ON);
    set(&mut case);
    let slowly = crate::peering::settings::VPC_RECHECK;
    assert!(matches!(case.decide(), Plan::Settled { requeue_after: Some(after), .. } if after == slowly));
    // Without a look, or while EC2 does not answer, a set option stays as it is.
    case.observed.dns.insert(Side::Requester, Err(refusal()));
    assert_eq!(case.summary(), "settled");
    case.observed.dns.clear();
    assert_eq!(case.summary(), "settled");
}

/// `Ready` is True only if no condition of an aspect is False.
#[test]
fn an_active_peering_is_ready_only_if_its_options_and_routes_are() {
    let attributes = [ON, OFF, DnsAttributes { hostnames: false, ..ON }];
    let mut seen = BTreeSet::new();
    for (own, other, is_set, refused, routes) in attributes.into_iter().flat_map(|own| {
        attributes.into_iter().flat_map(move |other| {
            [false, true].into_iter().flat_map(move |is_set| {
                [false, true]
                    .into_iter()
                    .flat_map(move |refused| [false, true].map(move |routes| (own, other, is_set, refused, routes)))
            })
        })
    }) {
        let mut case = case(own, other);
        if is_set {
            set(&mut case);
        }
        if refused && matches!(case.decide(), Plan::Act(_)) {
            case.refuse(Aspect::Options(Side::Requester));
        }
        if routes {
            let route_tables = crate::api::RouteTableSelector { all: true, ..Default::default() };
            case.spec.requester.routes = Some(Box::new(crate::api::Routes { route_tables, ..Default::default() }));
            case.observed.tables.insert(Side::Requester, Err(refusal()));
        }
        let decision = case.decision();
        let conditions = &decision.status.conditions;
        let is_false = |kind| find(conditions, kind).is_some_and(|condition| condition.status == "False");
        let any_false = is_false(ConditionType::OptionsSynced) || is_false(ConditionType::RoutesReady);
        if !matches!(decision.plan, Plan::Act(_)) {
            assert_eq!(is_ready(conditions), !any_false, "{conditions:?}");
            seen.insert(any_false);
        }
    }
    assert_eq!(seen.len(), 2);
}

/// The options end before the connection does.
#[test]
fn a_peering_that_is_being_deleted_has_no_condition_of_its_options() {
    let mut case = case(ON, ON).deleted();
    if let Some(connection) = case.observed.recorded.as_mut().map(Arc::make_mut) {
        connection.code = StatusCode::Deleting;
    }
    let decision = case.decision();
    assert_eq!(summarize(&decision.plan), "wait: Deleting");
    assert!(find(&decision.status.conditions, ConditionType::OptionsSynced).is_none());
}

/// Nobody keeps the options of such a connection, so that no condition contradicts `Ready`.
#[test]
fn an_observed_peering_has_no_condition_of_its_options_and_routes() {
    let mut observed = case(OFF, OFF);
    observed.spec.management_policy = ManagementPolicy::Observe;
    observed.recorded.ownership = Some(Ownership::Observed);
    let mut dry_run = case(OFF, OFF);
    dry_run.spec.dry_run = true;
    for mut case in [observed, dry_run] {
        case.spec.requester.routes = Some(Box::new(crate::api::Routes::default()));
        let decision = case.decision();
        assert!(is_ready(&decision.status.conditions), "{:?}", decision.plan);
        for kind in [ConditionType::OptionsSynced, ConditionType::RoutesReady] {
            assert!(find(&decision.status.conditions, kind).is_none(), "{kind:?}");
        }
    }
}

#[test]
fn attributes_that_no_end_needs_are_left_alone() {
    for (requester, accepter) in [(None, options(None, true)), (options(Some(false), true), options(None, true))] {
        let mut case = case(OFF, OFF);
        (case.spec.requester.options, case.spec.accepter.options) = (requester, accepter);
        assert_eq!(case.summary(), "settled");
        case.observed.accepter = AccepterView::Nobody;
        assert_eq!(case.summary(), "settled", "the spec asks for no change at the accepter's end");
    }
    // The requester needs the attributes, and the accepter's end leaves them to its owner.
    let mut case = case(ON, ON);
    set(&mut case);
    case.spec.accepter.options = options(None, false);
    case.observed.accepter = AccepterView::Nobody;
    assert_eq!(case.summary(), "settled");
}

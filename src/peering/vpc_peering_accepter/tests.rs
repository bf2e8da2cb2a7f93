//! The decision as tables of situations: requests and lists, status codes of a connection, and owners. The file exceeds
//! 400 lines because all tables use the same notation, [`Case`].

#![allow(clippy::expect_used, clippy::type_complexity)]

mod forecast;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::assessment::Assessment;
use super::decide::{assess, blocked};
use super::rules::{self, Rule};
use super::state::{Desired, Observation, Recorded};
use super::status::{describe, record_acceptance};
use super::step::Step;
use crate::api::{
    AcceptedRequests, AccepterDecision, AllowedCidrBlocks, AllowedRegions, AllowedVpcs, CidrBlock, ConditionType,
    DeletionPolicy, DeniedRequests, ManagedRoute, PeeringOptions, Reason, RouteTableSelector, Routes, Side,
    SideOptions, VpcInfo, VpcPeeringAccepterSpec, VpcPeeringAccepterStatus,
};
use crate::peering::connection::Tags;
use crate::peering::dns::{DnsAttribute, DnsAttributes};
use crate::peering::plan::{self, Aspect, Refusal, Unseen};
use crate::peering::routes::{Route, RouteAnswers, RouteTable, RouteTables, Target};
use crate::peering::testing::{every_code, permissions};
use crate::peering::upkeep::UpkeepStep;
use crate::peering::{
    Authorized, Blocker, Connection, Endpoint, Goal, Owner, Permissions, Plan, Readiness, Settings, StatusCode,
};

mod adoption;
mod capacity;
mod deletion;
mod left_in_aws;
mod lists;
mod owners;
mod routes;
mod status;
mod steps;

const OURS: &str = "222222222222";
const THEIRS: &str = "111111111111";
const VPC: &str = "vpc-22222222";
const SETTINGS: Settings = Settings {
    consistency_window: Duration::from_secs(60),
    recreation_pause: Duration::from_secs(60),
    is_cluster_unique: true,
};

fn owner() -> Owner {
    Owner { cluster: "cluster".into(), namespace: "team".into(), name: "accepter".into(), uid: "uid".into() }
}

fn tags<const N: usize>(tags: [(&'static str, &str); N]) -> Tags {
    tags.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}

fn end() -> Endpoint {
    Endpoint { vpc_id: VPC.into(), region: "eu-central-1".into(), owner_id: Some(OURS.into()) }
}

fn info(owner: &str, vpc: &str, region: &str, blocks: &[&str]) -> VpcInfo {
    VpcInfo {
        owner_id: Some(owner.into()),
        vpc_id: Some(vpc.into()),
        region: Some(region.into()),
        cidr_block: blocks.first().map(|block| (*block).into()),
        cidr_block_set: blocks.iter().map(|block| CidrBlock { cidr_block: (*block).into() }).collect(),
        ..VpcInfo::default()
    }
}

fn connection(id: &str, code: StatusCode) -> Connection {
    Connection {
        id: id.into(),
        code,
        message: None,
        expiration_time: None,
        requester: info(THEIRS, "vpc-11111111", "eu-west-1", &[]),
        accepter: info(OURS, VPC, "eu-central-1", &["10.9.0.0/16"]),
        tags: Tags::new(),
    }
}

/// An entry that allows every request of an account.
fn any_of(account: &str) -> AcceptedRequests {
    AcceptedRequests {
        owner_id: account.into(),
        vpcs: Some(AllowedVpcs { all: true, list: None }),
        regions: Some(AllowedRegions { all: true, list: None }),
        cidr_blocks: Some(AllowedCidrBlocks { all: true, list: None }),
    }
}

fn list(items: &[&str]) -> Option<Vec<String>> {
    Some(items.iter().map(|item| (*item).to_owned()).collect())
}

fn spec() -> VpcPeeringAccepterSpec {
    let accept = vec![any_of(THEIRS)];
    VpcPeeringAccepterSpec { vpc_id: Some(VPC.into()), accept, ..VpcPeeringAccepterSpec::default() }
}

/// A situation. Each test changes its subject.
struct Case {
    spec: VpcPeeringAccepterSpec,
    status: VpcPeeringAccepterStatus,
    observed: Observation,
    permissions: Permissions,
    is_cluster_unique: bool,
    deleted: bool,
    now: Timestamp,
}

impl Case {
    /// The same case after AWS has refused the planned step, which serves this aspect.
    fn refuse(&mut self, aspect: &(String, Aspect)) {
        let step = self.step().unwrap_or_else(|| panic!("no step of {aspect:?}"));
        assert_eq!(plan::Step::aspect(&step).as_ref(), Some(aspect));
        let blocker = Blocker::stalled(Reason::Unauthorized, "refused".into());
        self.observed.refused.insert(aspect.clone(), vec![Refusal { step, blocker }]);
    }

    fn new(connections: impl IntoIterator<Item = Connection>) -> Self {
        let connections =
            connections.into_iter().map(|connection| (connection.id.clone(), connection.into())).collect();
        let route_answers = RouteAnswers { is_settled: true, ..RouteAnswers::default() };
        let observed = Observation { connections, is_settled: true, route_answers, ..Observation::default() };
        let now = "2026-01-01T12:00:00Z".parse().expect("a time");
        Self {
            spec: spec(),
            status: VpcPeeringAccepterStatus::default(),
            observed,
            permissions: permissions(),
            is_cluster_unique: true,
            deleted: false,
            now,
        }
    }

    /// Adds the record of a connection that was accepted an hour ago, and the tags to the connection.
    fn accepted(mut self, id: &str) -> Self {
        let began = self.now - k8s_openapi::jiff::SignedDuration::from_hours(1);
        record_acceptance(&mut self.status, &connection(id, StatusCode::Active), began);
        if let Some(connection) = self.observed.connections.get_mut(id) {
            Arc::make_mut(connection).tags.extend(tags(owner().accepter_tags()));
        }
        self
    }

    fn assess(&self) -> Assessment {
        self.with(|desired, recorded| assess(desired, recorded, &self.observed, self.now, SETTINGS))
    }

    /// The answer of `ask` for this case.
    fn with<T>(&self, ask: impl FnOnce(Desired<'_>, &Recorded) -> T) -> T {
        let (owner, end) = (owner(), end());
        let desired = Desired {
            owner: &owner,
            spec: &self.spec,
            end: &end,
            permissions: &self.permissions,
            defaults: &crate::peering::testing::defaults(),
            is_cluster_unique: self.is_cluster_unique,
            deleted: self.deleted,
            finalizer: true,
            reconcile_at: None,
            generation: 1,
            status: Some(&self.status),
        };
        ask(desired, &Recorded::of(Some(&self.status)))
    }

    fn plan(&self) -> Plan<Step> {
        self.assess().plan
    }

    fn step(&self) -> Option<Step> {
        match self.plan() {
            Plan::Act(step) => Some(step),
            _ => None,
        }
    }

    /// The first decision in the status.
    fn verdict(&self) -> Option<AccepterDecision> {
        self.assess().verdicts.first().map(|verdict| verdict.decision)
    }

    fn described(&self) -> VpcPeeringAccepterStatus {
        let mut status = self.status.clone();
        let verdicts = self.assess().verdicts;
        describe(&mut status, &verdicts, &Recorded::of(Some(&self.status)), &self.observed, SETTINGS);
        status
    }
}

fn pending(id: &str) -> Connection {
    connection(id, StatusCode::PendingAcceptance)
}

/// One table of entries and requests. It exceeds 60 lines because the rows share variants of entries and requesters.
#[test]
fn a_request_is_accepted_only_if_one_entry_matches_every_value() {
    let any = any_of(THEIRS);
    let vpcs =
        |ids: &[&str]| AcceptedRequests { vpcs: Some(AllowedVpcs { all: false, list: list(ids) }), ..any.clone() };
    let regions = |region: &str| AcceptedRequests {
        regions: Some(AllowedRegions { all: false, list: list(&[region]) }),
        ..any.clone()
    };
    let cidrs = |block: &str| AcceptedRequests {
        cidr_blocks: Some(AllowedCidrBlocks { all: false, list: list(&[block]) }),
        ..any.clone()
    };
    // Fields that are null, `{}`, or absent as in older versions.
    let incomplete = AcceptedRequests { owner_id: THEIRS.into(), ..AcceptedRequests::default() };
    let no_blocks = AcceptedRequests { cidr_blocks: Some(AllowedCidrBlocks::default()), ..any.clone() };
    let empty = AcceptedRequests { vpcs: Some(AllowedVpcs { all: false, list: list(&[]) }), ..any.clone() };
    let whole = info(THEIRS, "vpc-1", "eu-west-1", &["10.1.0.0/16", "10.2.0.0/16"]);
    let hidden = info(THEIRS, "vpc-1", "eu-west-1", &[]);
    let primary_only = VpcInfo { cidr_block: Some("10.1.0.0/16".into()), ..hidden.clone() };
    let unreadable = VpcInfo {
        cidr_block_set: ["10.1.0.0/16", "?"].map(|block| CidrBlock { cidr_block: block.into() }).into(),
        ..hidden.clone()
    };
    let with_ipv6 = VpcInfo {
        ipv6_cidr_block_set: vec![crate::api::Ipv6CidrBlock { ipv6_cidr_block: "2001:db8::/56".into() }],
        ..whole.clone()
    };
    let without_account = VpcInfo { owner_id: None, ..whole.clone() };
    let without_region = VpcInfo { region: None, ..whole.clone() };
    let rows: [(&str, Vec<AcceptedRequests>, &VpcInfo, Option<&str>); 21] = [
        ("all fields missing", vec![incomplete], &whole, Some("spec.accept[0].vpcs has neither")),
        ("no blocks", vec![no_blocks], &whole, Some("spec.accept[0].cidrBlocks has neither")),
        ("an empty list of VPCs", vec![empty], &whole, Some("spec.accept[0].vpcs does not list vpc-1")),
        ("an empty list", vec![], &whole, Some("no entry of spec.accept is for account 111111111111")),
        ("another account", vec![AcceptedRequests { owner_id: OURS.into(), ..any.clone() }], &whole, Some("no entry")),
        ("the account", vec![any.clone()], &whole, None),
        ("the VPC", vec![vpcs(&["vpc-2", "vpc-1"])], &whole, None),
        ("another VPC", vec![vpcs(&["vpc-2"])], &whole, Some("spec.accept[0].vpcs does not list vpc-1")),
        ("the region", vec![regions("eu-west-1")], &whole, None),
        ("another region", vec![regions("eu-west-2")], &whole, Some("spec.accept[0].regions does not list eu-west-1")),
        ("blocks within", vec![cidrs("10.0.0.0/8")], &whole, None),
        (
            "one block outside",
            vec![cidrs("10.1.0.0/16")],
            &whole,
            Some("its CIDR block 10.2.0.0/16 is not within a block of"),
        ),
        ("a smaller block", vec![cidrs("10.1.0.0/24")], &whole, Some("is not within a block of")),
        ("no IPv6 allowed", vec![cidrs("10.0.0.0/8")], &with_ipv6, Some("2001:db8::/56 is not within a block of")),
        ("hidden blocks", vec![cidrs("0.0.0.0/0")], &hidden, Some("cannot be checked")),
        ("only the primary block", vec![cidrs("10.0.0.0/8")], &primary_only, None),
        ("another primary block", vec![cidrs("10.2.0.0/16")], &primary_only, Some("10.1.0.0/16 is not within")),
        ("an unreadable block", vec![cidrs("0.0.0.0/0")], &unreadable, Some("cannot be checked")),
        ("the second entry", vec![vpcs(&["vpc-2"]), any.clone()], &whole, None),
        ("unknown account", vec![any.clone()], &without_account, Some("EC2 does not show the account")),
        ("unknown region", vec![any.clone()], &without_region, Some("EC2 does not show the account")),
    ];
    for (name, accept, requester, why_not) in rows {
        match (rules::judge(&accept, &[], requester), why_not) {
            (Rule::Accept, None) => {}
            (Rule::Neither(reason), Some(expected)) if reason.contains(expected) => {}
            (rule, expected) => panic!("{name}: got {rule:?}, expected {expected:?}"),
        }
    }
}

#[test]
fn deny_overrides_accept_and_hidden_blocks_match_neither() {
    let accept = [any_of(THEIRS)];
    let none = DeniedRequests::default;
    let shown = info(THEIRS, "vpc-1", "eu-west-1", &["10.1.0.0/16"]);
    let hidden = info(THEIRS, "vpc-1", "eu-west-1", &[]);
    let cidr = |block: &str| DeniedRequests { cidr_blocks: vec![block.into()], ..none() };
    let rows = [
        ("the account", DeniedRequests { owner_id: Some(THEIRS.into()), ..none() }, &shown, "deny"),
        ("another account", DeniedRequests { owner_id: Some(OURS.into()), ..none() }, &shown, "accept"),
        ("the VPC", DeniedRequests { vpc_ids: vec!["vpc-1".into()], ..none() }, &shown, "deny"),
        ("the region", DeniedRequests { regions: vec!["eu-west-1".into()], ..none() }, &shown, "deny"),
        (
            "the VPC, of another region",
            DeniedRequests { vpc_ids: vec!["vpc-1".into()], regions: vec!["eu-west-2".into()], ..none() },
            &shown,
            "accept",
        ),
        ("an overlap", cidr("10.1.2.0/24"), &shown, "deny"),
        ("a larger block", cidr("10.0.0.0/8"), &shown, "deny"),
        ("no overlap", cidr("10.2.0.0/16"), &shown, "accept"),
        ("hidden blocks", cidr("10.2.0.0/16"), &hidden, "neither"),
    ];
    for (name, deny, requester, expected) in rows {
        let rule = match rules::judge(&accept, &[deny], requester) {
            Rule::Accept => "accept",
            Rule::Deny(_) => "deny",
            Rule::Neither(_) => "neither",
        };
        assert_eq!(rule, expected, "{name}");
    }
}

#[test]
fn routes_of_an_accepted_connection_follow_its_entry() {
    let active = || Connection {
        requester: info(THEIRS, "vpc-11111111", "eu-west-1", &["10.1.0.0/16", "10.2.0.0/16"]),
        ..connection("pcx-1", StatusCode::Active)
    };
    let case = |accept: Vec<AcceptedRequests>| {
        let mut case = Case::new([active()]).accepted("pcx-1");
        case.spec.accept = accept;
        with_routes(&mut case, "10.1.0.0/16", Some(Target::Peering("pcx-1".into())));
        case.status.routes = vec![route("pcx-1")];
        case
    };
    let within = |block: &str| AcceptedRequests {
        cidr_blocks: Some(AllowedCidrBlocks { all: false, list: list(&[block]) }),
        ..any_of(THEIRS)
    };
    let plan = case(vec![within("10.1.0.0/16")]).plan();
    let Plan::Stalled { reason: Reason::UnexpectedCidrBlock, message, .. } = plan else { panic!("{plan:?}") };
    assert!(message.contains("10.2.0.0/16") && message.contains("cidrBlocks.list"), "{message}");
    let wanted = case(vec![within("10.0.0.0/8")]);
    assert!(
        matches!(wanted.step(), Some(Step::Upkeep { step: UpkeepStep::RecordRoutes { .. }, .. })),
        "{:?}",
        wanted.plan()
    );
    // Without the entry, the routes are removed and the connection stays.
    let removed = case(Vec::new());
    assert!(
        matches!(removed.step(), Some(Step::Upkeep { step: UpkeepStep::ChangeRoutes { .. }, .. })),
        "{:?}",
        removed.plan()
    );
    assert_eq!(removed.verdict(), Some(AccepterDecision::Accepted));
    // An incomplete entry of an older version changes nothing.
    let incomplete = case(vec![AcceptedRequests { owner_id: THEIRS.into(), ..AcceptedRequests::default() }]);
    let plan = incomplete.plan();
    let Plan::Stalled { reason: Reason::InvalidRequest, message, .. } = plan else { panic!("{plan:?}") };
    assert!(message.contains("vpcs"), "{message}");
}

#[test]
fn a_connection_is_judged_again_once_all_its_blocks_are_shown() {
    let active = Connection {
        requester: info(THEIRS, "vpc-11111111", "eu-west-1", &["10.1.0.0/16", "10.2.0.0/16"]),
        ..connection("pcx-1", StatusCode::Active)
    };
    let within = |block: &str| AcceptedRequests {
        cidr_blocks: Some(AllowedCidrBlocks { all: false, list: list(&[block]) }),
        ..any_of(THEIRS)
    };
    let denied = |block: &str| DeniedRequests { cidr_blocks: vec![block.into()], ..DeniedRequests::default() };
    let of_account = DeniedRequests { owner_id: Some(THEIRS.into()), ..DeniedRequests::default() };
    let another_vpc = Some(AllowedVpcs { all: false, list: list(&["vpc-3"]) });
    let another_region = Some(AllowedRegions { all: false, list: list(&["eu-west-2"]) });
    let rows = [
        ("allowed", vec![within("10.0.0.0/8")], vec![], None),
        ("one block outside", vec![within("10.1.0.0/16")], vec![], Some("10.2.0.0/16 is not within a block of")),
        ("another entry allows it", vec![within("10.1.0.0/16"), any_of(THEIRS)], vec![], None),
        ("denied", vec![any_of(THEIRS)], vec![denied("10.2.3.0/24")], Some("10.2.0.0/16 overlaps")),
        // These lists changed after the acceptance. The rule for routes decides.
        ("no entry", vec![], vec![], None),
        ("another account", vec![AcceptedRequests { owner_id: OURS.into(), ..within("10.1.0.0/16") }], vec![], None),
        ("another VPC", vec![AcceptedRequests { vpcs: another_vpc, ..within("10.1.0.0/16") }], vec![], None),
        ("another region", vec![AcceptedRequests { regions: another_region, ..within("10.1.0.0/16") }], vec![], None),
        ("an incomplete entry", vec![AcceptedRequests { regions: None, ..within("10.1.0.0/16") }], vec![], None),
        ("denied account", vec![within("10.1.0.0/16")], vec![of_account], None),
    ];
    for (name, accept, deny, violation) in rows {
        let mut case = Case::new([active.clone()]).accepted("pcx-1");
        (case.spec.accept, case.spec.deny) = (accept, deny);
        with_routes(&mut case, "10.1.0.0/16", None);
        let assessment = case.assess();
        let Some(part) = violation else {
            let is_reported = matches!(assessment.plan, Plan::Stalled { reason: Reason::UnexpectedCidrBlock, .. });
            assert!(!is_reported, "{name}: {:?}", assessment.plan);
            continue;
        };
        let Plan::Stalled { reason: Reason::UnexpectedCidrBlock, message, .. } = &assessment.plan else {
            panic!("{name}: {:?}", assessment.plan)
        };
        assert!(message.contains(part) && message.contains("pcx-1"), "{name}: {message}");
        assert_eq!(assessment.verdicts[0].message.as_ref(), Some(message), "{name}");
        assert_eq!(case.verdict(), Some(AccepterDecision::Accepted), "{name}");
        // Right after the acceptance, before the tags are set.
        let mut untagged = Case::new([active.clone()]);
        untagged.status = case.status.clone();
        untagged.spec = case.spec.clone();
        assert!(matches!(untagged.plan(), Plan::Stalled { reason: Reason::UnexpectedCidrBlock, .. }), "{name}");
        // Without routes in the spec, it is reported all the same.
        case.spec.routes = None;
        assert!(matches!(case.plan(), Plan::Stalled { reason: Reason::UnexpectedCidrBlock, .. }), "{name}");
    }
}

#[test]
fn a_block_that_is_added_later_withholds_no_other_route() {
    let active = Connection {
        requester: info(THEIRS, "vpc-11111111", "eu-west-1", &["10.1.0.0/16", "10.2.0.0/16"]),
        ..connection("pcx-1", StatusCode::Active)
    };
    let mut case = Case::new([active]).accepted("pcx-1");
    case.status.connections[0].accepted_cidr_blocks = vec!["10.1.0.0/16".into()];
    case.spec.accept = vec![AcceptedRequests {
        cidr_blocks: Some(AllowedCidrBlocks { all: false, list: list(&["10.1.0.0/16"]) }),
        ..any_of(THEIRS)
    }];
    with_routes(&mut case, "10.1.0.0/16", None);
    let step = case.step();
    let Some(Step::Upkeep { step: UpkeepStep::RecordRoutes { routes }, .. }) = step else { panic!("{step:?}") };
    assert_eq!(routes.into_iter().map(|route| route.destination().to_owned()).collect::<Vec<_>>(), ["10.1.0.0/16"]);
}

#[test]
fn a_change_that_ec2_does_not_show_yet_is_not_repeated() {
    let mut case = Case::new([connection("pcx-1", StatusCode::Active)]).accepted("pcx-1");
    case.spec.options =
        Some(SideOptions { allow_dns_resolution_from_remote_vpc: Some(true), ..SideOptions::default() });
    let step = case.step().expect("a step");
    let aspect = ("pcx-1".to_owned(), Aspect::Options(Side::Accepter));
    case.observed.unseen.insert(aspect, Unseen { step: step.clone(), left: Duration::from_secs(60) });
    let Plan::Wait { reason: Reason::Updating, message, requeue_after: Some(_) } = case.plan() else {
        panic!("{:?}", case.plan())
    };
    assert!(message.contains("waiting for EC2 to show a change"), "{message}");
    // An edited spec is applied at once.
    case.spec.options =
        Some(SideOptions { allow_dns_resolution_from_remote_vpc: Some(false), ..SideOptions::default() });
    assert!(!matches!(case.plan(), Plan::Wait { .. }), "{:?}", case.plan());
    assert!(!case.observed.shows(&step));
}

#[test]
fn an_acceptance_is_recorded_before_the_call() {
    let mut case = Case::new([pending("pcx-1")]);
    assert_eq!(case.step(), Some(Step::RecordAcceptance { id: Authorized::unchecked("pcx-1") }));
    record_acceptance(&mut case.status, &pending("pcx-1"), case.now);
    assert_eq!(case.step(), Some(Step::Accept { id: Authorized::unchecked("pcx-1") }));
    case.spec.suspend = true;
    assert!(matches!(case.plan(), Plan::Suspended { .. }));
}

#[test]
fn only_requests_to_this_vpc_are_decided() {
    let others: [(&str, fn(&mut VpcInfo)); 4] = [
        ("another VPC", |end| end.vpc_id = Some("vpc-3".into())),
        ("another account", |end| end.owner_id = Some(THEIRS.into())),
        ("an unknown account", |end| end.owner_id = None),
        ("another region", |end| end.region = Some("eu-west-1".into())),
    ];
    for (name, change) in others {
        let mut request = pending("pcx-1");
        change(&mut request.accepter);
        let case = Case::new([request]);
        assert_eq!((case.step(), case.verdict()), (None, Some(AccepterDecision::Ignored)), "{name}");
    }
}

#[test]
fn a_connection_of_another_owner_is_never_touched() {
    let another = Owner { name: "another".into(), uid: "another".into(), ..owner() };
    let earlier = Owner { uid: "earlier".into(), ..owner() };
    for code in every_code().into_iter().filter(|code| !code.has_ended()) {
        for tags in [
            tags(owner().tags()),
            tags([(Owner::UID, "somebody")]),
            tags(another.accepter_tags()),
            tags([(Owner::ACCEPTER_UID, "somebody")]),
        ] {
            let theirs = Connection { tags: tags.clone(), ..connection("pcx-1", code.clone()) };
            let mut case = Case::new([theirs.clone()]);
            case.spec.deny = vec![DeniedRequests { owner_id: Some(THEIRS.into()), ..DeniedRequests::default() }];
            case.spec.reject = true;
            assert_eq!((case.step(), case.verdict()), (None, Some(AccepterDecision::Ignored)), "{code} {tags:?}");
            // The same for a connection that is recorded as accepted.
            let mut case = case.accepted("pcx-1");
            case.observed.connections.insert("pcx-1".into(), theirs.into());
            assert_eq!((case.step(), case.verdict()), (None, Some(AccepterDecision::Ignored)), "{code} {tags:?}");
            case.deleted = true;
            assert_eq!(case.plan(), Plan::RemoveFinalizer, "{code} {tags:?}");
        }
    }
    // A connection of a deleted resource with the same name belongs to this resource.
    let left = Connection { tags: tags(earlier.accepter_tags()), ..connection("pcx-1", StatusCode::Active) };
    assert_eq!(Case::new([left]).step(), Some(Step::RecordAcceptance { id: Authorized::unchecked("pcx-1") }));
}

#[test]
fn every_code_has_its_decision_before_and_after_acceptance() {
    for code in every_code() {
        let case = Case::new([connection("pcx-1", code.clone())]);
        let expected = match &code {
            StatusCode::PendingAcceptance => Some(AccepterDecision::Accepted),
            code if code.has_ended() => None,
            _ => Some(AccepterDecision::Ignored),
        };
        assert_eq!(case.verdict(), expected, "{code}");
        assert_eq!(case.step().is_some(), code == StatusCode::PendingAcceptance, "{code}");

        let case = case.accepted("pcx-1");
        assert_eq!(case.verdict(), Some(AccepterDecision::Accepted), "{code}");
        let expected =
            (code == StatusCode::PendingAcceptance).then(|| Step::Accept { id: Authorized::unchecked("pcx-1") });
        assert_eq!(case.step(), expected, "{code}");
        let is_settled = matches!(case.plan(), Plan::Settled { .. });
        assert_eq!(is_settled, code == StatusCode::Active || code == StatusCode::InitiatingRequest || code.has_ended());
    }
}

#[test]
fn a_denied_request_is_rejected_only_if_the_spec_asks_for_it() {
    let mut case = Case::new([pending("pcx-1")]);
    case.spec.deny = vec![DeniedRequests { vpc_ids: vec!["vpc-11111111".into()], ..DeniedRequests::default() }];
    assert_eq!((case.step(), case.verdict()), (None, Some(AccepterDecision::Denied)));
    case.spec.reject = true;
    assert_eq!(case.step(), Some(Step::Reject { id: Authorized::unchecked("pcx-1") }));
    case.observed.connections = BTreeMap::from([("pcx-1".into(), connection("pcx-1", StatusCode::Rejected).into())]);
    assert_eq!((case.step(), case.verdict()), (None, Some(AccepterDecision::Rejected)));
    // The decision stays when the lists change.
    case.status = case.described();
    case.spec.deny.clear();
    assert_eq!(case.verdict(), Some(AccepterDecision::Rejected));
}

#[test]
fn requests_beyond_max_connections_wait() {
    let mut requests = [pending("pcx-1"), pending("pcx-2"), pending("pcx-3")];
    requests[2].expiration_time = "2026-01-02T00:00:00Z".parse().ok();
    requests[1].expiration_time = "2026-01-01T18:00:00Z".parse().ok();
    requests[0].expiration_time = "2026-01-03T00:00:00Z".parse().ok();
    let active = connection("pcx-4", StatusCode::Active);
    let mut case = Case::new(requests.into_iter().chain([active])).accepted("pcx-4");
    case.spec.max_connections = Some(2);
    // The request that expires first comes first.
    assert_eq!(case.step(), Some(Step::RecordAcceptance { id: Authorized::unchecked("pcx-2") }));
    let decision = case.assess();
    assert!(decision.at_capacity.is_some_and(|message| message.starts_with("pcx-3")));
    let of = |id: &str| decision.verdicts.iter().find(|verdict| verdict.id == id).map(|verdict| verdict.decision);
    assert_eq!(of("pcx-1"), Some(AccepterDecision::Pending));
    case.spec.max_connections = Some(0);
    assert_eq!(case.step(), None, "accepted connections stay");
    case.spec.max_connections = None;
    assert_eq!(case.assess().at_capacity, None);
}

#[test]
fn a_recorded_acceptance_is_dropped_only_after_the_consistency_window() {
    let mut case = Case::new([pending("pcx-1")]).accepted("pcx-1");
    case.spec.accept.clear();
    case.observed.is_settled = false;
    assert_eq!((case.step(), case.verdict()), (None, Some(AccepterDecision::Accepted)));
    assert!(case.described().connections[0].accepted_at.is_some());
    assert!(matches!(case.plan(), Plan::Wait { reason: Reason::AwaitingConsistency, requeue_after: Some(_), .. }));
    case.observed.is_settled = true;
    assert_eq!((case.step(), case.verdict()), (None, Some(AccepterDecision::Pending)));
    assert!(case.described().connections[0].accepted_at.is_none());
}

#[test]
fn the_older_accepter_decides_and_the_younger_keeps_its_connections() {
    let older = "VpcPeeringAccepter team/older".to_owned();
    let mut case = Case::new([pending("pcx-1")]);
    case.observed.older_accepter = Some(older);
    assert_eq!(case.verdict(), Some(AccepterDecision::Pending));
    let Plan::Stalled { reason: Reason::ConnectionNotOwned, message, requeue_after: Some(_) } = case.plan() else {
        panic!("{:?}", case.plan())
    };
    assert!(message.contains("team/older"), "{message}");
    let mut case = case.accepted("pcx-2");
    case.observed.connections.insert("pcx-2".into(), connection("pcx-2", StatusCode::Active).into());
    assert!(matches!(case.step(), Some(Step::Upkeep { step: UpkeepStep::Tag { .. }, .. })), "{:?}", case.plan());
}

fn with_routes(case: &mut Case, destination: &str, target: Option<Target>) {
    let route_tables = RouteTableSelector { all: true, ..RouteTableSelector::default() };
    case.spec.routes = Some(Box::new(Routes { route_tables, ..Routes::default() }));
    let routes =
        target.map(|target| Route { destination: destination.parse().expect("a block"), target, is_blackhole: false });
    let table = RouteTable {
        id: "rtb-1".into(),
        vpc_id: VPC.into(),
        routes: routes.into_iter().collect(),
        ..RouteTable::default()
    };
    case.observed.tables = Some(Ok(Arc::new(RouteTables::from_iter([table]))));
}

fn route(id: &str) -> ManagedRoute {
    ManagedRoute {
        side: Side::Accepter,
        route_table_id: "rtb-1".into(),
        destination_cidr_block: Some("10.1.0.0/16".into()),
        destination_prefix_list_id: None,
        vpc_peering_connection_id: id.into(),
    }
}

#[test]
fn tags_options_and_routes_are_repaired_in_order_and_block_no_other() {
    let active = |id| Connection {
        requester: info(THEIRS, "vpc-11111111", "eu-west-1", &["10.1.0.0/16"]),
        ..connection(id, StatusCode::Active)
    };
    let mut case = Case::new([active("pcx-1")]).accepted("pcx-1");
    case.spec.options =
        Some(SideOptions { allow_dns_resolution_from_remote_vpc: Some(true), ..SideOptions::default() });
    with_routes(&mut case, "10.1.0.0/16", None);
    case.spec.tags = vec![crate::api::Tag { key: "a".into(), value: "1".into() }];
    assert!(matches!(case.step(), Some(Step::Upkeep { step: UpkeepStep::RecordTags { .. }, .. })), "{:?}", case.plan());
    case.spec.tags.clear();
    assert!(matches!(case.step(), Some(Step::Upkeep { step: UpkeepStep::SetOptions { .. }, .. })), "{:?}", case.plan());
    let options = ("pcx-1".to_owned(), Aspect::Options(Side::Accepter));
    case.refuse(&options);
    assert!(
        matches!(case.step(), Some(Step::Upkeep { step: UpkeepStep::RecordRoutes { .. }, .. })),
        "{:?}",
        case.plan()
    );
    case.status.routes = vec![route("pcx-1")];
    assert!(
        matches!(case.step(), Some(Step::Upkeep { step: UpkeepStep::ChangeRoutes { .. }, .. })),
        "{:?}",
        case.plan()
    );
    with_routes(&mut case, "10.1.0.0/16", Some(Target::Peering("pcx-1".into())));
    assert!(matches!(case.plan(), Plan::Stalled { reason: Reason::Unauthorized, .. }), "{:?}", case.plan());
    case.observed.refused.remove(&options);
    if let Some(connection) = case.observed.connections.get_mut("pcx-1").map(Arc::make_mut) {
        connection.accepter.peering_options =
            Some(PeeringOptions { allow_dns_resolution_from_remote_vpc: Some(true), ..PeeringOptions::default() });
    }
    assert!(matches!(case.plan(), Plan::Settled { .. }), "{:?}", case.plan());
    // A second connection with the same block does not take over the route.
    case.observed.connections.insert("pcx-2".into(), active("pcx-2").into());
    case.spec.options = None;
    let case = case.accepted("pcx-2");
    assert!(matches!(case.plan(), Plan::Stalled { reason: Reason::RouteConflict, .. }), "{:?}", case.plan());
}

#[test]
fn options_and_routes_are_pending_until_the_connection_is_active() {
    for (code, is_ok) in [(StatusCode::Provisioning, false), (StatusCode::Deleted, true)] {
        let mut case = Case::new([connection("pcx-1", code)]).accepted("pcx-1");
        with_routes(&mut case, "10.1.0.0/16", None);
        case.spec.options =
            Some(SideOptions { allow_dns_resolution_from_remote_vpc: Some(true), ..SideOptions::default() });
        let outcomes = case.assess().aspects;
        assert_eq!(outcomes.len(), 2);
        assert!(outcomes.iter().all(|(_, outcome)| outcome.is_ok() == is_ok), "{outcomes:?}");
        case.deleted = true;
        assert!(case.assess().aspects.is_empty(), "the options and routes end with the resource");
    }
}

#[test]
fn each_destination_leads_to_the_requester_that_has_it() {
    let spoke = |id: &str, blocks: &[&str]| Connection {
        requester: info(THEIRS, &format!("vpc-of-{id}"), "eu-west-1", blocks),
        ..connection(id, StatusCode::Active)
    };
    let mut case = Case::new([spoke("pcx-1", &["10.81.0.0/16"]), spoke("pcx-2", &["10.82.0.0/16"])])
        .accepted("pcx-1")
        .accepted("pcx-2");
    with_routes(&mut case, "10.81.0.0/16", None);
    let destinations = |case: &mut Case, blocks: &[&str]| {
        let blocks = blocks.iter().map(|block| (*block).to_owned()).collect();
        case.spec.routes.as_mut().expect("routes").destination_cidr_blocks = blocks;
    };
    let reported = |case: &Case| {
        let of_routes = case.assess().aspects.into_iter().find(|(kind, _)| *kind == ConditionType::RoutesReady);
        of_routes.and_then(|(_, outcome)| outcome.err()).map(|blocker| blocker.message).unwrap_or_default()
    };
    destinations(&mut case, &["10.81.0.0/16", "10.82.7.0/24"]);
    assert!(!reported(&case).contains("destinationCidrBlocks"), "{}", reported(&case));
    destinations(&mut case, &["10.81.0.0/16", "10.83.0.0/16", "0.0.0.0/0"]);
    let message = reported(&case);
    assert!(message.contains("contains 10.83.0.0/16, 0.0.0.0/0,"), "{message}");
    assert!(message.ends_with("have pcx-1: 10.81.0.0/16; pcx-2: 10.82.0.0/16"), "{message}");
    assert_eq!(message.matches("10.83.0.0/16").count(), 1, "{message}");
    // EC2 does not show the blocks of one requester, which may contain the destination.
    case.observed.connections.insert("pcx-2".into(), spoke("pcx-2", &[]).into());
    assert!(!reported(&case).contains("10.83.0.0/16"), "{}", reported(&case));
}

#[test]
fn an_ended_connection_loses_its_routes_and_then_its_record() {
    let deleted = || connection("pcx-1", StatusCode::Deleted);
    let mut case = Case::new([deleted()]).accepted("pcx-1");
    case.status.routes = vec![route("pcx-1")];
    with_routes(&mut case, "10.1.0.0/16", Some(Target::Peering("pcx-1".into())));
    assert!(
        matches!(case.step(), Some(Step::Upkeep { step: UpkeepStep::ChangeRoutes { .. }, .. })),
        "{:?}",
        case.plan()
    );
    case.spec.routes = None;
    assert!(
        matches!(case.step(), Some(Step::Upkeep { step: UpkeepStep::ChangeRoutes { .. }, .. })),
        "routes of an ended connection do not depend on the spec"
    );
    case.observed.connections.clear();
    case.status.connections[0].code = Some("deleted".into());
    assert_eq!(case.described().connections.len(), 1, "the record stays until its routes are removed");
    with_routes(&mut case, "10.1.0.0/16", None);
    assert_eq!(
        case.step(),
        Some(Step::Upkeep { id: "pcx-1".into(), step: UpkeepStep::RecordRoutes { routes: BTreeSet::new() } })
    );
    case.status.routes.clear();
    assert!(matches!(case.plan(), Plan::Settled { .. }), "{:?}", case.plan());
    assert!(case.described().connections.is_empty());
}

#[test]
fn a_missing_connection_counts_as_deleted_after_the_consistency_window() {
    let mut case = Case::new([]).accepted("pcx-1");
    assert!(matches!(case.plan(), Plan::Wait { reason: Reason::AwaitingConsistency, .. }), "{:?}", case.plan());
    assert_eq!(case.described().connections.len(), 1);
    case.deleted = true;
    assert!(matches!(case.plan(), Plan::Wait { reason: Reason::AwaitingConsistency, .. }), "{:?}", case.plan());
    case.observed.missing_for.insert("pcx-1".into(), SETTINGS.consistency_window);
    assert_eq!(case.plan(), Plan::RemoveFinalizer);
    case.deleted = false;
    assert!(matches!(case.plan(), Plan::Settled { .. }), "{:?}", case.plan());
    assert!(case.described().connections.is_empty());
}

#[test]
fn a_deletion_removes_routes_and_tags_and_keeps_the_connection() {
    let mut case = Case::new([connection("pcx-1", StatusCode::Active), pending("pcx-2")]).accepted("pcx-1");
    case.status.routes = vec![route("pcx-1")];
    with_routes(&mut case, "10.1.0.0/16", Some(Target::Peering("pcx-1".into())));
    case.deleted = true;
    assert!(
        matches!(case.step(), Some(Step::Upkeep { step: UpkeepStep::ChangeRoutes { .. }, .. })),
        "{:?}",
        case.plan()
    );
    let routes = ("pcx-1".to_owned(), Aspect::Routes(Side::Accepter));
    case.refuse(&routes);
    assert!(matches!(case.step(), Some(Step::Upkeep { step: UpkeepStep::Untag { .. }, .. })), "{:?}", case.plan());
    if let Some(connection) = case.observed.connections.get_mut("pcx-1").map(Arc::make_mut) {
        connection.tags = tags([("theirs", "1")]);
    }
    assert!(matches!(case.plan(), Plan::Stalled { reason: Reason::Unauthorized, .. }), "{:?}", case.plan());
    case.observed.refused.remove(&routes);
    case.status.routes.clear();
    with_routes(&mut case, "10.1.0.0/16", None);
    assert_eq!(case.plan(), Plan::RemoveFinalizer);
}

#[test]
fn a_blocked_resource_loses_its_finalizer_only_if_it_owns_nothing() {
    let blocker = Blocker::stalled(Reason::IdentityNotAllowed, "no".into());
    let nothing = Recorded::default();
    let something = Recorded::of(Some(&Case::new([]).accepted("pcx-1").status));
    let spec = Case::new([]).spec;
    let goal = |deletion_policy, deleted| Goal { spec: &spec, deletion_policy, deleted, generation: 1 };
    let plan = |deleted, finalizer, recorded: &Recorded| {
        blocked(&goal(DeletionPolicy::Delete, deleted), finalizer, recorded, &blocker)
    };
    assert_eq!(plan(true, true, &nothing), Plan::RemoveFinalizer);
    assert_eq!(plan(true, false, &something), Plan::RemoveFinalizer);
    assert!(matches!(plan(true, true, &something), Plan::Stalled { .. }));
    assert!(matches!(plan(false, true, &nothing), Plan::Stalled { .. }));
    let retain = |blocker: &Blocker| blocked(&goal(DeletionPolicy::Retain, true), true, &something, blocker);
    assert_eq!(retain(&blocker), Plan::RemoveFinalizer);
    let passing = Blocker::passing(Reason::Throttled, "later".into(), Duration::from_secs(1));
    assert!(matches!(retain(&passing), Plan::Wait { .. }));
}

#[test]
fn retain_removes_the_ownership_tags_only() {
    let mut case = Case::new([connection("pcx-1", StatusCode::Active)]).accepted("pcx-1");
    case.spec.deletion_policy = Some(DeletionPolicy::Retain);
    case.status.routes = vec![route("pcx-1")];
    with_routes(&mut case, "10.1.0.0/16", Some(Target::Peering("pcx-1".into())));
    case.status.connections[0].managed_tags = vec![crate::api::ManagedTag { key: "Name".into(), value: "x".into() }];
    if let Some(connection) = case.observed.connections.get_mut("pcx-1").map(Arc::make_mut) {
        connection.tags.insert("Name".into(), "x".into());
    }
    case.deleted = true;
    let Some(Step::Upkeep { step: UpkeepStep::Untag { keys, .. }, .. }) = case.step() else {
        panic!("{:?}", case.plan())
    };
    assert!(keys.len() == 4 && keys.iter().all(|key| key.starts_with(Owner::ACCEPTER_PREFIX)), "{keys:?}");
    let tags = ("pcx-1".to_owned(), Aspect::Tags(Side::Accepter));
    case.refuse(&tags);
    assert_eq!(case.plan(), Plan::RemoveFinalizer);
}

#[test]
fn the_status_lists_every_accepted_connection_and_at_most_a_hundred_others() {
    let requests = (0..150).map(|number| pending(&format!("pcx-{number:03}")));
    let mut case = Case::new(requests.chain([connection("pcx-999", StatusCode::Active)])).accepted("pcx-999");
    case.spec.accept.clear();
    let status = case.described();
    assert_eq!(status.connections.len(), 101);
    assert!(status.connections.iter().any(|connection| connection.accepted_at.is_some()));
    assert_eq!((status.accepted, status.pending, status.denied), (Some(1), Some(150), Some(0)));
}

#[test]
fn the_dns_attributes_of_the_vpc_are_turned_on_if_the_spec_and_the_identity_permit_it() {
    let mut case = Case::new([connection("pcx-1", StatusCode::Active)]).accepted("pcx-1");
    let options = |manage_dns_attributes| {
        Some(SideOptions { allow_dns_resolution_from_remote_vpc: Some(true), manage_dns_attributes })
    };
    case.spec.options = options(false);
    case.observed.dns = Some(Ok(DnsAttributes { support: true, hostnames: false }));
    let Plan::Stalled { reason: Reason::DnsAttributeDisabled, message, .. } = case.plan() else {
        panic!("{:?}", case.plan())
    };
    assert!(message.contains(VPC) && message.contains("spec.options.manageDnsAttributes"), "{message}");
    case.spec.options = options(true);
    let step = case.step();
    let Some(Step::Upkeep { step: UpkeepStep::SetDnsAttribute { attribute, .. }, .. }) = step else {
        panic!("{step:?}")
    };
    assert_eq!(attribute, DnsAttribute::Hostnames);
    if let Some(limits) = &mut case.permissions.accepter {
        limits.vpc_attributes = false;
    }
    assert!(matches!(case.plan(), Plan::Stalled { message, .. } if message.contains("allowVpcAttributes")));
    case.observed.dns = Some(Ok(DnsAttributes { support: true, hostnames: true }));
    assert!(matches!(case.step(), Some(Step::Upkeep { step: UpkeepStep::SetOptions { .. }, .. })));
}

#[test]
fn default_tags_yield_to_the_tags_of_the_resource() {
    let tag = |key: &str, value: &str| crate::api::Tag { key: key.into(), value: value.into() };
    let defaults = crate::peering::Defaults {
        tags: [("team".to_owned(), "network".to_owned()), ("stage".to_owned(), "prod".to_owned())].into(),
        ..Default::default()
    };
    let tags = defaults.with_tags(&[tag("stage", "dev")]);
    assert_eq!(tags, [("team".to_owned(), "network".to_owned()), ("stage".to_owned(), "dev".to_owned())].into());
    let retain = crate::peering::Defaults { deletion_policy: DeletionPolicy::Retain, ..defaults };
    assert_eq!(retain.deletion_policy(None), DeletionPolicy::Retain);
    assert_eq!(retain.deletion_policy(Some(DeletionPolicy::Delete)), DeletionPolicy::Delete);
}

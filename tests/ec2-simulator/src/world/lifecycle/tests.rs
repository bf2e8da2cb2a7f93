//! The lifecycle as tables: every action of every actor in every phase, and every timed transition. One file, because
//! all tests share `Scenario`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::world::Settings;
use crate::world::vpc::Ipv6Block;

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// A caller, with its account and region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Actor {
    Requester,
    Accepter,
    /// The requester's account in the accepter's region.
    RequesterElsewhere,
    /// The accepter's account in the requester's region.
    AccepterElsewhere,
    /// An account that owns neither VPC.
    Stranger,
}

impl Actor {
    fn location(self) -> Location {
        let (account, region) = match self {
            Self::Requester => ("111111111111", "us-east-1"),
            Self::RequesterElsewhere => ("111111111111", "eu-west-1"),
            Self::Accepter => ("222222222222", "eu-west-1"),
            Self::AccepterElsewhere => ("222222222222", "us-east-1"),
            Self::Stranger => ("333333333333", "us-east-1"),
        };
        Location::new(account, region)
    }
}

/// A world with a clock, a requester VPC and an accepter VPC.
struct Scenario {
    world: World,
    now: Timestamp,
    requester_vpc: String,
    accepter_vpc: String,
}

impl Scenario {
    fn new() -> Self {
        Self::with(Settings::default(), ("10.0.0.0/16", "10.1.0.0/16"))
    }

    fn with(settings: Settings, blocks: (&str, &str)) -> Self {
        let mut scenario = Self {
            world: World::new(settings, 1),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            requester_vpc: String::new(),
            accepter_vpc: String::new(),
        };
        scenario.requester_vpc = scenario.vpc(Actor::Requester, blocks.0);
        scenario.accepter_vpc = scenario.vpc(Actor::Accepter, blocks.1);
        scenario
    }

    fn call(&self, actor: Actor) -> Call {
        Call { location: actor.location(), now: self.now, dry_run: false }
    }

    fn vpc(&mut self, actor: Actor, block: &str) -> String {
        let call = self.call(actor);
        self.world.create_vpc(&call, block.parse().unwrap(), Ipv6Block::Absent, Tags::new()).unwrap().id
    }

    fn wait(&mut self, seconds: f64) {
        self.now = self.now.checked_add(SignedDuration::from_secs_f64(seconds)).unwrap();
        self.world.advance(self.now);
    }

    fn request(&mut self) -> String {
        self.try_request(Actor::Requester, Actor::Accepter).unwrap().id
    }

    fn try_request(&mut self, from: Actor, to: Actor) -> Result<Peering> {
        let vpc_of = |actor| if actor == Actor::Requester { &self.requester_vpc } else { &self.accepter_vpc };
        let request = Request {
            vpc_id: vpc_of(from).clone(),
            peer: to.location(),
            peer_vpc_id: vpc_of(to).clone(),
            options: Options::default(),
            tags: Tags::from([("made-by".to_owned(), format!("{from:?}"))]),
        };
        let call = self.call(from);
        self.world.request_peering(&call, request)
    }

    /// Creates a connection and brings it into a phase.
    fn in_phase(&mut self, code: &str) -> String {
        let id = self.request();
        match code {
            "initiating-request" => return id,
            "failed" => {
                let accepter = self.accepter_vpc.clone();
                self.world.remove_vpc(&accepter);
            }
            _ => {}
        }
        self.wait(1.0);
        match code {
            "rejected" => self.act(Actor::Accepter, "reject", &id).unwrap(),
            "expired" => self.wait(7.0 * DAY as f64),
            "provisioning" | "active" | "deleting" | "deleted" => self.act(Actor::Accepter, "accept", &id).unwrap(),
            _ => {}
        }
        if matches!(code, "active" | "deleting" | "deleted") {
            self.wait(1.0);
        }
        if matches!(code, "deleting" | "deleted") {
            self.act(Actor::Requester, "delete", &id).unwrap();
        }
        if code == "deleted" {
            self.wait(1.0);
        }
        assert_eq!(self.code(&id), code);
        id
    }

    fn act(&mut self, actor: Actor, verb: &str, id: &str) -> Result<()> {
        let call = self.call(actor);
        match verb {
            "accept" => self.world.accept_peering(&call, id).map(drop),
            "reject" => self.world.reject_peering(&call, id),
            "delete" => self.world.delete_peering(&call, id),
            "modify" => {
                let side = if actor == Actor::Requester { Side::Requester } else { Side::Accepter };
                self.world.modify_options(&call, id, &[(side, Some(false), None)]).map(drop)
            }
            other => panic!("{other}"),
        }
    }

    fn code(&self, id: &str) -> &'static str {
        self.world.peerings().get(id).map_or("gone", |peering| peering.phase.code())
    }

    fn is_visible(&self, actor: Actor, id: &str) -> bool {
        self.world.peering(&self.call(actor), id).is_ok()
    }
}

const CODES: [&str; 9] = [
    "initiating-request",
    "pending-acceptance",
    "provisioning",
    "active",
    "failed",
    "rejected",
    "expired",
    "deleting",
    "deleted",
];

/// Phase, seconds that pass, and the phase after that.
#[test]
fn timed_transitions() {
    for (code, seconds, then) in [
        ("initiating-request", 0.1, "initiating-request"),
        ("initiating-request", 0.2, "pending-acceptance"),
        ("initiating-request", 7.0 * DAY as f64, "expired"),
        ("pending-acceptance", 7.0 * DAY as f64 - 2.0, "pending-acceptance"),
        ("pending-acceptance", 7.0 * DAY as f64, "expired"),
        ("provisioning", 0.4, "provisioning"),
        ("provisioning", 0.5, "active"),
        ("active", 1000.0 * DAY as f64, "active"),
        ("deleting", 0.4, "deleting"),
        ("deleting", 0.5, "deleted"),
        ("failed", 2.0 * HOUR as f64 - 2.0, "failed"),
        ("failed", 2.0 * HOUR as f64, "gone"),
        ("rejected", 2.0 * DAY as f64, "gone"),
        ("expired", 2.0 * DAY as f64, "gone"),
        ("deleted", 2.0 * DAY as f64, "gone"),
    ] {
        let mut scenario = Scenario::new();
        let id = scenario.in_phase(code);
        scenario.wait(seconds);
        assert_eq!(scenario.code(&id), then, "{code} after {seconds} s");
    }
}

#[test]
fn actions_of_owners_in_every_phase() {
    for code in CODES {
        for (actor, verb, from, to) in [
            (Actor::Accepter, "accept", &["pending-acceptance"][..], "provisioning"),
            (Actor::Accepter, "reject", &["pending-acceptance"], "rejected"),
            (Actor::Requester, "delete", &["pending-acceptance", "active"], "deleting"),
            (Actor::Accepter, "delete", &["active"], "deleting"),
        ] {
            let mut scenario = Scenario::new();
            let id = scenario.in_phase(code);
            let outcome = scenario.act(actor, verb, &id);
            if from.contains(&code) {
                assert_eq!((outcome, scenario.code(&id)), (Ok(()), to), "{actor:?} {verb} {code}");
                continue;
            }
            let error = outcome.expect_err(&format!("{actor:?} {verb} {code}"));
            let is_hidden = actor == Actor::Accepter && matches!(code, "initiating-request" | "failed");
            let is_request_of_another = (actor, verb, code) == (Actor::Accepter, "delete", "pending-acceptance");
            let expected = match (is_hidden, is_request_of_another) {
                (true, _) => "InvalidVpcPeeringConnectionID.NotFound",
                (_, true) => "OperationNotPermitted",
                _ => "InvalidStateTransition",
            };
            assert_eq!(error.code, expected, "{actor:?} {verb} {code}");
            if expected == "InvalidStateTransition" {
                let text = format!("Invalid state transition for {id}, attempted to transition from {code} to {to}");
                assert_eq!(error.message, text);
            }
            assert_eq!(scenario.code(&id), code, "{actor:?} {verb}");
        }
    }
}

#[test]
fn only_the_accepter_accepts_or_rejects_and_only_in_its_region() {
    for verb in ["accept", "reject"] {
        for (actor, code) in [
            (Actor::Requester, "OperationNotPermitted"),
            (Actor::RequesterElsewhere, "InvalidVpcPeeringConnectionID.NotFound"),
            (Actor::AccepterElsewhere, "InvalidVpcPeeringConnectionID.NotFound"),
            (Actor::Stranger, "InvalidVpcPeeringConnectionID.NotFound"),
        ] {
            let mut scenario = Scenario::new();
            let id = scenario.in_phase("pending-acceptance");
            assert_eq!(scenario.act(actor, verb, &id).unwrap_err().code, code, "{actor:?} {verb}");
        }
    }
    let mut scenario = Scenario::new();
    let id = scenario.in_phase("pending-acceptance");
    let error = scenario.act(Actor::Requester, "accept", &id).unwrap_err();
    assert_eq!(error.message, format!("User 111111111111 cannot accept peering {id}"));
}

#[test]
fn within_one_account_only_the_accepters_region_can_accept() {
    let mut scenario = Scenario::new();
    scenario.accepter_vpc = scenario.vpc(Actor::RequesterElsewhere, "10.2.0.0/16");
    let id = scenario.try_request(Actor::Requester, Actor::RequesterElsewhere).unwrap().id;
    scenario.wait(1.0);
    let error = scenario.act(Actor::Requester, "accept", &id).unwrap_err();
    assert_eq!(
        error.message,
        format!(
            "Incorrect region (us-east-1) specified for this request. VPC peering connection {id} must be accepted in \
             region eu-west-1"
        )
    );
    assert_eq!(scenario.act(Actor::RequesterElsewhere, "accept", &id), Ok(()));
}

/// Phase, and how long the requester and the accepter see the connection.
#[test]
fn ended_connections_stay_visible_as_documented() {
    for (code, requester, accepter) in [
        ("failed", 2 * HOUR, 0),
        ("expired", 2 * DAY, 2 * DAY),
        ("rejected", 2 * DAY, 2 * HOUR),
        // Deleted by the requester.
        ("deleted", 2 * HOUR, 2 * DAY),
    ] {
        for (actor, visible) in [(Actor::Requester, requester), (Actor::Accepter, accepter)] {
            let mut scenario = Scenario::new();
            let id = scenario.in_phase(code);
            if visible > 0 {
                scenario.wait(visible as f64 - 2.0);
                assert!(scenario.is_visible(actor, &id), "{actor:?} of {code}");
                scenario.wait(2.0);
            }
            assert!(!scenario.is_visible(actor, &id), "{actor:?} of {code}");
            assert!(!scenario.is_visible(Actor::Stranger, &id));
        }
    }
}

#[test]
fn within_one_account_ended_connections_stay_visible_for_two_hours() {
    for verb in ["reject", "delete"] {
        let mut scenario = Scenario::new();
        scenario.accepter_vpc = scenario.vpc(Actor::Requester, "10.2.0.0/16");
        let request = Request {
            vpc_id: scenario.requester_vpc.clone(),
            peer: Actor::Requester.location(),
            peer_vpc_id: scenario.accepter_vpc.clone(),
            options: Options::default(),
            tags: Tags::new(),
        };
        let id = scenario.world.request_peering(&scenario.call(Actor::Requester), request).unwrap().id;
        scenario.wait(1.0);
        scenario.act(Actor::Requester, verb, &id).unwrap();
        scenario.wait(2.0 * HOUR as f64 - 2.0);
        assert!(scenario.is_visible(Actor::Requester, &id), "{verb}");
        scenario.wait(3.0);
        assert!(!scenario.is_visible(Actor::Requester, &id), "{verb}");
    }
}

#[test]
fn transitions_take_effect_at_their_own_time() {
    let mut scenario = Scenario::new();
    let id = scenario.request();
    scenario.wait((7 * DAY + 2 * DAY) as f64 - 1.0);
    assert_eq!(scenario.code(&id), "expired");
    scenario.wait(1.0);
    assert_eq!(scenario.code(&id), "gone");
    assert!(
        scenario.world.tags(&Actor::Requester.location(), &id).is_none(),
        "the tags are removed with the connection"
    );
}

#[test]
fn an_invalid_request_becomes_failed() {
    for name in ["unknown VPC", "overlap"] {
        let mut scenario = Scenario::new();
        scenario.accepter_vpc = match name {
            "overlap" => scenario.vpc(Actor::Accepter, "10.0.128.0/24"),
            _ => "vpc-0000000000000dead".into(),
        };
        let id = scenario.request();
        assert_eq!(scenario.code(&id), "initiating-request", "{name}");
        scenario.wait(1.0);
        assert_eq!(scenario.code(&id), "failed", "{name}");
        let message = scenario.world.peerings().get(&id).unwrap().message();
        assert_eq!(message, "Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range");
    }
    // The VPC exists, but not in the account or region of the request.
    for to in [Actor::RequesterElsewhere, Actor::AccepterElsewhere, Actor::Stranger] {
        let mut scenario = Scenario::new();
        let id = scenario.try_request(Actor::Requester, to).unwrap().id;
        scenario.wait(1.0);
        assert_eq!(scenario.code(&id), "failed", "{to:?}");
    }
}

#[test]
fn overlap_is_checked_for_all_blocks() {
    for (ipv4, ipv6) in [(&["10.1.0.0/16", "10.0.9.0/24"][..], &[][..]), (&["10.1.0.0/16"], &["2600:1f00::/56"])] {
        let mut scenario = Scenario::new();
        let requester = scenario.requester_vpc.clone();
        let accepter = scenario.accepter_vpc.clone();
        scenario.world.vpcs.get_mut(&requester).unwrap().ipv6_cidr_blocks = vec!["2600:1f00::/56".parse().unwrap()];
        let vpc = scenario.world.vpcs.get_mut(&accepter).unwrap();
        vpc.cidr_blocks = ipv4.iter().map(|block| block.parse().unwrap()).collect();
        vpc.ipv6_cidr_blocks = ipv6.iter().map(|block: &&str| block.parse().unwrap()).collect();
        let id = scenario.request();
        scenario.wait(1.0);
        assert_eq!(scenario.code(&id), "failed", "{ipv4:?} {ipv6:?}");
    }
}

#[test]
fn a_repeated_request_returns_what_the_settings_select() {
    for (policy, is_same, is_tagged) in [
        (RepeatRequest::ReturnExisting, true, false),
        (RepeatRequest::ReturnExistingWithNewTags, true, true),
        (RepeatRequest::MintNew, false, false),
    ] {
        let mut scenario =
            Scenario::with(Settings { repeat_request: policy, ..Settings::default() }, ("10.0.0.0/16", "10.1.0.0/16"));
        let first = scenario.request();
        let request = Request {
            vpc_id: scenario.requester_vpc.clone(),
            peer: Actor::Accepter.location(),
            peer_vpc_id: scenario.accepter_vpc.clone(),
            options: Options::default(),
            tags: Tags::from([("again".to_owned(), String::new())]),
        };
        let again = scenario.world.request_peering(&scenario.call(Actor::Requester), request).unwrap().id;
        assert_eq!(again == first, is_same, "{policy:?}");
        let tags = scenario.world.tags(&Actor::Requester.location(), &first).unwrap();
        assert_eq!(tags.contains_key("again"), is_tagged, "{policy:?}");
    }
    // After a connection has ended, the same request creates a new one.
    for code in ["failed", "rejected", "expired", "deleting", "deleted"] {
        let mut scenario = Scenario::new();
        let first = scenario.in_phase(code);
        assert_ne!(scenario.request(), first, "{code}");
    }
}

#[test]
fn a_request_in_the_opposite_direction_cannot_be_accepted() {
    let mut scenario = Scenario::new();
    let first = scenario.in_phase("active");
    let swapped = scenario.try_request(Actor::Accepter, Actor::Requester).unwrap().id;
    assert_ne!(swapped, first);
    scenario.wait(1.0);
    let error = scenario.act(Actor::Requester, "accept", &swapped).unwrap_err();
    assert_eq!(error.code, "VpcPeeringConnectionAlreadyExists");
    scenario.act(Actor::Requester, "delete", &first).unwrap();
    assert_eq!(scenario.act(Actor::Requester, "accept", &swapped), Ok(()));
}

#[test]
fn quotas_count_only_live_connections() {
    let mut settings = Settings::default();
    settings.quotas.outstanding = 1;
    settings.quotas.active_per_vpc = 1;
    let mut scenario = Scenario::with(settings, ("10.0.0.0/16", "10.1.0.0/16"));
    let first = scenario.request();
    let another_vpc = scenario.vpc(Actor::Accepter, "10.2.0.0/16");
    let first_vpc = std::mem::replace(&mut scenario.accepter_vpc, another_vpc);
    let error = scenario.try_request(Actor::Requester, Actor::Accepter).unwrap_err();
    assert_eq!(error.code, "OutstandingVpcPeeringConnectionLimitExceeded");
    scenario.wait(1.0);
    scenario.act(Actor::Accepter, "accept", &first).unwrap();
    let second = scenario.request();
    scenario.wait(1.0);
    let error = scenario.act(Actor::Accepter, "accept", &second).unwrap_err();
    assert_eq!(error.code, "ActiveVpcPeeringConnectionPerVpcLimitExceeded");
    assert!(error.message.contains(&scenario.requester_vpc) && !error.message.contains(&first_vpc));
    scenario.act(Actor::Requester, "delete", &first).unwrap();
    assert_eq!(scenario.act(Actor::Accepter, "accept", &second), Ok(()));
}

#[test]
fn options_need_an_active_connection_and_the_callers_own_end() {
    for code in CODES {
        let mut scenario = Scenario::new();
        let id = scenario.in_phase(code);
        let outcome = scenario.act(Actor::Requester, "modify", &id);
        let inactive = format!("Peering {id} is not active. Peering options can be added only to active peerings.");
        match code {
            "active" => assert_eq!(outcome, Ok(())),
            _ => assert_eq!(outcome, Err(Error::not_permitted(inactive)), "{code}"),
        }
    }
    let mut scenario = Scenario::new();
    let id = scenario.in_phase("active");
    let of_accepter =
        scenario.world.modify_options(&scenario.call(Actor::Requester), &id, &[(Side::Accepter, Some(false), None)]);
    let text = "User 111111111111 does not have permission to modify the accepter side peering options";
    assert_eq!(of_accepter.unwrap_err().message, text);
    let dns = |scenario: &mut Scenario| {
        let call = scenario.call(Actor::Requester);
        scenario.world.modify_options(&call, &id, &[(Side::Requester, Some(true), None)])
    };
    assert_eq!(dns(&mut scenario).unwrap_err().code, "InvalidVpcPeeringConnectionState.DnsHostnamesDisabled");
    for vpc in scenario.world.vpcs.values_mut() {
        vpc.dns_hostnames = true;
    }
    assert!(dns(&mut scenario).unwrap().requester.options.dns_resolution);
}

#[test]
fn multipath_needs_two_regions_and_both_ends_allow_it() {
    let mut scenario = Scenario::new();
    let request = |scenario: &Scenario, peer: Actor| Request {
        vpc_id: scenario.requester_vpc.clone(),
        peer: peer.location(),
        peer_vpc_id: scenario.accepter_vpc.clone(),
        options: Options { multipath: true, ..Options::default() },
        tags: Tags::new(),
    };
    let call = scenario.call(Actor::Requester);
    let near = request(&scenario, Actor::AccepterElsewhere);
    assert_eq!(scenario.world.request_peering(&call, near).unwrap_err().code, "InvalidParameterCombination");
    let far = request(&scenario, Actor::Accepter);
    let id = scenario.world.request_peering(&call, far).unwrap().id;
    let allowed = |scenario: &Scenario| {
        let peering = scenario.world.peerings().get(&id).unwrap();
        (peering.requester.options.multipath, peering.accepter.options.multipath)
    };
    assert_eq!(allowed(&scenario), (true, false));
    scenario.wait(1.0);
    scenario.act(Actor::Accepter, "accept", &id).unwrap();
    scenario.wait(1.0);
    assert_eq!(allowed(&scenario), (true, true));
    let call = scenario.call(Actor::Accepter);
    scenario.world.modify_options(&call, &id, &[(Side::Accepter, None, Some(false))]).unwrap();
    assert_eq!(allowed(&scenario), (true, false));
}

#[test]
fn deletion_of_a_vpc_depends_on_its_connections() {
    for (code, requester, accepter) in [
        ("initiating-request", true, true),
        ("pending-acceptance", true, false),
        ("provisioning", false, false),
        ("active", false, false),
        ("rejected", true, true),
        ("expired", true, true),
        ("deleting", true, true),
        ("deleted", true, true),
    ] {
        for (actor, is_deleted) in [(Actor::Requester, requester), (Actor::Accepter, accepter)] {
            let mut scenario = Scenario::new();
            let id = scenario.in_phase(code);
            let vpc = if actor == Actor::Requester { &scenario.requester_vpc } else { &scenario.accepter_vpc };
            let outcome = scenario.world.delete_vpc(&scenario.call(actor), &vpc.clone());
            let expected = if is_deleted { Ok(()) } else { Err("DependencyViolation".to_owned()) };
            assert_eq!(outcome.map_err(|error| error.code), expected, "{actor:?} {code}");
            if (actor, code) == (Actor::Requester, "pending-acceptance") {
                assert_eq!(scenario.code(&id), "deleting", "the request is deleted with its VPC");
            }
        }
    }
}

#[test]
fn a_dry_run_checks_neither_phase_nor_quotas_and_changes_nothing() {
    let mut scenario = Scenario::new();
    let id = scenario.in_phase("pending-acceptance");
    let before = scenario.world.scene(scenario.now);
    for (actor, verb, code) in [
        (Actor::Accepter, "accept", "DryRunOperation"),
        (Actor::Requester, "accept", "OperationNotPermitted"),
        (Actor::Accepter, "reject", "DryRunOperation"),
        (Actor::Requester, "delete", "DryRunOperation"),
        (Actor::Requester, "modify", "DryRunOperation"),
    ] {
        let call = Call { dry_run: true, ..scenario.call(actor) };
        let world = &mut scenario.world;
        let error = match verb {
            "accept" => world.accept_peering(&call, &id).map(drop),
            "reject" => world.reject_peering(&call, &id),
            "delete" => world.delete_peering(&call, &id),
            _ => world.modify_options(&call, &id, &[]).map(drop),
        };
        assert_eq!(error.unwrap_err().code, code, "{actor:?} {verb}");
    }
    assert_eq!(scenario.world.scene(scenario.now), before);
}

#[test]
fn delays_can_be_configured() {
    let mut settings = Settings::default();
    settings.delays.initiating = Duration::ZERO;
    settings.delays.expiry = Duration::from_secs(60);
    let mut scenario = Scenario::with(settings, ("10.0.0.0/16", "10.1.0.0/16"));
    let id = scenario.request();
    scenario.wait(0.0);
    assert_eq!(scenario.code(&id), "pending-acceptance");
    scenario.wait(60.0);
    assert_eq!(scenario.code(&id), "expired");
}

#[test]
fn tags_are_visible_only_in_their_account_and_region() {
    let mut scenario = Scenario::new();
    let id = scenario.in_phase("active");
    assert!(scenario.world.tags(&Actor::Requester.location(), &id).is_some());
    assert!(scenario.world.tags(&Actor::Accepter.location(), &id).is_none());
    let call = scenario.call(Actor::Accepter);
    scenario
        .world
        .create_tags(&call, std::slice::from_ref(&id), &Tags::from([("a".to_owned(), "b".to_owned())]))
        .unwrap();
    assert_eq!(scenario.world.tags(&Actor::Accepter.location(), &id).unwrap().len(), 1);
    let stranger = scenario.call(Actor::Stranger);
    let error = scenario.world.create_tags(&stranger, &[id], &Tags::new()).unwrap_err();
    assert_eq!(error.code, "InvalidVpcPeeringConnectionID.NotFound");
}

#[test]
fn a_saved_scene_restores_the_same_world() {
    for code in CODES {
        let mut scenario = Scenario::new();
        let id = scenario.in_phase(code);
        let scene = scenario.world.scene(scenario.now);
        let json = serde_json::to_string(&scene).unwrap();
        let mut again = World::from_scene(serde_json::from_str(&json).unwrap(), Settings::default(), 2).unwrap();
        assert_eq!(again.scene(scenario.now), scene, "{code}");
        // Timed transitions and generated IDs continue the same way.
        scenario.wait(9.0 * DAY as f64);
        again.advance(scenario.now);
        let code_of = |world: &World| world.peerings().get(&id).map(|peering| peering.phase.code());
        assert_eq!(code_of(&again), code_of(&scenario.world), "{code}");
        assert_eq!(again.generate_key_id(), scenario.world.generate_key_id());
    }
}

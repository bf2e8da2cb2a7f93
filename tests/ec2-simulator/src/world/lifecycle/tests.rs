//! Every edge of the lifecycle, as a table: who does what to a connection in which phase, and what comes of it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::world::Settings;
use crate::world::vpc::Ipv6Block;

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// Who calls, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Requester,
    Accepter,
    /// The requester, in the accepter's region.
    RequesterElsewhere,
    /// The accepter, in the requester's region.
    AccepterElsewhere,
    Stranger,
}

impl Who {
    fn place(self) -> Place {
        let (account, region) = match self {
            Self::Requester => ("111111111111", "us-east-1"),
            Self::RequesterElsewhere => ("111111111111", "eu-west-1"),
            Self::Accepter => ("222222222222", "eu-west-1"),
            Self::AccepterElsewhere => ("222222222222", "us-east-1"),
            Self::Stranger => ("333333333333", "us-east-1"),
        };
        Place::new(account, region)
    }
}

/// A world with a clock, and one VPC at each end.
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
        scenario.requester_vpc = scenario.vpc(Who::Requester, blocks.0);
        scenario.accepter_vpc = scenario.vpc(Who::Accepter, blocks.1);
        scenario
    }

    fn call(&self, who: Who) -> Call {
        Call { place: who.place(), now: self.now, dry_run: false }
    }

    fn vpc(&mut self, who: Who, block: &str) -> String {
        let call = self.call(who);
        self.world.create_vpc(&call, block.parse().unwrap(), Ipv6Block::Absent, Tags::new()).unwrap().id
    }

    fn wait(&mut self, seconds: f64) {
        self.now = self.now.checked_add(SignedDuration::from_secs_f64(seconds)).unwrap();
        self.world.advance(self.now);
    }

    fn request(&mut self) -> String {
        self.try_request(Who::Requester, Who::Accepter).unwrap().id
    }

    fn try_request(&mut self, from: Who, to: Who) -> Result<Peering> {
        let vpc_of = |who| if who == Who::Requester { &self.requester_vpc } else { &self.accepter_vpc };
        let request = Request {
            vpc_id: vpc_of(from).clone(),
            peer: to.place(),
            peer_vpc_id: vpc_of(to).clone(),
            options: Options::default(),
            tags: Tags::from([("made-by".to_owned(), format!("{from:?}"))]),
        };
        let call = self.call(from);
        self.world.request_peering(&call, request)
    }

    /// A connection that has come to this phase.
    fn in_phase(&mut self, code: &str) -> String {
        let id = self.request();
        match code {
            "initiating-request" => return id,
            "failed" => {
                let accepter = self.accepter_vpc.clone();
                self.world.vpcs.remove(&accepter);
            }
            _ => {}
        }
        self.wait(1.0);
        match code {
            "rejected" => self.act(Who::Accepter, "reject", &id).unwrap(),
            "expired" => self.wait(7.0 * DAY as f64),
            "provisioning" | "active" | "deleting" | "deleted" => self.act(Who::Accepter, "accept", &id).unwrap(),
            _ => {}
        }
        if matches!(code, "active" | "deleting" | "deleted") {
            self.wait(1.0);
        }
        if matches!(code, "deleting" | "deleted") {
            self.act(Who::Requester, "delete", &id).unwrap();
        }
        if code == "deleted" {
            self.wait(1.0);
        }
        assert_eq!(self.code(&id), code);
        id
    }

    fn act(&mut self, who: Who, verb: &str, id: &str) -> Result<()> {
        let call = self.call(who);
        match verb {
            "accept" => self.world.accept_peering(&call, id).map(drop),
            "reject" => self.world.reject_peering(&call, id),
            "delete" => self.world.delete_peering(&call, id),
            "modify" => {
                let side = if who == Who::Requester { Side::Requester } else { Side::Accepter };
                self.world.modify_options(&call, id, &[(side, Some(false), None)]).map(drop)
            }
            other => panic!("{other}"),
        }
    }

    fn code(&self, id: &str) -> &'static str {
        self.world.peerings().get(id).map_or("gone", |peering| peering.phase.code())
    }

    fn sees(&self, who: Who, id: &str) -> bool {
        self.world.peering(&self.call(who), id).is_ok()
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

/// From each phase: what becomes of it by itself, and how soon.
#[test]
fn what_time_does() {
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

/// From each phase: what its owners may do.
#[test]
fn what_owners_do() {
    for code in CODES {
        for (who, verb, from, to) in [
            (Who::Accepter, "accept", &["pending-acceptance"][..], "provisioning"),
            (Who::Accepter, "reject", &["pending-acceptance"], "rejected"),
            (Who::Requester, "delete", &["pending-acceptance", "active"], "deleting"),
            (Who::Accepter, "delete", &["active"], "deleting"),
        ] {
            let mut scenario = Scenario::new();
            let id = scenario.in_phase(code);
            let outcome = scenario.act(who, verb, &id);
            if from.contains(&code) {
                assert_eq!((outcome, scenario.code(&id)), (Ok(()), to), "{who:?} {verb} {code}");
                continue;
            }
            let error = outcome.expect_err(&format!("{who:?} {verb} {code}"));
            let is_hidden = who == Who::Accepter && matches!(code, "initiating-request" | "failed");
            let is_asked = (who, verb, code) == (Who::Accepter, "delete", "pending-acceptance");
            let expected = match (is_hidden, is_asked) {
                (true, _) => "InvalidVpcPeeringConnectionID.NotFound",
                (_, true) => "OperationNotPermitted",
                _ => "InvalidStateTransition",
            };
            assert_eq!(error.code, expected, "{who:?} {verb} {code}");
            if expected == "InvalidStateTransition" {
                let text = format!("Invalid state transition for {id}, attempted to transition from {code} to {to}");
                assert_eq!(error.message, text);
            }
            assert_eq!(scenario.code(&id), code, "{who:?} {verb}");
        }
    }
}

#[test]
fn only_the_accepter_decides_and_only_in_the_accepters_region() {
    for verb in ["accept", "reject"] {
        for (who, code) in [
            (Who::Requester, "OperationNotPermitted"),
            (Who::RequesterElsewhere, "InvalidVpcPeeringConnectionID.NotFound"),
            (Who::AccepterElsewhere, "InvalidVpcPeeringConnectionID.NotFound"),
            (Who::Stranger, "InvalidVpcPeeringConnectionID.NotFound"),
        ] {
            let mut scenario = Scenario::new();
            let id = scenario.in_phase("pending-acceptance");
            assert_eq!(scenario.act(who, verb, &id).unwrap_err().code, code, "{who:?} {verb}");
        }
    }
    let mut scenario = Scenario::new();
    let id = scenario.in_phase("pending-acceptance");
    let error = scenario.act(Who::Requester, "accept", &id).unwrap_err();
    assert_eq!(error.message, format!("User 111111111111 cannot accept peering {id}"));
}

#[test]
fn within_one_account_the_accepters_region_decides() {
    let mut scenario = Scenario::new();
    scenario.accepter_vpc = scenario.vpc(Who::RequesterElsewhere, "10.2.0.0/16");
    let id = scenario.try_request(Who::Requester, Who::RequesterElsewhere).unwrap().id;
    scenario.wait(1.0);
    let error = scenario.act(Who::Requester, "accept", &id).unwrap_err();
    assert_eq!(
        error.message,
        format!(
            "Incorrect region (us-east-1) specified for this request. VPC peering connection {id} must be accepted in \
             region eu-west-1"
        )
    );
    assert_eq!(scenario.act(Who::RequesterElsewhere, "accept", &id), Ok(()));
}

/// For how long each end sees a connection that has ended.
#[test]
fn ended_connections_stay_visible_for_as_long_as_the_guide_says() {
    for (code, requester, accepter) in [
        ("failed", 2 * HOUR, 0),
        ("expired", 2 * DAY, 2 * DAY),
        ("rejected", 2 * DAY, 2 * HOUR),
        // The requester is who deletes it here.
        ("deleted", 2 * HOUR, 2 * DAY),
    ] {
        for (who, visible) in [(Who::Requester, requester), (Who::Accepter, accepter)] {
            let mut scenario = Scenario::new();
            let id = scenario.in_phase(code);
            if visible > 0 {
                scenario.wait(visible as f64 - 2.0);
                assert!(scenario.sees(who, &id), "{who:?} of {code}");
                scenario.wait(2.0);
            }
            assert!(!scenario.sees(who, &id), "{who:?} of {code}");
            assert!(!scenario.sees(Who::Stranger, &id));
        }
    }
}

#[test]
fn within_one_account_ended_connections_stay_visible_for_two_hours() {
    for verb in ["reject", "delete"] {
        let mut scenario = Scenario::new();
        scenario.accepter_vpc = scenario.vpc(Who::Requester, "10.2.0.0/16");
        let request = Request {
            vpc_id: scenario.requester_vpc.clone(),
            peer: Who::Requester.place(),
            peer_vpc_id: scenario.accepter_vpc.clone(),
            options: Options::default(),
            tags: Tags::new(),
        };
        let id = scenario.world.request_peering(&scenario.call(Who::Requester), request).unwrap().id;
        scenario.wait(1.0);
        scenario.act(Who::Requester, verb, &id).unwrap();
        scenario.wait(2.0 * HOUR as f64 - 2.0);
        assert!(scenario.sees(Who::Requester, &id), "{verb}");
        scenario.wait(3.0);
        assert!(!scenario.sees(Who::Requester, &id), "{verb}");
    }
}

#[test]
fn what_happens_late_happens_at_its_own_time() {
    let mut scenario = Scenario::new();
    let id = scenario.request();
    scenario.wait((7 * DAY + 2 * DAY) as f64 - 1.0);
    assert_eq!(scenario.code(&id), "expired");
    scenario.wait(1.0);
    assert_eq!(scenario.code(&id), "gone");
    assert!(scenario.world.tags(&Who::Requester.place(), &id).is_none(), "its tags go with it");
}

#[test]
fn a_request_that_cannot_be_fails_later() {
    for name in ["unknown VPC", "overlap"] {
        let mut scenario = Scenario::new();
        scenario.accepter_vpc = match name {
            "overlap" => scenario.vpc(Who::Accepter, "10.0.128.0/24"),
            _ => "vpc-0000000000000dead".into(),
        };
        let id = scenario.request();
        assert_eq!(scenario.code(&id), "initiating-request", "{name}");
        scenario.wait(1.0);
        assert_eq!(scenario.code(&id), "failed", "{name}");
        let message = scenario.world.peerings().get(&id).unwrap().message();
        assert_eq!(message, "Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range");
    }
    // The VPC is there, but in another account or region than the request says.
    for to in [Who::RequesterElsewhere, Who::AccepterElsewhere, Who::Stranger] {
        let mut scenario = Scenario::new();
        let id = scenario.try_request(Who::Requester, to).unwrap().id;
        scenario.wait(1.0);
        assert_eq!(scenario.code(&id), "failed", "{to:?}");
    }
}

#[test]
fn a_second_block_overlaps_as_the_first_does() {
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
fn a_repeated_request_gives_what_the_settings_say() {
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
            peer: Who::Accepter.place(),
            peer_vpc_id: scenario.accepter_vpc.clone(),
            options: Options::default(),
            tags: Tags::from([("again".to_owned(), String::new())]),
        };
        let again = scenario.world.request_peering(&scenario.call(Who::Requester), request).unwrap().id;
        assert_eq!(again == first, is_same, "{policy:?}");
        let tags = scenario.world.tags(&Who::Requester.place(), &first).unwrap();
        assert_eq!(tags.contains_key("again"), is_tagged, "{policy:?}");
    }
    // One that has ended is not repeated but made anew.
    for code in ["failed", "rejected", "expired", "deleting", "deleted"] {
        let mut scenario = Scenario::new();
        let first = scenario.in_phase(code);
        assert_ne!(scenario.request(), first, "{code}");
    }
}

#[test]
fn the_swapped_pair_is_another_request_that_cannot_be_accepted() {
    let mut scenario = Scenario::new();
    let first = scenario.in_phase("active");
    let swapped = scenario.try_request(Who::Accepter, Who::Requester).unwrap().id;
    assert_ne!(swapped, first);
    scenario.wait(1.0);
    let error = scenario.act(Who::Requester, "accept", &swapped).unwrap_err();
    assert_eq!(error.code, "VpcPeeringConnectionAlreadyExists");
    scenario.act(Who::Requester, "delete", &first).unwrap();
    assert_eq!(scenario.act(Who::Requester, "accept", &swapped), Ok(()));
}

#[test]
fn quotas_hold_and_let_go() {
    let mut settings = Settings::default();
    settings.quotas.outstanding = 1;
    settings.quotas.active_per_vpc = 1;
    let mut scenario = Scenario::with(settings, ("10.0.0.0/16", "10.1.0.0/16"));
    let first = scenario.request();
    let another_vpc = scenario.vpc(Who::Accepter, "10.2.0.0/16");
    let first_vpc = std::mem::replace(&mut scenario.accepter_vpc, another_vpc);
    let error = scenario.try_request(Who::Requester, Who::Accepter).unwrap_err();
    assert_eq!(error.code, "OutstandingVpcPeeringConnectionLimitExceeded");
    scenario.wait(1.0);
    scenario.act(Who::Accepter, "accept", &first).unwrap();
    let second = scenario.request();
    scenario.wait(1.0);
    let error = scenario.act(Who::Accepter, "accept", &second).unwrap_err();
    assert_eq!(error.code, "ActiveVpcPeeringConnectionPerVpcLimitExceeded");
    assert!(error.message.contains(&scenario.requester_vpc) && !error.message.contains(&first_vpc));
    scenario.act(Who::Requester, "delete", &first).unwrap();
    assert_eq!(scenario.act(Who::Accepter, "accept", &second), Ok(()));
}

#[test]
fn options_need_an_active_connection_and_ones_own_side() {
    for code in CODES {
        let mut scenario = Scenario::new();
        let id = scenario.in_phase(code);
        let outcome = scenario.act(Who::Requester, "modify", &id);
        let inactive = format!("Peering {id} is not active. Peering options can be added only to active peerings.");
        match code {
            "active" => assert_eq!(outcome, Ok(())),
            _ => assert_eq!(outcome, Err(Error::not_permitted(inactive)), "{code}"),
        }
    }
    let mut scenario = Scenario::new();
    let id = scenario.in_phase("active");
    let anothers =
        scenario.world.modify_options(&scenario.call(Who::Requester), &id, &[(Side::Accepter, Some(false), None)]);
    let text = "User 111111111111 does not have permission to modify the accepter side peering options";
    assert_eq!(anothers.unwrap_err().message, text);
    let dns = |scenario: &mut Scenario| {
        let call = scenario.call(Who::Requester);
        scenario.world.modify_options(&call, &id, &[(Side::Requester, Some(true), None)])
    };
    assert_eq!(dns(&mut scenario).unwrap_err().code, "InvalidVpcPeeringConnectionState.DnsHostnamesDisabled");
    for vpc in scenario.world.vpcs.values_mut() {
        vpc.dns_hostnames = true;
    }
    assert!(dns(&mut scenario).unwrap().requester.options.dns_resolution);
}

#[test]
fn multipath_takes_both_ends_and_two_regions() {
    let mut scenario = Scenario::new();
    let request = |scenario: &Scenario, peer: Who| Request {
        vpc_id: scenario.requester_vpc.clone(),
        peer: peer.place(),
        peer_vpc_id: scenario.accepter_vpc.clone(),
        options: Options { multipath: true, ..Options::default() },
        tags: Tags::new(),
    };
    let call = scenario.call(Who::Requester);
    let near = request(&scenario, Who::AccepterElsewhere);
    assert_eq!(scenario.world.request_peering(&call, near).unwrap_err().code, "InvalidParameterCombination");
    let far = request(&scenario, Who::Accepter);
    let id = scenario.world.request_peering(&call, far).unwrap().id;
    let allowed = |scenario: &Scenario| {
        let peering = scenario.world.peerings().get(&id).unwrap();
        (peering.requester.options.multipath, peering.accepter.options.multipath)
    };
    assert_eq!(allowed(&scenario), (true, false));
    scenario.wait(1.0);
    scenario.act(Who::Accepter, "accept", &id).unwrap();
    scenario.wait(1.0);
    assert_eq!(allowed(&scenario), (true, true));
    let call = scenario.call(Who::Accepter);
    scenario.world.modify_options(&call, &id, &[(Side::Accepter, None, Some(false))]).unwrap();
    assert_eq!(allowed(&scenario), (true, false));
}

#[test]
fn a_vpc_goes_as_far_as_its_peerings_allow() {
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
        for (who, goes) in [(Who::Requester, requester), (Who::Accepter, accepter)] {
            let mut scenario = Scenario::new();
            let id = scenario.in_phase(code);
            let vpc = if who == Who::Requester { &scenario.requester_vpc } else { &scenario.accepter_vpc };
            let outcome = scenario.world.delete_vpc(&scenario.call(who), &vpc.clone());
            let expected = if goes { Ok(()) } else { Err("DependencyViolation".to_owned()) };
            assert_eq!(outcome.map_err(|error| error.code), expected, "{who:?} {code}");
            if (who, code) == (Who::Requester, "pending-acceptance") {
                assert_eq!(scenario.code(&id), "deleting", "a request goes with its VPC");
            }
        }
    }
}

#[test]
fn a_dry_run_checks_everything_and_does_nothing() {
    let mut scenario = Scenario::new();
    let id = scenario.in_phase("pending-acceptance");
    let before = scenario.world.scene(scenario.now);
    for (who, verb, code) in [
        (Who::Accepter, "accept", "DryRunOperation"),
        (Who::Requester, "accept", "OperationNotPermitted"),
        (Who::Accepter, "reject", "DryRunOperation"),
        (Who::Requester, "delete", "DryRunOperation"),
        (Who::Requester, "modify", "OperationNotPermitted"),
    ] {
        let call = Call { dry_run: true, ..scenario.call(who) };
        let world = &mut scenario.world;
        let error = match verb {
            "accept" => world.accept_peering(&call, &id).map(drop),
            "reject" => world.reject_peering(&call, &id),
            "delete" => world.delete_peering(&call, &id),
            _ => world.modify_options(&call, &id, &[]).map(drop),
        };
        assert_eq!(error.unwrap_err().code, code, "{who:?} {verb}");
    }
    assert_eq!(scenario.world.scene(scenario.now), before);
}

#[test]
fn the_delays_are_settings() {
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
fn tags_live_where_they_were_made() {
    let mut scenario = Scenario::new();
    let id = scenario.in_phase("active");
    assert!(scenario.world.tags(&Who::Requester.place(), &id).is_some());
    assert!(scenario.world.tags(&Who::Accepter.place(), &id).is_none());
    let call = scenario.call(Who::Accepter);
    scenario
        .world
        .create_tags(&call, std::slice::from_ref(&id), &Tags::from([("a".to_owned(), "b".to_owned())]))
        .unwrap();
    assert_eq!(scenario.world.tags(&Who::Accepter.place(), &id).unwrap().len(), 1);
    let stranger = scenario.call(Who::Stranger);
    let error = scenario.world.create_tags(&stranger, &[id], &Tags::new()).unwrap_err();
    assert_eq!(error.code, "InvalidVpcPeeringConnectionID.NotFound");
}

#[test]
fn a_scene_is_the_same_world_again() {
    for code in CODES {
        let mut scenario = Scenario::new();
        let id = scenario.in_phase(code);
        let scene = scenario.world.scene(scenario.now);
        let json = serde_json::to_string(&scene).unwrap();
        let mut again = World::from_scene(serde_json::from_str(&json).unwrap(), Settings::default(), 2).unwrap();
        assert_eq!(again.scene(scenario.now), scene, "{code}");
        // What was under way goes on, and the IDs do too.
        scenario.wait(9.0 * DAY as f64);
        again.advance(scenario.now);
        let code_of = |world: &World| world.peerings().get(&id).map(|peering| peering.phase.code());
        assert_eq!(code_of(&again), code_of(&scenario.world), "{code}");
        assert_eq!(again.mint_key_id(), scenario.world.mint_key_id());
    }
}

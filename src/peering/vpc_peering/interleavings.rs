//! Random interleavings of crashes, lost replies, lag and refusals. In the end, exactly one live peering exists for the
//! resource, or none after its deletion, and no foreign connection has changed. The test runs the real decision against
//! the EC2 simulator. It repeats the effects of `controller::vpc_peering`, with a possible crash between any two. The file
//! exceeds 400 lines because the model and its disturbances share one state.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ec2_simulator::world::settings::RepeatRequest;
use ec2_simulator::world::vpc::Ipv6Block;
use ec2_simulator::world::{Call, Location, Options, Peering, Phase, Request};
use ec2_simulator::{Settings as Ec2Settings, World};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::decide::decide;
use super::state::{AccepterView, Desired, Observation, Recorded};
use super::status::describe;
use super::step::Step;
use super::view::view;
use crate::api::{DeletionPolicy, Ownership, VpcInfo, VpcPeeringSpec, VpcPeeringStatus};
use crate::peering::conditions::to_the_second;
use crate::peering::connection::Tags;
use crate::peering::plan::{Plan, Step as _};
use crate::peering::testing::{another_owner, ends, owner, permissions, spec, tags as tags_of};
use crate::peering::upkeep::UpkeepStep;
use crate::peering::{Connection, Endpoints, Owner, Preflight, Settings, Snapshot, StatusCode};

/// The longest lag of EC2, in seconds. The consistency window is twice as long.
const LAG: u8 = 30;
const SETTINGS: Settings = Settings {
    consistency_window: Duration::from_secs(60),
    recreation_pause: Duration::from_secs(60),
    is_cluster_unique: true,
};

/// A disturbance of one reconcile.
#[derive(Clone, Copy, Debug)]
enum Disturbance {
    Nothing,
    /// The process dies before the step, between its parts, or after its effect and before the status write.
    CrashBefore,
    CrashBetween,
    CrashAfter,
    /// The effect happens, and the answer is lost.
    LostReply,
    Throttle,
    /// EC2 shows its state of some seconds ago.
    Stale(u8),
    /// Time passes.
    Sleep(u8),
    /// The user deletes the resource.
    Delete,
}

fn disturbance() -> impl Strategy<Value = Disturbance> {
    prop_oneof![
        6 => Just(Disturbance::Nothing),
        2 => Just(Disturbance::CrashBefore),
        2 => Just(Disturbance::CrashBetween),
        3 => Just(Disturbance::CrashAfter),
        3 => Just(Disturbance::LostReply),
        2 => Just(Disturbance::Throttle),
        6 => (1..=LAG).prop_map(Disturbance::Stale),
        2 => (1..=90u8).prop_map(Disturbance::Sleep),
        1 => Just(Disturbance::Delete),
    ]
}

fn location() -> Location {
    Location { account: "111111111111".into(), region: "eu-central-1".into() }
}

struct Model {
    ec2: World,
    now: Timestamp,
    /// The views of EC2, with their times.
    views: Vec<(Timestamp, Vec<Connection>)>,
    spec: VpcPeeringSpec,
    ends: Endpoints,
    answers_without_tags: bool,
    // The state in the API server.
    status: VpcPeeringStatus,
    finalizer: bool,
    deleted: bool,
    gone: bool,
    // The state that a crash loses.
    created: Option<Connection>,
    missing_since: Option<Timestamp>,
    preflight: Option<Preflight>,
}

impl Model {
    fn new(repeat_request: RepeatRequest, conflicting: bool, answers_without_tags: bool) -> Self {
        let settings = Ec2Settings { repeat_request, ..Ec2Settings::default() };
        let mut model = Self {
            ec2: World::new(settings, 1),
            now: Timestamp::from_second(1_000_000_000).unwrap(),
            views: Vec::new(),
            spec: spec(),
            ends: ends(),
            answers_without_tags,
            status: VpcPeeringStatus::default(),
            finalizer: false,
            deleted: false,
            gone: false,
            created: None,
            missing_since: None,
            preflight: None,
        };
        let vpcs: Vec<String> = ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"]
            .into_iter()
            .map(|block| {
                let call = model.call();
                model.ec2.create_vpc(&call, block.parse().unwrap(), Ipv6Block::Absent, BTreeMap::new()).unwrap().id
            })
            .collect();
        model.ends.requester.vpc_id = vpcs[0].clone();
        model.ends.accepter.vpc_id = vpcs[1].clone();
        // A foreign connection between other VPCs, and optionally one between the VPCs of the spec.
        model.request(&vpcs[0], &vpcs[2], &tags_of(&another_owner()));
        if conflicting {
            model.request(&vpcs[0], &vpcs[1], &Tags::new());
        }
        model.pass_time(u64::from(LAG) + 10);
        let foreign: Vec<String> = model.shown().into_iter().map(|connection| connection.id).collect();
        for id in foreign {
            let call = model.call();
            model.ec2.accept_peering(&call, &id).unwrap();
        }
        model.pass_time(u64::from(LAG) + 10);
        model
    }

    fn call(&self) -> Call {
        Call { location: location(), now: self.now, dry_run: false }
    }

    fn request(&mut self, one: &str, other: &str, tags: &Tags) -> Option<String> {
        let request = Request {
            vpc_id: one.to_owned(),
            peer: location(),
            peer_vpc_id: other.to_owned(),
            options: Options::default(),
            tags: tags.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        };
        let call = self.call();
        self.ec2.request_peering(&call, request).ok().map(|peering| peering.id)
    }

    fn pass_time(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += SignedDuration::from_secs(1);
            self.ec2.advance(self.now);
            self.views.push((self.now, self.shown()));
        }
    }

    /// EC2's view without lag.
    fn shown(&self) -> Vec<Connection> {
        let call = self.call();
        self.ec2.visible_peerings(&call, None).map(|peering| self.connection(peering)).collect()
    }

    fn connection(&self, peering: &Peering) -> Connection {
        let end = |vpc_id: &str| VpcInfo {
            vpc_id: Some(vpc_id.into()),
            owner_id: Some(location().account.into()),
            region: Some(location().region.into()),
            ..VpcInfo::default()
        };
        Connection {
            id: peering.id.clone(),
            code: peering.phase.code().into(),
            message: None,
            expiration_time: None,
            requester: end(&peering.requester.vpc_id),
            accepter: end(&peering.accepter.vpc_id),
            tags: self
                .ec2
                .tags(&location(), &peering.id)
                .into_iter()
                .flatten()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        }
    }

    /// The connections that this resource does not own.
    fn foreign(&self) -> Vec<(String, Phase, Tags)> {
        let peerings = self.ec2.peerings().iter().map(|peering| (peering, self.connection(peering).tags));
        let foreign = peerings.filter(|(_, tags)| !owner().is_named_by(tags));
        foreign.map(|(peering, tags)| (peering.id.clone(), peering.phase.clone(), tags)).collect()
    }

    fn ours(&self) -> Vec<Connection> {
        let all = self.ec2.peerings().iter().map(|peering| self.connection(peering));
        all.filter(|connection| owner().is_named_by(&connection.tags) && !connection.code.has_ended()).collect()
    }

    /// The status, with the reply of EC2 that is not written yet.
    fn known(&self) -> VpcPeeringStatus {
        let mut status = self.status.clone();
        let is_unanswered = status.vpc_peering_connection_id.is_none() && status.creation_started_at.is_some();
        if let Some(connection) = self.created.as_ref().filter(|_| is_unanswered) {
            describe(&mut status, connection, Ownership::Owned);
        }
        status
    }

    fn recorded(&self) -> Recorded {
        let status = self.known();
        Recorded {
            connection_id: status.vpc_peering_connection_id.as_deref().map(str::to_owned),
            ownership: status.ownership,
            creation_started: status.creation_started_at.is_some(),
            managed_tags: status.managed_tags.iter().cloned().collect(),
            ..Recorded::default()
        }
    }

    fn crash(&mut self) {
        self.created = None;
        self.missing_since = None;
        self.preflight = None;
    }

    /// One reconcile and its effect.
    fn pass(&mut self, disturbance: Disturbance) {
        match disturbance {
            Disturbance::Sleep(seconds) => self.pass_time(seconds.into()),
            Disturbance::Delete => self.deleted = true,
            _ => self.pass_time(1),
        }
        if self.gone || (self.deleted && !self.finalizer) {
            self.gone = true;
            return;
        }
        let lag = if let Disturbance::Stale(seconds) = disturbance { i64::from(seconds) } else { 0 };
        let then = self.now - SignedDuration::from_secs(lag);
        let shown = self.views.iter().rev().find(|(time, _)| *time <= then).map(|(_, view)| view.clone());
        let snapshot: Snapshot = shown.unwrap_or_default().into_iter().collect();
        let (owner, recorded) = (owner(), self.recorded());
        let mut observed =
            if self.finalizer { view(&snapshot, &owner, &recorded, &self.ends, None) } else { Observation::default() };
        if self.finalizer && observed.lacks(&recorded) {
            let since = *self.missing_since.get_or_insert(self.now);
            observed.missing_for = self.now.duration_since(since).unsigned_abs();
        } else {
            self.missing_since = None;
        }
        observed.preflight = self.preflight.clone();
        observed.accepter = AccepterView::Same;
        let desired = Desired {
            owner: &owner,
            spec: &self.spec,
            ends: &self.ends,
            permissions: &permissions(),
            defaults: &crate::peering::testing::defaults(),
            is_cluster_unique: true,
            deleted: self.deleted,
            finalizer: self.finalizer,
            reconcile_requested: false,
            reconcile_at: None,
            generation: 1,
            status: None,
        };
        match decide(desired, &recorded, &observed, self.now, SETTINGS).plan {
            Plan::Act(step) => self.take(step, disturbance),
            Plan::RemoveFinalizer => self.gone = true,
            Plan::Wait { .. }
            | Plan::Settled { .. }
            | Plan::DryRunSucceeded
            | Plan::Suspended { .. }
            | Plan::Stalled { .. } => {
                // A transient state causes no status write.
                let is_transient = |connection: &Arc<Connection>| {
                    matches!(connection.code, StatusCode::InitiatingRequest | StatusCode::Provisioning)
                };
                if observed.recorded.as_ref().is_some_and(is_transient) {
                    return;
                }
                self.status = self.known();
                if let (Some(connection), Some(ownership)) = (&observed.recorded, self.status.ownership) {
                    describe(&mut self.status, connection, ownership);
                }
            }
        }
    }

    fn take(&mut self, step: Step, disturbance: Disturbance) {
        if matches!(disturbance, Disturbance::CrashBefore) {
            return self.crash();
        }
        let is_aws = step.change().is_some();
        match step {
            Step::AddFinalizer => self.finalizer = true,
            Step::Preflight => self.preflight = Some(Preflight::Passed),
            Step::DryRun
            | Step::Retire { .. }
            | Step::DeleteOrphan { .. }
            | Step::Upkeep {
                step:
                    UpkeepStep::SetOptions { .. }
                    | UpkeepStep::SetDnsAttribute { .. }
                    | UpkeepStep::RecordRoutes { .. }
                    | UpkeepStep::ChangeRoutes { .. },
                ..
            } => unreachable!("the spec does not ask for it"),
            Step::Create => self.create(disturbance),
            Step::Record { connection, ownership } => describe(&mut self.status, &connection, ownership),
            Step::Upkeep { step: UpkeepStep::RecordTags { tags }, .. } => {
                self.status.managed_tags = tags.into_iter().collect()
            }
            _ if is_aws && matches!(disturbance, Disturbance::Throttle | Disturbance::CrashBetween) => {}
            // The next pass observes a refusal.
            Step::Accept { id, .. } => drop(self.ec2.accept_peering(&self.call(), &id)),
            Step::Upkeep { step: UpkeepStep::Tag { id, tags }, .. } => {
                drop(self.ec2.create_tags(&self.call(), &[id.to_string()], &tags))
            }
            Step::Upkeep { step: UpkeepStep::Untag { id, keys }, .. } => {
                let keys: Vec<_> = keys.into_iter().map(|key| (key, None)).collect();
                drop(self.ec2.delete_tags(&self.call(), &[id.to_string()], &keys));
            }
            Step::Delete { id } => drop(self.ec2.delete_peering(&self.call(), &id)),
        }
        if matches!(disturbance, Disturbance::CrashAfter | Disturbance::CrashBetween) {
            self.crash();
        }
    }

    fn create(&mut self, disturbance: Disturbance) {
        let wanted = tags_of(&owner());
        self.status.creation_started_at = Some(to_the_second(self.now));
        self.missing_since = None;
        self.created = None;
        match disturbance {
            Disturbance::CrashBetween => return,
            Disturbance::Throttle => return self.status.creation_started_at = None,
            _ => {}
        }
        let (one, other) = (self.ends.requester.vpc_id.clone(), self.ends.accepter.vpc_id.clone());
        let answer = self.request(&one, &other, &wanted);
        match (answer, disturbance) {
            (_, Disturbance::CrashAfter | Disturbance::LostReply) => {}
            (None, _) => self.status.creation_started_at = None,
            (Some(id), _) => {
                let peering = self.ec2.peerings().get(&id).unwrap().clone();
                let mut connection = self.connection(&peering);
                if self.answers_without_tags {
                    connection.tags = Tags::new();
                }
                if connection.tags.get(Owner::UID).is_some_and(|uid| *uid != owner().uid) {
                    self.status.creation_started_at = None;
                } else if connection.tags == wanted {
                    self.created = Some(connection);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_interleaving_ends_with_exactly_one_peering_or_none(
        disturbances in prop::collection::vec(disturbance(), 0..60),
        repeat in prop_oneof![
            Just(RepeatRequest::ReturnExisting),
            Just(RepeatRequest::ReturnExistingWithNewTags),
            Just(RepeatRequest::MintNew),
        ],
        conflicting in prop::bool::weighted(0.2),
        retain in prop::bool::weighted(0.2),
        answers_without_tags in prop::bool::weighted(0.2),
    ) {
        let mut model = Model::new(repeat, conflicting, answers_without_tags);
        if retain {
            model.spec.deletion_policy = Some(DeletionPolicy::Retain);
        }
        let foreign = model.foreign();
        for disturbance in disturbances {
            model.pass(disturbance);
            prop_assert!(model.ours().len() <= 1, "two peerings after {disturbance:?}: {:?}", model.ours());
        }
        for _ in 0..300 {
            model.pass(Disturbance::Nothing);
        }
        let ours = model.ours();
        if model.deleted {
            prop_assert!(model.gone, "the finalizer is stuck: {:?}", model.status);
            prop_assert!(ours.is_empty(), "not deleted: {ours:?}");
        } else if conflicting {
            prop_assert!(ours.is_empty(), "created beside a conflicting connection: {ours:?}");
        } else {
            prop_assert_eq!(ours.len(), 1);
            prop_assert_eq!(&ours[0].code, &StatusCode::Active);
            prop_assert_eq!(Some(ours[0].id.as_str()), model.status.vpc_peering_connection_id.as_deref());
        }
        let is_initial = |(id, _, _): &(String, Phase, Tags)| foreign.iter().any(|(initial, _, _)| initial == id);
        let kept: Vec<_> = model.foreign().into_iter().filter(is_initial).collect();
        prop_assert_eq!(kept, foreign);
    }
}

//! The forecast for a `VpcPeering`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::calls;
use super::decide::decide;
use super::state::{AccepterView, Desired, Observation, Recorded};
use super::status::{dry_run_answered, recorded_step, requested};
use super::step::Step;
use super::view::view;
use crate::api::{Ownership, Reason, Side, VpcInfo, VpcPeeringStatus};
use crate::peering::blocker::Blocker;
use crate::peering::conditions::Readiness;
use crate::peering::connection::{Connection, StatusCode};
use crate::peering::dns::DnsAttributes;
use crate::peering::forecast::{self, Forecast, NEW_CONNECTION, PlacedCall, Simulation, effects};
use crate::peering::plan::Plan;
use crate::peering::preflight::Preflight;
use crate::peering::routes::RouteTables;
use crate::peering::settings::Settings;
use crate::peering::snapshot::Snapshot;
use crate::peering::upkeep::UpkeepStep;

/// The reads that a forecast needs beside the observation.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    /// The check of the two VPCs.
    pub preflight: Preflight,
    /// The two VPCs as an active connection shows them, requester first.
    pub vpcs: [VpcInfo; 2],
    /// The DNS attributes of both VPCs, as far as identities act for them, if the spec needs them.
    pub dns: BTreeMap<Side, Result<DnsAttributes, Blocker>>,
    /// The connections of the observation as the accepter's account and region shows them.
    pub at_accepter: Vec<Arc<Connection>>,
}

/// Forecasts the steps from this observation.
pub(crate) fn forecast(
    desired: Desired<'_>,
    observed: Observation,
    reads: Reads,
    now: Timestamp,
    settings: Settings,
) -> Forecast<Step> {
    forecast::forecast(State::new(desired, observed, reads, now, settings))
}

/// The state that the steps change.
struct State<'a> {
    desired: Desired<'a>,
    settings: Settings,
    status: Option<VpcPeeringStatus>,
    finalizer: bool,
    /// The connections that the requester's account and region shows, by ID.
    connections: BTreeMap<String, Connection>,
    /// Those that the accepter's shows. `None` if the accepter has no view of its own.
    at_accepter: Option<BTreeMap<String, Connection>>,
    /// The observation of the last decision. Steps change the parts that no connection shows in place.
    observed: Observation,
    reads: Reads,
    now: Timestamp,
}

impl Simulation for State<'_> {
    type Step = Step;

    fn decide(&mut self) -> Plan<Step> {
        self.observed = self.observe();
        let desired = self.desired();
        let recorded = Recorded::of(desired.status, Some(desired.generation));
        decide(desired, &recorded, &self.observed, self.now, self.settings).plan
    }

    fn calls(&self, step: &Step) -> Vec<PlacedCall> {
        calls::calls(step, self.desired(), &self.observed.accepter)
    }

    fn apply(&mut self, step: &Step) {
        if let Some(status) = recorded_step(step, self.desired(), &self.observed, self.now) {
            self.status = Some(status);
        }
        match step {
            Step::AddFinalizer => self.finalizer = true,
            Step::Preflight => self.observed.preflight = Some(self.reads.preflight.clone()),
            Step::DryRun => {
                let readiness = Readiness::dry_run_succeeded();
                self.status = Some(dry_run_answered(self.desired(), "True", &readiness, self.now));
            }
            Step::Create => self.create(),
            Step::Record { .. } => {}
            Step::Retire { .. } => self.observed.preflight = None,
            Step::Accept { id, .. } => self.set_code(id, &StatusCode::Active),
            Step::DeleteOrphan { id } | Step::Delete { id } => self.set_code(id, &StatusCode::Deleted),
            Step::Upkeep { side, step } => self.keep(*side, step),
        }
    }

    fn wait(&mut self, plan: &Plan<Step>) -> bool {
        let Plan::Wait { reason, requeue_after, .. } = plan else { return false };
        match reason {
            Reason::AwaitingConsistency if self.observed.missing_for < Duration::MAX => {
                self.observed.missing_for = Duration::MAX;
                true
            }
            Reason::AwaitingRecreation => {
                let pause = requeue_after.unwrap_or_default() + Duration::from_secs(1);
                self.now = self.now.saturating_add(pause).unwrap_or(self.now);
                true
            }
            Reason::InitiatingRequest | Reason::PendingAcceptance | Reason::Provisioning | Reason::Deleting => {
                // The observation may show one connection twice, as the recorded one and by its tags.
                let changed: Vec<_> = candidates(&self.observed).iter().map(|id| self.progress(id)).collect();
                changed.contains(&true)
            }
            _ => false,
        }
    }
}

impl<'a> State<'a> {
    fn new(desired: Desired<'a>, observed: Observation, reads: Reads, now: Timestamp, settings: Settings) -> Self {
        let by_id = |connection: &Arc<Connection>| (connection.id.clone(), Connection::clone(connection));
        let at_accepter = match &observed.accepter {
            AccepterView::Elsewhere(Ok(shown)) => Some(reads.at_accepter.iter().chain(shown).map(by_id).collect()),
            _ => None,
        };
        let mut observed = observed;
        // A new process knows no calls whose effect EC2 may show late.
        observed.route_answers.is_settled = true;
        observed.preflight = None;
        observed.dns.clone_from(&reads.dns);
        Self {
            desired,
            settings,
            status: desired.status.cloned(),
            finalizer: desired.finalizer,
            connections: observed.shown().map(by_id).collect(),
            at_accepter,
            observed,
            reads,
            now,
        }
    }

    fn desired(&self) -> Desired<'_> {
        Desired { status: self.status.as_ref(), finalizer: self.finalizer, ..self.desired }
    }

    fn observe(&self) -> Observation {
        let desired = self.desired();
        let recorded = Recorded::of(desired.status, Some(desired.generation));
        let snapshot: Snapshot = self.connections.values().cloned().map(Arc::new).collect();
        let wanted = desired.spec.vpc_peering_connection_id.as_ref();
        let shown = view(&snapshot, desired.owner, &recorded, desired.ends, wanted);
        let accepter = match &self.at_accepter {
            Some(connections) => {
                let live = shown.recorded.as_ref().filter(|connection| !connection.code.has_ended());
                let id = live.map(|connection| connection.id.as_str());
                AccepterView::Elsewhere(Ok(id.and_then(|id| connections.get(id)).cloned().map(Arc::new)))
            }
            None => self.observed.accepter.clone(),
        };
        Observation {
            recorded: shown.recorded,
            owned: shown.owned,
            orphaned: shown.orphaned,
            wanted: shown.wanted,
            earlier: shown.earlier,
            conflicting: shown.conflicting,
            accepter,
            ..self.observed.clone()
        }
    }

    /// The next status code of a connection whose code changes without the operator.
    fn progress(&mut self, id: &str) -> bool {
        let next = match self.connections.get(id).map(|connection| &connection.code) {
            Some(StatusCode::InitiatingRequest) => StatusCode::PendingAcceptance,
            Some(StatusCode::PendingAcceptance | StatusCode::Provisioning) => StatusCode::Active,
            Some(StatusCode::Deleting) => StatusCode::Deleted,
            _ => return false,
        };
        self.set_code(id, &next);
        true
    }

    fn create(&mut self) {
        let desired = self.desired();
        let request = desired.request(&self.observed.accepter);
        let mut status = requested(desired, request.tags.iter(), self.now);
        status.vpc_peering_connection_id = Some(NEW_CONNECTION.into());
        status.ownership = Some(Ownership::Owned);
        let end = |info: &VpcInfo, side: Side| {
            let end = desired.ends.side(side);
            let owner_id = end.owner_id.as_deref().or(desired.ends.requester.owner_id.as_deref()).map(Into::into);
            let (vpc_id, region) = (Some(end.vpc_id.as_str().into()), Some(end.region.as_str().into()));
            VpcInfo { owner_id, vpc_id, region, ..info.clone() }
        };
        let connection = Connection {
            id: NEW_CONNECTION.into(),
            code: StatusCode::PendingAcceptance,
            message: None,
            expiration_time: None,
            requester: end(&self.reads.vpcs[0], Side::Requester),
            accepter: end(&VpcInfo::default(), Side::Accepter),
            tags: request.tags.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect(),
        };
        self.status = Some(status);
        if let Some(connections) = &mut self.at_accepter {
            // Tags belong to one account and region.
            let untagged = Connection { tags: Default::default(), ..connection.clone() };
            connections.insert(NEW_CONNECTION.into(), untagged);
        }
        self.connections.insert(NEW_CONNECTION.into(), connection);
    }

    /// Changes a connection in the views of both ends.
    fn change(&mut self, id: &str, change: impl Fn(&mut Connection)) {
        let views = std::iter::once(&mut self.connections).chain(&mut self.at_accepter);
        views.filter_map(|view| view.get_mut(id)).for_each(change);
    }

    fn set_code(&mut self, id: &str, code: &StatusCode) {
        let vpcs = self.reads.vpcs.clone();
        self.change(id, |connection| effects::set_code(connection, code, &vpcs));
        if *code == StatusCode::Deleted {
            self.tables().for_each(|tables| effects::blackhole(tables, id));
        }
    }

    fn keep(&mut self, side: Side, step: &UpkeepStep) {
        match step {
            UpkeepStep::RecordTags { .. } | UpkeepStep::RecordRoutes { .. } => {}
            UpkeepStep::Tag { id, .. } | UpkeepStep::Untag { id, .. } => {
                // The end shows its own tags.
                let view = match (side, &mut self.at_accepter) {
                    (Side::Accepter, Some(connections)) => connections,
                    _ => &mut self.connections,
                };
                if let Some(connection) = view.get_mut(id.as_str()) {
                    effects::change_tags(connection, step);
                }
            }
            UpkeepStep::SetOptions { id, allow_dns_resolution_from_remote_vpc: allow } => {
                self.change(id, |connection| effects::set_option(connection, side, *allow));
            }
            UpkeepStep::SetDnsAttribute { attribute, .. } => {
                effects::turn_on(self.observed.dns.get_mut(&side), *attribute);
            }
            UpkeepStep::ChangeRoutes { changes } => {
                for change in changes {
                    self.tables().for_each(|tables| effects::change_route(tables, change));
                    self.observed.route_answers.deleted.answered(change, true);
                }
            }
        }
    }

    fn tables(&mut self) -> impl Iterator<Item = &mut Arc<RouteTables>> {
        self.observed.tables.values_mut().filter_map(|tables| tables.as_mut().ok())
    }
}

/// The IDs of the connections for which a forecast needs the accepter's view.
pub(crate) fn candidates(observed: &Observation) -> BTreeSet<String> {
    observed.shown().map(|connection| connection.id.clone()).collect()
}

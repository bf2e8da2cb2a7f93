//! The forecast: every step that the operator takes until it is done, if EC2 carries out each one. It asks the real
//! decision, and applies each step to a copy of the state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::calls::{self, Call};
use super::decide::decide;
use super::state::{AccepterView, Desired, Observation, Recorded};
use super::status::{dry_run_answered, recorded_step, requested};
use super::step::Step;
use super::upkeep::sides_tagged_with;
use super::view::view;
use crate::api::{ManagedRoute, Ownership, PeeringOptions, Reason, Side, VpcInfo, VpcPeeringStatus};
use crate::peering::conditions::Readiness;
use crate::peering::connection::{Connection, StatusCode};
use crate::peering::plan::Plan;
use crate::peering::preflight::Preflight;
use crate::peering::routes::{Route, RouteChange, RouteTable, RouteTables, Target};
use crate::peering::settings::Settings;
use crate::peering::snapshot::Snapshot;
use crate::peering::upkeep::UpkeepStep;

/// The ID of a connection that the operator will request. EC2 chooses the real one.
pub(crate) const NEW_CONNECTION: &str = "pcx-(new)";

/// The most decisions of a forecast. Each resource needs far fewer.
const MAX_DECISIONS: usize = 100;

/// The reads that a forecast needs beside the observation.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    /// The check of the two VPCs.
    pub preflight: Preflight,
    /// The two VPCs as an active connection shows them, requester first.
    pub vpcs: [VpcInfo; 2],
    /// The connections of the observation as the accepter's account and region shows them.
    pub at_accepter: Vec<Arc<Connection>>,
}

/// One step of a forecast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forecasted {
    pub step: Step,
    pub calls: Vec<Call>,
    /// Whether the step follows the acceptance of the request by the accepter's owner.
    pub after_acceptance: bool,
}

/// The steps until the operator is done, and the plan that then holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forecast {
    pub steps: Vec<Forecasted>,
    pub end: Plan<Step>,
    /// The wait for the accepter's owner, if the forecast assumes the acceptance.
    pub acceptance: Option<String>,
}

/// Forecasts the steps from this observation.
pub(crate) fn forecast(
    desired: Desired<'_>,
    observed: Observation,
    reads: Reads,
    now: Timestamp,
    settings: Settings,
) -> Forecast {
    let mut state = State::new(desired, observed, reads, now);
    let (mut steps, mut acceptance) = (Vec::new(), None);
    for _ in 0..MAX_DECISIONS {
        let observed = state.observe(desired);
        let status = state.status.clone();
        let current = Desired { status: status.as_ref(), finalizer: state.finalizer, ..desired };
        let current =
            Desired { reconcile_requested: desired.reconcile_requested && !state.is_request_handled, ..current };
        let recorded = Recorded::of(current.status, Some(current.generation));
        let plan = decide(current, &recorded, &observed, state.now, settings).plan;
        let Plan::Act(step) = plan else {
            if let Plan::Wait { reason: Reason::PendingAcceptance, message, .. } = &plan
                && acceptance.is_none()
            {
                acceptance = Some(message.clone());
            }
            if state.wait(&plan, &observed) {
                continue;
            }
            return Forecast { steps, end: plan, acceptance };
        };
        let calls = calls::calls(&step, current, &observed.accepter);
        state.apply(&step, current, &observed);
        steps.push(Forecasted { step, calls, after_acceptance: acceptance.is_some() });
    }
    let message = format!("the forecast has no end after {MAX_DECISIONS} steps; report this as a bug");
    Forecast { steps, end: Plan::stalled(Reason::Updating, message), acceptance }
}

/// The state that the steps change.
struct State {
    status: Option<VpcPeeringStatus>,
    finalizer: bool,
    is_request_handled: bool,
    /// The connections that the requester's account and region shows, by ID.
    connections: BTreeMap<String, Connection>,
    /// Those that the accepter's shows. `None` if the accepter has no view of its own.
    at_accepter: Option<BTreeMap<String, Connection>>,
    preflight: Option<Preflight>,
    /// The parts of the observation that steps do not change, or change in place.
    observed: Observation,
    reads: Reads,
    now: Timestamp,
}

impl State {
    fn new(desired: Desired<'_>, observed: Observation, reads: Reads, now: Timestamp) -> Self {
        let by_id = |connection: &Arc<Connection>| (connection.id.clone(), Connection::clone(connection));
        let at_accepter = match &observed.accepter {
            AccepterView::Elsewhere(Ok(shown)) => Some(reads.at_accepter.iter().chain(shown).map(by_id).collect()),
            _ => None,
        };
        let mut observed = observed;
        // A new process knows no calls whose effect EC2 may show late.
        observed.route_answers.is_settled = true;
        Self {
            status: desired.status.cloned(),
            finalizer: desired.finalizer,
            is_request_handled: false,
            connections: observed.shown().map(by_id).collect(),
            at_accepter,
            preflight: None,
            observed,
            reads,
            now,
        }
    }

    fn observe(&self, desired: Desired<'_>) -> Observation {
        let recorded = Recorded::of(self.status.as_ref(), Some(desired.generation));
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
            preflight: self.preflight.clone(),
            ..self.observed.clone()
        }
    }

    /// Lets pass the time that a plan waits for. Returns whether this changes the state.
    fn wait(&mut self, plan: &Plan<Step>, observed: &Observation) -> bool {
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
                let ids: Vec<_> = observed.shown().map(|connection| connection.id.clone()).collect();
                let changed: Vec<_> = ids.iter().map(|id| self.progress(id)).collect();
                changed.contains(&true)
            }
            _ => false,
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

    fn apply(&mut self, step: &Step, desired: Desired<'_>, observed: &Observation) {
        if let Some(status) = recorded_step(step, desired, observed, self.now) {
            self.status = Some(status);
        }
        match step {
            Step::AddFinalizer => self.finalizer = true,
            Step::Preflight => self.preflight = Some(self.reads.preflight.clone()),
            Step::DryRun => {
                self.status = Some(dry_run_answered(desired, "True", &Readiness::dry_run_succeeded(), self.now));
            }
            Step::Create => self.create(desired, observed),
            Step::Record { .. } => {}
            Step::Retire { .. } => (self.is_request_handled, self.preflight) = (true, None),
            Step::Accept { id, .. } => self.set_code(id, &StatusCode::Active),
            Step::DeleteOrphan { id } | Step::Delete { id } => self.set_code(id, &StatusCode::Deleted),
            Step::Upkeep { side, step } => self.keep(*side, step),
        }
    }

    fn create(&mut self, desired: Desired<'_>, observed: &Observation) {
        let tags = desired.tags(sides_tagged_with(Side::Requester, &observed.accepter));
        let mut status = requested(desired, tags.iter(), self.now);
        status.vpc_peering_connection_id = Some(NEW_CONNECTION.into());
        status.ownership = Some(Ownership::Owned);
        self.status = Some(status);
        let end = |info: &VpcInfo, side: Side| {
            let end = desired.ends.side(side);
            let owner_id = end.owner_id.as_deref().or(desired.ends.requester.owner_id.as_deref()).map(Into::into);
            VpcInfo {
                owner_id,
                vpc_id: Some(end.vpc_id.as_str().into()),
                region: Some(end.region.as_str().into()),
                ..info.clone()
            }
        };
        let connection = Connection {
            id: NEW_CONNECTION.into(),
            code: StatusCode::PendingAcceptance,
            message: None,
            expiration_time: None,
            requester: end(&self.reads.vpcs[0], Side::Requester),
            accepter: end(&VpcInfo::default(), Side::Accepter),
            tags: tags.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect(),
        };
        if let Some(connections) = &mut self.at_accepter {
            let unnamed = Connection { tags: Default::default(), ..connection.clone() };
            connections.insert(NEW_CONNECTION.into(), unnamed);
        }
        self.connections.insert(NEW_CONNECTION.into(), connection);
    }

    /// Changes a connection in the views of both ends.
    fn change(&mut self, id: &str, change: impl Fn(&mut Connection)) {
        let views = std::iter::once(&mut self.connections).chain(&mut self.at_accepter);
        views.filter_map(|view| view.get_mut(id)).for_each(change);
    }

    /// Sets the status code. An active connection shows the CIDR blocks of both VPCs, as far as they are known. The
    /// routes through a deleted one become blackholes.
    fn set_code(&mut self, id: &str, code: &StatusCode) {
        let [requester, accepter] = self.reads.vpcs.clone();
        self.change(id, |connection| {
            if *code == StatusCode::Active && connection.code != StatusCode::Active {
                add_blocks(&mut connection.requester, &requester);
                add_blocks(&mut connection.accepter, &accepter);
            }
            connection.code = code.clone();
        });
        if *code == StatusCode::Deleted {
            self.change_tables(|table| {
                let through = table.routes.iter_mut().filter(|route| route.target == Target::Peering(id.to_owned()));
                through.for_each(|route| route.is_blackhole = true);
            });
        }
    }

    fn keep(&mut self, side: Side, step: &UpkeepStep) {
        match step {
            UpkeepStep::RecordTags { .. } | UpkeepStep::RecordRoutes { .. } => {}
            UpkeepStep::Tag { id, tags } => {
                if let Some(connection) = self.at(side, id) {
                    for (key, value) in tags {
                        connection.tags.insert(key.as_str().into(), value.as_str().into());
                    }
                }
            }
            UpkeepStep::Untag { id, keys } => {
                if let Some(connection) = self.at(side, id) {
                    for key in keys {
                        connection.tags.remove(key.as_str());
                    }
                }
            }
            UpkeepStep::SetOptions { id, allow_dns_resolution_from_remote_vpc: allow } => {
                self.change(id, |connection| {
                    let end = match side {
                        Side::Requester => &mut connection.requester,
                        Side::Accepter => &mut connection.accepter,
                    };
                    let options = end.peering_options.get_or_insert_with(PeeringOptions::default);
                    options.allow_dns_resolution_from_remote_vpc = Some(*allow);
                })
            }
            UpkeepStep::ChangeRoutes { changes } => changes.iter().for_each(|change| self.change_route(change)),
        }
    }

    /// The connection in the view that has the tags of an end.
    fn at(&mut self, side: Side, id: &str) -> Option<&mut Connection> {
        match (side, &mut self.at_accepter) {
            (Side::Accepter, Some(connections)) => connections.get_mut(id),
            _ => self.connections.get_mut(id),
        }
    }

    fn change_route(&mut self, change: &RouteChange) {
        let ManagedRoute { route_table_id, destination_cidr_block, vpc_peering_connection_id, .. } = change.route();
        let Ok(destination) = destination_cidr_block.parse() else { return };
        self.change_tables(|table| {
            if table.id != *route_table_id {
                return;
            }
            table.routes.retain(|route| route.destination != destination);
            if !matches!(change, RouteChange::Delete(_)) {
                let target = Target::Peering(vpc_peering_connection_id.clone());
                table.routes.push(Route { destination, target, is_blackhole: false });
            }
        });
        self.observed.route_answers.deleted.answered(change, true);
    }

    fn change_tables(&mut self, change: impl Fn(&mut RouteTable)) {
        for tables in self.observed.tables.values_mut().filter_map(|tables| tables.as_mut().ok()) {
            let changed = tables.tables().map(|table| {
                let mut table = RouteTable::clone(table);
                change(&mut table);
                table
            });
            *tables = Arc::new(changed.collect::<RouteTables>());
        }
    }
}

fn add_blocks(end: &mut VpcInfo, vpc: &VpcInfo) {
    end.cidr_block.clone_from(&vpc.cidr_block);
    end.cidr_block_set.clone_from(&vpc.cidr_block_set);
    end.ipv6_cidr_block_set.clone_from(&vpc.ipv6_cidr_block_set);
}

/// The IDs of the connections for which a forecast needs the accepter's view.
pub(crate) fn candidates(observed: &Observation) -> BTreeSet<String> {
    observed.shown().map(|connection| connection.id.clone()).collect()
}

//! The forecast for a `VpcPeeringAccepter`. It knows the requests that EC2 shows now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::decide::decide;
use super::state::{Desired, Observation, Recorded};
use super::status::recorded_step;
use super::step::Step;
use crate::api::{Reason, Side, VpcInfo, VpcPeeringAccepterStatus};
use crate::peering::blocker::Blocker;
use crate::peering::connection::{Connection, StatusCode};
use crate::peering::dns::DnsAttributes;
use crate::peering::ec2_call::Ec2Call;
use crate::peering::forecast::{self, Forecast, PlacedCall, Simulation, effects};
use crate::peering::plan::Plan;
use crate::peering::settings::Settings;
use crate::peering::upkeep::UpkeepStep;

/// The reads that a forecast needs beside the observation.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    /// The VPC as an active connection shows it.
    pub vpc: VpcInfo,
    /// The DNS attributes of the VPC, if the spec needs them.
    pub dns: Option<Result<DnsAttributes, Blocker>>,
}

/// Forecasts the steps from this observation.
pub(crate) fn forecast(
    desired: Desired<'_>,
    observed: Observation,
    reads: Reads,
    now: Timestamp,
    settings: Settings,
) -> Forecast<Step> {
    let mut observed = observed;
    // A new process knows no calls whose effect EC2 may show late.
    observed.is_settled = true;
    observed.route_answers.is_settled = true;
    observed.dns = reads.dns;
    let (status, finalizer) = (desired.status.cloned(), desired.finalizer);
    forecast::forecast(State { desired, settings, status, finalizer, observed, vpc: reads.vpc, now })
}

/// The state that the steps change.
struct State<'a> {
    desired: Desired<'a>,
    settings: Settings,
    status: Option<VpcPeeringAccepterStatus>,
    finalizer: bool,
    observed: Observation,
    vpc: VpcInfo,
    now: Timestamp,
}

impl Simulation for State<'_> {
    type Step = Step;

    fn decide(&mut self) -> Plan<Step> {
        let recorded = Recorded::of(self.status.as_ref());
        decide(self.desired(), &recorded, &self.observed, self.now, self.settings).plan
    }

    fn calls(&self, step: &Step) -> Vec<PlacedCall> {
        let calls = match step {
            Step::AddFinalizer | Step::RecordAcceptance { .. } | Step::RecordAdoption { .. } => Vec::new(),
            Step::Accept { id } => vec![Ec2Call::Accept { id: id.to_string() }],
            Step::Reject { id } => vec![Ec2Call::Reject { id: id.to_string() }],
            Step::Upkeep { step, .. } => step.ec2_calls(Side::Accepter),
        };
        let end = self.desired.end;
        let place =
            |call| PlacedCall { side: Side::Accepter, account: end.owner_id.clone(), region: end.region.clone(), call };
        calls.into_iter().map(place).collect()
    }

    fn apply(&mut self, step: &Step) {
        if let Some(status) = recorded_step(step, self.desired(), &self.observed, self.now) {
            self.status = Some(status);
        }
        match step {
            Step::AddFinalizer => self.finalizer = true,
            Step::RecordAcceptance { .. } | Step::RecordAdoption { .. } => {}
            Step::Accept { id } => self.set_code(id, &StatusCode::Provisioning),
            Step::Reject { id } => self.set_code(id, &StatusCode::Rejected),
            Step::Upkeep { id, step } => self.keep(id, step),
        }
    }

    fn wait(&mut self, plan: &Plan<Step>) -> bool {
        if let Plan::Wait { reason: Reason::AwaitingConsistency, .. } = plan {
            let missing = self.observed.missing_for.values_mut().filter(|time| **time < Duration::MAX);
            return missing.map(|time| *time = Duration::MAX).count() > 0;
        }
        // Another request may hide the wait for a connection that this resource has accepted.
        let recorded = Recorded::of(self.status.as_ref());
        let next = |connection: &Arc<Connection>| match connection.code {
            StatusCode::Provisioning => Some((connection.id.clone(), StatusCode::Active)),
            StatusCode::Deleting => Some((connection.id.clone(), StatusCode::Deleted)),
            _ => None,
        };
        let ours = self.observed.connections.values().filter(|shown| recorded.acceptance(&shown.id).is_some());
        let changes: BTreeMap<_, _> = ours.filter_map(next).collect();
        changes.iter().for_each(|(id, code)| self.set_code(id, code));
        !changes.is_empty()
    }
}

impl State<'_> {
    fn desired(&self) -> Desired<'_> {
        Desired { status: self.status.as_ref(), finalizer: self.finalizer, ..self.desired }
    }

    fn change(&mut self, id: &str, change: impl FnOnce(&mut Connection)) {
        if let Some(connection) = self.observed.connections.get_mut(id) {
            change(Arc::make_mut(connection));
        }
    }

    fn set_code(&mut self, id: &str, code: &StatusCode) {
        // EC2 shows the requester's VPC only by its connections.
        let vpcs = [VpcInfo::default(), self.vpc.clone()];
        self.change(id, |connection| effects::set_code(connection, code, &vpcs));
        if let (StatusCode::Deleted, Some(Ok(tables))) = (code, &mut self.observed.tables) {
            effects::blackhole(tables, id);
        }
    }

    fn keep(&mut self, id: &str, step: &UpkeepStep) {
        match step {
            UpkeepStep::RecordTags { .. } | UpkeepStep::RecordRoutes { .. } => {}
            UpkeepStep::Tag { .. } | UpkeepStep::Untag { .. } => {
                self.change(id, |connection| effects::change_tags(connection, step));
            }
            UpkeepStep::SetOptions { allow_dns_resolution_from_remote_vpc: allow, .. } => {
                self.change(id, |connection| effects::set_option(connection, Side::Accepter, *allow));
            }
            UpkeepStep::SetDnsAttribute { attribute, .. } => effects::turn_on(self.observed.dns.as_mut(), *attribute),
            UpkeepStep::ChangeRoutes { changes } => {
                for change in changes {
                    if let Some(Ok(tables)) = &mut self.observed.tables {
                        effects::change_route(tables, change);
                    }
                    self.observed.route_answers.deleted.answered(change, true);
                }
            }
        }
    }
}

//! The effects of a `VpcPeeringAccepter`: one step, one call to EC2, and each fact written down before the next.

use k8s_openapi::jiff::Timestamp;
use kube::runtime::events::EventType;

use super::Context;
use super::kept::{conditions, reconcile_at};
use super::steps::change_routes;
use super::vpc_peering_accepter::Seen;
use crate::accepting::status::{describe, keep_first_blocks, locate, notes, record_acceptance, readiness};
use crate::accepting::{Decision, Recorded, Step};
use crate::api::{ConditionType, Reason, Side, StepEvent, VpcPeeringAccepter, VpcPeeringAccepterStatus};
use crate::aws::AwsError;
use crate::peering::{Readiness, status};

/// How a step ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Done: observe again. The object is as the API server has it now.
    Done(Box<VpcPeeringAccepter>),
    /// AWS refused.
    Refused(AwsError),
}

impl Context {
    /// Takes one step.
    pub(super) async fn take_accepter_step(
        &self,
        step: &Step,
        object: &VpcPeeringAccepter,
        seen: Seen<'_>,
    ) -> Result<Outcome, kube::Error> {
        let done = |object| Ok(Outcome::Done(Box::new(object)));
        let mut status = object.status.clone().unwrap_or_default();
        locate(&mut status, &seen.access.end);
        let region = seen.access.end.region.as_str();
        let ec2 = || seen.access.account.acting_for(seen.owner);
        let (answer, event, note) = match step {
            Step::AddFinalizer => return done(self.add_finalizer(object).await?),
            Step::RecordAcceptance { id } => {
                if let Some(connection) = seen.observed.connections.get(id.as_str()) {
                    record_acceptance(&mut status, connection, Timestamp::now());
                }
                return done(self.rewrite_requests(object, status).await?);
            }
            Step::RecordTags { id, tags } => {
                let connections = status.connections.iter_mut();
                for connection in connections.filter(|connection| connection.vpc_peering_connection_id == **id) {
                    connection.managed_tags = tags.iter().cloned().collect();
                }
                return done(self.rewrite_requests(object, status).await?);
            }
            Step::RecordRoutes { id, routes } => {
                if let Some(connection) = seen.observed.connections.get(id) {
                    keep_first_blocks(&mut status, connection);
                }
                status.routes = routes.iter().cloned().collect();
                return done(self.rewrite_requests(object, status).await?);
            }
            Step::Accept { id } => {
                let answer = ec2().await.accept_vpc_peering_connection(region, id).await;
                (answer, StepEvent::Accepted, format!("accepted {id} in {region}"))
            }
            Step::Reject { id } => {
                let answer = ec2().await.reject_vpc_peering_connection(region, id).await;
                (answer, StepEvent::Rejected, format!("rejected {id} in {region}"))
            }
            Step::Tag { id, tags } => {
                let answer = ec2().await.create_tags(region, id, tags).await;
                (answer, StepEvent::Tagged, format!("set tags on {id}"))
            }
            Step::Untag { id, keys } => {
                let answer = ec2().await.delete_tags(region, id, keys).await;
                (answer, StepEvent::Untagged, format!("removed tags from {id}"))
            }
            Step::SetOptions { id, allow_dns_resolution_from_remote_vpc: allow } => {
                let ec2 = ec2().await;
                let answer = ec2.modify_vpc_peering_connection_options(region, id, Side::Accepter, *allow).await;
                let note = format!("set allowDnsResolutionFromRemoteVpc of the accepter of {id} to {allow}");
                (answer, StepEvent::OptionsSet, note)
            }
            Step::ChangeRoutes { changes, .. } => {
                let answer = change_routes(&*ec2().await, region, changes).await;
                let note = changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                (answer, StepEvent::RoutesChanged, note)
            }
        };
        self.wrote_to_ec2(object);
        match answer {
            Ok(()) => {
                self.announcer.announce(object, EventType::Normal, event.as_str(), &note);
                done(object.clone())
            }
            Err(error) => Ok(Outcome::Refused(error)),
        }
    }

    /// Writes what became of each request, and how the resource stands.
    pub(super) async fn show_requests(
        &self,
        object: &VpcPeeringAccepter,
        seen: Seen<'_>,
        decision: &Decision,
    ) -> Result<(), kube::Error> {
        let Some(readiness) = readiness(decision) else { return Ok(()) };
        let mut status = object.status.clone().unwrap_or_default();
        locate(&mut status, &seen.access.end);
        // A deletion decides on no request.
        if object.metadata.deletion_timestamp.is_none() {
            let recorded = Recorded::of(object.status.as_ref());
            describe(&mut status, &decision.verdicts, &recorded, seen.observed, self.settings);
        }
        if readiness.reason != Reason::AwaitingConsistency {
            status.last_handled_reconcile_at = reconcile_at(object);
        }
        let generation = object.metadata.generation.unwrap_or_default();
        let notes = notes(&object.spec, decision, generation, Timestamp::now());
        self.write_status(object, status, &readiness, notes).await.map(drop)
    }

    /// Writes how the resource stands when nothing new was seen, and whether that answers a person who asked for an
    /// immediate look.
    pub(super) async fn show_trouble(
        &self,
        object: &VpcPeeringAccepter,
        readiness: &Readiness,
        answers_request: bool,
    ) -> Result<(), kube::Error> {
        let mut status = object.status.clone().unwrap_or_default();
        if answers_request {
            status.last_handled_reconcile_at = reconcile_at(object);
        }
        let kept = [ConditionType::OptionsSynced, ConditionType::RoutesReady, ConditionType::AtCapacity];
        let kept = kept.into_iter().filter_map(|kind| status::find(conditions(object), kind).cloned()).collect();
        self.write_status(object, status, readiness, kept).await.map(drop)
    }

    /// Writes a record that says nothing new of how the resource stands.
    async fn rewrite_requests(
        &self,
        object: &VpcPeeringAccepter,
        status: VpcPeeringAccepterStatus,
    ) -> Result<VpcPeeringAccepter, kube::Error> {
        if status::find(&status.conditions, ConditionType::Ready).is_some() {
            return self.replace_status(object, &status).await;
        }
        let readiness = Readiness::working(Reason::Updating, "deciding on the requests to this VPC");
        self.write_status(object, status, &readiness, Vec::new()).await
    }
}

//! The effects: one step, one call to EC2, and each fact written down before the next.

use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::runtime::events::EventType;
use tokio::time::Instant;

use super::Context;
use super::memory::Looked;
use super::vpc_peering::{desired, reconcile_at, recorded, standing_after};
use crate::api::{ConditionType, Ownership, Reason, StepEvent, VpcPeering, VpcPeeringSpec, VpcPeeringStatus};
use crate::aws::{AwsError, Class, CreateRequest};
use crate::peering::decision::not_owned;
use crate::peering::preflight::{self, Preflight};
use crate::peering::status::{self, Progress, describe, to_the_second};
use crate::peering::{Connection, Observation, Owner, Plan, Standing, Step, decide};

/// How a step ended; the object is as the API server has it now.
#[derive(Debug)]
pub enum Outcome {
    /// Done: observe again.
    Done(Box<VpcPeering>),
    /// AWS refused, and the status says so.
    Refused(Box<VpcPeering>, AwsError),
}

impl Context {
    /// Takes one step.
    pub(super) async fn take(
        &self,
        step: &Step,
        object: &VpcPeering,
        owner: &Owner,
        observed: &Observation,
    ) -> Result<Outcome, kube::Error> {
        let done = |object| Ok(Outcome::Done(Box::new(object)));
        let region = &object.spec.requester.region;
        match step {
            Step::AddFinalizer => done(self.add_finalizer(object).await?),
            Step::Preflight => self.preflight(object).await,
            Step::DryRun => self.dry_run(object, owner).await,
            Step::Create => self.create(object, owner, observed).await,
            Step::Record { connection, ownership } => done(self.record(object, owner, connection, *ownership).await?),
            Step::Retire { id, code, recreations } => {
                let mut status = object.status.clone().unwrap_or_default();
                status::retire(&mut status, id, code, *recreations, Timestamp::now());
                status.last_handled_reconcile_at = reconcile_at(object);
                let standing = Standing::working(Reason::AwaitingRecreation, format!("{id} ended as {code}"));
                done(self.write(object, status, None, &standing).await?)
            }
            Step::RecordTagKeys { keys } => {
                let mut status = object.status.clone().unwrap_or_default();
                status.managed_tag_keys = keys.iter().cloned().collect();
                done(self.rewrite(object, status).await?)
            }
            Step::Accept { id, region } => {
                let answer = self.ec2.accept_vpc_peering_connection(region, id).await;
                self.answered(object, observed, answer, StepEvent::Accepted, format!("accepted {id} in {region}")).await
            }
            Step::Tag { id, tags } => {
                let answer = self.ec2.create_tags(region, id, tags).await;
                self.answered(object, observed, answer, StepEvent::Tagged, format!("set tags on {id}")).await
            }
            Step::Untag { id, keys } => {
                let answer = self.ec2.delete_tags(region, id, keys).await;
                self.answered(object, observed, answer, StepEvent::Untagged, format!("removed tags from {id}")).await
            }
            Step::Delete { id } => {
                let answer = self.ec2.delete_vpc_peering_connection(region, id).await;
                self.answered(
                    object,
                    observed,
                    answer,
                    StepEvent::DeletionRequested,
                    format!("asked EC2 to delete {id}"),
                )
                .await
            }
        }
    }

    /// Writes what is known of the connection and how the resource stands, and whether that answers a person who asked
    /// for an immediate look.
    pub(super) async fn show(
        &self,
        object: &VpcPeering,
        connection: Option<&Connection>,
        standing: &Standing,
        answers_request: bool,
    ) -> Result<VpcPeering, kube::Error> {
        let mut status = object.status.clone().unwrap_or_default();
        if let (Some(connection), Some(ownership)) = (connection, status.ownership) {
            describe(&mut status, connection, ownership);
        }
        if answers_request {
            status.last_handled_reconcile_at = reconcile_at(object);
        }
        self.write(object, status, connection, standing).await
    }

    async fn write(
        &self,
        object: &VpcPeering,
        status: VpcPeeringStatus,
        connection: Option<&Connection>,
        standing: &Standing,
    ) -> Result<VpcPeering, kube::Error> {
        let generation = object.metadata.generation.unwrap_or_default();
        let notes = status::notes(&object.spec, &status.conditions, connection, generation, Timestamp::now());
        self.write_status(object, status, standing, notes).await
    }

    /// A call that changes EC2 was answered: the next listing must be a newer one.
    async fn answered(
        &self,
        object: &VpcPeering,
        observed: &Observation,
        answer: Result<(), AwsError>,
        event: StepEvent,
        note: String,
    ) -> Result<Outcome, kube::Error> {
        self.wrote_to_ec2(object);
        match answer {
            Ok(()) => {
                self.announce(&object.object_ref(&()), EventType::Normal, event.as_str(), &note).await;
                Ok(Outcome::Done(Box::new(object.clone())))
            }
            Err(error) => self.refused(object, observed.recorded.as_ref(), error).await,
        }
    }

    /// Looks at the VPCs that our credentials see.
    async fn preflight(&self, object: &VpcPeering) -> Result<Outcome, kube::Error> {
        match self.look_at_vpcs(&object.spec).await {
            Ok(preflight) => {
                let generation = object.metadata.generation;
                self.memory(object, |memory| {
                    memory.preflight = Some(Looked { generation, at: Instant::now(), preflight })
                });
                Ok(Outcome::Done(Box::new(object.clone())))
            }
            Err(error) => self.refused(object, None, error).await,
        }
    }

    async fn look_at_vpcs(&self, spec: &VpcPeeringSpec) -> Result<Preflight, AwsError> {
        let requester = self.vpcs.get(&spec.requester.region, &spec.requester.vpc_id);
        let accepter = self.vpcs.get(spec.accepter_region(), &spec.accepter.vpc_id);
        match tokio::try_join!(requester, accepter) {
            Ok((requester, accepter)) => Ok(preflight::check(spec, requester.as_ref(), accepter.as_ref())),
            // Where we may not look, EC2 will tell.
            Err(error) if error.code.as_deref() == Some("UnauthorizedOperation") => Ok(Preflight::Passed),
            Err(error) => Err(error),
        }
    }

    async fn dry_run(&self, object: &VpcPeering, owner: &Owner) -> Result<Outcome, kube::Error> {
        let answer = self.ec2.dry_run_create_vpc_peering_connection(&request(object, owner)).await;
        self.wrote_to_ec2(object);
        let (standing, succeeded) = match &answer {
            Ok(()) => (Standing::dry_run_succeeded(), "True"),
            Err(error) if matches!(error.class, Class::FixSpec | Class::FixPermissions) => {
                (standing_after(error, Some(false)), "False")
            }
            // EC2 did not say.
            Err(error) => (standing_after(error, Some(false)), "Unknown"),
        };
        let mut status = object.status.clone().unwrap_or_default();
        let (generation, now) = (object.metadata.generation.unwrap_or_default(), Timestamp::now());
        let kind = ConditionType::DryRunSucceeded;
        let condition = status::condition(kind, succeeded, standing.reason, &standing.message, generation, now);
        let condition = status::following(status::find(&status.conditions, kind), condition);
        status.conditions.retain(|other| other.type_ != condition.type_);
        status.conditions.push(condition);
        status.last_handled_reconcile_at = reconcile_at(object);
        let object = self.write(object, status, None, &standing).await?;
        Ok(match answer {
            Ok(()) => Outcome::Done(Box::new(object)),
            Err(error) => Outcome::Refused(Box::new(object), error),
        })
    }

    /// The intent, the request, the record: each is written before the next, so that a crash between any two leaves
    /// a trace to find the connection by.
    async fn create(&self, object: &VpcPeering, owner: &Owner, observed: &Observation) -> Result<Outcome, kube::Error> {
        let request = request(object, owner);
        let standing = Standing::working(Reason::InitiatingRequest, "asking EC2 for the peering connection");
        let status = VpcPeeringStatus {
            creation_started_at: Some(to_the_second(Timestamp::now())),
            managed_tag_keys: request.tags.keys().cloned().collect(),
            last_handled_reconcile_at: reconcile_at(object),
            ..object.status.clone().unwrap_or_default()
        };
        let object = self.write(object, status, None, &standing).await?;
        if let Some(warning) = &observed.near_quota {
            let event = StepEvent::NearQuota.as_str();
            self.announce(&object.object_ref(&()), EventType::Warning, event, warning).await;
        }
        self.memory(&object, |memory| memory.missing_since = None);
        let answer = self.ec2.create_vpc_peering_connection(&request).await;
        self.wrote_to_ec2(&object);
        match answer {
            // EC2 may answer with a connection that was there before; its tags tell whose it is.
            Ok(connection) if user_visible(&connection) != request.tags => {
                let standing = Standing {
                    ready: Some(false),
                    progress: Progress::Stalled,
                    reason: Reason::ConnectionNotOwned,
                    message: not_owned(owner, &connection),
                };
                let object = self.forget_intent(&object, &standing).await?;
                let error = AwsError {
                    action: "CreateVpcPeeringConnection",
                    class: Class::FixSpec,
                    code: None,
                    message: standing.message,
                    request_id: None,
                    ambiguous: false,
                };
                Ok(Outcome::Refused(Box::new(object), error))
            }
            Ok(connection) => {
                let object = self.record(&object, owner, &connection, Ownership::Owned).await?;
                self.announce(
                    &object.object_ref(&()),
                    EventType::Normal,
                    StepEvent::Created.as_str(),
                    &format!("created {}", connection.id),
                )
                .await;
                Ok(Outcome::Done(Box::new(object)))
            }
            Err(error) if error.ambiguous => self.refused(&object, None, error).await,
            Err(error) => {
                let object = self.forget_intent(&object, &standing_after(&error, Some(false))).await?;
                Ok(Outcome::Refused(Box::new(object), error))
            }
        }
    }

    /// EC2 has certainly created nothing for us.
    async fn forget_intent(&self, object: &VpcPeering, standing: &Standing) -> Result<VpcPeering, kube::Error> {
        let status = VpcPeeringStatus { creation_started_at: None, ..object.status.clone().unwrap_or_default() };
        self.write(object, status, None, standing).await
    }

    async fn record(
        &self,
        object: &VpcPeering,
        owner: &Owner,
        connection: &Connection,
        ownership: Ownership,
    ) -> Result<VpcPeering, kube::Error> {
        let mut status = object.status.clone().unwrap_or_default();
        describe(&mut status, connection, ownership);
        // The status says at once what the next decision will say.
        let recorded = recorded(&VpcPeering { status: Some(status.clone()), ..object.clone() });
        let observed = Observation { recorded: Some(connection.clone()), ..Observation::default() };
        let next: Plan = decide(desired(object, owner), &recorded, &observed, Timestamp::now(), self.settings);
        let standing = Standing::under(&next)
            .unwrap_or_else(|| Standing::working(Reason::InitiatingRequest, format!("found {}", connection.id)));
        self.write(object, status, Some(connection), &standing).await
    }

    /// Writes a record that says nothing new of how the resource stands.
    async fn rewrite(&self, object: &VpcPeering, status: VpcPeeringStatus) -> Result<VpcPeering, kube::Error> {
        let ready = status::find(&status.conditions, ConditionType::Ready).is_some();
        let standing = Standing::working(Reason::InitiatingRequest, "setting tags");
        if ready { self.patch_status(object, &status).await } else { self.write(object, status, None, &standing).await }
    }

    async fn refused(
        &self,
        object: &VpcPeering,
        connection: Option<&Connection>,
        error: AwsError,
    ) -> Result<Outcome, kube::Error> {
        let object = self.show(object, connection, &standing_after(&error, Some(false)), false).await?;
        Ok(Outcome::Refused(Box::new(object), error))
    }

    fn wrote_to_ec2(&self, object: &VpcPeering) {
        self.memory(object, |memory| memory.last_write = Some(Instant::now()));
    }
}

fn request(object: &VpcPeering, owner: &Owner) -> CreateRequest {
    let spec = &object.spec;
    CreateRequest {
        region: spec.requester.region.clone(),
        vpc_id: spec.requester.vpc_id.clone(),
        peer_vpc_id: spec.accepter.vpc_id.clone(),
        peer_owner_id: spec.accepter.owner_id.clone(),
        peer_region: spec.accepter.region.clone(),
        tags: desired(object, owner).tags(),
    }
}

/// The tags but for those that AWS itself adds.
fn user_visible(connection: &Connection) -> std::collections::BTreeMap<String, String> {
    let tags = connection.tags.iter().filter(|(key, _)| !key.starts_with("aws:"));
    tags.map(|(key, value)| (key.clone(), value.clone())).collect()
}

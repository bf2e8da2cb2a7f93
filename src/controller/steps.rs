//! The effects: one step, one call to EC2, and each fact written down before the next.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::events::EventType;
use tokio::time::Instant;

use super::Context;
use super::vpc_peering::{desired, standing_after};
use crate::api::{ConditionType, Reason, VpcPeering, VpcPeeringStatus};
use crate::aws::{AwsError, Class, CreateRequest};
use crate::peering::plan::not_owned;
use crate::peering::status::{self, Progress, describe, to_the_second};
use crate::peering::{Connection, Observation, Owner, Plan, Recorded, Standing, Step, decide};

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
            Step::DryRun => self.dry_run(object, owner).await,
            Step::Create => self.create(object, owner).await,
            Step::Record(connection) => done(self.record(object, owner, connection).await?),
            Step::Accept { id, region } => {
                let answer = self.ec2.accept_vpc_peering_connection(region, id).await;
                self.wrote_to_ec2(object);
                match answer {
                    Ok(()) => {
                        let note = format!("accepted {id} in {region}");
                        self.announce(object, EventType::Normal, "Accepted", &note).await;
                        done(object.clone())
                    }
                    Err(error) => self.refused(object, observed.recorded.as_ref(), error).await,
                }
            }
            Step::Delete { id } => {
                let answer = self.ec2.delete_vpc_peering_connection(region, id).await;
                self.wrote_to_ec2(object);
                match answer {
                    Ok(()) => {
                        let note = format!("asked EC2 to delete {id}");
                        self.announce(object, EventType::Normal, "DeletionRequested", &note).await;
                        done(object.clone())
                    }
                    Err(error) => self.refused(object, observed.recorded.as_ref(), error).await,
                }
            }
        }
    }

    /// Writes what is known of the connection and how the resource stands.
    pub(super) async fn show(
        &self,
        object: &VpcPeering,
        connection: Option<&Connection>,
        standing: &Standing,
    ) -> Result<VpcPeering, kube::Error> {
        let mut status = object.status.clone().unwrap_or_default();
        if let Some(connection) = connection {
            describe(&mut status, connection);
        }
        let dry_run = object.spec.dry_run.then(|| status::find(&status.conditions, ConditionType::DryRunSucceeded));
        let dry_run = dry_run.flatten().cloned();
        self.write_status(object, status, standing, dry_run).await
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
        let condition = Condition {
            type_: ConditionType::DryRunSucceeded.as_str().to_owned(),
            status: succeeded.to_owned(),
            reason: standing.reason.as_str().to_owned(),
            message: standing.message.clone(),
            observed_generation: object.metadata.generation,
            last_transition_time: to_the_second(Timestamp::now()),
        };
        let previous = status::find(&status.conditions, ConditionType::DryRunSucceeded).cloned();
        status.creation_started_at = None;
        let object =
            self.write_status(object, status, &standing, Some(status::following(previous.as_ref(), condition))).await?;
        Ok(match answer {
            Ok(()) => Outcome::Done(Box::new(object)),
            Err(error) => Outcome::Refused(Box::new(object), error),
        })
    }

    /// The intent, the request, the record: each is written before the next, so that a crash between any two leaves
    /// a trace to find the connection by.
    async fn create(&self, object: &VpcPeering, owner: &Owner) -> Result<Outcome, kube::Error> {
        let request = request(object, owner);
        let standing = Standing::working(Reason::InitiatingRequest, "asking EC2 for the peering connection");
        let status = VpcPeeringStatus {
            creation_started_at: Some(to_the_second(Timestamp::now())),
            ..object.status.clone().unwrap_or_default()
        };
        let object = self.write_status(object, status, &standing, None).await?;
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
                    message: not_owned(&connection),
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
                let object = self.record(&object, owner, &connection).await?;
                self.announce(&object, EventType::Normal, "Created", &format!("created {}", connection.id)).await;
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
        self.write_status(object, status, standing, None).await
    }

    async fn record(
        &self,
        object: &VpcPeering,
        owner: &Owner,
        connection: &Connection,
    ) -> Result<VpcPeering, kube::Error> {
        let recorded = Recorded { connection_id: Some(connection.id.clone()), ..Recorded::default() };
        let observed = Observation { recorded: Some(connection.clone()), ..Observation::default() };
        let next: Plan = decide(desired(object, owner), &recorded, &observed, Timestamp::now(), self.settings);
        let standing = Standing::under(&next)
            .unwrap_or_else(|| Standing::working(Reason::InitiatingRequest, format!("found {}", connection.id)));
        self.show(object, Some(connection), &standing).await
    }

    async fn refused(
        &self,
        object: &VpcPeering,
        connection: Option<&Connection>,
        error: AwsError,
    ) -> Result<Outcome, kube::Error> {
        let object = self.show(object, connection, &standing_after(&error, Some(false))).await?;
        Ok(Outcome::Refused(Box::new(object), error))
    }

    fn wrote_to_ec2(&self, object: &VpcPeering) {
        self.memory(object, |memory| memory.last_write = Some(Instant::now()));
    }
}

fn request(object: &VpcPeering, owner: &Owner) -> CreateRequest {
    let spec = &object.spec;
    let users = spec.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone()));
    let ours = owner.tags().map(|(key, value)| (key.to_owned(), value.to_owned()));
    CreateRequest {
        region: spec.requester.region.clone(),
        vpc_id: spec.requester.vpc_id.clone(),
        peer_vpc_id: spec.accepter.vpc_id.clone(),
        peer_owner_id: spec.accepter.owner_id.clone(),
        peer_region: spec.accepter.region.clone(),
        tags: users.chain(ours).collect(),
    }
}

/// The tags but for those that AWS itself adds.
fn user_visible(connection: &Connection) -> std::collections::BTreeMap<String, String> {
    let tags = connection.tags.iter().filter(|(key, _)| !key.starts_with("aws:"));
    tags.map(|(key, value)| (key.clone(), value.clone())).collect()
}

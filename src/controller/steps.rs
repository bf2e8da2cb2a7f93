//! The effects: one step, one call to EC2, and each fact written down before the next.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::runtime::events::EventType;
use tokio::time::Instant;

use super::Context;
use super::access::Access;
use super::kept::reconcile_at;
use super::memory::Looked;
use super::vpc_peering::{Seen, recorded, readiness_after};
use crate::api::{ConditionType, ManagedTag, Ownership, Reason, Side, StepEvent, VpcPeering, VpcPeeringStatus};
use crate::aws::{AwsError, Class, CreateRequest, Ec2};
use crate::peering::decision::unexpected_tags;
use crate::peering::preflight::{self, Preflight};
use crate::peering::routes::RouteChange;
use crate::peering::status::{self, Progress, describe, describe_accepter, keep_first_blocks, to_the_second};
use crate::peering::{Connection, Hint, Observation, Owner, Plan, Readiness, StatusCode, Step, decide, upkeep};

/// How a step ended; the object is as the API server has it now.
#[derive(Debug)]
pub enum Outcome {
    /// Done: observe again.
    Done(Box<VpcPeering>),
    /// AWS refused. Of a step that has no aspect, the status says so already.
    Refused(Box<VpcPeering>, AwsError),
}

impl Context {
    /// Takes one step.
    pub(super) async fn take(&self, step: &Step, object: &VpcPeering, seen: Seen<'_>) -> Result<Outcome, kube::Error> {
        let done = |object| Ok(Outcome::Done(Box::new(object)));
        let region = |side: Side| seen.access.ends.side(side).region.as_str();
        match step {
            Step::AddFinalizer => done(self.add_finalizer(object).await?),
            Step::Preflight => self.preflight(object, seen).await,
            Step::DryRun => self.dry_run(object, seen).await,
            Step::Create => self.create(object, seen).await,
            Step::Record { connection, ownership } => done(self.record(object, seen, connection, *ownership).await?),
            Step::Retire { id, code, recreations } => {
                let mut status = status_of(object);
                status::retire(&mut status, id, code, *recreations, Timestamp::now());
                status.last_handled_reconcile_at = reconcile_at(object);
                let readiness = Readiness::working(Reason::AwaitingRecreation, format!("{id} ended as {code}"));
                done(self.write(object, status, None, &readiness).await?)
            }
            Step::RecordTags { side, tags } => {
                let mut status = status_of(object);
                let managed = match side {
                    Side::Requester => &mut status.managed_tags,
                    Side::Accepter => &mut status.accepter_managed_tags,
                };
                *managed = tags.iter().cloned().collect();
                done(self.rewrite(object, status).await?)
            }
            Step::RecordRoutes { routes, .. } => {
                let mut status = status_of(object);
                status.routes = routes.iter().cloned().collect();
                if let Some(connection) = &seen.observed.recorded {
                    keep_first_blocks(&mut status, &seen.observed.accepter, connection);
                }
                done(self.rewrite(object, status).await?)
            }
            Step::Accept { id, region } => {
                let answer =
                    async { self.ec2(seen, Side::Accepter).await?.accept_vpc_peering_connection(region, id).await };
                self.answered(object, answer.await, StepEvent::Accepted, format!("accepted {id} in {region}")).await
            }
            Step::Tag { side, id, tags } => {
                let answer = async { self.ec2(seen, *side).await?.create_tags(region(*side), id, tags).await };
                self.answered(object, answer.await, StepEvent::Tagged, format!("set tags on {id}")).await
            }
            Step::Untag { side, id, keys } => {
                let answer = async { self.ec2(seen, *side).await?.delete_tags(region(*side), id, keys).await };
                self.answered(object, answer.await, StepEvent::Untagged, format!("removed tags from {id}")).await
            }
            Step::SetOptions { side, id, allow_dns_resolution_from_remote_vpc: allow } => {
                let answer = async {
                    self.ec2(seen, *side)
                        .await?
                        .modify_vpc_peering_connection_options(region(*side), id, *side, *allow)
                        .await
                };
                let note = format!("set allowDnsResolutionFromRemoteVpc of the {side} of {id} to {allow}");
                self.answered(object, answer.await, StepEvent::OptionsSet, note).await
            }
            Step::ChangeRoutes { side, changes } => {
                let answer = async { change_routes(&*self.ec2(seen, *side).await?, region(*side), changes).await };
                let note = changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                self.answered(object, answer.await, StepEvent::RoutesChanged, note).await
            }
            Step::DeleteOrphan { id } => {
                let ec2 = seen.access.requester.acting_for(seen.owner).await;
                let answer = ec2.delete_vpc_peering_connection(region(Side::Requester), id).await;
                let note = format!("asked EC2 to delete {id}, which an earlier resource of this name left behind");
                self.answered(object, answer, StepEvent::DeletionRequested, note).await
            }
            Step::Delete { id } => {
                let ec2 = seen.access.requester.acting_for(seen.owner).await;
                let answer = ec2.delete_vpc_peering_connection(region(Side::Requester), id).await;
                let note = format!("asked EC2 to delete {id}");
                match self.answered(object, answer, StepEvent::DeletionRequested, note).await? {
                    Outcome::Refused(object, error) => self.refused(&object, Some(seen), error).await,
                    done @ Outcome::Done(_) => Ok(done),
                }
            }
        }
    }

    /// EC2, as who acts for an end of this resource.
    async fn ec2(&self, seen: Seen<'_>, side: Side) -> Result<Arc<Ec2>, AwsError> {
        match seen.access.of(side) {
            Some(account) => Ok(account.acting_for(seen.owner).await),
            // No decision asks for that.
            None => Err(AwsError::incomplete("none", &format!("nobody acts for the {side}"))),
        }
    }

    /// Writes what is known of the connection and how the resource stands, and whether that answers a person who asked
    /// for an immediate look.
    pub(super) async fn show(
        &self,
        object: &VpcPeering,
        seen: Option<Seen<'_>>,
        readiness: &Readiness,
        answers_request: bool,
    ) -> Result<VpcPeering, kube::Error> {
        let mut status = status_of(object);
        if let (Some(seen), Some(ownership)) = (seen, status.ownership)
            && let Some(connection) = &seen.observed.recorded
        {
            describe(&mut status, connection, ownership);
            describe_accepter(&mut status, &seen.observed.accepter);
            keep_first_blocks(&mut status, &seen.observed.accepter, connection);
        }
        if answers_request {
            status.last_handled_reconcile_at = reconcile_at(object);
        }
        self.write(object, status, seen, readiness).await
    }

    async fn write(
        &self,
        object: &VpcPeering,
        status: VpcPeeringStatus,
        seen: Option<Seen<'_>>,
        readiness: &Readiness,
    ) -> Result<VpcPeering, kube::Error> {
        let generation = object.metadata.generation.unwrap_or_default();
        let connection = seen.and_then(|seen| seen.observed.recorded.as_deref());
        let upkeep = seen.map(|seen| {
            let (desired, recorded) = (seen.desired(object), recorded(object));
            let living = connection.filter(|connection| !connection.code.has_ended());
            let ours = living
                .and_then(|connection| Some((connection, desired.authority().over(connection, Hint::Recorded).ok()?)));
            let reviews =
                ours.map(|(connection, target)| upkeep::review(desired, &recorded, seen.observed, connection, &target));
            let is_active = living.is_some_and(|connection| connection.code == StatusCode::Active);
            upkeep::conditions(desired, &reviews.unwrap_or_default(), is_active)
        });
        let unexpected = seen.and_then(|seen| unexpected_tags(seen.desired(object), seen.observed));
        let (unexpected, now) = (unexpected.as_deref(), Timestamp::now());
        let notes = status::notes(&object.spec, &status.conditions, connection, upkeep, unexpected, generation, now);
        self.write_status(object, status, readiness, notes).await
    }

    /// A call that changes EC2 was answered: the next listing must be a newer one.
    async fn answered(
        &self,
        object: &VpcPeering,
        answer: Result<(), AwsError>,
        event: StepEvent,
        note: String,
    ) -> Result<Outcome, kube::Error> {
        self.wrote_to_ec2(object);
        match answer {
            Ok(()) => {
                self.announcer.announce(object, EventType::Normal, event.as_str(), &note);
                Ok(Outcome::Done(Box::new(object.clone())))
            }
            Err(error) => Ok(Outcome::Refused(Box::new(object.clone()), error)),
        }
    }

    /// Looks at the VPCs that our credentials see.
    async fn preflight(&self, object: &VpcPeering, seen: Seen<'_>) -> Result<Outcome, kube::Error> {
        match look_at_vpcs(seen.access).await {
            Ok(preflight) => {
                let generation = object.metadata.generation;
                self.memory(object, |memory| {
                    memory.preflight = Some(Box::new(Looked { generation, at: Instant::now(), preflight }))
                });
                Ok(Outcome::Done(Box::new(object.clone())))
            }
            Err(error) => self.refused(object, None, error).await,
        }
    }

    async fn dry_run(&self, object: &VpcPeering, seen: Seen<'_>) -> Result<Outcome, kube::Error> {
        let ec2 = seen.access.requester.acting_for(seen.owner).await;
        let answer = ec2.dry_run_create_vpc_peering_connection(&request(object, seen)).await;
        self.wrote_to_ec2(object);
        let (readiness, succeeded) = match &answer {
            Ok(()) => (Readiness::dry_run_succeeded(), "True"),
            Err(error) if matches!(error.class, Class::FixSpec | Class::FixPermissions) => {
                (readiness_after(error, Some(false)), "False")
            }
            // EC2 did not say.
            Err(error) => (readiness_after(error, Some(false)), "Unknown"),
        };
        let mut status = status_of(object);
        let (generation, now) = (object.metadata.generation.unwrap_or_default(), Timestamp::now());
        let kind = ConditionType::DryRunSucceeded;
        let condition = status::condition(kind, succeeded, readiness.reason, &readiness.message, generation, now);
        let condition = status::following(status::find(&status.conditions, kind), condition);
        status.conditions.retain(|other| other.type_ != condition.type_);
        status.conditions.push(condition);
        status.last_handled_reconcile_at = reconcile_at(object);
        let object = self.write(object, status, None, &readiness).await?;
        Ok(match answer {
            Ok(()) => Outcome::Done(Box::new(object)),
            Err(error) => Outcome::Refused(Box::new(object), error),
        })
    }

    /// The intent is written before the request, so that a crash leaves a trace to find the connection by. Its ID is
    /// remembered, and written with whatever is to be told next: mostly EC2 goes on in a moment.
    async fn create(&self, object: &VpcPeering, seen: Seen<'_>) -> Result<Outcome, kube::Error> {
        let request = request(object, seen);
        // A session may have to be opened, which takes time, and may be refused.
        let ec2 = seen.access.requester.acting_for(seen.owner).await;
        let readiness = Readiness::working(Reason::InitiatingRequest, "asking EC2 for the peering connection");
        let status = VpcPeeringStatus {
            creation_started_at: Some(to_the_second(Timestamp::now())),
            managed_tags: request
                .tags
                .iter()
                .filter(|(key, _)| !Owner::is_ownership_key(key))
                .map(|(key, value)| ManagedTag { key: key.into(), value: value.into() })
                .collect(),
            ends: Some(Box::new(seen.access.ends.to_status())),
            last_handled_reconcile_at: reconcile_at(object),
            ..status_of(object)
        };
        let object = self.write(object, status, None, &readiness).await?;
        if let Some(warning) = &seen.observed.near_quota {
            let event = StepEvent::NearQuota.as_str();
            self.announcer.announce(&object, EventType::Warning, event, warning);
        }
        self.memory(&object, |memory| {
            memory.missing_since = None;
            memory.created = None;
        });
        let answer = ec2.create_vpc_peering_connection(&request).await;
        self.wrote_to_ec2(&object);
        match answer {
            // EC2 may answer with a connection that was there before; its tags tell whose it is.
            Ok(connection) if user_visible(&connection) != request.tags => {
                let readiness = Readiness {
                    ready: Some(false),
                    progress: Progress::Stalled,
                    reason: Reason::ConnectionNotOwned,
                    message: seen.desired(&object).authority().not_owned(&connection),
                };
                let object = self.forget_intent(&object, &readiness).await?;
                let error = AwsError {
                    action: "CreateVpcPeeringConnection",
                    caller: None,
                    class: Class::FixSpec,
                    code: None,
                    message: readiness.message,
                    request_id: None,
                    ambiguous: false,
                };
                Ok(Outcome::Refused(Box::new(object), error))
            }
            Ok(connection) => {
                let (event, note) = (StepEvent::Created.as_str(), format!("created {}", connection.id));
                self.announcer.announce(&object, EventType::Normal, event, &note);
                let next = with_connection(&object, &connection.id);
                self.memory(&object, |memory| memory.created = Some(connection.id.into()));
                Ok(Outcome::Done(Box::new(next)))
            }
            Err(error) if error.ambiguous => self.refused(&object, None, error).await,
            Err(error) => {
                let object = self.forget_intent(&object, &readiness_after(&error, Some(false))).await?;
                Ok(Outcome::Refused(Box::new(object), error))
            }
        }
    }

    /// EC2 has certainly created nothing for us.
    async fn forget_intent(&self, object: &VpcPeering, readiness: &Readiness) -> Result<VpcPeering, kube::Error> {
        let status = VpcPeeringStatus { creation_started_at: None, ..status_of(object) };
        self.write(object, status, None, readiness).await
    }

    /// The resource with what EC2 has answered to its request, where the status does not say so yet.
    pub(super) fn with_answer(&self, object: Arc<VpcPeering>) -> Arc<VpcPeering> {
        let recorded = recorded(&object);
        let created = self.memory(&*object, |memory| {
            // Once it is written, nobody needs to remember it, nor how the VPCs looked before.
            if recorded.connection_id.is_some() {
                (memory.created, memory.preflight) = (None, None);
            }
            memory.created.clone().filter(|_| recorded.creation_started)
        });
        created.map_or(Arc::clone(&object), |id| Arc::new(with_connection(&object, &id)))
    }

    async fn record(
        &self,
        object: &VpcPeering,
        seen: Seen<'_>,
        connection: &Arc<Connection>,
        ownership: Ownership,
    ) -> Result<VpcPeering, kube::Error> {
        let mut status = status_of(object);
        describe(&mut status, connection, ownership);
        status.ends = Some(Box::new(seen.access.ends.to_status()));
        // The status says at once what the next decision will say.
        let next = VpcPeering { status: Some(status.clone()), ..object.clone() };
        let accepter = seen.observed.accepter.clone();
        let observed = Observation { recorded: Some(Arc::clone(connection)), accepter, ..Observation::default() };
        let seen = Seen { observed: &observed, ..seen };
        let plan: Plan = decide(seen.desired(object), &recorded(&next), &observed, Timestamp::now(), self.settings);
        let readiness = Readiness::under(&plan)
            .unwrap_or_else(|| Readiness::working(Reason::InitiatingRequest, format!("found {}", connection.id)));
        self.write(object, status, Some(seen), &readiness).await
    }

    /// Writes a record that says nothing new of how the resource stands.
    async fn rewrite(&self, object: &VpcPeering, status: VpcPeeringStatus) -> Result<VpcPeering, kube::Error> {
        let ready = status::find(&status.conditions, ConditionType::Ready).is_some();
        let readiness = Readiness::working(Reason::InitiatingRequest, "setting tags");
        if ready {
            self.replace_status(object, &status).await
        } else {
            self.write(object, status, None, &readiness).await
        }
    }

    async fn refused(
        &self,
        object: &VpcPeering,
        seen: Option<Seen<'_>>,
        error: AwsError,
    ) -> Result<Outcome, kube::Error> {
        let object = self.show(object, seen, &readiness_after(&error, Some(false)), false).await?;
        Ok(Outcome::Refused(Box::new(object), error))
    }
}

/// The status to go on from: an intent ends when its connection is written down.
fn status_of(object: &VpcPeering) -> VpcPeeringStatus {
    let status = object.status.clone().unwrap_or_default();
    let is_answered = status.vpc_peering_connection_id.is_some();
    VpcPeeringStatus { creation_started_at: status.creation_started_at.filter(|_| !is_answered), ..status }
}

/// The resource as if this connection of its own were written down. The intent stays until it is.
fn with_connection(object: &VpcPeering, id: &str) -> VpcPeering {
    let status = VpcPeeringStatus {
        vpc_peering_connection_id: Some(id.into()),
        ownership: Some(Ownership::Owned),
        ..object.status.clone().unwrap_or_default()
    };
    VpcPeering { status: Some(status), ..object.clone() }
}

/// Each change by itself: one that is refused holds up no other.
pub(super) async fn change_routes(ec2: &Ec2, region: &str, changes: &[RouteChange]) -> Result<(), AwsError> {
    let mut outcome = Ok(());
    for change in changes {
        let answer = match change {
            RouteChange::Delete(route) => ec2.delete_route(region, route).await,
            RouteChange::Replace(route) => ec2.replace_route(region, route).await,
            RouteChange::Create(route) => ec2.create_route(region, route).await,
        };
        outcome = outcome.and(answer);
    }
    outcome
}

async fn look_at_vpcs(access: &Access) -> Result<Preflight, AwsError> {
    let (requester, accepter) = (&access.ends.requester, &access.ends.accepter);
    let ours = access.requester.vpcs.get(&requester.region, &requester.vpc_id);
    let theirs = async {
        match &access.accepter {
            Some(account) => account.vpcs.get(&accepter.region, &accepter.vpc_id).await.map(Some),
            None => Ok(None),
        }
    };
    match tokio::try_join!(ours, theirs) {
        Ok((ours, theirs)) => {
            Ok(preflight::check(&access.ends, ours.as_ref(), theirs.as_ref().map(|theirs| theirs.as_ref())))
        }
        // Where we may not look, EC2 will tell.
        Err(error) if error.code.as_deref() == Some("UnauthorizedOperation") => Ok(Preflight::Passed),
        Err(error) => Err(error),
    }
}

fn request(object: &VpcPeering, seen: Seen<'_>) -> CreateRequest {
    let (requester, accepter) = (&seen.access.ends.requester, &seen.access.ends.accepter);
    CreateRequest {
        region: requester.region.clone(),
        vpc_id: requester.vpc_id.clone(),
        peer_vpc_id: accepter.vpc_id.clone(),
        peer_owner_id: accepter.owner_id.clone(),
        peer_region: (accepter.region != requester.region).then(|| accepter.region.clone()),
        tags: seen.desired(object).tags(upkeep::sides_in_place_of(Side::Requester, seen.observed)),
    }
}

/// The tags but for those that AWS itself adds.
fn user_visible(connection: &Connection) -> std::collections::BTreeMap<String, String> {
    let tags = connection.tags.iter().filter(|(key, _)| !key.starts_with("aws:"));
    tags.map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

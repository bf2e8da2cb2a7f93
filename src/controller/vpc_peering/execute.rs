//! The effects of a `VpcPeering`: one step, and at most one kind of EC2 call.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::runtime::events::EventType;
use tokio::time::Instant;

use super::observe::desired;
use super::resolve::Peers;
use crate::api::{Ownership, Reason, Side, StepEvent, VpcPeering, VpcPeeringStatus};
use crate::aws::{AwsError, Class, Ec2};
use crate::controller::blocked::blocker_of;
use crate::controller::context::Context;
use crate::controller::endpoint::{Answer, Endpoint};
use crate::controller::kind::{Outcome, owner, with_state};
use crate::controller::state::CheckedVpcs;
use crate::controller::status_writer::{add_finalizer, changed_routes, write, wrote_to_ec2};
use crate::peering::preflight::{self, Preflight};
use crate::peering::vpc_peering::{
    self, Desired, Observation, Step, dry_run_answered, requested, stale_rules, without_intent,
};
use crate::peering::{Blocker, Connection, CreateRequest, Progress, Readiness};

/// Takes one step.
pub(super) async fn execute(
    object: &VpcPeering,
    context: &Context,
    peers: &Peers,
    observed: &Observation,
    step: &Step,
) -> Result<Outcome<VpcPeering>, kube::Error> {
    let owner = owner(context, object);
    let desired = desired(object, context, peers, &owner);
    let effect = Effect { object, context, peers, observed, desired };
    if let Some(status) = vpc_peering::recorded_step(step, desired, observed, Timestamp::now()) {
        return Ok(Outcome::Done(Box::new(write(context, object, status).await?)));
    }
    match step {
        Step::AddFinalizer => Ok(Outcome::Done(Box::new(add_finalizer(context, object).await?))),
        Step::Preflight => Ok(effect.preflight().await),
        Step::DryRun => effect.dry_run().await,
        Step::Create => effect.create().await,
        Step::Accept { id, .. } => Ok(effect.at(Side::Accepter, async |end| Some(end.accept(id).await)).await),
        Step::Upkeep { side, step } => Ok(effect.at(*side, async |end| end.keep(step).await).await),
        Step::DeleteOrphan { id } => Ok(effect
            .delete(id, format!("requested the deletion of {id}, the connection of an earlier resource"))
            .await),
        Step::Delete { id } => {
            effect.warn_of_stale_rules(id);
            Ok(effect.delete(id, format!("requested the deletion of {id}")).await)
        }
        // The status is the whole effect.
        Step::Record { .. } | Step::Retire { .. } => Ok(effect.done()),
    }
}

/// The object as if its status recorded this connection. The intent stays until the status does.
pub(super) fn with_connection(object: &VpcPeering, id: &str) -> VpcPeering {
    let status = VpcPeeringStatus {
        vpc_peering_connection_id: Some(id.into()),
        ownership: Some(Ownership::Owned),
        ..object.status.clone().unwrap_or_default()
    };
    VpcPeering { status: Some(status), ..object.clone() }
}

struct Effect<'a> {
    object: &'a VpcPeering,
    context: &'a Context,
    peers: &'a Peers,
    observed: &'a Observation,
    desired: Desired<'a>,
}

impl Effect<'_> {
    fn done(&self) -> Outcome<VpcPeering> {
        Outcome::Done(Box::new(self.object.clone()))
    }

    fn refused(&self, error: AwsError) -> Outcome<VpcPeering> {
        Outcome::Refused(Box::new(self.object.clone()), error)
    }

    fn requester_ec2(&self) -> Arc<Ec2> {
        self.peers.requester.acting_for(self.desired.owner)
    }

    /// Makes the calls at one end.
    async fn at(&self, side: Side, call: impl AsyncFnOnce(Endpoint<'_>) -> Option<Answer>) -> Outcome<VpcPeering> {
        let Some(account) = self.peers.account(side) else {
            // No decision asks for this.
            return self.refused(AwsError::incomplete("none", &format!("no identity acts for the {side}")));
        };
        let ec2 = account.acting_for(self.desired.owner);
        let end = Endpoint { ec2: &ec2, dns: &account.dns, region: &self.peers.ends.side(side).region, side };
        match call(end).await {
            Some(answer) => self.answered(side, answer),
            None => self.done(),
        }
    }

    /// Names the security groups with rules that the deletion makes stale.
    fn warn_of_stale_rules(&self, id: &str) {
        let stale = stale_rules(self.desired, self.observed, id);
        if !stale.is_empty() {
            let note = format!("after the deletion of {id}, revoke the stale rules: {}", stale.join("; "));
            let reason = StepEvent::StaleSecurityGroupRules.as_str();
            self.context.events.publish(self.object, EventType::Warning, reason, &note);
        }
    }

    async fn delete(&self, id: &str, note: String) -> Outcome<VpcPeering> {
        let (ec2, region) = (self.requester_ec2(), &self.peers.ends.requester.region);
        let result = ec2.delete_vpc_peering_connection(region, id).await;
        self.answered(Side::Requester, Answer::new(result, StepEvent::DeletionRequested, note))
    }

    fn answered(&self, side: Side, answer: Answer) -> Outcome<VpcPeering> {
        let refused = answer.refused_part();
        let Answer { result, event, note, routes } = answer;
        wrote_to_ec2(self.context, self.object);
        changed_routes(self.context, self.object, &routes);
        match result {
            Ok(()) => {
                self.context.events.publish(self.object, EventType::Normal, event.as_str(), &note);
                self.done()
            }
            Err(error) => match refused {
                Some(step) => Outcome::PartlyRefused(Box::new(self.object.clone()), error, Step::Upkeep { side, step }),
                None => self.refused(error),
            },
        }
    }

    /// Checks the VPCs that the identities can see.
    async fn preflight(&self) -> Outcome<VpcPeering> {
        match check_vpcs(self.peers).await {
            Ok(preflight) => {
                let checked =
                    CheckedVpcs { generation: self.object.metadata.generation, at: Instant::now(), preflight };
                with_state(self.context, self.object, |state| state.preflight = Some(checked));
                self.done()
            }
            Err(error) => self.refused(error),
        }
    }

    async fn dry_run(&self) -> Result<Outcome<VpcPeering>, kube::Error> {
        let answer = self.requester_ec2().dry_run_create_vpc_peering_connection(&self.request()).await;
        wrote_to_ec2(self.context, self.object);
        let (readiness, succeeded) = match &answer {
            Ok(()) => (Readiness::dry_run_succeeded(), "True"),
            Err(error) => {
                let is_answer = matches!(error.class, Class::FixSpec | Class::FixPermissions);
                (Readiness::blocked(blocker_of(error), Some(false)), if is_answer { "False" } else { "Unknown" })
            }
        };
        let status = dry_run_answered(self.desired, succeeded, &readiness, Timestamp::now());
        let object = Box::new(write(self.context, self.object, status).await?);
        Ok(match answer {
            Ok(()) => Outcome::Done(object),
            Err(error) => Outcome::Refused(object, error),
        })
    }

    /// Writes the intent, and then sends the request. The ID in the answer stays in memory until the next status write:
    /// see [`deferred_writes`](crate::controller::deferred_writes).
    async fn create(&self) -> Result<Outcome<VpcPeering>, kube::Error> {
        let (context, request) = (self.context, self.request());
        // A new session takes time, and AWS may refuse it.
        let ec2 = self.requester_ec2();
        let object =
            write(context, self.object, requested(self.desired, request.tags.iter(), Timestamp::now())).await?;
        with_state(context, &object, |state| {
            state.missing_since.clear();
            state.deferral.created = None;
        });
        let answer = ec2.create_vpc_peering_connection(&request).await;
        wrote_to_ec2(context, &object);
        match answer {
            // EC2 may answer with an existing connection. Its tags tell whether it is that of another owner.
            Ok(connection) if self.desired.authority().is_anothers(&connection.tags) => {
                let message = self.desired.authority().not_owned(&connection);
                self.refuse_existing(object, message).await
            }
            // AWS does not document whether the answer shows the tags of the request. The recorded intent stays, and
            // the next look shows whose connection it is.
            Ok(connection) if tags_without_aws(&connection) != request.tags => {
                tracing::info!(id = connection.id, "EC2 answered without the tags of the request; waiting for a poll");
                Ok(Outcome::Done(Box::new(object)))
            }
            Ok(connection) => {
                let note = format!("created {}", connection.id);
                context.events.publish(&object, EventType::Normal, StepEvent::Created.as_str(), &note);
                let next = with_connection(&object, &connection.id);
                with_state(context, &object, |state| state.deferral.created = Some(connection.id));
                Ok(Outcome::Done(Box::new(next)))
            }
            // EC2 may have created the connection.
            Err(error) if error.ambiguous => Ok(Outcome::Refused(Box::new(object), error)),
            Err(error) => {
                let readiness = Readiness::blocked(blocker_of(&error), Some(false));
                let object = self.forget_intent(object, &readiness).await?;
                Ok(Outcome::Refused(Box::new(object), error))
            }
        }
    }

    async fn refuse_existing(&self, object: VpcPeering, message: String) -> Result<Outcome<VpcPeering>, kube::Error> {
        let blocker = Blocker {
            progress: Progress::Stalled,
            reason: Reason::ConnectionNotOwned,
            message: message.clone(),
            requeue_after: None,
        };
        let object = self.forget_intent(object, &Readiness::blocked(blocker, Some(false))).await?;
        let error = AwsError { class: Class::FixSpec, ..AwsError::incomplete("CreateVpcPeeringConnection", &message) };
        Ok(Outcome::Refused(Box::new(object), error))
    }

    async fn forget_intent(&self, object: VpcPeering, readiness: &Readiness) -> Result<VpcPeering, kube::Error> {
        let status = without_intent(&self.desired.goal(), object.status.as_ref(), readiness, Timestamp::now());
        write(self.context, &object, status).await
    }

    fn request(&self) -> CreateRequest {
        self.desired.request(&self.observed.accepter)
    }
}

/// Checks the VPCs that the identities can see.
pub(super) async fn check_vpcs(peers: &Peers) -> Result<Preflight, AwsError> {
    let (requester, accepter) = (&peers.ends.requester, &peers.ends.accepter);
    let ours = peers.requester.vpcs.get(&requester.region, &requester.vpc_id);
    let theirs = async {
        match &peers.accepter {
            Some(account) => account.vpcs.get(&accepter.region, &accepter.vpc_id).await.map(Some),
            None => Ok(None),
        }
    };
    match tokio::try_join!(ours, theirs) {
        Ok((ours, theirs)) => {
            Ok(preflight::check(&peers.ends, ours.as_ref(), theirs.as_ref().map(|theirs| theirs.as_ref())))
        }
        // Without the permission to look, EC2 judges the request.
        Err(error) if error.is_unauthorized() => Ok(Preflight::Passed),
        Err(error) => Err(error),
    }
}

/// The tags, without those that AWS itself adds.
fn tags_without_aws(connection: &Connection) -> BTreeMap<String, String> {
    let tags = connection.tags.iter().filter(|(key, _)| !key.starts_with("aws:"));
    tags.map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

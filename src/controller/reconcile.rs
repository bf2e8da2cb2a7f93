//! The reconcile loop of both kinds. One round is six calls, each of which feeds the next:
//!
//! 1. `resolve`: the identities that act, and where. A namespace without permission ends here.
//! 2. `observe`: EC2's view.
//! 3. `decide`: the plan and the status. Pure.
//! 4. `acquire`: a permit from the fair queue, for a step that changes AWS.
//! 5. `execute`: one step. The next round observes its effect.
//! 6. `report`: the status write, when no step is left.
//!
//! A blocker at any of them ends the reconcile, and [`end_blocked`] writes it to the status.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use tokio::time::Instant;
use tracing::{Span, instrument};

use super::blocked::{Blocked, blocker_of};
use super::context::Context;
use super::fair_queue::{Acquired, Permit, Queued, Wish};
use super::identity_grants::still_granted;
use super::kind::{
    Actors, Kind, Look, Outcome, has_finalizer, is_ready, is_reconcile_requested, reconcile_at, with_state,
};
use super::queued_resource::QueuedResource;
use super::state::{Listings, ReconcileState};
use super::status_writer::{self, AFTER_CONFLICT};
use crate::api::StepEvent;
use crate::aws::AwsError;
use crate::peering::Readiness;
use crate::peering::plan::{Decision, Plan, Step};
use crate::peering::settings::{STALLED_REQUEUE, TRANSIENT};

/// Brings AWS and the status closer to the spec.
///
/// # Errors
/// Those of the API server. The status shows those of AWS.
#[instrument(skip_all, fields(namespace = object.namespace(), object = %object.name_any(), id))]
pub(super) async fn reconcile<K: Kind>(object: Arc<K>, context: Arc<Context>) -> Result<Action, kube::Error> {
    let outcome = rounds(&context, Arc::clone(&object)).await;
    status_writer::unless_deleted(&context, &*object, outcome)
}

/// The end of a round: the object for the next one, or the time of the next reconcile.
enum Round<K> {
    Next(Arc<K>),
    End(Action),
}

async fn rounds<K: Kind>(context: &Context, object: Arc<K>) -> Result<Action, kube::Error> {
    let began = Instant::now();
    let version = object.meta().resource_version.clone();
    let wait = with_state(context, &*object, |state| {
        state.until_cached(version.as_deref()).or_else(|| state.until_polled(Instant::now()))
    });
    if let Some(wait) = wait {
        return Ok(Action::requeue(wait));
    }
    let mut object = K::with_unwritten_answer(object, context);
    if is_reconcile_requested(&*object) {
        with_state(context, &*object, ReconcileState::start_over);
    }
    // Large, short-lived futures are boxed so that this one stays small: a thousand of them may wait for an EC2
    // listing.
    let actors = match Box::pin(object.resolve(context)).await {
        Ok(actors) => actors,
        Err(blocked) => {
            with_state(context, &*object, |state| state.listings = Listings::default());
            return Box::pin(end_blocked(context, &*object, &blocked)).await;
        }
    };
    let mut is_id_logged = false;
    for _ in 0..K::STEPS {
        if let Some(id) = object.connection_id().filter(|_| !is_id_logged) {
            Span::current().record("id", id);
            is_id_logged = true;
        }
        match round(context, object, &actors, began).await? {
            Round::Next(next) => object = next,
            Round::End(action) => return Ok(action),
        }
    }
    Ok(Action::requeue(AFTER_CONFLICT))
}

async fn round<K: Kind>(
    context: &Context,
    object: Arc<K>,
    actors: &K::Actors,
    began: Instant,
) -> Result<Round<K>, kube::Error> {
    // A person who asks for a reconcile expects that it looks at EC2 anew.
    let since = if is_reconcile_requested(&*object) { began } else { context.started };
    let look = Look { absent_since: began, since };
    let observed = match object.observe(context, actors, look).await {
        Ok(observed) => observed,
        Err(blocked) => return Box::pin(end_blocked(context, &*object, &blocked)).await.map(Round::End),
    };
    let decision = object.decide(context, actors, &observed);
    let step = match decision.plan {
        Plan::Act(step) => step,
        Plan::RemoveFinalizer => {
            return Box::pin(remove_finalizer(context, &*object, &decision.left_in_aws)).await.map(Round::End);
        }
        Plan::Wait { .. }
        | Plan::Settled { .. }
        | Plan::DryRunSucceeded
        | Plan::Suspended { .. }
        | Plan::Stalled { .. } => return Box::pin(report(context, &*object, decision)).await.map(Round::End),
    };
    tracing::debug!(step = step.change().unwrap_or_else(|| "update the record".into()), "decided");
    if step.aspect().is_none()
        && let Some(pause) =
            with_state(context, &*object, |state| state.refusals.pause_before(&step, object.meta().generation))
    {
        return Ok(Round::End(Action::requeue(pause)));
    }
    let permit = match acquire(context, &*object, actors, &step).await {
        Ok(permit) => permit,
        Err(queued) => return Box::pin(report_queued(context, &*object, queued)).await.map(Round::End),
    };
    if !still_granted(&context.credentials, &object.namespace().unwrap_or_default(), actors.grants()) {
        return Ok(Round::End(Action::requeue(Duration::ZERO)));
    }
    let observed = if step.is_destructive() {
        // The first observation may be out of date. A destructive step needs one that began after the permit.
        let now = Instant::now();
        let observed = match object.observe(context, actors, Look { absent_since: now, since: now }).await {
            Ok(observed) => observed,
            Err(blocked) => return Box::pin(end_blocked(context, &*object, &blocked)).await.map(Round::End),
        };
        if object.decide(context, actors, &observed).plan != Plan::Act(step.clone()) {
            return Ok(Round::Next(object));
        }
        observed
    } else {
        observed
    };
    let outcome = take(context, &*object, actors, &observed, (&step, permit)).await?;
    match outcome {
        Outcome::Done(next) => Ok(done(context, Arc::from(next), actors, &step)),
        Outcome::Refused(next, error) => Box::pin(refused(context, Arc::from(next), step, error)).await,
        Outcome::PartlyRefused(next, error, part) => Box::pin(refused(context, Arc::from(next), part, error)).await,
    }
}

/// A permit for the calls of a step, if it makes any that change AWS. The error is the place of the object in the queue.
async fn acquire<K: Kind>(
    context: &Context,
    object: &K,
    actors: &K::Actors,
    step: &K::Step,
) -> Result<Option<Permit>, Queued> {
    let Some(calls) = step.calls() else { return Ok(None) };
    let Some((account, region)) = actors.at(calls.side) else { return Ok(None) };
    let bucket = (account.label(), region.to_owned(), calls.action);
    let wish = Wish { calls: calls.count, demand: object.demand(actors, step) };
    match context.queue.acquire(bucket, QueuedResource::of(object), wish).await {
        Acquired::Permit(permit) => Ok(Some(permit)),
        Acquired::Queued(queued) => Err(queued),
    }
}

/// Takes a step, and reports its outcome to the fair queue.
async fn take<K: Kind>(
    context: &Context,
    object: &K,
    actors: &K::Actors,
    observed: &K::Observation,
    (step, permit): (&K::Step, Option<Permit>),
) -> Result<Outcome<K>, kube::Error> {
    if let Some(warning) = permit.as_ref().and_then(Permit::near_quota) {
        context.events.publish(object, EventType::Warning, StepEvent::NearQuota.as_str(), warning);
    }
    let outcome = Box::pin(object.execute(context, actors, observed, step)).await?;
    if let Some(permit) = permit {
        permit.complete(match &outcome {
            Outcome::Done(next) => Ok(next.connection_id()),
            Outcome::Refused(_, error) | Outcome::PartlyRefused(_, error, _) => Err(error),
        });
    }
    Ok(outcome)
}

fn done<K: Kind>(context: &Context, object: Arc<K>, actors: &K::Actors, step: &K::Step) -> Round<K> {
    with_state(context, &*object, |state| state.succeeded(step));
    if !step.is_continued_by_ec2() {
        return Round::Next(object);
    }
    object.await_ec2(context, actors);
    with_state(context, &*object, |state| state.deferral.hand_over(state.last_write.unwrap_or_else(Instant::now)));
    Round::End(Action::requeue(TRANSIENT))
}

/// A refusal blocks the steps of its aspect until the next attempt is due. Steps without an aspect block all others.
async fn refused<K: Kind>(
    context: &Context,
    object: Arc<K>,
    step: K::Step,
    error: AwsError,
) -> Result<Round<K>, kube::Error> {
    tracing::warn!(%error, "AWS refused a call");
    let (generation, blocker) = (object.meta().generation, blocker_of(&error));
    let pause = with_state(context, &*object, |state| {
        state.refusals.failed(step.clone(), generation, error.class, blocker.clone());
        state.refusals.pause_before(&step, generation)
    });
    if step.aspect().is_some() {
        return Ok(Round::Next(object));
    }
    let readiness = Readiness::blocked(blocker, Some(false));
    let status = object.report_blocked(context, &readiness, None, Timestamp::now());
    status_writer::write(context, &*object, status).await?;
    Ok(Round::End(Action::requeue(pause.unwrap_or(AFTER_CONFLICT))))
}

/// Writes the status of a decision that leaves no step.
async fn report<K: Kind>(
    context: &Context,
    object: &K,
    decision: Decision<K::Step, K::Status>,
) -> Result<Action, kube::Error> {
    if let Some(left) = decision.defer_write {
        return Ok(Action::requeue(left));
    }
    status_writer::write(context, object, decision.status).await?;
    Ok(decision.plan.requeue_after().map_or_else(Action::await_change, Action::requeue))
}

/// Reports a reconcile that ended before its decision.
async fn end_blocked<K: Kind>(context: &Context, object: &K, blocked: &Blocked) -> Result<Action, kube::Error> {
    let plan = object.plan_blocked(context, &blocked.blocker());
    if plan == Plan::RemoveFinalizer {
        return remove_finalizer(context, object, &object.recorded_in_aws()).await;
    }
    if let Some(readiness) = blocked.readiness(&plan, is_ready(object)) {
        let answered = reconcile_at(object).filter(|_| blocked.is_answer());
        let status = object.report_blocked(context, &readiness, answered, Timestamp::now());
        status_writer::write(context, object, status).await?;
    }
    Ok(plan.requeue_after().map_or_else(Action::await_change, Action::requeue))
}

/// Reports that the object waits in the fair queue, once that lasts. The queue wakes the object.
async fn report_queued<K: Kind>(context: &Context, object: &K, queued: Queued) -> Result<Action, kube::Error> {
    if let Some(left) = TRANSIENT.checked_sub(queued.since.elapsed()) {
        return Ok(Action::requeue(left));
    }
    if !is_ready(object) {
        let status =
            object.report_blocked(context, &Readiness::queued(queued.shortage.as_ref()), None, Timestamp::now());
        status_writer::write(context, object, status).await?;
    }
    // The cause of the wait may change.
    Ok(Action::requeue(STALLED_REQUEUE))
}

async fn remove_finalizer<K: Kind>(
    context: &Context,
    object: &K,
    left_in_aws: &[String],
) -> Result<Action, kube::Error> {
    if has_finalizer(object) {
        status_writer::publish_left_in_aws(context, object, left_in_aws);
        status_writer::remove_finalizer(context, object).await?;
    }
    status_writer::forget(context, object);
    Ok(Action::await_change())
}

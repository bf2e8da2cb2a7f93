//! The contract of a kind with the reconcile loop.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::core::object::HasStatus;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use smol_str::SmolStr;
use tokio::time::Instant;

use super::blocked::Blocked;
use super::cache::Cache;
use super::context::Context;
use super::identity_grants::Grant;
use super::quota_room::Demand;
use super::state::ReconcileState;
use crate::api::{DeletionPolicy, FINALIZER, RECONCILE_AT, Side, VpcReference};
use crate::aws::{Account, AwsError};
use crate::peering::conditions;
use crate::peering::plan::{Decision, Plan, Step};
use crate::peering::{Blocker, Goal, Owner, Readiness};

/// A kind that the operator reconciles. [`reconcile`](super::reconcile) calls these methods in order.
pub(crate) trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + HasStatus<Status: Status>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    type Step: Step;
    type Actors: Actors;
    type Observation: Send + Sync;

    /// The name in metrics.
    const CONTROLLER: &'static str;
    /// The most steps of one reconcile. Later steps wait for the next one, so that other resources get their turn.
    const STEPS: usize;

    fn cache(context: &Context) -> &Cache<Self, Self::Step>;

    /// The identities that the spec names.
    fn identities(&self) -> Vec<&str>;

    /// The references to VPCs that the status does not record yet.
    fn unresolved_references(&self) -> Vec<&VpcReference>;

    /// Resolves the identities that act, and the VPCs. A namespace without permission makes no AWS call.
    fn resolve(&self, context: &Context) -> impl Future<Output = Result<Self::Actors, Blocked>> + Send;

    /// Reads EC2's view.
    fn observe(
        &self,
        context: &Context,
        actors: &Self::Actors,
        look: Look,
    ) -> impl Future<Output = Result<Self::Observation, Blocked>> + Send;

    /// Decides on the next step. Reads nothing but its input and the clock.
    fn decide(
        &self,
        context: &Context,
        actors: &Self::Actors,
        observed: &Self::Observation,
    ) -> Decision<Self::Step, Self::Status>;

    /// The plan while AWS must not be asked, or cannot be read.
    fn plan_blocked(&self, context: &Context, blocker: &Blocker) -> Plan<Self::Step>;

    /// The AWS resources that the status records, for an Event when the object goes without an AWS call.
    fn recorded_in_aws(&self) -> Vec<String>;

    /// The status of a resource about which nothing new was seen. `answered` is the annotation value that it answers.
    fn report_blocked(
        &self,
        context: &Context,
        readiness: &Readiness,
        answered: Option<&str>,
        now: Timestamp,
    ) -> Self::Status;

    /// Takes one step.
    fn execute(
        &self,
        context: &Context,
        actors: &Self::Actors,
        observed: &Self::Observation,
        step: &Self::Step,
    ) -> impl Future<Output = Result<Outcome<Self>, kube::Error>> + Send;

    /// The AWS quotas that need room for a step.
    fn demand(&self, _actors: &Self::Actors, _step: &Self::Step) -> Option<Demand> {
        None
    }

    /// The object with the answer of EC2 that its status does not show yet.
    fn with_unwritten_answer(object: Arc<Self>, _context: &Context) -> Arc<Self> {
        object
    }

    /// The connection of the object, for log lines.
    fn connection_id(&self) -> Option<&str> {
        None
    }

    /// Asks for a new poll of EC2, which will show the state after a transient one.
    fn await_ec2(&self, _context: &Context, _actors: &Self::Actors) {}

    /// Shares texts that many objects have in common. For the tags in the status of a `VpcPeering`, this saves 2.4 MiB
    /// at 10,000 resources.
    fn share(&mut self, _cluster: &SmolStr) {}

    /// Receives each event of the watch before the store shows it.
    fn follow(_: &Context, _: &Event<Self>) {}
}

/// The identities that act for an object.
pub(crate) trait Actors: Debug + Send + Sync {
    /// The permissions by which they act.
    fn grants(&self) -> &[Grant];
    /// The account and the region of one end, if an identity acts there.
    fn at(&self, side: Side) -> Option<(&Account, &str)>;
}

/// A status with conditions.
pub(crate) trait Status: Clone + Debug + Default + PartialEq + Serialize + Send + Sync {
    fn conditions(&self) -> &[Condition];
    /// The value of the `reconcile-at` annotation that the status answers.
    fn last_handled_reconcile_at(&self) -> Option<&str>;
}

/// The required recency of a look at EC2.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Absence of a connection counts only if the poll began after this time.
    pub absent_since: Instant,
    /// The poll must have begun after this time, and after the last change by the operator.
    pub since: Instant,
}

/// The outcome of a step, with the object as the API server has it now.
#[derive(Debug)]
pub(crate) enum Outcome<K: Kind> {
    Done(Box<K>),
    Refused(Box<K>, AwsError),
    /// AWS has refused only this part of the step.
    PartlyRefused(Box<K>, AwsError, K::Step),
}

/// The owner in tags. The API server gives each object all of these names.
pub(super) fn owner(context: &Context, object: &impl Kind) -> Owner {
    let meta = object.meta();
    Owner {
        cluster: context.cluster.to_string(),
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
    }
}

/// The parts of an object that its status answers.
pub(super) fn goal<'a, S>(
    context: &Context,
    object: &impl Kind,
    spec: &'a S,
    deletion_policy: Option<DeletionPolicy>,
) -> Goal<'a, S> {
    Goal {
        spec,
        deletion_policy: context.defaults.deletion_policy(deletion_policy),
        deleted: is_deleted(object),
        generation: object.meta().generation.unwrap_or_default(),
    }
}

/// The kind and name of `other`, for a message to `reader`. The name of a resource in another namespace is confidential.
pub(super) fn name_for<K: Kind>(reader: &K, other: &K) -> String {
    let kind = K::kind(&());
    match other.namespace() {
        namespace if namespace == reader.namespace() => {
            format!("{kind} {}/{}", namespace.unwrap_or_default(), other.name_any())
        }
        _ => format!("a {kind} of another namespace"),
    }
}

/// Reads or changes the reconcile state of an object.
pub(super) fn with_state<K: Kind, T>(
    context: &Context,
    object: &K,
    act: impl FnOnce(&mut ReconcileState<K::Step>) -> T,
) -> T {
    K::cache(context).states.with(object.meta().uid.as_deref().unwrap_or_default(), act)
}

pub(super) fn is_deleted(object: &impl Kind) -> bool {
    object.meta().deletion_timestamp.is_some()
}

pub(super) fn has_finalizer(object: &impl ResourceExt) -> bool {
    object.finalizers().iter().any(|name| name == FINALIZER)
}

/// The value of the annotation by which a person asks for an immediate reconcile.
pub(super) fn reconcile_at(object: &impl ResourceExt) -> Option<&str> {
    object.annotations().get(RECONCILE_AT).map(String::as_str)
}

/// Whether a person asks for an immediate reconcile, and the status does not answer yet.
pub(super) fn is_reconcile_requested<K: Kind>(object: &K) -> bool {
    let handled = object.status().and_then(|status| status.last_handled_reconcile_at());
    reconcile_at(object).is_some_and(|asked| handled != Some(asked))
}

pub(super) fn is_ready<K: Kind>(object: &K) -> bool {
    conditions::is_ready(stored_conditions(object))
}

pub(super) fn stored_conditions<K: Kind>(object: &K) -> &[Condition] {
    object.status().map(Status::conditions).unwrap_or_default()
}

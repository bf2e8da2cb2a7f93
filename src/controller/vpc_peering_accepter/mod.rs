//! The `VpcPeeringAccepter` kind: its part of the reconcile loop.

mod execute;
mod observe;
mod older;
mod planning;
mod resolve;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;

use self::resolve::Accepter;
use super::blocked::Blocked;
use super::cache::Cache;
use super::context::Context;
use super::kind::{self, Kind, Look, Outcome, Status, has_finalizer, owner};
use crate::api::{VpcPeeringAccepter, VpcPeeringAccepterSpec, VpcPeeringAccepterStatus, VpcReference};
use crate::peering::plan::Decision;
use crate::peering::vpc_peering_accepter::{self, Observation, Recorded, Step};
use crate::peering::{Blocker, Goal, Plan, Readiness};

impl Kind for VpcPeeringAccepter {
    type Step = Step;
    type Actors = Accepter;
    type Observation = Observation;

    const CONTROLLER: &'static str = "vpcpeeringaccepter";
    const STEPS: usize = 32;

    fn cache(context: &Context) -> &Cache<Self, Step> {
        &context.accepters
    }

    fn identities(&self) -> Vec<&str> {
        self.spec.identity_ref.iter().map(|reference| &*reference.name).collect()
    }

    fn unresolved_references(&self) -> Vec<&VpcReference> {
        let is_recorded = self.status.as_ref().is_some_and(|status| status.vpc.is_some());
        self.spec.vpc_ref.as_deref().into_iter().filter(|_| !is_recorded).collect()
    }

    async fn resolve(&self, context: &Context) -> Result<Accepter, Blocked> {
        resolve::resolve(self, context).await
    }

    async fn observe(&self, context: &Context, actors: &Accepter, look: Look) -> Result<Observation, Blocked> {
        observe::observe(self, context, actors, look).await
    }

    fn decide(
        &self,
        context: &Context,
        actors: &Accepter,
        observed: &Observation,
    ) -> Decision<Step, VpcPeeringAccepterStatus> {
        let owner = owner(context, self);
        let desired = observe::desired(self, context, actors, &owner);
        let recorded = Recorded::of(self.status.as_ref());
        vpc_peering_accepter::decide(desired, &recorded, observed, Timestamp::now(), context.settings)
    }

    fn plan_blocked(&self, context: &Context, blocker: &Blocker) -> Plan<Step> {
        let recorded = Recorded::of(self.status.as_ref());
        vpc_peering_accepter::blocked(&goal(context, self), has_finalizer(self), &recorded, blocker)
    }

    fn recorded_in_aws(&self) -> Vec<String> {
        vpc_peering_accepter::recorded_in_aws(self.status.as_ref())
    }

    fn report_blocked(
        &self,
        context: &Context,
        readiness: &Readiness,
        answered: Option<&str>,
        now: Timestamp,
    ) -> VpcPeeringAccepterStatus {
        vpc_peering_accepter::report_blocked(&goal(context, self), self.status.as_ref(), readiness, answered, now)
    }

    async fn execute(
        &self,
        context: &Context,
        actors: &Accepter,
        observed: &Observation,
        step: &Step,
    ) -> Result<Outcome<Self>, kube::Error> {
        execute::execute(self, context, actors, observed, step).await
    }
}

impl Status for VpcPeeringAccepterStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    fn last_handled_reconcile_at(&self) -> Option<&str> {
        self.last_handled_reconcile_at.as_deref()
    }
}

/// The parts of the object that its status answers.
fn goal<'a>(context: &Context, object: &'a VpcPeeringAccepter) -> Goal<'a, VpcPeeringAccepterSpec> {
    kind::goal(context, object, &object.spec, object.spec.deletion_policy)
}

//! The `VpcPeering` kind: its part of the reconcile loop.

pub(super) mod claims;
mod execute;
mod observe;
mod planning;
mod resolve;

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::watcher::Event;
use smol_str::SmolStr;

use self::resolve::Peers;
use super::blocked::Blocked;
use super::cache::Cache;
use super::context::Context;
use super::index::By;
use super::kind::{self, Kind, Look, Outcome, Status, has_finalizer, owner, with_state};
use super::quota_room::Demand;
use crate::api::{Side, VpcPeering, VpcPeeringSpec, VpcPeeringStatus, VpcReference};
use crate::aws::Filters;
use crate::aws::calls::{CONNECTION_ID, REQUESTER_VPC_ID};
use crate::peering::plan::Decision;
use crate::peering::vpc_peering::{self, Observation, Recorded, Step};
use crate::peering::{Blocker, Endpoint, Goal, Owner, Plan, Readiness};

impl Kind for VpcPeering {
    type Step = Step;
    type Actors = Peers;
    type Observation = Observation;

    const CONTROLLER: &'static str = "vpcpeering";
    const STEPS: usize = 8;

    fn cache(context: &Context) -> &Cache<Self, Step> {
        &context.peerings
    }

    fn identities(&self) -> Vec<&str> {
        let sides = Side::BOTH.map(|side| self.spec.side(side).identity_ref.as_ref());
        sides.into_iter().flatten().map(|reference| &*reference.name).collect()
    }

    fn unresolved_references(&self) -> Vec<&VpcReference> {
        if self.status.as_ref().is_some_and(|status| status.ends.is_some()) {
            return Vec::new();
        }
        Side::BOTH.into_iter().filter_map(|side| self.spec.side(side).vpc_ref.as_deref()).collect()
    }

    async fn resolve(&self, context: &Context) -> Result<Peers, Blocked> {
        resolve::resolve(self, context).await
    }

    async fn observe(&self, context: &Context, actors: &Peers, look: Look) -> Result<Observation, Blocked> {
        observe::observe(self, context, actors, look).await
    }

    fn decide(&self, context: &Context, actors: &Peers, observed: &Observation) -> Decision<Step, VpcPeeringStatus> {
        let owner = owner(context, self);
        let desired = observe::desired(self, context, actors, &owner);
        vpc_peering::decide(desired, &recorded(self), observed, Timestamp::now(), context.settings)
    }

    fn plan_blocked(&self, context: &Context, blocker: &Blocker) -> Plan<Step> {
        vpc_peering::blocked(&goal(context, self), has_finalizer(self), &recorded(self), blocker)
    }

    fn recorded_in_aws(&self) -> Vec<String> {
        vpc_peering::recorded_in_aws(self.status.as_ref())
    }

    fn report_blocked(
        &self,
        context: &Context,
        readiness: &Readiness,
        answered: Option<&str>,
        now: Timestamp,
    ) -> VpcPeeringStatus {
        vpc_peering::report_blocked(&goal(context, self), self.status.as_ref(), readiness, answered, now)
    }

    async fn execute(
        &self,
        context: &Context,
        actors: &Peers,
        observed: &Observation,
        step: &Step,
    ) -> Result<Outcome<Self>, kube::Error> {
        execute::execute(self, context, actors, observed, step).await
    }

    fn demand(&self, actors: &Peers, step: &Step) -> Option<Demand> {
        (*step == Step::Create).then(|| actors.demand())
    }

    fn with_unwritten_answer(object: Arc<Self>, context: &Context) -> Arc<Self> {
        let recorded = recorded(&object);
        let created = with_state(context, &*object, |state| {
            // A recorded connection needs neither its answer nor the check of its VPCs any more.
            if recorded.connection_id.is_some() {
                (state.deferral.created, state.preflight) = (None, None);
            }
            state.deferral.created.clone().filter(|_| recorded.creation_started)
        });
        match created {
            Some(id) => Arc::new(execute::with_connection(&object, &id)),
            None => object,
        }
    }

    fn connection_id(&self) -> Option<&str> {
        self.status.as_ref()?.vpc_peering_connection_id.as_deref()
    }

    fn await_ec2(&self, context: &Context, actors: &Peers) {
        let id = self.connection_id();
        let (namespace, name) = (self.namespace().unwrap_or_default(), self.name_any());
        context.peerings.index.set(By::AwsId, &namespace, &name, id);
        let Endpoint { vpc_id, region, .. } = &actors.ends.requester;
        let filters = Filters::default();
        let filters = match id {
            Some(id) => filters.and(CONNECTION_ID, id),
            None => filters.and(REQUESTER_VPC_ID, vpc_id),
        };
        actors.requester.peerings.of(region).refresh(Some(filters));
    }

    fn share(&mut self, cluster: &SmolStr) {
        let Some(status) = &mut self.status else { return };
        let tags = status.tags.iter_mut().chain(&mut status.accepter_tags);
        tags.flat_map(|tag| [&mut tag.key, &mut tag.value]).for_each(|text| *text = Owner::share(text, cluster));
    }

    fn follow(context: &Context, event: &Event<Self>) {
        claims::follow(&context.peerings.index, event);
    }
}

impl Status for VpcPeeringStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    fn last_handled_reconcile_at(&self) -> Option<&str> {
        self.last_handled_reconcile_at.as_deref()
    }
}

/// The parts of the object that its status answers.
fn goal<'a>(context: &Context, object: &'a VpcPeering) -> Goal<'a, VpcPeeringSpec> {
    kind::goal(context, object, &object.spec, object.spec.deletion_policy)
}

fn recorded(object: &VpcPeering) -> Recorded {
    Recorded::of(object.status.as_ref(), object.metadata.generation)
}

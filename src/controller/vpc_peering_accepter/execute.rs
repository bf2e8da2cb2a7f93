//! The effects of a `VpcPeeringAccepter`: one step, and at most one kind of EC2 call.

use k8s_openapi::jiff::Timestamp;
use kube::runtime::events::EventType;

use super::observe::desired;
use super::resolve::Accepter;
use crate::api::{Side, VpcPeeringAccepter};
use crate::controller::context::Context;
use crate::controller::endpoint::{Answer, Endpoint};
use crate::controller::kind::{Outcome, owner};
use crate::controller::status_writer::{add_finalizer, changed_routes, write, wrote_to_ec2};
use crate::peering::vpc_peering_accepter::{self, Observation, Step};

/// Takes one step.
pub(super) async fn execute(
    object: &VpcPeeringAccepter,
    context: &Context,
    accepter: &Accepter,
    observed: &Observation,
    step: &Step,
) -> Result<Outcome<VpcPeeringAccepter>, kube::Error> {
    let owner = owner(context, object);
    let desired = desired(object, context, accepter, &owner);
    if let Some(status) = vpc_peering_accepter::recorded_step(step, desired, observed, Timestamp::now()) {
        return Ok(Outcome::Done(Box::new(write(context, object, status).await?)));
    }
    if *step == Step::AddFinalizer {
        return Ok(Outcome::Done(Box::new(add_finalizer(context, object).await?)));
    }
    let ec2 = accepter.account.acting_for(&owner);
    let dns = &accepter.account.dns;
    let end = Endpoint { ec2: &ec2, dns, region: &accepter.end.region, side: Side::Accepter };
    let answer = match step {
        Step::Accept { id } => Some(end.accept(id).await),
        Step::Reject { id } => Some(end.reject(id).await),
        Step::Upkeep { step, .. } => end.keep(step).await,
        Step::AddFinalizer | Step::RecordAcceptance { .. } => None,
    };
    let object = Box::new(object.clone());
    let Some(answer) = answer else { return Ok(Outcome::Done(object)) };
    let refused = answer.refused_part();
    let Answer { result, event, note, routes } = answer;
    wrote_to_ec2(context, &*object);
    changed_routes(context, &*object, &routes);
    Ok(match result {
        Ok(()) => {
            context.events.publish(&*object, EventType::Normal, event.as_str(), &note);
            Outcome::Done(object)
        }
        Err(error) => match (step, refused) {
            (Step::Upkeep { id, .. }, Some(part)) => {
                Outcome::PartlyRefused(object, error, Step::Upkeep { id: id.clone(), step: part })
            }
            _ => Outcome::Refused(object, error),
        },
    })
}

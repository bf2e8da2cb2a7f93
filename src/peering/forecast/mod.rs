//! The forecast: every step that the operator takes until it is done, if EC2 carries out each one. It asks the decision
//! of a kind, and applies each step to a simulation of EC2 and of the object.

pub(crate) mod effects;

use super::ec2_call::Ec2Call;
use super::plan::{Plan, Step};
use crate::api::{Reason, Side};

/// The ID of a connection that the operator will request. EC2 chooses the real one.
pub(crate) const NEW_CONNECTION: &str = "pcx-(new)";

/// The most decisions of a forecast. A `VpcPeering` needs far fewer; a `VpcPeeringAccepter` some for each connection.
const MAX_DECISIONS: usize = 1000;

/// EC2 and one object, as the steps change them.
pub(crate) trait Simulation {
    type Step: Step;

    /// The decision of the kind on the current state.
    fn decide(&mut self) -> Plan<Self::Step>;

    /// The EC2 calls of a step, in their order.
    fn calls(&self, step: &Self::Step) -> Vec<PlacedCall>;

    /// Carries out a step.
    fn apply(&mut self, step: &Self::Step);

    /// Lets the time pass that a plan waits for. Returns whether this changes the state.
    fn wait(&mut self, plan: &Plan<Self::Step>) -> bool;
}

/// One EC2 call, and the end that makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlacedCall {
    pub side: Side,
    /// The account of that end, if it is known.
    pub account: Option<String>,
    pub region: String,
    pub call: Ec2Call,
}

/// One step of a forecast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forecasted<S> {
    pub step: S,
    pub calls: Vec<PlacedCall>,
    /// Whether the step follows the acceptance of the request by the accepter's owner.
    pub after_acceptance: bool,
}

/// The steps until the operator is done, and the plan that then holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forecast<S> {
    pub steps: Vec<Forecasted<S>>,
    pub end: Plan<S>,
    /// The wait for the accepter's owner, if the forecast assumes the acceptance.
    pub acceptance: Option<String>,
}

/// Forecasts the steps.
pub(crate) fn forecast<M: Simulation>(mut simulation: M) -> Forecast<M::Step> {
    let (mut steps, mut acceptance) = (Vec::new(), None);
    for _ in 0..MAX_DECISIONS {
        let plan = simulation.decide();
        let Plan::Act(step) = plan else {
            if let Plan::Wait { reason: Reason::PendingAcceptance, message, .. } = &plan {
                acceptance.get_or_insert_with(|| message.clone());
            }
            if simulation.wait(&plan) {
                continue;
            }
            return Forecast { steps, end: plan, acceptance };
        };
        let calls = simulation.calls(&step);
        simulation.apply(&step);
        steps.push(Forecasted { step, calls, after_acceptance: acceptance.is_some() });
    }
    let message = format!("the forecast has no end after {MAX_DECISIONS} decisions; report this as a bug");
    Forecast { steps, end: Plan::stalled(Reason::Updating, message), acceptance }
}

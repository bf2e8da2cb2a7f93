//! The assessment of all connections: the decision without its status.

use super::judge::Verdict;
use super::step::Step;
use crate::api::ConditionType;
use crate::peering::blocker::Blocker;
use crate::peering::plan::Plan;

/// The decision without its status.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Assessment {
    pub plan: Plan<Step>,
    pub verdicts: Vec<Verdict>,
    /// The conditions `OptionsSynced` and `RoutesReady`, if the spec asks for any.
    pub aspects: Vec<(ConditionType, Result<(), Blocker>)>,
    /// The message of the `AtCapacity` condition.
    pub at_capacity: Option<String>,
}

impl From<Plan<Step>> for Assessment {
    fn from(plan: Plan<Step>) -> Self {
        Self { plan, verdicts: Vec::new(), aspects: Vec::new(), at_capacity: None }
    }
}

//! The decision for a `VpcPeering`.

mod calls;
mod consistency;
mod decide;
mod deletion;
mod deletion_summary;
mod forecast;
#[cfg(test)]
mod interleavings;
mod maintain;
mod obtain;
mod routes;
mod state;
mod status;
mod step;
#[cfg(test)]
mod tests;
mod upkeep;
mod view;

pub(crate) use decide::{blocked, decide};
pub(crate) use deletion::recorded_in_aws;
pub(crate) use deletion_summary::stale_rules;
pub(crate) use forecast::{Reads, candidates, forecast};
pub(crate) use state::{AccepterView, Desired, Observation, OlderClaim, Recorded};
pub(crate) use status::{dry_run_answered, recorded_step, report_blocked, requested, without_intent};
pub(crate) use step::Step;
pub(crate) use view::view;

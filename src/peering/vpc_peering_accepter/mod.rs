//! The decision for a `VpcPeeringAccepter`: the requests that it accepts, and the upkeep of the accepter's end.

mod adoption;
mod assessment;
mod decide;
mod deletion;
mod deletion_summary;
mod destinations;
mod forecast;
mod judge;
mod rules;
mod state;
mod status;
mod step;
#[cfg(test)]
mod tests;
mod upkeep;

pub(crate) use decide::{blocked, decide};
pub(crate) use deletion::recorded_in_aws;
pub(crate) use forecast::{Reads, forecast};
pub(crate) use state::{Desired, Observation, Recorded};
pub(crate) use status::{recorded_step, report_blocked};
pub(crate) use step::Step;

#[cfg(test)]
pub(crate) use status::record_acceptance;

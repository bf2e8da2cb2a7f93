//! The reads of a plan beside the observation.

use k8s_openapi::jiff::Timestamp;

use super::observe::desired;
use super::owner;
use super::resolve::Accepter;
use crate::api::VpcPeeringAccepter;
use crate::controller::blocked::Blocked;
use crate::controller::context::Context;
use crate::controller::dns;
use crate::controller::kind::Look;
use crate::controller::planning::{Forecasts, vpc_info};
use crate::peering::forecast::Forecast;
use crate::peering::vpc_peering_accepter::{self, Observation, Reads, Step};

impl Forecasts for VpcPeeringAccepter {
    async fn forecast(
        &self,
        context: &Context,
        accepter: &Accepter,
        observed: Observation,
        look: Look,
    ) -> Result<Forecast<Step>, Blocked> {
        let mut observed = observed;
        if observed.tables.is_some() {
            observed.quotas = accepter.account.quotas.known(&accepter.end.region).await;
        }
        let owner = owner(context, self);
        let desired = desired(self, context, accepter, &owner);
        let dns = match desired.needs_dns() {
            true => dns::attributes(&accepter.account, &accepter.end, look.since).await,
            false => None,
        };
        let reads = Reads { vpc: vpc_info(Some(&accepter.account), &accepter.end).await, dns };
        Ok(vpc_peering_accepter::forecast(desired, observed, reads, Timestamp::now(), context.settings))
    }
}

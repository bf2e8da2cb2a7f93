//! The reads of a plan beside the observation.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use super::execute::check_vpcs;
use super::observe::{accepter_connection, desired};
use super::owner;
use super::resolve::Peers;
use crate::api::{Side, VpcPeering};
use crate::controller::blocked::{Blocked, blocker_of};
use crate::controller::context::Context;
use crate::controller::dns;
use crate::controller::kind::Look;
use crate::controller::planning::{Forecasts, vpc_info};
use crate::peering::Preflight;
use crate::peering::forecast::Forecast;
use crate::peering::vpc_peering::{self, Observation, Reads, Step};

impl Forecasts for VpcPeering {
    async fn forecast(
        &self,
        context: &Context,
        peers: &Peers,
        observed: Observation,
        look: Look,
    ) -> Result<Forecast<Step>, Blocked> {
        let mut observed = observed;
        for (side, quotas) in &mut observed.quotas {
            let Some(account) = peers.account(*side) else { continue };
            *quotas = account.quotas.known(&peers.ends.side(*side).region).await;
        }
        let owner = owner(context, self);
        let desired = desired(self, context, peers, &owner);
        let reads = reads(peers, &observed, desired.needs_dns(), look).await?;
        Ok(vpc_peering::forecast(desired, observed, reads, Timestamp::now(), context.settings))
    }
}

async fn reads(peers: &Peers, observed: &Observation, needs_dns: bool, look: Look) -> Result<Reads, Blocked> {
    let preflight = match check_vpcs(peers).await {
        Ok(preflight) => preflight,
        Err(error) => Preflight::Refused { reason: error.reason(), message: blocker_of(&error).message },
    };
    let [requester, accepter] = Side::BOTH.map(|side| (peers.account(side), peers.ends.side(side)));
    let vpcs = [
        vpc_info(requester.0.map(|account| &**account), requester.1).await,
        vpc_info(accepter.0.map(|account| &**account), accepter.1).await,
    ];
    let mut dns = BTreeMap::new();
    for side in Side::BOTH.into_iter().filter(|_| needs_dns) {
        let Some(account) = peers.account(side) else { continue };
        let of_side = dns::attributes(account, peers.ends.side(side), look.since).await;
        dns.extend(of_side.map(|found| (side, found)));
    }
    let mut at_accepter = Vec::new();
    for id in vpc_peering::candidates(observed) {
        at_accepter.extend(accepter_connection(peers, &id, look).await?);
    }
    Ok(Reads { preflight, vpcs, dns, at_accepter })
}

//! The plan of a `VpcPeering` for the command line: the same identities, the same view of EC2 and the same decision as
//! in a reconcile. Nothing is written.

use ipnet::IpNet;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use tokio::time::Instant;

use super::execute::{check_vpcs, request};
use super::observe::{accepter_connection, desired, observe};
use super::resolve::{Peers, resolve};
use super::{has_finalizer, is_deleted, owner, recorded};
use crate::api::{CidrBlock, FINALIZER, Ipv6CidrBlock, Side, VpcInfo, VpcPeering};
use crate::aws::Permission;
use crate::controller::blocked::blocker_of;
use crate::controller::context::Context;
use crate::controller::kind::Look;
use crate::controller::queued_resource::QueuedResource;
use crate::controller::quota_room::Reservations;
use crate::peering::preflight::{Preflight, Vpc};
use crate::peering::vpc_peering::{self, Desired, Forecast, Observation, Reads, Step};
use crate::peering::{Blocker, Plan};

/// The plan of one resource.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub forecast: Forecast,
    /// The reasons for which AWS would refuse the request of a connection.
    pub problems: Vec<String>,
}

/// Forecasts the steps for an object. It may be new to the cluster.
pub(crate) async fn plan(object: &VpcPeering, context: &Context) -> Planned {
    match forecast(object, context).await {
        Ok(planned) => planned,
        Err(blocker) => {
            let (deleted, finalizer) = (is_deleted(object), has_finalizer(object));
            let end = vpc_peering::blocked(&object.spec, deleted, finalizer, &recorded(object), &blocker);
            let forecast = Forecast { steps: Vec::new(), end, acceptance: None };
            Planned { forecast, problems: Vec::new() }
        }
    }
}

async fn forecast(object: &VpcPeering, context: &Context) -> Result<Planned, Blocker> {
    let peers = resolve(object, context).await.map_err(|blocked| blocked.blocker())?;
    // The first look at the quotas starts their lookup.
    let demand = peers.demand();
    _ = Reservations::default().shortage(&QueuedResource::of(object), &demand);
    let now = Instant::now();
    let look = Look { absent_since: now, since: now };
    let observed = observe(&with_finalizer(object), context, &peers, look).await;
    let observed = observed.map_err(|blocked| blocked.blocker())?;
    let reads = reads(&peers, &observed, look).await?;
    let owner = owner(context, object);
    let desired = desired(object, context, &peers, &owner);
    let forecast = vpc_peering::forecast(desired, observed.clone(), reads, Timestamp::now(), context.settings);
    let creates = forecast.steps.iter().any(|forecasted| forecasted.step == Step::Create);
    let mut problems = Vec::new();
    if creates && !object.spec.suspend {
        problems.extend(refusal(&peers, desired, &observed).await);
        let shortage = Reservations::default().shortage(&QueuedResource::of(object), &demand);
        problems.extend(shortage.map(|shortage| shortage.0));
    }
    Ok(Planned { forecast, problems })
}

/// The object with the finalizer, without which a reconcile does not look at EC2 yet.
fn with_finalizer(object: &VpcPeering) -> VpcPeering {
    let mut object = object.clone();
    if !is_deleted(&object) && !has_finalizer(&object) {
        object.finalizers_mut().push(FINALIZER.to_owned());
    }
    object
}

/// The answer of EC2 to a dry run of the request, if EC2 denies it.
async fn refusal(peers: &Peers, desired: Desired<'_>, observed: &Observation) -> Option<String> {
    let ec2 = peers.requester.acting_for(desired.owner);
    let answer = ec2.dry_run_create_vpc_peering_connection(&request(peers, desired, observed)).await;
    match Permission::of(answer) {
        Permission::Denied(error) => Some(error.to_string()),
        // EC2 checks the permission before everything else, and the forecast the rest.
        Permission::Granted | Permission::Unknown(_) => None,
    }
}

/// The reads beside the observation.
async fn reads(peers: &Peers, observed: &Observation, look: Look) -> Result<Reads, Blocker> {
    let preflight = match check_vpcs(peers).await {
        Ok(preflight) => preflight,
        Err(error) => Preflight::Refused { reason: error.reason(), message: blocker_of(&error).message },
    };
    let vpcs = [vpc(peers, Side::Requester).await, vpc(peers, Side::Accepter).await];
    let mut at_accepter = Vec::new();
    for id in vpc_peering::candidates(observed) {
        at_accepter.extend(accepter_connection(peers, &id, look).await?);
    }
    Ok(Reads { preflight, vpcs, at_accepter })
}

/// A VPC as an active connection shows it. Without CIDR blocks if no identity can read it.
async fn vpc(peers: &Peers, side: Side) -> VpcInfo {
    let Some(account) = peers.account(side) else { return VpcInfo::default() };
    let end = peers.ends.side(side);
    let vpc: Option<Vpc> = account.vpcs.get(&end.region, &end.vpc_id).await.ok().flatten();
    let blocks = vpc.map(|vpc| vpc.cidr_blocks).unwrap_or_default();
    let (ipv6, ipv4): (Vec<_>, Vec<_>) =
        blocks.into_iter().partition(|block| matches!(block.parse(), Ok(IpNet::V6(_))));
    VpcInfo {
        cidr_block: ipv4.first().map(|block| block.as_str().into()),
        cidr_block_set: ipv4.into_iter().map(|block| CidrBlock { cidr_block: block.into() }).collect(),
        ipv6_cidr_block_set: ipv6.into_iter().map(|block| Ipv6CidrBlock { ipv6_cidr_block: block.into() }).collect(),
        ..VpcInfo::default()
    }
}

impl Planned {
    /// Whether a person has to act before the resource can become what the spec asks for.
    pub(crate) fn needs_a_person(&self) -> bool {
        !self.problems.is_empty() || matches!(self.forecast.end, Plan::Stalled { .. })
    }
}

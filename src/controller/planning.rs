//! The plan of a resource for the command line: the same identities, the same view of EC2 and the same decision as in a
//! reconcile. Nothing is written.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use ipnet::IpNet;
use kube::ResourceExt;
use tokio::time::Instant;

use super::blocked::Blocked;
use super::context::Context;
use super::kind::{Actors, Kind, Look, has_finalizer, is_deleted, owner};
use super::queued_resource::QueuedResource;
use super::quota_room::Reservations;
use crate::api::{CidrBlock, FINALIZER, Ipv6CidrBlock, Reason, VpcInfo};
use crate::aws::{Account, AwsError, Permission};
use crate::peering::ec2_call::Ec2Call;
use crate::peering::forecast::{Forecast, NEW_CONNECTION, PlacedCall};
use crate::peering::preflight::Vpc;
use crate::peering::{Endpoint, Plan};

/// Concurrent dry runs for one resource.
const DRY_RUNS: usize = 8;

/// A kind whose steps can be forecast.
pub(crate) trait Forecasts: Kind {
    /// Forecasts the steps from this observation.
    fn forecast(
        &self,
        context: &Context,
        actors: &Self::Actors,
        observed: Self::Observation,
        look: Look,
    ) -> impl Future<Output = Result<Forecast<Self::Step>, Blocked>> + Send;
}

/// The plan of one resource.
#[derive(Clone, Debug)]
pub(crate) struct Planned<S> {
    pub forecast: Forecast<S>,
    /// The reasons for which AWS would refuse a call: missing permissions and quotas.
    pub problems: Vec<String>,
    /// The actions, with their regions, whose permission EC2 cannot judge before the calls are made.
    pub unchecked: Vec<String>,
    /// Whether the operator could not decide: a permission is missing, or AWS could not be read.
    pub is_blocked: bool,
}

/// Forecasts the steps for an object. It may be new to the cluster.
pub(crate) async fn plan<K: Forecasts>(object: &K, context: &Context) -> Planned<K::Step> {
    planned(object, context).await.unwrap_or_else(|blocked| {
        let end = object.plan_blocked(context, &blocked.blocker());
        let forecast = Forecast { steps: Vec::new(), end, acceptance: None };
        Planned { forecast, problems: Vec::new(), unchecked: Vec::new(), is_blocked: true }
    })
}

async fn planned<K: Forecasts>(object: &K, context: &Context) -> Result<Planned<K::Step>, Blocked> {
    let actors = object.resolve(context).await?;
    let now = Instant::now();
    let look = Look { absent_since: now, since: now };
    let observed = with_finalizer(object).observe(context, &actors, look).await?;
    let forecast = object.forecast(context, &actors, observed, look).await?;
    let (mut problems, mut unchecked) = (Vec::new(), Vec::new());
    let calls: Vec<_> = forecast.steps.iter().flat_map(|forecasted| &forecasted.calls).collect();
    let judged = judged(&calls);
    let permissions = calls
        .iter()
        .zip(judged)
        .map(async |(call, is_judged)| if is_judged { permission(object, context, &actors, call).await } else { None });
    let permissions: Vec<_> = stream::iter(permissions).buffered(DRY_RUNS).collect().await;
    for (call, permission) in calls.iter().zip(permissions) {
        match permission {
            Some(Permission::Granted) => {}
            Some(Permission::Denied(error)) => problems.push(denied(call, &error)),
            Some(Permission::Unknown(_)) | None => unchecked.push(format!("{} in {}", call.call.action(), call.region)),
        }
    }
    for demand in forecast.steps.iter().filter_map(|forecasted| object.demand(&actors, &forecasted.step)) {
        demand.until_known().await;
        let shortage = Reservations::default().shortage(&QueuedResource::of(object), &demand);
        problems.extend(shortage.map(|shortage| shortage.0));
    }
    // Many calls may lack the same permission.
    for list in [&mut problems, &mut unchecked] {
        list.sort_unstable();
        list.dedup();
    }
    Ok(Planned { forecast, problems, unchecked, is_blocked: false })
}

/// Whether EC2 can judge each call now. It cannot if the connection does not exist yet, or if an earlier call changes
/// its tags: IAM policies have conditions on tags.
fn judged(calls: &[&PlacedCall]) -> Vec<bool> {
    let mut later = BTreeSet::new();
    let judge = |placed: &&PlacedCall| {
        let names: BTreeSet<_> = placed.call.parameters().into_values().map(|value| (placed.side, value)).collect();
        let is_new = names.iter().any(|(_, value)| value == NEW_CONNECTION);
        let is_judged = !is_new && later.is_disjoint(&names);
        if matches!(placed.call, Ec2Call::Tag { .. } | Ec2Call::Untag { .. }) {
            later.extend(names);
        }
        is_judged
    };
    calls.iter().map(judge).collect()
}

/// The answer of EC2 to a dry run of a call. `None` if the action has no dry run.
async fn permission<K: Kind>(
    object: &K,
    context: &Context,
    actors: &K::Actors,
    call: &PlacedCall,
) -> Option<Permission> {
    let (account, region) = actors.at(call.side)?;
    account.acting_for(&owner(context, object)).dry_run(region, &call.call).await
}

fn denied(call: &PlacedCall, error: &AwsError) -> String {
    format!("{error}; allow ec2:{} in {} as the policies in deploy/iam do", call.call.action(), call.region)
}

/// A VPC as an active connection shows it. Without CIDR blocks if no identity can read it.
pub(super) async fn vpc_info(account: Option<&Account>, end: &Endpoint) -> VpcInfo {
    let Some(account) = account else { return VpcInfo::default() };
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

/// The object with the finalizer, without which a reconcile does not look at EC2 yet.
fn with_finalizer<K: Kind>(object: &K) -> K {
    let mut object = object.clone();
    if !is_deleted(&object) && !has_finalizer(&object) {
        object.finalizers_mut().push(FINALIZER.to_owned());
    }
    object
}

impl<S> Planned<S> {
    /// Whether a person has to act before the resource can become what the spec asks for.
    pub(crate) fn needs_a_person(&self) -> bool {
        let stays = match &self.forecast.end {
            Plan::Stalled { .. } => true,
            // The operator asks AWS again. A person who reads the plan does not know what AWS would show.
            Plan::Wait { reason, .. } => {
                self.is_blocked || matches!(reason, Reason::AwsError | Reason::Throttled | Reason::Unauthorized)
            }
            Plan::Act(_)
            | Plan::Settled { .. }
            | Plan::DryRunSucceeded
            | Plan::Suspended { .. }
            | Plan::RemoveFinalizer => false,
        };
        stays || !self.problems.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Side;

    #[test]
    fn a_call_after_a_change_of_tags_is_not_judged() {
        let placed = |side, call| PlacedCall { side, account: None, region: "eu-central-1".into(), call };
        let tag = Ec2Call::Tag { id: "pcx-1".into(), tags: Default::default() };
        let accept = |id: &str| Ec2Call::Accept { id: id.into() };
        let calls = [
            placed(Side::Requester, accept(NEW_CONNECTION)),
            placed(Side::Requester, accept("pcx-1")),
            placed(Side::Requester, tag),
            placed(Side::Requester, accept("pcx-1")),
            placed(Side::Requester, accept("pcx-2")),
            placed(Side::Accepter, accept("pcx-1")),
        ];
        let expected = [false, true, true, false, true, true];
        assert_eq!(judged(&calls.iter().collect::<Vec<_>>()), expected);
    }
}

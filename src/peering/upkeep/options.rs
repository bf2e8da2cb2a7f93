//! The DNS options of one end, and the DNS attributes of the VPCs that they need.

use super::step::UpkeepStep;
use crate::api::{PeeringOptions, Reason, Side, SideOptions};
use crate::peering::authority::Authorized;
use crate::peering::blocker::Blocker;
use crate::peering::dns::DnsOfVpc;
use crate::peering::limits::Limits;
use crate::peering::plan::{Aspect, AspectStatus};
use crate::peering::settings::{DNS_RECHECK, EFFECT_REQUEUE};

/// The options of one end of an active connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OptionsOfEnd<'a> {
    pub side: Side,
    pub wanted: SideOptions,
    /// Whether either end allows DNS resolution, and so needs the attributes of this end's VPC.
    pub needs_dns: bool,
    /// EC2's view. An option that EC2 does not show has its default, false.
    pub shown: Option<&'a PeeringOptions>,
    pub target: &'a Authorized,
    pub limits: Option<&'a Limits>,
    pub own: DnsOfVpc<'a>,
    /// The VPC of the other end, if the operator acts there.
    pub other: Option<DnsOfVpc<'a>>,
}

impl OptionsOfEnd<'_> {
    /// The state of the options. The wish is compared with EC2's view, not with the last request.
    pub(crate) fn decide(&self) -> AspectStatus<UpkeepStep> {
        let aspect = Aspect::Options(self.side);
        if let Some(status) = self.turn_on(aspect) {
            return status;
        }
        let Some(wanted) = self.wanted.allow_dns_resolution_from_remote_vpc else {
            return AspectStatus::settled(aspect);
        };
        let shown = self.shown.and_then(|options| options.allow_dns_resolution_from_remote_vpc).unwrap_or_default();
        let is_set = shown == wanted;
        let permission = self.limits.map(|limits| limits.permits_options(self.own.field));
        if let Some(Err(blocker)) = permission.filter(|_| !is_set) {
            return AspectStatus::blocked(aspect, blocker);
        }
        if let Some(blocker) = self.disabled(is_set).filter(|_| wanted) {
            return AspectStatus::blocked(aspect, blocker);
        }
        if is_set {
            return AspectStatus { requeue_after: wanted.then_some(DNS_RECHECK), ..AspectStatus::settled(aspect) };
        }
        let id = self.target.clone();
        AspectStatus::with_step(aspect, UpkeepStep::SetOptions { id, allow_dns_resolution_from_remote_vpc: wanted })
    }

    /// The next attribute of the own VPC that the operator turns on, if the spec and the identity permit it.
    fn turn_on(&self, aspect: Aspect) -> Option<AspectStatus<UpkeepStep>> {
        let attribute = self.own.first_missing().filter(|_| self.needs_dns && self.own.is_managed)?;
        if let Some(Err(blocker)) = self.limits.map(|limits| limits.permits_vpc_attributes(self.own.field)) {
            let blocker = Blocker::join([&blocker].into_iter().chain(self.own.blocker().as_ref()))?;
            return Some(AspectStatus::blocked(aspect, blocker));
        }
        let (id, vpc_id) = (self.target.clone(), self.own.vpc_id.to_owned());
        Some(AspectStatus::with_step(aspect, UpkeepStep::SetDnsAttribute { id, vpc_id, attribute }))
    }

    /// The reason why DNS resolution has no effect. EC2's silence matters only before the option is set.
    fn disabled(&self, is_set: bool) -> Option<Blocker> {
        let known = |dns: &&DnsOfVpc<'_>| !is_set || dns.attributes.is_some_and(Result::is_ok);
        let own = Some(&self.own).filter(known).and_then(DnsOfVpc::blocker);
        let other = self.other.as_ref().filter(known).and_then(|dns| {
            let blocker = dns.blocker()?;
            // The upkeep of the other end turns it on, or says why it cannot.
            let waits = dns.is_managed && dns.first_missing().is_some();
            let message = || format!("waiting for the DNS attributes of {} of the other end", dns.vpc_id);
            Some(if waits { Blocker::passing(Reason::Updating, message(), EFFECT_REQUEUE) } else { blocker })
        });
        Blocker::join(own.iter().chain(&other))
    }
}

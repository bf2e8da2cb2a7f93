//! The lifecycle of peering connections: transitions that callers request, and transitions over time.
//! <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html#vpc-peering-lifecycle>

use jiff::Timestamp;

use super::call::{Call, Location};
use super::id::ResourceKind;
use super::peering::{End, Options, Peering, Phase, Side, saturating_add};
use super::settings::RepeatRequest;
use super::tag::{self, Tags};
use super::{Vpc, World};
use crate::error::{Error, Result};

/// The parameters of `CreateVpcPeeringConnection`.
#[derive(Clone, Debug)]
pub struct Request {
    /// The ID of the requester's VPC.
    pub vpc_id: String,
    /// The account and region of the accepter. Neither they nor the VPC need to exist.
    pub peer: Location,
    /// The ID of the accepter's VPC.
    pub peer_vpc_id: String,
    /// The requester's options.
    pub options: Options,
    /// Tags in the requester's account and region.
    pub tags: Tags,
}

impl World {
    /// Applies all timed transitions that are due, each at its own time.
    pub fn advance(&mut self, now: Timestamp) {
        let visibility = self.settings.visibility.clone();
        let lags = self.settings.lags.clone();
        while let Some((time, id)) = self.peerings.next_due(now, &visibility) {
            let Some(peering) = self.peerings.get(&id) else { continue };
            let next = match &peering.phase {
                Phase::InitiatingRequest { .. } if self.can_peer(peering) => Phase::PendingAcceptance,
                Phase::InitiatingRequest { .. } => Phase::Failed { since: time },
                Phase::PendingAcceptance => Phase::Expired { since: time },
                Phase::Provisioning { .. } => Phase::Active,
                Phase::Deleting { by, .. } => Phase::Deleted { since: time, by: *by },
                Phase::Active => continue,
                Phase::Failed { .. } | Phase::Rejected { .. } | Phase::Expired { .. } | Phase::Deleted { .. } => {
                    self.peerings.remove(&id);
                    self.forget_tags(&id);
                    continue;
                }
            };
            match next {
                Phase::PendingAcceptance => self.delay_phase(&id, time, lags.acceptance),
                Phase::Active => self.delay_phase(&id, time, lags.activation),
                _ => {}
            }
            self.set_phase(&id, next);
        }
        self.lagging.advance(now);
    }

    /// The connections that are visible in the location of the call, sorted by ID, starting after the ID `after`.
    pub fn visible_peerings<'a>(&'a self, call: &'a Call, after: Option<&str>) -> impl Iterator<Item = &'a Peering> {
        self.peerings.in_location(&call.location, after).filter(|peering| self.is_visible(call, peering))
    }

    /// A connection that is visible in the location of the call. `InvalidVpcPeeringConnectionID.NotFound` if it never
    /// existed, is no longer shown, or belongs to other accounts.
    pub(crate) fn peering(&self, call: &Call, id: &str) -> Result<&Peering> {
        ResourceKind::VpcPeeringConnection.check(id)?;
        let visible = self.peerings.get(id).filter(|peering| self.is_visible(call, peering));
        visible.ok_or_else(|| ResourceKind::VpcPeeringConnection.not_found(&[id]))
    }

    fn is_visible(&self, call: &Call, peering: &Peering) -> bool {
        peering.is_visible(&call.location, call.now, &self.settings.visibility)
    }

    /// The VPC at an end of a connection, if it exists in the account and region of that end.
    pub(crate) fn vpc_at(&self, end: &End) -> Option<&Vpc> {
        self.any_vpc(&end.vpc_id).filter(|vpc| vpc.location == end.location)
    }

    /// Whether both VPCs exist and their CIDR blocks do not overlap.
    fn can_peer(&self, peering: &Peering) -> bool {
        match (self.vpc_at(&peering.requester), self.vpc_at(&peering.accepter)) {
            (Some(requester), Some(accepter)) => !requester.overlaps(accepter),
            (None, _) | (_, None) => false,
        }
    }

    /// Requests a connection. An invalid peer VPC is not an error here: the connection becomes `failed` later. A dry run
    /// does not check quotas.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVpcPeeringConnection.html>
    ///
    /// # Errors
    /// If the requester's VPC does not exist, the tags are invalid or the quota of outstanding requests is exceeded.
    pub fn request_peering(&mut self, call: &Call, request: Request) -> Result<Peering> {
        self.vpc(call, &request.vpc_id)?;
        tag::check(&request.tags, &self.settings.quotas)?;
        if request.options.multipath && request.peer.region == call.location.region {
            return Err(no_multipath());
        }
        call.proceed()?;
        let existing = self.existing(&request);
        let quota = self.settings.quotas.outstanding;
        if existing.is_none() && self.peerings.outstanding_count(&call.location) >= quota {
            return Err(Error::new(
                "OutstandingVpcPeeringConnectionLimitExceeded",
                format!("You have reached the limit of {quota} outstanding VPC peering connection requests."),
            ));
        }
        if let Some(existing) = existing {
            if self.settings.repeat_request == RepeatRequest::ReturnExistingWithNewTags {
                self.delay_tags(&call.location, &existing.id, call.now);
                self.add_tags(&call.location, &existing.id, request.tags);
            }
            return Ok(existing);
        }
        let delays = &self.settings.delays;
        let peering = Peering {
            id: self.random.id("pcx"),
            requester: End { location: call.location.clone(), vpc_id: request.vpc_id, options: request.options },
            accepter: End { location: request.peer, vpc_id: request.peer_vpc_id, options: Options::default() },
            expires: Some(saturating_add(call.now, delays.expiry)),
            phase: Phase::InitiatingRequest { until: saturating_add(call.now, delays.initiating) },
        };
        self.delay_tags(&call.location, &peering.id, call.now);
        self.add_tags(&call.location, &peering.id, request.tags);
        self.peerings.insert(peering.clone(), &self.settings.visibility);
        Ok(peering)
    }

    /// The live connection that EC2 returns for a repeated request, depending on the settings.
    fn existing(&self, request: &Request) -> Option<Peering> {
        if self.settings.repeat_request == RepeatRequest::MintNew {
            return None;
        }
        let is_same = |peering: &&Peering| {
            peering.phase.is_live()
                && peering.requester.vpc_id == request.vpc_id
                && peering.accepter.vpc_id == request.peer_vpc_id
                && peering.accepter.location == request.peer
        };
        self.peerings.of_vpc(&request.vpc_id).find(is_same).cloned()
    }

    /// Accepts a request. A dry run checks neither the phase nor quotas.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AcceptVpcPeeringConnection.html>
    ///
    /// # Errors
    /// If the caller is not in the accepter's account and region, the request is not pending, the two VPCs already have
    /// an accepted connection (hashicorp/terraform-provider-aws 44315), or a VPC has reached its quota.
    pub fn accept_peering(&mut self, call: &Call, id: &str) -> Result<Peering> {
        let peering = self.peering(call, id)?;
        check_accepter(call, peering, "accept", "accepted")?;
        call.proceed()?;
        if peering.phase == Phase::PendingAcceptance && !self.acts_on_phase(id) {
            return Err(ResourceKind::VpcPeeringConnection.not_found(&[id]));
        }
        check_pending(peering, "provisioning")?;
        let (one, two) = (&peering.requester.vpc_id, &peering.accepter.vpc_id);
        let joins_both = |other: &Peering| {
            let ends = (&other.requester.vpc_id, &other.accepter.vpc_id);
            ends == (one, two) || ends == (two, one)
        };
        if self.peerings.of_vpc(one).any(|other| other.phase.is_accepted() && joins_both(other)) {
            let message = format!("A VPC peering connection between {one} and {two} already exists.");
            return Err(Error::new("VpcPeeringConnectionAlreadyExists", message));
        }
        let quota = self.settings.quotas.active_per_vpc;
        for vpc_id in [one, two] {
            if self.peerings.accepted_count(vpc_id) >= quota {
                let message = format!("The VPC {vpc_id} has reached its limit of {quota} active peering connections.");
                return Err(Error::new("ActiveVpcPeeringConnectionPerVpcLimitExceeded", message));
            }
        }
        let until = saturating_add(call.now, self.settings.delays.provisioning);
        self.change(id, |peering| {
            peering.expires = None;
            // Accepting a request that allows multipath resilience allows it at the accepter too.
            peering.accepter.options.multipath |= peering.requester.options.multipath;
            peering.phase = Phase::Provisioning { until };
        });
        self.peering(call, id).cloned()
    }

    /// Rejects a request. Fails if the caller is not in the accepter's account and region, or the request is not
    /// pending.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RejectVpcPeeringConnection.html>
    pub(crate) fn reject_peering(&mut self, call: &Call, id: &str) -> Result<()> {
        let peering = self.peering(call, id)?;
        check_accepter(call, peering, "reject", "accepted or rejected")?;
        call.proceed()?;
        check_pending(peering, "rejected")?;
        self.set_phase(id, Phase::Rejected { since: call.now });
        Ok(())
    }

    /// Deletes a connection, or a pending request. Within one account, either end can delete a request.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteVpcPeeringConnection.html>
    ///
    /// # Errors
    /// If the phase does not allow it, or the caller is the accepter of a pending request from another account.
    pub fn delete_peering(&mut self, call: &Call, id: &str) -> Result<()> {
        let peering = self.peering(call, id)?;
        call.proceed()?;
        let side = if peering.requester.location == call.location { Side::Requester } else { Side::Accepter };
        match peering.phase {
            Phase::Active => {}
            Phase::PendingAcceptance if side == Side::Requester || peering.is_same_account() => {}
            Phase::PendingAcceptance => return Err(cannot(call, "delete", id)),
            _ => return Err(invalid_transition(peering, "deleting")),
        }
        self.start_deleting(id, side, call.now);
        Ok(())
    }

    /// Sets options of the caller's own end. Fails if the connection is not active, an end is in another account or
    /// region (hashicorp/terraform-provider-aws 582 and 12113), or a VPC does not have the DNS attributes that an
    /// option needs.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVpcPeeringConnectionOptions.html>
    pub(crate) fn modify_options(
        &mut self,
        call: &Call,
        id: &str,
        changes: &[(Side, Option<bool>, Option<bool>)],
    ) -> Result<Peering> {
        let peering = self.peering(call, id)?;
        call.proceed()?;
        if peering.phase != Phase::Active || !self.acts_on_phase(id) {
            return Err(Error::not_permitted(format!(
                "Peering {id} is not active. Peering options can be added only to active peerings."
            )));
        }
        for (side, dns, multipath) in changes {
            let location = &peering.end(*side).location;
            let (name, title) = match side {
                Side::Requester => ("requester", "Requester"),
                Side::Accepter => ("accepter", "Accepter"),
            };
            if location.account != call.location.account {
                return Err(Error::not_permitted(format!(
                    "User {} does not have permission to modify the {name} side peering options",
                    call.location.account
                )));
            }
            if location.region != call.location.region {
                return Err(Error::not_permitted(format!(
                    "{title}'s VPC Peering connection options cannot be modified for a different region"
                )));
            }
            let resolves = |side| self.vpc_at(peering.end(side)).is_some_and(Vpc::resolves_names);
            if *dns == Some(true) && !(resolves(Side::Requester) && resolves(Side::Accepter)) {
                return Err(Error::new(
                    "InvalidVpcPeeringConnectionState.DnsHostnamesDisabled",
                    "To enable DNS hostname resolution, DNS hostname support must be enabled for the VPCs.",
                ));
            }
            if *multipath == Some(true) && peering.is_same_region() {
                return Err(no_multipath());
            }
        }
        self.delay_options(id, call.now);
        self.change(id, |peering| {
            for (side, dns, multipath) in changes {
                let options = &mut peering.end_mut(*side).options;
                options.dns_resolution = dns.unwrap_or(options.dns_resolution);
                options.multipath = multipath.unwrap_or(options.multipath);
            }
        });
        self.peering(call, id).cloned()
    }

    pub(super) fn start_deleting(&mut self, id: &str, by: Side, now: Timestamp) {
        let until = saturating_add(now, self.settings.delays.deleting);
        self.set_phase(id, Phase::Deleting { until, by });
    }

    fn set_phase(&mut self, id: &str, phase: Phase) {
        self.change(id, |peering| peering.phase = phase);
    }

    fn change(&mut self, id: &str, change: impl FnOnce(&mut Peering)) {
        self.peerings.update(id, &self.settings.visibility, change);
    }
}

/// Only the accepter's account can accept or reject, and only in the accepter's region (crossplane-contrib/provider-aws
/// 1071).
fn check_accepter(call: &Call, peering: &Peering, verb: &str, participle: &str) -> Result<()> {
    let Location { account, region } = &peering.accepter.location;
    if *account != call.location.account {
        return Err(cannot(call, verb, &peering.id));
    }
    if *region != call.location.region {
        return Err(Error::not_permitted(format!(
            "Incorrect region ({}) specified for this request. VPC peering connection {} must be {participle} in region {region}",
            call.location.region, peering.id
        )));
    }
    Ok(())
}

fn no_multipath() -> Error {
    let message = "Multipath resilience is supported only for inter-Region VPC peering connections.";
    Error::new("InvalidParameterCombination", message)
}

fn check_pending(peering: &Peering, to: &str) -> Result<()> {
    if peering.phase == Phase::PendingAcceptance { Ok(()) } else { Err(invalid_transition(peering, to)) }
}

fn cannot(call: &Call, verb: &str, id: &str) -> Error {
    Error::not_permitted(format!("User {} cannot {verb} peering {id}", call.location.account))
}

fn invalid_transition(peering: &Peering, to: &str) -> Error {
    let (id, from) = (&peering.id, peering.phase.code());
    Error::new(
        "InvalidStateTransition",
        format!("Invalid state transition for {id}, attempted to transition from {from} to {to}"),
    )
}

#[cfg(test)]
mod tests;

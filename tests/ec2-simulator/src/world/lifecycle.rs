//! What callers and time do to peering connections.
//! <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html#vpc-peering-lifecycle>

use jiff::Timestamp;

use super::id::ResourceKind;
use super::peering::{End, Options, Peering, Phase, Side, later};
use super::place::{Call, Place};
use super::settings::RepeatRequest;
use super::tag::{self, Tags};
use super::{Vpc, World};
use crate::error::{Error, Result};

/// A request for a connection.
#[derive(Clone, Debug)]
pub struct Request {
    /// The requester's VPC.
    pub vpc_id: String,
    /// What is asked for: an account, a region and a VPC that may or may not be.
    pub peer: Place,
    /// See `peer`.
    pub peer_vpc_id: String,
    /// What the requester allows.
    pub options: Options,
    /// Tags for the requester's account and region.
    pub tags: Tags,
}

impl World {
    /// Lets happen what happens by itself until now, each at its own time.
    pub fn advance(&mut self, now: Timestamp) {
        let visibility = self.settings.visibility.clone();
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
            self.enter(&id, next);
        }
    }

    /// The connections that a place sees, in the order of their IDs, after this one.
    pub fn visible_peerings<'a>(&'a self, call: &'a Call, after: Option<&str>) -> impl Iterator<Item = &'a Peering> {
        self.peerings.at(&call.place, after).filter(|peering| self.sees(call, peering))
    }

    /// The connection of this ID, if the caller sees it here.
    ///
    /// # Errors
    /// `InvalidVpcPeeringConnectionID.NotFound`, whether it never was, is long over, or is another's.
    pub fn peering(&self, call: &Call, id: &str) -> Result<&Peering> {
        ResourceKind::VpcPeeringConnection.check(id)?;
        let seen = self.peerings.get(id).filter(|peering| self.sees(call, peering));
        seen.ok_or_else(|| ResourceKind::VpcPeeringConnection.not_found(&[id]))
    }

    fn sees(&self, call: &Call, peering: &Peering) -> bool {
        peering.is_visible(&call.place, call.now, &self.settings.visibility)
    }

    /// The VPC at an end, for as long as it is there.
    #[must_use]
    pub fn vpc_at(&self, end: &End) -> Option<&Vpc> {
        self.any_vpc(&end.vpc_id).filter(|vpc| vpc.place == end.place)
    }

    /// Whether both VPCs are there and share no address.
    fn can_peer(&self, peering: &Peering) -> bool {
        match (self.vpc_at(&peering.requester), self.vpc_at(&peering.accepter)) {
            (Some(requester), Some(accepter)) => !requester.overlaps(accepter),
            (None, _) | (_, None) => false,
        }
    }

    /// Requests a connection. What is wrong with the peer shows later, as `failed`.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVpcPeeringConnection.html>
    ///
    /// # Errors
    /// When the requester's VPC is unknown, the tags are not good or the quota of outstanding requests is used up.
    pub fn request_peering(&mut self, call: &Call, request: Request) -> Result<Peering> {
        self.vpc(call, &request.vpc_id)?;
        tag::check(&request.tags, &self.settings.quotas)?;
        if request.options.multipath && request.peer.region == call.place.region {
            return Err(no_multipath());
        }
        let repeated = self.repeated(&request);
        let quota = self.settings.quotas.outstanding;
        if repeated.is_none() && self.peerings.outstanding(&call.place) >= quota {
            return Err(Error::new(
                "OutstandingVpcPeeringConnectionLimitExceeded",
                format!("You have reached the limit of {quota} outstanding VPC peering connection requests."),
            ));
        }
        call.proceed()?;
        if let Some(existing) = repeated {
            if self.settings.repeat_request == RepeatRequest::ReturnExistingWithNewTags {
                self.add_tags(&call.place, &existing.id, request.tags);
            }
            return Ok(existing);
        }
        let delays = &self.settings.delays;
        let peering = Peering {
            id: self.random.id("pcx"),
            requester: End { place: call.place.clone(), vpc_id: request.vpc_id, options: request.options },
            accepter: End { place: request.peer, vpc_id: request.peer_vpc_id, options: Options::default() },
            expires: Some(later(call.now, delays.expiry)),
            phase: Phase::InitiatingRequest { until: later(call.now, delays.initiating) },
        };
        self.add_tags(&call.place, &peering.id, request.tags);
        self.peerings.insert(peering.clone(), &self.settings.visibility);
        Ok(peering)
    }

    /// The live connection that this request repeats, as the settings see it.
    fn repeated(&self, request: &Request) -> Option<Peering> {
        if self.settings.repeat_request == RepeatRequest::MintNew {
            return None;
        }
        let same = |peering: &&Peering| {
            peering.phase.is_live()
                && peering.requester.vpc_id == request.vpc_id
                && peering.accepter.vpc_id == request.peer_vpc_id
                && peering.accepter.place == request.peer
        };
        self.peerings.of_vpc(&request.vpc_id).find(same).cloned()
    }

    /// Accepts a request.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AcceptVpcPeeringConnection.html>
    ///
    /// # Errors
    /// When the caller is not the accepter's owner in the accepter's region, the request is not pending, the two VPCs
    /// have a connection already (hashicorp/terraform-provider-aws 44315), or a VPC has too many.
    pub fn accept_peering(&mut self, call: &Call, id: &str) -> Result<Peering> {
        let peering = self.peering(call, id)?;
        check_accepter(call, peering, "accept", "accepted")?;
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
            if self.peerings.accepted(vpc_id) >= quota {
                let message = format!("The VPC {vpc_id} has reached its limit of {quota} active peering connections.");
                return Err(Error::new("ActiveVpcPeeringConnectionPerVpcLimitExceeded", message));
            }
        }
        call.proceed()?;
        let until = later(call.now, self.settings.delays.provisioning);
        self.change(id, |peering| {
            peering.expires = None;
            // Who accepts a request that allows multipath resilience allows it too.
            peering.accepter.options.multipath |= peering.requester.options.multipath;
            peering.phase = Phase::Provisioning { until };
        });
        self.peering(call, id).cloned()
    }

    /// Rejects a request.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RejectVpcPeeringConnection.html>
    ///
    /// # Errors
    /// When the caller is not the accepter's owner in the accepter's region, or the request is not pending.
    pub fn reject_peering(&mut self, call: &Call, id: &str) -> Result<()> {
        let peering = self.peering(call, id)?;
        check_accepter(call, peering, "reject", "accepted or rejected")?;
        check_pending(peering, "rejected")?;
        call.proceed()?;
        self.enter(id, Phase::Rejected { since: call.now });
        Ok(())
    }

    /// Deletes a connection, or a request that one has made.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteVpcPeeringConnection.html>
    ///
    /// # Errors
    /// When its phase does not allow it, or the caller is asked by the request instead of having made it.
    pub fn delete_peering(&mut self, call: &Call, id: &str) -> Result<()> {
        let peering = self.peering(call, id)?;
        // Within one account either region's end speaks for both.
        let side = if peering.requester.place == call.place { Side::Requester } else { Side::Accepter };
        match peering.phase {
            Phase::Active => {}
            Phase::PendingAcceptance if side == Side::Requester || peering.is_same_account() => {}
            Phase::PendingAcceptance => return Err(cannot(call, "delete", id)),
            _ => return Err(invalid_transition(peering, "deleting")),
        }
        call.proceed()?;
        self.start_deleting(id, side, call.now);
        Ok(())
    }

    /// Sets what the caller's own side allows.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVpcPeeringConnectionOptions.html>
    ///
    /// # Errors
    /// When the connection is not active, a side is another's or in another region
    /// (hashicorp/terraform-provider-aws 582 and 12113), or a VPC resolves no names.
    pub fn modify_options(
        &mut self,
        call: &Call,
        id: &str,
        changes: &[(Side, Option<bool>, Option<bool>)],
    ) -> Result<Peering> {
        let peering = self.peering(call, id)?;
        if peering.phase != Phase::Active {
            return Err(Error::not_permitted(format!(
                "Peering {id} is not active. Peering options can be added only to active peerings."
            )));
        }
        for (side, dns, multipath) in changes {
            let place = &peering.end(*side).place;
            let (name, title) = match side {
                Side::Requester => ("requester", "Requester"),
                Side::Accepter => ("accepter", "Accepter"),
            };
            if place.account != call.place.account {
                return Err(Error::not_permitted(format!(
                    "User {} does not have permission to modify the {name} side peering options",
                    call.place.account
                )));
            }
            if place.region != call.place.region {
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
        call.proceed()?;
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
        let until = later(now, self.settings.delays.deleting);
        self.enter(id, Phase::Deleting { until, by });
    }

    fn enter(&mut self, id: &str, phase: Phase) {
        self.change(id, |peering| peering.phase = phase);
    }

    fn change(&mut self, id: &str, change: impl FnOnce(&mut Peering)) {
        self.peerings.update(id, &self.settings.visibility, change);
    }
}

/// Only the accepter's owner decides, in the accepter's region (crossplane-contrib/provider-aws 1071).
fn check_accepter(call: &Call, peering: &Peering, verb: &str, participle: &str) -> Result<()> {
    let Place { account, region } = &peering.accepter.place;
    if *account != call.place.account {
        return Err(cannot(call, verb, &peering.id));
    }
    if *region != call.place.region {
        return Err(Error::not_permitted(format!(
            "Incorrect region ({}) specified for this request. VPC peering connection {} must be {participle} in region {region}",
            call.place.region, peering.id
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
    Error::not_permitted(format!("User {} cannot {verb} peering {id}", call.place.account))
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

//! The actions that change peering connections.

use super::{Context, Handler, describe_peerings, done};
use crate::error::{Error, Result};
use crate::protocol::{Params, Xml};
use crate::world::id::ResourceKind;
use crate::world::{Location, Options, Request, Side, Tags, World};

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVpcPeeringConnection.html>
pub(super) struct Create {
    vpc_id: String,
    peer_vpc_id: String,
    peer_owner_id: Option<String>,
    peer_region: Option<String>,
    multipath: Option<bool>,
    tags: Tags,
}

impl Handler for Create {
    fn parse(params: &mut Params) -> Result<Self> {
        let (vpc_id, peer_vpc_id) = (params.required("VpcId")?, params.required("PeerVpcId")?);
        ResourceKind::Vpc.check(&peer_vpc_id)?;
        let peer_owner_id = params.take("PeerOwnerId");
        if let Some(owner) = &peer_owner_id
            && !(owner.len() == 12 && owner.bytes().all(|digit| digit.is_ascii_digit()))
        {
            return Err(Error::invalid_value("PeerOwnerId", owner, "It is not an account ID."));
        }
        let multipath = multipath(params, "RequesterPeeringConnectionOptions")?;
        let tags = params.tag_specifications(ResourceKind::VpcPeeringConnection)?;
        Ok(Self { vpc_id, peer_vpc_id, peer_owner_id, peer_region: params.take("PeerRegion"), multipath, tags })
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        let Location { account, region } = context.call.location.clone();
        let request = Request {
            vpc_id: self.vpc_id,
            peer: Location::new(self.peer_owner_id.unwrap_or(account), self.peer_region.unwrap_or(region)),
            peer_vpc_id: self.peer_vpc_id,
            options: Options { multipath: self.multipath.unwrap_or_default(), ..Options::default() },
            tags: self.tags,
        };
        let peering = world.request_peering(&context.call, request)?;
        let tags = world.tags(&context.call.location, &peering.id);
        let shown = tags.filter(|_| !world.settings().create_answer_without_tags);
        Ok(describe_peerings::response_with(&peering, world, shown))
    }
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AcceptVpcPeeringConnection.html>
pub(super) struct Accept(String);

impl Handler for Accept {
    fn parse(params: &mut Params) -> Result<Self> {
        params.required("VpcPeeringConnectionId").map(Self)
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        let peering = world.accept_peering(&context.call, &self.0)?;
        Ok(describe_peerings::response(world, &context.call, &peering))
    }
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RejectVpcPeeringConnection.html>
pub(super) struct Reject(String);

impl Handler for Reject {
    fn parse(params: &mut Params) -> Result<Self> {
        params.required("VpcPeeringConnectionId").map(Self)
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        world.reject_peering(&context.call, &self.0)?;
        Ok(done())
    }
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteVpcPeeringConnection.html>
pub(super) struct Delete(String);

impl Handler for Delete {
    fn parse(params: &mut Params) -> Result<Self> {
        params.required("VpcPeeringConnectionId").map(Self)
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        world.delete_peering(&context.call, &self.0)?;
        Ok(done())
    }
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVpcPeeringConnectionOptions.html>
pub(super) struct ModifyOptions {
    id: String,
    changes: Vec<(Side, Option<bool>, Option<bool>)>,
}

impl Handler for ModifyOptions {
    fn parse(params: &mut Params) -> Result<Self> {
        let id = params.required("VpcPeeringConnectionId")?;
        let mut changes = Vec::new();
        for (side, name) in SIDES {
            let dns = params.parsed(&format!("{name}.AllowDnsResolutionFromRemoteVpc"))?;
            let multipath = multipath(params, name)?;
            let classic_link = refuse_classic_link(params, name)?;
            if dns.is_some() || multipath.is_some() || classic_link {
                changes.push((side, dns, multipath));
            }
        }
        Ok(Self { id, changes })
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        let peering = world.modify_options(&context.call, &self.id, &self.changes)?;
        let mut xml = Xml::default();
        for (side, _, _) in &self.changes {
            let name = match side {
                Side::Requester => "requesterPeeringConnectionOptions",
                Side::Accepter => "accepterPeeringConnectionOptions",
            };
            xml.element(name, |xml| describe_peerings::write_options(xml, &peering.end(*side).options));
        }
        Ok(xml)
    }
}

const SIDES: [(Side, &str); 2] =
    [(Side::Requester, "RequesterPeeringConnectionOptions"), (Side::Accepter, "AccepterPeeringConnectionOptions")];

fn multipath(params: &mut Params, side: &str) -> Result<Option<bool>> {
    let allow = params.parsed(&format!("{side}.AllowMultipathResilience"))?;
    let name = format!("{side}.MultipathResilienceMode");
    match params.take(&name) {
        Some(mode) if mode != "always-on" => Err(Error::invalid_value(&name, &mode, "The only mode is always-on.")),
        Some(_) if allow != Some(true) => {
            let message = "A multipath resilience mode needs AllowMultipathResilience.";
            Err(Error::new("InvalidParameterCombination", message))
        }
        _ => Ok(allow),
    }
}

/// `ClassicLink` is retired: its two flags are accepted only as false. Returns whether the request has one of them.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_PeeringConnectionOptionsRequest.html>
fn refuse_classic_link(params: &mut Params, side: &str) -> Result<bool> {
    let mut any = false;
    for flag in ["AllowEgressFromLocalClassicLinkToRemoteVpc", "AllowEgressFromLocalVpcToRemoteClassicLink"] {
        match params.parsed(&format!("{side}.{flag}"))? {
            Some(true) => return Err(Error::new("InvalidParameterValue", "ClassicLink is no longer available.")),
            Some(false) => any = true,
            None => {}
        }
    }
    Ok(any)
}

//! The API actions. Each action parses its parameters, applies them to the world and writes the response.

mod describe_peerings;
mod listing;
mod network_acl;
mod network_interface;
mod peering;
mod prefix_list;
mod quota;
mod route;
mod security_group;
mod sts;
mod subnet;
mod tag;
mod vpc;

use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::protocol::{Content, Params, Xml};
use crate::world::identity::Service;
use crate::world::{Call, Caller, Tags, World};

/// The caller and the time of a call.
#[derive(Clone, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) call: Call,
    /// The time against which session expiry is checked; see [`crate::world::settings::SessionClock`].
    pub(crate) session_now: Timestamp,
}

/// The implementation of one action. The type holds the parsed parameters.
trait Handler: Sized {
    /// Takes its parameters out of `params`. Parameters that are left are rejected as unknown.
    fn parse(params: &mut Params) -> Result<Self>;

    /// Applies the action and returns the content of the response.
    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml>;
}

#[derive(Clone, Copy)]
pub(crate) struct Action {
    pub(crate) name: &'static str,
    pub(crate) service: Service,
    /// Selects the token bucket: mutating actions have a smaller one.
    pub(crate) is_mutating: bool,
    run: fn(Params, &mut World, &Context<'_>) -> Result<Content>,
}

impl Action {
    const fn read_only<A: Handler>(name: &'static str) -> Self {
        Self { name, service: Service::Ec2, is_mutating: false, run: run::<A> }
    }

    const fn mutating<A: Handler>(name: &'static str) -> Self {
        Self { name, service: Service::Ec2, is_mutating: true, run: run::<A> }
    }

    const fn sts<A: Handler>(name: &'static str) -> Self {
        Self { name, service: Service::Sts, is_mutating: false, run: run::<A> }
    }

    const fn service_quotas(name: &'static str, run: fn(Params, &mut World, &Context<'_>) -> Result<Content>) -> Self {
        Self { name, service: Service::Quotas, is_mutating: false, run }
    }

    /// Returns `InvalidAction` if the simulator does not implement the action.
    pub(crate) fn find(service: Service, name: &str) -> Result<Self> {
        let found = ACTIONS.iter().find(|action| action.service == service && action.name == name);
        found
            .copied()
            .ok_or_else(|| Error::new("InvalidAction", format!("The action {name} is not valid for this web service.")))
    }

    pub(crate) fn run(&self, params: Params, world: &mut World, context: &Context<'_>) -> Result<Content> {
        (self.run)(params, world, context)
    }
}

const ACTIONS: &[Action] = &[
    Action::mutating::<peering::Accept>("AcceptVpcPeeringConnection"),
    Action::mutating::<vpc::AssociateCidrBlock>("AssociateVpcCidrBlock"),
    Action::mutating::<route::Create>("CreateRoute"),
    Action::mutating::<route::CreateTable>("CreateRouteTable"),
    Action::mutating::<tag::Create>("CreateTags"),
    Action::mutating::<vpc::Create>("CreateVpc"),
    Action::mutating::<peering::Create>("CreateVpcPeeringConnection"),
    Action::mutating::<route::Delete>("DeleteRoute"),
    Action::mutating::<route::DeleteTable>("DeleteRouteTable"),
    Action::mutating::<tag::Delete>("DeleteTags"),
    Action::mutating::<vpc::Delete>("DeleteVpc"),
    Action::mutating::<peering::Delete>("DeleteVpcPeeringConnection"),
    Action::read_only::<prefix_list::Describe>("DescribeManagedPrefixLists"),
    Action::read_only::<network_acl::Describe>("DescribeNetworkAcls"),
    Action::read_only::<network_interface::Describe>("DescribeNetworkInterfaces"),
    Action::read_only::<route::DescribeTables>("DescribeRouteTables"),
    Action::read_only::<security_group::DescribeRules>("DescribeSecurityGroupRules"),
    Action::read_only::<security_group::Describe>("DescribeSecurityGroups"),
    Action::read_only::<security_group::DescribeStale>("DescribeStaleSecurityGroups"),
    Action::read_only::<subnet::Describe>("DescribeSubnets"),
    Action::read_only::<tag::Describe>("DescribeTags"),
    Action::read_only::<vpc::DescribeAttribute>("DescribeVpcAttribute"),
    Action::read_only::<describe_peerings::Describe>("DescribeVpcPeeringConnections"),
    Action::read_only::<vpc::Describe>("DescribeVpcs"),
    Action::mutating::<vpc::DisassociateCidrBlock>("DisassociateVpcCidrBlock"),
    Action::read_only::<prefix_list::Entries>("GetManagedPrefixListEntries"),
    Action::mutating::<vpc::ModifyAttribute>("ModifyVpcAttribute"),
    Action::mutating::<peering::ModifyOptions>("ModifyVpcPeeringConnectionOptions"),
    Action::mutating::<peering::Reject>("RejectVpcPeeringConnection"),
    Action::mutating::<route::Replace>("ReplaceRoute"),
    Action::service_quotas("GetServiceQuota", quota::get),
    Action::sts::<sts::AssumeRole>("AssumeRole"),
    Action::sts::<sts::GetCallerIdentity>("GetCallerIdentity"),
];

fn run<A: Handler>(mut params: Params, world: &mut World, context: &Context<'_>) -> Result<Content> {
    let action = A::parse(&mut params)?;
    params.finish()?;
    action.handle(world, context).map(Content::Xml)
}

/// The response of an action that returns nothing but success.
fn done() -> Xml {
    let mut xml = Xml::default();
    xml.text("return", true);
    xml
}

fn write_tags(xml: &mut Xml, tags: Option<&Tags>) {
    xml.list("tagSet", tags.into_iter().flatten(), |xml, (key, value)| {
        xml.text("key", key);
        xml.text("value", value);
    });
}

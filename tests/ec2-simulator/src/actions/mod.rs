//! What can be asked: each action reads its parameters, has the world do it, and writes the answer.

mod describe_peerings;
mod peering;
mod route;
mod sts;
mod tag;
mod vpc;

use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::protocol::{Params, Xml};
use crate::world::identity::Service;
use crate::world::{Call, Caller, Tags, World};

/// Who calls, from where, and when.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// The caller.
    pub caller: &'a Caller,
    /// The call, as the world sees it.
    pub call: Call,
    /// The time by which sessions end.
    pub session_now: Timestamp,
}

/// An action: its parameters, and what it does.
trait Act: Sized {
    /// Takes the parameters.
    fn parse(params: &mut Params) -> Result<Self>;

    /// Does it, and writes what goes into the answer.
    fn act(self, world: &mut World, context: &Context<'_>) -> Result<Xml>;
}

/// An entry in the table of actions.
#[derive(Clone, Copy)]
pub struct Action {
    /// The name that callers know.
    pub name: &'static str,
    /// Whose action it is.
    pub service: Service,
    /// Whether it changes something, which decides its token bucket.
    pub is_mutating: bool,
    run: fn(Params, &mut World, &Context<'_>) -> Result<Xml>,
}

impl Action {
    const fn reading<A: Act>(name: &'static str) -> Self {
        Self { name, service: Service::Ec2, is_mutating: false, run: run::<A> }
    }

    const fn writing<A: Act>(name: &'static str) -> Self {
        Self { name, service: Service::Ec2, is_mutating: true, run: run::<A> }
    }

    const fn of_sts<A: Act>(name: &'static str) -> Self {
        Self { name, service: Service::Sts, is_mutating: false, run: run::<A> }
    }

    /// The action of this name.
    ///
    /// # Errors
    /// `InvalidAction`, when the service has none of the name, or this simulator has not.
    pub fn find(service: Service, name: &str) -> Result<Self> {
        let found = ACTIONS.iter().find(|action| action.service == service && action.name == name);
        found
            .copied()
            .ok_or_else(|| Error::new("InvalidAction", format!("The action {name} is not valid for this web service.")))
    }

    /// Does it.
    ///
    /// # Errors
    /// Whatever the service answers instead.
    pub fn run(&self, params: Params, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        (self.run)(params, world, context)
    }
}

/// Everything that can be asked.
pub const ACTIONS: &[Action] = &[
    Action::writing::<peering::Accept>("AcceptVpcPeeringConnection"),
    Action::writing::<vpc::AssociateCidrBlock>("AssociateVpcCidrBlock"),
    Action::writing::<route::Create>("CreateRoute"),
    Action::writing::<route::CreateTable>("CreateRouteTable"),
    Action::writing::<tag::Create>("CreateTags"),
    Action::writing::<vpc::Create>("CreateVpc"),
    Action::writing::<peering::Create>("CreateVpcPeeringConnection"),
    Action::writing::<route::Delete>("DeleteRoute"),
    Action::writing::<tag::Delete>("DeleteTags"),
    Action::writing::<vpc::Delete>("DeleteVpc"),
    Action::writing::<peering::Delete>("DeleteVpcPeeringConnection"),
    Action::reading::<route::DescribeTables>("DescribeRouteTables"),
    Action::reading::<tag::Describe>("DescribeTags"),
    Action::reading::<vpc::DescribeAttribute>("DescribeVpcAttribute"),
    Action::reading::<describe_peerings::Describe>("DescribeVpcPeeringConnections"),
    Action::reading::<vpc::Describe>("DescribeVpcs"),
    Action::writing::<vpc::DisassociateCidrBlock>("DisassociateVpcCidrBlock"),
    Action::writing::<vpc::ModifyAttribute>("ModifyVpcAttribute"),
    Action::writing::<peering::ModifyOptions>("ModifyVpcPeeringConnectionOptions"),
    Action::writing::<peering::Reject>("RejectVpcPeeringConnection"),
    Action::writing::<route::Replace>("ReplaceRoute"),
    Action::of_sts::<sts::AssumeRole>("AssumeRole"),
    Action::of_sts::<sts::GetCallerIdentity>("GetCallerIdentity"),
];

fn run<A: Act>(mut params: Params, world: &mut World, context: &Context<'_>) -> Result<Xml> {
    let action = A::parse(&mut params)?;
    params.finish()?;
    action.act(world, context)
}

/// The answer of an action that has nothing to say.
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

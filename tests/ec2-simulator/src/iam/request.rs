//! The questions that a call puts to the policies: one or more actions, each on a resource, with the condition keys that the reference lists.

use super::context::Context;
use super::reference;
use crate::protocol::Params;
use crate::world::identity::Service;
use crate::world::peering::End;
use crate::world::{Call, Caller, Place, Tags, World};

/// One question to the policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The action, with its service's prefix.
    pub action: String,
    /// The resource's ARN; `*` where the action has no resources.
    pub resource: String,
    /// The condition keys.
    pub context: Context,
}

/// Facts about a request and a resource, before the reference says which of them are condition keys.
type Facts = Vec<(String, String)>;

/// All questions of one call. There are none if the call names a resource that does not exist: EC2 then answers NotFound.
#[must_use]
pub fn of_call(
    world: &World,
    call: &Call,
    caller: &Caller,
    service: Service,
    action: &str,
    mut params: Params,
) -> Vec<Asked> {
    let asking = Asking { world, call, caller };
    match service {
        Service::Ec2 => asking.of_ec2(action, &mut params).unwrap_or_default(),
        Service::Sts => asking.of_sts(action, &mut params),
    }
}

struct Asking<'a> {
    world: &'a World,
    call: &'a Call,
    caller: &'a Caller,
}

impl Asking<'_> {
    fn of_ec2(&self, action: &str, params: &mut Params) -> Option<Vec<Asked>> {
        let name = format!("ec2:{action}");
        let Some(action) = reference::action(&name) else { return self.of_others(name, params) };
        Some(match action.name {
            "ec2:CreateVpcPeeringConnection" => self.of_request(action, params)?,
            "ec2:AcceptVpcPeeringConnection" => {
                let id = params.take("VpcPeeringConnectionId")?;
                let accepter = self.world.peering(self.call, &id).ok()?.accepter.vpc_id.clone();
                vec![self.on_vpc(action, &accepter)?, self.on_connection(action, &id, Vec::new())?]
            }
            "ec2:RejectVpcPeeringConnection"
            | "ec2:DeleteVpcPeeringConnection"
            | "ec2:ModifyVpcPeeringConnectionOptions" => {
                vec![self.on_connection(action, &params.take("VpcPeeringConnectionId")?, Vec::new())?]
            }
            "ec2:CreateRoute" | "ec2:ReplaceRoute" | "ec2:DeleteRoute" => {
                vec![self.on_table(action, &params.take("RouteTableId")?, Vec::new())?]
            }
            "ec2:CreateTags" | "ec2:DeleteTags" => {
                let tags = params.pairs("Tag").ok()?;
                let resources = params.list("ResourceId");
                let asked = |id: &String| match id.split_once('-')?.0 {
                    "pcx" => self.on_connection(action, id, request_tags(&tags)),
                    "vpc" => {
                        let facts = self.vpc_facts(id)?;
                        Some(self.asked(action, "vpc", id, facts.into_iter().chain(request_tags(&tags)).collect()))
                    }
                    _ => self.on_table(action, id, request_tags(&tags)),
                };
                resources.iter().map(asked).collect::<Option<_>>()?
            }
            // The rest has no resources.
            _ => {
                let context = self.context(|key| action.lists("", key), Vec::new());
                vec![Asked { action: name, resource: "*".into(), context }]
            }
        })
    }

    /// A connection that is to be: its ID is not known yet.
    fn of_request(&self, action: &reference::Action, params: &mut Params) -> Option<Vec<Asked>> {
        let vpc = params.take("VpcId")?;
        let place = &self.call.place;
        let peer = Place::new(
            params.take("PeerOwnerId").unwrap_or_else(|| place.account.clone()),
            params.take("PeerRegion").unwrap_or_else(|| place.region.clone()),
        );
        let tags = specified_tags(params)?;
        let mut facts = request_tags(&tags);
        facts.push(("ec2:RequesterVpc".into(), vpc_arn(place, &vpc)));
        facts.push(("ec2:AccepterVpc".into(), vpc_arn(&peer, &params.take("PeerVpcId")?)));
        let mut asked = vec![self.on_vpc(action, &vpc)?, self.asked(action, CONNECTION, "*", facts.clone())];
        if !tags.is_empty() {
            asked.push(self.tagging_by(action.name, CONNECTION, facts)?);
        }
        Some(asked)
    }

    /// An action that no policy in `deploy/iam` is about: only `ec2:*` or the like can allow it.
    fn of_others(&self, name: String, params: &mut Params) -> Option<Vec<Asked>> {
        let kind = match name.as_str() {
            "ec2:CreateVpc" => Some("vpc"),
            "ec2:CreateRouteTable" => Some("route-table"),
            _ => None,
        };
        let tags = specified_tags(params)?;
        let tagging =
            kind.filter(|_| !tags.is_empty()).and_then(|kind| self.tagging_by(&name, kind, request_tags(&tags)));
        let context = self.context(|key| key == "ec2:Region", Facts::new());
        Some([Asked { action: name, resource: "*".into(), context }].into_iter().chain(tagging).collect())
    }

    /// Tags that a new resource is to have are authorized by themselves.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/supported-iam-actions-tagging.html>
    fn tagging_by(&self, action: &str, kind: &str, mut facts: Facts) -> Option<Asked> {
        facts.push(("ec2:CreateAction".into(), action.trim_start_matches("ec2:").to_owned()));
        Some(self.asked(reference::action("ec2:CreateTags")?, kind, "*", facts))
    }

    /// `sts:TagSession` is asked for beside `sts:AssumeRole` when the session has tags:
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_permissions-required>.
    fn of_sts(&self, action: &str, params: &mut Params) -> Vec<Asked> {
        let (Some(role), "AssumeRole") = (params.take("RoleArn"), action) else { return Vec::new() };
        let tags = params.pairs("Tags.member").unwrap_or_default();
        let mut facts = request_tags(&tags);
        for key in params.list("TransitiveTagKeys.member") {
            facts.push(("sts:TransitiveTagKeys".into(), key));
        }
        for (key, parameter) in [("sts:ExternalId", "ExternalId"), ("sts:RoleSessionName", "RoleSessionName")] {
            facts.extend(params.take(parameter).map(|value| (key.to_owned(), value)));
        }
        let names = ["sts:AssumeRole", "sts:TagSession"].into_iter().take(if tags.is_empty() { 1 } else { 2 });
        let asked = |action: &reference::Action| Asked {
            action: action.name.to_owned(),
            resource: role.clone(),
            context: self.context(|key| action.lists("role", key), facts.clone()),
        };
        names.filter_map(reference::action).map(asked).collect()
    }

    fn on_vpc(&self, action: &reference::Action, id: &str) -> Option<Asked> {
        Some(self.asked(action, "vpc", id, self.vpc_facts(id)?))
    }

    fn vpc_facts(&self, id: &str) -> Option<Facts> {
        self.world.vpc(self.call, id).ok()?;
        let mut facts = self.resource_tags(id);
        facts.push(("ec2:VpcID".into(), id.to_owned()));
        facts.push(("ec2:Tenancy".into(), "default".into()));
        Some(facts)
    }

    fn on_connection(&self, action: &reference::Action, id: &str, request: Facts) -> Option<Asked> {
        let peering = self.world.peering(self.call, id).ok()?;
        let arn = |end: &End| vpc_arn(&end.place, &end.vpc_id);
        let mut facts = [request, self.resource_tags(id)].concat();
        facts.push(("ec2:RequesterVpc".into(), arn(&peering.requester)));
        facts.push(("ec2:AccepterVpc".into(), arn(&peering.accepter)));
        facts.push(("ec2:VpcPeeringConnectionID".into(), id.to_owned()));
        Some(self.asked(action, CONNECTION, id, facts))
    }

    fn on_table(&self, action: &reference::Action, id: &str, request: Facts) -> Option<Asked> {
        let table = self.world.table(self.call, id).ok()?;
        let mut facts = [request, self.resource_tags(id)].concat();
        facts.push(("ec2:RouteTableID".into(), id.to_owned()));
        facts.push(("ec2:Vpc".into(), vpc_arn(&table.place, &table.vpc_id)));
        Some(self.asked(action, "route-table", id, facts))
    }

    /// The tags that the caller's account has given to it here: those of another account or region are not seen.
    fn resource_tags(&self, id: &str) -> Facts {
        let tags = self.world.tags(&self.call.place, id).into_iter().flatten();
        let names = ["aws:ResourceTag", "ec2:ResourceTag"];
        tags.flat_map(|(key, value)| names.map(|name| (format!("{name}/{key}"), value.clone()))).collect()
    }

    fn asked(&self, action: &reference::Action, kind: &str, id: &str, facts: Facts) -> Asked {
        let Place { account, region } = &self.call.place;
        Asked {
            action: action.name.to_owned(),
            resource: format!("arn:aws:ec2:{region}:{account}:{kind}/{id}"),
            context: self.context(|key| action.lists(kind, key), facts),
        }
    }

    /// The keys of every request, and of these facts those that are condition keys here.
    fn context(&self, is_listed: impl Fn(&str) -> bool, facts: Facts) -> Context {
        let Caller { account, arn, session, .. } = self.caller;
        let principal = session.as_ref().map_or(arn, |session| &session.role);
        let no_tags = Tags::new();
        let mut context: Context = [
            ("aws:PrincipalAccount", account.as_str()),
            ("aws:PrincipalArn", principal),
            ("aws:PrincipalIsAWSService", "false"),
            ("aws:RequestedRegion", &self.call.place.region),
        ]
        .into_iter()
        .collect();
        for (key, value) in session.as_ref().map_or(&no_tags, |session| &session.tags) {
            context.add(&format!("aws:PrincipalTag/{key}"), value);
        }
        let region = ("ec2:Region".to_owned(), self.call.place.region.clone());
        for (key, value) in facts.into_iter().chain([region]).filter(|(key, _)| is_listed(key)) {
            context.add(&key, &value);
        }
        context
    }
}

fn specified_tags(params: &mut Params) -> Option<Vec<(String, Option<String>)>> {
    let mut tags = Vec::new();
    for number in params.numbers("TagSpecification") {
        tags.extend(params.pairs(&format!("TagSpecification.{number}.Tag")).ok()?);
    }
    Some(tags)
}

const CONNECTION: &str = "vpc-peering-connection";

fn vpc_arn(place: &Place, id: &str) -> String {
    format!("arn:aws:ec2:{}:{}:vpc/{id}", place.region, place.account)
}

/// `aws:TagKeys` has every key, `aws:RequestTag` only those with a value: DeleteTags may leave the value out.
fn request_tags(tags: &[(String, Option<String>)]) -> Facts {
    let mut facts = Facts::new();
    for (key, value) in tags {
        facts.push(("aws:TagKeys".into(), key.clone()));
        facts.extend(value.as_ref().map(|value| (format!("aws:RequestTag/{key}"), value.clone())));
    }
    facts
}

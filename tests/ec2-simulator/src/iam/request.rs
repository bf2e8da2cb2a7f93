//! The authorization requests of a call: one or more actions, each on a resource, with their condition keys.

use super::context::Context;
use super::reference;
use crate::protocol::Params;
use crate::world::id::ResourceKind;
use crate::world::identity::Service;
use crate::world::peering::End;
use crate::world::region::partition;
use crate::world::{Call, Caller, Location, Tags, World};

/// One action on one resource that the policies must allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuthorizationRequest {
    /// The action with the service prefix, such as `ec2:CreateTags`.
    pub(crate) action: String,
    /// The ARN of the resource. `*` if the action has no resource types.
    pub(crate) resource: String,
    pub(crate) context: Context,
}

/// Candidates for condition keys, with their values. The reference decides which of them a request has.
type Keys = Vec<(String, String)>;

/// All authorization requests of one call. Empty if the call names a resource that does not exist: the action then
/// returns NotFound.
pub(crate) fn authorization_requests(
    world: &World,
    call: &Call,
    caller: &Caller,
    service: Service,
    action: &str,
    mut params: Params,
) -> Vec<AuthorizationRequest> {
    let builder = RequestBuilder { world, call, caller };
    match service {
        Service::Ec2 => builder.ec2_action(action, &mut params).unwrap_or_default(),
        Service::Sts => builder.sts_action(action, &mut params),
        Service::Quotas => builder.without_resource(&format!("servicequotas:{action}")),
    }
}

struct RequestBuilder<'a> {
    world: &'a World,
    call: &'a Call,
    caller: &'a Caller,
}

impl RequestBuilder<'_> {
    /// An action that the reference lists without resource types.
    fn without_resource(&self, name: &str) -> Vec<AuthorizationRequest> {
        let Some(action) = reference::action(name) else { return Vec::new() };
        let context = self.context(|key| action.lists("", key), Vec::new());
        vec![AuthorizationRequest { action: name.to_owned(), resource: "*".into(), context }]
    }

    fn ec2_action(&self, action: &str, params: &mut Params) -> Option<Vec<AuthorizationRequest>> {
        let name = format!("ec2:{action}");
        let Some(action) = reference::action(&name) else { return self.other_ec2_action(name, params) };
        Some(match action.name {
            "ec2:CreateVpcPeeringConnection" => self.create_connection(action, params)?,
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
            "ec2:DescribeVpcAttribute" | "ec2:ModifyVpcAttribute" => vec![self.on_vpc(action, &params.take("VpcId")?)?],
            "ec2:GetManagedPrefixListEntries" => {
                let list = self.world.prefix_list(self.call, &params.take("PrefixListId")?).ok()?;
                // The ARN of a shared list has the account of its owner.
                let mut request = self.request(action, "prefix-list", &list.id, self.resource_tags(&list.id));
                request.resource = arn(&list.location, "prefix-list", &list.id);
                vec![request]
            }
            "ec2:CreateTags" | "ec2:DeleteTags" => {
                let tags = params.pairs("Tag").ok()?;
                let resources = params.list("ResourceId");
                let request = |id: &String| match id.split_once('-')?.0 {
                    "pcx" => self.on_connection(action, id, request_tags(&tags)),
                    "vpc" => {
                        let keys = self.vpc_keys(id)?;
                        Some(self.request(action, "vpc", id, keys.into_iter().chain(request_tags(&tags)).collect()))
                    }
                    "rtb" => self.on_table(action, id, request_tags(&tags)),
                    // The operator tags no other resources, so the reference lists none.
                    _ => {
                        let kind = ResourceKind::of(id)?.type_name();
                        Some(self.request(action, kind, id, [request_tags(&tags), self.resource_tags(id)].concat()))
                    }
                };
                resources.iter().map(request).collect::<Option<_>>()?
            }
            // The other actions have no resource types.
            _ => self.without_resource(&name),
        })
    }

    /// The connection does not exist yet, so its ARN ends with `*`.
    fn create_connection(&self, action: &reference::Action, params: &mut Params) -> Option<Vec<AuthorizationRequest>> {
        let vpc = params.take("VpcId")?;
        let location = &self.call.location;
        let peer = Location::new(
            params.take("PeerOwnerId").unwrap_or_else(|| location.account.clone()),
            params.take("PeerRegion").unwrap_or_else(|| location.region.clone()),
        );
        let tags = specified_tags(params)?;
        let mut keys = request_tags(&tags);
        keys.push(("ec2:RequesterVpc".into(), vpc_arn(location, &vpc)));
        keys.push(("ec2:AccepterVpc".into(), vpc_arn(&peer, &params.take("PeerVpcId")?)));
        let mut requests = vec![self.on_vpc(action, &vpc)?, self.request(action, CONNECTION, "*", keys.clone())];
        if !tags.is_empty() {
            requests.push(self.create_tags(action.name, CONNECTION, keys)?);
        }
        Some(requests)
    }

    /// An action that the reference does not list. Only a wildcard such as `ec2:*` allows it.
    fn other_ec2_action(&self, name: String, params: &mut Params) -> Option<Vec<AuthorizationRequest>> {
        let kind = match name.as_str() {
            "ec2:CreateVpc" => Some("vpc"),
            "ec2:CreateRouteTable" => Some("route-table"),
            _ => None,
        };
        let tags = specified_tags(params)?;
        let tagging =
            kind.filter(|_| !tags.is_empty()).and_then(|kind| self.create_tags(&name, kind, request_tags(&tags)));
        let context = self.context(|key| key == "ec2:Region", Keys::new());
        Some(
            [AuthorizationRequest { action: name, resource: "*".into(), context }].into_iter().chain(tagging).collect(),
        )
    }

    /// Tags in a create call need the permission `ec2:CreateTags` too.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/supported-iam-actions-tagging.html>
    fn create_tags(&self, action: &str, kind: &str, mut keys: Keys) -> Option<AuthorizationRequest> {
        keys.push(("ec2:CreateAction".into(), action.trim_start_matches("ec2:").to_owned()));
        Some(self.request(reference::action("ec2:CreateTags")?, kind, "*", keys))
    }

    /// A session with tags needs the permission `sts:TagSession` in addition to `sts:AssumeRole`:
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_permissions-required>.
    fn sts_action(&self, action: &str, params: &mut Params) -> Vec<AuthorizationRequest> {
        let (Some(role), "AssumeRole") = (params.take("RoleArn"), action) else { return Vec::new() };
        let tags = params.pairs("Tags.member").unwrap_or_default();
        let mut keys = request_tags(&tags);
        for key in params.list("TransitiveTagKeys.member") {
            keys.push(("sts:TransitiveTagKeys".into(), key));
        }
        for (key, parameter) in [("sts:ExternalId", "ExternalId"), ("sts:RoleSessionName", "RoleSessionName")] {
            keys.extend(params.take(parameter).map(|value| (key.to_owned(), value)));
        }
        let names = ["sts:AssumeRole", "sts:TagSession"].into_iter().take(if tags.is_empty() { 1 } else { 2 });
        let request = |action: &reference::Action| AuthorizationRequest {
            action: action.name.to_owned(),
            resource: role.clone(),
            context: self.context(|key| action.lists("role", key), keys.clone()),
        };
        names.filter_map(reference::action).map(request).collect()
    }

    fn on_vpc(&self, action: &reference::Action, id: &str) -> Option<AuthorizationRequest> {
        Some(self.request(action, "vpc", id, self.vpc_keys(id)?))
    }

    fn vpc_keys(&self, id: &str) -> Option<Keys> {
        self.world.vpc(self.call, id).ok()?;
        let mut keys = self.resource_tags(id);
        keys.push(("ec2:VpcID".into(), id.to_owned()));
        keys.push(("ec2:Tenancy".into(), "default".into()));
        Some(keys)
    }

    fn on_connection(&self, action: &reference::Action, id: &str, request: Keys) -> Option<AuthorizationRequest> {
        let peering = self.world.peering(self.call, id).ok()?;
        let vpc = |end: &End| vpc_arn(&end.location, &end.vpc_id);
        let mut keys = [request, self.resource_tags(id)].concat();
        keys.push(("ec2:RequesterVpc".into(), vpc(&peering.requester)));
        keys.push(("ec2:AccepterVpc".into(), vpc(&peering.accepter)));
        keys.push(("ec2:VpcPeeringConnectionID".into(), id.to_owned()));
        Some(self.request(action, CONNECTION, id, keys))
    }

    fn on_table(&self, action: &reference::Action, id: &str, request: Keys) -> Option<AuthorizationRequest> {
        let table = self.world.table(self.call, id).ok()?;
        let mut keys = [request, self.resource_tags(id)].concat();
        keys.push(("ec2:RouteTableID".into(), id.to_owned()));
        keys.push(("ec2:Vpc".into(), vpc_arn(&table.location, &table.vpc_id)));
        Some(self.request(action, "route-table", id, keys))
    }

    /// The tags of a resource in the caller's account and region. Tags of other accounts and regions are not visible.
    fn resource_tags(&self, id: &str) -> Keys {
        let tags = self.world.tags(&self.call.location, id).into_iter().flatten();
        let names = ["aws:ResourceTag", "ec2:ResourceTag"];
        tags.flat_map(|(key, value)| names.map(|name| (format!("{name}/{key}"), value.clone()))).collect()
    }

    fn request(&self, action: &reference::Action, kind: &str, id: &str, keys: Keys) -> AuthorizationRequest {
        AuthorizationRequest {
            action: action.name.to_owned(),
            resource: arn(&self.call.location, kind, id),
            context: self.context(|key| action.lists(kind, key), keys),
        }
    }

    /// The request context: the global keys, and those of `keys` that the reference lists.
    fn context(&self, is_listed: impl Fn(&str) -> bool, keys: Keys) -> Context {
        let Caller { account, arn, session, .. } = self.caller;
        let principal = session.as_ref().map_or(arn, |session| &session.role);
        let no_tags = Tags::new();
        let mut context: Context = [
            ("aws:PrincipalAccount", account.as_str()),
            ("aws:PrincipalArn", principal),
            ("aws:PrincipalIsAWSService", "false"),
            ("aws:RequestedRegion", &self.call.location.region),
        ]
        .into_iter()
        .collect();
        for (key, value) in session.as_ref().map_or(&no_tags, |session| &session.tags) {
            context.add(&format!("aws:PrincipalTag/{key}"), value);
        }
        let region = ("ec2:Region".to_owned(), self.call.location.region.clone());
        for (key, value) in keys.into_iter().chain([region]).filter(|(key, _)| is_listed(key)) {
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

fn vpc_arn(location: &Location, id: &str) -> String {
    arn(location, "vpc", id)
}

fn arn(Location { account, region }: &Location, kind: &str, id: &str) -> String {
    format!("arn:{}:ec2:{region}:{account}:{kind}/{id}", partition(region))
}

/// `aws:TagKeys` has every tag key. `aws:RequestTag` has only tags with a value, because DeleteTags may omit the value.
fn request_tags(tags: &[(String, Option<String>)]) -> Keys {
    let mut keys = Keys::new();
    for (key, value) in tags {
        keys.push(("aws:TagKeys".into(), key.clone()));
        keys.extend(value.as_ref().map(|value| (format!("aws:RequestTag/{key}"), value.clone())));
    }
    keys
}

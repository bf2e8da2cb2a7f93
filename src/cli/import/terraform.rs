//! The connections of a Terraform state: the output of `terraform show -json`. Pure.
//! Format: <https://developer.hashicorp.com/terraform/internals/json-format#values-representation>. Fields of the
//! resources: <https://registry.terraform.io/providers/hashicorp/aws/latest/docs/resources/vpc_peering_connection>.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::fields::{Form, block, field, place, tag_map};
use super::model::{Authority, Dns, End, Inventory, Part, Peering, Release, Route};
use super::removed::without_keys;

const CONNECTION: &str = "aws_vpc_peering_connection";
const ACCEPTER: &str = "aws_vpc_peering_connection_accepter";
const OPTIONS: &str = "aws_vpc_peering_connection_options";

const PCX: Form = Form::Id("pcx");
const VPC: Form = Form::Id("vpc");
const TABLE: Form = Form::Id("rtb");

/// A resource of the state.
#[derive(Clone, Debug)]
struct Resource<'a> {
    address: &'a str,
    kind: &'a str,
    /// False for a data source.
    is_managed: bool,
    values: &'a Value,
}

/// Facts about VPCs and route tables that other resources of the state show.
#[derive(Debug, Default)]
struct Known {
    /// The region and the owner, by the ID of the VPC.
    places: BTreeMap<String, (String, String)>,
    /// The ID of the VPC, by the ID of the route table.
    tables: BTreeMap<String, String>,
}

/// Adds the connections of a state, or of the state in a plan.
///
/// # Errors
/// If the state has another format. The error names the resource and the field.
pub(super) fn read(state: &Value, inventory: &mut Inventory) -> anyhow::Result<()> {
    let mut resources = Vec::new();
    collect(root(state)?, "values.root_module", &mut resources)?;
    let known = Known::of(&resources)?;
    resources.retain(|resource| resource.is_managed);
    let context = |resource: &Resource<'_>| resource.address.to_owned();
    // The resource of the accepter's end is read after the connection, which shows the order of the VPCs.
    for kind in [CONNECTION, ACCEPTER, OPTIONS] {
        for resource in resources.iter().filter(|resource| resource.kind == kind) {
            add_connection(resource, &known, inventory).with_context(|| context(resource))?;
        }
    }
    let mut separate = BTreeSet::new();
    for resource in resources.iter().filter(|resource| resource.kind == "aws_route") {
        separate.extend(add_route(resource, &known, inventory).with_context(|| context(resource))?);
    }
    for resource in &resources {
        add_inline_routes(resource, &separate, inventory).with_context(|| context(resource))?;
    }
    Ok(())
}

/// The root module of a state, or of the state in a plan.
///
/// # Errors
/// If the document has another format, or a major version that is not known.
fn root(state: &Value) -> anyhow::Result<&Value> {
    let expected = "pass the output of `terraform show -json`";
    let version = state["format_version"].as_str();
    if let (None, Some(raw)) = (version, state["version"].as_u64()) {
        bail!("this is a state file (version {raw}); {expected} instead");
    }
    let version = version.with_context(|| format!("format_version is missing; {expected}"))?;
    ensure!(
        matches!(version.split_once('.'), Some(("0" | "1", _))),
        "format_version is {version:?}, but only version 1 is supported; use `terraform show -json` of Terraform 1, or \
         import the connections from AWS with --region"
    );
    let root = [&state["values"]["root_module"], &state["prior_state"]["values"]["root_module"]];
    root.into_iter().find(|root| root.is_object()).context(
        "values.root_module is missing, because the state is empty; run `terraform show -json` in the directory of the \
         configuration that manages the connections",
    )
}

/// Collects the resources of a module and of its child modules.
fn collect<'a>(module: &'a Value, path: &str, resources: &mut Vec<Resource<'a>>) -> anyhow::Result<()> {
    let list = |name: &str| match &module[name] {
        Value::Null => Ok(&[][..]),
        Value::Array(items) => Ok(items.as_slice()),
        other => bail!("{path}.{name}: must be a list, but is {other}"),
    };
    for resource in list("resources")? {
        let text =
            |name: &str| resource[name].as_str().with_context(|| format!("{path}.resources: a resource has no {name}"));
        let (address, kind, values) = (text("address")?, text("type")?, &resource["values"]);
        let is_managed = resource["mode"] != "data";
        let is_known = [CONNECTION, ACCEPTER, OPTIONS].contains(&kind);
        ensure!(
            is_known || !is_managed || !kind.starts_with("aws") || !kind.contains("vpc_peering"),
            "{address}: the resource type {kind} is not supported; import its connection from AWS with --region and \
             --vpc"
        );
        resources.push(Resource { address, kind, is_managed, values });
    }
    for child in list("child_modules")? {
        collect(child, child["address"].as_str().unwrap_or(path), resources)?;
    }
    Ok(())
}

impl Known {
    fn of(resources: &[Resource<'_>]) -> anyhow::Result<Self> {
        let mut known = Self::default();
        for Resource { address, kind, values, .. } in resources {
            let vpc = if kind.ends_with("_vpc") { "id" } else { "vpc_id" };
            let Some(vpc) = values[vpc].as_str().filter(|vpc| vpc.starts_with("vpc-")) else { continue };
            if let Some(place) = values["arn"].as_str().and_then(place) {
                // The owner of a subnet or route table is not that of the VPC if the VPC is shared.
                let is_vpc = kind.ends_with("_vpc");
                if is_vpc || !known.places.contains_key(vpc) {
                    known.places.insert(vpc.to_owned(), place);
                }
            }
            if matches!(*kind, "aws_route_table" | "aws_default_route_table") {
                for name in ["id", "route_table_id"] {
                    let table = field(values, name, TABLE).with_context(|| (*address).to_owned())?;
                    known.tables.extend(table.map(|table| (table, vpc.to_owned())));
                }
            }
        }
        Ok(known)
    }

    fn end(&self, vpc_id: Option<String>, owner_id: Option<String>, region: Option<String>) -> End {
        let place = vpc_id.as_ref().and_then(|vpc| self.places.get(vpc)).cloned();
        let (known_region, known_owner) = place.unzip();
        End { vpc_id, owner_id: owner_id.or(known_owner), region: region.or(known_region), ..End::default() }
    }
}

fn add_connection(resource: &Resource<'_>, known: &Known, inventory: &mut Inventory) -> anyhow::Result<()> {
    let Resource { address, kind, values, .. } = resource;
    let tags = || Ok::<_, anyhow::Error>(tag_map(values, "tags_all")?.or(tag_map(values, "tags")?));
    let id = if *kind == CONNECTION { "id" } else { "vpc_peering_connection_id" };
    let id =
        field(values, id, PCX)?.with_context(|| format!("{id} is missing; run `terraform apply -refresh-only`"))?;
    let own = known.end(field(values, "vpc_id", VPC)?, None, None);
    let peer = known.end(field(values, "peer_vpc_id", VPC)?, field(values, "peer_owner_id", Form::Account)?, None);
    // The provider shows the region of a resource since version 6.
    let (region, peer_region) = (field(values, "region", Form::Region)?, field(values, "peer_region", Form::Region)?);
    let (mut requester, mut accepter, authorities, part) = match *kind {
        CONNECTION => {
            let (mut requester, mut accepter) = (own, peer);
            // EC2 accepts the request in the same call only within one account.
            if values["auto_accept"] == true {
                requester.owner_id = requester.owner_id.or_else(|| accepter.owner_id.clone());
            }
            requester.tags = tags()?;
            requester.region = region.or(requester.region);
            accepter.region = peer_region.or(accepter.region);
            (requester, accepter, [Authority::OwnEnd, Authority::OtherEnd], Part::Connection(id.clone()))
        }
        ACCEPTER => {
            let (requester, mut accepter) = if inventory.has_requesters_order(&id, &own, &peer) {
                let owner_id = own.owner_id.or_else(|| peer.owner_id.clone());
                (End { owner_id, ..own }, peer)
            } else {
                (peer, own)
            };
            accepter.tags = tags()?;
            // The provider shows the accepter's region as that of the peer, also at the accepter's end.
            accepter.region = peer_region.or(region).or(accepter.region);
            (requester, accepter, [Authority::OtherEnd, Authority::OwnEnd], Part::Accepter(id.clone()))
        }
        _ => (End::default(), End::default(), [Authority::Options; 2], Part::Connection(id.clone())),
    };
    requester.dns = dns(values, "requester", authorities[0]);
    accepter.dns = dns(values, "accepter", authorities[1]);
    inventory.terraform.insert((*address).to_owned(), Some(part));
    let code = values["accept_status"].as_str().map(str::to_owned);
    inventory.add(Peering { id, code, requester, accepter, is_accepter_only: *kind != CONNECTION });
    Ok(())
}

fn dns(values: &Value, name: &str, authority: Authority) -> Option<Dns> {
    Dns::new(authority, block(values, name)["allow_remote_vpc_dns_resolution"].as_bool())
}

/// The destination of a route: an IPv4 or IPv6 block, or the ID of a prefix list.
fn destination(route: &Value, prefix: &str) -> anyhow::Result<Option<String>> {
    let ipv4 = field(route, &format!("{prefix}cidr_block"), Form::CidrBlock)?;
    let ipv6 = field(route, &format!("{prefix}ipv6_cidr_block"), Form::CidrBlock)?;
    Ok(ipv4.or(ipv6).or(field(route, "destination_prefix_list_id", Form::Id("pl"))?))
}

/// Adds an `aws_route`, and returns its table and destination.
fn add_route(
    resource: &Resource<'_>,
    known: &Known,
    inventory: &mut Inventory,
) -> anyhow::Result<Option<(String, String)>> {
    let Resource { address, values, .. } = resource;
    let connection = field(values, "vpc_peering_connection_id", PCX)?;
    let (table, destination) = (field(values, "route_table_id", TABLE)?, destination(values, "destination_")?);
    let (Some(connection), Some(table), Some(destination)) = (&connection, &table, destination) else {
        inventory.terraform.insert((*address).to_owned(), None);
        return Ok(None);
    };
    let route = Route { table: table.clone(), destination: destination.clone(), connection: connection.clone() };
    let part = inventory.add_route(route, known.tables.get(table).map(String::as_str));
    inventory.terraform.insert((*address).to_owned(), part);
    Ok(Some((table.clone(), destination)))
}

/// Adds the routes inside a route table. A refresh also shows those of `aws_route` there.
fn add_inline_routes(
    resource: &Resource<'_>,
    separate: &BTreeSet<(String, String)>,
    inventory: &mut Inventory,
) -> anyhow::Result<()> {
    let Resource { address, kind, values, .. } = resource;
    if !matches!(*kind, "aws_route_table" | "aws_default_route_table") {
        return Ok(());
    }
    let (Some(table), vpc) = (field(values, "id", TABLE)?, field(values, "vpc_id", VPC)?) else { return Ok(()) };
    for (index, route) in values["route"].as_array().into_iter().flatten().enumerate() {
        let context = || format!("route[{index}]");
        let connection = field(route, "vpc_peering_connection_id", PCX).with_context(context)?;
        let destination = destination(route, "").with_context(context)?;
        let (Some(connection), Some(destination)) = (connection, destination) else { continue };
        if separate.contains(&(table.clone(), destination.clone())) {
            continue;
        }
        let route = Route { table: table.clone(), destination, connection };
        if let Some(part) = inventory.add_route(route, vpc.as_deref()) {
            let step = format!(
                "{} of Terraform contains these routes; add lifecycle {{ ignore_changes = [route] }} to it, apply, \
                 and then remove them from its configuration",
                without_keys(address)
            );
            inventory.releases.insert((part, Release::Advice(step)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

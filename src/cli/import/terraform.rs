//! The connections of a Terraform state: the output of `terraform show -json`. Pure.
//! Format: <https://developer.hashicorp.com/terraform/internals/json-format#values-representation>. Fields of the
//! resources: <https://registry.terraform.io/providers/hashicorp/aws/latest/docs/resources/vpc_peering_connection>.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::model::{End, Form, Inventory, Peering, Route, block, field, place, tag_map};

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
    ensure!(
        state["format_version"].is_string(),
        "format_version is missing: pass the output of `terraform show -json`"
    );
    let root = [&state["values"]["root_module"], &state["prior_state"]["values"]["root_module"]];
    let Some(root) = root.into_iter().find(|root| root.is_object()) else {
        bail!("values.root_module is missing: the state is empty");
    };
    let mut resources = Vec::new();
    collect(root, "values.root_module", &mut resources)?;
    let known = Known::of(&resources)?;
    let context = |resource: &Resource<'_>| resource.address.to_owned();
    for resource in resources.iter().filter(|resource| resource.is_managed) {
        add_connection(resource, &known, inventory).with_context(|| context(resource))?;
    }
    let mut separate = BTreeSet::new();
    for resource in resources.iter().filter(|resource| resource.is_managed && resource.kind == "aws_route") {
        separate.extend(add_route(resource, &known, inventory).with_context(|| context(resource))?);
    }
    for resource in resources.iter().filter(|resource| resource.is_managed) {
        add_inline_routes(resource, &separate, inventory).with_context(|| context(resource))?;
    }
    Ok(())
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
        resources.push(Resource { address, kind, is_managed: resource["mode"] != "data", values });
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
    let mut peering = match *kind {
        "aws_vpc_peering_connection" => {
            let accepter = known.end(
                field(values, "peer_vpc_id", VPC)?,
                field(values, "peer_owner_id", Form::Account)?,
                field(values, "peer_region", Form::Region)?,
            );
            let mut requester = known.end(field(values, "vpc_id", VPC)?, None, field(values, "region", Form::Region)?);
            // EC2 accepts the request in the same call only within one account.
            if values["auto_accept"] == true {
                requester.owner_id = requester.owner_id.or_else(|| accepter.owner_id.clone());
            }
            requester.tags = tags()?;
            let id = field(values, "id", PCX)?.context("id is missing")?;
            Peering { id, requester, accepter, ..Peering::default() }
        }
        "aws_vpc_peering_connection_accepter" => {
            let (vpc, peer) = (field(values, "vpc_id", VPC)?, field(values, "peer_vpc_id", VPC)?);
            let mut accepter = known.end(vpc, None, field(values, "region", Form::Region)?);
            accepter.tags = tags()?;
            let requester = known.end(peer, field(values, "peer_owner_id", Form::Account)?, None);
            let id =
                field(values, "vpc_peering_connection_id", PCX)?.context("vpc_peering_connection_id is missing")?;
            Peering { id, requester, accepter, is_accepter_only: true, ..Peering::default() }
        }
        "aws_vpc_peering_connection_options" => {
            let id =
                field(values, "vpc_peering_connection_id", PCX)?.context("vpc_peering_connection_id is missing")?;
            Peering { id, is_accepter_only: true, ..Peering::default() }
        }
        _ => return Ok(()),
    };
    peering.code = values["accept_status"].as_str().map(str::to_owned);
    peering.requester.allows_dns = dns(values, "requester");
    peering.accepter.allows_dns = dns(values, "accepter");
    inventory.terraform.insert((*address).to_owned(), Some(peering.id.clone()));
    inventory.add(peering);
    Ok(())
}

fn dns(values: &Value, name: &str) -> Option<bool> {
    block(values, name)["allow_remote_vpc_dns_resolution"].as_bool()
}

/// The destination of a route, IPv4 or IPv6. `None` for a prefix list, which the operator does not support.
fn destination(route: &Value, prefix: &str) -> anyhow::Result<Option<String>> {
    let ipv4 = field(route, &format!("{prefix}cidr_block"), Form::CidrBlock)?;
    Ok(ipv4.or(field(route, &format!("{prefix}ipv6_cidr_block"), Form::CidrBlock)?))
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
    let mut taken = None;
    let (Some(connection), Some(table), Some(destination)) = (connection, table, destination) else {
        inventory.terraform.insert((*address).to_owned(), None);
        return Ok(None);
    };
    let entry = (table.clone(), destination.clone());
    let route = Route { table, destination, connection };
    if inventory.add_route(&route, known.tables.get(&route.table).map(String::as_str)) {
        taken = Some(route.connection);
    }
    inventory.terraform.insert((*address).to_owned(), taken);
    Ok(Some(entry))
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
        if inventory.add_route(&route, vpc.as_deref()) {
            let step = format!(
                "Terraform: {:?} contains routes through {}; add lifecycle {{ ignore_changes = [route] }} to it before you \
                 remove them from its configuration",
                without_keys(address),
                route.connection
            );
            inventory.releases.insert((route.connection, step));
        }
    }
    Ok(())
}

/// The `removed` blocks that make Terraform forget the resources of the imported connections without destroying them.
/// A block cannot name one instance of a resource, so that a resource with other instances needs `terraform state rm`.
/// <https://developer.hashicorp.com/terraform/language/state/remove>
pub(super) fn removed(inventory: &Inventory, imported: &BTreeSet<String>) -> String {
    let is_taken = |id: &Option<String>| id.as_ref().is_some_and(|id| imported.contains(id));
    let mut resources: BTreeMap<String, Vec<(&String, bool)>> = BTreeMap::new();
    for (address, id) in &inventory.terraform {
        resources.entry(without_keys(address)).or_default().push((address, is_taken(id)));
    }
    let mut text = String::new();
    for (address, instances) in resources {
        if instances.iter().all(|(_, is_taken)| *is_taken) {
            let block = format!("removed {{\n  from = {address}\n\n  lifecycle {{\n    destroy = false\n  }}\n}}\n");
            text += &block;
            continue;
        }
        for (instance, _) in instances.iter().filter(|(_, is_taken)| *is_taken) {
            let quoted = instance.replace('\'', "'\\''").replace(['\n', '\r'], " ");
            _ = writeln!(text, "# {address} has other instances; run: terraform state rm '{quoted}'");
        }
    }
    text
}

/// An address without instance keys, and without characters that HCL does not allow in one.
fn without_keys(address: &str) -> String {
    let (mut plain, mut is_quoted, mut depth) = (String::new(), false, 0_usize);
    for char in address.chars() {
        match char {
            '"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ if depth == 0 && (char.is_alphanumeric() || matches!(char, '.' | '_' | '-')) => plain.push(char),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Two providers, two modules, separate and inline routes.
    fn state() -> Value {
        let resource = |address: &str, kind: &str, values: Value| {
            json!({
                "address": address, "mode": "managed", "type": kind, "name": "x",
                "provider_name": "registry.terraform.io/hashicorp/aws", "schema_version": 1, "values": values,
                "sensitive_values": {},
            })
        };
        let arn = |region: &str, account: &str, id: &str| format!("arn:aws:ec2:{region}:{account}:{id}");
        let connection = resource(
            "module.peering[\"prod\"].aws_vpc_peering_connection.this",
            "aws_vpc_peering_connection",
            json!({
                "id": "pcx-0a1b2c3d4e5f67890", "vpc_id": "vpc-11111111", "peer_vpc_id": "vpc-22222222",
                "peer_owner_id": "222222222222", "peer_region": "us-west-2", "accept_status": "active",
                "auto_accept": false, "timeouts": null,
                "accepter": [{"allow_remote_vpc_dns_resolution": false}],
                "requester": [{"allow_remote_vpc_dns_resolution": false}],
                "tags": {"Name": "prod"}, "tags_all": {"Name": "prod", "team": "net"},
            }),
        );
        let accepter = resource(
            "module.peering[\"prod\"].aws_vpc_peering_connection_accepter.this",
            "aws_vpc_peering_connection_accepter",
            json!({
                "id": "pcx-0a1b2c3d4e5f67890", "vpc_peering_connection_id": "pcx-0a1b2c3d4e5f67890",
                "vpc_id": "vpc-22222222", "peer_vpc_id": "vpc-11111111", "peer_owner_id": "111111111111",
                "accept_status": "active", "auto_accept": true, "tags": null, "tags_all": {"team": "net"},
            }),
        );
        let options = resource(
            "module.peering[\"prod\"].aws_vpc_peering_connection_options.this",
            "aws_vpc_peering_connection_options",
            json!({
                "id": "pcx-0a1b2c3d4e5f67890", "vpc_peering_connection_id": "pcx-0a1b2c3d4e5f67890",
                "requester": [{"allow_remote_vpc_dns_resolution": true}], "accepter": [],
            }),
        );
        let route = |key: &str, values: Value| resource(&format!("aws_route.all[\"{key}\"]"), "aws_route", values);
        let to = |connection: &str, destination: &str| {
            json!({
                "route_table_id": "rtb-11111111", "destination_cidr_block": destination,
                "destination_ipv6_cidr_block": "", "vpc_peering_connection_id": connection,
            })
        };
        let inline = json!([
            {"cidr_block": "10.1.0.0/16", "ipv6_cidr_block": "", "vpc_peering_connection_id": "pcx-0a1b2c3d4e5f67890"},
            {"cidr_block": "0.0.0.0/0", "gateway_id": "igw-1", "vpc_peering_connection_id": ""},
        ]);
        json!({"format_version": "1.0", "terraform_version": "1.9.0", "values": {"root_module": {
            "resources": [
                resource("aws_vpc.a", "aws_vpc", json!({
                    "id": "vpc-11111111", "arn": arn("eu-central-1", "111111111111", "vpc/vpc-11111111"),
                })),
                resource("aws_route_table.a", "aws_route_table", json!({
                    "id": "rtb-11111111", "vpc_id": "vpc-11111111", "route": [
                        {"cidr_block": "10.2.0.0/16", "vpc_peering_connection_id": "pcx-0a1b2c3d4e5f67890"},
                    ],
                })),
                resource("aws_route_table.b", "aws_route_table", json!({
                    "id": "rtb-22222222", "vpc_id": "vpc-22222222", "route": inline,
                    "arn": arn("us-west-2", "222222222222", "route-table/rtb-22222222"),
                })),
                route("peer", to("pcx-0a1b2c3d4e5f67890", "10.2.0.0/16")),
                route("internet", to("", "0.0.0.0/0")),
            ],
            "child_modules": [{"address": "module.peering[\"prod\"]", "resources": [connection, accepter, options]}],
        }}})
    }

    #[test]
    fn both_ends_are_found_in_all_modules() -> anyhow::Result<()> {
        let mut inventory = Inventory::default();
        // The options come after the connection, whose own block shows the older value.
        read(&state(), &mut inventory)?;
        let peering = &inventory.peerings["pcx-0a1b2c3d4e5f67890"];
        let place = |end: &End| (end.owner_id.clone().unwrap_or_default(), end.region.clone().unwrap_or_default());
        assert_eq!(place(&peering.requester), ("111111111111".into(), "eu-central-1".into()));
        assert_eq!(place(&peering.accepter), ("222222222222".into(), "us-west-2".into()));
        assert!(!peering.is_accepter_only);
        assert_eq!(peering.requester.routes, [("rtb-11111111".into(), ["10.2.0.0/16".into()].into())].into());
        assert_eq!(peering.accepter.routes, [("rtb-22222222".into(), ["10.1.0.0/16".into()].into())].into());
        assert_eq!(peering.requester.tags.as_ref().map(BTreeMap::len), Some(2));
        assert_eq!(peering.requester.allows_dns, Some(true));
        Ok(())
    }

    #[test]
    fn terraform_forgets_what_the_operator_takes_over() -> anyhow::Result<()> {
        let mut inventory = Inventory::default();
        read(&state(), &mut inventory)?;
        let text = removed(&inventory, &["pcx-0a1b2c3d4e5f67890".into()].into());
        assert_eq!(text.matches("removed {").count(), 3, "{text}");
        assert!(text.contains("  from = module.peering.aws_vpc_peering_connection_accepter.this\n"), "{text}");
        assert!(text.contains("terraform state rm 'aws_route.all[\"peer\"]'"), "{text}");
        assert!(!text.contains("internet"), "{text}");
        let steps: Vec<_> = inventory.releases.iter().map(|(_, step)| step).collect();
        assert!(steps.len() == 1 && steps[0].contains("aws_route_table.b"), "{steps:?}");
        assert!(removed(&inventory, &BTreeSet::new()).is_empty());
        Ok(())
    }

    #[test]
    fn a_wrong_state_is_explained() {
        let error = |state: Value| read(&state, &mut Inventory::default()).err().map(|error| format!("{error:#}"));
        assert!(error(json!({})).is_some_and(|error| error.contains("terraform show -json")));
        assert!(error(json!({"format_version": "1.0"})).is_some_and(|error| error.contains("values.root_module")));
        let mut wrong = state();
        wrong["values"]["root_module"]["child_modules"][0]["resources"][0]["values"]["vpc_id"] = json!("x");
        let error = error(wrong).unwrap_or_default();
        assert!(error.contains("aws_vpc_peering_connection.this: vpc_id: must be an ID"), "{error}");
    }
}

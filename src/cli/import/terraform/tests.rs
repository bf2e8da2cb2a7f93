//! States, and what `import` makes of them.

use serde_json::json;

use super::*;
use crate::api::{ManagementPolicy, VpcPeering, VpcPeeringAccepter};
use crate::cli::import::model::Selection;
use crate::cli::import::names::names;
use crate::cli::import::removed::removed;
use crate::cli::import::render::{Options, render};
use crate::fuzzing;

fn resource(address: &str, kind: &str, values: Value) -> Value {
    json!({
        "address": address, "mode": "managed", "type": kind, "name": "x",
        "provider_name": "registry.terraform.io/hashicorp/aws", "schema_version": 1, "values": values,
        "sensitive_values": {},
    })
}

/// A connection, its accepter and its options in a module.
fn module() -> Value {
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
    json!({"address": "module.peering[\"prod\"]", "resources": [connection, accepter, options]})
}

/// Two providers, two modules, separate and inline routes.
fn state() -> Value {
    let arn = |region: &str, account: &str, id: &str| format!("arn:aws:ec2:{region}:{account}:{id}");
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
        "child_modules": [module()],
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
    assert_eq!(peering.requester.dns.and_then(|dns| dns.allows), Some(true));
    Ok(())
}

#[test]
fn terraform_forgets_what_the_operator_takes_over() -> anyhow::Result<()> {
    let mut inventory = Inventory::default();
    read(&state(), &mut inventory)?;
    let id = || "pcx-0a1b2c3d4e5f67890".to_owned();
    let route = Part::Route(id(), "rtb-11111111".into(), "10.2.0.0/16".into());
    let text = removed(&inventory, &[Part::Connection(id()), Part::Accepter(id()), route].into());
    assert_eq!(text.matches("removed {").count(), 3, "{text}");
    assert!(text.contains("  from = module.peering.aws_vpc_peering_connection_accepter.this\n"), "{text}");
    assert!(text.contains("terraform state rm 'aws_route.all[\"peer\"]'"), "{text}");
    assert!(!text.contains("internet"), "{text}");
    let steps: Vec<_> = inventory.releases.iter().map(|(_, step)| format!("{step:?}")).collect();
    assert!(steps.len() == 1 && steps[0].contains("aws_route_table.b"), "{steps:?}");
    assert!(removed(&inventory, &BTreeSet::new()).is_empty());
    Ok(())
}

/// The provider shows the requester's VPC first if both ends belong to one account, else the own one.
#[test]
fn an_accepter_without_its_connection_has_the_right_ends() -> anyhow::Result<()> {
    for (peer_owner, expected) in
        [("111111111111", ["vpc-11111111", "vpc-22222222"]), ("222222222222", ["vpc-22222222", "vpc-11111111"])]
    {
        let mut state = state();
        let root = &mut state["values"]["root_module"];
        let mut accepter = root["child_modules"][0]["resources"][1].take();
        accepter["values"]["peer_owner_id"] = json!(peer_owner);
        accepter["values"]["peer_region"] = json!("us-west-2");
        let mut vpc = root["resources"][0].take();
        vpc["values"]["id"] = json!("vpc-22222222");
        vpc["values"]["arn"] = json!("arn:aws:ec2:us-west-2:222222222222:vpc/vpc-22222222");
        *root = json!({"resources": [vpc, accepter]});
        let mut inventory = Inventory::default();
        read(&state, &mut inventory)?;
        let peering = &inventory.peerings["pcx-0a1b2c3d4e5f67890"];
        let vpcs = peering.ends().map(|end| end.vpc_id.as_deref().unwrap_or_default());
        assert_eq!(vpcs, expected, "{peer_owner}");
        assert!(peering.is_accepter_only && peering.accepter.region.as_deref() == Some("us-west-2"));
    }
    Ok(())
}

#[test]
fn routes_to_prefix_lists_are_read() -> anyhow::Result<()> {
    let mut state = state();
    let route = &mut state["values"]["root_module"]["resources"][3]["values"];
    route["destination_cidr_block"] = json!("");
    route["destination_prefix_list_id"] = json!("pl-11111111");
    let mut inventory = Inventory::default();
    read(&state, &mut inventory)?;
    let routes = inventory.peerings.values().flat_map(|peering| peering.ends().map(|end| end.routes.clone()));
    assert!(
        routes.flatten().any(|(table, all)| table == "rtb-11111111" && all.contains("pl-11111111")),
        "{inventory:?}"
    );
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

/// Every manifest can be read again as its kind, and no text can control the terminal or leave its comment.
#[test]
fn fuzz_terraform_states() {
    fuzzing::run("terraform-states", None, |input| {
        let Ok(state) = serde_json::from_slice::<Value>(input) else { return Ok(()) };
        let mut inventory = Inventory::default();
        if let Err(error) = read(&state, &mut inventory) {
            return printable(&format!("{error:#}"));
        }
        let names = names(inventory.live());
        inventory.select(&Selection { vpcs: Vec::new(), tags: Vec::new() });
        for policy in [ManagementPolicy::Observe, ManagementPolicy::Full] {
            let options = Options { policy, ..Options::default() };
            let manifests = render(&mut inventory, &names, &options).map_err(|error| format!("{error:#}"))?;
            for manifest in &manifests {
                let text = serde_saphyr::to_string(&manifest.object).map_err(|error| error.to_string())?;
                let read: Value = serde_saphyr::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
                if read != manifest.object {
                    return Err(format!("another object after YAML: {read} {}", manifest.object));
                }
                let typed = match read["kind"].as_str() {
                    Some("VpcPeering") => serde_json::from_value::<VpcPeering>(read).err(),
                    _ => serde_json::from_value::<VpcPeeringAccepter>(read).err(),
                };
                typed.map_or(Ok(()), |error| Err(format!("{error}: {text}")))?;
            }
            let taken = manifests.iter().flat_map(|manifest| manifest.parts.iter().cloned()).collect();
            removed(&inventory, &taken).lines().try_for_each(printable)?;
        }
        inventory.notes.iter().try_for_each(|note| printable(note))
    });
}

fn printable(text: &str) -> fuzzing::Verdict {
    match text.chars().find(|char| char.is_control()) {
        Some(char) => Err(format!("{char:?} in {text:?}")),
        None => Ok(()),
    }
}

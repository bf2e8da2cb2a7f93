//! Whether a ping reaches a host of the simulator and its answer comes back. It looks at the simulator's resources
//! alone, so that it is independent of `trace`. The network ACLs are the default ones, which allow everything.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use serde_json::Value;

pub fn ensure_a_ping_is_answered(scene: &Value, from: &str, to: &str) -> Result<()> {
    let (client, server) = (interface(scene, from)?, interface(scene, to)?);
    let there = peering_to(scene, client, to)?;
    let back = peering_to(scene, server, from)?;
    ensure!(there == back, "the request takes {there}, and the answer {back}");
    let mut peerings = scene["peerings"].as_array().into_iter().flatten();
    let peering = peerings.find(|one| one["id"] == *there).with_context(|| format!("no {there}"))?;
    ensure!(peering["phase"]["code"] == "active", "{there} is not active: {peering}");
    let groups: Vec<_> = server["group_ids"].as_array().into_iter().flatten().collect();
    let all = scene["security_groups"].as_array().into_iter().flatten();
    let rules = all.filter(|group| groups.contains(&&group["id"])).flat_map(|group| group["rules"].as_array());
    let is_allowed = rules.flatten().any(|rule| {
        let block = rule["peer"]["ipv4"].as_str();
        let is_icmp = ["icmp", "1", "-1"].iter().any(|name| rule["protocol"] == *name);
        rule["egress"] != true && is_icmp && block.is_some_and(|block| contains(block, from))
    });
    ensure!(is_allowed, "no security group of {to} allows ICMP from {from}");
    Ok(())
}

fn interface<'a>(scene: &'a Value, address: &str) -> Result<&'a Value> {
    let mut all = scene["network_interfaces"].as_array().into_iter().flatten();
    let has = |one: &&Value| one["ipv4_addresses"].as_array().into_iter().flatten().any(|own| own == address);
    all.find(has).with_context(|| format!("no network interface has {address}"))
}

/// The peering that the route table of the interface's subnet names for a destination.
fn peering_to<'a>(scene: &'a Value, interface: &Value, to: &str) -> Result<&'a str> {
    let subnet = &interface["subnet_id"];
    let mut subnets = scene["subnets"].as_array().into_iter().flatten();
    let vpc = &subnets.find(|one| one["id"] == *subnet).context("no subnet")?["vpc_id"];
    let tables = || scene["route_tables"].as_array().into_iter().flatten().filter(|table| table["vpc_id"] == *vpc);
    let is_own = |table: &&Value| table["subnet_ids"].as_array().into_iter().flatten().any(|id| id == subnet);
    let table = tables().find(is_own).or_else(|| tables().find(|table| table["main"] == true));
    let routes = table.context("no route table")?["routes"].as_array().into_iter().flatten();
    let fits = |route: &&Value| route["destination"].as_str().is_some_and(|block| contains(block, to));
    let route = routes.filter(fits).max_by_key(|route| length(route["destination"].as_str().unwrap_or_default()));
    let route = route.with_context(|| format!("{vpc} has no route to {to}"))?;
    route["target"]["peering"].as_str().with_context(|| format!("the route to {to} leads elsewhere: {route}"))
}

fn length(block: &str) -> u8 {
    block.parse().map_or(0, |block: IpNet| block.prefix_len())
}

fn contains(block: &str, address: &str) -> bool {
    let (block, address) = (block.parse::<IpNet>(), address.parse::<IpAddr>());
    block.is_ok_and(|block| address.is_ok_and(|address| block.contains(&address)))
}

//! The effects of the upkeep of one end on EC2.

use std::sync::Arc;

use crate::api::{ManagedRoute, PeeringOptions, Side, VpcInfo};
use crate::peering::blocker::Blocker;
use crate::peering::connection::{Connection, StatusCode};
use crate::peering::dns::{DnsAttribute, DnsAttributes};
use crate::peering::routes::{Destination, Route, RouteChange, RouteTable, RouteTables, Target};
use crate::peering::upkeep::UpkeepStep;

/// Changes the tags of a connection.
pub(crate) fn change_tags(connection: &mut Connection, step: &UpkeepStep) {
    match step {
        UpkeepStep::Tag { tags, .. } => {
            for (key, value) in tags {
                connection.tags.insert(key.as_str().into(), value.as_str().into());
            }
        }
        UpkeepStep::Untag { keys, .. } => keys.iter().for_each(|key| _ = connection.tags.remove(key.as_str())),
        UpkeepStep::RecordTags { .. }
        | UpkeepStep::SetOptions { .. }
        | UpkeepStep::SetDnsAttribute { .. }
        | UpkeepStep::RecordRoutes { .. }
        | UpkeepStep::ChangeRoutes { .. } => {}
    }
}

/// Sets the DNS option of one end of a connection.
pub(crate) fn set_option(connection: &mut Connection, side: Side, allow: bool) {
    let end = match side {
        Side::Requester => &mut connection.requester,
        Side::Accepter => &mut connection.accepter,
    };
    let options = end.peering_options.get_or_insert_with(PeeringOptions::default);
    options.allow_dns_resolution_from_remote_vpc = Some(allow);
}

/// Turns on a DNS attribute of a VPC.
pub(crate) fn turn_on(dns: Option<&mut Result<DnsAttributes, Blocker>>, attribute: DnsAttribute) {
    if let Some(Ok(dns)) = dns {
        match attribute {
            DnsAttribute::Support => dns.support = true,
            DnsAttribute::Hostnames => dns.hostnames = true,
        }
    }
}

/// Sets the status code. An active connection shows the CIDR blocks of both VPCs, as far as they are known.
pub(crate) fn set_code(connection: &mut Connection, code: &StatusCode, [requester, accepter]: &[VpcInfo; 2]) {
    if *code == StatusCode::Active && connection.code != StatusCode::Active {
        add_blocks(&mut connection.requester, requester);
        add_blocks(&mut connection.accepter, accepter);
    }
    connection.code = code.clone();
}

fn add_blocks(end: &mut VpcInfo, vpc: &VpcInfo) {
    if vpc.cidr_block.is_some() {
        end.cidr_block.clone_from(&vpc.cidr_block);
        end.cidr_block_set.clone_from(&vpc.cidr_block_set);
        end.ipv6_cidr_block_set.clone_from(&vpc.ipv6_cidr_block_set);
    }
}

/// The routes through a deleted connection become blackholes.
pub(crate) fn blackhole(tables: &mut Arc<RouteTables>, id: &str) {
    change_tables(tables, |table| {
        let through = table.routes.iter_mut().filter(|route| route.target == Target::Peering(id.to_owned()));
        through.for_each(|route| route.is_blackhole = true);
    });
}

/// Creates, replaces or deletes a route.
pub(crate) fn change_route(tables: &mut Arc<RouteTables>, change: &RouteChange) {
    let ManagedRoute { route_table_id, vpc_peering_connection_id, .. } = change.route();
    let Some(destination) = Destination::of(change.route()) else { return };
    change_tables(tables, |table| {
        if table.id != *route_table_id {
            return;
        }
        table.routes.retain(|route| route.destination != destination);
        if !matches!(change, RouteChange::Delete(_)) {
            let target = Target::Peering(vpc_peering_connection_id.clone());
            table.routes.push(Route { destination: destination.clone(), target, is_blackhole: false });
        }
    });
}

fn change_tables(tables: &mut Arc<RouteTables>, change: impl Fn(&mut RouteTable)) {
    let changed = tables.all().map(|table| {
        let mut table = RouteTable::clone(table);
        change(&mut table);
        table
    });
    *tables = Arc::new(changed.collect::<RouteTables>());
}

#[cfg(test)]
mod tests;

//! The connections of AWS accounts.

use std::collections::BTreeMap;

use super::model::{End, Inventory, Peering, Route};
use crate::api::{Side, VpcInfo};
use crate::aws::{Account, AwsError, all_pages};
use crate::peering::routes::{RouteTable, RouteTables, Target, cidr_blocks};
use crate::peering::{Connection, Snapshot};

/// Adds the connections of a region, with the routes of the ends that the account owns there.
///
/// # Errors
/// Those of AWS.
pub(super) async fn read(account: &Account, region: &str, inventory: &mut Inventory) -> Result<(), AwsError> {
    let (id, ec2) = (account.id().await?, account.ec2());
    let connections = all_pages::<Snapshot>(ec2, region, None);
    let tables = all_pages::<RouteTables>(ec2, region, None);
    let (connections, tables) = tokio::try_join!(connections, tables)?;
    add(&id, region, &connections, &tables, inventory);
    Ok(())
}

fn add(account: &str, region: &str, connections: &[Connection], tables: &[RouteTable], inventory: &mut Inventory) {
    for connection in connections {
        let end = |info: &VpcInfo| {
            // EC2 omits the region of an end that is in the caller's region.
            let place = info.region.as_deref().unwrap_or(region);
            let is_own = info.owner_id.as_deref() == Some(account) && place == region;
            let tags = || connection.tags.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
            End {
                vpc_id: info.vpc_id.as_ref().map(ToString::to_string),
                owner_id: info.owner_id.as_ref().map(ToString::to_string),
                region: Some(place.to_owned()),
                cidr_blocks: cidr_blocks(info).iter().map(ToString::to_string).collect(),
                allows_dns: info.peering_options.as_ref().and_then(|it| it.allow_dns_resolution_from_remote_vpc),
                tags: is_own.then(tags),
                routes: BTreeMap::new(),
            }
        };
        let (requester, accepter) = (end(&connection.requester), end(&connection.accepter));
        inventory.add(Peering {
            id: connection.id.clone(),
            code: Some(connection.code.to_string()),
            is_accepter_only: requester.owner_id.as_deref() != Some(account),
            requester,
            accepter,
        });
    }
    for table in tables {
        for route in &table.routes {
            let Target::Peering(connection) = &route.target else { continue };
            let Some(peering) = inventory.peerings.get(connection) else { continue };
            // A table of a shared VPC that another account owns is not the account's own.
            let sides = [Side::Requester, Side::Accepter].map(|side| peering.end(side));
            let is_own = |end: &&End| end.vpc_id.as_ref() == Some(&table.vpc_id) && end.tags.is_some();
            if sides.into_iter().any(|end| is_own(&end)) {
                let route = Route {
                    table: table.id.clone(),
                    destination: route.destination.to_string(),
                    connection: connection.clone(),
                };
                inventory.add_route(&route, Some(&table.vpc_id));
            }
        }
    }
}

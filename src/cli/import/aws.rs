//! The connections of AWS accounts.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Authority, Dns, End, Inventory, Peering};
use crate::api::VpcInfo;
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
            // The account sees neither the tags nor the routes of the other end.
            let is_own = info.owner_id.as_deref() == Some(account) && place == region;
            let tags = || connection.tags.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
            let allows = info.peering_options.as_ref().and_then(|it| it.allow_dns_resolution_from_remote_vpc);
            End {
                is_proven: is_own,
                vpc_id: info.vpc_id.as_ref().map(ToString::to_string),
                owner_id: info.owner_id.as_ref().map(ToString::to_string),
                region: Some(place.to_owned()),
                cidr_blocks: cidr_blocks(info).iter().map(ToString::to_string).collect(),
                dns: Dns::new(Authority::Ec2, allows),
                tags: is_own.then(tags),
                routes: if is_own { routes(info, &connection.id, tables) } else { BTreeMap::new() },
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
}

/// The destinations of the routes from a VPC through a connection, by the ID of the route table.
fn routes(info: &VpcInfo, connection: &str, tables: &[RouteTable]) -> BTreeMap<String, BTreeSet<String>> {
    let mut routes: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for table in tables.iter().filter(|table| info.vpc_id.as_deref() == Some(table.vpc_id.as_str())) {
        for route in &table.routes {
            if matches!(&route.target, Target::Peering(id) if id == connection) {
                routes.entry(table.id.clone()).or_default().insert(route.destination.to_string());
            }
        }
    }
    routes
}

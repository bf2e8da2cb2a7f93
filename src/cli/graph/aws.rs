//! The graph of one AWS account in some regions.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Graph, Peering, blocks};
use crate::aws::{Account, AwsError, MAX_FILTER_VALUES, all_pages};
use crate::peering::preflight::Vpc;
use crate::peering::routes::{RouteTable, RouteTables, Target};
use crate::peering::{Connection, Owner, Snapshot};

/// EC2's view of one region.
#[derive(Clone, Debug, Default)]
pub(super) struct Region {
    name: String,
    /// The ID of the account that looks.
    account: String,
    connections: Vec<Connection>,
    tables: Vec<RouteTable>,
    vpcs: Vec<Vpc>,
}

/// Lists the connections and route tables of a region, and the VPCs of the connections.
///
/// # Errors
/// Those of AWS.
pub(super) async fn look(account: &Account, region: &str) -> Result<Region, AwsError> {
    let (id, ec2) = (account.id().await?, account.ec2());
    let connections = all_pages::<Snapshot>(ec2, region, None);
    let tables = all_pages::<RouteTables>(ec2, region, None);
    let (connections, tables) = tokio::try_join!(connections, tables)?;
    let ends = connections.iter().flat_map(|connection| [&connection.requester, &connection.accepter]);
    let ids: BTreeSet<_> = ends.filter_map(|end| end.vpc_id.as_ref()).map(ToString::to_string).collect();
    let (ids, mut vpcs) = (Vec::from_iter(ids), Vec::new());
    for ids in ids.chunks(MAX_FILTER_VALUES) {
        vpcs.extend(ec2.describe_vpcs(region, ids.iter().cloned()).await?.into_values());
    }
    Ok(Region { name: region.to_owned(), account: id, connections, tables, vpcs })
}

/// Draws the regions of one account.
pub(super) fn graph(regions: &[Region]) -> Graph {
    let mut graph = Graph::default();
    for region in regions {
        let owned: BTreeMap<_, _> = region.vpcs.iter().map(|vpc| (vpc.id.as_str(), vpc)).collect();
        for connection in &region.connections {
            let keys = [&connection.requester, &connection.accepter].map(|end| {
                let key = end.vpc_id.as_ref().map_or_else(|| format!("VPC of {}", connection.id), ToString::to_string);
                let blocks = owned.get(key.as_str()).map_or_else(|| blocks(end), |vpc| vpc.cidr_blocks.clone());
                // EC2 omits the region of an end that is in the caller's region.
                let place = end.region.as_deref().unwrap_or(&region.name);
                graph.add_vpc(&key, end.owner_id.as_deref(), Some(place), blocks);
                key
            });
            let routes = keys.each_ref().map(|key| region.has_route(&owned, key, &connection.id));
            let [requester, accepter] = keys;
            graph.add_peering(Peering {
                id: Some(connection.id.clone()),
                resources: resource(connection).into_iter().collect(),
                requester,
                accepter,
                code: Some(connection.code.clone()),
                expires: connection.expiration_time,
                routes,
            });
        }
    }
    graph.sorted()
}

impl Region {
    /// Whether a route table of the VPC has a route to the connection. `None` for a VPC that this account does not own
    /// in this region.
    fn has_route(&self, owned: &BTreeMap<&str, &Vpc>, vpc: &str, connection: &str) -> Option<bool> {
        let owner = owned.get(vpc)?.owner_id.as_deref();
        owner.is_none_or(|owner| owner == self.account).then_some(())?;
        let targets = self.tables.iter().filter(|table| table.vpc_id == vpc).flat_map(|table| &table.routes);
        Some(targets.into_iter().any(|route| matches!(&route.target, Target::Peering(id) if id == connection)))
    }
}

/// The resource that the ownership tags name. Tags prove nothing, but this is only a label.
fn resource(connection: &Connection) -> Option<String> {
    let tag = |key: &str| connection.tags.get(key).map(ToString::to_string);
    match (tag(Owner::NAMESPACE), tag(Owner::NAME), tag("Name")) {
        (Some(namespace), Some(name), _) => Some(format!("{namespace}/{name}")),
        (_, _, name) => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::testing;
    use crate::peering::StatusCode;

    #[tokio::test]
    async fn routes_of_own_vpcs_are_known() -> Result<(), Box<dyn std::error::Error>> {
        let (_server, ec2) = testing::instant_simulator().await?;
        let region = "eu-central-1";
        let one = testing::vpc(&ec2, region, "10.1.0.0/16").await?;
        let other = testing::vpc(&ec2, region, "10.2.0.0/16").await?;
        let id = testing::peering(&ec2, region, &one, &other).await?;
        let vpcs: Vec<_> = ec2.describe_vpcs(region, [one.clone(), other.clone()]).await?.into_values().collect();
        let account = vpcs.first().and_then(|vpc| vpc.owner_id.clone()).unwrap_or_default();
        let mut seen = Region {
            name: region.to_owned(),
            account,
            connections: all_pages::<Snapshot>(&ec2, region, None).await?,
            tables: all_pages::<RouteTables>(&ec2, region, None).await?,
            vpcs,
        };
        let drawn = graph(std::slice::from_ref(&seen));
        assert_eq!(drawn.peerings[0].code, Some(StatusCode::Active));
        assert_eq!(drawn.peerings[0].missing_routes().as_deref(), Some("no routes"));
        assert!(drawn.vpcs[&one].cidr_blocks.contains("10.1.0.0/16"));
        let table = seen.tables.iter_mut().find(|table| table.vpc_id == one).ok_or("no table")?;
        let mut route = table.routes.first().cloned().ok_or("no route")?;
        route.target = Target::Peering(id);
        table.routes.push(route);
        let drawn = graph(&[seen]);
        assert_eq!(drawn.peerings[0].missing_routes(), Some(format!("no return route from {other}")));
        Ok(())
    }
}

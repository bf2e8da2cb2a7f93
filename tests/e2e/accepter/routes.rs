//! Routes to several requesters of one `VpcPeeringAccepter`: a hub and its spokes.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use environment::{ec2, eventually};
use serde_json::{Value, json};
use vpc_peering_operator::api::VpcPeeringAccepter;

use super::end::{ACCOUNT, AccepterEnd, LIMIT, accept_any, condition, request};
use crate::prefix_lists;
use crate::routes::through_peerings;
use crate::world::{REGION, World};

/// A hub that accepts the requests of two spokes, and a route to each destination.
struct Hub {
    end: AccepterEnd,
    /// The IDs of the connections, in the order of the spokes.
    ids: Vec<String>,
}

impl Hub {
    /// Each spoke is a VPC with some CIDR blocks.
    async fn with_spokes(world: &World, routes: Value, spokes: &[&[&str]]) -> Result<Self> {
        let end = AccepterEnd::own(world);
        let mut ids = Vec::new();
        for blocks in spokes {
            let vpc = ec2::create_vpc(&world.ec2, blocks.first().context("no block")?).await?;
            for block in blocks.iter().skip(1) {
                world.ec2.associate_vpc_cidr_block().vpc_id(&vpc).cidr_block(*block).send().await?;
            }
            ids.push(request(world, &end, &vpc).await?);
        }
        end.apply(json!({"accept": [accept_any(ACCOUNT, json!({}))], "routes": routes})).await?;
        Ok(Self { end, ids })
    }

    /// Every destination of the hub, with the spoke that it leads to.
    async fn routes(&self) -> Result<BTreeSet<(String, usize)>> {
        let routes = through_peerings(&self.end.ec2, &self.end.vpc).await?;
        let spoke = |id: &String| self.ids.iter().position(|other| other == id);
        routes.iter().map(|(_, to, id)| Ok((to.clone(), spoke(id).context("another connection")?))).collect()
    }

    async fn until_routes(&self, expected: &[(&str, usize)]) -> Result<()> {
        let expected: BTreeSet<_> = expected.iter().map(|(to, spoke)| ((*to).to_owned(), *spoke)).collect();
        eventually("the routes of the hub", LIMIT, async || {
            let routes = self.routes().await?;
            ensure!(routes == expected, "{routes:?} instead of {expected:?}");
            Ok(())
        })
        .await
        .map_err(|error| self.end.world.with_log(error))
    }

    /// Waits until `RoutesReady` has this reason, and the message contains these parts.
    async fn until_told(&self, reason: &str, parts: &[&str]) -> Result<VpcPeeringAccepter> {
        let is_so = |object: &VpcPeeringAccepter| {
            condition(object, "RoutesReady")
                .is_some_and(|told| told.reason == reason && parts.iter().all(|part| told.message.contains(part)))
        };
        self.end.until(reason, is_so).await
    }
}

pub async fn two_requesters_with_one_cidr_block_are_reported_as_such(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let routes = json!({"routeTables": {"main": true}});
    let hub =
        Hub::with_spokes(&world, routes, &[&["10.81.0.0/16", "100.64.0.0/16"], &["10.82.0.0/16", "100.64.0.0/16"]])
            .await?;
    let object = hub.until_told("RouteConflict", &["100.64.0.0/16", "another connection of this resource"]).await?;
    let told = condition(&object, "RoutesReady").context("no RoutesReady")?;
    let parts = [hub.ids[0].as_str(), hub.ids[1].as_str(), "spec.routes.destinationCidrBlocks"];
    ensure!(parts.iter().all(|part| told.message.contains(part)), "{told:?}");
    ensure!(!told.message.contains("did not create"), "{told:?}");
    let served = hub.routes().await?;
    let holder = served.iter().find(|(to, _)| to == "100.64.0.0/16").context("no route")?.1;
    hub.until_routes(&[("10.81.0.0/16", 0), ("10.82.0.0/16", 1), ("100.64.0.0/16", holder)]).await?;

    // The spec names destinations that only one requester has.
    let routes = json!({"routeTables": {"main": true}, "destinationCidrBlocks": ["10.81.0.0/16", "10.82.0.0/16"]});
    hub.end.apply(json!({"accept": [accept_any(ACCOUNT, json!({}))], "routes": routes})).await?;
    hub.until_told("Synced", &[]).await?;
    hub.until_routes(&[("10.81.0.0/16", 0), ("10.82.0.0/16", 1)]).await
}

pub async fn excluded_destinations_and_tables_get_no_route_of_an_accepter(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let routes = json!({"routeTables": {"main": true}, "excludeCidrBlocks": ["100.64.0.0/10"]});
    let hub = Hub::with_spokes(&world, routes, &[&["10.81.0.0/16", "100.64.0.0/16"], &["10.82.0.0/16"]]).await?;
    hub.until_routes(&[("10.81.0.0/16", 0), ("10.82.0.0/16", 1)]).await?;
    hub.until_told("Synced", &[]).await?;

    // An exclusion that is smaller than a block is reported.
    let routes = json!({"routeTables": {"main": true}, "excludeCidrBlocks": ["10.81.0.0/16", "10.82.7.0/24"]});
    hub.end.apply(json!({"accept": [accept_any(ACCOUNT, json!({}))], "routes": routes})).await?;
    hub.until_told("InvalidRequest", &["spec.routes.excludeCidrBlocks", "10.82.7.0/24", "10.82.0.0/16"]).await?;
    hub.until_routes(&[("100.64.0.0/16", 0), ("10.82.0.0/16", 1)]).await?;

    let tables = hub.end.ec2.describe_route_tables().send().await?.route_tables.unwrap_or_default();
    let of_hub = tables.into_iter().filter(|table| table.vpc_id.as_deref() == Some(&hub.end.vpc));
    let ids: Vec<_> = of_hub.filter_map(|table| table.route_table_id).collect();
    let routes = json!({"routeTables": {"all": true, "exclude": {"ids": ids}}});
    hub.end.apply(json!({"accept": [accept_any(ACCOUNT, json!({}))], "routes": routes})).await?;
    hub.until_routes(&[]).await
}

pub async fn each_destination_leads_to_the_requester_that_has_it(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let destinations = ["10.81.0.0/16", "10.82.7.0/24", "10.83.0.0/16"];
    let routes = json!({"routeTables": {"main": true}, "destinationCidrBlocks": destinations});
    let hub = Hub::with_spokes(&world, routes, &[&["10.81.0.0/16"], &["10.82.0.0/16"]]).await?;
    hub.until_routes(&[("10.81.0.0/16", 0), ("10.82.7.0/24", 1)]).await?;
    // Only the destination that no requester has is reported, once.
    let object = hub.until_told("InvalidRequest", &["spec.routes.destinationCidrBlocks", "10.83.0.0/16"]).await?;
    let told = condition(&object, "RoutesReady").context("no RoutesReady")?;
    ensure!(told.message.matches("10.83.0.0/16").count() == 1, "{told:?}");
    ensure!(!told.message.contains("10.82.7.0/24"), "{told:?}");
    let routes = json!({"routeTables": {"main": true}, "destinationCidrBlocks": &destinations[..2]});
    hub.end.apply(json!({"accept": [accept_any(ACCOUNT, json!({}))], "routes": routes})).await?;
    hub.until_told("Synced", &[]).await?;
    hub.until_routes(&[("10.81.0.0/16", 0), ("10.82.7.0/24", 1)]).await
}

/// A route table has one route to a list, so that all entries of the list must be those of one requester.
pub async fn a_prefix_list_leads_to_the_requester_that_has_its_entries(world: World) -> Result<()> {
    let lists = ["pl-0000000000000000a", "pl-0000000000000000b"];
    let put = async |first: &[&str]| {
        let second: &[&str] = &["10.82.7.0/24"];
        prefix_lists::put(&world, &[(lists[0], ACCOUNT, REGION, first), (lists[1], ACCOUNT, REGION, second)]).await
    };
    put(&["10.81.0.0/16"]).await?;
    let _operator = world.operator.start().await?;
    let routes = json!({"routeTables": {"main": true}, "destinationPrefixListIds": lists});
    let hub = Hub::with_spokes(&world, routes, &[&["10.81.0.0/16"], &["10.82.0.0/16"]]).await?;
    hub.until_routes(&[(lists[0], 0), (lists[1], 1)]).await?;
    hub.until_told("Synced", &[]).await?;
    for (wrong, entry) in [(&["10.81.0.0/16", "10.82.0.0/16"][..], "10.82.0.0/16"), (&["10.83.0.0/16"], "10.83.0.0/16")]
    {
        put(wrong).await?;
        hub.until_told("UnexpectedCidrBlock", &["spec.routes.destinationPrefixListIds", lists[0], entry]).await?;
        hub.until_routes(&[(lists[1], 1)]).await?;
    }
    put(&["10.82.9.0/24"]).await?;
    hub.until_routes(&[(lists[0], 1), (lists[1], 1)]).await?;
    hub.end.delete().await?;
    hub.end.until_gone().await?;
    hub.until_routes(&[]).await
}

/// The requester deletes its connection while the operator is stopped. The tags in EC2 prove whose routes they are.
pub async fn routes_to_a_requester_that_deleted_its_connection_are_removed(world: World) -> Result<()> {
    let operator = world.operator.start().await?;
    let routes = json!({"routeTables": {"main": true}});
    let hub =
        Hub::with_spokes(&world, routes, &[&["10.81.0.0/16", "100.64.0.0/16"], &["10.82.0.0/16", "100.64.0.0/16"]])
            .await?;
    hub.until_told("RouteConflict", &["100.64.0.0/16"]).await?;
    let served = hub.routes().await?;
    let holder = served.iter().find(|(to, _)| to == "100.64.0.0/16").context("no route")?.1;
    operator.terminate().await?;
    world.ec2.delete_vpc_peering_connection().vpc_peering_connection_id(&hub.ids[holder]).send().await?;
    let _operator = world.operator.start().await?;
    // The other requester takes over the block that both had.
    let (other, own) = if holder == 0 { (1, "10.82.0.0/16") } else { (0, "10.81.0.0/16") };
    hub.until_routes(&[(own, other), ("100.64.0.0/16", other)]).await?;
    hub.until_told("Synced", &[]).await?;
    Ok(())
}

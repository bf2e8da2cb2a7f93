//! Routes through a connection that has ended: they are removed if EC2 proves that the connection was the resource's
//! own. Otherwise they are reported.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use environment::eventually;
use serde_json::json;
use vpc_peering_operator::api::VpcPeering;

use super::both_ends::BothEnds;
use super::routes::{main_table, through_peerings, until_routes};
use super::world::{World, condition, connection_id};

const LIMIT: Duration = Duration::from_secs(30);

/// Longer than EC2 shows a deleted connection.
const UNTIL_HIDDEN: Duration = Duration::from_secs(3 * 24 * 3600);

/// Adds routes at both ends.
fn with_routes(ends: &mut BothEnds) {
    for end in ["requester", "accepter"] {
        ends.manifest["spec"][end]["routes"] = json!({"routeTables": {"main": true}});
    }
}

/// Waits until no route is left at either end, and `RoutesReady` says why.
async fn until_withdrawn(ends: &BothEnds, id: &str) -> Result<()> {
    let world = &ends.world;
    until_routes("removed", &world.ec2, &world.requester, &[]).await.map_err(|error| world.with_log(error))?;
    until_routes("removed", &ends.accepter, &ends.accepter_vpc, &[]).await.map_err(|error| world.with_log(error))?;
    let is_reported = |object: &VpcPeering| {
        let routes = condition(object, "RoutesReady");
        object.status.as_ref().is_some_and(|status| status.routes.is_empty())
            && routes.is_some_and(|told| {
                told.status == "False"
                    && told.reason == "Deleted"
                    && told.message.contains(id)
                    && told.message.contains("removed")
            })
    };
    world.until("the removal is reported", is_reported).await?;
    world.until_stalled("Deleted").await?;
    Ok(())
}

pub async fn routes_through_a_connection_that_the_other_side_deleted_are_removed(world: World) -> Result<()> {
    let operator = world.operator.start().await?;
    let mut ends = BothEnds::far_apart(&world).await?;
    with_routes(&mut ends);
    ends.apply().await?;
    let first = connection_id(&world.until_ready().await?).context("no ID")?.to_owned();
    ends.accepter.delete_vpc_peering_connection().vpc_peering_connection_id(&first).send().await?;
    until_withdrawn(&ends, &first).await?;

    // The next connection gets its routes.
    world.request_reconcile("again").await?;
    let is_new = |object: &VpcPeering| {
        connection_id(object).is_some_and(|id| id != first)
            && condition(object, "Ready").is_some_and(|ready| ready.status == "True")
    };
    let object = world.until("ready again", is_new).await?;
    let second = connection_id(&object).context("no ID")?.to_owned();
    let table = main_table(&world.ec2, &ends.world.requester).await?;
    until_routes("again", &world.ec2, &ends.world.requester, &[(&table, "10.2.0.0/16", &second)]).await?;

    // A new process learns from the tags in EC2 that the connection was the resource's own.
    operator.terminate().await?;
    world.ec2.delete_vpc_peering_connection().vpc_peering_connection_id(&second).send().await?;
    let _operator = world.operator.start().await?;
    until_withdrawn(&ends, &second).await
}

pub async fn routes_through_a_connection_that_ec2_no_longer_shows_are_reported(world: World) -> Result<()> {
    let operator = world.operator.start().await?;
    let mut manifest = world.manifest();
    manifest["spec"]["requester"]["routes"] = json!({"routeTables": {"main": true}});
    world.apply(&manifest).await?;
    let id = connection_id(&world.until_ready().await?).context("no ID")?.to_owned();
    operator.terminate().await?;
    world.ec2.delete_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
    world.simulator().advance(UNTIL_HIDDEN).await?;
    let _operator = world.operator.start().await?;
    let table = main_table(&world.ec2, &world.requester).await?;
    world
        .until("reported", |object| {
            condition(object, "RoutesReady").is_some_and(|told| {
                told.reason == "RouteConflict"
                    && [id.as_str(), table.as_str(), "10.2.0.0/16", "by hand"]
                        .iter()
                        .all(|part| told.message.contains(part))
            })
        })
        .await?;
    ensure!(through_peerings(&world.ec2, &world.requester).await?.len() == 1, "nothing proves that the route is ours");
    // A person removes the route.
    world.ec2.delete_route().route_table_id(&table).destination_cidr_block("10.2.0.0/16").send().await?;
    eventually("no record", LIMIT, async || {
        let object = world.get().await?;
        ensure!(object.status.as_ref().is_some_and(|status| status.routes.is_empty()), "{:?}", object.status);
        Ok(())
    })
    .await
    .map_err(|error| world.with_log(error))
}

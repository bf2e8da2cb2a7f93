//! Route tables that the spec selects by their subnets.

use anyhow::{Context, Result, ensure};
use ec2_simulator::Scene;
use serde_json::{Value, json};

use super::both_ends::BothEnds;
use super::routes::{main_table, until_routes};
use super::world::{OTHER_ACCOUNT, OTHER_REGION, REGION, World, condition, connection_id};

/// The account of the requester.
const ACCOUNT: &str = "111111111111";

const DATA: &str = "subnet-0000000000000000a";
const WEB: &str = "subnet-0000000000000000b";
const ELSEWHERE: &str = "subnet-0000000000000000c";
const REMOTE: &str = "subnet-0000000000000000d";
const LATER: &str = "subnet-0000000000000000e";

/// The route table of [`DATA`].
const OF_DATA: &str = "rtb-0000000000000000a";

fn here(resource: Value) -> Value {
    located(resource, ACCOUNT, REGION)
}

fn located(mut resource: Value, account: &str, region: &str) -> Value {
    (resource["account"], resource["region"]) = (json!(account), json!(region));
    resource
}

async fn add(world: &World, scene: Value) -> Result<()> {
    let scene: Scene = serde_json::from_value(scene)?;
    world.simulator().add(&scene).await?;
    Ok(())
}

/// Adds a subnet with a route table of its own and one without to the requester's VPC, and one subnet elsewhere.
async fn add_subnets(world: &World) -> Result<()> {
    let vpc = &world.requester;
    add(
        world,
        json!({
            "subnets": [
                here(json!({"id": DATA, "vpc_id": vpc, "cidr_block": "10.1.1.0/24"})),
                here(json!({"id": WEB, "vpc_id": vpc, "cidr_block": "10.1.2.0/24"})),
                here(json!({"id": ELSEWHERE, "vpc_id": world.accepter, "cidr_block": "10.2.1.0/24"})),
            ],
            "route_tables": [here(json!({"id": OF_DATA, "vpc_id": vpc, "subnet_ids": [DATA]}))],
        }),
    )
    .await?;
    // The policies allow routes in tables with this tag only.
    let allowed = aws_sdk_ec2::types::Tag::builder().key("vpc-peering").value("allowed").build();
    world.ec2.create_tags().resources(OF_DATA).tags(allowed).send().await?;
    Ok(())
}

pub async fn the_route_tables_of_subnets_get_routes_at_both_ends(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let mut ends = BothEnds::far_apart(&world).await?;
    let (vpc, elsewhere) = (ends.world.requester.clone(), ends.world.accepter.clone());
    add_subnets(&ends.world).await?;
    let remote = located(
        json!({"id": REMOTE, "vpc_id": ends.accepter_vpc, "cidr_block": "10.2.1.0/24"}),
        OTHER_ACCOUNT,
        OTHER_REGION,
    );
    add(&world, json!({"subnets": [remote]})).await?;
    let tag = |key: &str, value: &str| aws_sdk_ec2::types::Tag::builder().key(key).value(value).build();
    ends.accepter.create_tags().resources(REMOTE).tags(tag("tier", "data")).send().await?;
    let main = main_table(&world.ec2, &vpc).await?;
    let remote_main = main_table(&ends.accepter, &ends.accepter_vpc).await?;
    let by_id = |ids: &[&str]| json!({"routeTables": {"subnetIds": ids}});
    ends.manifest["spec"]["requester"]["routes"] = by_id(&[DATA]);
    ends.manifest["spec"]["accepter"]["routes"] = json!({"routeTables": {"subnetTags": {"tier": "data"}}});
    ends.apply().await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    let of_data = (OF_DATA, "10.2.0.0/16", id.as_str());
    let of_main = (main.as_str(), "10.2.0.0/16", id.as_str());
    until_routes("the table of a subnet", &world.ec2, &vpc, &[of_data]).await?;
    let remote = [(remote_main.as_str(), "10.1.0.0/16", id.as_str())];
    until_routes("the main table", &ends.accepter, &ends.accepter_vpc, &remote).await?;

    // A subnet without a table of its own uses the main one.
    world.patch(json!({"spec": {"requester": {"routes": by_id(&[DATA, WEB])}}})).await?;
    until_routes("both tables", &world.ec2, &vpc, &[of_data, of_main]).await?;

    // A subnet of another VPC, and one that does not exist, are reported. The others keep their routes.
    world.patch(json!({"spec": {"requester": {"routes": by_id(&[DATA, ELSEWHERE, LATER])}}})).await?;
    let object = world.until_stalled("RouteTableNotFound").await?;
    let message = condition(&object, "RoutesReady").map(|ready| ready.message.clone()).unwrap_or_default();
    for part in ["spec.requester.routes.routeTables.subnetIds", ELSEWHERE, &elsewhere, LATER] {
        ensure!(message.contains(part), "{part}: {message}");
    }
    until_routes("the known subnet", &world.ec2, &vpc, &[of_data]).await?;

    // A subnet that appears, and a tag that goes.
    add(&world, json!({"subnets": [here(json!({"id": LATER, "vpc_id": vpc, "cidr_block": "10.1.3.0/24"}))]})).await?;
    world.patch(json!({"spec": {"requester": {"routes": by_id(&[LATER])}}})).await?;
    world.request_reconcile("1").await?;
    until_routes("the new subnet", &world.ec2, &vpc, &[of_main]).await?;
    ends.accepter.delete_tags().resources(REMOTE).tags(tag("tier", "data")).send().await?;
    world.request_reconcile("2").await?;
    until_routes("no matching subnet", &ends.accepter, &ends.accepter_vpc, &[]).await?;
    Ok(())
}

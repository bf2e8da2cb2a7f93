//! `--security-group-warnings`: rules that name a group of the other VPC become stale with the peering.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::both_ends::BothEnds;
use super::world::{OTHER_ACCOUNT, REGION, World};

/// A security group of a VPC, with a rule that names another group.
fn group(account: &str, vpc: &str, id: &str, named: Option<&str>) -> Value {
    let rules: Vec<Value> = named
        .map(|named| json!({"protocol": "tcp", "ports": [5432, 5432], "peer": {"group": named}}))
        .into_iter()
        .collect();
    json!({"id": id, "account": account, "region": REGION, "vpc_id": vpc, "name": id, "rules": rules})
}

/// The texts of `status.deletion.stays`.
async fn until_stays(world: &World, part: &str) -> Result<Vec<String>> {
    let object = world
        .until(part, |object| {
            let deletion = object.status.as_ref().and_then(|status| status.deletion.as_ref());
            deletion.is_some_and(|deletion| deletion.stays.iter().any(|text| text.contains(part)))
        })
        .await?;
    Ok(object.status.and_then(|status| status.deletion).context("no summary")?.stays)
}

/// The operator acts for one account only, so that it sees the rules of the other one by the groups that they name.
pub async fn rules_that_become_stale_are_reported_before_a_deletion(world: World) -> Result<()> {
    let (ec2, vpc) = world.another_account().await?;
    let (own, theirs) = ("sg-0000000000000000a", "sg-0000000000000000b");
    let scene = json!({"security_groups": [
        group("111111111111", &world.requester, own, Some(theirs)),
        group(OTHER_ACCOUNT, &vpc, theirs, Some(own)),
    ]});
    world.simulator().add(&serde_json::from_value(scene)?).await?;
    let _operator = world.operator.clone().with("SECURITY_GROUP_WARNINGS", "true").start().await?;
    let accepter = json!({"vpcId": vpc, "ownerId": OTHER_ACCOUNT});
    world.apply(&world.manifest_with(json!({"accepter": accepter, "acceptance": "Manual"}))).await?;
    let object = world.until_code("pending-acceptance").await?;
    let id = object.status.and_then(|status| status.vpc_peering_connection_id).context("no ID")?;
    ec2.accept_vpc_peering_connection().vpc_peering_connection_id(id.as_str()).send().await?;
    world.until_ready().await?;
    let stays = until_stays(&world, "become stale").await?;
    let expected = [
        format!("1 security group of {} with rules that become stale: {own}", world.requester),
        format!("1 security group of {} in rules of the other VPC that become stale: {own}", world.requester),
    ];
    ensure!(stays == expected, "{stays:?}");

    // At rest, nothing is looked at again.
    world.clear_journal().await?;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    for action in ["DescribeSecurityGroups", "DescribeSecurityGroupReferences"] {
        ensure!(world.calls(action).await? == 0, "{action} at rest");
    }
    world.delete().await?;
    world.until_gone().await?;
    world.until_events(&["StaleSecurityGroupRules", "DeletionRequested"]).await.map(drop)
}

/// The credentials of the requester's end may not read security groups.
pub async fn missing_permissions_for_security_groups_block_nothing(world: World) -> Result<()> {
    let refusal = ec2_simulator::Kind::Error { code: "UnauthorizedOperation".into(), message: None, status: None };
    world.fault("DescribeSecurityGroups", None, refusal).await?;
    let _operator = world.operator.clone().with("SECURITY_GROUP_WARNINGS", "true").start().await?;
    let ends = BothEnds::far_apart(&world).await?;
    ends.apply().await?;
    world.until_ready().await?;
    let stays = until_stays(&world, "deploy/iam/security-groups.json").await?;
    ensure!(stays.len() == 2, "{stays:?}");
    world.delete().await?;
    world.until_gone().await
}

//! `spec.adopt`: connections that somebody else requested and accepted.

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::types::Tag;
use environment::{ec2, eventually};
use serde_json::{Value, json};
use vpc_peering_operator::api::AccepterDecision;

use super::end::{ACCOUNT, AccepterEnd, LIMIT, NAME, accept_any, condition, entry, everything, is_stalled, request};
use crate::world::{OTHER_ACCOUNT, World};

/// A request of another account that the owner of the accepter's VPC has accepted by hand.
async fn accepted_by_hand(world: &World, accepter: &AccepterEnd, vpc: &str) -> Result<String> {
    let id = request(world, accepter, vpc).await?;
    eventually("accepted by hand", LIMIT, async || {
        accepter.ec2.accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
        Ok(())
    })
    .await?;
    eventually("active", LIMIT, async || {
        let shown = accepter.connection(&id).await?;
        ensure!(ec2::code(&shown) == "active", "{shown:?}");
        Ok(())
    })
    .await?;
    Ok(id)
}

fn with(mut spec: Value, adopt: Value) -> Value {
    spec["adopt"] = adopt;
    spec
}

/// A connection that the rules match is taken over with the route that leads through it already. At the deletion, the
/// operator's tags and routes go, and the connection stays.
pub async fn a_connection_that_others_accepted_is_adopted_by_the_rules(world: World) -> Result<()> {
    let accepter = AccepterEnd::of_another_account(&world).await?;
    let id = accepted_by_hand(&world, &accepter, &world.requester).await?;
    let table = accepter.main_table().await?;
    let route = accepter.ec2.create_route().route_table_id(&table).destination_cidr_block("10.1.0.0/16");
    route.vpc_peering_connection_id(&id).send().await?;
    world.clear_journal().await?;

    let _operator = world.operator.start().await?;
    accepter.apply(everything()).await?;
    let ignored = |object: &_| entry(object, &id).is_some_and(|entry| entry.decision == AccepterDecision::Ignored);
    accepter.until("ignored without spec.adopt", ignored).await?;
    for action in ["CreateTags", "ModifyVpcPeeringConnectionOptions", "CreateRoute"] {
        ensure!(world.calls(action).await? == 0, "{action}");
    }
    accepter.apply(with(everything(), json!({"matching": true}))).await?;
    let object = accepter.until_accepted(&id).await?;
    accepter.until_configured(&id).await?;
    let record = entry(&object, &id).context("no record")?;
    ensure!(record.adopted_at.is_some() && record.accepted_at.is_none(), "{record:?}");
    ensure!(record.accepted_cidr_blocks == ["10.1.0.0/16"], "{record:?}");
    for action in ["AcceptVpcPeeringConnection", "CreateRoute", "ReplaceRoute", "DeleteRoute"] {
        ensure!(world.calls(action).await? == 0, "{action}");
    }
    // It stays adopted when the spec no longer asks for it.
    accepter.apply(everything()).await?;
    accepter.until_accepted(&id).await?;
    accepter.until_configured(&id).await?;

    accepter.delete().await?;
    accepter.until_gone().await?;
    ensure!(accepter.tags(&id).await?.is_empty() && accepter.routes().await?.is_empty(), "tags or routes are left");
    ensure!(ec2::code(&accepter.connection(&id).await?) == "active", "the connection must stay");
    for action in ["DeleteVpcPeeringConnection", "RejectVpcPeeringConnection"] {
        ensure!(world.calls(action).await? == 0, "{action}");
    }
    Ok(())
}

/// Each ID that cannot be adopted is reported with the field and the reason. Nothing changes in AWS.
pub async fn an_id_that_cannot_be_adopted_is_reported_and_not_touched(world: World) -> Result<()> {
    let accepter = AccepterEnd::of_another_account(&world).await?;
    let spoke = async |block| ec2::create_vpc(&world.ec2, block).await;
    let elsewhere = AccepterEnd {
        world: world.clone(),
        ec2: accepter.ec2.clone(),
        vpc: ec2::create_vpc(&accepter.ec2, "10.4.0.0/16").await?,
        identity: accepter.identity.clone(),
    };
    let good = accepted_by_hand(&world, &accepter, &world.requester).await?;
    let of_another_vpc = accepted_by_hand(&world, &elsewhere, &spoke("10.21.0.0/16").await?).await?;
    let ended = accepted_by_hand(&world, &accepter, &spoke("10.22.0.0/16").await?).await?;
    world.ec2.delete_vpc_peering_connection().vpc_peering_connection_id(&ended).send().await?;
    let owned = accepted_by_hand(&world, &accepter, &spoke("10.23.0.0/16").await?).await?;
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    let tags = [("cluster", "another"), ("namespace", "secret"), ("name", "theirs"), ("uid", "somebody")]
        .map(|(key, value)| tag(&format!("vpcpeering.dev/accepter-{key}"), value));
    accepter.ec2.create_tags().resources(&owned).set_tags(Some(tags.into())).send().await?;
    world.clear_journal().await?;

    let _operator = world.operator.start().await?;
    let rows = [
        ("pcx-0123456789abcdef0", "NotFound", "check the ID, the account and the region"),
        (&of_another_vpc, "NotFound", "check the ID, the account and the region"),
        (&ended, "Deleted", "it has ended, and is deleted"),
        (&owned, "ConnectionNotOwned", "another namespace or cluster"),
    ];
    for (id, reason, part) in rows {
        accepter.apply(with(json!({}), json!({"connectionIds": [id]}))).await?;
        let object = accepter.until(reason, |object| is_stalled(object, reason)).await?;
        let message = &condition(&object, "Ready").context("no condition")?.message;
        for part in ["spec.adopt.connectionIds", id, part] {
            ensure!(message.contains(part), "{part}: {message}");
        }
        ensure!(!message.contains("secret") && !message.contains(&elsewhere.vpc), "{message}");
    }
    let denied = json!({"deny": [{"ownerId": ACCOUNT}]});
    accepter.apply(with(denied, json!({"connectionIds": [good]}))).await?;
    accepter.until("denied", |object| is_stalled(object, "InvalidRequest")).await?;
    let name = accepter.identity.as_deref().context("no identity")?;
    let adoption = async |allowed: bool| {
        let spec = json!({"allowedNamespaces": {"list": [world.namespace]}, "allowAdoption": allowed});
        world.apply_identity_named(name, OTHER_ACCOUNT, spec).await
    };
    adoption(false).await?;
    accepter.apply(with(json!({"deny": []}), json!({"connectionIds": [good]}))).await?;
    let object = accepter.until("not permitted", |object| is_stalled(object, "ActionNotAllowed")).await?;
    let message = &condition(&object, "Ready").context("no condition")?.message;
    ensure!(message.contains(&good) && message.contains("allowAdoption"), "{message}");
    for action in ["CreateTags", "DeleteTags", "ModifyVpcPeeringConnectionOptions", "DeleteVpcPeeringConnection"] {
        ensure!(world.calls(action).await? == 0, "{action}");
    }

    // With the permission, the ID is adopted. Without an entry of `accept`, it gets no route.
    adoption(true).await?;
    let spec = json!({"deny": [], "routes": {"routeTables": {"main": true}}});
    accepter.apply(with(spec.clone(), json!({"connectionIds": [good]}))).await?;
    let object = accepter.until_accepted(&good).await?;
    let message = entry(&object, &good).and_then(|entry| entry.message.as_deref()).context("no message")?;
    ensure!(message.contains("gets no routes") && accepter.routes().await?.is_empty(), "{message}");
    let mut allowed = with(spec, json!({"connectionIds": [good]}));
    allowed["accept"] = json!([accept_any(ACCOUNT, json!({"vpcs": {"list": [world.requester]}}))]);
    accepter.apply(allowed).await?;
    eventually("the route is made", LIMIT, async || {
        ensure!(accepter.routes().await? == ["10.1.0.0/16"]);
        Ok(())
    })
    .await
    .map_err(|error| world.with_log(error))?;
    ensure!(accepter.api().get(NAME).await?.status.and_then(|status| status.accepted) == Some(1));
    ensure!(accepter.tags(&owned).await?.len() == 4, "the tags of the other owner must stay");
    Ok(())
}

/// AWS refuses the tags of a `VpcPeering` at the accepter's end, so that its connection looks as if nobody owned it.
pub async fn a_connection_of_a_vpc_peering_without_tags_is_not_adopted(world: World) -> Result<()> {
    let accepter = AccepterEnd::of_another_account(&world).await?;
    let refusal = ec2_simulator::Kind::Error { code: "UnauthorizedOperation".into(), message: None, status: None };
    world.fault("CreateTags", None, refusal).await?;
    let _operator = world.operator.start().await?;
    let end = json!({"vpcId": accepter.vpc, "identityRef": {"name": accepter.identity}});
    world.apply(&world.manifest_with(json!({"accepter": end}))).await?;
    let object = world.until_stalled("Unauthorized").await?;
    let id = object.status.and_then(|status| status.vpc_peering_connection_id).context("no ID")?;
    eventually("active without tags", LIMIT, async || {
        let shown = accepter.connection(&id).await?;
        ensure!(ec2::code(&shown) == "active" && shown.tags().is_empty(), "{shown:?}");
        Ok(())
    })
    .await?;
    accepter.apply(with(everything(), json!({"matching": true}))).await?;
    let why = "a VpcPeering of this cluster owns it";
    let is_ignored = |object: &_| {
        entry(object, &id).is_some_and(|entry| {
            entry.decision == AccepterDecision::Ignored
                && entry.message.as_deref().is_some_and(|message| message.contains(why))
        })
    };
    accepter.until(why, is_ignored).await?;
    accepter.apply(with(everything(), json!({"connectionIds": [id]}))).await?;
    accepter.until(why, |object| is_stalled(object, "ConnectionNotOwned")).await?;
    ensure!(accepter.routes().await?.is_empty());
    Ok(())
}

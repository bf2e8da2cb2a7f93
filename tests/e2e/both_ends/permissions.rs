//! The IAM permissions of both ends: the policies in `deploy/iam` suffice, and each missing permission is reported.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ec2_simulator::{Fault, Kind, Matching};
use environment::{ec2, eventually};
use serde_json::json;
use vpc_peering_operator::api::VpcPeering;

use super::BothEnds;
use crate::iam;
use crate::routes::through_peerings;
use crate::world::{OTHER_ACCOUNT, OTHER_REGION, TEST_SESSION, World, condition, connection_id, status_code};

/// Runs a resource that uses every feature, and compares the calls with the policies in `deploy/iam`.
pub async fn each_policy_grants_every_action_that_its_role_uses(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let mut ends = BothEnds::far_apart(&world).await?;
    let own = format!("{}-requester", world.namespace);
    world.apply_identity_named(&own, "111111111111", json!({"allowedNamespaces": {"all": true}})).await?;
    ends.manifest["spec"]["requester"]["identityRef"] = json!({"name": own});
    let on = aws_sdk_ec2::types::AttributeBooleanValue::builder().value(true).build();
    for (ec2, vpc) in [(&world.ec2, &ends.world.requester), (&ends.accepter, &ends.accepter_vpc)] {
        ec2.modify_vpc_attribute().vpc_id(vpc).enable_dns_hostnames(on.clone()).send().await?;
    }
    for end in ["requester", "accepter"] {
        ends.manifest["spec"][end]["options"] = json!({"allowDnsResolutionFromRemoteVpc": true});
    }
    ends.with_routes_and_tags();
    ends.apply().await?;
    let object = world.until_ready().await?;
    let first = connection_id(&object).context("no ID")?.to_owned();
    for end in ["requester", "accepter"] {
        world.patch(json!({"spec": {end: {"tags": [{"key": "end", "value": "edited"}]}}})).await?;
        world.patch(json!({"spec": {end: {"tags": null}}})).await?;
    }
    world.request_reconcile("edited").await?;
    world.until_ready().await?;
    // Somebody deletes the connection: the routes are removed, and return with the next one.
    world.ec2.delete_vpc_peering_connection().vpc_peering_connection_id(&first).send().await?;
    world
        .until("ready again", |object| {
            connection_id(object).is_some_and(|id| id != first)
                && condition(object, "Ready").is_some_and(|ready| ready.status == "True")
        })
        .await?;
    world.delete().await?;
    world.until_gone().await?;
    let entries = world.simulator().journal(&ec2_simulator::journal::Query::default()).await?.entries;
    for (account, name) in [("111111111111", "requester"), (OTHER_ACCOUNT, "accepter")] {
        let by_role = entries.iter().filter(|entry| entry.account.as_deref() == Some(account));
        let by_role =
            by_role.filter(|entry| entry.session.as_ref().is_some_and(|session| session.name != TEST_SESSION));
        let used: std::collections::BTreeSet<String> = by_role
            .filter(|entry| entry.action != "GetCallerIdentity")
            .map(|entry| iam::permission(&entry.action))
            .collect();
        let granted = iam::granted(name)?;
        let missing: Vec<_> = used.difference(&granted).collect();
        ensure!(missing.is_empty(), "deploy/iam/{name}.json lacks {missing:?}");
    }
    Ok(())
}

/// One permission of one end is missing at a time. The condition names the action and the caller, and all other steps
/// are done.
pub async fn each_missing_permission_is_reported_and_blocks_nothing_else(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let rows: [(&str, bool, Option<&str>); 6] = [
        ("CreateVpcPeeringConnection", false, None),
        ("AcceptVpcPeeringConnection", true, None),
        ("CreateTags", true, None),
        ("ModifyVpcPeeringConnectionOptions", true, Some("OptionsSynced")),
        ("CreateRoute", true, Some("RoutesReady")),
        ("DescribeRouteTables", true, Some("RoutesReady")),
    ];
    for (number, (action, of_accepter, tells)) in rows.into_iter().enumerate() {
        let name = format!("row-{number}");
        let mut ends = BothEnds::new(&world, &name, Some(OTHER_ACCOUNT), OTHER_REGION).await?;
        let on = aws_sdk_ec2::types::AttributeBooleanValue::builder().value(true).build();
        for (ec2, vpc) in [(&world.ec2, &ends.world.requester), (&ends.accepter, &ends.accepter_vpc)] {
            ec2.modify_vpc_attribute().vpc_id(vpc).enable_dns_hostnames(on.clone()).send().await?;
        }
        for end in ["requester", "accepter"] {
            ends.manifest["spec"][end]["options"] = json!({"allowDnsResolutionFromRemoteVpc": true});
            ends.manifest["spec"][end]["routes"] = json!({"routeTables": {"main": true}});
        }
        let account = if of_accepter { OTHER_ACCOUNT } else { "111111111111" };
        let matching = Matching { action: Some(action.into()), account: Some(account.into()), ..Matching::default() };
        let kind = Kind::Error { code: "UnauthorizedOperation".into(), message: None, status: None };
        let fault = world.simulator().add_fault(&Fault { matching, count: None, probability: 1.0, kind }).await?;
        ends.apply().await?;
        let object = ends.world.until_stalled("Unauthorized").await.with_context(|| action.to_owned())?;
        let message = &condition(&object, "Stalled").context("not stalled")?.message;
        let caller = if of_accepter { "AwsIdentity" } else { "the operator's own credentials" };
        ensure!(message.contains(action) && message.contains(caller), "{action}: {message}");
        if let Some(kind) = tells {
            let told = condition(&object, kind).with_context(|| format!("no {kind}"))?;
            ensure!(told.status == "False" && told.message.contains(action), "{told:?}");
        }
        // The peering is active, and every other step is done.
        if !["CreateVpcPeeringConnection", "AcceptVpcPeeringConnection"].contains(&action) {
            eventually("the other steps", Duration::from_secs(30), async || {
                let [requester, _] = ends.shown().await?;
                ensure!(ec2::code(&requester) == "active", "{requester:?}");
                let own = requester.requester_vpc_info.and_then(|end| end.peering_options);
                ensure!(own.is_some_and(|options| options.allow_dns_resolution_from_remote_vpc == Some(true)));
                let routes = through_peerings(&world.ec2, &ends.world.requester).await?;
                ensure!(routes.len() == 1, "{routes:?}");
                Ok(())
            })
            .await
            .with_context(|| action.to_owned())?;
        }
        world.simulator().remove_fault(fault).await?;
        ends.world.request_reconcile("granted").await?;
        ends.world.until_ready().await.with_context(|| format!("{action}, granted"))?;
        ends.world.delete().await?;
        ends.world.until_gone().await?;
    }
    Ok(())
}

/// Missing permissions for deletions, for describing, and for moving routes. This test is long because each step needs
/// the state that the step before it has left.
pub async fn each_missing_permission_of_a_later_change_is_reported(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let deny = async |action: &str, account: &str| {
        let matching = Matching { action: Some(action.into()), account: Some(account.into()), ..Matching::default() };
        let kind = Kind::Error { code: "UnauthorizedOperation".into(), message: None, status: None };
        world.simulator().add_fault(&Fault { matching, count: None, probability: 1.0, kind }).await
    };
    let told = async |world: &World, action: &str, caller: &str| -> Result<()> {
        let object = world.until_stalled("Unauthorized").await.with_context(|| action.to_owned())?;
        let message = &condition(&object, "Stalled").context("not stalled")?.message;
        ensure!(message.contains(action) && message.contains(caller), "{action}: {message}");
        Ok(())
    };
    let grant = async |world: &World, fault: u64, action: &str| -> Result<()> {
        world.simulator().remove_fault(fault).await?;
        world.request_reconcile(action).await?;
        world.until_ready().await.with_context(|| format!("{action}, granted"))?;
        Ok(())
    };
    let own = "111111111111";

    // Without `DescribeVpcs` there is no check of the VPCs before the request, but the peering still becomes active.
    let blind = deny("DescribeVpcs", own).await?;
    let mut ends = BothEnds::far_apart(&world).await?;
    ends.with_routes_and_tags();
    ends.apply().await?;
    let object = world.until_ready().await?;
    let first = connection_id(&object).context("no ID")?.to_owned();
    world.simulator().remove_fault(blind).await?;

    for (action, removed) in [("DeleteTags", "tags"), ("DeleteRoute", "routes")] {
        let fault = deny(action, OTHER_ACCOUNT).await?;
        let requester = json!([{"key": "end", "value": action}]);
        let patch = json!({"spec": {"accepter": {removed: null}, "requester": {"tags": requester}}});
        world.patch(patch).await?;
        told(&world, action, "AwsIdentity").await?;
        eventually("the other steps", Duration::from_secs(30), async || {
            let [shown, _] = ends.shown().await?;
            let tags = shown.tags.unwrap_or_default();
            ensure!(tags.iter().any(|tag| tag.value() == Some(action)), "{tags:?}");
            Ok(())
        })
        .await?;
        grant(&world, fault, action).await?;
    }

    // The route through the deleted peering cannot be removed, so the next peering takes it over.
    let (removal, fault) = (deny("DeleteRoute", own).await?, deny("ReplaceRoute", own).await?);
    world.ec2.delete_vpc_peering_connection().vpc_peering_connection_id(&first).send().await?;
    let is_new = |object: &VpcPeering| {
        connection_id(object).is_some_and(|id| id != first) && status_code(object) == Some("active")
    };
    let object = world.until("a new connection", is_new).await?;
    let second = connection_id(&object).context("no ID")?.to_owned();
    world.request_reconcile("without a pause").await?;
    let is_told = |object: &VpcPeering| {
        condition(object, "RoutesReady").is_some_and(|told| told.message.contains("ReplaceRoute"))
    };
    world.until("the refusal", is_told).await?;
    told(&world, "ReplaceRoute", "the operator's own credentials").await?;
    grant(&world, fault, "ReplaceRoute").await?;
    let routes = through_peerings(&world.ec2, &ends.world.requester).await?;
    ensure!(routes.iter().all(|(_, _, id)| *id == second) && routes.len() == 1, "{routes:?}");
    world.simulator().remove_fault(removal).await?;

    let fault = deny("DescribeVpcPeeringConnections", OTHER_ACCOUNT).await?;
    let unseen = BothEnds::new(&world, "unseen", Some(OTHER_ACCOUNT), OTHER_REGION).await?;
    unseen.apply().await?;
    told(&unseen.world, "DescribeVpcPeeringConnections", "AwsIdentity").await?;
    grant(&unseen.world, fault, "DescribeVpcPeeringConnections").await?;

    let fault = deny("DeleteVpcPeeringConnection", own).await?;
    world.delete().await?;
    told(&world, "DeleteVpcPeeringConnection", "the operator's own credentials").await?;
    let routes = through_peerings(&world.ec2, &ends.world.requester).await?;
    ensure!(routes.is_empty(), "{routes:?}");
    world.simulator().remove_fault(fault).await?;
    world.request_reconcile("DeleteVpcPeeringConnection").await?;
    world.until_gone().await
}

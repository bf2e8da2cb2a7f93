//! `VpcPeeringAccepter`: it accepts only the requests that its spec allows, configures its own end, and leaves nothing
//! but the connections behind.

pub mod adoption;
pub mod decisions;
pub mod end;
pub mod faults;
pub mod routes;
pub mod validation;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::types::Tag;
use ec2_simulator::journal::Query;
use environment::ec2;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use serde_json::json;
use vpc_peering_operator::api::AccepterDecision;

use super::world::{REGION, World};
use end::{AccepterEnd, NAME, accept_any, entry, everything, has_condition, request, request_by_resource};

/// On any EC2: a request within the account, with the operator's own credentials.
pub async fn a_request_is_accepted_and_its_end_is_configured(world: World) -> Result<()> {
    let accepter = AccepterEnd::own(&world);
    accepter.enable_dns_hostnames().await?;
    let _operator = world.operator.start().await?;
    accepter.apply(json!({})).await?;
    let id = request(&world, &accepter, &world.requester).await?;
    accepter.until_not_accepted(&id, AccepterDecision::Pending, "no entry of spec.accept is for account").await?;
    let account =
        accepter.connection(&id).await?.requester_vpc_info.and_then(|end| end.owner_id).context("no owner")?;
    let mut spec = everything();
    spec["accept"] =
        json!([accept_any(&account, json!({"vpcs": {"list": [world.requester]}, "regions": {"list": [REGION]}}))]);
    accepter.apply(spec).await?;
    accepter.until_accepted(&id).await?;
    accepter.until_configured(&id).await?;
    accepter.delete().await?;
    accepter.until_gone().await?;
    ensure!(accepter.tags(&id).await?.is_empty() && accepter.routes().await?.is_empty(), "tags or routes are left");
    ensure!(ec2::code(&accepter.connection(&id).await?) == "active", "the connection must stay");
    Ok(())
}

pub async fn an_accepter_completes_a_peering_across_accounts(world: World) -> Result<()> {
    let accepter = AccepterEnd::of_another_account(&world).await?;
    let _operator = world.operator.start().await?;
    accepter.apply(everything()).await?;
    accepter.until("ready", |object| has_condition(object, "Ready", "True")).await?;
    let id = request_by_resource(&world, &accepter).await?;
    accepter.until_accepted(&id).await?;
    world.until_ready().await?;
    accepter.until_configured(&id).await?;
    let object = accepter.until_accepted(&id).await?;
    for type_ in ["OptionsSynced", "RoutesReady"] {
        ensure!(has_condition(&object, type_, "True"), "{type_}: {:?}", object.status);
    }
    ensure!(entry(&object, &id).is_some_and(|entry| entry.accepted_at.is_some()), "{:?}", object.status);
    world.until_events(&["Accepted", "Tagged", "OptionsSet", "RoutesChanged"]).await?;

    // Drift is repaired.
    let name = Tag::builder().key("Name").value("drifted").build();
    accepter.ec2.create_tags().resources(&id).tags(name).send().await?;
    let table = accepter.main_table().await?;
    accepter.ec2.delete_route().route_table_id(&table).destination_cidr_block("10.1.0.0/16").send().await?;
    let off = aws_sdk_ec2::types::PeeringConnectionOptionsRequest::builder();
    let off = off.allow_dns_resolution_from_remote_vpc(false).build();
    let options = accepter.ec2.modify_vpc_peering_connection_options().vpc_peering_connection_id(&id);
    options.accepter_peering_connection_options(off).send().await?;
    accepter.until_configured(&id).await?;
    let at_rest = accepter.until_accepted(&id).await?;

    // A settled accepter only lists.
    world.clear_journal().await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = accepter.api().get(NAME).await?;
    ensure!(after.metadata.resource_version == at_rest.metadata.resource_version, "a write at rest");
    let calls = world.simulator().journal(&Query::default()).await?.counters;
    let listings = ["DescribeVpcPeeringConnections", "DescribeRouteTables"];
    ensure!(calls.keys().all(|action| listings.contains(&action.as_str())), "{calls:?}");

    accepter.delete().await?;
    accepter.until_gone().await?;
    ensure!(accepter.tags(&id).await?.is_empty() && accepter.routes().await?.is_empty(), "tags or routes are left");
    ensure!(ec2::code(&accepter.connection(&id).await?) == "active", "the connection must stay");
    ensure!(world.until_ready().await?.status.is_some());
    Ok(())
}

pub async fn an_accepter_completes_a_peering_of_another_cluster(world: World) -> Result<()> {
    let shared = world.shared.with_own_control_plane().await?;
    let mut payments = world.in_another_cluster("payments", "another");
    payments.client = shared.control_plane.admin().await?;
    let metadata = ObjectMeta { name: Some(payments.namespace.clone()), ..ObjectMeta::default() };
    let object = Namespace { metadata, ..Namespace::default() };
    Api::all(payments.client.clone()).create(&PostParams::default(), &object).await?;
    let kubeconfig = shared.control_plane.operator_kubeconfig().await?;
    let operator = payments.operator.clone().with("KUBECONFIG", &kubeconfig.to_string_lossy()).with_log("payments");
    let accepter = AccepterEnd::of_another_account(&payments).await?;
    let _operators = (world.operator.start().await?, operator.start().await?);
    let id = request_by_resource(&world, &accepter).await?;
    accepter.apply(everything()).await?;
    accepter.until_accepted(&id).await?;
    accepter.until_configured(&id).await?;
    world.until_ready().await?;
    // When the requester deletes it, nothing of ours is left to lead nowhere.
    world.delete().await?;
    world.until_gone().await?;
    accepter
        .until("deleted", |object| {
            entry(object, &id).is_some_and(|entry| entry.code.as_deref() == Some("deleted"))
                && object.status.as_ref().is_some_and(|status| status.routes.is_empty() && status.accepted == Some(0))
        })
        .await?;
    ensure!(accepter.routes().await?.is_empty());
    accepter.delete().await?;
    accepter.until_gone().await
}

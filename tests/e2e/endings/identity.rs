//! A deleted resource whose identity is gone. With `deletionPolicy: Retain` it goes at once, and an Event says what
//! stays in AWS.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::Client as Ec2;
use ec2_simulator::Kind;
use ec2_simulator::journal::Query;
use environment::{RunningOperator, ec2, eventually};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use vpc_peering_operator::api::AwsIdentity;

use crate::accepter::end::{AccepterEnd, condition as accepter_condition, everything, is_stalled, request};
use crate::both_ends::BothEnds;
use crate::world::{OTHER_ACCOUNT, OTHER_REGION, World, condition, connection_id};

/// Time in which an operator would make a forbidden call.
const LONG_ENOUGH: Duration = Duration::from_secs(2);

/// The calls that a release without access never makes.
const CHANGES: [&str; 8] = [
    "DeleteVpcPeeringConnection",
    "RejectVpcPeeringConnection",
    "CreateVpcPeeringConnection",
    "CreateRoute",
    "ReplaceRoute",
    "DeleteRoute",
    "CreateTags",
    "DeleteTags",
];

/// The ways in which an identity may go.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Deleted,
    Withdrawn,
    RoleRefused,
}

impl Loss {
    const ALL: [Self; 3] = [Self::Deleted, Self::Withdrawn, Self::RoleRefused];

    fn reason(self) -> &'static str {
        match self {
            Self::Deleted => "IdentityNotFound",
            Self::Withdrawn => "IdentityNotAllowed",
            Self::RoleRefused => "Unauthorized",
        }
    }

    /// Takes the identity of an account away from an operator. A refused role needs an operator without a session.
    async fn apply(self, world: &World, identity: &str, operator: RunningOperator) -> Result<RunningOperator> {
        match self {
            Self::Deleted => {
                Api::<AwsIdentity>::all(world.client.clone()).delete(identity, &DeleteParams::default()).await?;
            }
            Self::Withdrawn => {
                let another = json!({"allowedNamespaces": {"list": ["another"]}});
                world.apply_identity_named(identity, OTHER_ACCOUNT, another).await?;
            }
            Self::RoleRefused => {
                operator.kill().await?;
                let message = Some("User is not authorized to perform: sts:AssumeRole".to_owned());
                let kind = Kind::Error { code: "AccessDenied".into(), message, status: Some(403) };
                world.fault("AssumeRole", None, kind).await?;
                return world.operator.start().await;
            }
        }
        Ok(operator)
    }
}

/// The note of the Event about what stays in AWS.
async fn note(world: &World, name: &str) -> Result<String> {
    eventually("the Event LeftInAws", Duration::from_secs(60), async || {
        let events = Api::<Event>::namespaced(world.client.clone(), &world.namespace);
        let mut events = events.list(&ListParams::default()).await?.items.into_iter();
        let is_it = |event: &Event| {
            event.reason.as_deref() == Some("LeftInAws")
                && event.type_.as_deref() == Some("Warning")
                && event.regarding.as_ref().is_some_and(|object| object.name.as_deref() == Some(name))
        };
        events.rfind(is_it).and_then(|event| event.note).context("no Event LeftInAws")
    })
    .await
    .map_err(|error| world.with_log(error))
}

fn ensure_names(note: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(note.contains(part), "{part:?} is not in {note:?}");
    }
    Ok(())
}

/// Fails if the operator changed anything in AWS.
async fn ensure_no_changes(world: &World) -> Result<()> {
    tokio::time::sleep(LONG_ENOUGH).await;
    let counters = world.simulator().journal(&Query::default()).await?.counters;
    let made: Vec<_> = counters.keys().filter(|action| CHANGES.contains(&action.as_str())).collect();
    ensure!(made.is_empty(), "{made:?}");
    Ok(())
}

/// The destinations of the routes of a VPC through a connection.
async fn routes(ec2: &Ec2, id: &str) -> Result<Vec<String>> {
    let tables = ec2.describe_route_tables().send().await?.route_tables.unwrap_or_default();
    let routes = tables.iter().flat_map(|table| table.routes());
    let through = routes.filter(|route| route.vpc_peering_connection_id() == Some(id));
    Ok(through.filter_map(|route| route.destination_cidr_block().map(str::to_owned)).collect())
}

/// With `Delete` the resource waits, and its condition names the way out. `Retain` is the way out.
pub async fn retain_releases_a_peering_whose_identity_is_gone(world: World) -> Result<()> {
    for loss in Loss::ALL {
        let name = format!("peering-{}", loss.reason().to_lowercase());
        one_peering(&world, &name, loss).await.with_context(|| format!("{loss:?}"))?;
    }
    Ok(())
}

async fn one_peering(world: &World, name: &str, loss: Loss) -> Result<()> {
    let operator = world.operator.start().await?;
    let mut ends = BothEnds::new(world, name, Some(OTHER_ACCOUNT), OTHER_REGION).await?;
    ends.with_routes_and_tags();
    ends.apply().await?;
    let object = ends.world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    let identity = format!("{}-{OTHER_ACCOUNT}", world.namespace);
    let operator = loss.apply(world, &identity, operator).await?;
    if matches!(loss, Loss::RoleRefused) {
        // With `Delete`, the operator would remove the routes of the requester's end meanwhile.
        ends.world.patch(json!({"spec": {"deletionPolicy": "Retain"}})).await?;
        ends.world.delete().await?;
        ends.world.until_gone().await?;
        // The requester's tags are removed, and the accepter's stay.
        ensure_names(&note(world, name).await?, &[&id, "accepter's end", "vpcpeering.dev/"])?;
        return ensure_all_is_left(&ends, &id, operator).await;
    }
    ends.world.delete().await?;
    let is_kept = |object: &vpc_peering_operator::api::VpcPeering| {
        let message = condition(object, "Ready").map_or("", |ready| ready.message.as_str());
        condition(object, "Stalled").is_some_and(|stalled| stalled.reason == loss.reason())
            && object.metadata.deletion_timestamp.is_some()
            && message.contains("set spec.deletionPolicy to Retain")
    };
    ends.world.until("kept", is_kept).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.clear_journal().await?;
    ends.world.patch(json!({"spec": {"deletionPolicy": "Retain"}})).await?;
    ends.world.until_gone().await?;
    ensure!(world.ec2_calls().await? == 0, "the operator called EC2");
    let note = note(world, name).await?;
    ensure_names(&note, &[&id, "vpcpeering.dev/", "end", "10.2.0.0/16 in rtb-", "10.1.0.0/16 in rtb-"])?;
    ensure_no_changes(world).await?;
    ensure_all_is_left(&ends, &id, operator).await
}

/// Fails unless the connection is active and has its routes.
async fn ensure_all_is_left(ends: &BothEnds, id: &str, operator: RunningOperator) -> Result<()> {
    tokio::time::sleep(LONG_ENOUGH).await;
    let world = &ends.world;
    let shown = world.ec2.describe_vpc_peering_connections().vpc_peering_connection_ids(id).send().await?;
    let shown = shown.vpc_peering_connections.unwrap_or_default();
    ensure!(shown.len() == 1 && ec2::code(&shown[0]) == "active", "{shown:?}");
    ensure!(routes(&world.ec2, id).await? == ["10.2.0.0/16"], "a route was removed");
    ensure!(routes(&ends.accepter, id).await? == ["10.1.0.0/16"], "a route was removed");
    operator.kill().await
}

/// The same for the accepter's end of a request of others.
pub async fn retain_releases_an_accepter_whose_identity_is_gone(world: World) -> Result<()> {
    for loss in Loss::ALL {
        one_accepter(&world, loss).await.with_context(|| format!("{loss:?}"))?;
    }
    Ok(())
}

async fn one_accepter(world: &World, loss: Loss) -> Result<()> {
    let accepter = AccepterEnd::of_another_account(world).await?;
    let operator = world.operator.start().await?;
    accepter.apply(everything()).await?;
    let id = request(world, &accepter, &world.requester).await?;
    accepter.until_accepted(&id).await?;
    accepter.until_configured(&id).await?;
    let tags = accepter.tags(&id).await?;
    let identity = accepter.identity.clone().context("no identity")?;
    let operator = loss.apply(world, &identity, operator).await?;
    accepter.delete().await?;
    accepter
        .until("kept", |object| {
            let message = accepter_condition(object, "Ready").map_or("", |ready| ready.message.as_str());
            is_stalled(object, loss.reason()) && message.contains("set spec.deletionPolicy to Retain")
        })
        .await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.clear_journal().await?;
    accepter.apply(json!({"deletionPolicy": "Retain"})).await?;
    accepter.until_gone().await?;
    ensure!(world.ec2_calls().await? == 0, "the operator called EC2");
    ensure_no_changes(world).await?;
    let note = note(world, "accepter").await?;
    ensure_names(&note, &[&id, "vpcpeering.dev/accepter-", "Name", "10.1.0.0/16 in rtb-"])?;
    ensure!(accepter.tags(&id).await? == tags, "a tag was removed");
    ensure!(accepter.routes().await? == ["10.1.0.0/16"], "a route was removed");
    ensure!(ec2::code(&accepter.connection(&id).await?) == "active", "the connection must stay");
    // The next variant starts without this connection and its Event.
    accepter.ec2.delete_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
    let events = Api::<Event>::namespaced(world.client.clone(), &world.namespace);
    events.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    operator.kill().await
}

/// With access, `Retain` removes the ownership tags of an accepter, and nothing else.
pub async fn retain_removes_the_ownership_tags_of_an_accepter(world: World) -> Result<()> {
    let accepter = AccepterEnd::of_another_account(&world).await?;
    let _operator = world.operator.start().await?;
    let mut spec = everything();
    spec["deletionPolicy"] = json!("Retain");
    accepter.apply(spec).await?;
    let id = request(&world, &accepter, &world.requester).await?;
    accepter.until_accepted(&id).await?;
    accepter.until_configured(&id).await?;
    accepter.delete().await?;
    accepter.until_gone().await?;
    let tags = accepter.tags(&id).await?;
    ensure!(tags.keys().map(String::as_str).collect::<Vec<_>>() == ["Name"], "{tags:?}");
    ensure!(accepter.routes().await? == ["10.1.0.0/16"], "a route was removed");
    ensure!(ec2::code(&accepter.connection(&id).await?) == "active", "the connection must stay");
    Ok(())
}

//! A namespace that is deleted with a resource in it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use environment::eventually;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;

use crate::both_ends::BothEnds;
use crate::world::{Cloud, OTHER_ACCOUNT, World, connection_id};

/// Kubernetes' own namespace controller deletes the resources of the namespace. The API server refuses Events in it.
pub async fn a_deleted_namespace_takes_its_peering_with_it(world: World) -> Result<()> {
    let shared = world.shared.with_own_control_plane().await?;
    // The controller deletes everything in a deleted namespace, and then the namespace.
    let _controller = shared.control_plane.start_controllers("namespace-controller").await?;
    let name = "simulator::a-deleted-namespace-takes-its-peering-with-it";
    let world = World::new(Arc::clone(&shared), name, Cloud::Simulator).await?;
    let operator = world.operator.start().await?;
    let mut ends = BothEnds::far_apart(&world).await?;
    let labels = json!({"kubernetes.io/metadata.name": world.namespace});
    let selector = json!({"allowedNamespaces": {"selector": {"matchLabels": labels}}});
    world.apply_identity(OTHER_ACCOUNT, selector).await?;
    ends.with_routes_and_tags();
    ends.apply().await?;
    let object = ends.world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    let namespaces = Api::<Namespace>::all(world.client.clone());
    namespaces.delete(&world.namespace, &DeleteParams::default()).await?;
    eventually("the namespace is gone", Duration::from_secs(60), async || {
        let namespace = namespaces.get_opt(&world.namespace).await?;
        ensure!(namespace.is_none(), "{:?}", namespace.and_then(|namespace| namespace.status));
        Ok(())
    })
    .await
    .map_err(|error| world.with_log(error))?;
    let shown = world.ec2.describe_vpc_peering_connections().vpc_peering_connection_ids(&id).send().await?;
    let shown = shown.vpc_peering_connections.unwrap_or_default();
    ensure!(shown.iter().all(|shown| environment::ec2::code(shown).starts_with("delet")), "{shown:?}");
    // Events follow some time after the deletion.
    let refused = |line: &&str| line.contains("the API server refuses Events in a namespace that is being deleted");
    let log = eventually("refused Events", Duration::from_secs(30), async || {
        let log = operator.output();
        ensure!(log.lines().any(|line| refused(&line)), "no Event was refused");
        Ok(log)
    })
    .await
    .map_err(|error| world.with_log(error))?;
    for line in log.lines().filter(refused) {
        ensure!(line.contains("DEBUG") && line.len() < 500 && !line.contains("ErrorResponse"), "{line}");
    }
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN") && line.contains("Event")).collect();
    ensure!(warnings.is_empty(), "{warnings:?}");
    Ok(())
}

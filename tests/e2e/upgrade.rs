//! Resources that an older release has stored.

use anyhow::{Context, Result, ensure};
use ec2_simulator::journal::Query;
use environment::repository;
use serde_json::json;

use super::gitops::raw;
use super::world::{Cloud, World, condition};

/// `fixtures/first-crd.yaml` is the schema of the first release, without `ownership` and `managedTagKeys`.
pub async fn resources_of_the_first_schema_need_no_write_to_aws(world: World) -> Result<()> {
    let world = World::new(world.shared.with_own_control_plane().await?, &world.namespace, Cloud::Simulator).await?;
    let apply = async |path: &str| {
        let path = repository().join(path);
        let arguments = ["apply", "--server-side", "--force-conflicts", "-f", &path.to_string_lossy()];
        world.shared.control_plane.kubectl(&arguments).await
    };
    let operator = world.operator.start().await?;
    world.apply(&world.manifest_with(json!({"tags": [{"key": "a", "value": "b"}]}))).await?;
    world.until_ready().await?;
    operator.terminate().await?;

    // A write drops the fields that the first schema does not have.
    apply("tests/e2e/fixtures/first-crd.yaml").await?;
    environment::eventually("stored by the first schema", std::time::Duration::from_secs(60), async || {
        world.patch(json!({"metadata": {"annotations": {"example.com/note": "stored"}}})).await?;
        let object = raw(&world).await?;
        let kept = &object["status"]["status"]["code"] == "active" && !object["spec"]["acceptance"].is_null();
        let unknown = [&object["spec"]["managementPolicy"], &object["status"]["ownership"]];
        ensure!(kept && unknown.iter().all(|field| field.is_null()), "{object:#}");
        // The next patch must change something, else it is no write.
        world.patch(json!({"metadata": {"annotations": {"example.com/note": null}}})).await?;
        Ok(())
    })
    .await?;
    let before = raw(&world).await?;

    apply("crds/vpcpeering.dev.yaml").await?;
    world.clear_journal().await?;
    let _operator = world.operator.start().await?;
    let owned = |object: &vpc_peering_operator::api::VpcPeering| {
        object.status.as_ref().is_some_and(|status| status.ownership.is_some())
            && condition(object, "Ready").is_some_and(|ready| ready.status == "True")
    };
    world.until("owned and ready", owned).await?;
    world.request_reconcile("1").await?;
    world
        .until("reconciled", |object| {
            object.status.as_ref().and_then(|status| status.last_handled_reconcile_at.as_deref()) == Some("1")
        })
        .await?;
    let after = raw(&world).await?;
    for field in ["uid", "generation", "finalizers"] {
        ensure!(after["metadata"][field] == before["metadata"][field], "{field} was {}", before["metadata"]);
    }
    let id = |object: &serde_json::Value| object["status"]["vpcPeeringConnectionId"].as_str().map(str::to_owned);
    ensure!(id(&after).context("no ID")? == id(&before).context("no ID")?);
    let counters = world.simulator().journal(&Query::default()).await?.counters;
    let writes: Vec<_> =
        counters.keys().filter(|action| !action.starts_with("Describe") && *action != "GetCallerIdentity").collect();
    ensure!(writes.is_empty(), "{writes:?}");
    ensure!(!counters.is_empty(), "the operator made no call");

    world.delete().await?;
    world.until_gone().await?;
    ensure!(world.live_peerings().await?.is_empty());
    Ok(())
}

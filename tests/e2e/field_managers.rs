//! A GitOps tool applies its manifest repeatedly. The tool and the operator must not change each other's fields.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::gitops::{raw, run_gitops};
use super::world::{World, connection_id};

/// How a tool applies a manifest.
enum Tool {
    /// Flux's own library, as kustomize-controller uses it.
    Flux,
    /// kubectl with extra arguments.
    Kubectl(&'static [&'static str]),
}

pub async fn flux_and_the_operator_do_not_conflict(world: World) -> Result<()> {
    ensure_no_conflict(&world, &Tool::Flux).await
}

/// Argo CD with `ServerSideApply=true`.
pub async fn argo_cd_and_the_operator_do_not_conflict(world: World) -> Result<()> {
    ensure_no_conflict(&world, &Tool::Kubectl(&["--server-side", "--field-manager=argocd-controller"])).await
}

/// Argo CD's default.
pub async fn client_side_apply_and_the_operator_do_not_conflict(world: World) -> Result<()> {
    ensure_no_conflict(&world, &Tool::Kubectl(&[])).await
}

/// Applies without force, so that a conflict is an error.
async fn apply(world: &World, tool: &Tool, manifest: &Value) -> Result<String> {
    match tool {
        Tool::Flux => run_gitops(world, &["apply"], manifest).await,
        Tool::Kubectl(arguments) => {
            let path = world.shared.control_plane.folder().join(format!("{}.json", world.namespace));
            std::fs::write(&path, manifest.to_string())?;
            world.shared.control_plane.kubectl(&[&["apply", "-f", &path.to_string_lossy()], *arguments].concat()).await
        }
    }
}

async fn ensure_no_conflict(world: &World, tool: &Tool) -> Result<()> {
    let _operator = world.operator.start().await?;
    let tags = |keys: &[&str]| keys.iter().map(|key| json!({"key": key, "value": "v"})).collect::<Vec<_>>();
    let with_all = world.manifest_with(json!({"tags": tags(&["a", "b"]), "recreateOn": ["Expired"], "dryRun": false}));
    apply(world, tool, &with_all).await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?.to_owned();

    // An unchanged manifest causes no write, even though the resource has an annotation that is not in the manifest.
    world.request_reconcile("1").await?;
    world.until("reconciled", |object| last_handled(object) == Some("1")).await?;
    let before = raw(world).await?;
    for _ in 0..3 {
        let said = apply(world, tool, &with_all).await?;
        let unchanged = ["unchanged", "serverside-applied"];
        ensure!(unchanged.iter().any(|word| said.contains(word)), "{said}");
        let after = raw(world).await?;
        ensure!(after == before, "before: {before:#}\nafter: {after:#}");
    }
    ensure!(before["metadata"]["finalizers"] == json!(["vpcpeering.dev/finalizer"]), "{}", before["metadata"]);

    // A field that is removed from the manifest is removed in the cluster and in AWS. The status stays.
    let with_less = world.manifest_with(json!({"tags": tags(&["a"])}));
    apply(world, tool, &with_less).await?;
    let generation = before["metadata"]["generation"].as_i64().context("no generation")? + 1;
    let settled = |object: &vpc_peering_operator::api::VpcPeering| {
        let status = object.status.as_ref();
        status.is_some_and(|status| {
            status.observed_generation == Some(generation) && status.tags.iter().all(|tag| tag.key != "b")
        })
    };
    world.until("the tag is gone", settled).await?;
    world.until_ready().await?;
    ensure!(world.user_tags(&id).await?.into_keys().collect::<Vec<_>>() == ["a"]);
    let after = raw(world).await?;
    ensure!(after["spec"]["recreateOn"].is_null() && after["spec"]["tags"] == json!(tags(&["a"])), "{}", after["spec"]);
    ensure!(after["spec"]["dryRun"] == false, "the default is gone: {}", after["spec"]);
    ensure!(after["metadata"]["generation"] == generation, "{}", after["metadata"]);
    ensure!(after["status"]["vpcPeeringConnectionId"] == json!(id));
    ensure!(after["metadata"]["annotations"]["vpcpeering.dev/reconcile-at"] == "1", "{}", after["metadata"]);
    only_the_operator_writes_the_status(&after)?;

    world.delete().await?;
    world.until_gone().await?;
    ensure!(world.live_peerings().await?.is_empty());
    Ok(())
}

fn last_handled(object: &vpc_peering_operator::api::VpcPeering) -> Option<&str> {
    object.status.as_ref()?.last_handled_reconcile_at.as_deref()
}

/// The operator manages the status and the finalizer, and no other field.
fn only_the_operator_writes_the_status(object: &Value) -> Result<()> {
    let entries = object["metadata"]["managedFields"].as_array().context("no managedFields")?;
    let is_ours = |entry: &&Value| entry["manager"] == "vpc-peering-operator";
    for entry in entries {
        let fields = &entry["fieldsV1"];
        let of_operator = [&fields["f:status"], &fields["f:metadata"]["f:finalizers"]];
        ensure!(is_ours(&entry) || of_operator.iter().all(|field| field.is_null()), "the operator's fields: {entry}");
        ensure!(!is_ours(&entry) || fields["f:spec"].is_null(), "the operator writes the spec: {entry}");
    }
    let mut of_status = entries.iter().filter(is_ours).map(|entry| &entry["fieldsV1"]["f:status"]);
    let of_status = of_status.find(|fields| !fields.is_null()).context("no manager of the status")?;
    // Lists in the status are atomic. Conditions are a map, since other controllers may add some.
    ensure!(of_status["f:tags"] == json!({}) && of_status["f:requesterVpcInfo"] == json!({}), "{of_status}");
    ensure!(of_status["f:conditions"][r#"k:{"type":"Ready"}"#].is_object(), "{of_status}");
    Ok(())
}

//! Files that are generated from the code and the chart match what is committed.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use environment::{prepare, repository};
use serde_json::json;
use tokio::process::Command;
use vpc_peering_operator::api::crd;

use super::Shared;
use environment::helm::find;

pub async fn crds_match_the_code(shared: Arc<Shared>) -> Result<()> {
    for keep in [true, false] {
        let rendered = shared.helm.render(&json!({"crds": {"keep": keep}})).await?;
        for crd in crd::all()? {
            let crd = serde_json::to_value(crd)?;
            let name = crd["metadata"]["name"].as_str().context("no name")?.to_owned();
            let mut shown = find(&rendered, "CustomResourceDefinition", &name)?.clone();
            let annotations = shown["metadata"].as_object_mut().and_then(|metadata| metadata.remove("annotations"));
            ensure!(annotations == keep.then(|| json!({"helm.sh/resource-policy": "keep"})), "{annotations:?}");
            let labels = shown["metadata"].as_object_mut().and_then(|metadata| metadata.remove("labels"));
            ensure!(labels.is_some_and(|labels| labels["app.kubernetes.io/managed-by"] == "Helm"));
            ensure!(shown == crd, "{name} differs from the code; run `make generate`");
        }
    }
    let without = shared.helm.render(&json!({"crds": {"install": false}})).await?;
    ensure!(without.iter().all(|object| object["kind"] != "CustomResourceDefinition"));
    Ok(())
}

/// Runs a generator, and compares the files that it writes with the committed ones.
async fn compare_with_committed(mut program: Command, written: &Path, committed: &str, files: &[&str]) -> Result<()> {
    let output = program.output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for file in files {
        let written = std::fs::read_to_string(written.join(file))?;
        let committed = std::fs::read_to_string(repository().join(committed).join(file))?;
        ensure!(written == committed, "{file} differs from the chart; run `make generate`");
    }
    Ok(())
}

pub async fn deploy_is_rendered_from_the_chart(shared: Arc<Shared>) -> Result<()> {
    let folder = shared.control_plane.folder().join("deploy");
    let mut render = Command::new(repository().join("deploy/render.sh"));
    render.arg(&folder);
    let files = [
        "base/deployment.yaml",
        "base/rbac.yaml",
        "base/admission.yaml",
        "admission/deletion-protection.yaml",
        "admission/identity-use.yaml",
    ];
    compare_with_committed(render, &folder, "deploy", &files).await
}

pub async fn the_readme_lists_the_values(shared: Arc<Shared>) -> Result<()> {
    let folder = shared.control_plane.folder().join("charts");
    let chart = folder.join("vpc-peering-operator");
    std::fs::create_dir_all(&chart)?;
    let committed = "charts/vpc-peering-operator";
    for file in ["Chart.yaml", "values.yaml", "README.md.gotmpl"] {
        std::fs::copy(repository().join(committed).join(file), chart.join(file))?;
    }
    let mut helm_docs = Command::new(prepare("tests/control-plane/build.sh helm-docs")?.join("helm-docs"));
    helm_docs.current_dir(&folder).args(["--sort-values-order", "file"]);
    compare_with_committed(helm_docs, &chart, committed, &["README.md"]).await
}

//! The chart as it is published.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use environment::repository;
use serde_json::Value;
use tokio::process::Command;
use vpc_peering_operator::api::crd;

use super::Shared;

fn read(path: &str) -> Result<Value> {
    let text = std::fs::read_to_string(repository().join(path)).with_context(|| path.to_owned())?;
    Ok(serde_saphyr::from_str(&text)?)
}

/// An annotation of Artifact Hub, which is YAML: <https://artifacthub.io/docs/topics/annotations/helm>
fn annotation(chart: &Value, name: &str) -> Result<Vec<Value>> {
    let text = chart["annotations"][format!("artifacthub.io/{name}")].as_str().with_context(|| name.to_owned())?;
    Ok(serde_saphyr::from_str(text)?)
}

pub async fn the_metadata_describes_the_chart(_: Arc<Shared>) -> Result<()> {
    let chart = read("charts/vpc-peering-operator/Chart.yaml")?;
    for field in ["home", "icon", "sources", "maintainers", "keywords", "kubeVersion"] {
        ensure!(!chart[field].is_null(), "Chart.yaml has no {field}");
    }
    let icon = chart["icon"].as_str().and_then(|url| url.split_once("/TAG/")).context("no icon")?.1;
    ensure!(std::fs::read_to_string(repository().join(icon))?.starts_with("<svg "), "{icon} is no SVG");
    ensure!(chart["annotations"]["artifacthub.io/license"] == "Apache-2.0");

    let version = chart["appVersion"].as_str().context("no appVersion")?;
    let images = annotation(&chart, "images")?;
    let image = images[0]["image"].as_str().context("no image")?;
    ensure!(image.ends_with(&format!("/vpc-peering-operator:{version}")), "{image}");

    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let listed = annotation(&chart, "crds")?;
    let listed: BTreeSet<_> = listed.iter().map(|crd| (text(&crd["name"]), text(&crd["kind"]))).collect();
    let crds = crd::all()?.into_iter().map(|crd| (crd.metadata.name.unwrap_or_default(), crd.spec.names.kind));
    let defined: BTreeSet<_> = crds.collect();
    ensure!(listed == defined, "{listed:?} are not the CRDs");

    let kinds = ["added", "changed", "deprecated", "removed", "fixed", "security"];
    for change in annotation(&chart, "changes")? {
        ensure!(kinds.contains(&text(&change["kind"]).as_str()) && !text(&change["description"]).is_empty());
    }
    for example in annotation(&chart, "crdsExamples")? {
        ensure!(defined.iter().any(|(_, kind)| *kind == text(&example["kind"])), "{example}");
    }
    Ok(())
}

/// Runs the commands of the release workflow that change and package the chart.
pub async fn a_release_names_its_image_and_repository(shared: Arc<Shared>) -> Result<()> {
    let workflow = read(".github/workflows/release.yaml")?;
    let steps = workflow["jobs"]["publish"]["steps"].as_array().context("no steps")?;
    let step = steps.iter().find(|step| step["name"] == "chart").context("no step")?;
    let script: Vec<_> = step["run"].as_str().context("no script")?.lines().collect();
    let is_local = |line: &&&str| !["helm registry", "helm push", "cosign"].iter().any(|word| line.starts_with(word));
    let script = script.iter().filter(is_local).copied().collect::<Vec<_>>().join("\n");

    let folder = shared.control_plane.folder().join("release");
    let chart = folder.join("charts");
    std::fs::create_dir_all(&chart)?;
    let source = repository().join("charts/vpc-peering-operator");
    run(Command::new("cp").arg("-r").arg(source).arg(&chart)).await?;
    let programs = shared.helm.program.parent().map(Path::to_string_lossy).unwrap_or_default();
    let path = format!("{programs}:{}", std::env::var("PATH")?);
    let digest = format!("sha256:{}", "1".repeat(64));
    let variables = [
        ("PATH", path.as_str()),
        ("DIGEST", &digest),
        ("GITHUB_REF_NAME", "v1.2.3"),
        ("GITHUB_REPOSITORY", "example/vpc-peering-operator"),
        ("REGISTRY", "registry.example.com/example"),
        ("IMAGE", "registry.example.com/example/vpc-peering-operator"),
    ];
    run(Command::new("bash").args(["-euc", &script]).current_dir(&folder).envs(variables)).await?;

    let package = folder.join("vpc-peering-operator-1.2.3.tgz");
    let shown = run(Command::new(&shared.helm.program).args(["show", "chart"]).arg(&package)).await?;
    for placeholder in ["REPOSITORY", "REGISTRY", "TAG"] {
        ensure!(!shown.contains(placeholder), "{placeholder} is left in {shown}");
    }
    let chart: Value = serde_saphyr::from_str(&shown)?;
    ensure!(chart["version"] == "1.2.3" && chart["appVersion"] == "1.2.3", "{shown}");
    ensure!(chart["home"] == "https://github.com/example/vpc-peering-operator", "{shown}");
    let images = annotation(&chart, "images")?;
    ensure!(images[0]["image"] == "registry.example.com/example/vpc-peering-operator:1.2.3", "{shown}");
    // The released chart needs no value.
    let rendered = run(Command::new(&shared.helm.program).args(["template", "operator"]).arg(&package)).await?;
    ensure!(rendered.contains(&format!("image: registry.example.com/example/vpc-peering-operator@{digest}")));
    Ok(())
}

async fn run(command: &mut Command) -> Result<String> {
    let output = command.kill_on_drop(true).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

//! The Prometheus alerts: their metrics, their runbook, and when they fire.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use environment::repository;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use vpc_peering_operator::operator::metrics::DEFINITIONS;

use super::{NAME, Shared};
use environment::helm::find;

pub async fn alerts_use_existing_metrics_and_have_a_runbook(shared: Arc<Shared>) -> Result<()> {
    let values = json!({"metrics": {"prometheusRule": {"enabled": true}}});
    let rendered = shared.helm.render(&values).await?;
    let rule = find(&rendered, "PrometheusRule", NAME)?;
    let runbook = std::fs::read_to_string(repository().join("docs/runbook.md"))?;
    let headings: BTreeSet<_> =
        runbook.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_lowercase).collect();
    let mut used = BTreeSet::new();
    let alerts = rule["spec"]["groups"][0]["rules"].as_array().context("no rules")?;
    for alert in alerts {
        let (name, expr) = (alert["alert"].as_str().context("no name")?, alert["expr"].as_str().context("no expr")?);
        let url = alert["annotations"]["runbook_url"].as_str().context("no runbook_url")?;
        let (page, heading) = url.split_once('#').with_context(|| format!("{url} names no heading"))?;
        ensure!(
            page == "docs/runbook.md" && headings.contains(heading),
            "{name}: {url} has no heading in docs/runbook.md"
        );
        used.insert(heading.to_owned());
        let words = expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let ours = ["vpcpeering_", "controller_runtime_", "leader_election_", "workqueue_"];
        let metrics: BTreeSet<_> = words.filter(|word| ours.iter().any(|prefix| word.starts_with(prefix))).collect();
        ensure!(!metrics.is_empty(), "{name} uses no metric of the operator: {expr}");
        for metric in metrics {
            let row = DEFINITIONS.iter().find(|row| row.name == metric);
            let row = row.with_context(|| format!("{name} uses {metric}, which does not exist"))?;
            for selector in expr.split(&format!("{metric}{{")).skip(1) {
                for pair in selector.split('}').next().unwrap_or_default().split(',') {
                    let label = pair.split(['=', '!']).next().unwrap_or_default().trim();
                    ensure!(row.labels.contains(&label), "{name}: {metric} has no label {label}");
                }
            }
        }
        ensure!(!expr.contains("LEASE_NAME"), "{name}: {expr}");
    }
    ensure!(
        used == headings,
        "headings of docs/runbook.md without an alert: {:?}",
        headings.difference(&used).collect::<Vec<_>>()
    );
    Ok(())
}

pub async fn alerts_fire_as_tested(shared: Arc<Shared>) -> Result<()> {
    let values = json!({"metrics": {"prometheusRule": {"enabled": true}}});
    let rendered = shared.helm.render(&values).await?;
    let rule = find(&rendered, "PrometheusRule", NAME)?;
    let folder = shared.control_plane.folder();
    // JSON is YAML.
    std::fs::write(folder.join("rules.yaml"), rule["spec"].to_string())?;
    let tests = std::fs::read_to_string(repository().join("tests/chart/alerts.yaml"))?;
    for alert in rule["spec"]["groups"][0]["rules"].as_array().context("no rules")? {
        let name = alert["alert"].as_str().context("no name")?;
        ensure!(tests.contains(&format!("alertname: {name}\n")), "{name} has no test in tests/chart/alerts.yaml");
    }
    std::fs::write(folder.join("alerts.yaml"), tests)?;
    promtool(&shared, &["check", "rules", "--lint-fatal", "rules.yaml"], "").await?;
    promtool(&shared, &["test", "rules", "alerts.yaml"], "").await
}

/// Runs promtool with `input` as its standard input.
pub async fn promtool(shared: &Shared, arguments: &[&str], input: &str) -> Result<()> {
    let mut promtool = Command::new(shared.promtool.join("promtool"))
        .args(arguments)
        .current_dir(shared.control_plane.folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    promtool.stdin.take().context("no standard input")?.write_all(input.as_bytes()).await?;
    let output = promtool.wait_with_output().await?;
    let output_text = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "promtool {}: {}", arguments.join(" "), String::from_utf8_lossy(&output_text));
    Ok(())
}

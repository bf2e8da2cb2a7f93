//! `helm test` and `helm uninstall`.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Result, ensure};
use environment::repository;
use serde_json::json;

use crate::cluster::{Cluster, NAME, NAMESPACE, PEERINGS};

pub async fn helm_test_passes(cluster: Arc<Cluster>) -> Result<()> {
    cluster.install(&cluster.values()).await?;
    let report = cluster.helm.on_release(&["test", "operator", "--logs", "--timeout=2m"]).await?;
    for line in ["Phase:", "Succeeded", "✓ leader election: "] {
        ensure!(report.contains(line), "no {line} in {report}");
    }
    ensure!(!report.contains('✗'), "{report}");
    Ok(())
}

/// After an uninstallation, the cluster has only what the chart's README names.
pub async fn uninstalling_leaves_only_what_the_chart_documents(cluster: Arc<Cluster>) -> Result<()> {
    cluster.clean().await?;
    let before = objects(&cluster).await?;
    let mut values = cluster.values();
    values["metrics"] = json!({"service": {"enabled": true}, "dashboard": {"enabled": true}});
    values["networkPolicy"] = json!({"enabled": true});
    values["admission"] = json!({"deletionProtection": true, "identityUse": true});
    let role = "arn:aws:iam::222222222222:role/peerings";
    values["identities"] = json!({"partner": {"accountId": "222222222222", "roleArn": role}});
    cluster.install(&values).await?;
    let peering = cluster.create("orders").await?;
    cluster.until_ready(&[&peering]).await?;
    // Without a name server, `check` cannot reach the Service of the metrics, so only the pod matters here.
    _ = cluster.helm.on_release(&["test", "operator", "--timeout=2m"]).await;
    cluster.helm.on_release(&["uninstall", "operator", "--wait", "--timeout=2m"]).await?;
    let expected: BTreeSet<String> = [
        "CustomResourceDefinition//awsidentities.vpcpeering.dev",
        "CustomResourceDefinition//vpcpeeringaccepters.vpcpeering.dev",
        "CustomResourceDefinition//vpcpeerings.vpcpeering.dev",
        // The API server derives it from them.
        "APIService//v1alpha1.vpcpeering.dev",
        "AwsIdentity//partner",
        &format!("VpcPeering/{PEERINGS}/orders"),
        &format!("Lease/{NAMESPACE}/{NAME}"),
        &format!("Pod/{NAMESPACE}/{NAME}-check"),
    ]
    .map(str::to_owned)
    .into();
    let readme = std::fs::read_to_string(repository().join("charts/vpc-peering-operator/README.md"))?;
    let command = "delete lease/<full name> pod/<full name>-check";
    ensure!(readme.contains(command), "the README of the chart has no `{command}`");
    cluster
        .until("nothing else is left", async || {
            let left: BTreeSet<_> = objects(&cluster).await?.difference(&before).cloned().collect();
            let more: Vec<_> = left.difference(&expected).collect();
            let less: Vec<_> = expected.difference(&left).collect();
            ensure!(more.is_empty() && less.is_empty(), "left although not documented: {more:?}; gone: {less:?}");
            Ok(())
        })
        .await?;
    // The connection in EC2 stays, too.
    cluster.until_ready(&[&peering]).await?;
    cluster.kubectl(&["delete", "awsidentity", "partner"]).await.map(drop)
}

/// All objects of the cluster except Events, as kind, namespace and name.
async fn objects(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let kinds = cluster.kubectl(&["api-resources", "--verbs=list", "-o", "name"]).await?;
    let kinds: Vec<_> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
    let path = r#"jsonpath={range .items[*]}{.kind}/{.metadata.namespace}/{.metadata.name}{"\n"}{end}"#;
    let all = cluster.kubectl(&["get", &kinds.join(","), "--all-namespaces", "-o", path]).await?;
    Ok(all.lines().map(str::to_owned).collect())
}

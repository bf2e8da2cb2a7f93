//! A rolling upgrade from the previous version of the chart, while its resources are in use.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use environment::{Process, ec2, repository};
use serde_json::{Value, json};

use crate::cluster::{Cluster, NAME, NAMESPACE, PEERINGS, note};
use crate::pods::restarts_of;

/// The previous version of the chart.
const PREVIOUS: &str = "tests/chart/previous/vpc-peering-operator-0.1.0.tgz";

/// The ClusterRoleBinding of the operator before the upgrade.
const GRANT: &str = "previous";

/// The time between two observations of EC2.
const INTERVAL: Duration = Duration::from_millis(100);

pub async fn an_upgrade_from_the_previous_chart_interrupts_nothing(cluster: Arc<Cluster>) -> Result<()> {
    cluster.clean().await?;
    cluster.kubectl(&["delete", "clusterrolebinding", GRANT, "--ignore-not-found"]).await?;
    install_previous(&cluster).await?;
    let mut peerings = Vec::new();
    for name in ["orders", "payments", "reports"] {
        peerings.push(cluster.create(name).await?);
    }
    let peerings: Vec<_> = peerings.iter().collect();
    let made = cluster.until_ready(&peerings).await.context("with the previous chart")?;
    let before = identities(&cluster).await?;
    let pods = names(&cluster.pods().await?);

    cluster.forget_changes().await?;
    let watch = watch_ready(&cluster).await?;
    let upgrade = ["upgrade", "operator", "--wait", "--timeout=3m"];
    let values = cluster.values();
    let upgraded = cluster.helm.run(&upgrade, &values);
    let (mut codes, mut polls) = (BTreeSet::new(), 0);
    {
        tokio::pin!(upgraded);
        loop {
            tokio::select! {
                outcome = &mut upgraded => break drop(outcome?),
                () = tokio::time::sleep(INTERVAL) => {
                    for peering in &peerings {
                        let connections = ec2::peerings_of(&cluster.ec2, &peering.requester).await?;
                        codes.extend(connections.iter().map(|one| ec2::code(one).to_owned()));
                    }
                    polls += 1;
                }
            }
        }
    }
    // From now on, the operator has exactly the permissions of the new chart.
    cluster.kubectl(&["delete", "clusterrolebinding", GRANT]).await?;
    cluster
        .until("only new pods", async || {
            let now = names(&cluster.pods().await?);
            ensure!(now.len() == 2 && now.is_disjoint(&pods), "{pods:?} became {now:?}");
            Ok(())
        })
        .await?;
    note(&format!("EC2 was read {polls} times during the upgrade, and showed {codes:?}"));

    // The new operator has handled all resources when it answers the annotation.
    let of_peerings = ["vpcpeering", "--all", "--namespace", PEERINGS];
    cluster.kubectl(&[&["annotate"], &of_peerings[..], &["vpcpeering.dev/reconcile-at=upgraded"]].concat()).await?;
    let handled = ["wait", "--for=jsonpath={.status.lastHandledReconcileAt}=upgraded", "--timeout=120s"];
    cluster.kubectl(&[&handled[..], &of_peerings].concat()).await?;
    ensure!(cluster.until_ready(&peerings).await? == made, "the connections were replaced");
    ensure!(identities(&cluster).await? == before, "the resources were replaced");
    ensure!(codes == BTreeSet::from(["active".to_owned()]) && polls > 10, "{polls} polls showed {codes:?}");
    let changes = cluster.changes().await?;
    ensure!(changes.is_empty(), "the upgrade changed EC2: {changes:?}");
    let ready = watch.output();
    let lost: Vec<_> = ready.lines().filter(|line| !line.ends_with(" True")).collect();
    ensure!(lost.is_empty() && ready.lines().count() >= 3, "resources lost the condition Ready:\n{ready}");
    for pod in cluster.pods().await? {
        ensure!(restarts_of(&pod) == 0, "{}", pod["status"]);
    }
    cluster.delete_all().await.context("with the new chart")
}

/// Installs the previous chart, with the binary of this version. The binary needs CustomResourceDefinitions and
/// permissions that the previous chart does not have, so it gets them until the upgrade.
async fn install_previous(cluster: &Cluster) -> Result<()> {
    let mut environment = cluster.environment();
    // The previous chart has no values for them.
    for (name, value) in [("AWS_REGION", "eu-central-1"), ("OWN_CREDENTIALS_NAMESPACES", PEERINGS)] {
        environment.push(json!({"name": name, "value": value}));
    }
    let values = json!({
        "image": {"tag": "previous"},
        "env": environment,
        "operator": {"pollInterval": "2s", "consistencyWindow": "5s"},
    });
    let path = cluster.control_plane.folder().join("previous.json");
    std::fs::write(&path, values.to_string())?;
    let (chart, path) = (repository().join(PREVIOUS), path.to_string_lossy().into_owned());
    let install = ["install", "operator", &*chart.to_string_lossy(), "--values", &*path];
    cluster.helm.on_release(&install).await?;
    let crds = repository().join("crds/vpcpeering.dev.yaml").to_string_lossy().into_owned();
    // Helm stays the owner, so that the upgrade does not conflict.
    let owned = |verb: &'static str| [verb, "-f", &*crds, "--field-manager=helm"];
    cluster.kubectl(&[&owned("apply")[..], &["--server-side", "--force-conflicts"]].concat()).await?;
    let owner = ["meta.helm.sh/release-name=operator", &*format!("meta.helm.sh/release-namespace={NAMESPACE}")];
    cluster.kubectl(&[&owned("annotate")[..], &["--overwrite"], &owner].concat()).await?;
    let owner = ["--overwrite", "app.kubernetes.io/managed-by=Helm"];
    cluster.kubectl(&[&owned("label")[..], &owner].concat()).await?;
    let account = format!("--serviceaccount={NAMESPACE}:{NAME}");
    cluster.kubectl(&["create", "clusterrolebinding", GRANT, "--clusterrole=cluster-admin", &account]).await?;
    let rollout = ["rollout", "status", "--timeout=3m", "--namespace", NAMESPACE];
    cluster.kubectl(&[&rollout[..], &[&format!("deployment/{NAME}")]].concat()).await?;
    let deployment = cluster.get(&["deployment", NAME, "--namespace", NAMESPACE]).await?;
    ensure!(deployment["metadata"]["labels"]["helm.sh/chart"] == "vpc-peering-operator-0.1.0", "{deployment}");
    Ok(())
}

/// Records the condition Ready of each resource whenever the resource changes.
async fn watch_ready(cluster: &Cluster) -> Result<Process> {
    let path = r#"jsonpath={.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\n"}"#;
    let arguments = ["get", "vpcpeerings", "--watch", "--namespace", PEERINGS, "-o", path, "--kubeconfig"];
    let arguments = arguments.iter().map(|&one| one.to_owned());
    let arguments: Vec<_> = arguments.chain([cluster.control_plane.kubeconfig().display().to_string()]).collect();
    let log = cluster.control_plane.folder().join("watch.log");
    Process::start(&cluster.control_plane.kubectl_path(), &arguments, &[], &log).await
}

/// The UID of each resource.
async fn identities(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let list = cluster.get(&["vpcpeerings", "--namespace", PEERINGS]).await?;
    Ok(list["items"].as_array().into_iter().flatten().map(|one| one["metadata"]["uid"].to_string()).collect())
}

fn names(pods: &[Value]) -> BTreeSet<String> {
    pods.iter().map(|pod| pod["metadata"]["name"].to_string()).collect()
}

//! What becomes of a cluster when the chart is installed, upgraded, rolled back and uninstalled.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use environment::{Operator, RunningOperator, eventually};
use serde_json::{Value, json};

use super::Shared;
use super::helm::find;
use super::render::promtool;

const NAME: &str = "operator-vpc-peering-operator";
const LIMIT: Duration = Duration::from_secs(60);

const PEERING: &str = r#"{
    "apiVersion": "vpcpeering.dev/v1alpha1",
    "kind": "VpcPeering",
    "metadata": {"name": "kept", "namespace": "watched", "finalizers": ["vpcpeering.dev/finalizer"]},
    "spec": {
        "requester": {"vpcId": "vpc-0a1b2c3d4e5f67890", "region": "eu-central-1"},
        "accepter": {"vpcId": "vpc-0f9e8d7c6b5a43210"}
    }
}"#;

impl Shared {
    async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.control_plane.kubectl(arguments).await
    }

    async fn uninstall(&self) -> Result<()> {
        self.helm.on_release(&["uninstall", "operator"]).await?;
        Ok(())
    }

    async fn uid_of_the_peering(&self) -> Result<String> {
        let path = "jsonpath={.metadata.uid}/{.metadata.deletionTimestamp}";
        self.kubectl(&["get", "vpcpeering", "kept", "--namespace", "watched", "-o", path]).await
    }
}

pub async fn no_release_step_loses_a_peering(shared: Arc<Shared>) -> Result<()> {
    let helm = &shared.helm;
    let notes = helm.run(&["install", "operator"], &json!({})).await?;
    ensure!(notes.contains("install/operator-vpc-peering-operator") && notes.contains("kubectl"), "{notes}");
    shared.kubectl(&["wait", "--for=condition=Established", "crd/vpcpeerings.vpcpeering.dev"]).await?;
    let path = shared.control_plane.folder().join("peering.json");
    std::fs::write(&path, PEERING)?;
    shared.kubectl(&["apply", "-f", &path.to_string_lossy()]).await?;
    let uid = shared.uid_of_the_peering().await?;
    ensure!(uid.ends_with('/'), "it is being deleted: {uid}");

    let replicas = async || {
        let path = "jsonpath={.spec.replicas}";
        shared.kubectl(&["get", "deployment", NAME, "--namespace", "install", "-o", path]).await
    };
    helm.run(&["upgrade", "operator"], &json!({"replicas": 3})).await?;
    ensure!(replicas().await? == "3");
    ensure!(shared.uid_of_the_peering().await? == uid);
    helm.on_release(&["rollback", "operator", "1"]).await?;
    ensure!(replicas().await? == "2");
    ensure!(shared.uid_of_the_peering().await? == uid);
    // From the chart to a CRD of somebody else's hands: it must stay.
    helm.run(&["upgrade", "operator"], &json!({"crds": {"install": false}})).await?;
    ensure!(shared.uid_of_the_peering().await? == uid);
    helm.run(&["upgrade", "operator"], &json!({})).await?;
    shared.uninstall().await?;
    ensure!(shared.uid_of_the_peering().await? == uid, "the peering went with the chart");
    ensure!(replicas().await.is_err(), "the operator is still there");
    helm.run(&["install", "operator"], &json!({})).await?;
    ensure!(shared.uid_of_the_peering().await? == uid);
    let release = ["patch", "vpcpeering", "kept", "--namespace", "watched", "--type=merge"];
    shared.kubectl(&[&release[..], &["-p", r#"{"metadata":{"finalizers":null}}"#]].concat()).await?;
    shared.kubectl(&["delete", "vpcpeering", "kept", "--namespace", "watched"]).await?;
    shared.uninstall().await
}

pub async fn crds_go_when_they_are_not_to_be_kept(shared: Arc<Shared>) -> Result<()> {
    shared.helm.run(&["install", "operator"], &json!({"crds": {"keep": false}})).await?;
    shared.uninstall().await?;
    eventually("the CRD is gone", LIMIT, async || {
        ensure!(shared.kubectl(&["get", "crd", "vpcpeerings.vpcpeering.dev"]).await.is_err());
        Ok(())
    })
    .await
}

/// Starts the operator with the rights and the settings of the Deployment that the chart makes of these values, and
/// waits until it leads and has seen the resources.
async fn start_as_installed(shared: &Shared, values: &Value) -> Result<RunningOperator> {
    shared.helm.run(&["install", "operator"], values).await?;
    shared.kubectl(&["wait", "--for=condition=Established", "crd/vpcpeerings.vpcpeering.dev"]).await?;
    let rendered = shared.helm.render(values).await?;
    let pod = &find(&rendered, "Deployment", NAME)?["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    ensure!(container["args"] == json!(["run"]), "{}", container["args"]);
    let account = pod["serviceAccountName"].as_str().context("no service account")?;
    let kubeconfig = shared.control_plane.kubeconfig_of("install", account).await?;
    let mut environment = vec![("KUBECONFIG", kubeconfig.to_string_lossy().into_owned())];
    for variable in container["env"].as_array().context("no env")? {
        let Some(value) = variable["value"].as_str() else { continue };
        let name: &'static str = variable["name"].as_str().context("no name")?.to_owned().leak();
        let is_address = name == "METRICS_ADDRESS";
        let value = if is_address { value.replace(":8080", ":0") } else { value.to_owned() };
        ensure!(!is_address || value.ends_with(":0"), "{value}");
        environment.push((name, value));
    }
    let program = Path::new(env!("CARGO_BIN_EXE_vpc-peering-operator")).to_owned();
    let log = shared.control_plane.folder().join("operator.log");
    _ = std::fs::remove_file(&log);
    let operator = Operator { program, environment, log }.start().await?;
    eventually("leading and ready", LIMIT, async || {
        let metrics = operator.get("/metrics").await?;
        let leads = format!(r#"leader_election_master_status{{name="{NAME}"}} 1.0"#);
        ensure!(metrics.contains(&leads), "{metrics}\n{}", operator.output());
        operator.get("/readyz").await.with_context(|| operator.output())
    })
    .await?;
    ensure!(operator.output().starts_with('{'), "the log is not JSON:\n{}", operator.output());
    Ok(operator)
}

pub async fn the_installed_rights_and_settings_suffice(shared: Arc<Shared>) -> Result<()> {
    let operator = start_as_installed(&shared, &json!({})).await?;
    promtool(&shared, &["check", "metrics"], &operator.get("/metrics").await?).await?;
    operator.terminate().await?;
    shared.uninstall().await
}

pub async fn the_installed_rights_and_settings_suffice_in_one_namespace(shared: Arc<Shared>) -> Result<()> {
    let operator = start_as_installed(&shared, &json!({"watchNamespace": "watched"})).await?;
    operator.terminate().await?;
    shared.uninstall().await
}

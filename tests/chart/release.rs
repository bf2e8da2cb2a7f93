//! Installing, upgrading, rolling back and uninstalling the chart.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ec2_simulator::clock::Clock;
use ec2_simulator::{Server, Simulator};
use environment::{Operator, RunningOperator, ec2, eventually, repository};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::alerts::promtool;
use super::{NAME, Shared};
use environment::helm::find;

const CRDS: [&str; 3] =
    ["vpcpeerings.vpcpeering.dev", "vpcpeeringaccepters.vpcpeering.dev", "awsidentities.vpcpeering.dev"];
pub const LIMIT: Duration = Duration::from_secs(60);

pub const PEERING: &str = r#"{
    "apiVersion": "vpcpeering.dev/v1alpha1",
    "kind": "VpcPeering",
    "metadata": {"name": "kept", "namespace": "watched", "finalizers": ["vpcpeering.dev/finalizer"]},
    "spec": {
        "requester": {"vpcId": "vpc-0a1b2c3d4e5f67890", "region": "eu-central-1"},
        "accepter": {"vpcId": "vpc-0f9e8d7c6b5a43210"}
    }
}"#;

/// A simulated EC2.
struct Cloud {
    server: Server,
    ec2: aws_sdk_ec2::Client,
}

impl Cloud {
    async fn start() -> Result<Self> {
        let simulator = Simulator::new(Default::default(), Clock::new(Timestamp::now(), 1.0), 1);
        let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), simulator).await?;
        let ec2 = ec2::client(&server.url(), "eu-central-1");
        Ok(Self { server, ec2 })
    }

    /// A VpcPeering in this namespace, with two new VPCs.
    async fn peering(&self, namespace: &str) -> Result<Value> {
        let mut peering: Value = serde_json::from_str(PEERING)?;
        peering["metadata"]["namespace"] = json!(namespace);
        peering["spec"]["requester"]["vpcId"] = json!(ec2::create_vpc(&self.ec2, "10.1.0.0/16").await?);
        peering["spec"]["accepter"]["vpcId"] = json!(ec2::create_vpc(&self.ec2, "10.2.0.0/16").await?);
        Ok(peering)
    }
}

impl Shared {
    /// Runs kubectl as the administrator.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.control_plane.kubectl(arguments).await
    }

    /// Uninstalls the release; the CRDs stay.
    pub async fn uninstall(&self) -> Result<()> {
        self.helm.on_release(&["uninstall", "operator"]).await?;
        Ok(())
    }

    /// Uninstalls a release that does not keep its CRDs, and waits until they are deleted.
    async fn uninstall_with_crds(&self) -> Result<()> {
        // Wait until the storage of each CRD is initialized. kube-apiserver can leave a CRD that is deleted earlier in
        // place for minutes: the update that removes the finalizer conflicts with the previous update, and a change of
        // the condition Terminating alone does not trigger another attempt. A list without a limit fails until then.
        for crd in CRDS {
            let list = ["get", crd, "--all-namespaces", "--chunk-size=0"];
            eventually(crd, LIMIT, async || self.kubectl(&list).await).await?;
        }
        self.uninstall().await?;
        eventually("CRDs deleted", LIMIT, async || {
            let left = self.kubectl(&[&["get", "crd", "--ignore-not-found"], &CRDS[..]].concat()).await?;
            ensure!(left.is_empty(), "{left}");
            Ok(())
        })
        .await
    }

    async fn uid_of_the_peering(&self) -> Result<String> {
        let path = "jsonpath={.metadata.uid}/{.metadata.deletionTimestamp}";
        self.kubectl(&["get", "vpcpeering", "kept", "--namespace", "watched", "-o", path]).await
    }
}

pub async fn upgrades_rollbacks_and_uninstalls_keep_resources(shared: Arc<Shared>) -> Result<()> {
    let helm = &shared.helm;
    let notes = helm.run(&["install", "operator"], &json!({})).await?;
    ensure!(notes.contains("install/operator-vpc-peering-operator") && notes.contains("kubectl"), "{notes}");
    // With the default values no resource can use AWS, so the notes name the value to set.
    ensure!(notes.contains("--set operator.ownCredentialsNamespaces=default"), "{notes}");
    ensure!(!notes.contains("Upgraded from"), "{notes}");
    shared.kubectl(&["wait", "--for=condition=Established", "crd/vpcpeerings.vpcpeering.dev"]).await?;
    let path = shared.control_plane.folder().join("peering.json");
    std::fs::write(&path, PEERING)?;
    shared.kubectl(&["apply", "-f", &path.to_string_lossy()]).await?;
    let uid = shared.uid_of_the_peering().await?;
    ensure!(uid.ends_with('/'), "the VpcPeering is being deleted: {uid}");

    let replicas = async || {
        let path = "jsonpath={.spec.replicas}";
        shared.kubectl(&["get", "deployment", NAME, "--namespace", "install", "-o", path]).await
    };
    let notes = helm.run(&["upgrade", "operator"], &json!({"replicas": 3})).await?;
    for changed in ["ownCredentialsNamespaces", "AwsIdentity", "allowedVpcs", "admission", "allowNodeRole"] {
        ensure!(notes.contains("Upgraded from") && notes.contains(changed), "{changed} is not in {notes}");
    }
    ensure!(replicas().await? == "3");
    ensure!(shared.uid_of_the_peering().await? == uid);
    helm.on_release(&["rollback", "operator", "1"]).await?;
    ensure!(replicas().await? == "2");
    ensure!(shared.uid_of_the_peering().await? == uid);
    // The CRD stays when the chart no longer manages it.
    helm.run(&["upgrade", "operator"], &json!({"crds": {"install": false}})).await?;
    ensure!(shared.uid_of_the_peering().await? == uid);
    helm.run(&["upgrade", "operator"], &json!({})).await?;
    shared.uninstall().await?;
    ensure!(shared.uid_of_the_peering().await? == uid, "the VpcPeering was deleted with the release");
    ensure!(replicas().await.is_err(), "the Deployment still exists");
    helm.run(&["install", "operator"], &json!({})).await?;
    ensure!(shared.uid_of_the_peering().await? == uid);
    shared.uninstall().await?;
    // After uninstallation there is no operator to remove the finalizer, and no admission policy that forbids users to.
    shared.kubectl(&["delete", "vpcpeering", "kept", "--namespace", "watched", "--wait=false"]).await?;
    let release = ["patch", "vpcpeering", "kept", "--namespace", "watched", "--type=merge"];
    let release = [&release[..], &["-p", r#"{"metadata":{"finalizers":null}}"#]].concat();
    eventually("admission policy no longer in force", LIMIT, async || shared.kubectl(&release).await).await?;
    let left = shared.kubectl(&["get", "vpcpeering", "kept", "--namespace", "watched", "--ignore-not-found"]).await?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}

/// The chart of the previous release.
const PREVIOUS: &str = "tests/chart/previous/vpc-peering-operator-0.1.0.tgz";

/// The operator reconciles a resource of the previous version after an upgrade. Resource and connection stay the same
/// through an upgrade, a rollback and another upgrade.
pub async fn upgrade_and_rollback_between_versions_keep_the_peering(shared: Arc<Shared>) -> Result<()> {
    let (helm, previous) = (&shared.helm, repository().join(PREVIOUS));
    helm.on_release(&["install", "operator", &previous.to_string_lossy()]).await?;
    shared.kubectl(&["wait", "--for=condition=Established", "crd/vpcpeerings.vpcpeering.dev"]).await?;
    let cloud = Cloud::start().await?;
    let peering = cloud.peering("watched").await?;
    let (ec2, requester) = (&cloud.ec2, peering["spec"]["requester"]["vpcId"].as_str().context("no VPC")?);
    let path = shared.control_plane.folder().join("live.json");
    std::fs::write(&path, peering.to_string())?;
    shared.kubectl(&["apply", "-f", &path.to_string_lossy()]).await?;

    let uid = shared.uid_of_the_peering().await?;
    let chart = async || {
        let path = r"jsonpath={.metadata.labels.helm\.sh/chart}";
        shared.kubectl(&["get", "deployment", NAME, "--namespace", "install", "-o", path]).await
    };
    let before = chart().await?;
    let of_resource = ["--namespace", "watched"];
    let mut living = Vec::new();
    for step in ["upgrade", "upgrade-again"] {
        helm.run(&["upgrade", "operator"], &json!({})).await?;
        ensure!(chart().await? != before, "the chart was not upgraded: {before}");
        let operator = start_upgraded(&shared, &cloud).await?;
        let asked = format!("vpcpeering.dev/reconcile-at={step}");
        let annotate = ["annotate", "vpcpeering", "kept", "--overwrite", &asked];
        shared.kubectl(&[&annotate[..], &of_resource].concat()).await?;
        let handled = format!("--for=jsonpath={{.status.lastHandledReconcileAt}}={step}");
        for condition in [handled.as_str(), "--for=condition=Ready"] {
            let wait = ["wait", "vpcpeering/kept", "--timeout=60s", condition];
            let waited = shared.kubectl(&[&wait[..], &of_resource].concat()).await;
            waited.with_context(|| format!("{condition} after the {step}: {}", operator.output()))?;
        }
        let shown = ec2::peerings_of(ec2, requester).await?;
        ensure!(shown.len() == 1 && ec2::code(&shown[0]) == "active", "after the {step}: {shown:?}");
        living.push(shown[0].vpc_peering_connection_id().map(str::to_owned));
        ensure!(shared.uid_of_the_peering().await? == uid, "the resource was replaced during the {step}");
        if step == "upgrade" {
            operator.terminate().await?;
            helm.on_release(&["rollback", "operator", "1"]).await?;
            ensure!(chart().await? == before, "the chart was not rolled back");
            ensure!(shared.uid_of_the_peering().await? == uid, "the resource was replaced during the rollback");
        } else {
            let delete = ["delete", "vpcpeering", "kept", "--timeout=60s"];
            shared.kubectl(&[&delete[..], &of_resource].concat()).await?;
        }
    }
    ensure!(living[0] == living[1], "the connection was replaced: {living:?}");
    shared.uninstall().await
}

/// Starts the operator of this version with the permissions of the installed release.
async fn start_upgraded(shared: &Shared, cloud: &Cloud) -> Result<RunningOperator> {
    let kubeconfig = shared.control_plane.kubeconfig_of("install", NAME).await?;
    let environment = vec![
        ("KUBECONFIG", kubeconfig.to_string_lossy().into_owned()),
        ("METRICS_ADDRESS", "off".into()),
        ("POLL_INTERVAL", "500ms".into()),
        ("OWN_CREDENTIALS_NAMESPACES", "watched".into()),
        ("AWS_ENDPOINT_URL", cloud.server.url()),
        ("AWS_REGION", "eu-central-1".into()),
        ("AWS_ACCESS_KEY_ID", "test".into()),
        ("AWS_SECRET_ACCESS_KEY", "test".into()),
    ];
    let program = Path::new(env!("CARGO_BIN_EXE_vpc-peering-operator")).to_owned();
    Operator { program, environment, log: shared.control_plane.folder().join("upgraded.log") }.start().await
}

/// A release can install the CRD together with an AwsIdentity. Later releases update the object, and never delete it.
pub async fn identities_are_installed_with_their_crd_and_kept(shared: Arc<Shared>) -> Result<()> {
    let values = |account: &str| {
        let spec = json!({"accountId": account, "roleArn": format!("arn:aws:iam::{account}:role/peerings")});
        json!({"crds": {"keep": false}, "identities": {"partner": spec}})
    };
    let account = async || shared.kubectl(&["get", "awsidentity", "partner", "-o", "jsonpath={.spec.accountId}"]).await;
    _ = shared.kubectl(&["delete", "crd", "awsidentities.vpcpeering.dev", "--ignore-not-found"]).await?;
    shared.helm.run(&["install", "operator"], &values("222222222222")).await?;
    ensure!(account().await? == "222222222222");
    shared.helm.run(&["upgrade", "operator"], &values("333333333333")).await?;
    ensure!(account().await? == "333333333333", "the release did not update the AwsIdentity");
    shared.helm.run(&["upgrade", "operator"], &json!({"crds": {"keep": false}})).await?;
    ensure!(account().await? == "333333333333", "the AwsIdentity was changed when its value was removed");
    shared.uninstall_with_crds().await
}

/// Emptying a permission in the values either fails the upgrade, or leads to a permission that allows nobody.
pub async fn an_emptied_permission_allows_nobody(shared: Arc<Shared>) -> Result<()> {
    let values = |allowed: Value| {
        let role = "arn:aws:iam::222222222222:role/peerings";
        let spec = json!({"accountId": "222222222222", "roleArn": role, "allowedNamespaces": allowed});
        json!({"crds": {"keep": false}, "identities": {"partner": spec}})
    };
    let stored = async || -> Result<Value> {
        let path = "jsonpath={.spec.allowedNamespaces}";
        let text = shared.kubectl(&["get", "awsidentity", "partner", "-o", path]).await?;
        Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    };
    let open = json!({"list": ["watched"]});
    shared.helm.run(&["install", "operator"], &values(open.clone())).await?;
    for empty in [json!({"list": []}), json!({"list": null}), json!({}), Value::Null] {
        shared.helm.run(&["upgrade", "operator"], &values(open.clone())).await?;
        ensure!(stored().await? == open, "{}", stored().await?);
        let is_refused = shared.helm.run(&["upgrade", "operator"], &values(empty.clone())).await.is_err();
        let allowed = stored().await?;
        let allows_nobody = allowed.is_null() || allowed == json!({"list": []});
        ensure!(
            if is_refused { allowed == open } else { allows_nobody },
            "{empty}: upgrade failed: {is_refused}, stored: {allowed}"
        );
    }
    shared.uninstall_with_crds().await
}

pub async fn crds_are_deleted_if_they_are_not_kept(shared: Arc<Shared>) -> Result<()> {
    shared.helm.run(&["install", "operator"], &json!({"crds": {"keep": false}})).await?;
    shared.uninstall_with_crds().await
}

/// Installs the chart with these values. Returns the operator with the permissions and settings of its Deployment.
pub async fn install_operator(shared: &Shared, values: &Value) -> Result<Operator> {
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
        let is_address = ["METRICS_ADDRESS", "SECURE_METRICS_ADDRESS"].contains(&name);
        let value = if is_address { value.replace(":8080", ":0").replace(":8443", ":0") } else { value.to_owned() };
        ensure!(!is_address || value.ends_with(":0"), "{value}");
        environment.push((name, value));
    }
    // EKS sets it together with the role of the service account.
    environment.push(("AWS_REGION", "eu-central-1".to_owned()));
    let program = Path::new(env!("CARGO_BIN_EXE_vpc-peering-operator")).to_owned();
    let log = shared.control_plane.folder().join("operator.log");
    _ = std::fs::remove_file(&log);
    Ok(Operator { program, environment, log })
}

/// Installs and starts the operator, and waits until it is the leader and ready.
async fn install_and_start(shared: &Shared, values: &Value, cloud: &Cloud) -> Result<RunningOperator> {
    let operator = install_operator(shared, values).await?.with("AWS_ENDPOINT_URL", &cloud.server.url());
    let operator = operator.with("AWS_ACCESS_KEY_ID", "test").with("AWS_SECRET_ACCESS_KEY", "test").start().await?;
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

/// Runs the container of `helm test` as a process. It must find nothing wrong.
async fn run_helm_test(shared: &Shared, values: &Value, cloud: &Cloud) -> Result<()> {
    let rendered = shared.helm.render(values).await?;
    let pod = &find(&rendered, "Pod", &format!("{NAME}-check"))?["spec"];
    let account = pod["serviceAccountName"].as_str().context("no service account")?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_vpc-peering-operator"));
    command.env_clear().env("KUBECONFIG", shared.control_plane.kubeconfig_of("install", account).await?);
    command.env("AWS_ENDPOINT_URL", cloud.server.url());
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    command.env("AWS_REGION", "eu-central-1");
    let (container, text) = (&pod["containers"][0], |value: &Value| value.as_str().unwrap_or_default().to_owned());
    command.args(container["args"].as_array().into_iter().flatten().map(text));
    command
        .envs(container["env"].as_array().into_iter().flatten().map(|one| (text(&one["name"]), text(&one["value"]))));
    let output = command.kill_on_drop(true).output().await?;
    let report = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && report.contains("✓ leader election: "), "{report}");
    Ok(())
}

pub async fn the_operator_runs_as_installed(shared: Arc<Shared>) -> Result<()> {
    let cloud = Cloud::start().await?;
    let operator = install_and_start(&shared, &json!({}), &cloud).await?;
    run_helm_test(&shared, &json!({}), &cloud).await?;
    promtool(&shared, &["check", "metrics"], &operator.get("/metrics").await?).await?;
    operator.terminate().await?;
    shared.uninstall().await
}

pub async fn the_operator_runs_as_installed_in_two_namespaces(shared: Arc<Shared>) -> Result<()> {
    let (cloud, namespaces) = (Cloud::start().await?, ["watched", "watched-too"]);
    let values = json!({
        "watchNamespaces": namespaces,
        "operator": {"ownCredentialsNamespaces": namespaces.join(",")},
    });
    let operator = install_and_start(&shared, &values, &cloud).await?;
    let path = shared.control_plane.folder().join("live.json");
    for namespace in namespaces {
        std::fs::write(&path, cloud.peering(namespace).await?.to_string())?;
        shared.kubectl(&["apply", "-f", &path.to_string_lossy()]).await?;
    }
    for namespace in namespaces {
        for step in [["wait", "--for=condition=Ready"], ["delete", "--wait"]] {
            let of_peering = ["vpcpeering", "kept", "--timeout=60s", "--namespace", namespace];
            let done = shared.kubectl(&[&step[..], &of_peering].concat()).await;
            done.with_context(|| format!("{step:?} in {namespace}: {}", operator.output()))?;
        }
    }
    run_helm_test(&shared, &values, &cloud).await?;
    let account = format!("--as=system:serviceaccount:install:{NAME}");
    let refusal = shared.kubectl(&["get", "vpcpeerings", "--namespace=default", &account]).await.err();
    let refusal = refusal.context("the operator may read VpcPeerings of another namespace")?;
    ensure!(refusal.to_string().contains("Forbidden"), "{refusal}");
    operator.terminate().await?;
    shared.uninstall().await
}

/// An operator without credentials reads the node's instance metadata only if the values allow it.
pub async fn the_role_of_the_node_is_used_only_if_allowed(shared: Arc<Shared>) -> Result<()> {
    for allowed in [false, true] {
        let metadata = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let operator = install_operator(&shared, &json!({"operator": {"allowNodeRole": allowed}})).await?;
        let url = format!("http://{}", metadata.local_addr()?);
        let operator = operator.with("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url).start().await?;
        let metadata_read = tokio::time::timeout(LIMIT, metadata.accept());
        if allowed {
            metadata_read
                .await
                .with_context(|| format!("the operator did not read the instance metadata: {}", operator.output()))??;
        } else {
            let refused = eventually("no credentials", LIMIT, async || {
                let log = operator.output();
                ensure!(log.contains("AWS has not accepted the operator's own credentials"), "{log}");
                Ok(())
            });
            tokio::select! {
                refused = refused => refused?,
                _ = metadata_read => anyhow::bail!("the operator read the instance metadata: {}", operator.output()),
            }
        }
        operator.terminate().await?;
        shared.uninstall().await?;
    }
    Ok(())
}

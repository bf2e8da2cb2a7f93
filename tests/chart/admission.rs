//! The admission policies of the chart, in a real API server.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use environment::eventually;
use serde_json::{Value, json};

use super::release::{LIMIT, PEERING};
use super::{NAME, Shared};

const STATUS_REJECTED: &str = "only the operator writes the status";
const FINALIZER_REJECTED: &str = "only the operator removes the finalizer vpcpeering.dev/finalizer";
const NO_FINALIZERS: &str = r#"{"metadata":{"finalizers":null}}"#;

impl Shared {
    fn file(&self, name: &str, object: &Value) -> Result<PathBuf> {
        let path = self.control_plane.folder().join(name);
        std::fs::write(&path, object.to_string())?;
        Ok(path)
    }

    async fn create(&self, object: &Value) -> Result<()> {
        let path = self.file("created.json", object)?;
        self.kubectl(&["create", "-f", &path.to_string_lossy()]).await.map(drop)
    }

    /// Runs kubectl as a service account with all permissions.
    async fn kubectl_as(&self, account: &str, arguments: &[&str]) -> Result<String> {
        let account = format!("--as=system:serviceaccount:{account}");
        self.kubectl(&[arguments, &[&account, "--as-group=system:masters"]].concat()).await
    }

    /// Checks that kubectl is rejected with this message. It waits with dry runs until the policies are in force,
    /// because a request before that would take effect.
    async fn assert_rejected(&self, account: Option<&str>, arguments: &[&str], message: &str) -> Result<()> {
        let run = async |arguments: &[&str]| {
            let outcome = match account {
                Some(account) => self.kubectl_as(account, arguments).await,
                None => self.kubectl(arguments).await,
            };
            let rejection = outcome.err().with_context(|| format!("{arguments:?} was admitted"))?.to_string();
            ensure!(rejection.contains(message) && rejection.contains("Forbidden"), "{rejection}");
            Ok(())
        };
        let dry_run = [arguments, &["--dry-run=server"]].concat();
        eventually(message, LIMIT, async || run(&dry_run).await).await?;
        run(arguments).await
    }

    async fn install(&self, values: &Value) -> Result<()> {
        self.helm.run(&["install", "operator"], values).await?;
        for kind in ["vpcpeerings", "vpcpeeringaccepters", "awsidentities"] {
            let crd = format!("crd/{kind}.vpcpeering.dev");
            self.kubectl(&["wait", "--for=condition=Established", &crd]).await?;
        }
        Ok(())
    }
}

fn operator() -> String {
    format!("install:{NAME}")
}

fn peering(namespace: &str) -> Result<Value> {
    let mut peering: Value = serde_json::from_str(PEERING)?;
    peering["metadata"]["namespace"] = json!(namespace);
    Ok(peering)
}

fn accepter(namespace: &str) -> Value {
    json!({
        "apiVersion": "vpcpeering.dev/v1alpha1",
        "kind": "VpcPeeringAccepter",
        "metadata": {"name": "kept", "namespace": namespace, "finalizers": ["vpcpeering.dev/finalizer"]},
        "spec": {"vpcId": "vpc-0f9e8d7c6b5a43210", "region": "eu-central-1"},
    })
}

fn identity() -> Value {
    json!({
        "apiVersion": "vpcpeering.dev/v1alpha1",
        "kind": "AwsIdentity",
        "metadata": {"name": "kept"},
        "spec": {"accountId": "222222222222", "roleArn": "arn:aws:iam::222222222222:role/peerings"},
    })
}

/// The arguments of a merge patch.
fn patch<'a>(kind: &'a str, namespace: &'a str, patch: &'a str) -> [&'a str; 8] {
    ["patch", kind, "kept", "--namespace", namespace, "--type=merge", "-p", patch]
}

pub async fn only_the_operator_writes_the_status(shared: Arc<Shared>) -> Result<()> {
    shared.install(&json!({})).await?;
    for mut object in [peering("watched")?, accepter("watched"), identity()] {
        object["metadata"]["finalizers"] = json!([]);
        // The API server drops the status of a new object.
        object["status"] = json!({"observedGeneration": 7});
        shared.create(&object).await?;
        let kind = object["kind"].as_str().context("no kind")?.to_lowercase();
        let namespaced = ["--namespace", object["metadata"]["namespace"].as_str().unwrap_or("default")];
        let get = [&["get", &kind, "kept", "-o", "json"], &namespaced[..]].concat();
        let stored: Value = serde_json::from_str(&shared.kubectl(&get).await?)?;
        ensure!(stored["status"]["observedGeneration"] != 7, "{stored}");

        let patch = ["patch", &kind, "kept", "--subresource=status", "--type=merge"];
        let forged = ["-p", r#"{"status":{"observedGeneration":1}}"#];
        let patch = [&patch[..], &forged, &namespaced].concat();
        shared.assert_rejected(None, &patch, STATUS_REJECTED).await.with_context(|| kind.clone())?;
        for other in ["install:default", "watched:operator-vpc-peering-operator"] {
            shared.assert_rejected(Some(other), &patch, STATUS_REJECTED).await?;
        }
        // A restore tool replaces the status.
        let mut restored: Value = serde_json::from_str(&shared.kubectl(&get).await?)?;
        restored["status"] = json!({"observedGeneration": 1});
        let path = shared.file("restored.json", &restored)?;
        let replace = ["replace", "--subresource=status", "-f", &path.to_string_lossy()];
        shared.assert_rejected(None, &replace, STATUS_REJECTED).await?;
        shared.kubectl_as(&operator(), &patch).await.context("the operator was rejected")?;
        // Users can still change and delete the rest of the object.
        let annotate = ["annotate", &kind, "kept", "vpcpeering.dev/reconcile-at=now"];
        shared.kubectl(&[&annotate[..], &namespaced].concat()).await?;
        shared.kubectl(&[&["delete", &kind, "kept"], &namespaced[..]].concat()).await?;
    }
    shared.uninstall().await
}

pub async fn only_the_operator_removes_its_finalizer(shared: Arc<Shared>) -> Result<()> {
    shared.install(&json!({})).await?;
    for object in [peering("watched")?, accepter("watched")] {
        shared.create(&object).await?;
        let kind = object["kind"].as_str().context("no kind")?.to_lowercase();
        let by_merge = patch(&kind, "watched", NO_FINALIZERS);
        let mut by_json = patch(&kind, "watched", r#"[{"op":"remove","path":"/metadata/finalizers"}]"#);
        by_json[5] = "--type=json";
        for other in [&by_merge, &by_json] {
            shared.assert_rejected(None, other, FINALIZER_REJECTED).await.with_context(|| kind.clone())?;
            shared.assert_rejected(Some("install:default"), other, FINALIZER_REJECTED).await?;
        }
        // The garbage collector adds and removes its own finalizer.
        for finalizers in [r#"["vpcpeering.dev/finalizer","foregroundDeletion"]"#, r#"["vpcpeering.dev/finalizer"]"#] {
            let finalizers = format!(r#"{{"metadata":{{"finalizers":{finalizers}}}}}"#);
            let by_collector = patch(&kind, "watched", &finalizers);
            shared.kubectl_as("kube-system:generic-garbage-collector", &by_collector).await?;
        }
        shared.kubectl(&["delete", &kind, "kept", "--namespace=watched", "--wait=false"]).await?;
        shared.assert_rejected(None, &by_merge, FINALIZER_REJECTED).await?;
        shared.kubectl_as(&operator(), &by_merge).await.context("the operator was rejected")?;
        let left = shared.kubectl(&["get", &kind, "kept", "--namespace=watched", "--ignore-not-found"]).await?;
        ensure!(left.is_empty(), "{left}");
    }
    shared.uninstall().await
}

/// The namespace controller deletes the objects of the namespace, and the operator removes their finalizers.
pub async fn a_namespace_can_be_deleted(shared: Arc<Shared>) -> Result<()> {
    shared.install(&json!({})).await?;
    shared.kubectl(&["create", "namespace", "leaving"]).await?;
    for object in [peering("leaving")?, accepter("leaving")] {
        shared.create(&object).await?;
    }
    let by_user = patch("vpcpeering", "leaving", NO_FINALIZERS);
    shared.assert_rejected(None, &by_user, FINALIZER_REJECTED).await?;

    shared.kubectl(&["delete", "namespace", "leaving", "--wait=false"]).await?;
    let controller = "--as=system:serviceaccount:kube-system:namespace-controller";
    for kind in ["vpcpeerings", "vpcpeeringaccepters"] {
        let collection = format!("/apis/vpcpeering.dev/v1alpha1/namespaces/leaving/{kind}");
        shared.kubectl(&["delete", "--raw", &collection, controller]).await?;
        let path = "jsonpath={.metadata.deletionTimestamp}";
        let deleted = shared.kubectl(&["get", kind, "kept", "--namespace=leaving", "-o", path]).await?;
        ensure!(!deleted.is_empty(), "the {kind} were not deleted");
        shared.kubectl_as(&operator(), &patch(kind, "leaving", NO_FINALIZERS)).await?;
        ensure!(
            shared.kubectl(&["get", kind, "--namespace=leaving", "-o", "name"]).await?.is_empty(),
            "{kind} still exist"
        );
    }
    let mut namespace: Value =
        serde_json::from_str(&shared.kubectl(&["get", "namespace", "leaving", "-o", "json"]).await?)?;
    namespace["spec"]["finalizers"] = json!([]);
    let path = shared.file("namespace.json", &namespace)?;
    let finalize =
        ["replace", "--raw", "/api/v1/namespaces/leaving/finalize", "-f", &path.to_string_lossy(), controller];
    shared.kubectl(&finalize).await?;
    let left = shared.kubectl(&["get", "namespace", "leaving", "--ignore-not-found"]).await?;
    ensure!(left.is_empty(), "{left}");
    shared.uninstall().await
}

/// Two releases with selectors reconcile resources of one namespace.
pub async fn operators_of_other_releases_are_admitted_by_name(shared: Arc<Shared>) -> Result<()> {
    let mut values = json!({"watchSelector": "shard=1", "watchNamespaces": ["watched"]});
    shared.install(&values).await?;
    let mut object = peering("watched")?;
    object["metadata"]["finalizers"] = json!([]);
    shared.create(&object).await?;
    let patch = ["patch", "vpcpeering", "kept", "--namespace=watched", "--subresource=status", "--type=merge"];
    let patch = [&patch[..], &["-p", r#"{"status":{"observedGeneration":1}}"#]].concat();
    // Without names, any service account may belong to another release, so no policy is rendered.
    let unprotected = async || shared.kubectl_as("peerings:second", &patch).await;
    eventually("no admission policy in force", LIMIT, unprotected).await?;

    values["admission"] = json!({"operators": ["peerings/second"]});
    shared.helm.run(&["upgrade", "operator"], &values).await?;
    shared.assert_rejected(None, &patch, STATUS_REJECTED).await?;
    shared.assert_rejected(Some("peerings:third"), &patch, STATUS_REJECTED).await?;
    for operator in [&*operator(), "peerings:second"] {
        shared.kubectl_as(operator, &patch).await.with_context(|| format!("{operator} was rejected"))?;
    }
    shared.kubectl(&["delete", "vpcpeering", "kept", "--namespace=watched"]).await?;
    shared.uninstall().await
}

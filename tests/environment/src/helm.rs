//! Runs Helm on the chart.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{ControlPlane, prepare, repository};

/// The Helm binary, for one namespace of a cluster.
#[derive(Debug)]
pub struct Helm {
    /// The path of the binary.
    pub program: PathBuf,
    kubeconfig: PathBuf,
    namespace: String,
    folder: PathBuf,
}

impl Helm {
    /// Builds Helm if necessary.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn new(control_plane: &ControlPlane, namespace: &str) -> Result<Self> {
        let program = prepare("tests/control-plane/build.sh helm")?.join("helm");
        let (kubeconfig, folder) = (control_plane.kubeconfig().to_owned(), control_plane.folder().join("helm"));
        Ok(Self { program, kubeconfig, namespace: namespace.to_owned(), folder })
    }

    /// Runs Helm on the chart with these values, and returns its standard output.
    ///
    /// # Errors
    /// If Helm fails. The error has its output.
    pub async fn run(&self, arguments: &[&str], values: &Value) -> Result<String> {
        std::fs::create_dir_all(&self.folder)?;
        // Only a released chart names its image.
        let mut values = values.clone();
        if values.pointer("/image/repository").is_none() {
            values["image"]["repository"] = json!("vpc-peering-operator");
        }
        // JSON is YAML.
        let path = self.folder.join("values.yaml");
        std::fs::write(&path, values.to_string())?;
        let chart = repository().join("charts/vpc-peering-operator");
        let on_chart = [&*chart.to_string_lossy(), "--values", &*path.to_string_lossy()];
        self.on_release(&[arguments, &on_chart].concat()).await
    }

    /// Runs Helm in its namespace, and returns its standard output.
    ///
    /// # Errors
    /// If Helm fails. The error has its output.
    pub async fn on_release(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.program)
            .args(arguments)
            .args(["--namespace", &self.namespace])
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HELM_CACHE_HOME", self.folder.join("cache"))
            .env("HELM_CONFIG_HOME", self.folder.join("config"))
            .env("HELM_DATA_HOME", self.folder.join("data"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot run helm")?;
        let (out, error) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "helm {}: {out}{error}", arguments.join(" "));
        Ok(out)
    }

    /// Renders the chart with these values.
    ///
    /// # Errors
    /// If Helm rejects the values. The error has its output.
    pub async fn render(&self, values: &Value) -> Result<Vec<Value>> {
        parse(&self.run(&["template", "operator"], values).await?)
    }
}

/// Parses a YAML stream. Skips empty documents.
///
/// # Errors
/// If it is not YAML.
pub fn parse(yaml: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml)?;
    Ok(documents.into_iter().filter(Value::is_object).collect())
}

/// Finds an object by kind and name.
///
/// # Errors
/// If there is none.
pub fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> Result<&'a Value> {
    let matches = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter().find(matches).with_context(|| format!("no {kind} {name}"))
}

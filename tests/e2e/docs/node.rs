//! The part of a node that the documentation needs, because no kubelet runs: it starts the operator as its Deployment
//! says, and runs the pods of `helm test` and of a ping.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ec2_simulator::Client as Simulator;
use environment::{Operator, RunningOperator, eventually};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::packet;
use crate::Shared;

/// The host in the cluster's VPC from which pods send.
pub const HOST: &str = "10.1.0.5";

const LIMIT: Duration = Duration::from_secs(60);

pub struct Node {
    pub shared: Arc<Shared>,
    pub client: Client,
    pub simulator: Simulator,
    pub program: PathBuf,
    /// The variables that EKS Pod Identity sets in the operator's containers, and the endpoint of the simulator.
    pub credentials: Vec<(&'static str, String)>,
}

impl Node {
    /// Runs until it is dropped.
    pub async fn run(self) -> Result<()> {
        let mut running = HashMap::<String, (i64, RunningOperator)>::new();
        loop {
            for deployment in Api::<Deployment>::all(self.client.clone()).list(&ListParams::default()).await?.items {
                self.run_deployment(&deployment, &mut running).await?;
            }
            for pod in Api::<Pod>::all(self.client.clone()).list(&ListParams::default()).await?.items {
                self.run_pod(&pod).await?;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Starts the leader of a new Deployment, and reports all replicas as available once it is ready.
    async fn run_deployment(
        &self,
        deployment: &Deployment,
        running: &mut HashMap<String, (i64, RunningOperator)>,
    ) -> Result<()> {
        let metadata = &deployment.metadata;
        let (namespace, name) =
            (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().context("name")?);
        let generation = metadata.generation.unwrap_or_default();
        if running.get(&name).is_some_and(|(known, _)| *known == generation) {
            return Ok(());
        }
        if let Some((_, previous)) = running.remove(&name) {
            previous.terminate().await?;
        }
        let spec = deployment.spec.as_ref().context("no spec")?;
        let pod = spec.template.spec.as_ref().context("no pod")?;
        let account = pod.service_account_name.as_deref().context("no service account")?;
        let operator = self.operator(&namespace, account, pod.containers.first().context("no container")?).await?;
        let operator = operator.start().await?;
        eventually("the operator is ready", LIMIT, async || {
            operator.get("/readyz").await.with_context(|| operator.output())
        })
        .await?;
        let replicas = spec.replicas.unwrap_or(1);
        let status = json!({"status": {
            "observedGeneration": generation,
            "replicas": replicas,
            "updatedReplicas": replicas,
            "readyReplicas": replicas,
            "availableReplicas": replicas,
        }});
        let api = Api::<Deployment>::namespaced(self.client.clone(), &namespace);
        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await?;
        running.insert(name, (generation, operator));
        Ok(())
    }

    /// The process of a container, with its environment and the token of its service account.
    async fn operator(&self, namespace: &str, account: &str, container: &Container) -> Result<Operator> {
        let kubeconfig = self.shared.control_plane.kubeconfig_of(namespace, account).await?;
        let mut environment = vec![("KUBECONFIG", kubeconfig.to_string_lossy().into_owned())];
        for variable in container.env.iter().flatten() {
            let Some(value) = &variable.value else { continue };
            // The ports of the pod may be in use on this machine.
            let value = if variable.name.ends_with("METRICS_ADDRESS") { "127.0.0.1:0" } else { value };
            environment.push((variable.name.clone().leak(), value.to_owned()));
        }
        environment.extend(self.credentials.clone());
        let log = self.shared.control_plane.folder().join("documented-operator.log");
        Ok(Operator { program: self.program.clone(), environment, log })
    }

    async fn run_pod(&self, pod: &Pod) -> Result<()> {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if phase.is_some_and(|phase| phase != "Pending") || pod.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let metadata = &pod.metadata;
        let (namespace, name) =
            (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().context("name")?);
        let spec = pod.spec.as_ref().context("no spec")?;
        let container = spec.containers.first().context("no container")?;
        let arguments = container.args.clone().unwrap_or_default();
        let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["ping", "-c", _, to] => {
                let scene = serde_json::to_value(self.simulator.save().await?)?;
                packet::ensure_a_ping_is_answered(&scene, HOST, to)
            }
            ["check", ..] => {
                let account = spec.service_account_name.as_deref().context("no service account")?;
                self.check(&self.operator(&namespace, account, container).await?, &arguments).await
            }
            _ => Err(anyhow::anyhow!("the pod {name} runs {arguments:?}, which tests/e2e/docs/node.rs does not know")),
        };
        let message = outcome.as_ref().err().map(|error| format!("{error:#}"));
        let phase = if outcome.is_ok() { "Succeeded" } else { "Failed" };
        let status = json!({"status": {"phase": phase, "message": message}});
        let api = Api::<Pod>::namespaced(self.client.clone(), &namespace);
        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await?;
        Ok(())
    }

    async fn check(&self, operator: &Operator, arguments: &[String]) -> Result<()> {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let finished = crate::cli::run(operator, &arguments).await?;
        ensure!(finished.code == 0, "{finished:?}");
        Ok(())
    }
}

//! The flags of kubectl, and the connection to the API server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// A person waits for the answer, so that an unreachable API server is reported soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The flags of kubectl that choose the cluster, the namespace and the user.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Kubernetes")]
pub(crate) struct KubeArgs {
    /// The path of the kubeconfig file. Defaults to $KUBECONFIG, then to ~/.kube/config, then to in-cluster
    /// credentials.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig file. Defaults to the current context.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,

    /// The namespace. Defaults to the namespace of the context.
    #[arg(long, short, value_name = "NAME")]
    pub(crate) namespace: Option<String>,

    /// The user to impersonate, for example system:serviceaccount:vpc-peering-system:vpc-peering-operator.
    #[arg(long = "as", value_name = "USER")]
    impersonate: Option<String>,
}

impl KubeArgs {
    /// The connection to the API server. Its default namespace is that of the flag or of the context. Sends no request.
    ///
    /// # Errors
    /// If there is no valid configuration.
    pub(crate) async fn connect(&self) -> anyhow::Result<Client> {
        let mut config = self.config().await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        if let Some(namespace) = &self.namespace {
            config.default_namespace.clone_from(namespace);
        }
        if self.impersonate.is_some() {
            config.auth_info.impersonate.clone_from(&self.impersonate);
        }
        Client::try_from(config).context("cannot connect to the API server")
    }

    async fn config(&self) -> anyhow::Result<Config> {
        if self.kubeconfig.is_none() && self.context.is_none() {
            let message = "cannot find an API server: there is neither a kubeconfig file nor in-cluster credentials; \
                           set --kubeconfig";
            return Config::infer().await.context(message);
        }
        let file = self.kubeconfig.as_deref().map_or_else(Kubeconfig::read, Kubeconfig::read_from);
        let name = self.kubeconfig.as_deref().map_or("the kubeconfig file".into(), Path::to_string_lossy);
        let file = file.with_context(|| format!("--kubeconfig: cannot read {name}"))?;
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let context = self.context.as_deref().unwrap_or("the current context");
        Config::from_custom_kubeconfig(file, &options).await.with_context(|| format!("{name}: cannot use {context}"))
    }
}

//! What makes it a service: logs, traces, metrics, probes, leadership, signals, and an orderly end.

pub mod leader;
pub mod logs;
pub mod metrics;
pub mod monitor;
pub mod server;
pub mod shutdown;
pub mod traces;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::client::ClientBuilder;
use kube::{Api, Client, Config, ResourceExt};
use tower::limit::ConcurrencyLimitLayer;

use crate::controller::{self, Settings};
use leader::{Candidate, Election, Hold};
use monitor::Monitor;

/// How many requests to the API server are under way at once, watches aside: each needs a connection, and that memory.
const AT_ONCE: usize = 32;

/// What makes it a service.
#[derive(Clone, Debug)]
pub struct Service {
    /// What identifies the cluster; the UID of `kube-system` where there is none.
    pub cluster_id: Option<String>,
    /// Where metrics and probes are served, if anywhere.
    pub metrics_address: Option<SocketAddr>,
    /// Whether to act only while holding the Lease.
    pub leader_election: bool,
    /// The Lease.
    pub election: Election,
}

/// Runs until a signal asks for the end.
///
/// # Errors
/// When the API server cannot be asked for the cluster's ID, or the address for metrics is taken.
pub async fn run(settings: Settings, service: Service) -> Result<()> {
    let config =
        Config::infer().await.context("no way to an API server: neither a kubeconfig nor in-cluster credentials")?;
    let client = ClientBuilder::try_from(config.clone())?.with_layer(&ConcurrencyLimitLayer::new(AT_ONCE)).build();
    let cluster = match service.cluster_id {
        Some(cluster) => cluster,
        None => cluster_uid(client.clone()).await?,
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %cluster, "starting");
    let (mut stop, stopping) = shutdown::on_signal()?;
    let (hold, candidate) = if service.leader_election {
        // The Lease has a client of its own, so that it waits for no one else.
        let (hold, candidate) = Candidate::start(Client::try_from(config)?, service.election);
        (hold, Some(candidate))
    } else {
        (Hold::always(&service.election.name), None)
    };
    let monitor = Arc::new(Monitor::new(hold.clone(), settings.poll_interval));
    if let Some(address) = service.metrics_address {
        server::start(address, Arc::clone(&monitor)).await?;
    }
    let leads = tokio::select! {
        () = hold.gained() => true,
        _ = stop.wait_for(|stop| *stop) => false,
    };
    if leads {
        tracing::info!(lease = hold.name(), "acting");
        let identified = Arc::clone(&monitor);
        tokio::spawn(async move { identified.identify().await });
        let controller =
            controller::run(client, Arc::clone(&monitor) as _, cluster.into(), settings, monitor, stopping);
        tokio::select! {
            () = shutdown::within(controller, stop) => {}
            // What is in hand is dropped; its next request to EC2 would be refused.
            () = hold.lost() => bail!("lost the Lease {}; ending, so that only its new holder acts", hold.name()),
        }
    }
    if let Some(candidate) = candidate {
        candidate.resign().await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// The UID of the namespace `kube-system`: the customary ID of a cluster, since it lives as long as the cluster does.
async fn cluster_uid(client: Client) -> Result<String> {
    let namespace = Api::<Namespace>::all(client).get("kube-system").await.context(
        "cannot read the namespace kube-system, whose UID identifies this cluster; grant `get` on it, or set --cluster-id",
    )?;
    namespace.uid().context("the namespace kube-system has no UID; set --cluster-id")
}

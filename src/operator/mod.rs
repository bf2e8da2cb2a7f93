//! The process around the controllers: leader election, metrics, probes, logs, traces and graceful shutdown.

mod api_limit;
pub(crate) mod http;
pub(crate) mod leader;
pub(crate) mod logs;
pub mod metrics;
mod monitor;
mod shutdown;
pub(crate) mod traces;

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::client::ClientBuilder;
use kube::{Api, Client, Config, ResourceExt};

use crate::controller::{self, Settings};
use api_limit::ApiLimit;
use http::Http;
use leader::{Candidate, Election, Leadership};
use monitor::Monitor;

/// The settings of the process.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    /// Defaults to the UID of the namespace `kube-system`.
    pub(crate) cluster_id: Option<String>,
    pub(crate) http: Http,
    pub(crate) leader_election: bool,
    pub(crate) election: Election,
}

/// Runs the operator until a signal stops it.
///
/// # Errors
/// If the cluster ID cannot be read, the address of the metrics is in use, or the Lease is lost.
pub(crate) async fn run(settings: Settings, service: Service) -> Result<()> {
    let config = Config::infer()
        .await
        .context("cannot find an API server: there is neither a kubeconfig file nor in-cluster credentials")?;
    let client = ClientBuilder::try_from(config.clone())?.with_layer(&ApiLimit::new()).build();
    let cluster = match service.cluster_id {
        Some(cluster) => cluster,
        None => cluster_uid(client.clone()).await?,
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %cluster, "starting");
    let (mut stop, stopping) = shutdown::on_signal()?;
    let (leadership, candidate) = if service.leader_election {
        // A separate client, so that the renewal of the Lease does not wait for other requests.
        let (leadership, candidate) = Candidate::start(Client::try_from(config.clone())?, service.election);
        (leadership, Some(candidate))
    } else {
        (Leadership::always(&service.election.name), None)
    };
    let monitor = Arc::new(Monitor::new(leadership.clone(), settings.poll_interval));
    http::start(service.http, &config, &monitor).await?;
    let leads = tokio::select! {
        () = leadership.gained() => true,
        _ = stop.wait_for(|stop| *stop) => false,
    };
    if leads {
        tracing::info!(lease = leadership.lease(), "started leading");
        let verifier = Arc::clone(&monitor);
        tokio::spawn(async move { verifier.verify_credentials().await });
        let controller =
            controller::run(client, Arc::clone(&monitor) as _, cluster.into(), settings, monitor, stopping);
        tokio::select! {
            () = shutdown::within(controller, stop) => {}
            // Drops the running reconciliations. Without the leadership, the EC2 client refuses their next request
            // anyway.
            () = leadership.lost() => {
                bail!("lost the Lease {}; exiting, so that only the new leader reconciles", leadership.lease())
            }
        }
    }
    if let Some(candidate) = candidate {
        candidate.resign().await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// The UID of the namespace `kube-system`. It is the customary ID of a cluster, because the namespace exists as long as
/// the cluster.
pub(crate) async fn cluster_uid(client: Client) -> Result<String> {
    let message = "cannot read the namespace kube-system, whose UID is the cluster ID; grant the verb get on it, or set \
                   --cluster-id";
    let namespace = Api::<Namespace>::all(client).get("kube-system").await.context(message)?;
    namespace.uid().context("the namespace kube-system has no UID; set --cluster-id")
}

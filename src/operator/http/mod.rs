//! The HTTP servers of probes and metrics. They are read-only.
//!
//! Everybody in the cluster may reach the ports. A connection therefore carries one request and ends after a short
//! time, and a full server closes the oldest connection of the busiest client, so that probes are always answered.

mod access;
mod answers;
mod certificate;
mod connections;
mod decisions;
mod listener;
mod scrape;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use kube::Config;

use self::access::Access;
use self::answers::Answers;
use self::certificate::Certificate;
use self::listener::Listener;
use self::scrape::Scrape;
use super::monitor::Monitor;

/// The addresses of the servers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Http {
    /// Serves the probes, and the metrics unless `secure` is set. `None` disables it.
    pub(crate) plain: Option<SocketAddr>,
    pub(crate) secure: Option<SecureMetrics>,
}

/// Serves the metrics over TLS, to clients that the API server authenticates and authorizes.
#[derive(Clone, Debug)]
pub(crate) struct SecureMetrics {
    pub(crate) address: SocketAddr,
    /// The folder of `tls.crt` and `tls.key`. Without it, the certificate is self-signed.
    pub(crate) certificate: Option<PathBuf>,
}

/// Starts the servers, which run until the process ends.
///
/// # Errors
/// If an address is in use, or the certificate cannot be read.
pub(super) async fn start(http: Http, config: &Config, monitor: &Arc<Monitor>) -> Result<()> {
    let scrape = Arc::new(Scrape::new(Arc::clone(monitor)));
    if let Some(address) = http.plain {
        let listener = Listener::bind(address).await?;
        let (answers, served) = match &http.secure {
            Some(_) => (Answers::Probes(Arc::clone(monitor)), "probes"),
            None => (Answers::ProbesAndMetrics(Arc::clone(monitor), Arc::clone(&scrape)), "metrics and probes"),
        };
        tracing::info!("serving {served} on http://{}", listener.address()?);
        tokio::spawn(listener.serve(Arc::new(answers), None));
    }
    if let Some(SecureMetrics { address, certificate }) = http.secure {
        let certificate = Certificate::new(certificate)?;
        let listener = Listener::bind(address).await?;
        tracing::info!("serving metrics on https://{}", listener.address()?);
        let answers = Answers::SecureMetrics(scrape, Access::new(config.clone())?);
        tokio::spawn(listener.serve(Arc::new(answers), Some(certificate)));
    }
    Ok(())
}

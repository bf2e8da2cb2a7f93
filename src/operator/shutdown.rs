//! Graceful shutdown: after a signal no new work starts, and the running reconciliations get a limited time to finish.

use std::time::Duration;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Maximum time for the running reconciliations after the signal. The next process finds an interrupted step by its
/// recorded intent and its tags.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(4);

/// Listens for SIGTERM and SIGINT. Then the receiver becomes true and the future resolves.
///
/// # Errors
/// If the process cannot register the signal handlers.
pub(crate) fn on_signal() -> Result<(watch::Receiver<bool>, impl Future<Output = ()> + Send + Sync + 'static)> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("received SIGTERM; finishing the running reconciliations"),
            _ = interrupt.recv() => tracing::info!("received SIGINT; finishing the running reconciliations"),
        }
        stop.send_replace(true);
        // Keeps the sender: the receivers treat a closed channel as a signal.
        std::future::pending::<()>().await;
    });
    let mut stopping = stopped.clone();
    let resolved = async move { _ = stopping.wait_for(|stop| *stop).await };
    Ok((stopped, resolved))
}

/// Runs `work` until it ends, but no longer than [`DRAIN_TIMEOUT`] after the signal.
pub(crate) async fn within(work: impl Future<Output = ()>, mut stop: watch::Receiver<bool>) {
    let deadline = async move {
        _ = stop.wait_for(|stop| *stop).await;
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        () = work => {}
        () = deadline => tracing::warn!(
            "stopping before the running reconciliations have finished; the next process continues their steps"
        ),
    }
}

//! The end: a signal stops new work, the steps in hand are finished, and nothing may take for ever.

use std::time::Duration;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long the steps in hand may take. Whatever is cut off is found again by its recorded intent and its tags.
const DRAIN: Duration = Duration::from_secs(4);

/// Learns of SIGTERM and SIGINT: a receiver that changes then, and a future that resolves.
///
/// # Errors
/// When the process cannot listen to signals.
pub fn on_signal() -> Result<(watch::Receiver<bool>, impl Future<Output = ()> + Send + Sync + 'static)> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: finishing the steps in hand"),
            _ = interrupt.recv() => tracing::info!("SIGINT: finishing the steps in hand"),
        }
        stop.send_replace(true);
        // The receivers take a closed channel for a signal, too.
        std::future::pending::<()>().await;
    });
    let mut stopping = stopped.clone();
    let resolved = async move { _ = stopping.wait_for(|stop| *stop).await };
    Ok((stopped, resolved))
}

/// Runs `work` to its end, but not for longer than [`DRAIN`] after the signal.
pub async fn within(work: impl Future<Output = ()>, mut stop: watch::Receiver<bool>) {
    let deadline = async move {
        _ = stop.wait_for(|stop| *stop).await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        () = work => {}
        () = deadline => tracing::warn!("giving up the steps in hand"),
    }
}

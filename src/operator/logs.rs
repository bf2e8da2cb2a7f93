//! Logs on standard error.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use super::traces::Traces;

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For machines: a JSON object on each line.
    Json,
}

impl Default for Format {
    /// For machines in a pod, where <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>
    /// names the API server.
    fn default() -> Self {
        if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() { Self::Json } else { Self::Text }
    }
}

/// Starts logging, and recording traces if there are any. `filter` is in the syntax of tracing-subscriber's `EnvFilter`,
/// for example `info,kube=warn`.
///
/// # Errors
/// When the filter cannot be understood.
pub fn start(format: Format, filter: &str, traces: Option<&Traces>) -> anyhow::Result<()> {
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().boxed(),
    };
    let lines = lines.with_filter(EnvFilter::try_new(filter)?);
    let lines = tracing_subscriber::registry().with(lines);
    // A layer that is none would have every span made that `filter` leaves out.
    match traces {
        Some(traces) => lines.with(traces.layer()).init(),
        None => lines.init(),
    }
    Ok(())
}

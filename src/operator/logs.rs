//! Logs on standard error.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For machines: a JSON object on each line.
    Json,
}

/// Starts logging. `filter` is in the syntax of tracing-subscriber's `EnvFilter`, for example `info,kube=warn`.
///
/// # Errors
/// When the filter cannot be understood.
pub fn start(format: Format, filter: &str) -> anyhow::Result<()> {
    let logs = tracing_subscriber::fmt().with_env_filter(EnvFilter::try_new(filter)?).with_writer(std::io::stderr);
    match format {
        Format::Text => logs.init(),
        Format::Json => logs.json().init(),
    }
    Ok(())
}

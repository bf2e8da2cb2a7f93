//! The log, on standard error.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use super::traces::Traces;

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Readable text.
    Text,
    /// A JSON object per line.
    Json,
}

impl Default for Format {
    /// JSON in a pod, text elsewhere. Kubernetes sets `KUBERNETES_SERVICE_HOST` in every pod:
    /// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>
    fn default() -> Self {
        if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() { Self::Json } else { Self::Text }
    }
}

/// Installs the log and, if given, the traces. `filter` has the syntax of tracing-subscriber's `EnvFilter`, for example
/// `info,kube=warn`.
///
/// # Errors
/// If the filter is not valid.
pub(crate) fn start(format: Format, filter: &str, traces: Option<&Traces>) -> anyhow::Result<()> {
    let is_terminal = std::io::stderr().is_terminal();
    let lines = fmt::layer().with_ansi(is_terminal);
    let lines = match format {
        Format::Text => lines.with_writer(move || OneLine { inner: std::io::stderr(), is_terminal }).boxed(),
        // JSON escapes control characters itself.
        Format::Json => lines.json().with_writer(std::io::stderr).boxed(),
    };
    let lines = lines.with_filter(EnvFilter::try_new(filter)?);
    let lines = tracing_subscriber::registry().with(lines);
    // Not `Option<Layer>`: a layer that is `None` enables every span that `filter` excludes.
    match traces {
        Some(traces) => lines.with(traces.layer()).init(),
        None => lines.init(),
    }
    Ok(())
}

/// Writes each event on one line. Names and messages come from users and from AWS: without this, they could forge lines
/// of the log.
struct OneLine<W> {
    inner: W,
    /// Allows escape characters, which colours need. tracing-subscriber escapes those in messages.
    is_terminal: bool,
}

impl<W: Write> Write for OneLine<W> {
    /// Writes a whole event, which ends with a line feed.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        self.inner.write_all(one_line(&text, self.is_terminal).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn one_line(event: &str, is_terminal: bool) -> String {
    let (line, end) = event.strip_suffix('\n').map_or((event, ""), |line| (line, "\n"));
    let mut text = String::with_capacity(event.len());
    for letter in line.chars() {
        if is_control(letter) && !(is_terminal && letter == '\x1b') {
            // Writing to a string cannot fail.
            _ = write!(text, "{}", letter.escape_default());
        } else {
            text.push(letter);
        }
    }
    text + end
}

/// Whether a terminal or an editor interprets the character instead of showing it: control characters, line separators
/// and changes of the text direction.
fn is_control(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_stays_on_one_line() {
        let buffer = Buffer::default();
        let written = buffer.clone();
        let lines =
            fmt::layer().with_ansi(false).with_writer(move || OneLine { inner: buffer.clone(), is_terminal: false });
        let forged = "x\n2026-01-01T00:00:00Z ERROR forged\r\u{1b}[31m\u{202e}\u{2028}\u{85}end";
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            let _span = tracing::info_span!("reconcile", object = %forged).entered();
            tracing::info!(error = %forged, name = forged, "EC2 says {forged}");
        });
        let text = String::from_utf8_lossy(&written.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned();
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(text.ends_with('\n') && !text.trim_end_matches('\n').contains(is_control), "{text:?}");
        assert_eq!(text.matches("forged").count(), 4, "{text:?}");
    }

    #[test]
    fn colours_are_kept_on_a_terminal() {
        let event = "\u{1b}[2mINFO\u{1b}[0m a\nb\n";
        assert_eq!(one_line(event, true), "\u{1b}[2mINFO\u{1b}[0m a\\nb\n");
    }
}

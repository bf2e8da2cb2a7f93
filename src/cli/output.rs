//! The output of every subcommand: the formats of a report, colours, and progress.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;

/// The styles of the text format. `anstream` removes them unless standard output is a terminal, and if `NO_COLOR` is
/// set.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const FAINT: Style = Style::new().dimmed();

/// The result of one line of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Pass,
    Fail,
    /// Not checked, because something is missing that the check needs.
    Skip,
}

impl Verdict {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Pass => "✓",
            Self::Fail => "✗",
            Self::Skip => "–",
        }
    }

    pub(crate) fn style(self) -> Style {
        match self {
            Self::Pass => GOOD,
            Self::Fail => BAD,
            Self::Skip => FAINT,
        }
    }
}

/// One line without control characters: a message may quote AWS or the API server.
pub(crate) fn one_line(text: &str) -> String {
    let text: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The format of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Readable text, with colours on a terminal.
    #[default]
    Text,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
    /// Markdown, for an issue or a pull request.
    Markdown,
}

/// The flag of every subcommand that prints a report.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct OutputArgs {
    /// The format of the output.
    #[arg(long, short, value_enum, default_value_t)]
    pub(crate) output: Format,
}

/// The result of a subcommand. The serialized form is the JSON and YAML output.
pub(crate) trait Report: Serialize {
    /// The text format. It may contain the styles of this module.
    fn text(&self) -> String;

    fn markdown(&self) -> String;
}

impl OutputArgs {
    /// Prints a report on standard output.
    ///
    /// # Errors
    /// If it cannot be serialized or written.
    pub(crate) fn print(self, report: &impl Report) -> anyhow::Result<()> {
        print(&render(report, self.output)?)
    }
}

pub(crate) fn render(report: &impl Report, format: Format) -> anyhow::Result<String> {
    Ok(match format {
        Format::Text => report.text(),
        Format::Json => serde_json::to_string_pretty(report)? + "\n",
        Format::Yaml => serde_saphyr::to_string(report)?,
        Format::Markdown => report.markdown(),
    })
}

/// Prints text on standard output. Succeeds if the reader has closed the pipe, as `head` does.
///
/// # Errors
/// If the text cannot be written.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Text in a style.
pub(crate) fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// One line on standard error that shows the current work. It is shown only on a terminal, and removed when the value
/// is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    is_terminal: bool,
}

impl Progress {
    pub(crate) fn start() -> Self {
        Self { is_terminal: io::stderr().is_terminal() }
    }

    /// Replaces the line.
    pub(crate) fn show(&self, work: &str) {
        if self.is_terminal {
            anstream::eprint!("\r\x1b[K{}", styled(FAINT, work));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Greeting {
        name: &'static str,
    }

    impl Report for Greeting {
        fn text(&self) -> String {
            format!("Hello {}\n", styled(GOOD, self.name))
        }

        fn markdown(&self) -> String {
            format!("Hello **{}**\n", self.name)
        }
    }

    #[test]
    fn a_report_has_four_formats() -> anyhow::Result<()> {
        let report = Greeting { name: "a: b" };
        for (format, expected) in [
            (Format::Text, "Hello \u{1b}[1m\u{1b}[32ma: b\u{1b}[0m\n"),
            (Format::Json, "{\n  \"name\": \"a: b\"\n}\n"),
            (Format::Yaml, "name: \"a: b\"\n"),
            (Format::Markdown, "Hello **a: b**\n"),
        ] {
            assert_eq!(render(&report, format)?, expected, "{format:?}");
        }
        Ok(())
    }

    #[test]
    fn a_pipe_gets_no_colours() {
        let plain = anstream::adapter::strip_str(&styled(BAD, "failed")).to_string();
        assert_eq!(plain, "failed");
    }
}

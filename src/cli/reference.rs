//! `vpc-peering-operator reference`, which generates pages of `docs/`.

mod api;

use std::fmt::Write;

use clap::{Args, ValueEnum};

use crate::api::{ConditionType, Reason, StepEvent};
use crate::operator::metrics::DEFINITIONS;

/// Prints a page of the reference as Markdown.
#[derive(Debug, Args)]
#[command(hide = true)]
pub(crate) struct Reference {
    /// The page to print.
    #[arg(default_value = "conditions")]
    page: Page,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Page {
    /// The fields of the custom resources.
    Api,
    /// Conditions, reasons and Events.
    Conditions,
    /// Prometheus metrics.
    Metrics,
    /// The commands and their flags.
    Cli,
}

/// Columns of the help texts in `docs/cli.md`.
const HELP_WIDTH: usize = 100;

impl Reference {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        print!("{}", self.page.markdown()?);
        Ok(())
    }
}

impl Page {
    fn markdown(self) -> anyhow::Result<String> {
        Ok(match self {
            Self::Api => api::page()?,
            Self::Conditions => conditions()?,
            Self::Metrics => metrics()?,
            Self::Cli => cli()?,
        })
    }
}

fn cli() -> Result<String, std::fmt::Error> {
    let mut page =
        "# Command line\n\nGenerated from the code by `make generate`. The binary is also the kubectl plugin \
                    `kubectl pcx`, if a file\n`kubectl-pcx` on the `PATH` links to it.\n"
            .to_owned();
    let mut command = super::command(super::NAME).term_width(HELP_WIDTH);
    command.build();
    help(&mut page, command)?;
    Ok(page)
}

/// Adds the help of a command and of its subcommands, without the values that environment variables have here.
fn help(page: &mut String, command: clap::Command) -> std::fmt::Result {
    let mut command = command.mut_args(|argument| argument.hide_env_values(true));
    let name = command.get_bin_name().unwrap_or_default().to_owned();
    let text = command.render_long_help().to_string();
    let text: Vec<_> = text.trim_end().lines().map(str::trim_end).collect();
    write!(page, "\n## `{name}`\n\n```text\n{}\n```\n", text.join("\n"))?;
    let is_shown = |command: &&clap::Command| !command.is_hide_set() && command.get_name() != "help";
    for command in command.get_subcommands().filter(is_shown) {
        help(page, command.clone().term_width(HELP_WIDTH))?;
    }
    Ok(())
}

fn metrics() -> Result<String, std::fmt::Error> {
    let mut page =
        "# Metrics\n\nServed at `/metrics`. Generated from the code by `make generate`. `workqueue_adds_total` and \
         `workqueue_depth` of\ncontroller-runtime are missing, because kube-runtime does not expose its queue.\n\n\
         | Metric | Type | Labels | Description |\n|---|---|---|---|\n"
            .to_owned();
    for metric in DEFINITIONS {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(page, "| `{}` | {} | {} | {}. |", metric.name, metric.kind, labels.join(", "), metric.help)?;
    }
    Ok(page)
}

fn conditions() -> Result<String, std::fmt::Error> {
    let conditions = ConditionType::ALL.iter().map(|kind| [kind.as_str(), kind.meaning(), kind.action()]);
    let reasons = Reason::ALL.iter().map(|reason| [reason.as_str(), reason.meaning(), reason.action()]);
    let events = StepEvent::ALL.iter().map(|event| [event.as_str(), event.meaning(), event.action()]);
    let mut page = "# Conditions, reasons and Events\n\nGenerated from the code by `make generate`.\n".to_owned();
    table(&mut page, "Conditions", "Type", "", conditions)?;
    let text = "The `reason` of `Ready`, and of `Reconciling` or `Stalled`, which have the same reason as `Ready`. The operator emits an Event\nwith the same reason when the reason changes. For `InitiatingRequest` it emits the Event `Created` instead.\n\n";
    table(&mut page, "Reasons", "Reason", text, reasons)?;
    table(&mut page, "Events", "Reason", "Events that report a step of the operator.\n\n", events)?;
    Ok(page)
}

fn table(
    page: &mut String,
    title: &str,
    column: &str,
    text: &str,
    rows: impl Iterator<Item = [&'static str; 3]>,
) -> std::fmt::Result {
    write!(page, "\n## {title}\n\n{text}| {column} | Meaning | Action |\n|---|---|---|\n")?;
    for [name, meaning, action] in rows {
        writeln!(page, "| `{name}` | {meaning} | {action} |")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_reference_matches_the_code() {
        for (page, committed) in [
            (Page::Api, include_str!("../../docs/api.md")),
            (Page::Conditions, include_str!("../../docs/conditions.md")),
            (Page::Metrics, include_str!("../../docs/metrics.md")),
            (Page::Cli, include_str!("../../docs/cli.md")),
        ] {
            let is_equal = page.markdown().is_ok_and(|page| page == committed);
            assert!(is_equal, "docs/ differs from the code in {page:?}: run `make generate`");
        }
    }
}

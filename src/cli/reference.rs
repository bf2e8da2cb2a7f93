//! `vpc-peering-operator reference`

use std::fmt::Write;

use clap::{Args, ValueEnum};

use crate::api::{ConditionType, Reason, StepEvent};
use crate::operator::metrics::DEFINITIONS;

/// Print a page of the reference as Markdown.
#[derive(Debug, Args)]
pub struct Reference {
    /// Which page.
    #[arg(default_value = "conditions")]
    page: Page,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Page {
    /// Conditions, reasons and Events.
    Conditions,
    /// Prometheus metrics.
    Metrics,
}

impl Reference {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        print!("{}", self.page.markdown()?);
        Ok(())
    }
}

impl Page {
    fn markdown(self) -> Result<String, std::fmt::Error> {
        match self {
            Self::Conditions => conditions(),
            Self::Metrics => metrics(),
        }
    }
}

fn metrics() -> Result<String, std::fmt::Error> {
    let mut page =
        "# Metrics\n\nServed at `/metrics`. Generated from the code by `make generate`. Of controller-runtime's \
                    `workqueue_*`,\n`workqueue_adds_total` and `workqueue_depth` are left out: kube-runtime shows its \
                    queue to nobody.\n\n\
                    | | type | labels | what it tells |\n|---|---|---|---|\n"
            .to_owned();
    for metric in DEFINITIONS {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(page, "| `{}` | {} | {} | {}. |", metric.name, metric.kind, labels.join(", "), metric.help)?;
    }
    Ok(page)
}

fn conditions() -> Result<String, std::fmt::Error> {
    let conditions = ConditionType::ALL.iter().map(|kind| [kind.as_str(), kind.meaning(), kind.to_do()]);
    let reasons = Reason::ALL.iter().map(|reason| [reason.as_str(), reason.meaning(), reason.to_do()]);
    let events = StepEvent::ALL.iter().map(|event| [event.as_str(), event.meaning(), event.to_do()]);
    let mut page = "# Conditions, reasons and Events\n\nGenerated from the code by `make generate`.\n".to_owned();
    table(&mut page, "Conditions", "", conditions)?;
    let text = "The `reason` of `Ready`, and of `Reconciling` or `Stalled` beside it. Each new one is announced by an Event of the same\nreason; only `InitiatingRequest` is told by `Created`.\n\n";
    table(&mut page, "Reasons", text, reasons)?;
    table(&mut page, "Events", "The Events that tell of a step.\n\n", events)?;
    Ok(page)
}

fn table(
    page: &mut String,
    title: &str,
    text: &str,
    rows: impl Iterator<Item = [&'static str; 3]>,
) -> std::fmt::Result {
    write!(page, "\n## {title}\n\n{text}| | what it says | what to do |\n|---|---|---|\n")?;
    for [name, meaning, to_do] in rows {
        writeln!(page, "| `{name}` | {meaning} | {to_do} |")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_is_generated_from_the_code() {
        for (page, committed) in [
            (Page::Conditions, include_str!("../../docs/conditions.md")),
            (Page::Metrics, include_str!("../../docs/metrics.md")),
        ] {
            let is_the_same = page.markdown().is_ok_and(|page| page == committed);
            assert!(is_the_same, "docs/ has drifted from the code on {page:?}: run `make generate`");
        }
    }
}

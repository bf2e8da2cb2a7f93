//! `vpc-peering-operator reference`

use std::fmt::Write;

use clap::Args;

use crate::api::{ConditionType, Reason, StepEvent};

/// Print the reference of conditions, reasons and Events as Markdown.
#[derive(Debug, Args)]
pub struct Reference {}

impl Reference {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        print!("{}", markdown()?);
        Ok(())
    }
}

fn markdown() -> Result<String, std::fmt::Error> {
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
        let committed = include_str!("../../docs/conditions.md");
        assert!(markdown().is_ok_and(|page| page == committed), "docs/ has drifted from src/api: run `make generate`");
    }
}

//! The report of all checks, as text, Markdown, JSON and YAML.

use std::fmt::Write;

use serde::Serialize;

use super::finding::{Finding, Verdict};
use crate::cli::output::{self, FAINT, one_line, styled};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    /// Whether no check has failed.
    ok: bool,
    checks: Vec<Finding>,
}

impl Report {
    pub(super) fn new(checks: Vec<Finding>) -> Self {
        Self { ok: checks.iter().all(|finding| finding.verdict != Verdict::Fail), checks }
    }

    pub(super) fn is_ok(&self) -> bool {
        self.ok
    }

    fn summary(&self) -> String {
        let count = |verdict| self.checks.iter().filter(|finding| finding.verdict == verdict).count();
        let [passed, failed, skipped] = [Verdict::Pass, Verdict::Fail, Verdict::Skip].map(count);
        format!("{passed} passed, {failed} failed, {skipped} not checked")
    }
}

impl output::Report for Report {
    fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.checks {
            let symbol = styled(finding.verdict.style(), finding.verdict.symbol());
            text += &format!("{symbol} {}: {}\n", finding.check, one_line(&finding.message));
            if let Some(remedy) = &finding.remedy {
                text += &format!("  → {} {}\n", one_line(remedy), styled(FAINT, &format!("({})", finding.docs)));
            }
        }
        text + "\n" + &self.summary() + "\n"
    }

    fn markdown(&self) -> String {
        let cell = |text: &str| one_line(text).replace('\\', r"\\").replace('|', r"\|").replace('<', "&lt;");
        let mut text = "| | Check | Result | Next step |\n|---|---|---|---|\n".to_owned();
        for finding in &self.checks {
            let remedy = finding.remedy.as_deref().map(|remedy| format!("{} ({})", cell(remedy), finding.docs));
            let (symbol, remedy) = (finding.verdict.symbol(), remedy.unwrap_or_default());
            _ = writeln!(text, "| {symbol} | {} | {} | {remedy} |", finding.check, cell(&finding.message));
        }
        text + "\n" + &self.summary() + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Subject;
    use super::*;
    use crate::cli::output::Report as _;
    use crate::cli::snapshots;

    fn report() -> Report {
        Report::new(vec![
            Finding::pass(Subject::ApiServer, "version 1.34"),
            Finding::fail(Subject::Credentials, "refused:\n\u{1b}[31ma|b", "correct the role"),
            Finding::skip(Subject::EventQueue, "no queue", "set --event-queue-url"),
        ])
    }

    #[test]
    fn every_output_is_a_snapshot() -> anyhow::Result<()> {
        let report = report();
        snapshots::every_format(&report, "check/snapshots/check")?;
        assert!(!report.is_ok());
        Ok(())
    }

    #[test]
    fn markdown_escapes_the_cells() {
        let text = report().markdown();
        let row = r"| ✗ | AWS credentials | refused: [31ma\|b | correct the role (docs/checks.md#aws-credentials) |";
        assert!(text.lines().any(|line| line == row), "{text}");
    }

    #[test]
    fn json_has_every_field() -> Result<(), serde_json::Error> {
        let json = serde_json::to_value(report())?;
        assert_eq!(json["ok"], false);
        assert_eq!(json["checks"][1]["verdict"], "fail");
        assert_eq!(json["checks"][1]["docs"], "docs/checks.md#aws-credentials");
        Ok(())
    }
}

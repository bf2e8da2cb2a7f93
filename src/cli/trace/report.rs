//! The result of a trace.

use std::fmt::Write;

use serde::Serialize;

use super::line::Line;
use crate::cli::output::{self, FAINT, Verdict, one_line, styled};
use crate::peering::network::Flow;

/// All lines, in the order in which a request and then a packet pass them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// `NAMESPACE/NAME`
    pub(super) resource: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) vpc_peering_connection_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) flow: Option<ReportedFlow>,
    /// Whether no line failed.
    pub(super) ok: bool,
    pub(super) lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ReportedFlow {
    from: String,
    to: String,
    protocol: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

impl Report {
    pub(super) fn new(resource: String, id: Option<String>, flow: Option<&Flow>, lines: Vec<Line>) -> Self {
        let flow = flow.map(|flow| ReportedFlow {
            from: flow.from.to_string(),
            to: flow.to.to_string(),
            protocol: flow.protocol.to_string(),
            port: flow.port,
        });
        let ok = lines.iter().all(|line| line.verdict != Verdict::Fail);
        Self { resource, vpc_peering_connection_id: id, flow, ok, lines }
    }

    fn title(&self) -> String {
        let id = self.vpc_peering_connection_id.as_deref().unwrap_or("no connection yet");
        let mut title = format!("{} ({id})", self.resource);
        if let Some(ReportedFlow { from, to, protocol, port }) = &self.flow {
            let port = port.map(|port| format!(" port {port}")).unwrap_or_default();
            title += &format!(", {protocol} from {from} to {to}{port}");
        }
        title
    }

    fn summary(&self) -> String {
        let count = |verdict| self.lines.iter().filter(|line| line.verdict == verdict).count();
        let [passed, failed, skipped] = [Verdict::Pass, Verdict::Fail, Verdict::Skip].map(count);
        format!("{passed} passed, {failed} failed, {skipped} not checked")
    }
}

fn subject(line: &Line) -> String {
    line.end.map_or_else(|| line.check.to_string(), |end| format!("{} ({end})", line.check))
}

impl output::Report for Report {
    fn text(&self) -> String {
        let mut text = self.title() + "\n\n";
        for line in &self.lines {
            let symbol = styled(line.verdict.style(), line.verdict.symbol());
            _ = writeln!(text, "{symbol} {}: {}", subject(line), one_line(&line.message));
            if let Some(remedy) = &line.remedy {
                _ = writeln!(text, "  {}", styled(FAINT, &format!("→ {}", one_line(remedy))));
            }
        }
        text + "\n" + &self.summary() + "\n"
    }

    fn markdown(&self) -> String {
        let cell = |text: &str| one_line(text).replace('\\', r"\\").replace('|', r"\|").replace('<', "&lt;");
        let mut text = format!("{}\n\n| | Step | Result | Remedy |\n|---|---|---|---|\n", cell(&self.title()));
        for line in &self.lines {
            let remedy = line.remedy.as_deref().map(cell).unwrap_or_default();
            let symbol = line.verdict.symbol();
            _ = writeln!(text, "| {symbol} | {} | {} | {remedy} |", subject(line), cell(&line.message));
        }
        text + "\n" + &self.summary() + "\n"
    }
}

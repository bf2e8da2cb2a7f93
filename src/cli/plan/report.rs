//! The report of a plan, as text, Markdown, JSON and YAML.

use std::collections::BTreeMap;
use std::fmt::Write;

use kube::ResourceExt;
use serde::Serialize;

use crate::api::{Side, VpcPeering};
use crate::cli::output::{self, BAD, FAINT, GOOD, styled};
use crate::controller::Planned;
use crate::peering::Plan;
use crate::peering::plan::Step as _;
use crate::peering::upkeep::UpkeepStep;
use crate::peering::vpc_peering;

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// Whether the operator would change anything.
    changes: bool,
    resources: Vec<Resource>,
    /// Objects whose kind has no plan yet.
    not_planned: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    kind: &'static str,
    namespace: String,
    name: String,
    steps: Vec<Step>,
    end: End,
    /// The acceptance by the accepter's owner that later steps wait for.
    #[serde(skip_serializing_if = "Option::is_none")]
    acceptance: Option<String>,
    /// The reasons for which AWS would refuse the request.
    problems: Vec<String>,
    #[serde(skip)]
    needs_a_person: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    description: String,
    after_acceptance: bool,
    calls: Vec<Call>,
}

#[derive(Clone, Debug, Serialize)]
struct Call {
    action: &'static str,
    end: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    region: String,
    parameters: BTreeMap<String, String>,
    /// Null removes a tag.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, Option<String>>,
}

#[derive(Clone, Debug, Serialize)]
struct End {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    message: String,
}

impl Report {
    pub(super) fn new(planned: &[(VpcPeering, Planned)], not_planned: Vec<String>) -> Self {
        let resources: Vec<_> = planned.iter().map(|(object, planned)| Resource::new(object, planned)).collect();
        Self { changes: resources.iter().any(Resource::has_changes), resources, not_planned }
    }

    pub(super) fn has_changes(&self) -> bool {
        self.changes
    }

    pub(super) fn needs_a_person(&self) -> bool {
        self.resources.iter().any(|resource| resource.needs_a_person)
    }

    fn summary(&self) -> String {
        let changed = self.resources.iter().filter(|resource| resource.has_changes()).count();
        let calls: usize =
            self.resources.iter().flat_map(|resource| &resource.steps).map(|step| step.calls.len()).sum();
        let blocked = self.resources.iter().filter(|resource| resource.needs_a_person).count();
        let unchanged = self.resources.len() - changed;
        format!("{changed} to change with {calls} EC2 calls, {unchanged} unchanged, {blocked} need a person")
    }
}

impl Resource {
    fn new(object: &VpcPeering, planned: &Planned) -> Self {
        let forecast = &planned.forecast;
        let steps = forecast.steps.iter().filter(|forecasted| forecasted.step != vpc_peering::Step::Preflight);
        Self {
            kind: "VpcPeering",
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            steps: steps.map(Step::new).collect(),
            end: End::new(&forecast.end),
            acceptance: forecast.acceptance.clone(),
            problems: planned.problems.clone(),
            needs_a_person: planned.needs_a_person(),
        }
    }

    /// A deleted object loses its finalizer, which is a change, too.
    fn has_changes(&self) -> bool {
        !self.steps.is_empty() || self.end.state == "removed"
    }

    fn title(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }
}

impl Step {
    fn new(forecasted: &vpc_peering::Forecasted) -> Self {
        let call = |call: &vpc_peering::Call| Call {
            action: call.action,
            end: call.side.to_string(),
            account: call.account.clone(),
            region: call.region.clone(),
            parameters: call.parameters.clone(),
            tags: call.tags.clone(),
        };
        Self {
            description: describe(&forecasted.step),
            after_acceptance: forecasted.after_acceptance,
            calls: forecasted.calls.iter().map(call).collect(),
        }
    }

    fn condition(&self) -> &'static str {
        if self.after_acceptance { " (after the acceptance by the accepter's owner)" } else { "" }
    }
}

impl Call {
    fn line(&self) -> String {
        let parameters = self.parameters.iter().map(|(name, value)| format!("{name}={value}"));
        let tags = self.tags.iter().map(|(key, value)| match value {
            Some(value) => format!("tag {key}={value}"),
            None => format!("tag {key}"),
        });
        let place = [self.account.as_deref(), Some(self.region.as_str())];
        let place = place.into_iter().flatten().collect::<Vec<_>>().join(" ");
        format!("{} in {place}: {}", self.action, parameters.chain(tags).collect::<Vec<_>>().join(", "))
    }
}

impl End {
    fn new(plan: &Plan<vpc_peering::Step>) -> Self {
        let (state, reason, message) = match plan {
            Plan::Settled { message, .. } => ("settled", None, message.clone()),
            Plan::Wait { reason, message, .. } => ("waiting", Some(reason.as_str()), message.clone()),
            Plan::Stalled { reason, message, .. } => ("stalled", Some(reason.as_str()), message.clone()),
            Plan::Suspended { message } => ("suspended", None, message.clone()),
            Plan::DryRunSucceeded => {
                ("dryRunSucceeded", None, "EC2 would create the peering; set spec.dryRun to false to create it".into())
            }
            Plan::RemoveFinalizer => ("removed", None, "the operator removes its finalizer".into()),
            Plan::Act(step) => ("waiting", None, describe(step)),
        };
        Self { state, reason, message }
    }
}

fn describe(step: &vpc_peering::Step) -> String {
    use vpc_peering::Step;
    let of = |side: &Side| format!("of the {side} in the status");
    match step {
        Step::AddFinalizer => "add the finalizer to the resource".into(),
        Step::Preflight => "check the two VPCs".into(),
        Step::DryRun => "ask EC2 by a dry run whether it would create the peering".into(),
        Step::Record { connection, .. } => format!("record {} in the status", connection.id),
        Step::Retire { id, code, .. } => format!("move {id} ({code}) into the history of the status"),
        Step::Upkeep { side, step: UpkeepStep::RecordTags { .. } } => format!("record the tags {}", of(side)),
        Step::Upkeep { side, step: UpkeepStep::RecordRoutes { .. } } => format!("record the routes {}", of(side)),
        other => other.change().unwrap_or_default(),
    }
}

/// One line without control characters: a message may quote AWS or the API server.
fn line(text: &str) -> String {
    let text: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl output::Report for Report {
    fn text(&self) -> String {
        let mut text = String::new();
        for resource in &self.resources {
            _ = writeln!(text, "{}", line(&resource.title()));
            for step in &resource.steps {
                _ = writeln!(text, "  {} {}{}", styled(GOOD, "+"), line(&step.description), step.condition());
                for call in &step.calls {
                    _ = writeln!(text, "      {}", styled(FAINT, &line(&call.line())));
                }
            }
            for problem in &resource.problems {
                _ = writeln!(text, "  {} {}", styled(BAD, "✗"), line(problem));
            }
            if resource.steps.is_empty() {
                text += "  no change\n";
            }
            let reason = resource.end.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            _ = writeln!(text, "  → {}{reason}: {}\n", resource.end.state, line(&resource.end.message));
        }
        for object in &self.not_planned {
            _ = writeln!(text, "{}: not planned; this command plans VpcPeering only\n", line(object));
        }
        text + &self.summary() + "\n"
    }

    fn markdown(&self) -> String {
        let escape = |text: &str| line(text).replace('\\', r"\\").replace('|', r"\|").replace('<', "&lt;");
        let mut text = format!("### VPC peering plan\n\n{}\n", self.summary());
        for resource in &self.resources {
            _ = writeln!(text, "\n#### {}\n", escape(&resource.title()));
            for step in &resource.steps {
                _ = writeln!(text, "- {}{}", escape(&step.description), step.condition());
                for call in &step.calls {
                    _ = writeln!(text, "  - `{}`", line(&call.line()).replace('`', "'"));
                }
            }
            for problem in &resource.problems {
                _ = writeln!(text, "- ❌ {}", escape(problem));
            }
            let reason = resource.end.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            let no_change = if resource.steps.is_empty() { "No change. " } else { "" };
            _ = writeln!(text, "\n{no_change}**{}{reason}**: {}", resource.end.state, escape(&resource.end.message));
        }
        for object in &self.not_planned {
            _ = writeln!(text, "\n{}: not planned; this command plans VpcPeering only.", escape(object));
        }
        text
    }
}

//! The report of a plan, as text, Markdown, JSON and YAML.

use std::collections::BTreeMap;
use std::fmt::Write;

use kube::ResourceExt;
use serde::Serialize;

use crate::cli::output::{self, BAD, FAINT, GOOD, styled};
use crate::controller::{Forecasts, Planned};
use crate::peering::Plan;
use crate::peering::forecast::{Forecasted, PlacedCall};
use crate::peering::plan::{self, Step as _};

/// Bytes of the Markdown. GitHub accepts comments of 65,536 characters; one line may follow.
/// <https://github.com/orgs/community/discussions/27190>
const MAX_COMMENT: usize = 65_000;

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// Whether the operator would change anything.
    changes: bool,
    resources: Vec<Resource>,
    /// Checks that could not be made.
    notes: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Resource {
    kind: String,
    namespace: String,
    name: String,
    steps: Vec<Step>,
    end: End,
    /// The acceptance by the accepter's owner that later steps wait for.
    #[serde(skip_serializing_if = "Option::is_none")]
    acceptance: Option<String>,
    /// The reasons for which AWS would refuse a call.
    problems: Vec<String>,
    /// The actions whose permission EC2 cannot judge before the calls are made.
    unchecked_permissions: Vec<String>,
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
    parameters: BTreeMap<&'static str, String>,
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
    /// The action of a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
}

impl Report {
    pub(super) fn new(resources: Vec<Resource>, notes: Vec<String>) -> Self {
        Self { changes: resources.iter().any(Resource::has_changes), resources, notes }
    }

    pub(super) fn has_changes(&self) -> bool {
        self.changes
    }

    pub(super) fn needs_a_person(&self) -> bool {
        self.resources.iter().any(|resource| resource.needs_a_person)
    }

    /// The resources that change, or need a person.
    fn noteworthy(&self) -> impl Iterator<Item = &Resource> {
        self.resources.iter().filter(|resource| resource.has_changes() || resource.needs_a_person)
    }

    fn summary(&self) -> String {
        let changed = self.resources.iter().filter(|resource| resource.has_changes()).count();
        let steps = self.resources.iter().flat_map(|resource| &resource.steps);
        let calls: usize = steps.map(|step| step.calls.len()).sum();
        let blocked = self.resources.iter().filter(|resource| resource.needs_a_person).count();
        let unchanged = self.resources.len() - self.noteworthy().count();
        format!("{changed} to change with {calls} EC2 calls, {unchanged} unchanged, {blocked} need a person")
    }
}

impl Resource {
    pub(super) fn new<K: Forecasts>(object: &K, planned: &Planned<K::Step>) -> Self {
        let forecast = &planned.forecast;
        let steps = forecast.steps.iter().filter(|forecasted| !forecasted.step.is_read());
        Self {
            kind: K::kind(&()).into_owned(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            steps: steps.map(Step::new).collect(),
            end: End::new(&forecast.end),
            acceptance: forecast.acceptance.clone(),
            problems: planned.problems.clone(),
            unchecked_permissions: planned.unchecked.clone(),
            needs_a_person: planned.needs_a_person(),
        }
    }

    /// Steps that wait for the accepter's owner are no change. A deleted object loses its finalizer, which is one.
    fn has_changes(&self) -> bool {
        self.steps.iter().any(|step| !step.after_acceptance) || self.end.state == "removed"
    }

    fn title(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }

    fn markdown(&self) -> String {
        let mut text = format!("\n#### {}\n", escape(&self.title()));
        if !self.steps.is_empty() || !self.problems.is_empty() {
            text.push('\n');
        }
        for step in &self.steps {
            _ = writeln!(text, "- {}{}", escape(&step.description), step.condition());
            for call in &step.calls {
                _ = writeln!(text, "  - `{}`", line(&call.line()).replace('`', "'"));
            }
        }
        for problem in &self.problems {
            _ = writeln!(text, "- ❌ {}", escape(problem));
        }
        if let Some(note) = self.unchecked() {
            _ = writeln!(text, "- ❔ {}", escape(&note));
        }
        _ = writeln!(text, "\n**{}**: {}", self.end.title(), escape(&self.end.message));
        if let Some(action) = self.end.action {
            _ = writeln!(text, "\n{action}");
        }
        text
    }

    fn unchecked(&self) -> Option<String> {
        let actions = self.unchecked_permissions.join(", ");
        let note = || format!("EC2 cannot check the permission of these calls before they are made: {actions}");
        (!actions.is_empty()).then(note)
    }
}

impl Step {
    fn new<S: plan::Step>(forecasted: &Forecasted<S>) -> Self {
        Self {
            description: forecasted.step.summary(),
            after_acceptance: forecasted.after_acceptance,
            calls: forecasted.calls.iter().map(Call::new).collect(),
        }
    }

    fn condition(&self) -> &'static str {
        if self.after_acceptance { " (after the acceptance by the accepter's owner)" } else { "" }
    }
}

impl Call {
    fn new(placed: &PlacedCall) -> Self {
        Self {
            action: placed.call.action(),
            end: placed.side.to_string(),
            account: placed.account.clone(),
            region: placed.region.clone(),
            parameters: placed.call.parameters(),
            tags: placed.call.tags(),
        }
    }

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
    fn new<S: plan::Step>(plan: &Plan<S>) -> Self {
        let (state, reason, message) = match plan {
            Plan::Settled { message, .. } => ("settled", None, message.clone()),
            Plan::Wait { reason, message, .. } => ("waiting", Some(reason.as_str()), message.clone()),
            Plan::Stalled { reason, message, .. } => ("stalled", Some(reason.as_str()), message.clone()),
            Plan::Suspended { message } => ("suspended", None, message.clone()),
            Plan::DryRunSucceeded => {
                ("dryRunSucceeded", None, "EC2 would create the peering; set spec.dryRun to false to create it".into())
            }
            Plan::RemoveFinalizer => ("removed", None, "the operator removes its finalizer".into()),
            Plan::Act(step) => ("waiting", None, step.summary()),
        };
        let action = match plan {
            Plan::Stalled { reason, .. } => Some(reason.action()),
            _ => None,
        };
        Self { state, reason, message, action }
    }

    fn title(&self) -> String {
        self.reason.map_or_else(|| self.state.to_owned(), |reason| format!("{} ({reason})", self.state))
    }
}

/// One line without control characters: a message may quote AWS or the API server.
fn line(text: &str) -> String {
    let text: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Text that Markdown shows as it is.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for letter in line(text).chars() {
        if r"\`*_[]<>|#".contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

impl output::Report for Report {
    /// Empty if nothing changes.
    fn text(&self) -> String {
        let mut text = String::new();
        for resource in self.noteworthy() {
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
            if let Some(note) = resource.unchecked() {
                _ = writeln!(text, "  ? {}", line(&note));
            }
            _ = writeln!(text, "  → {}: {}", resource.end.title(), line(&resource.end.message));
            if let Some(action) = resource.end.action {
                _ = writeln!(text, "    {action}");
            }
            text.push('\n');
        }
        for note in &self.notes {
            _ = writeln!(text, "? {}\n", line(note));
        }
        if text.is_empty() { text } else { text + &self.summary() + "\n" }
    }

    /// Resources that do not fit into a comment are left out.
    fn markdown(&self) -> String {
        let mut text = format!("### VPC peering plan\n\n{}\n", self.summary());
        for note in &self.notes {
            _ = writeln!(text, "\n❔ {}", escape(note));
        }
        let resources: Vec<_> = self.noteworthy().map(Resource::markdown).collect();
        for (number, resource) in resources.iter().enumerate() {
            if text.len() + resource.len() > MAX_COMMENT {
                let left = resources.len() - number;
                _ = writeln!(text, "\n{left} more resources do not fit into a comment. `--output text` shows them.");
                break;
            }
            text += resource;
        }
        text
    }
}

#[cfg(test)]
mod tests;

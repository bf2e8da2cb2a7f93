//! The page of the API: the fields of each kind, from the schemas of the CustomResourceDefinitions.

use std::fmt::Write;

use anyhow::Context;
use serde_json::{Map, Value};

use crate::api::crd;

const INTRODUCTION: &str = "# API\n\nGenerated from the CustomResourceDefinitions by `make generate`. `kubectl explain \
                            vpcpeering.spec` shows the same texts\nfor the version that is installed. \
                            [examples.md](examples.md) has manifests, and \
                            [conditions.md](conditions.md)\nlists the conditions and reasons.\n";

/// A section describes the fields of one object. Objects with the same fields share a section.
#[derive(Default)]
struct Sections {
    text: String,
    /// The fields of each section, and its title.
    titles: Vec<(Map<String, Value>, String)>,
}

pub(super) fn page() -> anyhow::Result<String> {
    let mut sections = Sections { text: INTRODUCTION.to_owned(), ..Sections::default() };
    for crd in crd::all()? {
        let kind = crd.spec.names.kind.as_str();
        let version = crd.spec.versions.first().context("a CustomResourceDefinition has no version")?;
        let schema = serde_json::to_value(&version.schema)?;
        let schema = &schema["openAPIV3Schema"];
        let short = crd.spec.names.short_names.iter().flatten().map(|name| format!("; short name: `{name}`"));
        write!(
            sections.text,
            "\n## {kind}\n\n{}\n\n- `apiVersion: {}/{}`, `kind: {kind}`{}\n- {}\n",
            text(schema),
            crd.spec.group,
            version.name,
            short.collect::<String>(),
            if crd.spec.scope == "Namespaced" { "namespaced" } else { "cluster-scoped" }
        )?;
        for part in ["spec", "status"] {
            let title = sections.title(&format!("{kind}.{part}"), &schema["properties"][part]).0;
            sections.add(&title, &schema["properties"][part])?;
        }
    }
    Ok(sections.text)
}

impl Sections {
    /// The section of an object, and whether it is new.
    fn title(&mut self, path: &str, object: &Value) -> (String, bool) {
        let fields = object["properties"].as_object().cloned().unwrap_or_default();
        if let Some((_, title)) = self.titles.iter().find(|(known, _)| *known == fields) {
            return (title.clone(), false);
        }
        self.titles.push((fields, path.to_owned()));
        (path.to_owned(), true)
    }

    /// Adds the section of an object, and then those of the objects within it.
    fn add(&mut self, title: &str, object: &Value) -> std::fmt::Result {
        write!(self.text, "\n### {title}\n\n| Field | Type | Description |\n|---|---|---|\n")?;
        let mut within = Vec::new();
        for (name, field) in object["properties"].as_object().into_iter().flatten() {
            let inner = inner(field);
            let mut link = inner["type"].as_str().unwrap_or("any value").to_owned();
            if inner["properties"].is_object() {
                let (title, is_new) = self.title(&format!("{title}.{name}"), inner);
                link = format!("[object](#{})", title.to_lowercase().replace('.', ""));
                if is_new {
                    within.push((title, inner));
                }
            }
            let is_required =
                object["required"].as_array().is_some_and(|names| names.iter().any(|other| other == name));
            let kind = kind(field, &link);
            let required = if is_required { ", required" } else { "" };
            writeln!(self.text, "| `{name}` | {kind}{required} | {} |", description(field))?;
        }
        let rules: Vec<_> = rules(object).map(|rule| format!("- {rule}\n")).collect();
        if !rules.is_empty() {
            write!(self.text, "\nThe API server checks:\n\n{}", rules.concat())?;
        }
        within.into_iter().try_for_each(|(title, object)| self.add(&title, object))
    }
}

/// The schema of the elements of a list or of the values of a map, or that of the field itself.
fn inner(field: &Value) -> &Value {
    ["items", "additionalProperties"]
        .into_iter()
        .map(|part| &field[part])
        .find(|part| part.is_object())
        .unwrap_or(field)
}

fn kind(field: &Value, inner: &str) -> String {
    match field["type"].as_str() {
        Some("array") => format!("list of {inner}"),
        Some("object") if field["additionalProperties"].is_object() => format!("map of string to {inner}"),
        _ if field["format"] == "date-time" => "time".to_owned(),
        _ => inner.to_owned(),
    }
}

fn description(field: &Value) -> String {
    let mut description = text(field);
    if let Some(values) = inner(field)["enum"].as_array() {
        let values: Vec<_> = values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`")).collect();
        write!(description, " One of {}.", values.join(", ")).unwrap_or_default();
    }
    // The texts of most fields name the default.
    if !field["default"].is_null() && !description.contains("Defaults to") {
        write!(description, " Default: `{}`.", field["default"]).unwrap_or_default();
    }
    description
}

/// The description of a schema in one line, as text of a table.
fn text(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|")
}

/// The messages of the CEL rules.
fn rules(schema: &Value) -> impl Iterator<Item = &str> {
    schema["x-kubernetes-validations"].as_array().into_iter().flatten().filter_map(|rule| rule["message"].as_str())
}

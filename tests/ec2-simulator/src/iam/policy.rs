//! Policy documents.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::condition::Condition;
use super::context::Context;
use super::pattern::Pattern;

/// A parsed policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub(super) statements: Vec<Statement>,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) sid: String,
    pub(super) is_deny: bool,
    /// The principals. Empty except in a trust policy.
    pub(super) principals: Vec<String>,
    pub(super) actions: Vec<Pattern>,
    /// The resources. Empty in a trust policy, which applies to its own role.
    pub(super) resources: Vec<Pattern>,
    pub(super) conditions: Vec<Condition>,
}

/// The JSON of a policy document. `NotAction`, `NotResource` and `NotPrincipal` are not supported.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Document {
    version: String,
    statement: Vec<StatementDocument>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct StatementDocument {
    sid: String,
    effect: Effect,
    #[serde(default)]
    principal: Option<Principal>,
    #[serde(deserialize_with = "string_or_list")]
    action: Vec<String>,
    #[serde(default, deserialize_with = "string_or_list")]
    resource: Vec<String>,
    #[serde(default)]
    condition: Map<String, Value>,
}

#[derive(Deserialize)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE", deny_unknown_fields)]
struct Principal {
    #[serde(deserialize_with = "string_or_list")]
    aws: Vec<String>,
}

fn string_or_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    strings(Value::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn strings(value: Value) -> Result<Vec<String>, String> {
    let one = |value| match value {
        Value::String(text) => Ok(text),
        Value::Bool(value) => Ok(value.to_string()),
        other => Err(format!("{other} is not a string")),
    };
    match value {
        Value::Array(values) => values.into_iter().map(one).collect(),
        value => one(value).map(|value| vec![value]),
    }
}

impl Policy {
    /// Parses a policy document.
    ///
    /// # Errors
    /// If the document is invalid or uses an element that the simulator does not support. Ignoring an element could
    /// turn a limited permission into a wider one.
    pub fn parse(document: &Value) -> Result<Self, String> {
        let Document { version, statement } = read(document)?;
        // Version 2008-10-17 has no policy variables.
        if version != "2012-10-17" {
            return Err(format!("Version is {version}; the simulator supports only 2012-10-17"));
        }
        Ok(Self { statements: statement.into_iter().map(Statement::parse).collect::<Result<_, _>>()? })
    }

    /// The IDs (`Sid`) of the statements.
    pub fn statements(&self) -> impl Iterator<Item = &str> {
        self.statements.iter().map(|statement| statement.sid.as_str())
    }
}

fn read<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    T::deserialize(value).map_err(|error| error.to_string())
}

impl Statement {
    fn parse(document: StatementDocument) -> Result<Self, String> {
        let StatementDocument { sid, effect, principal, action, resource, condition } = document;
        let patterns =
            |texts: Vec<String>| texts.iter().map(|text| Pattern::with_wildcards(text)).collect::<Result<Vec<_>, _>>();
        let principals = principal.map(|principal| principal.aws).unwrap_or_default();
        if principals.is_empty() == resource.is_empty() {
            return Err(format!("{sid} must have either a Resource or a Principal"));
        }
        let mut conditions = Vec::new();
        for (operator, keys) in condition {
            let keys: Map<String, Value> = read(&keys).map_err(|error| format!("{sid}: {operator}: {error}"))?;
            for (key, values) in keys {
                let values = strings(values).map_err(|error| format!("{sid}: {key}: {error}"))?;
                let condition =
                    Condition::parse(&operator, &key, &values).map_err(|error| format!("{sid}: {error}"))?;
                conditions.push(condition);
            }
        }
        Ok(Self {
            is_deny: matches!(effect, Effect::Deny),
            principals,
            actions: patterns(action)?,
            resources: patterns(resource)?,
            conditions,
            sid,
        })
    }

    /// Whether the statement applies to an action on a resource in a request context.
    pub(super) fn applies(&self, action: &str, resource: &str, context: &Context) -> bool {
        self.covers_action(action)
            && (self.resources.is_empty()
                || self.resources.iter().any(|one| one.resolve(context).is_some_and(|one| one.matches_arn(resource))))
            && self.conditions.iter().all(|condition| condition.is_met(context) == Some(true))
    }

    /// Action names are not case-sensitive.
    fn covers_action(&self, action: &str) -> bool {
        let empty = Context::default();
        self.actions.iter().any(|one| one.resolve(&empty).is_some_and(|one| one.matches_in_any_case(action)))
    }
}

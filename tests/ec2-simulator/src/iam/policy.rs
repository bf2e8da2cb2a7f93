//! Policy documents.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::condition::Condition;
use super::context::Context;
use super::pattern::Pattern;

/// A policy that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub(super) statements: Vec<Statement>,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) sid: String,
    pub(super) is_deny: bool,
    /// Whom a trust policy names.
    pub(super) principals: Vec<String>,
    pub(super) actions: Vec<Pattern>,
    /// A trust policy has none: it is about its own role.
    pub(super) resources: Vec<Pattern>,
    pub(super) conditions: Vec<Condition>,
}

/// A document in the form of its JSON. `NotAction`, `NotResource` and `NotPrincipal` are not modelled.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Document {
    version: String,
    statement: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Written {
    sid: String,
    effect: Effect,
    #[serde(default)]
    principal: Option<Principal>,
    #[serde(deserialize_with = "one_or_many")]
    action: Vec<String>,
    #[serde(default, deserialize_with = "one_or_many")]
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
    #[serde(deserialize_with = "one_or_many")]
    aws: Vec<String>,
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    many(Value::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn many(value: Value) -> Result<Vec<String>, String> {
    let one = |value| match value {
        Value::String(text) => Ok(text),
        Value::Bool(truth) => Ok(truth.to_string()),
        other => Err(format!("{other} is not a text")),
    };
    match value {
        Value::Array(values) => values.into_iter().map(one).collect(),
        value => one(value).map(|value| vec![value]),
    }
}

impl Policy {
    /// The policy of a document.
    ///
    /// # Errors
    /// When AWS would refuse the document, or the simulator does not know a part of it: an unknown part must not pass as a grant.
    pub fn parse(document: &Value) -> Result<Self, String> {
        let Document { version, statement } = read(document)?;
        // The older version has no policy variables.
        if version != "2012-10-17" {
            return Err(format!("the version is {version}"));
        }
        Ok(Self { statements: statement.into_iter().map(Statement::parse).collect::<Result<_, _>>()? })
    }

    /// The IDs of its statements.
    pub fn statements(&self) -> impl Iterator<Item = &str> {
        self.statements.iter().map(|statement| statement.sid.as_str())
    }
}

fn read<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    T::deserialize(value).map_err(|error| error.to_string())
}

impl Statement {
    fn parse(written: Written) -> Result<Self, String> {
        let Written { sid, effect, principal, action, resource, condition } = written;
        let patterns =
            |texts: Vec<String>| texts.iter().map(|text| Pattern::with_wildcards(text)).collect::<Result<Vec<_>, _>>();
        let principals = principal.map(|principal| principal.aws).unwrap_or_default();
        if principals.is_empty() == resource.is_empty() {
            return Err(format!("{sid} must have either a resource or a principal"));
        }
        let mut conditions = Vec::new();
        for (operator, keys) in condition {
            let keys: Map<String, Value> = read(&keys).map_err(|error| format!("{sid}: {operator}: {error}"))?;
            for (key, values) in keys {
                let values = many(values).map_err(|error| format!("{sid}: {key}: {error}"))?;
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

    /// Whether it is about this action on this resource, in this context.
    pub(super) fn applies(&self, action: &str, resource: &str, context: &Context) -> bool {
        self.is_about_action(action)
            && (self.resources.is_empty()
                || self.resources.iter().any(|one| one.resolve(context).is_some_and(|one| one.matches_arn(resource))))
            && self.conditions.iter().all(|condition| condition.is_met(context) == Some(true))
    }

    /// Actions are not case-sensitive.
    pub(super) fn is_about_action(&self, action: &str) -> bool {
        let nothing = Context::default();
        self.actions.iter().any(|one| one.resolve(&nothing).is_some_and(|one| one.matches_in_any_case(action)))
    }
}

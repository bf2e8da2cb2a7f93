//! The kinds and names of the objects of other controllers.

use std::fmt;

use anyhow::{Context, ensure};
use serde_json::Value;

/// The API group of an object. `None` for the core group.
pub(super) fn group(object: &Value) -> Option<&str> {
    object["apiVersion"].as_str()?.split_once('/').map(|(group, _)| group)
}

/// Whether an object has a kind of a group.
pub(super) fn is_of(object: &Value, of: &str, kind: &str) -> bool {
    object["kind"] == kind && group(object) == Some(of)
}

/// The name of an object. It is safe in a shell command.
#[derive(Clone, Debug)]
pub(super) struct Name {
    group: String,
    kind: String,
    namespace: Option<String>,
    name: String,
}

impl Name {
    /// # Errors
    /// If the object has no valid name.
    pub(super) fn of(object: &Value) -> anyhow::Result<Self> {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let text = |key: &str| {
            let value = object["metadata"][key].as_str();
            let is_valid = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '.');
            let is_name = value.is_none_or(|text| text.chars().all(is_valid) && !text.starts_with('-'));
            ensure!(is_name, "a {kind} has an invalid metadata.{key}: {value:?}");
            Ok(value.map(str::to_owned))
        };
        let name = text("name")?.with_context(|| format!("a {kind} has no metadata.name"))?;
        Ok(Self { namespace: text("namespace")?, name, group: group(object).unwrap_or_default().to_owned(), kind })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A kubectl command about the object.
    pub(super) fn command(&self, verb: &str, arguments: &str) -> String {
        let namespace = self.namespace.as_ref().map(|name| format!(" -n {name}")).unwrap_or_default();
        let kind = self.kind.to_ascii_lowercase();
        format!("kubectl {verb}{namespace} {kind}.{}/{} {arguments}", self.group, self.name).trim_end().to_owned()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(version: &str, kind: &str, name: &str) -> Value {
        json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "net"}})
    }

    #[test]
    fn names_cannot_become_commands() -> anyhow::Result<()> {
        let version = "ec2.services.k8s.aws/v1alpha1";
        let name = Name::of(&object(version, "VPCPeeringConnection", "a-1.b"))?;
        let expected = "kubectl delete -n net vpcpeeringconnection.ec2.services.k8s.aws/a-1.b";
        assert_eq!(name.command("delete", ""), expected);
        for wrong in ["a; reboot", "$(reboot)", "a b", "-f", "a\nb", "a'b", "ä"] {
            assert!(Name::of(&object(version, "VPCPeeringConnection", wrong)).is_err(), "{wrong}");
        }
        Ok(())
    }
}

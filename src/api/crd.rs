//! The CustomResourceDefinitions, generated from the API types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::aws_identity::AwsIdentity;
use super::vpc_peering::VpcPeering;
use super::vpc_peering_accepter::VpcPeeringAccepter;

/// Every CRD of this operator.
///
/// # Errors
/// If the derived schema is not a valid CRD. This is a defect of the code, not of the input.
pub fn all() -> Result<Vec<CustomResourceDefinition>, serde_json::Error> {
    [VpcPeering::crd(), VpcPeeringAccepter::crd(), AwsIdentity::crd()].into_iter().map(finish).collect()
}

/// Adds what `KubeSchema` cannot express.
fn finish(crd: CustomResourceDefinition) -> Result<CustomResourceDefinition, serde_json::Error> {
    let mut crd = serde_json::to_value(crd)?;
    drop_nullable(&mut crd);
    limit_selectors(&mut crd);
    for version in crd["spec"]["versions"].as_array_mut().into_iter().flatten() {
        // Without it, kstatus takes an object that the operator has not seen yet for current.
        version["schema"]["openAPIV3Schema"]["properties"]["status"]["default"] = json!({"observedGeneration": -1});
    }
    serde_json::from_value(crd)
}

/// Optional fields are absent, never null. Without `nullable`, the API server prunes a null, for example from a
/// template, so that defaults and rules treat the field as absent.
fn drop_nullable(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("nullable");
            map.values_mut().for_each(drop_nullable);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nullable),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The schema of `LabelSelector` has no limits. The lengths are those of label keys and values; the numbers of labels
/// and expressions exceed any real selector.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>
fn limit_selectors(value: &mut Value) {
    /// Maximum labels and maximum expressions of a selector.
    const MAX_REQUIREMENTS: usize = 32;
    let label = || json!({"type": "string", "maxLength": 63});
    match value {
        Value::Object(map) => {
            if let Some(labels) = map.get_mut("matchLabels") {
                labels["maxProperties"] = MAX_REQUIREMENTS.into();
                labels["additionalProperties"] = label();
                labels["x-kubernetes-validations"] = json!([{"rule": "self.all(key, size(key) <= 317)", "message": "a label key must have at most 317 characters"}]);
            }
            if let Some(expressions) = map.get_mut("matchExpressions") {
                expressions["maxItems"] = MAX_REQUIREMENTS.into();
                let properties = &mut expressions["items"]["properties"];
                properties["key"]["maxLength"] = 317.into();
                properties["operator"]["maxLength"] = 16.into();
                properties["values"]["maxItems"] = 100.into();
                properties["values"]["items"] = label();
            }
            map.values_mut().for_each(limit_selectors);
        }
        Value::Array(items) => items.iter_mut().for_each(limit_selectors),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Every CRD as one YAML stream.
///
/// # Errors
/// If a CRD cannot be built or serialised. This is a defect of the code, not of the input.
pub fn yaml() -> anyhow::Result<String> {
    all()?.iter().try_fold(String::new(), |yaml, crd| Ok(yaml + "---\n" + &serde_saphyr::to_string(crd)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths in this schema that have no limit.
    fn unbounded(schema: &Value, path: &str) -> Vec<String> {
        let lacks = |keyword: &str| schema[keyword].is_null().then(|| format!("{path}: {keyword}"));
        let has_rule_on_keys = || {
            let rules = schema["x-kubernetes-validations"].as_array();
            rules.into_iter().flatten().any(|rule| rule["rule"].as_str().is_some_and(|rule| rule.contains("size(key)")))
        };
        let of = |child: &Value, name: &str| unbounded(child, &format!("{path}.{name}"));
        match schema["type"].as_str() {
            Some("string") if schema["enum"].is_null() => lacks("maxLength").into_iter().collect(),
            Some("array") => lacks("maxItems").into_iter().chain(of(&schema["items"], "[]")).collect(),
            Some("object") if schema["additionalProperties"].is_object() => {
                let keys = (!has_rule_on_keys()).then(|| format!("{path}: no rule limits the keys"));
                let values = of(&schema["additionalProperties"], "*");
                lacks("maxProperties").into_iter().chain(keys).chain(values).collect()
            }
            Some("object") => {
                let properties = schema["properties"].as_object().into_iter().flatten();
                properties.flat_map(|(name, child)| of(child, name)).collect()
            }
            _ => Vec::new(),
        }
    }

    #[test]
    fn every_field_of_a_spec_has_a_limit() -> anyhow::Result<()> {
        for crd in all()? {
            for version in crd.spec.versions {
                let schema = serde_json::to_value(version.schema)?;
                let unbounded = unbounded(&schema["openAPIV3Schema"]["properties"]["spec"], "spec");
                assert!(unbounded.is_empty(), "{}: {unbounded:#?}", crd.spec.names.kind);
            }
        }
        Ok(())
    }

    #[test]
    fn the_committed_crds_match_the_code() {
        let committed = include_str!("../../crds/vpcpeering.dev.yaml");
        assert!(yaml().is_ok_and(|yaml| yaml == committed), "crds/ differs from src/api: run `make generate`");
    }
}

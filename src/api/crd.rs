//! The CustomResourceDefinitions as a cluster applies them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::{AwsIdentity, VpcPeering, VpcPeeringAccepter};

/// Every CRD of this operator.
///
/// # Errors
/// When a derived schema is not what the finishing touches below expect: a defect, found by any test.
pub fn all() -> Result<Vec<CustomResourceDefinition>, serde_json::Error> {
    [VpcPeering::crd(), VpcPeeringAccepter::crd(), AwsIdentity::crd()].into_iter().map(finish).collect()
}

/// What the derive can not say.
fn finish(crd: CustomResourceDefinition) -> Result<CustomResourceDefinition, serde_json::Error> {
    let mut crd = serde_json::to_value(crd)?;
    drop_nullable(&mut crd);
    for version in crd["spec"]["versions"].as_array_mut().into_iter().flatten() {
        // kstatus must not take an object for current that we never looked at.
        version["schema"]["openAPIV3Schema"]["properties"]["status"]["default"] = json!({"observedGeneration": -1});
    }
    serde_json::from_value(crd)
}

/// An optional field is left out, never null: without `nullable` the API server prunes a null that a template left
/// behind, so that defaults and rules treat it as absent.
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

/// Every CRD as one YAML stream.
///
/// # Errors
/// When a CRD cannot be built or written: a defect, found by any test.
pub fn yaml() -> anyhow::Result<String> {
    all()?.iter().try_fold(String::new(), |yaml, crd| Ok(yaml + "---\n" + &serde_saphyr::to_string(crd)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crds_are_generated_from_the_code() {
        let committed = include_str!("../../crds/vpcpeering.dev.yaml");
        assert!(yaml().is_ok_and(|yaml| yaml == committed), "crds/ has drifted from src/api: run `make generate`");
    }
}

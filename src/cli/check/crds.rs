//! The CRDs in the cluster, compared with those of this binary. Discovery and OpenAPI show them to every user, so that
//! no right on CustomResourceDefinitions is needed.

use hyper::Request;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use serde_json::Value;

use super::finding::{Finding, Subject};
use crate::api::crd;

const INSTALL: &str = "upgrade the chart, or kubectl apply --server-side -f crds/vpcpeering.dev.yaml";

/// Compares each CRD.
pub(super) async fn check(client: &Client) -> Vec<Finding> {
    match crd::all() {
        Ok(crds) => {
            let mut findings = Vec::new();
            for crd in crds {
                findings.push(check_one(client, &crd).await);
            }
            findings
        }
        Err(error) => vec![Finding::fail(Subject::Crds, error.to_string(), "report this defect of the operator")],
    }
}

async fn check_one(client: &Client, crd: &CustomResourceDefinition) -> Finding {
    let (group, kind) = (&crd.spec.group, &crd.spec.names.kind);
    let name = format!("{}.{group}", crd.spec.names.plural);
    let fail = |message: String| Finding::fail(Subject::Crds, message, INSTALL);
    for version in &crd.spec.versions {
        let path = format!("/openapi/v3/apis/{group}/{}", version.name);
        let served = match get(client, &path).await {
            Ok(served) => served,
            Err(kube::Error::Api(status)) if status.code == 404 => {
                return fail(format!("{name}: the API server does not serve {group}/{}", version.name));
            }
            Err(error) => return fail(format!("{name}: cannot read {path}: {error}")),
        };
        let schema = format!("{}.{}.{kind}", reversed(group), version.name);
        let served = &served["components"]["schemas"][schema];
        if served.is_null() {
            return fail(format!("{name} is not installed"));
        }
        let own = serde_json::to_value(&version.schema).unwrap_or_default();
        let own = &own["openAPIV3Schema"]["properties"];
        for part in ["spec", "status"] {
            if let Some(path) = difference(part, &own[part], &served["properties"][part]) {
                return fail(format!("{name}: the schema in the cluster differs from this binary's at {path}"));
            }
        }
    }
    let versions: Vec<_> = crd.spec.versions.iter().map(|version| version.name.as_str()).collect();
    Finding::pass(Subject::Crds, format!("{name} {}", versions.join(", ")))
}

async fn get(client: &Client, path: &str) -> Result<Value, kube::Error> {
    client.request(Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?).await
}

/// The group as OpenAPI names it: `dev.vpcpeering`.
fn reversed(group: &str) -> String {
    group.split('.').rev().collect::<Vec<_>>().join(".")
}

/// The path of the first difference.
fn difference(path: &str, one: &Value, other: &Value) -> Option<String> {
    match (one, other) {
        (Value::Object(ones), Value::Object(others)) => {
            let mut keys = ones.keys().chain(others.keys().filter(|key| !ones.contains_key(*key)));
            let compare = |key: &String| difference(&format!("{path}.{key}"), &one[key], &other[key]);
            keys.find_map(compare)
        }
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => None,
        (one, other) => (one != other).then(|| path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_difference_has_a_path() {
        let one = json!({"a": {"b": 1, "c": ["x"]}, "d": true});
        assert_eq!(difference("spec", &one, &json!({"a": {"b": 1.0, "c": ["x"]}, "d": true})), None);
        for (other, path) in [
            (json!({"a": {"b": 2, "c": ["x"]}, "d": true}), "spec.a.b"),
            (json!({"a": {"b": 1, "c": []}, "d": true}), "spec.a.c"),
            (json!({"a": {"b": 1, "c": ["x"]}, "d": true, "e": 1}), "spec.e"),
            (json!({"a": {"b": 1, "c": ["x"]}}), "spec.d"),
        ] {
            assert_eq!(difference("spec", &one, &other).as_deref(), Some(path));
        }
        assert_eq!(reversed("vpcpeering.dev"), "dev.vpcpeering");
    }
}

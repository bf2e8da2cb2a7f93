//! Values of the pods and of the objects around them.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{NAME, Shared};
use environment::helm::find;

/// Values, and the fields that they set: the kind of the object, the path of the field, and its value.
type Case = (Value, Vec<(&'static str, &'static str, Value)>);

fn cases() -> Vec<Case> {
    let pod = "/spec/template/spec";
    let linux = json!({"kubernetes.io/os": "linux"});
    let field = |path: &str| -> &'static str { format!("{pod}{path}").leak() };
    vec![
        (
            json!({"metrics": {"serviceMonitor": {"enabled": true}}}),
            vec![
                ("Deployment", field("/nodeSelector"), linux.clone()),
                ("Deployment", field("/enableServiceLinks"), json!(false)),
                ("Deployment", field("/imagePullSecrets"), Value::Null),
                ("Pod", "/spec/enableServiceLinks", json!(false)),
                ("Pod", "/spec/nodeSelector", linux),
                ("PodDisruptionBudget", "/spec/maxUnavailable", json!(1)),
                ("PodDisruptionBudget", "/spec/minAvailable", Value::Null),
                ("PodDisruptionBudget", "/spec/unhealthyPodEvictionPolicy", json!("AlwaysAllow")),
                ("ServiceMonitor", "/metadata/namespace", json!("install")),
                ("ServiceMonitor", "/spec/sampleLimit", Value::Null),
            ],
        ),
        (
            json!({
                "nodeSelector": {"pool": "system"}, "imagePullSecrets": [{"name": "own"}, {"name": "both"}],
                "global": {"imagePullSecrets": ["both", {"name": "parents"}]},
                "podDisruptionBudget": {"minAvailable": 0, "unhealthyPodEvictionPolicy": ""},
                "metrics": {
                    "serviceMonitor": {"enabled": true, "namespace": "monitoring", "sampleLimit": 5000},
                    "podMonitor": {"enabled": true, "namespace": "monitoring", "sampleLimit": 100},
                },
                "networkPolicy": {
                    "enabled": true, "extraIngress": [{"ports": [{"port": 9000}]}],
                    "extraEgress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
                },
            }),
            vec![
                ("Deployment", field("/nodeSelector"), json!({"kubernetes.io/os": "linux", "pool": "system"})),
                (
                    "Deployment",
                    field("/imagePullSecrets"),
                    json!([{"name": "own"}, {"name": "both"}, {"name": "parents"}]),
                ),
                ("Pod", "/spec/imagePullSecrets/2/name", json!("parents")),
                ("PodDisruptionBudget", "/spec/maxUnavailable", Value::Null),
                ("PodDisruptionBudget", "/spec/minAvailable", json!(0)),
                ("PodDisruptionBudget", "/spec/unhealthyPodEvictionPolicy", Value::Null),
                ("ServiceMonitor", "/metadata/namespace", json!("monitoring")),
                ("ServiceMonitor", "/spec/sampleLimit", json!(5000)),
                ("ServiceMonitor", "/spec/namespaceSelector/matchNames", json!(["install"])),
                ("PodMonitor", "/metadata/namespace", json!("monitoring")),
                ("PodMonitor", "/spec/sampleLimit", json!(100)),
                ("PodMonitor", "/spec/namespaceSelector/matchNames", json!(["install"])),
                ("NetworkPolicy", "/spec/ingress/1", json!({"ports": [{"port": 9000}]})),
                ("NetworkPolicy", "/spec/egress/1", json!({"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]})),
            ],
        ),
    ]
}

pub async fn values_reach_their_objects(shared: Arc<Shared>) -> Result<()> {
    for (values, expected) in cases() {
        let rendered = shared.helm.render(&values).await?;
        for (kind, path, expected) in expected {
            let object = rendered.iter().find(|object| object["kind"] == kind).with_context(|| format!("no {kind}"))?;
            let value = object.pointer(path).cloned().unwrap_or_default();
            ensure!(value == expected, "{kind} {path} is {value}, not {expected}");
        }
    }
    Ok(())
}

pub async fn images_come_from_the_named_registry(shared: Arc<Shared>) -> Result<()> {
    let digest = format!("sha256:{}", "0".repeat(64));
    let with_digest = format!("mirror.example.com/team/operator@{digest}");
    for (repository, tag, digest, registry, image) in [
        ("registry.example.com/team/operator", "", "", "", "registry.example.com/team/operator:0.1.0"),
        ("registry.example.com/team/operator", "1.2", "", "mirror.example.com", "mirror.example.com/team/operator:1.2"),
        ("localhost:5000/operator", "1", "", "mirror.example.com/proxy/", "mirror.example.com/proxy/operator:1"),
        ("team/operator", "1", digest.as_str(), "mirror.example.com", with_digest.as_str()),
        ("operator", "1", "", "mirror.example.com", "mirror.example.com/operator:1"),
    ] {
        let values = json!({
            "image": {"repository": repository, "tag": tag, "digest": digest}, "global": {"imageRegistry": registry},
        });
        let rendered = shared.helm.render(&values).await?;
        let shown = &find(&rendered, "Deployment", NAME)?["spec"]["template"]["spec"]["containers"][0]["image"];
        ensure!(shown == image, "{values}: {shown}");
    }
    Ok(())
}

/// With `namespaceOverride`, nothing refers to the namespace of the release.
pub async fn every_object_is_in_the_named_namespace(shared: Arc<Shared>) -> Result<()> {
    let values = json!({
        "namespaceOverride": "elsewhere", "networkPolicy": {"enabled": true},
        "metrics": {
            "secure": {"enabled": true, "certificateSecret": "metrics-tls"},
            "serviceMonitor": {"enabled": true}, "prometheusRule": {"enabled": true}, "dashboard": {"enabled": true},
        },
    });
    let rendered = shared.helm.render(&values).await?;
    for object in &rendered {
        let namespace = &object["metadata"]["namespace"];
        ensure!(namespace.is_null() || namespace == "elsewhere", "{object}");
        for subject in object["subjects"].as_array().into_iter().flatten() {
            ensure!(subject["namespace"] == "elsewhere", "{object}");
        }
    }
    let policy = find(&rendered, "ValidatingAdmissionPolicy", &format!("{NAME}-status"))?;
    let operators = format!("['system:serviceaccount:elsewhere:{NAME}']");
    ensure!(policy["spec"]["variables"][0]["expression"] == operators.as_str(), "{policy}");
    let container = &find(&rendered, "Deployment", NAME)?["spec"]["template"]["spec"]["containers"][0];
    let lease = json!({"name": "LEASE_NAMESPACE", "value": "elsewhere"});
    ensure!(container["env"].as_array().is_some_and(|env| env.contains(&lease)), "{container}");
    let endpoint = &find(&rendered, "ServiceMonitor", NAME)?["spec"]["endpoints"][0];
    ensure!(endpoint["tlsConfig"]["serverName"] == format!("{NAME}-metrics.elsewhere.svc").as_str(), "{endpoint}");
    Ok(())
}

//! The values: their schema, and combinations that users set.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use environment::repository;
use serde_json::{Value, json};

use super::Shared;

/// A container that meets the restricted Pod Security Standard.
fn container(name: &str) -> Value {
    let security = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    json!({"name": name, "image": "registry.example.com/other", "securityContext": security})
}

/// Values that users set. Together they cover nearly all branches of the templates. One table, so longer than other
/// functions.
pub fn combinations() -> Vec<(&'static str, Value)> {
    let digest = format!("sha256:{}", "0".repeat(64));
    vec![
        ("the defaults", json!({})),
        ("one replica without leader election", json!({"replicas": 1, "leaderElection": {"enabled": false}})),
        ("two namespaces", json!({"watchNamespaces": ["watched", "watched-too"]})),
        (
            "another namespace than that of the release, and settings of a parent chart",
            json!({
                "namespaceOverride": "watched",
                "global": {
                    "imageRegistry": "registry.example.com", "imagePullSecrets": ["registry"], "storageClass": "x",
                },
            }),
        ),
        ("one namespace and a cluster ID", json!({"watchNamespaces": ["watched"], "clusterId": "blue"})),
        (
            "a selector in one namespace, and an event queue",
            json!({
                "watchSelector": "shard in (1,2)", "watchNamespaces": ["watched"],
                "operator": {
                    "eventQueueUrl": "https://sqs.eu-central-1.amazonaws.com/111111111111/peerings",
                    "maxConcurrentReconciles": 0,
                },
            }),
        ),
        (
            "a selector in all namespaces, and admission policies that name the other releases",
            json!({
                "watchSelector": "shard=1", "acknowledgeSharedCredentials": true,
                "admission": {"operators": ["peerings/second", "peerings/third.operator"]},
            }),
        ),
        (
            "own credentials for two namespaces, and the role of the node",
            json!({"operator": {
                "ownCredentialsNamespaces": "watched,watched-too", "ownCredentialsRegions": "eu-central-1,us-west-2",
                "ownCredentialsAllowAdoption": true, "allowNodeRole": true,
                "awsRegion": "cn-north-1", "disableSessionTags": true, "securityGroupWarnings": true,
            }}),
        ),
        (
            "defaults for all resources",
            json!({"aws": {
                "defaultTags": {"team": "network", "cost-center": "4=2"}, "defaultDeletionPolicy": "Retain",
                "region": "eu-central-1",
            }}),
        ),
        (
            "further kinds of references, and the VPC of the cluster",
            json!({"references": {"thisCluster": true, "kinds": [
                {
                    "group": "example.org", "kind": "Network", "resource": "networks", "vpcId": "/status/vpcId",
                    "region": "/spec/region", "ownerId": "/status/ownerId", "readyCondition": "Ready",
                    "clusterScoped": true,
                },
                {"group": "example.org", "kind": "Vpc", "resource": "vpcs", "vpcId": "/status/vpcId"},
            ]}}),
        ),
        (
            "RBAC, service account and CRDs that exist already",
            json!({
                "rbac": {"create": false}, "serviceAccount": {"create": false, "name": "mine"},
                "crds": {"install": false},
            }),
        ),
        (
            "IRSA",
            json!({"serviceAccount": {
                "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::111111111111:role/x"},
            }}),
        ),
        (
            "all monitoring objects",
            json!({"metrics": {
                "service": {"enabled": true, "annotations": {"a": "b"}},
                "serviceMonitor": {
                    "enabled": true, "labels": {"release": "prometheus"}, "namespace": "watched", "sampleLimit": 5000,
                    "relabelings": [{"targetLabel": "x", "replacement": "y"}],
                },
                "podMonitor": {
                    "enabled": true,
                    "metricRelabelings": [{"action": "drop", "sourceLabels": ["region"], "regex": "x"}],
                },
                "prometheusRule": {
                    "enabled": true, "labels": {"release": "prometheus"}, "runbookUrl": "https://example.com/runbook",
                },
                "dashboard": {"enabled": true, "namespace": "watched", "annotations": {"grafana_folder": "AWS"}},
            }}),
        ),
        (
            "metrics over TLS with a self-signed certificate",
            json!({
                "metrics": {"secure": {"enabled": true}, "serviceMonitor": {"enabled": true}},
                "networkPolicy": {"enabled": true},
            }),
        ),
        (
            "metrics over TLS with the certificate of a Secret",
            json!({"metrics": {
                "secure": {"enabled": true, "port": 9443, "certificateSecret": "metrics-tls"},
                "serviceMonitor": {"enabled": true},
                "podMonitor": {
                    "enabled": true, "tlsConfig": {"insecureSkipVerify": true},
                    "authorization": {"credentials": {"name": "scraper", "key": "token"}},
                },
            }}),
        ),
        (
            "a network policy",
            json!({"networkPolicy": {
                "enabled": true,
                "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
                "extraIngress": [{"ports": [{"port": 9000}]}],
                "extraEgress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 4318}]}],
            }}),
        ),
        ("the optional admission policies", json!({"admission": {"deletionProtection": true, "identityUse": true}})),
        (
            "the optional admission policies for two namespaces",
            json!({
                "watchNamespaces": ["watched", "watched-too"],
                "admission": {"deletionProtection": true, "identityUse": true},
            }),
        ),
        ("no admission policy", json!({"admission": {"status": false, "finalizer": false}})),
        (
            "all settings of the pod",
            json!({
                "nameOverride": "peerings",
                "commonLabels": {"team": "network"}, "commonAnnotations": {"owner": "network"},
                "image": {"repository": "registry.example.com/operator", "digest": digest},
                "imagePullSecrets": [{"name": "registry"}],
                "replicas": 3, "podDisruptionBudget": {"minAvailable": "50%"},
                "updateStrategy": {"rollingUpdate": {"maxSurge": 1}},
                "env": [{"name": "AWS_REGION", "value": "eu-central-1"}],
                "envFrom": [{"secretRef": {"name": "aws", "optional": true}}],
                "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
                "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": true}],
                "podLabels": {"a": "b"}, "podAnnotations": {"c": "d"}, "deploymentAnnotations": {"e": "f"},
                "priorityClassName": "system-cluster-critical", "nodeSelector": {"kubernetes.io/os": "linux"},
                "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"}],
                "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "peerings"}},
                }]}},
                "topologySpreadConstraints": [
                    {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"},
                    {
                        "maxSkew": 2, "topologyKey": "x", "whenUnsatisfiable": "ScheduleAnyway",
                        "labelSelector": {"matchLabels": {"a": "b"}},
                    },
                ],
                "operator": {"extraArgs": ["--log-level=debug"], "otlpEndpoint": "http://collector:4318"},
                "dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.10"]},
                "schedulerName": "other", "runtimeClassName": "gvisor",
                "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["ec2.internal"]}],
                "initContainers": [container("first")], "extraContainers": [container("proxy")],
                "extraObjects": [{
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": "{{ .Release.Name }}-extra", "namespace": "{{ .Release.Namespace }}"},
                }],
            }),
        ),
    ]
}

pub async fn lint_reports_nothing(shared: Arc<Shared>) -> Result<()> {
    for (name, values) in combinations() {
        shared.helm.run(&["lint", "--strict"], &values).await.context(name)?;
    }
    Ok(())
}

pub async fn typos_are_rejected(shared: Arc<Shared>) -> Result<()> {
    for (path, values) in [
        ("replica", json!({"replica": 2})),
        ("/image", json!({"image": {"repo": "x"}})),
        ("/metrics/podMonitor", json!({"metrics": {"podMonitor": {"enable": true}}})),
        ("/operator/pollInterval", json!({"operator": {"pollInterval": "60"}})),
        ("/leaderElection/leaseDuration", json!({"leaderElection": {"leaseDuration": "1s"}})),
        ("/replicas", json!({"replicas": "2"})),
        ("/serviceAccount/annotations", json!({"serviceAccount": {"annotations": {"a": 1}}})),
        ("/image/repository", json!({"image": {"repository": "https://registry.example.com/operator"}})),
        ("/global/imageRegistry", json!({"global": {"imageRegistry": 1}})),
        ("/global/imagePullSecrets/0", json!({"global": {"imagePullSecrets": [{"secret": "x"}]}})),
        ("/podDisruptionBudget/minAvailable", json!({"podDisruptionBudget": {"minAvailable": "half"}})),
        ("/namespaceOverride", json!({"namespaceOverride": "Watched"})),
        ("/image/digest", json!({"image": {"digest": "latest"}})),
        ("/identities/partner", json!({"identities": {"partner": {"role": "x"}}})),
        ("/identities/partner/accountId", json!({"identities": {"partner": {"accountId": "1"}}})),
        ("/identities/partner", identity(json!({"allowedVpcIds": ["vpc-0a1b2c3d4e5f67890"]}))),
        ("/identities/partner/allowedNamespaces/all", identity(json!({"allowedNamespaces": {"all": false}}))),
        ("/identities/partner/allowedVpcs/all", identity(json!({"allowedVpcs": {"all": "true"}}))),
        ("/identities/partner/allowedRegions", identity(json!({"allowedRegions": ["us-west-2"]}))),
        (
            "/identities/partner/allowedPeers/list/0",
            identity(json!({"allowedPeers": {"list": [{"account": "111111111111"}]}})),
        ),
        ("/operator/ownCredentialsNamespaces", json!({"operator": {"ownCredentialsNamespaces": ""}})),
        ("/operator/ownCredentialsRegions", json!({"operator": {"ownCredentialsRegions": "*,eu-central-1"}})),
        ("/operator/ownCredentialsAllowAdoption", json!({"operator": {"ownCredentialsAllowAdoption": "yes"}})),
        ("/admission/operators/0", json!({"admission": {"operators": ["system:serviceaccount:peerings:second"]}})),
        ("/operator/otlpEndpoint", json!({"operator": {"otlpEndpoint": "collector:4318"}})),
        ("watchNamespace", json!({"watchNamespace": "watched"})),
        ("/watchNamespaces", json!({"watchNamespaces": "watched"})),
        ("/watchNamespaces/0", json!({"watchNamespaces": ["Watched"]})),
        ("/watchSelector", json!({"watchSelector": {"team": "blue"}})),
        ("/operator/eventQueueUrl", json!({"operator": {"eventQueueUrl": "peerings"}})),
        ("/operator/maxConcurrentReconciles", json!({"operator": {"maxConcurrentReconciles": 65536}})),
    ] {
        let error =
            shared.helm.render(&values).await.err().with_context(|| format!("{values} is accepted"))?.to_string();
        ensure!(error.contains("schema") && error.contains(path), "{values}: {error}");
    }
    Ok(())
}

/// Values with an identity that has these fields in addition to the required ones.
fn identity(spec: Value) -> Value {
    let mut values = json!({"identities": {"partner": {
        "accountId": "222222222222", "roleArn": "arn:aws:iam::222222222222:role/peerings",
    }}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        values["identities"]["partner"][key] = value.clone();
    }
    values
}

pub async fn contradictory_values_are_rejected(shared: Arc<Shared>) -> Result<()> {
    for (values, why) in [
        (json!({"leaderElection": {"enabled": false}}), "replicas > 1 needs leaderElection.enabled"),
        (json!({"watchSelector": "team=blue"}), "watchSelector needs watchNamespaces"),
        (json!({"image": {"repository": ""}}), "image.repository is empty"),
        (json!({"metrics": {"secure": {"enabled": true, "port": 8080}}}), "metrics.secure.port and metrics.port"),
        (
            json!({"metrics": {"secure": {"enabled": true}, "podMonitor": {"enabled": true}}}),
            "metrics.podMonitor needs metrics.podMonitor.authorization",
        ),
    ] {
        let error =
            shared.helm.render(&values).await.err().with_context(|| format!("{values} is accepted"))?.to_string();
        ensure!(error.contains(why), "{error}");
    }
    Ok(())
}

/// Every default value is in the schema, and every value in the schema has a default.
pub async fn the_schema_describes_the_values(_: Arc<Shared>) -> Result<()> {
    let chart = repository().join("charts/vpc-peering-operator");
    let values: Value = serde_saphyr::from_str(&std::fs::read_to_string(chart.join("values.yaml"))?)?;
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(chart.join("values.schema.json"))?)?;
    compare_with_schema(&values, &schema, &schema, "")
}

fn compare_with_schema(values: &Value, schema: &Value, root: &Value, path: &str) -> Result<()> {
    let named = schema["$ref"].as_str().and_then(|name| root.pointer(name.trim_start_matches('#')));
    let schema = named.unwrap_or(schema);
    // A map with arbitrary keys has no properties in the schema.
    let (Some(values), Some(properties)) = (values.as_object(), schema["properties"].as_object()) else {
        return Ok(());
    };
    // A parent chart shares `global` with all its charts.
    ensure!(schema["additionalProperties"] == false || path == "/global", "{path} accepts unknown keys");
    for (key, value) in values {
        let property = properties.get(key).with_context(|| format!("{path}/{key} is not in the schema"))?;
        compare_with_schema(value, property, root, &format!("{path}/{key}"))?;
    }
    // The chart sets no default for every field of a Kubernetes object.
    let is_ours = !path.ends_with("Probe") && path != "/resources" && path != "/updateStrategy";
    let missing = properties.keys().find(|key| is_ours && !values.contains_key(*key));
    ensure!(missing.is_none(), "{path}/{missing:?} has no default");
    Ok(())
}

//! What the chart makes of its values.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use environment::{prepare, repository};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use vpc_peering_operator::api::crd;
use vpc_peering_operator::operator::metrics::DEFINITIONS;

use super::Shared;
use super::helm::{find, parse};

const NAME: &str = "operator-vpc-peering-operator";

/// A container that the restricted Pod Security Standard lets in.
fn container(name: &str) -> Value {
    let security = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    json!({"name": name, "image": "registry.example.com/other", "securityContext": security})
}

/// Values that people set, and nearly all templates' branches with them.
fn combinations() -> Vec<(&'static str, Value)> {
    let digest = format!("sha256:{}", "0".repeat(64));
    vec![
        ("the defaults", json!({})),
        ("one replica, alone", json!({"replicas": 1, "leaderElection": {"enabled": false}})),
        ("two namespaces", json!({"watchNamespaces": ["watched", "watched-too"]})),
        ("one namespace, and a name for the cluster", json!({"watchNamespaces": ["watched"], "clusterId": "blue"})),
        (
            "a share of the resources, and a queue of events",
            json!({
                "watchSelector": "shard in (1,2)", "watchNamespaces": ["watched"],
                "operator": {"eventQueueUrl": "https://sqs.eu-central-1.amazonaws.com/111111111111/peerings", "maxConcurrentReconciles": 0},
            }),
        ),
        (
            "a share of the resources of every namespace, and policies that name the other releases",
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
            }}),
        ),
        (
            "everybody's rights by somebody else",
            json!({
                "rbac": {"create": false}, "serviceAccount": {"create": false, "name": "mine"}, "crds": {"install": false},
            }),
        ),
        (
            "IRSA",
            json!({"serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::111111111111:role/x"}}}),
        ),
        (
            "all of monitoring",
            json!({"metrics": {
                "service": {"enabled": true, "annotations": {"a": "b"}},
                "serviceMonitor": {"enabled": true, "labels": {"release": "prometheus"}, "relabelings": [{"targetLabel": "x", "replacement": "y"}]},
                "podMonitor": {"enabled": true, "metricRelabelings": [{"action": "drop", "sourceLabels": ["region"], "regex": "x"}]},
                "prometheusRule": {"enabled": true, "labels": {"release": "prometheus"}, "runbookUrl": "https://example.com/runbook"},
                "dashboard": {"enabled": true, "namespace": "watched", "annotations": {"grafana_folder": "AWS"}},
            }}),
        ),
        (
            "a policy for the network",
            json!({"networkPolicy": {
                "enabled": true,
                "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            }}),
        ),
        ("the optional admission policies", json!({"admission": {"deletionProtection": true, "identityUse": true}})),
        (
            "the optional admission policies for two namespaces",
            json!({"watchNamespaces": ["watched", "watched-too"], "admission": {"deletionProtection": true, "identityUse": true}}),
        ),
        ("no admission policy", json!({"admission": {"status": false, "finalizer": false}})),
        (
            "everything on the pod",
            json!({
                "nameOverride": "peerings", "commonLabels": {"team": "network"}, "commonAnnotations": {"owner": "network"},
                "image": {"repository": "registry.example.com/operator", "digest": digest},
                "imagePullSecrets": [{"name": "registry"}],
                "replicas": 3, "podDisruptionBudget": {"maxUnavailable": "50%"},
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
                    {"maxSkew": 2, "topologyKey": "x", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"a": "b"}}},
                ],
                "operator": {"extraArgs": ["--log-level=debug"], "otlpEndpoint": "http://collector:4318"},
                "dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.10"]}, "schedulerName": "other", "runtimeClassName": "gvisor",
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

pub async fn lint_finds_nothing(shared: Arc<Shared>) -> Result<()> {
    for (name, values) in combinations() {
        shared.helm.run(&["lint", "--strict"], &values).await.context(name)?;
    }
    Ok(())
}

pub async fn typos_are_refused(shared: Arc<Shared>) -> Result<()> {
    for (path, values) in [
        ("replica", json!({"replica": 2})),
        ("/image", json!({"image": {"repo": "x"}})),
        ("/metrics/podMonitor", json!({"metrics": {"podMonitor": {"enable": true}}})),
        ("/operator/pollInterval", json!({"operator": {"pollInterval": "60"}})),
        ("/leaderElection/leaseDuration", json!({"leaderElection": {"leaseDuration": "1s"}})),
        ("/replicas", json!({"replicas": "2"})),
        ("/serviceAccount/annotations", json!({"serviceAccount": {"annotations": {"a": 1}}})),
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
        let error = shared.helm.render(&values).await.err().with_context(|| format!("{values} is taken"))?.to_string();
        ensure!(error.contains("schema") && error.contains(path), "{values}: {error}");
    }
    Ok(())
}

/// Values with an identity that has these fields in its spec besides.
fn identity(spec: Value) -> Value {
    let mut values = json!({"identities": {"partner": {
        "accountId": "222222222222", "roleArn": "arn:aws:iam::222222222222:role/peerings",
    }}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        values["identities"]["partner"][key] = value.clone();
    }
    values
}

pub async fn what_cannot_work_is_refused(shared: Arc<Shared>) -> Result<()> {
    for (values, why) in [
        (json!({"leaderElection": {"enabled": false}}), "replicas > 1 needs leaderElection.enabled"),
        (json!({"watchSelector": "team=blue"}), "watchSelector needs watchNamespaces"),
    ] {
        let error = shared.helm.render(&values).await.err().with_context(|| format!("{values} is taken"))?.to_string();
        ensure!(error.contains(why), "{error}");
    }
    Ok(())
}

pub async fn every_object_passes_the_api_server(shared: Arc<Shared>) -> Result<()> {
    for (name, values) in combinations() {
        let rendered = shared.helm.run(&["template", "operator"], &values).await.context(name)?;
        let path = shared.control_plane.folder().join("rendered.yaml");
        std::fs::write(&path, rendered)?;
        let path = path.to_string_lossy();
        // A warning is what tells that pods do not pass the restricted Pod Security Standard.
        let arguments = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "--warnings-as-errors"];
        shared.control_plane.kubectl(&[&arguments[..], &["-f", &path]].concat()).await.context(name)?;
    }
    let lax = json!({"securityContext": {"allowPrivilegeEscalation": true}});
    std::fs::write(shared.control_plane.folder().join("lax.yaml"), shared.helm.run(&["template", "x"], &lax).await?)?;
    let path = shared.control_plane.folder().join("lax.yaml");
    let arguments =
        ["apply", "--server-side", "--dry-run=server", "--warnings-as-errors", "-f", &path.to_string_lossy()];
    ensure!(shared.control_plane.kubectl(&arguments).await.is_err(), "nobody warned of a lax security context");
    Ok(())
}

pub async fn crds_are_those_of_the_code(shared: Arc<Shared>) -> Result<()> {
    for keep in [true, false] {
        let rendered = shared.helm.render(&json!({"crds": {"keep": keep}})).await?;
        for crd in crd::all()? {
            let crd = serde_json::to_value(crd)?;
            let name = crd["metadata"]["name"].as_str().context("no name")?.to_owned();
            let mut shown = find(&rendered, "CustomResourceDefinition", &name)?.clone();
            let annotations = shown["metadata"].as_object_mut().and_then(|metadata| metadata.remove("annotations"));
            ensure!(annotations == keep.then(|| json!({"helm.sh/resource-policy": "keep"})), "{annotations:?}");
            let labels = shown["metadata"].as_object_mut().and_then(|metadata| metadata.remove("labels"));
            ensure!(labels.is_some_and(|labels| labels["app.kubernetes.io/managed-by"] == "Helm"));
            ensure!(shown == crd, "{name} has drifted from the code: run `make generate`");
        }
    }
    let without = shared.helm.render(&json!({"crds": {"install": false}})).await?;
    ensure!(without.iter().all(|object| object["kind"] != "CustomResourceDefinition"));
    Ok(())
}

/// The rules of every role that is bound to a service account, as `scope verb group/resource/name`.
fn granted(objects: &[Value], account: &str) -> Result<BTreeSet<String>> {
    let mut grants = BTreeSet::new();
    let bindings =
        objects.iter().filter(|object| object["kind"].as_str().is_some_and(|kind| kind.ends_with("RoleBinding")));
    for binding in bindings {
        let of_account = |subject: &Value| subject["kind"] == "ServiceAccount" && subject["name"] == account;
        ensure!(binding["subjects"].as_array().is_some_and(|all| all.iter().all(of_account)), "{binding} binds others");
        let text = |value: &Value| value.as_str().map(str::to_owned).context("not a text");
        let (kind, name) = (text(&binding["roleRef"]["kind"])?, text(&binding["roleRef"]["name"])?);
        let namespace = &binding["metadata"]["namespace"];
        let is_it = |role: &&Value| {
            role["kind"] == kind.as_str()
                && role["metadata"]["name"] == name.as_str()
                && (kind == "ClusterRole" || role["metadata"]["namespace"] == *namespace)
        };
        let role = objects.iter().find(is_it).with_context(|| format!("no {kind} {name}"))?;
        let scope = if kind == "ClusterRole" { "everywhere" } else { namespace.as_str().context("no namespace")? };
        for rule in role["rules"].as_array().context("no rules")? {
            let list = |key: &str| rule[key].as_array().cloned().unwrap_or_default();
            let names = if rule["resourceNames"].is_null() { vec![json!("*")] } else { list("resourceNames") };
            for (group, resource, name, verb) in
                combined(&list("apiGroups"), &list("resources"), &names, &list("verbs"))
            {
                grants.insert(format!("{scope}: {verb} {group}/{resource}/{name}"));
            }
        }
    }
    Ok(grants)
}

/// Every API group with every resource, name and verb of a rule.
fn combined<'a>(
    groups: &'a [Value],
    resources: &'a [Value],
    names: &'a [Value],
    verbs: &'a [Value],
) -> impl Iterator<Item = (&'a str, &'a str, &'a str, &'a str)> {
    let text = |value: &'a Value| value.as_str().unwrap_or_default();
    groups.iter().flat_map(move |group| {
        resources.iter().flat_map(move |resource| {
            names.iter().flat_map(move |name| {
                verbs.iter().map(move |verb| (text(group), text(resource), text(name), text(verb)))
            })
        })
    })
}

/// What a program of ours writes into a folder is what is committed.
async fn is_committed(mut program: Command, written: &Path, committed: &str, files: &[&str]) -> Result<()> {
    let output = program.output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for file in files {
        let written = std::fs::read_to_string(written.join(file))?;
        let committed = std::fs::read_to_string(repository().join(committed).join(file))?;
        ensure!(written == committed, "{file} has drifted from the chart: run `make generate`");
    }
    Ok(())
}

pub async fn deploy_is_rendered_from_the_chart(shared: Arc<Shared>) -> Result<()> {
    let folder = shared.control_plane.folder().join("deploy");
    let mut render = Command::new(repository().join("deploy/render.sh"));
    render.arg(&folder);
    let files = [
        "base/deployment.yaml",
        "base/rbac.yaml",
        "base/admission.yaml",
        "admission/deletion-protection.yaml",
        "admission/identity-use.yaml",
    ];
    is_committed(render, &folder, "deploy", &files).await
}

pub async fn the_readme_describes_the_values(shared: Arc<Shared>) -> Result<()> {
    let folder = shared.control_plane.folder().join("charts");
    let chart = folder.join("vpc-peering-operator");
    std::fs::create_dir_all(&chart)?;
    let committed = "charts/vpc-peering-operator";
    for file in ["Chart.yaml", "values.yaml", "README.md.gotmpl"] {
        std::fs::copy(repository().join(committed).join(file), chart.join(file))?;
    }
    let mut helm_docs = Command::new(prepare("tests/control-plane/build.sh helm-docs")?.join("helm-docs"));
    helm_docs.current_dir(&folder).args(["--sort-values-order", "file"]);
    is_committed(helm_docs, &chart, committed, &["README.md"]).await
}

/// Every value is in the schema, and every value that the schema describes has its default.
pub async fn the_schema_describes_the_values(_: Arc<Shared>) -> Result<()> {
    let chart = repository().join("charts/vpc-peering-operator");
    let values: Value = serde_saphyr::from_str(&std::fs::read_to_string(chart.join("values.yaml"))?)?;
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(chart.join("values.schema.json"))?)?;
    compare(&values, &schema, &schema, "")
}

fn compare(values: &Value, schema: &Value, root: &Value, path: &str) -> Result<()> {
    let named = schema["$ref"].as_str().and_then(|name| root.pointer(name.trim_start_matches('#')));
    let schema = named.unwrap_or(schema);
    // What takes any key has none of its own.
    let (Some(values), Some(properties)) = (values.as_object(), schema["properties"].as_object()) else {
        return Ok(());
    };
    ensure!(schema["additionalProperties"] == false, "{path} takes typos");
    for (key, value) in values {
        let property = properties.get(key).with_context(|| format!("{path}/{key} is not in the schema"))?;
        compare(value, property, root, &format!("{path}/{key}"))?;
    }
    // Kubernetes' own objects have fields that nobody sets, and Helm's `global` is everybody's.
    let is_ours = !path.ends_with("Probe") && path != "/resources" && path != "/updateStrategy";
    let missing = properties.keys().find(|key| is_ours && !values.contains_key(*key) && *key != "global");
    ensure!(missing.is_none(), "{path}/{missing:?} has no default");
    Ok(())
}

/// A pod of the Deployment is let into a namespace that enforces the restricted Pod Security Standard, and one that is
/// laxer is not.
pub async fn pods_pass_the_restricted_standard(shared: Arc<Shared>) -> Result<()> {
    let file = |name: &str| shared.control_plane.folder().join(name).to_string_lossy().into_owned();
    for (values, passes) in [
        (json!({"serviceAccount": {"create": false}}), true),
        (json!({"serviceAccount": {"create": false}, "securityContext": {"allowPrivilegeEscalation": true}}), false),
        (json!({"serviceAccount": {"create": false}, "podSecurityContext": {"seccompProfile": null}}), false),
    ] {
        let rendered = shared.helm.render(&values).await?;
        let template = &find(&rendered, "Deployment", NAME)?["spec"]["template"];
        let mut pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]});
        pod["metadata"]["name"] = json!("operator");
        // It would be the controller manager that makes it.
        pod["spec"]["serviceAccountName"] = json!("restricted");
        std::fs::write(file("pod.json"), pod.to_string())?;
        let account = ["create", "serviceaccount", "restricted", "--namespace", "install"];
        _ = shared.control_plane.kubectl(&account).await;
        let create = ["create", "--dry-run=server", "--namespace", "install", "-f", &file("pod.json")];
        let answer = shared.control_plane.kubectl(&create).await;
        match (passes, answer) {
            (true, Ok(_)) => {}
            (false, Err(error)) => ensure!(error.to_string().contains("violates PodSecurity"), "{error:#}"),
            (_, answer) => anyhow::bail!("{values}: {answer:?}"),
        }
    }
    Ok(())
}

pub async fn identities_come_from_the_values(shared: Arc<Shared>) -> Result<()> {
    let spec = json!({
        "accountId": "222222222222",
        "roleArn": "arn:aws:iam::222222222222:role/peerings",
        "allowedNamespaces": {"selector": {"matchLabels": {"team": "network"}}},
        "allowedVpcs": {"all": true},
        "allowedRegions": {"list": ["us-west-2"]},
        "allowedPeers": {"list": [{"accountId": "111111111111", "vpcs": {"list": ["vpc-0a1b2c3d4e5f67890"]}}]},
        "allowRoutes": true,
        "allowOptions": false,
        "allowAdoption": false,
    });
    let values = json!({"identities": {"partner": spec, "other": {"accountId": "333333333333", "roleArn": "arn:aws:iam::333333333333:role/x"}}});
    for (arguments, is_known) in
        [(vec![], false), (vec!["--api-versions", "vpcpeering.dev/v1alpha1/AwsIdentity"], true)]
    {
        let rendered = shared.helm.run(&[&["template", "operator"], &arguments[..]].concat(), &values).await?;
        let rendered = parse(&rendered)?;
        find(&rendered, "AwsIdentity", "other")?;
        let identity = find(&rendered, "AwsIdentity", "partner")?;
        ensure!(identity["spec"] == spec && identity["apiVersion"] == "vpcpeering.dev/v1alpha1", "{identity}");
        let metadata = &identity["metadata"];
        ensure!(metadata["namespace"].is_null() && metadata["annotations"]["helm.sh/resource-policy"] == "keep");
        // Where the release brings the kind, Helm cannot know it yet.
        let hook = &metadata["annotations"]["helm.sh/hook"];
        ensure!(hook.is_null() == is_known, "{hook}");
    }
    Ok(())
}

/// The policies name the operator's service account, and match only the namespaces that it reconciles.
pub async fn admission_policies_know_the_operator(shared: Arc<Shared>) -> Result<()> {
    let (two, both) = (json!(["watched", "watched-too"]), ["vpcpeerings", "vpcpeeringaccepters"]);
    let status = ["vpcpeerings/status", "vpcpeeringaccepters/status", "awsidentities/status"];
    for (values, namespaces, kinds) in
        [(json!({}), Value::Null, &status[..]), (json!({"watchNamespaces": two}), two, &status[..2])]
    {
        let mut values = values;
        values["serviceAccount"] = json!({"name": "mine"});
        let rendered = shared.helm.render(&values).await?;
        for (name, resources) in [("finalizer", &both[..]), ("status", kinds)] {
            let name = format!("{NAME}-{name}");
            let policy = find(&rendered, "ValidatingAdmissionPolicy", &name)?;
            let operators = &policy["spec"]["variables"][0]["expression"];
            ensure!(operators == "['system:serviceaccount:install:mine']", "{operators}");
            let matched = &policy["spec"]["matchConstraints"];
            let expected = json!({"key": "kubernetes.io/metadata.name", "operator": "In", "values": namespaces});
            let expected = if namespaces.is_null() { Value::Null } else { json!({"matchExpressions": [expected]}) };
            ensure!(matched["namespaceSelector"] == expected, "{matched}");
            ensure!(matched["resourceRules"][0]["resources"] == json!(resources), "{matched}");
            let binding = find(&rendered, "ValidatingAdmissionPolicyBinding", &name)?;
            ensure!(binding["spec"] == json!({"policyName": name, "validationActions": ["Deny"]}), "{binding}");
        }
    }
    Ok(())
}

/// Other releases write the resources of a release with a selector: its policies name them, or are not there.
pub async fn releases_with_selectors_do_not_stop_each_other(shared: Arc<Shared>) -> Result<()> {
    let namespaced = json!({"watchSelector": "team=blue", "watchNamespaces": ["watched"]});
    let everywhere = json!({"watchSelector": "team=blue", "acknowledgeSharedCredentials": true});
    for mut values in [namespaced, everywhere] {
        let rendered = shared.helm.render(&values).await?;
        let policy = rendered.iter().find(|object| object["kind"] == "ValidatingAdmissionPolicy");
        ensure!(policy.is_none(), "{policy:?}");
        values["admission"] = json!({"operators": ["peerings/red", "install/operator-vpc-peering-operator"]});
        let rendered = shared.helm.render(&values).await?;
        for name in ["finalizer", "status"] {
            let policy = find(&rendered, "ValidatingAdmissionPolicy", &format!("{NAME}-{name}"))?;
            let expected = format!("['system:serviceaccount:install:{NAME}', 'system:serviceaccount:peerings:red']");
            let operators = &policy["spec"]["variables"][0]["expression"];
            ensure!(operators == expected.as_str(), "{operators}");
        }
    }
    Ok(())
}

/// The variables of the operator's container that have a value.
fn variables(rendered: &[Value]) -> Result<BTreeMap<&str, &str>> {
    let container = &find(rendered, "Deployment", NAME)?["spec"]["template"]["spec"]["containers"][0];
    let variables = container["env"].as_array().context("no env")?;
    Ok(variables
        .iter()
        .filter_map(|variable| Some((variable["name"].as_str()?, variable["value"].as_str()?)))
        .collect())
}

pub async fn aws_permissions_are_opened_by_values_alone(shared: Arc<Shared>) -> Result<()> {
    let rendered = shared.helm.render(&json!({})).await?;
    let closed = variables(&rendered)?;
    for (name, expected) in [
        ("OWN_CREDENTIALS_NAMESPACES", Some("none")),
        ("OWN_CREDENTIALS_REGIONS", Some("*")),
        ("OWN_CREDENTIALS_ALLOW_ADOPTION", None),
        ("AWS_EC2_METADATA_DISABLED", Some("true")),
    ] {
        ensure!(closed.get(name).copied() == expected, "{name} is {:?}", closed.get(name));
    }
    let values = json!({
        "ownCredentialsNamespaces": "watched,watched-too", "ownCredentialsRegions": "eu-central-1",
        "ownCredentialsAllowAdoption": true, "allowNodeRole": true,
    });
    let rendered = shared.helm.render(&json!({"operator": values})).await?;
    let open = variables(&rendered)?;
    for (name, expected) in [
        ("OWN_CREDENTIALS_NAMESPACES", Some("watched,watched-too")),
        ("OWN_CREDENTIALS_REGIONS", Some("eu-central-1")),
        ("OWN_CREDENTIALS_ALLOW_ADOPTION", Some("true")),
        ("AWS_EC2_METADATA_DISABLED", None),
    ] {
        ensure!(open.get(name).copied() == expected, "{name} is {:?}", open.get(name));
    }
    Ok(())
}

/// Every right, since a new one must be seen by who reviews it.
pub async fn the_operator_has_these_rights_and_no_other(shared: Arc<Shared>) -> Result<()> {
    let of_resources = |scope: &str| {
        let mut rights = Vec::new();
        for kind in ["vpcpeerings", "vpcpeeringaccepters"] {
            rights.extend(["list", "watch", "patch"].map(|verb| format!("{scope}: {verb} vpcpeering.dev/{kind}/*")));
            rights.push(format!("{scope}: update vpcpeering.dev/{kind}/status/*"));
        }
        rights.extend(["create", "patch"].map(|verb| format!("{scope}: {verb} events.k8s.io/events/*")));
        rights
    };
    let always = [
        "everywhere: list vpcpeering.dev/awsidentities/*",
        "everywhere: watch vpcpeering.dev/awsidentities/*",
        "everywhere: list /namespaces/*",
        "everywhere: watch /namespaces/*",
        "everywhere: get /namespaces/kube-system",
        "install: create coordination.k8s.io/leases/*",
        "install: get coordination.k8s.io/leases/operator-vpc-peering-operator",
        "install: patch coordination.k8s.io/leases/operator-vpc-peering-operator",
    ];
    let identities = "everywhere: patch vpcpeering.dev/awsidentities/status/*";
    let namespaces = ["watched", "watched-too"];
    for (values, expected) in [
        (json!({}), [of_resources("everywhere"), vec![identities.to_owned()]].concat()),
        (json!({"watchNamespaces": namespaces}), namespaces.map(of_resources).concat()),
    ] {
        let rights = granted(&shared.helm.render(&values).await?, NAME)?;
        let expected: BTreeSet<_> = expected.into_iter().chain(always.map(str::to_owned)).collect();
        let difference: Vec<_> = rights.symmetric_difference(&expected).collect();
        ensure!(difference.is_empty(), "{values}: {difference:?}");
    }
    Ok(())
}

pub async fn alerts_ask_for_metrics_that_exist_and_have_a_runbook(shared: Arc<Shared>) -> Result<()> {
    let values = json!({"metrics": {"prometheusRule": {"enabled": true}}});
    let rendered = shared.helm.render(&values).await?;
    let rule = find(&rendered, "PrometheusRule", NAME)?;
    let runbook = std::fs::read_to_string(repository().join("docs/runbook.md"))?;
    let headings: BTreeSet<_> =
        runbook.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_lowercase).collect();
    let mut used = BTreeSet::new();
    let alerts = rule["spec"]["groups"][0]["rules"].as_array().context("no rules")?;
    for alert in alerts {
        let (name, expr) = (alert["alert"].as_str().context("no name")?, alert["expr"].as_str().context("no expr")?);
        let url = alert["annotations"]["runbook_url"].as_str().context("no runbook_url")?;
        let (page, heading) = url.split_once('#').with_context(|| format!("{url} names no heading"))?;
        ensure!(page == "docs/runbook.md" && headings.contains(heading), "{name}: {url} leads nowhere");
        used.insert(heading.to_owned());
        let words = expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let ours = ["vpcpeering_", "controller_runtime_", "leader_election_", "workqueue_"];
        let metrics: BTreeSet<_> = words.filter(|word| ours.iter().any(|prefix| word.starts_with(prefix))).collect();
        ensure!(!metrics.is_empty(), "{name} asks for nothing of ours: {expr}");
        for metric in metrics {
            let row = DEFINITIONS.iter().find(|row| row.name == metric);
            let row = row.with_context(|| format!("{name} asks for {metric}, which does not exist"))?;
            for selector in expr.split(&format!("{metric}{{")).skip(1) {
                for pair in selector.split('}').next().unwrap_or_default().split(',') {
                    let label = pair.split(['=', '!']).next().unwrap_or_default().trim();
                    ensure!(row.labels.contains(&label), "{name}: {metric} has no label {label}");
                }
            }
        }
        ensure!(!expr.contains("LEASE_NAME"), "{name}: {expr}");
    }
    ensure!(used == headings, "not of an alert: {:?}", headings.difference(&used).collect::<Vec<_>>());
    Ok(())
}

pub async fn alerts_fire_when_they_should(shared: Arc<Shared>) -> Result<()> {
    let values = json!({"metrics": {"prometheusRule": {"enabled": true}}});
    let rendered = shared.helm.render(&values).await?;
    let rule = find(&rendered, "PrometheusRule", NAME)?;
    let folder = shared.control_plane.folder();
    // JSON is YAML.
    std::fs::write(folder.join("rules.yaml"), rule["spec"].to_string())?;
    let tests = std::fs::read_to_string(repository().join("tests/chart/alerts.yaml"))?;
    for alert in rule["spec"]["groups"][0]["rules"].as_array().context("no rules")? {
        let name = alert["alert"].as_str().context("no name")?;
        ensure!(tests.contains(&format!("alertname: {name}\n")), "{name} never fires in tests/chart/alerts.yaml");
    }
    std::fs::write(folder.join("alerts.yaml"), tests)?;
    promtool(&shared, &["check", "rules", "--lint-fatal", "rules.yaml"], "").await?;
    promtool(&shared, &["test", "rules", "alerts.yaml"], "").await
}

/// Runs Prometheus' own judge.
pub async fn promtool(shared: &Shared, arguments: &[&str], input: &str) -> Result<()> {
    let mut promtool = Command::new(shared.promtool.join("promtool"))
        .args(arguments)
        .current_dir(shared.control_plane.folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    promtool.stdin.take().context("no standard input")?.write_all(input.as_bytes()).await?;
    let output = promtool.wait_with_output().await?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "promtool {}: {}", arguments.join(" "), String::from_utf8_lossy(&said));
    Ok(())
}

//! The rendered objects: a real API server accepts them, and they contain what the values say.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::values::combinations;
use super::{NAME, Shared};
use environment::helm::{find, parse};

pub async fn the_api_server_accepts_every_object(shared: Arc<Shared>) -> Result<()> {
    for (name, values) in combinations() {
        // A pod needs its service account: another test creates that of `helm test`.
        let rendered = shared.helm.run(&["template", "operator", "--skip-tests"], &values).await.context(name)?;
        let path = shared.control_plane.folder().join("rendered.yaml");
        std::fs::write(&path, rendered)?;
        let path = path.to_string_lossy();
        // The API server only warns of a Deployment whose pods violate the restricted Pod Security Standard.
        let arguments = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "--warnings-as-errors"];
        shared.control_plane.kubectl(&[&arguments[..], &["-f", &path]].concat()).await.context(name)?;
    }
    let lax = json!({"securityContext": {"allowPrivilegeEscalation": true}});
    std::fs::write(
        shared.control_plane.folder().join("lax.yaml"),
        shared.helm.run(&["template", "x", "--skip-tests"], &lax).await?,
    )?;
    let path = shared.control_plane.folder().join("lax.yaml");
    let arguments =
        ["apply", "--server-side", "--dry-run=server", "--warnings-as-errors", "-f", &path.to_string_lossy()];
    ensure!(
        shared.control_plane.kubectl(&arguments).await.is_err(),
        "the API server did not warn of a privileged security context"
    );
    Ok(())
}

/// A namespace that enforces the restricted Pod Security Standard admits a pod of the Deployment, and rejects a pod
/// with more privileges.
pub async fn pods_meet_the_restricted_pod_security_standard(shared: Arc<Shared>) -> Result<()> {
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
        // In a cluster, the controller manager creates the pod. Any service account works for the check.
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

pub async fn identities_are_rendered_from_the_values(shared: Arc<Shared>) -> Result<()> {
    let spec = json!({
        "accountId": "222222222222",
        "roleArn": "arn:aws:iam::222222222222:role/peerings",
        "allowedNamespaces": {"selector": {"matchLabels": {"team": "network"}}},
        "allowedVpcs": {"all": true},
        "allowedRegions": {"list": ["us-west-2"]},
        "allowedPeers": {"list": [{"accountId": "111111111111", "vpcs": {"list": ["vpc-0a1b2c3d4e5f67890"]}}]},
        "allowRoutes": true,
        "allowOptions": false,
        "allowVpcAttributes": false,
        "allowAdoption": false,
    });
    let other = json!({"accountId": "333333333333", "roleArn": "arn:aws:iam::333333333333:role/x"});
    let values = json!({"identities": {"partner": spec, "other": other}});
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
        // If this release installs the CRD, Helm does not know the kind yet, so the object is a hook.
        let hook = &metadata["annotations"]["helm.sh/hook"];
        ensure!(hook.is_null() == is_known, "{hook}");
    }
    Ok(())
}

/// The admission policies name the operator's service account, and match only the namespaces that it reconciles.
pub async fn admission_policies_name_the_operator(shared: Arc<Shared>) -> Result<()> {
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

/// With a selector, other releases reconcile resources in the same namespaces. The admission policies name these
/// releases, or are not rendered.
pub async fn releases_with_selectors_admit_each_other(shared: Arc<Shared>) -> Result<()> {
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

/// `helm test` starts a pod like those of the operator, which runs `check`. The Service and the PodDisruptionBudget do
/// not select it.
pub async fn helm_test_runs_check_as_the_operator(shared: Arc<Shared>) -> Result<()> {
    let values = json!({
        "watchNamespaces": ["watched"], "clusterId": "blue", "metrics": {"service": {"enabled": true}},
        "operator": {"eventQueueUrl": "https://sqs.eu-central-1.amazonaws.com/111111111111/peerings"},
        "env": [{"name": "AWS_REGION", "value": "eu-central-1"}],
    });
    let rendered = shared.helm.render(&values).await?;
    let pod = find(&rendered, "Pod", &format!("{NAME}-check"))?;
    ensure!(pod["metadata"]["annotations"]["helm.sh/hook"] == "test", "{pod}");
    let deployment = &find(&rendered, "Deployment", NAME)?["spec"];
    let operator = &deployment["template"]["spec"];
    let (check, run) = (&pod["spec"]["containers"][0], &operator["containers"][0]);
    ensure!(check["args"] == json!(["check"]) && check["image"] == run["image"], "{check}");
    for field in ["serviceAccountName", "securityContext"] {
        ensure!(pod["spec"][field] == operator[field], "{field}");
    }
    ensure!(check["securityContext"] == run["securityContext"]);
    let all = run["env"].as_array().context("no env")?;
    let url = json!({"name": "OPERATOR_URL", "value": format!("http://{NAME}-metrics.install:8080")});
    for variable in check["env"].as_array().context("no env")? {
        ensure!(all.contains(variable) || *variable == url, "{variable}");
    }
    for name in [
        "LEASE_NAME",
        "LEASE_NAMESPACE",
        "WATCH_NAMESPACE",
        "CLUSTER_ID",
        "EVENT_QUEUE_URL",
        "OPERATOR_URL",
        "AWS_REGION",
    ] {
        ensure!(check["env"].as_array().is_some_and(|env| env.iter().any(|one| one["name"] == name)), "no {name}");
    }
    let selected = &deployment["selector"]["matchLabels"]["app.kubernetes.io/name"];
    ensure!(pod["metadata"]["labels"]["app.kubernetes.io/name"] != *selected, "the selectors match the pod");

    // The namespace enforces the restricted Pod Security Standard. Any service account works for the check.
    let mut pod = pod.clone();
    pod["spec"]["serviceAccountName"] = json!("checker");
    let path = shared.control_plane.folder().join("check.json");
    std::fs::write(&path, pod.to_string())?;
    let control_plane = &shared.control_plane;
    control_plane.kubectl(&["create", "serviceaccount", "checker", "--namespace", "install"]).await?;
    let create = ["create", "--dry-run=server", "--validate=strict", "--namespace", "install", "-f"];
    control_plane.kubectl(&[&create[..], &[&path.to_string_lossy()]].concat()).await.map(drop)
}

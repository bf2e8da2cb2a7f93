//! The permissions that the chart grants to the operator in Kubernetes and in AWS.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vpc_peering_operator::cli::check::rights;

use super::{NAME, Shared};
use environment::helm::find;

/// The complete list of permissions, so that every new permission shows up in a review.
pub async fn the_operator_has_exactly_these_permissions(shared: Arc<Shared>) -> Result<()> {
    let read = |scope: &str, kind: &str| ["get", "list", "watch"].map(|verb| format!("{scope}: {verb} {kind}/*"));
    let resource_permissions = |scope: &str| {
        let mut permissions = Vec::new();
        for kind in ["vpcpeerings", "vpcpeeringaccepters"] {
            permissions
                .extend(["list", "watch", "patch"].map(|verb| format!("{scope}: {verb} vpcpeering.dev/{kind}/*")));
            permissions.push(format!("{scope}: update vpcpeering.dev/{kind}/status/*"));
        }
        permissions.extend(["create", "patch"].map(|verb| format!("{scope}: {verb} events.k8s.io/events/*")));
        let referenced =
            ["ec2.services.k8s.aws/vpcs", "ec2.aws.m.upbound.io/vpcs", "infrastructure.cluster.x-k8s.io/awsclusters"];
        permissions.extend(referenced.map(|kind| read(scope, kind)).into_iter().flatten());
        permissions
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
    let everywhere = [resource_permissions("everywhere"), vec![identities.to_owned()]].concat();
    let reviews = ["authentication.k8s.io/tokenreviews", "authorization.k8s.io/subjectaccessreviews"]
        .map(|review| format!("everywhere: create {review}/*"));
    let kinds = json!([
        {"group": "example.org", "kind": "Network", "resource": "networks", "vpcId": "/a", "clusterScoped": true},
        {"group": "example.org", "kind": "Vpc", "resource": "vpcs", "vpcId": "/a"},
    ]);
    let further = [read("watched", "example.org/vpcs"), read("everywhere", "example.org/networks")].concat();
    let with_kinds = json!({"watchNamespaces": ["watched"], "references": {"thisCluster": true, "kinds": kinds}});
    let nodes = vec!["everywhere: list /nodes/*".to_owned()];
    for (values, expected) in [
        (json!({}), everywhere.clone()),
        (with_kinds, [resource_permissions("watched"), further, nodes].concat()),
        (json!({"metrics": {"secure": {"enabled": true}}}), [everywhere, reviews.to_vec()].concat()),
        (json!({"watchNamespaces": namespaces}), namespaces.map(resource_permissions).concat()),
    ] {
        let permissions = granted(&shared.helm.render(&values).await?, NAME)?;
        let always = always
            .iter()
            .map(|permission| (*permission).to_owned())
            .chain(read("everywhere", "ec2.aws.upbound.io/vpcs"));
        let expected: BTreeSet<_> = expected.into_iter().chain(always).collect();
        let difference: Vec<_> = permissions.symmetric_difference(&expected).collect();
        ensure!(difference.is_empty(), "{values}: {difference:?}");
    }
    // The operator rejects unknown fields.
    let rendered = shared.helm.render(&json!({"references": {"kinds": kinds}})).await?;
    let told: Value = serde_json::from_str(variables(&rendered)?.get("REFERENCE_KINDS").context("no kinds")?)?;
    let of =
        |kind: &str, resource: &str| json!({"group": "example.org", "kind": kind, "resource": resource, "vpcId": "/a"});
    ensure!(told == json!([of("Network", "networks"), of("Vpc", "vpcs")]), "{told}");
    Ok(())
}

/// `vpc-peering-operator check` asks for each right that the chart grants, and for no other.
pub async fn check_asks_for_exactly_the_granted_rights(shared: Arc<Shared>) -> Result<()> {
    let (lease, secure) = (Some(("install", NAME)), json!({"metrics": {"secure": {"enabled": true}}}));
    for (values, watched, lease, secure_metrics) in [
        (json!({}), &[][..], lease, false),
        (json!({"watchNamespaces": ["watched", "watched-too"]}), &["watched", "watched-too"], lease, false),
        (json!({"replicas": 1, "leaderElection": {"enabled": false}}), &[], None, false),
        (secure, &[], lease, true),
    ] {
        let granted = granted(&shared.helm.render(&values).await?, NAME)?;
        let asked: BTreeSet<_> = rights::listed(watched, lease, secure_metrics).into_iter().collect();
        let difference: Vec<_> = granted.symmetric_difference(&asked).collect();
        ensure!(difference.is_empty(), "{values}: src/cli/check/rights.rs and the chart differ: {difference:?}");
    }
    Ok(())
}

/// The permissions of a service account from all its role bindings, as `SCOPE: VERB GROUP/RESOURCE/NAME`.
fn granted(objects: &[Value], account: &str) -> Result<BTreeSet<String>> {
    let mut grants = BTreeSet::new();
    let bindings =
        objects.iter().filter(|object| object["kind"].as_str().is_some_and(|kind| kind.ends_with("RoleBinding")));
    for binding in bindings {
        let of_account = |subject: &Value| subject["kind"] == "ServiceAccount" && subject["name"] == account;
        ensure!(
            binding["subjects"].as_array().is_some_and(|all| all.iter().all(of_account)),
            "{binding} has other subjects"
        );
        let text = |value: &Value| value.as_str().map(str::to_owned).context("not a string");
        let (kind, name) = (text(&binding["roleRef"]["kind"])?, text(&binding["roleRef"]["name"])?);
        let namespace = &binding["metadata"]["namespace"];
        let is_bound = |role: &&Value| {
            role["kind"] == kind.as_str()
                && role["metadata"]["name"] == name.as_str()
                && (kind == "ClusterRole" || role["metadata"]["namespace"] == *namespace)
        };
        let role = objects.iter().find(is_bound).with_context(|| format!("no {kind} {name}"))?;
        let scope = if kind == "ClusterRole" { "everywhere" } else { namespace.as_str().context("no namespace")? };
        for rule in role["rules"].as_array().context("no rules")? {
            let values = |key: &str| rule[key].as_array().cloned().unwrap_or_default();
            let names = if rule["resourceNames"].is_null() { vec![json!("*")] } else { values("resourceNames") };
            for (group, resource, name, verb) in
                combinations(&values("apiGroups"), &values("resources"), &names, &values("verbs"))
            {
                grants.insert(format!("{scope}: {verb} {group}/{resource}/{name}"));
            }
        }
    }
    Ok(grants)
}

/// Every combination of API group, resource, name and verb of a rule.
fn combinations<'a>(
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

pub async fn the_operator_may_use_aws_only_as_the_values_say(shared: Arc<Shared>) -> Result<()> {
    let rendered = shared.helm.render(&json!({})).await?;
    let defaults = variables(&rendered)?;
    for (name, expected) in [
        ("OWN_CREDENTIALS_NAMESPACES", Some("none")),
        ("OWN_CREDENTIALS_REGIONS", Some("*")),
        ("OWN_CREDENTIALS_ALLOW_ADOPTION", None),
        ("AWS_EC2_METADATA_DISABLED", Some("true")),
        ("AWS_REGION", None),
        ("DISABLE_SESSION_TAGS", None),
        ("SECURITY_GROUP_WARNINGS", None),
    ] {
        ensure!(defaults.get(name).copied() == expected, "{name} is {:?}", defaults.get(name));
    }
    let values = json!({
        "ownCredentialsNamespaces": "watched,watched-too", "ownCredentialsRegions": "eu-central-1",
        "ownCredentialsAllowAdoption": true, "allowNodeRole": true, "awsRegion": "eu-central-1",
        "disableSessionTags": true, "securityGroupWarnings": true,
    });
    let rendered = shared.helm.render(&json!({"operator": values})).await?;
    let configured = variables(&rendered)?;
    for (name, expected) in [
        ("OWN_CREDENTIALS_NAMESPACES", Some("watched,watched-too")),
        ("OWN_CREDENTIALS_REGIONS", Some("eu-central-1")),
        ("OWN_CREDENTIALS_ALLOW_ADOPTION", Some("true")),
        ("AWS_EC2_METADATA_DISABLED", None),
        ("AWS_REGION", Some("eu-central-1")),
        ("DISABLE_SESSION_TAGS", Some("true")),
        ("SECURITY_GROUP_WARNINGS", Some("true")),
    ] {
        ensure!(configured.get(name).copied() == expected, "{name} is {:?}", configured.get(name));
    }
    Ok(())
}

/// The environment variables of the operator's container that have a value.
fn variables(rendered: &[Value]) -> Result<BTreeMap<&str, &str>> {
    let container = &find(rendered, "Deployment", NAME)?["spec"]["template"]["spec"]["containers"][0];
    let variables = container["env"].as_array().context("no env")?;
    Ok(variables
        .iter()
        .filter_map(|variable| Some((variable["name"].as_str()?, variable["value"].as_str()?)))
        .collect())
}

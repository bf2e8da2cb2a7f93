//! The manifests in `deploy/` beside its base: overlays, and examples for GitOps tools.

use anyhow::{Context, Result, ensure};
use environment::{prepare, repository};

use super::world::{Cloud, World};

/// The folders under `deploy/` that can be applied on their own.
const KUSTOMIZATIONS: [&str; 9] = [
    "deploy",
    "deploy/admission",
    "deploy/overlays/dev",
    "deploy/overlays/irsa",
    "deploy/overlays/namespaced",
    "deploy/overlays/pod-identity",
    "deploy/argocd/example",
    "deploy/flux",
    "deploy/flux/operator",
];

const FILES: [&str; 6] = [
    "deploy/flux/partners",
    "deploy/flux/peerings",
    "deploy/argocd/example/application.yaml",
    "deploy/examples/same-account.yaml",
    "deploy/examples/cross-account.yaml",
    "deploy/examples/accepter.yaml",
];

/// The API server has the CRDs of Argo CD and Flux, and enforces the restricted Pod Security Standard.
pub async fn the_api_server_accepts_every_overlay_and_example(world: World) -> Result<()> {
    let control_plane = &world.shared.with_own_control_plane().await?.control_plane;
    let schemas = prepare("tests/control-plane/build.sh gitops-crds")?;
    control_plane.kubectl(&["apply", "--server-side", "-f", &schemas.to_string_lossy()]).await?;
    control_plane.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).await?;
    for namespace in ["argocd", "flux-system", "team-a"] {
        control_plane.kubectl(&["create", "namespace", namespace]).await?;
    }
    let apply = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "--validate=strict",
        "--warnings-as-errors",
    ];
    for folder in KUSTOMIZATIONS {
        let path = repository().join(folder);
        let path = path.to_string_lossy();
        control_plane.kubectl(&[&apply[..], &["-k", &path]].concat()).await.context(folder)?;
    }
    for file in FILES {
        let path = repository().join(file);
        control_plane.kubectl(&[&apply[..], &["-f", &path.to_string_lossy()]].concat()).await.context(file)?;
    }

    let rendered = async |folder: &str| {
        let path = repository().join(folder);
        control_plane.kubectl(&["kustomize", &path.to_string_lossy()]).await
    };
    let irsa = rendered("deploy/argocd/example").await?;
    ensure!(irsa.contains("eks.amazonaws.com/role-arn: arn:"), "the sync waves dropped the role:\n{irsa}");
    let objects: Vec<serde_json::Value> = serde_saphyr::from_multiple(&irsa)?;
    for object in &objects {
        let wave = object["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"].as_str();
        let wave: i32 = wave.with_context(|| format!("no sync wave: {object}"))?.parse()?;
        let expected = match object["kind"].as_str().context("no kind")? {
            "Deployment" => -1..=-1,
            "AwsIdentity" => 0..=0,
            "VpcPeering" => 1..=2,
            _ => -2..=-2,
        };
        ensure!(expected.contains(&wave), "{wave}: {object}");
    }
    let metadata = |value: &str| format!("name: AWS_EC2_METADATA_DISABLED\n          value: \"{value}\"\n");
    for folder in KUSTOMIZATIONS.iter().filter(|folder| folder.starts_with("deploy/overlays/")) {
        ensure!(rendered(folder).await?.contains(&metadata("true")), "{folder} allows the role of the node");
    }
    // kustomize accepts only relative paths.
    let folder = control_plane.folder().join("node-role");
    std::fs::create_dir(&folder)?;
    let root = "../".repeat(folder.components().count() - 1);
    let deploy = repository().canonicalize()?.join("deploy");
    let path = |name: &str| format!("{root}{}", deploy.join(name).display().to_string().trim_start_matches('/'));
    let kustomization = serde_json::json!({"resources": [path("base")], "components": [path("components/node-role")]});
    std::fs::write(folder.join("kustomization.yaml"), kustomization.to_string())?;
    let with_node = control_plane.kubectl(&["kustomize", &folder.to_string_lossy()]).await?;
    ensure!(with_node.contains(&metadata("false")), "the component node-role has no effect");
    Ok(())
}

/// A sender account can only forward EC2's events by a rule. It cannot send events of its own.
pub async fn the_event_bus_accepts_only_events_that_a_rule_forwards(_: World) -> Result<()> {
    let text = std::fs::read_to_string(repository().join("deploy/events/queue.yaml"))?;
    let template: serde_json::Value = serde_saphyr::from_str(&text)?;
    let senders = &template["Resources"]["Senders"]["Properties"]["Statement"];
    ensure!(senders["Action"] == "events:PutEvents" && senders["Effect"] == "Allow", "{senders}");
    let expected = serde_json::json!({
        "StringEquals": {
            "events:eventBusInvocation": "true",
            "events:detail-type": "AWS API Call via CloudTrail",
        },
        "ForAllValues:StringEquals": {"events:source": "aws.ec2"},
        "Null": {"events:source": "false"},
    });
    ensure!(senders["Condition"] == expected, "{senders}");
    Ok(())
}

pub async fn the_rights_of_a_namespaced_operator_suffice_and_end_there(world: World) -> Result<()> {
    let world = World::new(world.shared.with_own_control_plane().await?, &world.namespace, Cloud::Simulator).await?;
    let kubectl = async |arguments: &[&str]| world.shared.control_plane.kubectl(arguments).await;
    let overlay = repository().join("deploy/overlays/namespaced");
    let rendered = kubectl(&["kustomize", &overlay.to_string_lossy()]).await?;
    ensure!(rendered.contains("value: team-a"), "the operator watches every namespace:\n{rendered}");
    let objects: Vec<serde_json::Value> = serde_saphyr::from_multiple(&rendered)?;
    let named = |kind: &str| {
        objects.iter().any(|object| object["kind"] == kind && object["metadata"]["name"] == "vpc-peering-operator")
    };
    ensure!(named("RoleBinding") && !named("ClusterRoleBinding"), "{rendered}");
    let path = world.shared.control_plane.folder().join("namespaced.yaml");
    std::fs::write(&path, rendered.replace("team-a", &world.namespace))?;
    // The test's control plane already has the cluster-wide binding of the base.
    kubectl(&["delete", "clusterrolebinding", "vpc-peering-operator"]).await?;
    kubectl(&["apply", "--server-side", "-f", &path.to_string_lossy()]).await?;

    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    world.until_events(&["Active"]).await?;
    world.delete().await?;
    world.until_gone().await?;
    let operator = "--as=system:serviceaccount:vpc-peering-system:vpc-peering-operator";
    let refusal = kubectl(&["get", "vpcpeerings", "--namespace=default", operator]).await.err();
    let refusal = refusal.context("the operator may read resources of another namespace")?;
    ensure!(refusal.to_string().contains("Forbidden"), "{refusal}");
    Ok(())
}

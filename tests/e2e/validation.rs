//! Validation and defaults in the API server.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::world::{Cloud, World};

/// This test is long because it is a table of invalid values and messages.
pub async fn every_schema_rule_rejects_with_a_readable_message(world: World) -> Result<()> {
    let tags = |tags: Value| json!({"tags": tags});
    let many: Vec<Value> = (0..37).map(|n| json!({"key": format!("k{n}"), "value": ""})).collect();
    let own = &world.requester;
    let refused_at_creation = [
        (json!({"accepter": {"vpcId": own}}), "a VPC cannot be peered with itself"),
        (json!({"accepter": {"vpcId": "subnet-1"}}), "spec.accepter.vpcId"),
        (json!({"accepter": {"vpcId": "vpc-00000000", "ownerId": "12345"}}), "spec.accepter.ownerId"),
        (json!({"accepter": {"vpcId": "vpc-00000000", "region": "Frankfurt"}}), "spec.accepter.region"),
        (json!({"requester": {"vpcId": own, "region": ""}}), "spec.requester.region"),
        (
            json!({"accepter": {"region": "eu-west-1"}}),
            "set exactly one of vpcId, vpcSelector and vpcRef to select the VPC",
        ),
        (
            json!({"accepter": {"vpcId": "vpc-00000000", "vpcSelector": {"tags": {"a": "b"}}}}),
            "set exactly one of vpcId, vpcSelector and vpcRef to select the VPC",
        ),
        (json!({"accepter": {"vpcSelector": {"tags": {}}}}), "at least 1 properties"),
        (
            json!({"accepter": {"vpcId": "vpc-00000000", "identityRef": {"name": "arn:aws:iam::1:role/x"}}}),
            "identityRef",
        ),
        (
            json!({"accepter": {"vpcId": "vpc-00000000", "routes": {"routeTables": {"all": true, "main": true}}}}),
            "set exactly one of all: true, main: true, ids, tags, subnetIds and subnetTags",
        ),
        (
            json!({"accepter": {"vpcId": "vpc-00000000", "routes": {"routeTables": {"ids": []}}}}),
            "spec.accepter.routes.routeTables.ids",
        ),
        (
            json!({"accepter": {
                "vpcId": "vpc-00000000", "routes": {"routeTables": {"all": true}, "destinationCidrBlocks": ["x"]},
            }}),
            "destinationCidrBlocks must be CIDR blocks",
        ),
        (
            json!({"accepter": {
                "vpcId": "vpc-00000000", "routes": {"routeTables": {"all": true}, "excludeCidrBlocks": ["x"]},
            }}),
            "excludeCidrBlocks must be CIDR blocks",
        ),
        (
            json!({"accepter": {"vpcId": "vpc-00000000", "routes": {"routeTables": {"all": true, "exclude": {}}}}}),
            "set ids, tags or both to exclude route tables",
        ),
        (
            json!({"accepter": {"vpcSelector": {"tags": {"k".repeat(128): "b"}}}}),
            "spec.accepter.vpcSelector.tags: Invalid value: a tag key must have at most 127 characters",
        ),
        (
            json!({"accepter": {"vpcId": "vpc-00000000", "routes": {"routeTables": {"tags": {"k".repeat(128): "b"}}}}}),
            "spec.accepter.routes.routeTables.tags: Invalid value: a tag key must have at most 127 characters",
        ),
        (json!({"acceptance": "Perhaps"}), "supported values: \"Auto\", \"Manual\""),
        (json!({"managementPolicy": "None"}), "supported values: \"Full\", \"Observe\""),
        (json!({"vpcPeeringConnectionId": "pcx-1"}), "spec.vpcPeeringConnectionId"),
        (json!({"recreateOn": ["Active"]}), "supported values: \"Expired\", \"Deleted\", \"Rejected\", \"Failed\""),
        (json!({"recreateOn": ["Failed", "Failed"]}), "duplicate"),
        (
            json!({"recreateOn": ["Failed"], "vpcPeeringConnectionId": "pcx-00000000"}),
            "recreateOn cannot be set together with vpcPeeringConnectionId",
        ),
        (json!({"deletionPolicy": "Orphan"}), "supported values: \"Delete\", \"Retain\""),
        (tags(json!([{"key": "aws:x", "value": ""}])), "AWS reserves tag keys that start with 'aws:'"),
        (tags(json!([{"key": "AWS:x", "value": ""}])), "AWS reserves tag keys that start with 'aws:'"),
        (tags(json!([{"key": "vpcpeering.dev/uid", "value": ""}])), "record who owns a peering"),
        (tags(json!([{"key": "VpcPeering.dev/Namespace", "value": ""}])), "record who owns a peering"),
        (tags(json!([{"key": "", "value": ""}])), "spec.tags[0].key"),
        (tags(json!([{"key": "k".repeat(128), "value": ""}])), "may not be more than 127"),
        (tags(json!([{"key": "k", "value": "v".repeat(257)}])), "may not be more than 256"),
        (tags(json!([{"key": "k", "value": "1"}, {"key": "k", "value": "2"}])), "duplicate"),
        (tags(json!(many)), "must have at most 36 items"),
    ];
    for (spec, expected) in refused_at_creation {
        let manifest = world.manifest_with(spec.clone());
        let refusal = world.apply(&manifest).await.err().with_context(|| format!("{spec} is not refused"))?.to_string();
        ensure!(refusal.contains(expected), "{spec} is refused with {refusal}");
    }

    let other = "vpc-00000000";
    let owner = "222222222222";
    let refused_later = [
        (
            json!({}),
            json!({"requester": {"vpcId": other, "region": "eu-central-1"}}),
            "spec.requester.vpcId: Invalid value: \"vpc-00000000\": vpcId cannot be changed",
        ),
        (json!({}), json!({"requester": {"vpcId": own, "region": "eu-west-1"}}), "region cannot be changed"),
        (json!({}), json!({"accepter": {"vpcId": other}}), "vpcId cannot be changed"),
        (
            json!({}),
            json!({"accepter": {"vpcId": null, "vpcSelector": {"tags": {"a": "b"}}}}),
            "cannot be added or removed",
        ),
        (json!({}), json!({"accepter": {"vpcId": world.accepter, "ownerId": owner}}), "cannot be added or removed"),
        (
            json!({}),
            json!({"accepter": {"vpcId": world.accepter, "region": "eu-west-1"}}),
            "cannot be added or removed",
        ),
        (
            json!({"accepter": {"vpcSelector": {"tags": {"a": "b"}}}}),
            json!({"accepter": {"vpcSelector": {"tags": {"a": "c"}}}}),
            "vpcSelector cannot be changed",
        ),
        (json!({}), json!({"vpcPeeringConnectionId": "pcx-00000000"}), "cannot be added or removed"),
        (
            json!({"vpcPeeringConnectionId": "pcx-00000000"}),
            json!({"vpcPeeringConnectionId": null}),
            "vpcPeeringConnectionId cannot be added or removed",
        ),
        (
            json!({"vpcPeeringConnectionId": "pcx-00000000"}),
            json!({"vpcPeeringConnectionId": "pcx-00000001"}),
            "vpcPeeringConnectionId cannot be changed",
        ),
        (
            json!({"accepter": {"vpcId": world.accepter, "ownerId": owner}}),
            json!({"accepter": {"vpcId": world.accepter, "ownerId": null}}),
            "cannot be added or removed",
        ),
        (
            json!({"accepter": {"vpcId": world.accepter, "ownerId": owner}}),
            json!({"accepter": {"vpcId": world.accepter, "ownerId": "333333333333"}}),
            "ownerId cannot be changed",
        ),
        (
            json!({"accepter": {"vpcId": world.accepter, "region": "eu-west-1"}}),
            json!({"accepter": {"vpcId": world.accepter, "region": "eu-west-2"}}),
            "spec.accepter.region: Invalid value: \"eu-west-2\": region cannot be changed",
        ),
    ];
    for (before, after, expected) in refused_later {
        world.apply(&world.manifest_with(before.clone())).await?;
        let patch = kube::api::Patch::Merge(json!({"spec": after}));
        let refusal = world.api().patch("peering", &Default::default(), &patch).await;
        let refusal = refusal.err().with_context(|| format!("{before} → {after} is not refused"))?.to_string();
        ensure!(refusal.contains(expected), "{before} → {after} is refused with {refusal}");
        world.delete().await?;
    }
    Ok(())
}

pub async fn defaults_are_visible(world: World) -> Result<()> {
    world.apply(&world.manifest()).await?;
    let stored = world
        .shared
        .control_plane
        .kubectl(&["get", "pcx", "peering", "--namespace", &world.namespace, "-o", "json"])
        .await?;
    let stored: Value = serde_json::from_str(&stored)?;
    let spec = &stored["spec"];
    ensure!(spec["acceptance"] == "Auto" && spec["deletionPolicy"].is_null() && spec["dryRun"] == false, "{spec}");
    Ok(())
}

pub async fn the_optional_admission_policies_are_enforced(world: World) -> Result<()> {
    let world = World::new(world.shared.with_own_control_plane().await?, &world.namespace, Cloud::Simulator).await?;
    let policies = environment::repository().join("deploy/admission");
    world.shared.control_plane.kubectl(&["apply", "-k", &policies.to_string_lossy()]).await?;
    let _operator = world.operator.start().await?;
    let mut manifest = world.manifest();
    manifest["metadata"]["annotations"] = json!({"vpcpeering.dev/deletion-protection": "true"});
    world.apply(&manifest).await?;
    world.until_ready().await?;
    let parameters = DeleteParams { dry_run: true, ..DeleteParams::default() };
    environment::eventually("the policies are in force", Duration::from_secs(60), async || {
        let refusal = world.api().delete("peering", &parameters).await.err().context("deletion is not refused")?;
        ensure!(refusal.to_string().contains("vpcpeering.dev/deletion-protection"), "{refusal}");
        Ok(())
    })
    .await?;
    let refusal = world.patch(json!({"metadata": {"finalizers": null}})).await.err();
    let refusal = refusal.context("a user can remove the finalizer")?;
    ensure!(format!("{refusal:#}").contains("only the operator removes the finalizer"), "{refusal:#}");
    check_identity_use(&world).await?;
    world.patch(json!({"metadata": {"annotations": {"vpcpeering.dev/deletion-protection": null}}})).await?;
    world.delete().await?;
    world.until_gone().await?;
    ensure!(world.live_peerings().await?.is_empty());
    Ok(())
}

async fn check_identity_use(world: &World) -> Result<()> {
    let kubectl = async |arguments: &[&str]| world.shared.control_plane.kubectl(arguments).await;
    let namespace = ["--namespace", world.namespace.as_str()];
    let identity =
        world.apply_identity(super::world::OTHER_ACCOUNT, json!({"allowedNamespaces": {"all": true}})).await?;
    let role = ["create", "role", "editor", "--verb=get,create,patch,update", "--resource=vpcpeerings.vpcpeering.dev"];
    kubectl(&[&role[..], &namespace[..]].concat()).await?;
    let binding = ["create", "rolebinding", "editor", "--role=editor", "--user=alice"];
    kubectl(&[&binding[..], &namespace[..]].concat()).await?;
    let apply = async |name: &str, identity: Option<&str>| {
        let mut manifest = world.with_name(name).manifest();
        if let Some(identity) = identity {
            manifest["spec"]["accepter"]["identityRef"] = json!({"name": identity});
        }
        let file = world.shared.control_plane.folder().join(format!("{name}.json"));
        std::fs::write(&file, manifest.to_string())?;
        kubectl(&["apply", "--as=alice", "--server-side", "-f", &file.to_string_lossy()]).await
    };
    apply("own", None).await?;
    for name in ["own", "new"] {
        let refusal = apply(name, Some(&identity)).await.err().context("she may use it")?.to_string();
        ensure!(refusal.contains(&format!("alice may not use the AwsIdentity {identity}")), "{refusal}");
    }
    // `kubectl create role` accepts only the usual verbs.
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "user"},
        "rules": [{
            "apiGroups": ["vpcpeering.dev"],
            "resources": ["awsidentities"],
            "resourceNames": [identity],
            "verbs": ["use"],
        }],
    });
    let file = world.shared.control_plane.folder().join("user.json");
    std::fs::write(&file, role.to_string())?;
    kubectl(&["apply", "--server-side", "-f", &file.to_string_lossy()]).await?;
    kubectl(&["create", "clusterrolebinding", "user", "--clusterrole=user", "--user=alice"]).await?;
    environment::eventually("she may use it", Duration::from_secs(10), async || apply("own", Some(&identity)).await)
        .await?;
    world.with_name("own").delete().await
}

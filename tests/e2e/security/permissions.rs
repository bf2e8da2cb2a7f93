//! Actions that no permission allows.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vpc_peering_operator::api::VpcPeering;

use super::LONG_ENOUGH;
use crate::both_ends::BothEnds;
use crate::iam;
use crate::routes::through_peerings;
use crate::world::{OTHER_ACCOUNT, World, condition};

/// Without flags, no namespace may use the operator's own credentials, and no resource may adopt a connection.
pub async fn the_defaults_permit_nothing(world: World) -> Result<()> {
    let operator =
        world.operator.clone().without("OWN_CREDENTIALS_NAMESPACES").without("OWN_CREDENTIALS_ALLOW_ADOPTION");
    let running = operator.start().await?;
    world.clear_journal().await?;
    world.apply(&world.manifest()).await?;
    let object = world.until_stalled("IdentityNotAllowed").await?;
    let message = &condition(&object, "Ready").context("no Ready")?.message;
    ensure!(message.contains("--own-credentials-namespaces") && message.contains(&world.namespace), "{message}");
    world.delete().await?;
    world.until_gone().await?;
    running.kill().await?;

    let _operator = operator.with("OWN_CREDENTIALS_NAMESPACES", &world.namespace).start().await?;
    world.apply(&world.manifest_with(json!({"vpcPeeringConnectionId": "pcx-0123456789abcdef0"}))).await?;
    let object = world.until_stalled("ActionNotAllowed").await?;
    let message = &condition(&object, "Ready").context("no Ready")?.message;
    ensure!(message.contains("spec.vpcPeeringConnectionId") && message.contains("allowAdoption"), "{message}");
    tokio::time::sleep(LONG_ENOUGH).await;
    ensure!(world.ec2_calls().await? == 0, "the operator called EC2");
    world.delete().await?;
    world.until_gone().await
}

/// The operator makes no AWS call for an account, VPC or region that an identity does not list.
pub async fn an_identity_limits_both_ends(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let namespaces = json!({"list": [world.namespace]});
    let peer = |account: &str, vpcs: Value| json!({"list": [{"accountId": account, "vpcs": vpcs}]});
    let all = json!({"all": true});
    let rows = [
        (json!({"allowedPeers": peer("999999999999", all.clone())}), "PeerNotAllowed", "allowedPeers"),
        (
            json!({"allowedPeers": peer(OTHER_ACCOUNT, json!({"list": ["vpc-00000000"]}))}),
            "PeerNotAllowed",
            "allowedPeers",
        ),
        (json!({"allowedPeers": {"list": []}}), "PeerNotAllowed", "allowedPeers"),
        (json!({"allowedPeers": null}), "PeerNotAllowed", "allowedPeers"),
        (json!({"allowedRegions": {"list": ["us-west-2"]}}), "RegionNotAllowed", "allowedRegions"),
        (json!({"allowedRegions": null}), "RegionNotAllowed", "allowedRegions"),
        (json!({"allowedVpcs": {"list": ["vpc-00000000"]}}), "VpcNotAllowed", "allowedVpcs"),
        (json!({"allowedVpcs": null}), "VpcNotAllowed", "allowedVpcs"),
    ];
    let own = format!("{}-own", world.namespace);
    for (limits, reason, named) in rows {
        let mut spec = limits.clone();
        spec["allowedNamespaces"] = namespaces.clone();
        world.apply_identity_named(&own, "111111111111", spec).await?;
        world.clear_journal().await?;
        let mut manifest = world.manifest();
        manifest["spec"]["requester"]["identityRef"] = json!({"name": own});
        manifest["spec"]["accepter"]["ownerId"] = json!(OTHER_ACCOUNT);
        world.apply(&manifest).await?;
        let object = world.until_stalled(reason).await.with_context(|| limits.to_string())?;
        let message = &condition(&object, "Ready").context("no Ready")?.message;
        ensure!(message.contains(named) && message.contains(&own), "{message}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        ensure!(world.ec2_calls().await? == 0, "{limits}: the operator called EC2");
        world.delete().await?;
        world.until_gone().await?;
    }
    // A region that does not exist is allowed only by a list that names it.
    world.apply_identity_named(&own, "111111111111", json!({"allowedNamespaces": namespaces})).await?;
    let mut manifest = world.manifest();
    manifest["spec"]["requester"] =
        json!({"vpcId": world.requester, "region": "eu-nowhere-1", "identityRef": {"name": own}});
    world.apply(&manifest).await?;
    world.until_stalled("RegionNotAllowed").await?;
    Ok(())
}

/// Without `allowRoutes`, the operator creates no routes and does everything else.
pub async fn routes_need_a_permission(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let mut ends = BothEnds::far_apart(&world).await?;
    let namespaces = json!({"list": [world.namespace]});
    world.apply_identity(OTHER_ACCOUNT, json!({"allowedNamespaces": namespaces, "allowRoutes": false})).await?;
    for end in ["requester", "accepter"] {
        ends.manifest["spec"][end]["routes"] = json!({"routeTables": {"main": true}});
    }
    ends.apply().await?;
    let object = world.until_stalled("ActionNotAllowed").await?;
    let told = condition(&object, "RoutesReady").context("no RoutesReady")?;
    ensure!(told.status == "False" && told.message.contains("spec.accepter.routes"), "{told:?}");
    ensure!(through_peerings(&world.ec2, &ends.world.requester).await?.len() == 1);
    ensure!(through_peerings(&ends.accepter, &ends.accepter_vpc).await?.is_empty());
    world.apply_identity(OTHER_ACCOUNT, json!({"allowedNamespaces": namespaces})).await?;
    world.until_ready().await?;
    ensure!(through_peerings(&ends.accepter, &ends.accepter_vpc).await?.len() == 1);
    Ok(())
}

pub async fn an_older_resource_without_permission_blocks_no_other(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let squatter = world.with_name("squatter");
    let mut manifest = squatter.manifest_with(json!({"suspend": true}));
    manifest["spec"]["requester"]["identityRef"] = json!({"name": "no-such"});
    squatter.apply(&manifest).await?;
    squatter.until_stalled("IdentityNotFound").await?;
    // An identity of another account, which does not have these VPCs.
    let another = world.with_name("another");
    let identity =
        world.apply_identity(OTHER_ACCOUNT, json!({"allowedNamespaces": {"list": [world.namespace]}})).await?;
    let mut manifest = another.manifest_with(json!({"suspend": true}));
    manifest["spec"]["requester"]["identityRef"] = json!({"name": identity});
    another.apply(&manifest).await?;
    another.until("seen", |object| condition(object, "Suspended").is_some()).await?;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    Ok(())
}

/// Empties allow lists with each usual way of applying. The API server rejects the change, or the operator stops. This
/// test is long because it is a table of ways and values.
pub async fn an_emptied_allow_list_allows_nobody(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let ends = BothEnds::far_apart(&world).await?;
    let name = format!("{}-{OTHER_ACCOUNT}", world.namespace);
    let control_plane = &world.shared.control_plane;
    let kubectl = async |arguments: &[&str]| control_plane.kubectl(arguments).await;
    let role = format!("arn:aws:iam::{OTHER_ACCOUNT}:role/peering/{}", world.namespace);
    let file = control_plane.folder().join(format!("{name}.json"));
    let path = file.to_string_lossy().into_owned();
    let write = |namespaces: Value, vpcs: Value| -> Result<()> {
        let manifest = json!({
            "apiVersion": "vpcpeering.dev/v1alpha1",
            "kind": "AwsIdentity",
            "metadata": {"name": name},
            "spec": {
                "accountId": OTHER_ACCOUNT, "roleArn": role, "externalId": iam::EXTERNAL_ID,
                "allowedNamespaces": namespaces, "allowedVpcs": vpcs,
                "allowedRegions": {"all": true}, "allowedPeers": {"all": true},
            },
        });
        Ok(std::fs::write(&file, manifest.to_string())?)
    };
    let open = (json!({"list": [world.namespace]}), json!({"list": [ends.accepter_vpc]}));
    let empties = [
        (json!({"list": []}), open.1.clone()),
        (json!({"list": null}), open.1.clone()),
        (json!({}), open.1.clone()),
        (Value::Null, open.1.clone()),
        (open.0.clone(), json!({"list": []})),
        (open.0.clone(), json!({"list": null})),
        (open.0.clone(), json!({})),
        (open.0.clone(), Value::Null),
    ];
    let apply = ["apply", "-f", path.as_str()];
    let server_side = ["apply", "--server-side", "--force-conflicts", "-f", path.as_str()];
    // Flux has a field manager of its own. A value that it removes must not stay under another manager.
    let flux =
        ["apply", "--server-side", "--force-conflicts", "--field-manager=kustomize-controller", "-f", path.as_str()];
    let ways: [(&str, &[&str]); 3] = [("apply", &apply), ("server-side apply", &server_side), ("Flux", &flux)];
    kubectl(&["delete", "awsidentity", &name]).await?;
    for (way, arguments) in ways {
        for (namespaces, vpcs) in &empties {
            let what = format!("{way}: {namespaces} and {vpcs}");
            write(open.0.clone(), open.1.clone())?;
            kubectl(arguments).await.with_context(|| what.clone())?;
            write(namespaces.clone(), vpcs.clone())?;
            let is_refused = kubectl(arguments).await.is_err();
            ensure_refused_or_stalled(&world, &ends, is_refused).await.with_context(|| what)?;
            kubectl(&["delete", "awsidentity", &name]).await?;
        }
    }
    write(open.0.clone(), open.1.clone())?;
    kubectl(&server_side).await?;
    let patches = [
        ("merge", json!({"spec": {"allowedNamespaces": {"list": null}}})),
        ("merge", json!({"spec": {"allowedVpcs": {"list": []}}})),
        ("merge", json!({"spec": {"allowedVpcs": null}})),
        ("json", json!([{"op": "remove", "path": "/spec/allowedNamespaces/list"}])),
        ("json", json!([{"op": "remove", "path": "/spec/allowedVpcs"}])),
        ("json", json!([{"op": "replace", "path": "/spec/allowedVpcs", "value": {}}])),
    ];
    for (kind, patch) in patches {
        kubectl(&server_side).await?;
        let patched =
            kubectl(&["patch", "awsidentity", &name, &format!("--type={kind}"), "-p", &patch.to_string()]).await;
        ensure_refused_or_stalled(&world, &ends, patched.is_err()).await.with_context(|| format!("{kind}: {patch}"))?;
    }
    Ok(())
}

/// A rejected change has no effect, so the resource may be created. After an accepted change, the operator must not
/// call AWS.
async fn ensure_refused_or_stalled(world: &World, ends: &BothEnds, is_refused: bool) -> Result<()> {
    if is_refused {
        return Ok(());
    }
    world.clear_journal().await?;
    ends.apply().await?;
    let reasons = ["IdentityNotAllowed", "VpcNotAllowed"];
    let is_so = |object: &VpcPeering| {
        condition(object, "Stalled").is_some_and(|stalled| reasons.contains(&stalled.reason.as_str()))
    };
    world.until("not allowed", is_so).await?;
    ensure!(world.ec2_calls().await? == 0, "the operator called EC2");
    world.delete().await?;
    world.until_gone().await
}

//! Permission to use an identity. Without it, the resource gets a condition, and the operator makes no AWS call.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use ec2_simulator::Kind;
use environment::{ec2, eventually};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use std::time::Duration;
use vpc_peering_operator::api::{AwsIdentity, VpcPeering};

use super::both_ends::BothEnds;
use super::world::{OTHER_ACCOUNT, OTHER_REGION, REGION, World, condition, connection_id};

/// Time in which an operator would make a forbidden call.
const LONG_ENOUGH: Duration = Duration::from_secs(2);

/// Fails unless the resource stalls for this reason and the operator makes no EC2 call.
async fn ensure_refused(world: &World, manifest: &Value, reason: &str, named: &str) -> Result<()> {
    world.clear_journal().await?;
    world.apply(manifest).await?;
    let object = world.until_stalled(reason).await.with_context(|| format!("{manifest}"))?;
    let message = &condition(&object, "Ready").context("no Ready")?.message;
    ensure!(message.contains(named), "{message} does not name {named}");
    tokio::time::sleep(LONG_ENOUGH).await;
    ensure!(world.ec2_calls().await? == 0, "{reason}: the operator called EC2");
    ensure!(object.finalizers().is_empty(), "the resource has a finalizer");
    world.delete().await?;
    world.until_gone().await
}

/// The ways in which a user of one namespace may try to use the identity of another.
pub async fn a_namespace_that_is_not_allowed_makes_no_aws_call(world: World) -> Result<()> {
    let nobody = format!("{}-nobody", world.namespace);
    let another = format!("{}-another", world.namespace);
    let vpc = format!("{}-vpc", world.namespace);
    let labels = format!("{}-labels", world.namespace);
    world.apply_identity_named(&nobody, OTHER_ACCOUNT, json!({})).await?;
    world.apply_identity_named(&another, OTHER_ACCOUNT, json!({"allowedNamespaces": {"list": ["another"]}})).await?;
    let one_vpc = json!({"allowedNamespaces": {"all": true}, "allowedVpcs": {"list": ["vpc-0000000000000000a"]}});
    world.apply_identity_named(&vpc, OTHER_ACCOUNT, one_vpc).await?;
    let selector = json!({"allowedNamespaces": {"selector": {"matchLabels": {"team": world.namespace}}}});
    world.apply_identity_named(&labels, OTHER_ACCOUNT, selector).await?;
    let _operator = world.operator.start().await?;
    for end in ["requester", "accepter"] {
        let using = |identity: &str| {
            let mut manifest = world.manifest();
            manifest["spec"][end]["identityRef"] = json!({"name": identity});
            manifest
        };
        ensure_refused(&world, &using(&nobody), "IdentityNotAllowed", &nobody).await?;
        ensure_refused(&world, &using(&another), "IdentityNotAllowed", &another).await?;
        ensure_refused(&world, &using(&labels), "IdentityNotAllowed", &labels).await?;
        ensure_refused(&world, &using(&vpc), "VpcNotAllowed", "allowedVpcs").await?;
        ensure_refused(&world, &using("no-such-identity"), "IdentityNotFound", "no-such-identity").await?;
        // The resource's own labels do not count.
        let mut labelled = using(&labels);
        labelled["metadata"]["labels"] = json!({"team": world.namespace});
        ensure_refused(&world, &labelled, "IdentityNotAllowed", &labels).await?;
        // The schema rejects an ARN in place of a name.
        let arn = format!("arn:aws:iam::{OTHER_ACCOUNT}:role/admin");
        ensure!(world.apply(&using(&arn)).await.is_err(), "the API server accepted an ARN as a name");
    }
    Ok(())
}

pub async fn own_credentials_are_limited_to_listed_namespaces(world: World) -> Result<()> {
    for namespaces in ["none", "another,and-another"] {
        let operator = world.operator.clone().with("OWN_CREDENTIALS_NAMESPACES", namespaces).start().await?;
        ensure_refused(&world, &world.manifest(), "IdentityNotAllowed", "spec.requester.identityRef").await?;
        operator.kill().await?;
    }
    let namespaces = format!("another,{}", world.namespace);
    let _operator = world.operator.clone().with("OWN_CREDENTIALS_NAMESPACES", &namespaces).start().await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    Ok(())
}

/// After the permission is withdrawn, the operator makes no call. A deletion waits, and the condition says so.
pub async fn a_withdrawn_permission_stops_every_call(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let ends = BothEnds::far_apart(&world).await?;
    ends.apply().await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    let identity = world.apply_identity(OTHER_ACCOUNT, json!({"allowedNamespaces": {"list": ["another"]}})).await?;
    let object = world.until_stalled("IdentityNotAllowed").await?;
    ensure!(connection_id(&object) == Some(id.as_str()), "the status lost the connection ID");
    let ensure_no_calls = async |what: &str| -> Result<()> {
        // A listing may be under way already.
        tokio::time::sleep(LONG_ENOUGH).await;
        world.clear_journal().await?;
        tokio::time::sleep(LONG_ENOUGH).await;
        ensure!(world.ec2_calls().await? == 0, "{what}: the operator called EC2");
        Ok(())
    };
    ensure_no_calls("withdrawn").await?;
    world.patch(json!({"spec": {"tags": [{"key": "a", "value": "b"}]}})).await?;
    ensure_no_calls("edited").await?;
    world.delete().await?;
    ensure_no_calls("deleted").await?;
    let object = world.until_stalled("IdentityNotAllowed").await?;
    ensure!(!object.finalizers().is_empty(), "the finalizer was removed");
    // The identity itself is deleted, too.
    let api = Api::<AwsIdentity>::all(world.client.clone());
    api.delete(&identity, &DeleteParams::default()).await?;
    world.until_stalled("IdentityNotFound").await?;
    ensure_no_calls("the identity is gone").await?;
    world.apply_identity(OTHER_ACCOUNT, json!({"allowedNamespaces": {"all": true}})).await?;
    world.until_gone().await?;
    ensure!(world.live_peerings().await?.is_empty());
    Ok(())
}

/// A changed reference is checked again. Under an identity of another account, the operator cannot see the peering and
/// must not treat it as deleted.
pub async fn a_changed_identity_reference_is_checked_again(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let allowed = world.apply_identity(OTHER_ACCOUNT, json!({"allowedNamespaces": {"all": true}})).await?;
    let forbidden = format!("{}-forbidden", world.namespace);
    world.apply_identity_named(&forbidden, OTHER_ACCOUNT, json!({})).await?;
    let mut manifest = world.manifest();
    manifest["spec"]["recreateOn"] = json!(["Deleted"]);
    world.apply(&manifest).await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    manifest["spec"]["requester"]["identityRef"] = json!({"name": forbidden});
    world.apply(&manifest).await?;
    world.until_stalled("IdentityNotAllowed").await?;
    manifest["spec"]["requester"]["identityRef"] = json!({"name": allowed});
    world.apply(&manifest).await?;
    let object = world.until_stalled("IdentityMismatch").await?;
    ensure!(connection_id(&object) == Some(id.as_str()));
    world.delete().await?;
    tokio::time::sleep(LONG_ENOUGH).await;
    ensure!(world.get().await.is_ok(), "the resource was deleted, and its peering is left");
    manifest["spec"]["requester"].as_object_mut().context("no requester")?.remove("identityRef");
    world.apply(&manifest).await?;
    world.until_gone().await?;
    ensure!(world.live_peerings().await?.is_empty());
    Ok(())
}

/// Users of a namespace cannot set its labels.
pub async fn a_selector_matches_the_labels_of_the_namespace(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let selector = json!({"allowedNamespaces": {"selector": {"matchLabels": {"team": world.namespace}}}});
    let ends = BothEnds::far_apart(&world).await?;
    world.apply_identity(OTHER_ACCOUNT, selector).await?;
    ends.apply().await?;
    world.until_stalled("IdentityNotAllowed").await?;
    let namespaces = Api::<Namespace>::all(world.client.clone());
    let label = |value: Option<&str>| json!({"metadata": {"labels": {"team": value}}});
    let patch = Patch::Merge(label(Some(&world.namespace)));
    namespaces.patch(&world.namespace, &PatchParams::default(), &patch).await?;
    world.until_ready().await?;
    namespaces.patch(&world.namespace, &PatchParams::default(), &Patch::Merge(label(None))).await?;
    world.until_stalled("IdentityNotAllowed").await?;
    Ok(())
}

/// `spec.vpcPeeringConnectionId` does not help to get the peering of another resource.
pub async fn a_peering_of_another_resource_cannot_be_adopted(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    let thief = world.with_name("thief");
    let mut manifest = thief.manifest();
    manifest["spec"]["vpcPeeringConnectionId"] = json!(id);
    thief.apply(&manifest).await?;
    thief.until_stalled("ConnectionNotOwned").await?;
    thief.delete().await?;
    thief.until_gone().await?;
    ensure!(world.live_peerings().await?.len() == 1);
    Ok(())
}

pub async fn an_sts_refusal_has_its_code_and_remedy(world: World) -> Result<()> {
    let identity = world.apply_identity(OTHER_ACCOUNT, json!({"allowedNamespaces": {"all": true}})).await?;
    let vpc = ec2::create_vpc(&world.client_in_account(OTHER_ACCOUNT, REGION).await?, "10.3.0.0/16").await?;
    let _operator = world.operator.start().await?;
    let accepter = json!({"vpcId": vpc, "ownerId": OTHER_ACCOUNT, "identityRef": {"name": identity}});
    let packed = "Packed policy consumes 105% of allotted space, please use smaller policy.";
    let disabled = "STS is not activated in this region for account:222222222222.";
    let expired = "The security token included in the request is expired";
    for (code, sentence, progress, remedy) in [
        ("PackedPolicyTooLarge", packed, "Stalled", "disableSessionTags"),
        ("MalformedPolicyDocument", "The policy is malformed.", "Stalled", "policy"),
        ("RegionDisabledException", disabled, "Stalled", "spec.stsRegion"),
        ("ExpiredTokenException", expired, "Reconciling", ""),
    ] {
        let kind = Kind::Error { code: code.to_owned(), message: Some(sentence.to_owned()), status: Some(400) };
        let fault = world.fault("AssumeRole", None, kind).await?;
        world.apply(&world.manifest_with(json!({"accepter": accepter}))).await?;
        world.request_reconcile(code).await?;
        let reported = |object: &VpcPeering| {
            let message = condition(object, "Ready").map_or("", |ready| ready.message.as_str());
            // The name of the role depends on the test.
            let answer = message.split_once("): ").map_or("", |(_, answer)| answer);
            answer.starts_with(code)
                && answer.contains(sentence.trim_end_matches('.'))
                && answer.contains(remedy)
                && answer.chars().count() < 300
                && condition(object, progress).is_some()
        };
        world.until(code, reported).await?;
        world.simulator().remove_fault(fault).await?;
    }
    world.request_reconcile("renewed").await?;
    world.until_ready().await?;
    Ok(())
}

pub async fn an_identity_reports_whether_its_role_works(world: World) -> Result<()> {
    let shared = world.shared.with_own_control_plane().await?;
    let name = "simulator::an-identity-reports-whether-its-role-works";
    let world = World::new(Arc::clone(&shared), name, super::world::Cloud::Simulator).await?;
    // A namespaced operator does not reconcile cluster-scoped AwsIdentities.
    let _operator = world.operator.clone().without("WATCH_NAMESPACE").start().await?;
    let identity = world
        .apply_identity(OTHER_ACCOUNT, json!({"allowedNamespaces": {"all": true}, "defaultRegion": OTHER_REGION}))
        .await?;
    let api = Api::<AwsIdentity>::all(world.client.clone());
    let until = async |what: &str, reason: &str| {
        eventually(what, Duration::from_secs(30), async || {
            let object = api.get(&identity).await?;
            let status = object.status.clone().context("no status")?;
            let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").context("no Ready")?;
            ensure!(ready.reason == reason, "{status:?}");
            Ok(object)
        })
        .await
    };
    let object = until("verified", "Verified").await?;
    let status = object.status.context("no status")?;
    ensure!(status.account_id.as_deref() == Some(OTHER_ACCOUNT));
    ensure!(status.arn.is_some_and(|arn| arn.contains("assumed-role")));
    // An end without a region uses the default region of its identity.
    let ec2 = world.client_in_account(OTHER_ACCOUNT, OTHER_REGION).await?;
    let vpc = ec2::create_vpc(&ec2, "10.2.0.0/16").await?;
    let mut manifest = world.manifest();
    manifest["spec"]["accepter"] = json!({"vpcId": vpc, "identityRef": {"name": identity}});
    world.apply(&manifest).await?;
    let object = world.until_ready().await?;
    let info = object.status.and_then(|status| status.accepter_vpc_info).context("no accepterVpcInfo")?;
    ensure!(info.region.as_deref() == Some(OTHER_REGION) && REGION != OTHER_REGION);
    // An identity without permissions is reported.
    let nobody = json!({"all": null, "list": []});
    let empty = json!({"spec": {"allowedNamespaces": nobody, "allowedPeers": null}});
    api.patch(&identity, &PatchParams::default(), &Patch::Merge(empty)).await?;
    let object = until("permits nothing", "NothingAllowed").await?;
    let message = serde_json::to_string(&object.status)?;
    ensure!(message.contains("spec.allowedNamespaces, spec.allowedPeers") && message.contains("Stalled"), "{message}");
    world.until_stalled("IdentityNotAllowed").await?;
    let all = json!({"all": true, "list": null});
    let open = json!({"spec": {"allowedNamespaces": all, "allowedPeers": all}});
    api.patch(&identity, &PatchParams::default(), &Patch::Merge(open)).await?;
    until("verified again", "Verified").await?;
    // The role does not trust the operator.
    let untrusted = format!("arn:aws:iam::{OTHER_ACCOUNT}:role/untrusted");
    let patch = Patch::Merge(json!({"spec": {"roleArn": untrusted}}));
    api.patch(&identity, &PatchParams::default(), &patch).await?;
    let object = until("refused", "Unauthorized").await?;
    let message = serde_json::to_string(&object.status)?;
    ensure!(message.contains("AssumeRole") && message.contains(&untrusted), "{message}");
    Ok(())
}

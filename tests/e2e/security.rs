//! What other people write must not turn the operator against its owner: a forged status, forged tags, an emptied permission,
//! a later CIDR block of another account, a claim without a permission.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::Client as Ec2;
use aws_sdk_ec2::types::Tag;
use environment::{ec2, eventually};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use vpc_peering_operator::api::{VpcPeering, VpcPeeringAccepter};

use super::both_ends::BothEnds;
use super::routes::through_peerings;
use super::world::{OTHER_ACCOUNT, REGION, World, condition, connection_id};

const LIMIT: Duration = Duration::from_secs(30);

/// Time for an operator that would do something to do it, several polls long.
const LONG_ENOUGH: Duration = Duration::from_secs(3);

/// Writes into the status as only the operator may, who is thereby deceived.
async fn forge(world: &World, status: Value) -> Result<()> {
    let client = world.shared.control_plane.admin_as_operator().await?;
    let api = Api::<VpcPeering>::namespaced(client, &world.namespace);
    api.patch_status(&world.name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await?;
    Ok(())
}

/// A connection that somebody else has made, between VPCs of their own; active.
async fn foreign_connection(world: &World) -> Result<String> {
    let (one, other) =
        (ec2::create_vpc(&world.ec2, "10.31.0.0/16").await?, ec2::create_vpc(&world.ec2, "10.32.0.0/16").await?);
    let answer = world.ec2.create_vpc_peering_connection().vpc_id(&one).peer_vpc_id(&other).send().await?;
    let id =
        answer.vpc_peering_connection.and_then(|connection| connection.vpc_peering_connection_id).context("no ID")?;
    eventually("accepted", LIMIT, async || {
        world.ec2.accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
        Ok(())
    })
    .await?;
    eventually("active", LIMIT, async || {
        ensure!(code_and_tags(&world.ec2, &id).await?.0 == "active");
        Ok(())
    })
    .await?;
    Ok(id)
}

async fn code_and_tags(ec2: &Ec2, id: &str) -> Result<(String, Vec<(String, String)>)> {
    let answer = ec2.describe_vpc_peering_connections().vpc_peering_connection_ids(id).send().await?;
    let connection = answer.vpc_peering_connections.unwrap_or_default().pop().context("not shown")?;
    let tags = connection.tags().iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())));
    Ok((ec2::code(&connection).to_owned(), tags.collect()))
}

/// Nothing that the operator asked for names this connection.
async fn untouched(world: &World, id: &str) -> Result<()> {
    for action in ["CreateTags", "DeleteTags", "DeleteVpcPeeringConnection", "ModifyVpcPeeringConnectionOptions"] {
        let calls = world.journal(action).await?;
        let names = calls.iter().filter(|call| call.parameters.values().any(|value| value == id));
        let by_operator = names.filter(|call| call.access_key_id.as_deref() == Some(world.key()));
        let by_operator: Vec<_> = by_operator.collect();
        ensure!(by_operator.is_empty(), "{by_operator:?}");
    }
    Ok(())
}

/// The status names a foreign connection as the resource's own: it is neither tagged nor deleted, in life or in deletion.
pub async fn a_forged_connection_id_is_not_believed(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let foreign = foreign_connection(&world).await?;
    world.apply(&world.manifest_with(json!({"suspend": true}))).await?;
    world.until("suspended", |object| condition(object, "Suspended").is_some()).await?;
    forge(&world, json!({"vpcPeeringConnectionId": foreign, "ownership": "Owned"})).await?;
    world.patch(json!({"spec": {"suspend": false, "tags": [{"key": "a", "value": "b"}]}})).await?;
    let object = world.until_stalled("ConnectionMismatch").await?;
    let message = &condition(&object, "Ready").context("no Ready")?.message;
    ensure!(message.contains(&foreign) && message.contains("spec.requester.vpcId"), "{message}");
    world.delete().await?;
    world.until_gone().await?;
    ensure!(code_and_tags(&world.ec2, &foreign).await? == ("active".to_owned(), Vec::new()));
    untouched(&world, &foreign).await
}

/// A record of another resource's route makes it nobody else's: it is neither deleted nor replaced.
pub async fn a_forged_route_record_is_not_believed(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let third = ec2::create_vpc(&world.ec2, "10.3.0.0/16").await?;
    let other = world.another("other");
    let routes = json!({"routeTables": {"main": true}});
    let mut manifest = world.manifest();
    manifest["spec"]["requester"]["routes"] = routes.clone();
    world.apply(&manifest).await?;
    let mut others = other.manifest();
    others["spec"]["requester"]["routes"] = routes;
    others["spec"]["accepter"]["vpcId"] = json!(third);
    other.apply(&others).await?;
    let victim = world.until_ready().await?;
    other.until_ready().await?;
    let before = through_peerings(&world.ec2, &world.requester).await?;
    ensure!(before.len() == 2, "{before:?}");
    let route = serde_json::to_value(victim.status.context("no status")?.routes)?;
    forge(&other, json!({"routes": route, "managedTags": [{"key": "vpcpeering.dev/name", "value": "x"}]})).await?;
    other.ask_to_look("forged").await?;
    tokio::time::sleep(LONG_ENOUGH).await;
    ensure!(world.calls("DeleteRoute").await? + world.calls("ReplaceRoute").await? == 0, "a route was changed");
    ensure!(through_peerings(&world.ec2, &world.requester).await? == before);
    // Nor when the forged resource goes.
    other.delete().await?;
    other.until_gone().await?;
    let after = through_peerings(&world.ec2, &world.requester).await?;
    ensure!(after.iter().all(|(_, destination, _)| destination == "10.2.0.0/16") && after.len() == 1, "{after:?}");
    Ok(())
}

/// A recorded tag is removed only with the value that was set.
pub async fn a_forged_tag_record_is_not_believed(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    let tag = Tag::builder().key("Owner").value("somebody").build();
    world.ec2.create_tags().resources(&id).tags(tag).send().await?;
    forge(&world, json!({"managedTags": [{"key": "Owner", "value": "us"}], "managedTagKeys": ["Owner"]})).await?;
    world.ask_to_look("forged").await?;
    tokio::time::sleep(LONG_ENOUGH).await;
    ensure!(world.users_tags(&id).await?.get("Owner").is_some_and(|value| value == "somebody"));
    ensure!(world.calls("DeleteTags").await? == 0);
    Ok(())
}

/// The ownership tags on a connection between other VPCs make it nobody's: not in life, not in deletion, and not as what an
/// earlier resource of the same name has left behind.
pub async fn forged_ownership_tags_are_not_believed(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    let (_, tags) = code_and_tags(&world.ec2, &id).await?;
    let mut forged = Vec::new();
    for uid in [None, Some("00000000-0000-4000-8000-000000000000")] {
        let foreign = foreign_connection(&world).await?;
        for (key, value) in &tags {
            let value = if key == "vpcpeering.dev/uid" { uid.unwrap_or(value) } else { value };
            let tag = Tag::builder().key(key).value(value).build();
            world.ec2.create_tags().resources(&foreign).tags(tag).send().await?;
        }
        forged.push(foreign);
    }
    world.ask_to_look("forged").await?;
    let object = world.until("told", |object| condition(object, "UnexpectedConnection").is_some()).await?;
    let message = &condition(&object, "UnexpectedConnection").context("no condition")?.message;
    ensure!(forged.iter().any(|id| message.contains(id)), "{message}");
    ensure!(condition(&object, "Ready").is_some_and(|ready| ready.status == "True"), "{:?}", object.status);
    world.until_told(&["UnexpectedConnection"]).await?;
    world.delete().await?;
    world.until_gone().await?;
    for foreign in &forged {
        ensure!(code_and_tags(&world.ec2, foreign).await?.0 == "active", "{foreign} was deleted");
        untouched(&world, foreign).await?;
    }
    ensure!(world.living().await?.is_empty());
    Ok(())
}

/// Without a flag that says otherwise, nobody may use the operator's own credentials, and nobody may take over a connection.
pub async fn the_defaults_permit_nothing(world: World) -> Result<()> {
    let operator =
        world.operator.clone().without("OWN_CREDENTIALS_NAMESPACES").without("OWN_CREDENTIALS_ALLOW_ADOPTION");
    let running = operator.start().await?;
    world.simulator().clear_journal().await?;
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
    ensure!(world.ec2_calls().await? == 0, "EC2 was asked");
    world.delete().await?;
    world.until_gone().await
}

/// Each end, account, VPC and region that an identity does not list is refused before AWS is asked.
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
        world.identity_named(&own, "111111111111", spec).await?;
        world.simulator().clear_journal().await?;
        let mut manifest = world.manifest();
        manifest["spec"]["requester"]["identityRef"] = json!({"name": own});
        manifest["spec"]["accepter"]["ownerId"] = json!(OTHER_ACCOUNT);
        world.apply(&manifest).await?;
        let object = world.until_stalled(reason).await.with_context(|| limits.to_string())?;
        let message = &condition(&object, "Ready").context("no Ready")?.message;
        ensure!(message.contains(named) && message.contains(&own), "{message}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        ensure!(world.ec2_calls().await? == 0, "{limits}: EC2 was asked");
        world.delete().await?;
        world.until_gone().await?;
    }
    // An invented region needs a list that names it.
    world.identity_named(&own, "111111111111", json!({"allowedNamespaces": namespaces})).await?;
    let mut manifest = world.manifest();
    manifest["spec"]["requester"] =
        json!({"vpcId": world.requester, "region": "eu-nowhere-1", "identityRef": {"name": own}});
    world.apply(&manifest).await?;
    world.until_stalled("RegionNotAllowed").await?;
    Ok(())
}

/// Routes need a permission of their own; without it the rest is done.
pub async fn routes_need_a_permission(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let mut ends = BothEnds::far_apart(&world).await?;
    let namespaces = json!({"list": [world.namespace]});
    world.identity(OTHER_ACCOUNT, json!({"allowedNamespaces": namespaces, "allowRoutes": false})).await?;
    for end in ["requester", "accepter"] {
        ends.manifest["spec"][end]["routes"] = json!({"routeTables": {"main": true}});
    }
    ends.apply().await?;
    let object = world.until_stalled("ActionNotAllowed").await?;
    let told = condition(&object, "RoutesReady").context("no RoutesReady")?;
    ensure!(told.status == "False" && told.message.contains("spec.accepter.routes"), "{told:?}");
    ensure!(through_peerings(&world.ec2, &ends.world.requester).await?.len() == 1);
    ensure!(through_peerings(&ends.accepter, &ends.accepter_vpc).await?.is_empty());
    world.identity(OTHER_ACCOUNT, json!({"allowedNamespaces": namespaces})).await?;
    world.until_ready().await?;
    ensure!(through_peerings(&ends.accepter, &ends.accepter_vpc).await?.len() == 1);
    Ok(())
}

/// A CIDR block that another account adds later gets no route, until a person allows it.
pub async fn a_later_block_of_another_account_waits_for_a_person(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let (theirs, vpc) = world.another_account().await?;
    let mut manifest = world.manifest();
    manifest["spec"]["requester"]["routes"] = json!({"routeTables": {"all": true}});
    manifest["spec"]["accepter"] = json!({"vpcId": vpc, "ownerId": OTHER_ACCOUNT});
    world.apply(&manifest).await?;
    let object = world.until_code("pending-acceptance").await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    eventually("accepted", LIMIT, async || {
        theirs.accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
        Ok(())
    })
    .await?;
    let object = world.until_ready().await?;
    let blocks = object.status.and_then(|status| status.accepted_cidr_blocks).context("no acceptedCidrBlocks")?;
    ensure!(blocks.iter().map(|block| block.as_str()).eq(["10.3.0.0/16"]), "{blocks:?}");
    let routed = async || -> Result<Vec<String>> {
        let routes = through_peerings(&world.ec2, &world.requester).await?;
        Ok(routes.into_iter().map(|(_, destination, _)| destination).collect())
    };
    ensure!(routed().await? == ["10.3.0.0/16"]);
    theirs.associate_vpc_cidr_block().vpc_id(&vpc).cidr_block("10.200.0.0/16").send().await?;
    let object = world.until_stalled("UnexpectedCidrBlock").await?;
    let told = condition(&object, "RoutesReady").context("no RoutesReady")?;
    let line = "spec.requester.routes.destinationCidrBlocks: [10.3.0.0/16, 10.200.0.0/16]";
    for named in ["10.200.0.0/16", "rtb-", line] {
        ensure!(told.message.contains(named), "{named}: {told:?}");
    }
    ensure!(routed().await? == ["10.3.0.0/16"], "it was routed");
    world.until_told(&["UnexpectedCidrBlock"]).await?;
    let allowed = json!({"routeTables": {"all": true}, "destinationCidrBlocks": ["10.3.0.0/16", "10.200.0.0/16"]});
    world.patch(json!({"spec": {"requester": {"routes": allowed}}})).await?;
    world.until_ready().await?;
    ensure!(routed().await? == ["10.200.0.0/16", "10.3.0.0/16"], "{:?}", routed().await?);
    Ok(())
}

/// The same at the accepter's end, by the entry that let the requester in; and without the entry there are no routes.
pub async fn a_later_block_of_a_requester_waits_for_a_person(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    world.simulator().set(&json!({"cidr_blocks_of_requests": true})).await?;
    let (theirs, vpc) = world.another_account().await?;
    let api = Api::<VpcPeeringAccepter>::namespaced(world.client.clone(), &world.namespace);
    let all = json!({"all": true});
    let apply = async |blocks: Option<Value>| -> Result<()> {
        let entry = |blocks| json!({"ownerId": OTHER_ACCOUNT, "vpcs": all, "regions": all, "cidrBlocks": blocks});
        let manifest = json!({
            "apiVersion": "vpcpeering.dev/v1alpha1",
            "kind": "VpcPeeringAccepter",
            "metadata": {"name": "accepter", "namespace": world.namespace},
            "spec": {
                "vpcId": world.accepter,
                "region": REGION,
                "accept": blocks.map(entry).into_iter().collect::<Vec<_>>(),
                "routes": {"routeTables": {"all": true}},
            },
        });
        api.patch("accepter", &PatchParams::apply("test").force(), &Patch::Apply(manifest)).await?;
        Ok(())
    };
    let until = async |what: &str, destinations: &[&str], reason: &str| {
        eventually(what, LIMIT, async || {
            let routes = through_peerings(&world.ec2, &world.accepter).await?;
            let routed: Vec<_> = routes.iter().map(|(_, destination, _)| destination.as_str()).collect();
            ensure!(routed == destinations, "{routed:?}");
            let status = api.get("accepter").await?.status.context("no status")?;
            let told = status.conditions.iter().find(|condition| condition.type_ == "RoutesReady");
            let told = told.context("no RoutesReady")?;
            ensure!(told.reason == reason, "{told:?}");
            Ok(told.message.clone())
        })
        .await
        .with_context(|| world.log())
    };
    apply(Some(json!({"list": ["10.3.0.0/16"]}))).await?;
    let request = theirs.create_vpc_peering_connection().vpc_id(&vpc).peer_vpc_id(&world.accepter);
    request.peer_owner_id("111111111111").send().await?;
    until("routed", &["10.3.0.0/16"], "Synced").await?;
    theirs.associate_vpc_cidr_block().vpc_id(&vpc).cidr_block("10.200.0.0/16").send().await?;
    let message = until("told", &["10.3.0.0/16"], "UnexpectedCidrBlock").await?;
    ensure!(message.contains("10.200.0.0/16") && message.contains("cidrBlocks.list"), "{message}");
    // With every block allowed at acceptance, those of then are the ones that are routed.
    apply(Some(all.clone())).await?;
    tokio::time::sleep(LONG_ENOUGH).await;
    until("as before", &["10.3.0.0/16"], "UnexpectedCidrBlock").await?;
    apply(Some(json!({"list": ["10.3.0.0/16", "10.200.0.0/16"]}))).await?;
    until("allowed", &["10.200.0.0/16", "10.3.0.0/16"], "Synced").await?;
    apply(None).await?;
    until("withdrawn", &[], "Synced").await?;
    Ok(())
}

/// A destination that is wider than the other end would take other traffic.
pub async fn a_destination_lies_within_the_other_end(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let mut manifest = world.manifest();
    let routes = json!({"routeTables": {"main": true}, "destinationCidrBlocks": ["0.0.0.0/1", "10.2.1.0/24"]});
    manifest["spec"]["requester"]["routes"] = routes;
    world.apply(&manifest).await?;
    let object = world.until_stalled("InvalidRequest").await?;
    let told = condition(&object, "RoutesReady").context("no RoutesReady")?;
    for named in ["spec.requester.routes.destinationCidrBlocks", "0.0.0.0/1", "10.2.0.0/16"] {
        ensure!(told.message.contains(named), "{named}: {told:?}");
    }
    let created: Vec<_> = world.journal("CreateRoute").await?;
    ensure!(created.len() == 1 && created[0].parameters.values().any(|value| value == "10.2.1.0/24"), "{created:?}");
    Ok(())
}

/// An older resource that may not act for its ends blocks nobody.
pub async fn a_claim_without_a_permission_blocks_nobody(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let squatter = world.another("squatter");
    let mut manifest = squatter.manifest_with(json!({"suspend": true}));
    manifest["spec"]["requester"]["identityRef"] = json!({"name": "no-such"});
    squatter.apply(&manifest).await?;
    squatter.until_stalled("IdentityNotFound").await?;
    // Of another account, which cannot have these VPCs.
    let another = world.another("another");
    let identity = world.identity(OTHER_ACCOUNT, json!({"allowedNamespaces": {"list": [world.namespace]}})).await?;
    let mut manifest = another.manifest_with(json!({"suspend": true}));
    manifest["spec"]["requester"]["identityRef"] = json!({"name": identity});
    another.apply(&manifest).await?;
    another.until("seen", |object| condition(object, "Suspended").is_some()).await?;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    Ok(())
}

/// Emptied by every usual way of applying, a permission allows nobody: the API server refuses the change, or the operator
/// stops.
pub async fn an_emptied_permission_allows_nobody(world: World) -> Result<()> {
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
                "accountId": OTHER_ACCOUNT, "roleArn": role, "externalId": super::iam::EXTERNAL_ID,
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
    // Flux applies in its own name; what it takes back, another manager must not keep.
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
            refuses_or_stops(&world, &ends, is_refused).await.with_context(|| what)?;
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
        refuses_or_stops(&world, &ends, patched.is_err()).await.with_context(|| format!("{kind}: {patch}"))?;
    }
    Ok(())
}

/// A change that the API server has refused has changed nothing, and the resource may be made; one that it has taken keeps
/// the resource from AWS.
async fn refuses_or_stops(world: &World, ends: &BothEnds, is_refused: bool) -> Result<()> {
    if is_refused {
        return Ok(());
    }
    world.simulator().clear_journal().await?;
    ends.apply().await?;
    let reasons = ["IdentityNotAllowed", "VpcNotAllowed"];
    let is_so = |object: &VpcPeering| {
        condition(object, "Stalled").is_some_and(|stalled| reasons.contains(&stalled.reason.as_str()))
    };
    world.until("not allowed", is_so).await?;
    ensure!(world.ec2_calls().await? == 0, "EC2 was asked");
    world.delete().await?;
    world.until_gone().await
}

/// What a person has changed since the last look is seen before anything is taken away.
pub async fn a_look_comes_before_what_is_taken_away(world: World) -> Result<()> {
    let _operator = world.operator.clone().with("POLL_INTERVAL", "1h").start().await?;
    let mut manifest = world.manifest();
    manifest["spec"]["requester"]["routes"] = json!({"routeTables": {"main": true}});
    world.apply(&manifest).await?;
    world.until_ready().await?;
    let routes = through_peerings(&world.ec2, &world.requester).await?;
    let (table, destination, _) = routes.first().context("no route")?;
    // Longer than anything that the operator waits to see.
    tokio::time::sleep(LONG_ENOUGH).await;
    let replace = world.ec2.replace_route().route_table_id(table).destination_cidr_block(destination);
    replace.gateway_id("igw-0123456789abcdef0").send().await?;
    world.patch(json!({"spec": {"requester": {"routes": null}}})).await?;
    eventually("let go of", LIMIT, async || {
        let object = world.get().await?;
        ensure!(object.status.is_some_and(|status| status.routes.is_empty()));
        Ok(())
    })
    .await?;
    let tables =
        world.ec2.describe_route_tables().route_table_ids(table).send().await?.route_tables.unwrap_or_default();
    let mut left = tables.iter().flat_map(|table| table.routes());
    ensure!(left.any(|route| route.gateway_id() == Some("igw-0123456789abcdef0")), "the other's route was deleted");
    ensure!(world.calls("DeleteRoute").await? == 0);
    Ok(())
}

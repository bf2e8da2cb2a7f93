//! Applies every file of `deploy/examples`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::types::{AttributeBooleanValue, Filter, Tag};
use environment::{ec2, eventually, repository};
use serde_json::Value;

use super::prefix_lists;
use super::world::{OTHER_ACCOUNT, OTHER_REGION, REGION, World, condition, status_code};

/// IDs in the examples, which the test replaces with its own.
const REQUESTER: &str = "vpc-0a1b2c3d4e5f67890";
const ACCEPTER: &str = "vpc-0f9e8d7c6b5a43210";
const CONNECTION: &str = "pcx-0123456789abcdef0";

/// The prefix list in the examples.
const PREFIX_LIST: &str = "pl-0a1b2c3d4e5f67890";

pub async fn every_example_works(world: World) -> Result<()> {
    let operator = world.operator.clone().with("OWN_CREDENTIALS_NAMESPACES", &world.namespace);
    let _operator = operator.with("OWN_CREDENTIALS_ALLOW_ADOPTION", "true").start().await?;
    let mut files: Vec<PathBuf> = std::fs::read_dir(repository().join("deploy/examples"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    ensure!(!files.is_empty());
    for file in files {
        let stem = file.file_stem().and_then(|stem| stem.to_str()).context("the file has no name")?.to_owned();
        let text = std::fs::read_to_string(&file)?;
        // These need a provider: the next test.
        if stem.starts_with("provider-") {
            continue;
        }
        example(&world, &stem, &text).await.with_context(|| stem)?;
    }
    Ok(())
}

/// The provider of the examples: another account, whose VPCs the operator does not act for.
const PROVIDER_BLOCK: &str = "192.168.248.0/21";

/// An example with a provider, with the IDs of the test.
fn provider_example(world: &World, name: &str, own: &str, theirs: &str) -> Result<Value> {
    let text = std::fs::read_to_string(repository().join(format!("deploy/examples/provider-{name}.yaml")))?;
    ensure!(text.contains(PROVIDER_BLOCK), "{text}");
    let mut manifest: Value = serde_saphyr::from_str(&text.replace(REQUESTER, own).replace(ACCEPTER, theirs))?;
    manifest["metadata"] = serde_json::json!({"name": world.name, "namespace": world.namespace});
    Ok(manifest)
}

/// A provider requests two peerings. A person has accepted the first one, which is adopted. The operator accepts the
/// second one.
pub async fn a_provider_that_requests_the_peering_is_served(world: World) -> Result<()> {
    let provider = world.client_in_account(OTHER_ACCOUNT, REGION).await?;
    let own = &world.requester;
    let request = async |block: &str| {
        let theirs = ec2::create_vpc(&provider, block).await?;
        let request = provider.create_vpc_peering_connection().vpc_id(theirs).peer_vpc_id(own);
        let made = request.peer_owner_id("111111111111").send().await?.vpc_peering_connection;
        made.and_then(|made| made.vpc_peering_connection_id).context("no ID")
    };
    let by_hand = request("192.168.248.0/24").await?;
    eventually("accepted by hand", Duration::from_secs(10), async || {
        world.ec2.accept_vpc_peering_connection().vpc_peering_connection_id(&by_hand).send().await?;
        Ok(())
    })
    .await?;
    let operator = world.operator.clone().with("OWN_CREDENTIALS_NAMESPACES", &world.namespace);
    let _operator = operator.with("OWN_CREDENTIALS_ALLOW_ADOPTION", "true").start().await?;
    world.apply_text(&provider_example(&world, "requester", own, "")?).await?;
    let by_rule = request("192.168.249.0/24").await?;
    eventually("both are served", Duration::from_secs(30), async || {
        let to_own = Filter::builder().name("accepter-vpc-info.vpc-id").values(own).build();
        let answer = world.ec2.describe_vpc_peering_connections().filters(to_own).send().await?;
        let peerings = answer.vpc_peering_connections.unwrap_or_default();
        for id in [&by_hand, &by_rule] {
            let shown = peerings.iter().find(|shown| shown.vpc_peering_connection_id() == Some(id));
            let shown = shown.context("not shown")?;
            let is_ours = shown.tags().iter().any(|tag| tag.key() == Some("vpcpeering.dev/accepter-uid"));
            ensure!(ec2::code(shown) == "active" && is_ours, "{shown:?}");
        }
        let routes = peering_routes(&world, own).await?;
        ensure!(routes == ["192.168.248.0/24", "192.168.249.0/24"], "{routes:?}");
        Ok(())
    })
    .await
    .map_err(|error| world.with_log(error))
}

/// The operator requests the peering, and waits until the provider has accepted it.
pub async fn a_provider_that_accepts_the_peering_is_served(world: World) -> Result<()> {
    let provider = world.client_in_account(OTHER_ACCOUNT, REGION).await?;
    let theirs = ec2::create_vpc(&provider, PROVIDER_BLOCK).await?;
    let _operator = world.operator.start().await?;
    world.apply(&provider_example(&world, "accepter", &world.requester, &theirs)?).await?;
    let object = world.until_code("pending-acceptance").await?;
    ensure!(condition(&object, "Reconciling").is_some_and(|shown| shown.reason == "PendingAcceptance"));
    let id = object.status.and_then(|status| status.vpc_peering_connection_id).context("no ID")?;
    provider.accept_vpc_peering_connection().vpc_peering_connection_id(id.as_str()).send().await?;
    let object = world.until_ready().await?;
    ensure!(condition(&object, "RoutesReady").is_some_and(|shown| shown.status == "True"));
    ensure!(peering_routes(&world, &world.requester).await? == [PROVIDER_BLOCK]);
    ensure!(peering_routes_of(&provider, &theirs).await?.is_empty(), "the operator does not act for the provider");
    world.delete().await?;
    world.until_gone().await?;
    ensure!(peering_routes(&world, &world.requester).await?.is_empty());
    Ok(())
}

async fn peering_routes(world: &World, vpc: &str) -> Result<Vec<String>> {
    peering_routes_of(&world.ec2, vpc).await
}

/// The destinations of a VPC's routes that lead through a peering, sorted.
async fn peering_routes_of(client: &aws_sdk_ec2::Client, vpc: &str) -> Result<Vec<String>> {
    let of_vpc = Filter::builder().name("vpc-id").values(vpc).build();
    let tables = client.describe_route_tables().filters(of_vpc).send().await?.route_tables.unwrap_or_default();
    let routes = tables.iter().flat_map(|table| table.routes());
    let through = routes.filter(|route| route.vpc_peering_connection_id().is_some());
    let mut shown: Vec<_> = through.filter_map(|route| route.destination_cidr_block().map(str::to_owned)).collect();
    shown.sort();
    Ok(shown)
}

/// Applies one example with the IDs of the test. Long because each kind of example needs other preparations.
async fn example(world: &World, stem: &str, text: &str) -> Result<()> {
    let mut world = world.with_name(stem);
    let is_abroad = text.contains("region: us-west-2") || text.contains("defaultRegion: us-west-2");
    let region = if is_abroad { OTHER_REGION } else { REGION };
    let accepter = match text.contains(OTHER_ACCOUNT) {
        true => world.client_in_account(OTHER_ACCOUNT, region).await?,
        false => ec2::client(&world.endpoint, region),
    };
    world.requester = ec2::create_vpc(&world.ec2, "10.1.0.0/16").await?;
    world.accepter = ec2::create_vpc(&accepter, "10.2.0.0/16").await?;
    for (ec2, vpc) in [(&world.ec2, &world.requester), (&accepter, &world.accepter)] {
        let on = AttributeBooleanValue::builder().value(true).build();
        ec2.modify_vpc_attribute().vpc_id(vpc).enable_dns_hostnames(on).send().await?;
    }
    if text.contains("Name: payments") {
        let name = Tag::builder().key("Name").value("payments").build();
        accepter.create_tags().resources(&world.accepter).tags(name).send().await?;
    }
    if text.contains(PREFIX_LIST) {
        let blocks: &[&str] = &["10.2.0.0/16"];
        prefix_lists::put(&world, &[(PREFIX_LIST, "111111111111", REGION, blocks)]).await?;
    }
    let mut text = text.replace(REQUESTER, &world.requester).replace(ACCEPTER, &world.accepter);
    if text.contains(CONNECTION) || text.contains("Observe") {
        let request = world.ec2.create_vpc_peering_connection().vpc_id(&world.requester).peer_vpc_id(&world.accepter);
        let made = request.send().await?.vpc_peering_connection.and_then(|made| made.vpc_peering_connection_id);
        let id = made.context("no ID")?;
        eventually("accepted", Duration::from_secs(10), async || {
            world.ec2.accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
            Ok(())
        })
        .await?;
        text = text.replace(CONNECTION, &id);
    }
    for document in text.split("\n---\n") {
        let mut manifest: Value = serde_saphyr::from_str(document)?;
        let name = format!("{}-{stem}", world.namespace);
        if manifest["kind"] == "AwsIdentity" {
            let mut spec = manifest["spec"].clone();
            let own = spec.as_object_mut().context("no spec")?;
            // The test has its own role.
            own.retain(|key, _| !["accountId", "roleArn", "externalId"].contains(&key.as_str()));
            let text = serde_json::to_string(&spec)?.replace("\"default\"", &format!("{:?}", world.namespace));
            world.apply_identity_named(&name, OTHER_ACCOUNT, serde_json::from_str(&text)?).await?;
            // The unchanged identity must be valid, too.
            manifest["metadata"]["name"] = format!("{name}-as-it-stands").into();
            world.apply_text(&manifest).await?;
            continue;
        }
        manifest["metadata"]["name"] = stem.into();
        manifest["metadata"]["namespace"] = world.namespace.clone().into();
        if manifest["kind"] == "VpcPeeringAccepter" {
            let request = world.ec2.create_vpc_peering_connection().vpc_id(&world.requester);
            request.peer_vpc_id(&world.accepter).send().await?;
            world.apply_text(&manifest).await?;
            eventually("accepted", Duration::from_secs(30), async || {
                let peerings = ec2::peerings_of(&world.ec2, &world.requester).await?;
                ensure!(peerings.iter().any(|peering| ec2::code(peering) == "active"), "{peerings:?}");
                Ok(())
            })
            .await?;
            continue;
        }
        for end in ["requester", "accepter"] {
            if manifest["spec"][end].get("identityRef").is_some() {
                manifest["spec"][end]["identityRef"]["name"] = name.clone().into();
            }
        }
        world.apply(&manifest).await?;
        if manifest["spec"]["acceptance"] == "Manual" {
            world.until_code("pending-acceptance").await?;
        } else {
            let object = world.until_ready().await?;
            ensure!(status_code(&object) == Some("active"));
            for (asked, kind) in [("options", "OptionsSynced"), ("routes", "RoutesReady")] {
                let is_asked = manifest["spec"]["requester"].get(asked).is_some();
                ensure!(!is_asked || condition(&object, kind).is_some_and(|told| told.status == "True"), "{kind}");
            }
        }
        world.delete().await?;
        world.until_gone().await?;
    }
    Ok(())
}

//! The DNS attributes of VPCs, without which `allowDnsResolutionFromRemoteVpc` has no effect.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::types::{AttributeBooleanValue, VpcAttributeName};
use serde_json::{Value, json};

use super::accepter::end::{ACCOUNT, AccepterEnd, accept_any, condition as condition_of, has_condition, request};
use super::both_ends::BothEnds;
use super::world::{OTHER_ACCOUNT, World, condition};

const REASON: &str = "DnsAttributeDisabled";

async fn has_dns_hostnames(world: &World, vpc: &str) -> Result<bool> {
    let call = world.ec2.describe_vpc_attribute().vpc_id(vpc).attribute(VpcAttributeName::EnableDnsHostnames);
    let value = call.send().await?.enable_dns_hostnames.context("no answer")?;
    Ok(value.value.unwrap_or_default())
}

fn manifest(world: &World, requester: Value, accepter: Value) -> Value {
    let mut manifest = world.manifest();
    manifest["spec"]["requester"]["options"] = requester;
    manifest["spec"]["accepter"]["options"] = accepter;
    manifest
}

pub async fn a_dns_attribute_is_reported_and_turned_on_where_the_spec_says_so(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let allow = json!({"allowDnsResolutionFromRemoteVpc": true});
    world.apply(&manifest(&world, allow, json!({}))).await?;
    let object = world.until_stalled(REASON).await?;
    let options = condition(&object, "OptionsSynced").context("no OptionsSynced")?;
    let command = format!("--vpc-id {} --enable-dns-hostnames", world.requester);
    ensure!(options.status == "False" && options.reason == REASON && options.message.contains(&command), "{options:?}");
    ensure!(options.message.contains(&world.accepter), "{}", options.message);
    ensure!(
        world.calls("ModifyVpcPeeringConnectionOptions").await? == 0 && world.calls("ModifyVpcAttribute").await? == 0
    );

    let managed = json!({"allowDnsResolutionFromRemoteVpc": true, "manageDnsAttributes": true});
    world.apply(&manifest(&world, managed, json!({"manageDnsAttributes": true}))).await?;
    let is_synced = |object: &_| condition(object, "OptionsSynced").is_some_and(|options| options.status == "True");
    world.until("synced", is_synced).await?;
    world.until_ready().await?;
    ensure!(world.calls("ModifyVpcAttribute").await? == 2, "one call for each VPC");
    ensure!(world.calls("ModifyVpcPeeringConnectionOptions").await? == 1);
    // At rest, nobody looks.
    world.clear_journal().await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(world.calls("DescribeVpcAttribute").await? == 0, "a settled resource looks again");

    world.delete().await?;
    world.until_gone().await?;
    ensure!(has_dns_hostnames(&world, &world.requester).await? && has_dns_hostnames(&world, &world.accepter).await?);
    Ok(())
}

/// The limit `allowVpcAttributes` of an `AwsIdentity`: absent and false permit nothing.
pub async fn dns_attributes_are_turned_on_only_if_the_identity_permits_it(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let mut ends = BothEnds::far_apart(&world).await?;
    let on = AttributeBooleanValue::builder().value(true).build();
    world.ec2.modify_vpc_attribute().vpc_id(&ends.world.requester).enable_dns_hostnames(on).send().await?;
    let before = world.calls("ModifyVpcAttribute").await?;
    let identity = async |allowed: Value| {
        let spec = json!({"allowedNamespaces": {"list": [world.namespace]}, "allowVpcAttributes": allowed});
        world.apply_identity(OTHER_ACCOUNT, spec).await
    };
    let name = identity(Value::Null).await?;
    ends.manifest["spec"]["requester"]["options"] = json!({"allowDnsResolutionFromRemoteVpc": true});
    ends.manifest["spec"]["accepter"]["options"] = json!({"manageDnsAttributes": true});
    ends.apply().await?;
    for allowed in [Value::Null, json!(false)] {
        identity(allowed.clone()).await?;
        let object = world.until_stalled("ActionNotAllowed").await?;
        let options = condition(&object, "OptionsSynced").context("no OptionsSynced")?;
        for part in ["allowVpcAttributes", name.as_str(), "enableDnsHostnames", &ends.accepter_vpc] {
            ensure!(options.message.contains(part), "{allowed}: {part}: {options:?}");
        }
    }
    ensure!(world.calls("ModifyVpcAttribute").await? == before, "without a permission");
    identity(json!(true)).await?;
    world.until_ready().await?;
    ensure!(world.calls("ModifyVpcAttribute").await? == before + 1, "one attribute of one VPC");
    let call = ends.accepter.describe_vpc_attribute().vpc_id(&ends.accepter_vpc);
    let shown = call.attribute(VpcAttributeName::EnableDnsHostnames).send().await?;
    ensure!(shown.enable_dns_hostnames.and_then(|value| value.value) == Some(true));
    Ok(())
}

pub async fn an_accepter_reports_and_turns_on_the_dns_attributes_of_its_vpc(world: World) -> Result<()> {
    let on = AttributeBooleanValue::builder().value(true).build();
    world.ec2.modify_vpc_attribute().vpc_id(&world.requester).enable_dns_hostnames(on).send().await?;
    let _operator = world.operator.start().await?;
    let accepter = AccepterEnd::own(&world);
    let accept = json!([accept_any(ACCOUNT, json!({}))]);
    let options = json!({"allowDnsResolutionFromRemoteVpc": true});
    accepter.apply(json!({"accept": accept, "options": options})).await?;
    request(&world, &accepter, &world.requester).await?;
    let is_reported =
        |object: &_| condition_of(object, "OptionsSynced").is_some_and(|options| options.reason == REASON);
    let object = accepter.until("reported", is_reported).await?;
    ensure!(
        has_condition(&object, "Ready", "False") && has_condition(&object, "Stalled", "True"),
        "{:?}",
        object.status
    );
    let options = json!({"allowDnsResolutionFromRemoteVpc": true, "manageDnsAttributes": true});
    accepter.apply(json!({"accept": accept, "options": options})).await?;
    accepter.until("synced", |object| has_condition(object, "OptionsSynced", "True")).await?;
    ensure!(has_dns_hostnames(&world, &world.accepter).await?);
    accepter.delete().await?;
    accepter.until_gone().await?;
    ensure!(has_dns_hostnames(&world, &world.accepter).await?, "it is turned off again");
    Ok(())
}

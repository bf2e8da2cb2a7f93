//! Peerings between accounts and regions, with both ends managed by the operator.

pub mod permissions;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::Client as Ec2;
use aws_sdk_ec2::types::VpcPeeringConnection;
use environment::{ec2, eventually};
use serde_json::{Value, json};
use vpc_peering_operator::api::VpcPeering;

use super::world::{OTHER_ACCOUNT, OTHER_REGION, REGION, World, condition, connection_id};

/// A resource with an end in the test's own account and region, and one in another.
pub struct BothEnds {
    pub world: World,
    /// A client for the accepter's account and region.
    pub accepter: Ec2,
    pub accepter_vpc: String,
    pub manifest: Value,
}

impl BothEnds {
    /// Adds routes and a tag at each end, and `recreateOn: [Deleted]`.
    pub fn with_routes_and_tags(&mut self) {
        for end in ["requester", "accepter"] {
            self.manifest["spec"][end]["routes"] = json!({"routeTables": {"main": true}});
            self.manifest["spec"][end]["tags"] = json!([{"key": "end", "value": end}]);
        }
        self.manifest["spec"]["recreateOn"] = json!(["Deleted"]);
    }

    /// The accepter's end is in `region`, and in `account` if one is given.
    pub async fn new(world: &World, name: &str, account: Option<&str>, region: &str) -> Result<Self> {
        let mut world = world.with_name(name);
        world.requester = ec2::create_vpc(&world.ec2, "10.1.0.0/16").await?;
        let accepter = match account {
            Some(account) => world.client_in_account(account, region).await?,
            None => ec2::client(&world.endpoint, region),
        };
        let accepter_vpc = ec2::create_vpc(&accepter, "10.2.0.0/16").await?;
        let mut manifest = world.manifest();
        manifest["spec"]["accepter"] = json!({"vpcId": accepter_vpc, "region": region});
        if let Some(account) = account {
            let allowed = json!({"allowedNamespaces": {"list": [world.namespace]}});
            manifest["spec"]["accepter"]["identityRef"] =
                json!({"name": world.apply_identity(account, allowed).await?});
        }
        Ok(Self { world, accepter, accepter_vpc, manifest })
    }

    /// The accepter's end is in another account and region.
    pub async fn far_apart(world: &World) -> Result<Self> {
        Self::new(world, "peering", Some(OTHER_ACCOUNT), OTHER_REGION).await
    }

    pub async fn apply(&self) -> Result<VpcPeering> {
        Ok(self.world.apply(&self.manifest).await?)
    }

    /// The connection as each end shows it, requester first.
    pub async fn shown(&self) -> Result<[VpcPeeringConnection; 2]> {
        let object = self.world.get().await?;
        let id = connection_id(&object).context("no connection yet")?;
        let shown = async |ec2: &Ec2| {
            let answer = ec2.describe_vpc_peering_connections().vpc_peering_connection_ids(id).send().await?;
            answer.vpc_peering_connections.unwrap_or_default().pop().context("not shown")
        };
        Ok([shown(&self.world.ec2).await?, shown(&self.accepter).await?])
    }
}

pub async fn every_combination_of_accounts_and_regions_becomes_active(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let mut all = Vec::new();
    for (name, account, region) in [
        ("one-account-one-region", None, REGION),
        ("one-account-two-regions", None, OTHER_REGION),
        ("two-accounts-one-region", Some(OTHER_ACCOUNT), REGION),
        ("two-accounts-two-regions", Some(OTHER_ACCOUNT), OTHER_REGION),
    ] {
        let ends = BothEnds::new(&world, name, account, region).await?;
        ends.apply().await?;
        all.push(ends);
    }
    for ends in &all {
        let object = ends.world.until_ready().await.with_context(|| ends.world.name.clone())?;
        for shown in ends.shown().await? {
            ensure!(ec2::code(&shown) == "active", "{}: {shown:?}", ends.world.name);
        }
        let status = object.status.context("no status")?;
        let accepter = status.accepter_vpc_info.context("no accepterVpcInfo")?;
        ensure!(accepter.vpc_id.as_deref() == Some(ends.accepter_vpc.as_str()), "{accepter:?}");
    }
    for ends in &all {
        ends.world.delete().await?;
        ends.world.until_gone().await?;
    }
    Ok(())
}

/// Sessions that change something carry the namespace for IAM, and the name of the resource for CloudTrail.
pub async fn each_end_uses_its_own_identity_and_region(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let ends = BothEnds::far_apart(&world).await?;
    ends.apply().await?;
    world.until_ready().await?;
    let accepts = world.journal("AcceptVpcPeeringConnection").await?;
    let [accept] = accepts.as_slice() else { anyhow::bail!("{accepts:?}") };
    ensure!(accept.region == OTHER_REGION && accept.account.as_deref() == Some(OTHER_ACCOUNT), "{accept:?}");
    let session = accept.session.as_ref().context("not by a role")?;
    let keys: Vec<_> = session.tags.keys().map(String::as_str).collect();
    ensure!(keys == ["vpcpeering.dev/cluster", "vpcpeering.dev/namespace"], "{session:?}");
    ensure!(session.tags.get("vpcpeering.dev/namespace") == Some(&world.namespace), "{session:?}");
    ensure!(session.name.starts_with(&world.namespace.chars().take(50).collect::<String>()), "{session:?}");
    let creates = world.journal("CreateVpcPeeringConnection").await?;
    ensure!(creates.len() == 1 && creates[0].region == REGION && creates[0].session.is_none(), "{creates:?}");
    ensure!(creates[0].parameters.get("PeerOwnerId").map(String::as_str) == Some(OTHER_ACCOUNT), "{creates:?}");
    Ok(())
}

pub async fn options_of_both_ends_are_set_and_repaired(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let mut ends = BothEnds::far_apart(&world).await?;
    let allow = json!({"allowDnsResolutionFromRemoteVpc": true});
    ends.manifest["spec"]["requester"]["options"] = allow.clone();
    for (ec2, vpc) in [(&world.ec2, &ends.world.requester), (&ends.accepter, &ends.accepter_vpc)] {
        let on = aws_sdk_ec2::types::AttributeBooleanValue::builder().value(true).build();
        ec2.modify_vpc_attribute().vpc_id(vpc).enable_dns_hostnames(on).send().await?;
    }
    ends.apply().await?;
    let object = world.until_ready().await?;
    ensure!(condition(&object, "OptionsSynced").is_some_and(|synced| synced.status == "True"));
    let allowed = async || -> Result<[Option<bool>; 2]> {
        let [requester, accepter] = ends.shown().await?;
        let of = |end: Option<aws_sdk_ec2::types::VpcPeeringConnectionVpcInfo>| {
            end?.peering_options?.allow_dns_resolution_from_remote_vpc
        };
        Ok([of(requester.requester_vpc_info), of(accepter.accepter_vpc_info)])
    };
    ensure!(allowed().await? == [Some(true), Some(false)], "{:?}", allowed().await?);
    // The accepter's options are set, too, and drift is repaired.
    world.patch(json!({"spec": {"accepter": {"options": allow}}})).await?;
    eventually("both allow", Duration::from_secs(30), async || {
        ensure!(allowed().await? == [Some(true), Some(true)], "{:?}", allowed().await?);
        Ok(())
    })
    .await?;
    let off = aws_sdk_ec2::types::PeeringConnectionOptionsRequest::builder()
        .allow_dns_resolution_from_remote_vpc(false)
        .build();
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?;
    ends.accepter
        .modify_vpc_peering_connection_options()
        .vpc_peering_connection_id(id)
        .accepter_peering_connection_options(off)
        .send()
        .await?;
    eventually("repaired", Duration::from_secs(30), async || {
        ensure!(allowed().await? == [Some(true), Some(true)], "{:?}", allowed().await?);
        Ok(())
    })
    .await?;
    for call in world.journal("ModifyVpcPeeringConnectionOptions").await? {
        ensure!(!call.parameters.keys().any(|name| name.contains("ClassicLink")), "{call:?}");
    }
    Ok(())
}

/// In EC2, each account and region has its own tags on a connection.
pub async fn each_end_has_its_own_tags(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let mut ends = BothEnds::far_apart(&world).await?;
    ends.manifest["spec"]["tags"] = json!([{"key": "team", "value": "network"}]);
    ends.manifest["spec"]["requester"]["tags"] = json!([{"key": "end", "value": "requester"}]);
    ends.manifest["spec"]["accepter"]["tags"] = json!([{"key": "end", "value": "accepter"}]);
    ends.apply().await?;
    let object = world.until_ready().await?;
    let tags = async || -> Result<[Vec<(String, String)>; 2]> {
        Ok(ends.shown().await?.map(|connection| {
            let tags = connection.tags.unwrap_or_default().into_iter();
            let mut tags: Vec<_> = tags
                .filter_map(|tag| Some((tag.key?, tag.value?)))
                .filter(|(key, _)| !key.starts_with("vpcpeering.dev/"))
                .collect();
            tags.sort();
            tags
        }))
    };
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let expected = ["requester", "accepter"].map(|end| vec![pair("end", end), pair("team", "network")]);
    ensure!(tags().await? == expected, "{:?}", tags().await?);
    // Tags of others stay. The operator's tags that the spec no longer has are removed.
    let id = connection_id(&object).context("no ID")?;
    let foreign = aws_sdk_ec2::types::Tag::builder().key("foreign").value("x").build();
    ends.accepter.create_tags().resources(id).tags(foreign).send().await?;
    world.patch(json!({"spec": {"accepter": {"tags": null}}})).await?;
    eventually("untagged", Duration::from_secs(30), async || {
        let [_, accepter] = tags().await?;
        ensure!(accepter == vec![pair("foreign", "x"), pair("team", "network")], "{accepter:?}");
        Ok(())
    })
    .await
}

/// The selector must match exactly one VPC.
pub async fn a_vpc_is_found_by_its_tags(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let tag = |vpc: &str, value: &str| {
        let tag = aws_sdk_ec2::types::Tag::builder().key("Name").value(value).build();
        world.ec2.create_tags().resources(vpc).tags(tag).send()
    };
    let mut manifest = world.manifest();
    manifest["spec"]["accepter"] = json!({"vpcSelector": {"tags": {"Name": "payments"}}});
    world.apply(&manifest).await?;
    world.until_stalled("VpcNotFound").await?;
    let third = ec2::create_vpc(&world.ec2, "10.3.0.0/16").await?;
    tag(&world.accepter, "payments").await?;
    tag(&third, "payments").await?;
    world.request_reconcile("1").await?;
    let object = world.until_stalled("AmbiguousVpc").await?;
    let message = &condition(&object, "Ready").context("no Ready")?.message;
    ensure!(message.contains(&third) && message.contains(&world.accepter), "{message}");
    tag(&third, "other").await?;
    world.request_reconcile("2").await?;
    let object = world.until_ready().await?;
    let status = object.status.context("no status")?;
    ensure!(status.accepter_vpc_info.and_then(|info| info.vpc_id).as_deref() == Some(world.accepter.as_str()));
    // The resolved VPC stays the same when its tags change later.
    tag(&world.accepter, "renamed").await?;
    world.request_reconcile("3").await?;
    world
        .until("reconciled", |object| {
            object.status.as_ref().is_some_and(|status| status.last_handled_reconcile_at.as_deref() == Some("3"))
        })
        .await?;
    world.until_ready().await?;
    ensure!(world.peerings().await?.len() == 1);
    Ok(())
}

//! Questions about EC2 and IAM that no source answers. Each returns an observation. It asserts nothing, so that an
//! answer of AWS is a fact to record, and not a failure.

use std::time::Instant;

use anyhow::{Context, Result};
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::{PeeringConnectionOptionsRequest, VpcPeeringConnection};

use crate::cloud::{Cloud, HERE, id_of, tag, tags_of};

/// A question, and the way to ask.
pub(super) struct Question {
    pub(super) text: &'static str,
    pub(super) ask: fn(&Cloud) -> Answer<'_>,
}

type Answer<'a> = std::pin::Pin<Box<dyn Future<Output = Result<String>> + 'a>>;

pub(super) const QUESTIONS: &[Question] = &[
    Question {
        text: "Does the answer of CreateVpcPeeringConnection show the tags of its TagSpecifications?",
        ask: |cloud| Box::pin(tags_in_the_answer(cloud)),
    },
    Question {
        text: "Which CIDR blocks of a pending request does the accepter's account see?",
        ask: |cloud| Box::pin(blocks_of_a_pending_request(cloud)),
    },
    Question {
        text: "Does a route table of a VPC without IPv6 take an IPv6 route through a peering?",
        ask: |cloud| Box::pin(ipv6_route_without_ipv6(cloud)),
    },
    Question {
        text: "Do aws:PrincipalTag/KEY and ${aws:PrincipalTag/KEY} work if KEY has a slash?",
        ask: |cloud| Box::pin(slash_in_a_tag_key(cloud)),
    },
    Question {
        text: "How long after CreateTags and ModifyVpcPeeringConnectionOptions does Describe show the change?",
        ask: |cloud| Box::pin(lag_of_tags_and_options(cloud)),
    },
];

async fn tags_in_the_answer(cloud: &Cloud) -> Result<String> {
    let (vpc, peer) = cloud.pair().await?;
    let ask = cloud.ec2(HERE).create_vpc_peering_connection().vpc_id(vpc).peer_vpc_id(peer);
    let ask = ask.tag_specifications(tags_of("vpc-peering-connection", [tag("a", "1"), tag("b", "2")]));
    let made = ask.send().await?.vpc_peering_connection.context("no connection")?;
    Ok(format!("{} of 2 tags", made.tags().len()))
}

/// The requester's VPC has two IPv4 blocks and an IPv6 block.
async fn blocks_of_a_pending_request(cloud: &Cloud) -> Result<String> {
    let (ec2, another) = (cloud.ec2(HERE), cloud.another().await?);
    let (vpc, peer) = (cloud.vpc(HERE, "10.0.0.0/16").await?, another.vpc(HERE, "10.1.0.0/16").await?);
    ec2.associate_vpc_cidr_block().vpc_id(&vpc).cidr_block("10.2.0.0/16").send().await?;
    ec2.associate_vpc_cidr_block().vpc_id(&vpc).amazon_provided_ipv6_cidr_block(true).send().await?;
    let ask = ec2.create_vpc_peering_connection().vpc_id(vpc).peer_vpc_id(peer);
    let made = ask.peer_owner_id(another.account().await?).send().await?;
    let id = id_of(&made.vpc_peering_connection.context("no connection")?)?;
    let blocks = |shown: &VpcPeeringConnection| {
        let end = shown.requester_vpc_info();
        let primary = end.and_then(|end| end.cidr_block()).unwrap_or("none");
        let set: Vec<_> = end.iter().flat_map(|end| end.cidr_block_set()).filter_map(|one| one.cidr_block()).collect();
        let ipv6 = end.iter().flat_map(|end| end.ipv6_cidr_block_set()).count();
        format!("cidrBlock {primary}, cidrBlockSet {set:?}, {ipv6} IPv6 blocks")
    };
    let theirs = another.settle(HERE, &id, "pending-acceptance").await?;
    let ours = cloud.settle(HERE, &id, "pending-acceptance").await?;
    Ok(format!("accepter's account: {}; requester's account: {}", blocks(&theirs), blocks(&ours)))
}

async fn ipv6_route_without_ipv6(cloud: &Cloud) -> Result<String> {
    let (ec2, id) = (cloud.ec2(HERE), cloud.active().await?);
    let shown = cloud.describe(HERE, &id).await?;
    let vpc = shown.requester_vpc_info().and_then(|end| end.vpc_id()).context("no VPC")?;
    let table = ec2.create_route_table().vpc_id(vpc).send().await?;
    let table = table.route_table.and_then(|table| table.route_table_id).context("no table")?;
    let create = ec2.create_route().route_table_id(table).destination_ipv6_cidr_block("2001:db8:1::/56");
    Ok(outcome(create.vpc_peering_connection_id(id).send().await))
}

/// Needs a role that the first account may assume and tag, in `CONTRACT_AWS_ROLE`. A session policy tests the keys, so
/// that no policy of the account changes.
async fn slash_in_a_tag_key(cloud: &Cloud) -> Result<String> {
    let Ok(role) = std::env::var("CONTRACT_AWS_ROLE") else {
        return Ok("not asked: CONTRACT_AWS_ROLE is not set".to_owned());
    };
    let account = cloud.account().await?;
    let key = "vpcpeering.dev/account";
    let allowed = async |condition: String, value: &str| -> Result<String> {
        let action = r#""Effect":"Allow","Action":"ec2:DescribeVpcs","Resource":"*""#;
        let statement = format!(r#"{{{action},"Condition":{{"StringEquals":{condition}}}}}"#);
        let policy = format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#);
        let tag = aws_sdk_sts::types::Tag::builder().key(key).value(value).build()?;
        let session = cloud.sts().assume_role().role_arn(&role).role_session_name("contract").policy(policy).tags(tag);
        let keys = session.send().await?.credentials.context("no credentials")?;
        let token = Some(keys.session_token);
        let session = aws_credential_types::Credentials::from_keys(keys.access_key_id, keys.secret_access_key, token);
        Ok(outcome(cloud.ec2_as(HERE, session).describe_vpcs().send().await))
    };
    let condition_key = format!(r#"{{"aws:PrincipalTag/{key}":"{account}"}}"#);
    let variable = format!(r#"{{"aws:PrincipalAccount":"${{aws:PrincipalTag/{key}}}"}}"#);
    Ok(format!(
        "condition key: {} with the value, {} with another; policy variable: {} with the value, {} with another",
        allowed(condition_key.clone(), &account).await?,
        allowed(condition_key, "000000000000").await?,
        allowed(variable.clone(), &account).await?,
        allowed(variable, "000000000000").await?,
    ))
}

async fn lag_of_tags_and_options(cloud: &Cloud) -> Result<String> {
    let (ec2, id) = (cloud.ec2(HERE), cloud.active().await?);
    let until = async |is_shown: &dyn Fn(&VpcPeeringConnection) -> bool| -> Result<String> {
        let began = Instant::now();
        let limit = cloud.run.as_ref().map(|run| run.patience()).unwrap_or_default();
        while !is_shown(&cloud.describe(HERE, &id).await?) {
            if began.elapsed() > limit {
                return Ok(format!("not within {limit:?}"));
            }
        }
        Ok(format!("{:.1?}", began.elapsed()))
    };
    ec2.create_tags().resources(&id).tags(tag("lag", "1")).send().await?;
    let tags = until(&|shown| shown.tags().iter().any(|tag| tag.key() == Some("lag"))).await?;
    let off = PeeringConnectionOptionsRequest::builder().allow_dns_resolution_from_remote_vpc(false).build();
    let modify = ec2.modify_vpc_peering_connection_options().vpc_peering_connection_id(&id);
    let modified = modify.requester_peering_connection_options(off).send().await;
    if modified.is_err() {
        return Ok(format!("tags: {tags}; options: {}", outcome(modified)));
    }
    let options = until(&|shown| shown.requester_vpc_info().is_some_and(|end| end.peering_options().is_some())).await?;
    Ok(format!("tags: {tags}; options: {options}"))
}

/// `accepted`, or the error code and message.
fn outcome<T, E: ProvideErrorMetadata>(outcome: Result<T, SdkError<E>>) -> String {
    match outcome {
        Ok(_) => "accepted".to_owned(),
        Err(error) => {
            let error = error.as_service_error();
            let part = |text: Option<&str>| text.unwrap_or("no answer").to_owned();
            let code = part(error.and_then(ProvideErrorMetadata::code));
            format!("refused ({code}: {})", part(error.and_then(ProvideErrorMetadata::message)))
        }
    }
}

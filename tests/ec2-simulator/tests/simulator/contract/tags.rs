use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::types::Tag;

use crate::cloud::{Cloud, HERE, filter, id_of, refused_with, tag, tags_of};

/// The tags of a connection, sorted.
async fn shown(cloud: &Cloud, id: &str) -> Result<Vec<(String, String)>> {
    let connection = cloud.describe(HERE, id).await?;
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let mut tags: Vec<_> = connection.tags().iter().map(|tag| (text(tag.key()), text(tag.value()))).collect();
    tags.sort();
    Ok(tags)
}

fn pairs(tags: &[(&str, &str)]) -> Vec<(String, String)> {
    tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(super) async fn a_resource_is_created_with_tags(cloud: &Cloud) -> Result<()> {
    let (vpc, peer) = cloud.pair().await?;
    let ask = cloud.ec2(HERE).create_vpc_peering_connection().vpc_id(vpc).peer_vpc_id(peer);
    let ask = ask.tag_specifications(tags_of("vpc-peering-connection", [tag("a&b", "<c>"), tag("empty", "")]));
    let made = ask.send().await?.vpc_peering_connection.context("no connection")?;
    ensure!(made.tags().len() == 2, "{made:?}");
    ensure!(shown(cloud, &id_of(&made)?).await? == pairs(&[("a&b", "<c>"), ("empty", "")]));
    Ok(())
}

pub(super) async fn tags_are_added_replaced_and_removed(cloud: &Cloud) -> Result<()> {
    let (ec2, id) = (cloud.ec2(HERE), cloud.pending().await?);
    ec2.create_tags().resources(&id).tags(tag("a", "1")).tags(tag("b", "1")).tags(tag("c", "1")).send().await?;
    ec2.create_tags().resources(&id).tags(tag("a", "2")).send().await?;
    ensure!(shown(cloud, &id).await? == pairs(&[("a", "2"), ("b", "1"), ("c", "1")]));
    ec2.delete_tags().resources(&id).tags(Tag::builder().key("a").build()).tags(tag("b", "other")).send().await?;
    ensure!(shown(cloud, &id).await? == pairs(&[("b", "1"), ("c", "1")]), "a value that does not match stays");
    ec2.delete_tags().resources(&id).tags(tag("b", "1")).send().await?;
    ensure!(shown(cloud, &id).await? == pairs(&[("c", "1")]));
    Ok(())
}

pub(super) async fn tags_are_described(cloud: &Cloud) -> Result<()> {
    let (ec2, id) = (cloud.ec2(HERE), cloud.pending().await?);
    ec2.create_tags().resources(&id).tags(tag("a", "1")).send().await?;
    let of_it = ec2.describe_tags().filters(filter("resource-id", &[&id])).send().await?;
    let [one] = of_it.tags() else { anyhow::bail!("{of_it:?}") };
    ensure!((one.key(), one.value(), one.resource_id()) == (Some("a"), Some("1"), Some(id.as_str())), "{one:?}");
    ensure!(one.resource_type().map(|kind| kind.as_str()) == Some("vpc-peering-connection"), "{one:?}");
    Ok(())
}

pub(super) async fn tags_are_visible_only_in_their_account(cloud: &Cloud) -> Result<()> {
    let another = cloud.another().await?;
    let (vpc, peer) = (cloud.vpc(HERE, "10.0.0.0/16").await?, another.vpc(HERE, "10.1.0.0/16").await?);
    let ask = cloud.ec2(HERE).create_vpc_peering_connection().vpc_id(vpc).peer_vpc_id(peer);
    let ask = ask.peer_owner_id(another.account().await?);
    let ask = ask.tag_specifications(tags_of("vpc-peering-connection", [tag("mine", "")]));
    let id = id_of(&ask.send().await?.vpc_peering_connection.context("no connection")?)?;
    another.settle(HERE, &id, "pending-acceptance").await?;
    ensure!(shown(&another, &id).await?.is_empty(), "another account sees them");
    another.ec2(HERE).create_tags().resources(&id).tags(tag("theirs", "")).send().await?;
    ensure!(shown(cloud, &id).await? == pairs(&[("mine", "")]));
    ensure!(shown(&another, &id).await? == pairs(&[("theirs", "")]));
    Ok(())
}

pub(super) async fn a_resource_has_at_most_fifty_tags(cloud: &Cloud) -> Result<()> {
    let (ec2, id) = (cloud.ec2(HERE), cloud.pending().await?);
    let tags = |range: std::ops::Range<u32>| Some(range.map(|number| tag(&number.to_string(), "")).collect());
    ec2.create_tags().resources(&id).set_tags(tags(0..50)).send().await?;
    refused_with(ec2.create_tags().resources(&id).set_tags(tags(50..51)).send().await, "TagLimitExceeded")?;
    ec2.create_tags().resources(&id).set_tags(tags(0..50)).send().await?;
    Ok(())
}

pub(super) async fn the_prefix_aws_is_reserved(cloud: &Cloud) -> Result<()> {
    let (ec2, id) = (cloud.ec2(HERE), cloud.pending().await?);
    let outcome = ec2.create_tags().resources(&id).tags(tag("aws:mine", "")).send().await;
    refused_with(outcome, "InvalidTagKey.Malformed")?;
    Ok(())
}

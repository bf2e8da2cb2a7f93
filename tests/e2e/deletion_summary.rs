//! `status.deletion` names what the deletion of a resource removes: the same calls that EC2 gets then.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use ec2_simulator::journal::{Entry, Query};
use environment::eventually;
use serde_json::json;
use vpc_peering_operator::api::DeletionSummary;

use super::accepter::end::{AccepterEnd, everything, request};
use super::both_ends::BothEnds;
use super::world::{World, connection_id};

/// Actions that remove something in AWS.
const REMOVALS: [&str; 3] = ["DeleteRoute", "DeleteVpcPeeringConnection", "DeleteTags"];

/// The calls since the last `clear_journal` that removed something, without repeats.
async fn removals(world: &World) -> Result<Vec<Entry>> {
    let entries = world.simulator().journal(&Query::default()).await?.entries;
    Ok(entries.into_iter().filter(|entry| REMOVALS.contains(&entry.action.as_str()) && entry.code.is_none()).collect())
}

fn parameter(entry: &Entry, name: &str) -> String {
    entry.parameters.get(name).cloned().unwrap_or_default()
}

/// The items that the summary has to name for these calls: routes, connections, and tags with their connections.
fn items(entries: &[Entry]) -> (BTreeSet<String>, BTreeSet<String>, BTreeSet<String>) {
    let (mut routes, mut connections, mut tags) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for entry in entries {
        match entry.action.as_str() {
            "DeleteRoute" => {
                let destination = parameter(entry, "DestinationCidrBlock");
                routes.insert(format!("{destination} in {}", parameter(entry, "RouteTableId")));
            }
            "DeleteVpcPeeringConnection" => _ = connections.insert(parameter(entry, "VpcPeeringConnectionId")),
            _ => {
                let keys = entry.parameters.iter().filter(|(name, _)| name.starts_with("Tag."));
                let keys = keys.filter(|(name, _)| name.ends_with(".Key")).map(|(_, key)| key);
                tags.extend(keys.map(|key| match key.rsplit_once('/') {
                    Some(("vpcpeering.dev", name)) if name.starts_with("accepter-") => {
                        "vpcpeering.dev/accepter-*".into()
                    }
                    Some(("vpcpeering.dev", _)) => "vpcpeering.dev/*".into(),
                    _ => key.clone(),
                }));
                tags.insert(parameter(entry, "ResourceId.1"));
            }
        }
    }
    (routes, connections, tags)
}

/// Compares a summary with the calls of the deletion.
fn check(summary: &DeletionSummary, entries: &[Entry]) -> Result<()> {
    let (routes, connections, tags) = items(entries);
    let texts_with =
        |part: &str| -> Vec<String> { summary.removes.iter().filter(|text| text.contains(part)).cloned().collect() };
    let count = |texts: &[String]| -> usize {
        texts.iter().filter_map(|text| text.split(' ').next()?.parse::<usize>().ok()).sum()
    };
    for (what, items) in [("route", &routes), ("peering connection", &connections)] {
        let texts = texts_with(what);
        ensure!(count(&texts) == items.len(), "{what}: {texts:?}, but the calls were {items:?}");
        for item in items {
            ensure!(texts.iter().any(|text| text.contains(item)), "{item} is not in {texts:?}");
        }
    }
    let texts: Vec<_> = texts_with("tags ").into_iter().filter(|text| text.starts_with("tags ")).collect();
    ensure!(texts.is_empty() == tags.is_empty(), "{texts:?}, but the calls were {tags:?}");
    for item in &tags {
        ensure!(texts.iter().any(|text| text.contains(item)), "{item} is not in {texts:?}");
    }
    Ok(())
}

/// A peering with routes and options at both ends. With `Delete`, the connection and its routes go. With `Retain`, only
/// the ownership tags of both ends do.
pub async fn the_summary_of_a_peering_names_the_calls_of_its_deletion(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let mut ends = BothEnds::far_apart(&world).await?;
    for end in ["requester", "accepter"] {
        ends.manifest["spec"][end]["routes"] = json!({"routeTables": {"all": true}});
    }
    ends.manifest["spec"]["tags"] = json!([{"key": "Name", "value": "x"}]);
    ends.apply().await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    let summary = object.status.and_then(|status| status.deletion).context("no summary")?;
    ensure!(summary.removes.len() == 3 && summary.stays.is_empty(), "{summary:?}");
    ensure!(summary.removes[0] == format!("1 peering connection: {id} (with its options and tags)"), "{summary:?}");

    world.patch(json!({"spec": {"deletionPolicy": "Retain"}})).await?;
    let retained = world.until("retained", |object| {
        let deletion = object.status.as_ref().and_then(|status| status.deletion.as_ref());
        deletion.is_some_and(|deletion| !deletion.stays.is_empty())
    });
    let retained = retained.await?.status.and_then(|status| status.deletion).context("no summary")?;
    ensure!(retained.removes.len() == 2 && retained.stays.len() == 3, "{retained:?}");
    world.patch(json!({"spec": {"deletionPolicy": "Delete"}})).await?;
    world
        .until("deleted", |object| {
            object.status.as_ref().is_some_and(|status| status.deletion.as_ref() == Some(&summary))
        })
        .await?;

    world.clear_journal().await?;
    world.delete().await?;
    world.until_gone().await?;
    check(&summary, &removals(&world).await?)
}

/// The same peering with `Retain`.
pub async fn the_summary_of_a_retained_peering_names_the_calls_of_its_deletion(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let mut ends = BothEnds::far_apart(&world).await?;
    ends.manifest["spec"]["requester"]["routes"] = json!({"routeTables": {"all": true}});
    ends.manifest["spec"]["deletionPolicy"] = json!("Retain");
    ends.apply().await?;
    let object = world.until_ready().await?;
    let summary = object.status.and_then(|status| status.deletion).context("no summary")?;
    ensure!(summary.stays.iter().any(|text| text.contains("1 route at the requester's end")), "{summary:?}");
    world.clear_journal().await?;
    world.delete().await?;
    world.until_gone().await?;
    let calls = removals(&world).await?;
    ensure!(calls.iter().all(|call| call.action == "DeleteTags") && calls.len() == 2, "{calls:?}");
    check(&summary, &calls)
}

/// The accepter's end: its routes and tags go, and the connection stays.
pub async fn the_summary_of_an_accepter_names_the_calls_of_its_deletion(world: World) -> Result<()> {
    let accepter = AccepterEnd::of_another_account(&world).await?;
    let _operator = world.operator.start().await?;
    accepter.apply(everything()).await?;
    let id = request(&world, &accepter, &world.requester).await?;
    accepter.until_accepted(&id).await?;
    accepter.until_configured(&id).await?;
    let object = accepter.until_accepted(&id).await?;
    let summary = object.status.and_then(|status| status.deletion).context("no summary")?;
    let expected = format!("tags vpcpeering.dev/accepter-*, Name of 1 connection: {id}");
    ensure!(summary.removes.len() == 2 && summary.removes[1] == expected, "{summary:?}");
    ensure!(summary.stays == [format!("1 peering connection: {id} (with options and other tags)")], "{summary:?}");
    world.clear_journal().await?;
    accepter.delete().await?;
    accepter.until_gone().await?;
    check(&summary, &removals(&world).await?)?;
    let shown =
        eventually("shown", std::time::Duration::from_secs(10), async || accepter.connection(&id).await).await?;
    ensure!(environment::ec2::code(&shown) == "active");
    Ok(())
}

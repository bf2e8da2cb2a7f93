//! Routes to managed prefix lists. Their owner can change the entries at any time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ec2_simulator::journal::Query;
use ec2_simulator::{Fault, Kind, Matching, Scene};
use environment::eventually;
use serde_json::{Value, json};

use super::both_ends::BothEnds;
use super::routes::{main_table, until_routes};
use super::world::{OTHER_ACCOUNT, OTHER_REGION, REGION, World, condition, connection_id};

/// The account of the requester.
const ACCOUNT: &str = "111111111111";

/// The prefix list at the requester's end, with blocks of the accepter.
const LIST: &str = "pl-0000000000000000a";
/// The prefix list at the accepter's end, with blocks of the requester.
const ABROAD: &str = "pl-0000000000000000b";
/// A prefix list of somebody else.
const FOREIGN: &str = "pl-0000000000000000f";

/// The maximum number of entries of every list.
const MAX_ENTRIES: usize = 5;

const LIMIT: Duration = Duration::from_secs(30);

/// The ID of a list, its account, its region and its entries.
pub type List<'a> = (&'a str, &'a str, &'a str, &'a [&'a str]);

/// Adds prefix lists to EC2, or changes their entries. Both accounts see each.
pub async fn put(world: &World, lists: &[List<'_>]) -> Result<()> {
    let list = |(id, account, region, entries): &List<'_>| {
        json!({
            "id": id, "account": account, "region": region, "name": id, "max_entries": MAX_ENTRIES, "entries": entries,
            "shared_with": [ACCOUNT, OTHER_ACCOUNT],
        })
    };
    let scene = json!({"prefix_lists": lists.iter().map(list).collect::<Vec<_>>()});
    let scene: Scene = serde_json::from_value(scene)?;
    world.simulator().add(&scene).await?;
    Ok(())
}

/// Changes the entries of [`LIST`].
async fn edit(world: &World, entries: &[&str]) -> Result<()> {
    put(world, &[(LIST, ACCOUNT, REGION, entries)]).await
}

fn to(lists: &[&str]) -> Value {
    json!({"routeTables": {"main": true}, "destinationPrefixListIds": lists})
}

async fn reads_of_entries(world: &World) -> Result<usize> {
    Ok(world.journal("GetManagedPrefixListEntries").await?.len())
}

pub async fn routes_lead_to_prefix_lists_at_both_ends(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let mut ends = BothEnds::far_apart(&world).await?;
    let vpc = ends.world.requester.clone();
    edit(&world, &["10.2.1.0/24"]).await?;
    put(&world, &[(ABROAD, OTHER_ACCOUNT, OTHER_REGION, &["10.1.0.0/16"])]).await?;
    let allowed = json!({"allowedNamespaces": {"list": [world.namespace]}});
    let identity = json!({"name": world.apply_identity(ACCOUNT, allowed).await?});
    ends.manifest["spec"]["requester"]["identityRef"] = identity;
    ends.manifest["spec"]["requester"]["routes"] = to(&[LIST]);
    ends.manifest["spec"]["accepter"]["routes"] = to(&[ABROAD]);
    ends.apply().await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    let table = main_table(&world.ec2, &vpc).await?;
    let remote_table = main_table(&ends.accepter, &ends.accepter_vpc).await?;
    let here = [(table.as_str(), LIST, id.as_str())];
    let abroad = [(remote_table.as_str(), ABROAD, id.as_str())];
    until_routes("the requester's end", &world.ec2, &vpc, &here).await?;
    until_routes("the accepter's end", &ends.accepter, &ends.accepter_vpc, &abroad).await?;

    // At rest, the lists are polled as other resources are. Their entries are read again only when they change.
    world.clear_journal().await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let calls = world.simulator().journal(&Query::default()).await?.counters;
    ensure!(calls.contains_key("DescribeManagedPrefixLists"), "{calls:?}");
    ensure!(reads_of_entries(&world).await? == 0, "{calls:?}");
    let version = |object: &vpc_peering_operator::api::VpcPeering| object.metadata.resource_version.clone();
    ensure!(version(&world.get().await?) == version(&object), "a write at rest");
    edit(&world, &["10.2.1.0/24", "10.2.2.0/24"]).await?;
    eventually("the new entries are read", LIMIT, async || {
        ensure!(reads_of_entries(&world).await? == 1);
        Ok(())
    })
    .await?;
    until_routes("unchanged", &world.ec2, &vpc, &here).await?;

    // The list gets an entry that would draw other traffic into the peering.
    edit(&world, &["10.2.1.0/24", "10.9.0.0/16"]).await?;
    let object = world.until_stalled("UnexpectedCidrBlock").await?;
    let message = &condition(&object, "RoutesReady").context("no RoutesReady")?.message;
    for part in [LIST, "10.9.0.0/16", "10.2.0.0/16", "spec.requester.routes.destinationPrefixListIds"] {
        ensure!(message.contains(part), "{part}: {message}");
    }
    until_routes("withdrawn", &world.ec2, &vpc, &[]).await?;
    until_routes("the other end keeps its route", &ends.accepter, &ends.accepter_vpc, &abroad).await?;
    edit(&world, &["10.2.1.0/24"]).await?;
    world.until_ready().await?;
    until_routes("again", &world.ec2, &vpc, &here).await?;

    // The deletion removes only the routes of the resource.
    put(&world, &[(FOREIGN, ACCOUNT, REGION, &["10.3.0.0/16"])]).await?;
    let create = || world.ec2.create_route().gateway_id("vgw-0123456789abcdef0");
    create().route_table_id(&table).destination_prefix_list_id(FOREIGN).send().await?;
    let answer = world.ec2.create_route_table().vpc_id(&vpc).send().await?;
    let other = answer.route_table.and_then(|table| table.route_table_id).context("no table")?;
    create().route_table_id(&other).destination_prefix_list_id(LIST).send().await?;
    world.delete().await?;
    world.until_gone().await?;
    until_routes("all removed", &ends.accepter, &ends.accepter_vpc, &[]).await?;
    let shown = world.ec2.describe_route_tables().route_table_ids(&table).route_table_ids(&other).send().await?;
    let routes = shown.route_tables().iter().flat_map(|table| table.routes());
    let mut left: Vec<_> = routes.filter_map(|route| route.destination_prefix_list_id()).collect();
    left.sort_unstable();
    ensure!(left == [LIST, FOREIGN], "{shown:?}");
    Ok(())
}

/// One route table without room for the list delays no other. A list that is unknown, of another region, or unreadable
/// gets no route, and takes none away.
pub async fn a_prefix_list_that_is_too_long_or_unknown_is_reported(world: World) -> Result<()> {
    world.simulator().set(&json!({"quotas": {"routes_per_table": 10}})).await?;
    edit(&world, &["10.2.0.0/16"]).await?;
    put(&world, &[(ABROAD, ACCOUNT, OTHER_REGION, &["10.2.0.0/16"])]).await?;
    let full = main_table(&world.ec2, &world.requester).await?;
    let answer = world.ec2.create_route_table().vpc_id(&world.requester).send().await?;
    let free = answer.route_table.and_then(|table| table.route_table_id).context("no table")?;
    for number in 0..6 {
        let create =
            world.ec2.create_route().route_table_id(&full).destination_cidr_block(format!("10.100.{number}.0/24"));
        create.gateway_id("igw-0123456789abcdef0").send().await?;
    }
    let _operator = world.operator.start().await?;
    let mut manifest = world.manifest();
    let all = |lists: &[&str]| json!({"routeTables": {"all": true}, "destinationPrefixListIds": lists});
    manifest["spec"]["requester"]["routes"] = all(&[LIST]);
    world.apply(&manifest).await?;
    let object = world.until_stalled("RouteTableFull").await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    let message = &condition(&object, "RoutesReady").context("no RoutesReady")?.message;
    let counts = [format!("{full} has 6 of the 10 routes"), format!("{LIST} counts as {MAX_ENTRIES}")];
    for part in counts.iter().map(String::as_str).chain(["L-93826ACB"]) {
        ensure!(message.contains(part), "{part}: {message}");
    }
    let of_free = (free.as_str(), LIST, id.as_str());
    until_routes("the free table", &world.ec2, &world.requester, &[of_free]).await?;
    world.ec2.delete_route().route_table_id(&full).destination_cidr_block("10.100.0.0/24").send().await?;
    world.until_ready().await?;
    let both = [(full.as_str(), LIST, id.as_str()), of_free];
    until_routes("both tables", &world.ec2, &world.requester, &both).await?;

    // The entries cannot be read: the routes stay, although an entry may be wrong.
    let matching = Matching { action: Some("GetManagedPrefixListEntries".into()), ..Matching::default() };
    let kind = Kind::Error { code: "UnauthorizedOperation".into(), message: None, status: None };
    world.simulator().add_fault(&Fault { matching, count: None, probability: 1.0, kind }).await?;
    edit(&world, &["10.2.0.0/16", "10.2.1.0/24"]).await?;
    let object = world.until_stalled("Unauthorized").await?;
    let message = &condition(&object, "RoutesReady").context("no RoutesReady")?.message;
    ensure!(message.contains(LIST) && message.contains("GetManagedPrefixListEntries"), "{message}");
    until_routes("unread", &world.ec2, &world.requester, &both).await?;
    world.simulator().clear_faults().await?;
    eventually("read again", LIMIT, async || {
        world.request_reconcile(&format!("{:?}", std::time::Instant::now())).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let object = world.get().await?;
        ensure!(condition(&object, "Ready").is_some_and(|ready| ready.status == "True"), "{:?}", object.status);
        Ok(())
    })
    .await?;

    // The spec names other lists.
    for unknown in [ABROAD, "pl-0123456789abcdef0"] {
        world.patch(json!({"spec": {"requester": {"routes": all(&[unknown])}}})).await?;
        let names = |object: &vpc_peering_operator::api::VpcPeering| {
            condition(object, "RoutesReady")
                .is_some_and(|ready| ready.reason == "PrefixListNotFound" && ready.message.contains(unknown))
        };
        world.until("the unknown list is named", names).await?;
        until_routes("no list", &world.ec2, &world.requester, &[]).await?;
    }
    Ok(())
}

pub async fn a_route_to_a_prefix_list_with_another_target_is_never_touched(world: World) -> Result<()> {
    edit(&world, &["10.2.0.0/16"]).await?;
    let table = main_table(&world.ec2, &world.requester).await?;
    let create = world.ec2.create_route().route_table_id(&table).destination_prefix_list_id(LIST);
    create.transit_gateway_id("tgw-0123456789abcdef0").send().await?;
    let _operator = world.operator.start().await?;
    let mut manifest = world.manifest();
    manifest["spec"]["requester"]["routes"] = to(&[LIST]);
    world.apply(&manifest).await?;
    let object = world.until_stalled("RouteConflict").await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    let message = &condition(&object, "RoutesReady").context("no RoutesReady")?.message;
    for part in [table.as_str(), LIST, "tgw-0123456789abcdef0"] {
        ensure!(message.contains(part), "{part}: {message}");
    }
    // The spec rejects the combination with excluded blocks.
    let excluded = json!({"spec": {"requester": {"routes": {"excludeCidrBlocks": ["10.2.1.0/24"]}}}});
    let refused = world.patch(excluded).await.err().context("accepted")?.to_string();
    ensure!(refused.contains("remove the entries from the lists"), "{refused}");
    ensure!(world.journal("DeleteRoute").await?.is_empty() && world.journal("ReplaceRoute").await?.is_empty());
    world.ec2.delete_route().route_table_id(&table).destination_prefix_list_id(LIST).send().await?;
    world.until_ready().await?;
    until_routes("its own route", &world.ec2, &world.requester, &[(table.as_str(), LIST, id.as_str())]).await?;
    // A route that somebody redirects is not touched when the resource goes.
    let replace = world.ec2.replace_route().route_table_id(&table).destination_prefix_list_id(LIST);
    replace.transit_gateway_id("tgw-0123456789abcdef0").send().await?;
    world.delete().await?;
    world.until_gone().await?;
    let shown = world.ec2.describe_route_tables().route_table_ids(&table).send().await?;
    let mut routes = shown.route_tables().iter().flat_map(|table| table.routes());
    let left = routes.find(|route| route.destination_prefix_list_id() == Some(LIST)).context("removed")?;
    ensure!(left.transit_gateway_id() == Some("tgw-0123456789abcdef0"), "{left:?}");
    Ok(())
}

/// Another account shares a list, and later adds an entry in a block that the other end has added to its VPC.
pub async fn a_prefix_list_of_another_account_leads_only_to_allowed_blocks(world: World) -> Result<()> {
    let theirs = world.client_in_account(OTHER_ACCOUNT, REGION).await?;
    let vpc = environment::ec2::create_vpc(&theirs, "10.2.0.0/16").await?;
    put(&world, &[(LIST, OTHER_ACCOUNT, REGION, &["10.2.1.0/24"])]).await?;
    let _operator = world.operator.start().await?;
    let mut manifest = world.manifest_with(json!({"acceptance": "Manual"}));
    manifest["spec"]["accepter"] = json!({"vpcId": vpc, "ownerId": OTHER_ACCOUNT});
    manifest["spec"]["requester"]["routes"] = to(&[LIST]);
    world.apply(&manifest).await?;
    let object = world.until_code("pending-acceptance").await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    theirs.accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
    world.until_ready().await?;
    let table = main_table(&world.ec2, &world.requester).await?;
    until_routes("allowed", &world.ec2, &world.requester, &[(table.as_str(), LIST, id.as_str())]).await?;
    theirs.associate_vpc_cidr_block().vpc_id(&vpc).cidr_block("10.200.0.0/16").send().await?;
    put(&world, &[(LIST, OTHER_ACCOUNT, REGION, &["10.2.1.0/24", "10.200.0.0/16"])]).await?;
    let object = world.until_stalled("UnexpectedCidrBlock").await?;
    let message = &condition(&object, "RoutesReady").context("no RoutesReady")?.message;
    for part in [LIST, OTHER_ACCOUNT, "10.200.0.0/16"] {
        ensure!(message.contains(part), "{part}: {message}");
    }
    until_routes("withdrawn", &world.ec2, &world.requester, &[]).await?;
    Ok(())
}

//! Many regions, messages and route tables.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use environment::{ec2, eventually};
use futures::{StreamExt, TryStreamExt, stream};
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::PROMPT;
use super::stub::{self, Answer};
use crate::memory_limit::MemoryLimit;
use crate::world::{REGION, World, condition, connection_id};

const LIMIT: Duration = Duration::from_secs(60);

/// Each region would need a client, a poller and metrics.
pub async fn six_hundred_invented_regions_cost_no_call(world: World) -> Result<()> {
    const REGIONS: usize = 600;
    let memory_limit = MemoryLimit::of_chart(&world)?;
    let operator = memory_limit.apply_to(world.operator.clone().with("LOG_LEVEL", "info")).start().await?;
    let apply = async |number: usize| -> Result<()> {
        let name = format!("invented-{number}");
        // The schema accepts at most two digits, after words.
        let region = format!("eu-invented-{}-{}", ["a", "b", "c", "d", "e", "f"][number / 100], number % 100);
        let mut manifest = world.manifest_with(json!({"requester": {"vpcId": world.requester, "region": region}}));
        manifest["metadata"]["name"] = json!(name);
        world.api().patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(manifest)).await?;
        Ok(())
    };
    stream::iter(0..REGIONS).map(apply).buffer_unordered(16).try_collect::<()>().await?;
    eventually("all are stalled", LIMIT, async || {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let objects = world.api().list(&ListParams::default()).await?.items;
        let stalled = objects
            .iter()
            .filter(|object| condition(object, "Stalled").is_some_and(|stalled| stalled.reason == "RegionNotAllowed"));
        ensure!(stalled.count() == REGIONS, "{} objects", objects.len());
        Ok(())
    })
    .await
    .map_err(|error| world.with_log(error))?;
    let calls = world.ec2_calls().await?;
    // The two VPCs of the test.
    ensure!(calls <= 2, "{calls} calls to EC2");
    let metrics = operator.get("/metrics").await?;
    ensure!(!metrics.contains("eu-invented"), "{metrics}");
    let start = Instant::now();
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    ensure!(start.elapsed() < PROMPT, "another resource was ready after {:?}", start.elapsed());
    operator.get("/readyz").await?;
    memory_limit.check(&operator)
}

/// An event queue that has many messages which are no events about peerings, or about other accounts and regions.
pub async fn ten_thousand_junk_messages_delay_no_event_for_long(world: World) -> Result<()> {
    const MESSAGES: usize = 10_000;
    let event = |account: &str, region: &str, id: &str| {
        json!({
            "account": account, "region": region, "source": "aws.ec2",
            "detail": {
                "eventName": "AcceptVpcPeeringConnection",
                "requestParameters": {"vpcPeeringConnectionId": id},
            },
        })
        .to_string()
    };
    let queue = Arc::new(Mutex::new(VecDeque::<String>::new()));
    let messages = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    let served = Arc::clone(&queue);
    let url = stub::start(move |request| receive(request, &served)).await?;
    let memory_limit = MemoryLimit::of_chart(&world)?;
    let operator = world.operator.clone().with("AWS_ENDPOINT_URL_SQS", &url).with("LOG_LEVEL", "info");
    let operator =
        operator.with("EVENT_QUEUE_URL", &format!("{url}/111111111111/peerings")).with("POLL_INTERVAL", "1h");
    let running = memory_limit.apply_to(operator).start().await?;
    world.apply(&world.manifest()).await?;
    let ready = world.until_ready().await?;
    let id = connection_id(&ready).context("no ID")?.to_owned();
    tokio::time::sleep(Duration::from_secs(2)).await;

    let before = world.ec2_calls().await?;
    messages().extend((0..MESSAGES).map(|number| match number % 4 {
        0 => "junk".to_owned(),
        1 => "{".repeat(10_000),
        2 => event("999999999999", REGION, &format!("pcx-{number:017x}")),
        _ => event("111111111111", &format!("eu-invented-{}", number % 30), &format!("pcx-{number:017x}")),
    }));
    let start = Instant::now();
    eventually("all messages are received", LIMIT, async || {
        running.get("/readyz").await?;
        let left = messages().len();
        ensure!(left == 0, "{left} messages are left");
        Ok(())
    })
    .await
    .map_err(|error| world.with_log(error))?;
    eprintln!("{MESSAGES} junk messages were received in {:?}", start.elapsed());
    let calls = world.ec2_calls().await? - before;
    ensure!(calls <= 2, "junk messages caused {calls} calls to EC2");

    // The operator polls only once in an hour, unless an event tells it to.
    world.ec2.delete_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
    messages().push_back(event("111111111111", REGION, &id));
    let start = Instant::now();
    world
        .until("no longer ready", |object| condition(object, "Ready").is_some_and(|ready| ready.status == "False"))
        .await?;
    ensure!(start.elapsed() < PROMPT, "the event was handled after {:?}", start.elapsed());
    memory_limit.check(&running)
}

/// The answer of SQS: up to ten messages of the queue.
fn receive(request: &str, queue: &Mutex<VecDeque<String>>) -> Answer {
    let (mut body, mut delay) = (json!({"Successful": [], "Failed": []}), Duration::ZERO);
    if request.to_ascii_lowercase().contains("amazonsqs.receivemessage") {
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        let count = queue.len().min(10);
        if count == 0 {
            // In place of a long poll.
            delay = Duration::from_millis(50);
        }
        let message = |(number, body): (usize, String)| json!({"MessageId": number.to_string(), "ReceiptHandle": number.to_string(), "Body": body});
        body = json!({"Messages": queue.drain(..count).enumerate().map(message).collect::<Vec<_>>()});
    }
    Answer { content_type: "application/x-amz-json-1.0", body: body.to_string(), delay }
}

/// One table more than the operator creates routes for.
pub async fn a_vpc_with_a_thousand_route_tables_is_served_up_to_the_limit(world: World) -> Result<()> {
    const ROUTES: usize = 1_000;
    let mut scene = serde_json::to_value(world.simulator().save().await?)?;
    let tags = scene["settings"]["tags_of_vpcs"].clone();
    let table = |number: usize| format!("rtb-{number:017x}");
    let place = |mut entry: Value| {
        entry["account"] = json!("111111111111");
        entry["region"] = json!(REGION);
        entry
    };
    let tables = scene["route_tables"].as_array_mut().context("no route tables")?;
    // The main table of the VPC is one more.
    tables.extend((0..ROUTES).map(|number| place(json!({"id": table(number), "vpc_id": world.requester}))));
    let sets = scene["tags"].as_array_mut().context("no tags")?;
    sets.extend((0..ROUTES).map(|number| place(json!({"resource": table(number), "tags": tags}))));
    world.simulator().load(&serde_json::from_value(scene)?).await?;
    let memory_limit = MemoryLimit::of_chart(&world)?;
    let operator = memory_limit.apply_to(world.operator.clone().with("LOG_LEVEL", "info")).start().await?;
    let requester = json!({"vpcId": world.requester, "region": REGION, "routes": {"routeTables": {"all": true}}});
    world.apply(&world.manifest_with(json!({"requester": requester}))).await?;
    eventually("the limit of routes is reached", LIMIT * 2, async || {
        let object = world.get().await?;
        let routes = condition(&object, "RoutesReady").context("no condition RoutesReady")?;
        ensure!(routes.message.contains("asks for 1001 routes, and the limit is 1000"), "{routes:?}");
        let recorded = object.status.as_ref().map_or(0, |status| status.routes.len());
        ensure!(recorded == ROUTES, "{recorded} recorded routes");
        let created = world.calls("CreateRoute").await?;
        ensure!(created == ROUTES as u64, "{created} calls");
        Ok(())
    })
    .await
    .map_err(|error| world.with_log(error))?;
    // A second resource is served meanwhile as usual.
    let other = world.with_name("other");
    let vpc = ec2::create_vpc(&world.ec2, "10.9.0.0/16").await?;
    let start = Instant::now();
    other.apply(&other.manifest_with(json!({"accepter": {"vpcId": vpc}}))).await?;
    let name = other.until_ready().await?.name_any();
    ensure!(start.elapsed() < PROMPT, "{name} was ready after {:?}", start.elapsed());
    operator.get("/readyz").await?;
    memory_limit.check(&operator)
}

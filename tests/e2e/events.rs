//! The event queue, on moto's SQS.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use environment::{Operator, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::world::{World, condition, connection_id};

const LIMIT: Duration = Duration::from_secs(60);

pub fn sqs(world: &World) -> Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::from_keys("test", "any", None))
        .endpoint_url(&world.shared.moto.url)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .region(Region::new("eu-central-1"));
    Client::from_conf(config.build())
}

/// An operator that polls only once in an hour.
fn listener(world: &World, url: &str) -> Operator {
    let operator = world.operator.clone().with("AWS_ENDPOINT_URL_SQS", &world.shared.moto.url);
    let operator = operator.with("AWS_REGION", "eu-central-1").with("EVENT_QUEUE_URL", url);
    operator.with("POLL_INTERVAL", "1h")
}

/// CloudTrail's event of a call, as EventBridge forwards it.
fn event(name: &str, id: &str) -> Value {
    json!({
        "version": "0", "source": "aws.ec2", "detail-type": "AWS API Call via CloudTrail",
        "account": "111111111111", "region": "eu-central-1",
        "detail": {
            "eventSource": "ec2.amazonaws.com", "eventName": name,
            "requestParameters": {"vpcPeeringConnectionId": id}, "responseElements": {"_return": true},
        },
    })
}

/// Number of messages in the queue, including those that are received but not deleted.
async fn messages(sqs: &Client, url: &str) -> Result<u64> {
    let names =
        [QueueAttributeName::ApproximateNumberOfMessages, QueueAttributeName::ApproximateNumberOfMessagesNotVisible];
    let answer = sqs.get_queue_attributes().queue_url(url).set_attribute_names(Some(names.to_vec())).send().await?;
    let attributes = answer.attributes.context("no attributes")?;
    let number = |name| anyhow::Ok(attributes.get(name).context("no such attribute")?.parse::<u64>()?);
    names.iter().map(number).sum()
}

pub async fn a_queued_event_is_handled_at_once(world: World) -> Result<()> {
    let sqs = sqs(&world);
    let url = sqs.create_queue().queue_name(&world.namespace).send().await?.queue_url.context("no URL")?;
    let _operator = listener(&world, &url).start().await?;
    world.apply(&world.manifest_with(json!({"acceptance": "Manual"}))).await?;
    let pending = world.until_code("pending-acceptance").await?;
    let id = connection_id(&pending).context("no ID")?.to_owned();

    // Invalid messages and unrelated events do not block the queue, and are deleted.
    for round in 0..20 {
        let entries = (0..10).map(|number| {
            let body = if number % 2 == 0 { "junk".to_owned() } else { event("RunInstances", "i-1").to_string() };
            SendMessageBatchRequestEntry::builder().id(format!("{round}-{number}")).message_body(body).build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        sqs.send_message_batch().queue_url(&url).set_entries(Some(entries)).send().await?;
    }
    eventually("the junk is deleted", LIMIT, async || {
        let left = messages(&sqs, &url).await?;
        ensure!(left == 0, "{left} messages are left");
        Ok(())
    })
    .await
    .map_err(|error| world.with_log(error))?;

    world.ec2.accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
    sqs.send_message()
        .queue_url(&url)
        .message_body(event("AcceptVpcPeeringConnection", &id).to_string())
        .send()
        .await?;
    world.until_ready().await?;

    // After this pause only an event makes the operator poll within the hour.
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.ec2.delete_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
    sqs.send_message()
        .queue_url(&url)
        .message_body(event("DeleteVpcPeeringConnection", &id).to_string())
        .send()
        .await?;
    world
        .until("no longer ready", |object| condition(object, "Ready").is_some_and(|ready| ready.status == "False"))
        .await?;
    Ok(())
}

pub async fn a_missing_queue_blocks_nothing(world: World) -> Result<()> {
    let sqs = sqs(&world);
    let url = format!("{}/123456789012/{}", world.shared.moto.url, world.namespace);
    let operator = listener(&world, &url).start().await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    eventually("the error in log and metrics", LIMIT, async || {
        ensure!(operator.output().contains("cannot read the event queue"), "{}", operator.output());
        let metrics = operator.get("/metrics").await?;
        let failed = |line: &str| {
            line.contains("ReceiveMessage") && (line.contains("NonExistentQueue") || line.contains("QueueDoesNotExist"))
        };
        ensure!(metrics.lines().any(failed), "{metrics}");
        Ok(())
    })
    .await?;
    // The operator uses the queue once it exists.
    sqs.create_queue().queue_name(&world.namespace).send().await?;
    sqs.send_message().queue_url(&url).message_body("junk").send().await?;
    eventually("the queue is read", LIMIT, async || {
        let left = messages(&sqs, &url).await?;
        ensure!(left == 0, "{left} messages are left");
        Ok(())
    })
    .await
    .map_err(|error| anyhow!("{error:#}\n{}", operator.output()))
}

/// An SQS that denies every call. Returns its URL and the number of calls. moto does not evaluate queue policies.
async fn denying() -> Result<(String, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let body = json!({
                "__type": "com.amazon.coral.service#AccessDeniedException",
                "message": "User: arn:aws:iam::111111111111:user/test is not authorized to perform: sqs:ReceiveMessage",
            });
            let body = body.to_string();
            let head = "HTTP/1.1 403 Forbidden\r\ncontent-type: application/x-amz-json-1.0\r\nconnection: close";
            let mut request = [0; 8192];
            _ = stream.read(&mut request).await;
            _ = stream.write_all(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
        }
    });
    Ok((url, asked))
}

pub async fn a_queue_that_denies_access_blocks_nothing_and_is_retried_slowly(world: World) -> Result<()> {
    let (url, asked) = denying().await?;
    let operator = world.operator.clone().with("AWS_ENDPOINT_URL_SQS", &url).with("AWS_REGION", "eu-central-1");
    let operator = operator.with("EVENT_QUEUE_URL", &format!("{url}/111111111111/peerings")).start().await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    eventually("the error in log and metrics", LIMIT, async || {
        let log = operator.output();
        ensure!(log.contains("cannot read the event queue") && log.contains("not authorized to perform"), "{log}");
        let metrics = operator.get("/metrics").await?;
        let denied = |line: &str| line.contains("ReceiveMessage") && line.contains("code=\"AccessDenied");
        ensure!(metrics.lines().any(denied), "{metrics}");
        Ok(())
    })
    .await?;
    // The pause between attempts starts at about one second and doubles.
    let before = asked.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let more = asked.load(Ordering::Relaxed) - before;
    ensure!(more <= 6, "{more} calls in 6 s");
    Ok(())
}

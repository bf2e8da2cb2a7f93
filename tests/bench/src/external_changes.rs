//! How soon the operator reports changes that others make in AWS: by polling, and with the event queue.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use environment::operator::RunningOperator;
use environment::{Moto, ec2, eventually};
use serde_json::{Value, json};

use super::bench::{Bench, LIMIT, Location, OWN_ACCOUNT, REGIONS, is_active};
use super::report::Goal::{self, AtMost};
use super::report::Row;
use super::resources::VpcPeering;

/// The default poll interval of the operator.
const POLL: &str = "60s";
/// Time that the simulated EC2 takes from acceptance to an active connection, in seconds. It shows a deletion at once.
const EC2_DELAY: f64 = 0.5;
/// Time after which the operator polls at its longest interval.
const UNTIL_IDLE: Duration = Duration::from_secs(20);

/// The event queue of the operator. The benchmark sends the events that CloudTrail and EventBridge would send.
struct Queue {
    sqs: aws_sdk_sqs::Client,
    url: String,
}

pub async fn measure() -> Result<Vec<Row>> {
    let bench = Bench::start(1, vec![Location::own()], json!({})).await?;
    let moto = Moto::start(bench.control_plane.folder()).await?;
    let queue = Queue::create(&moto).await?;
    let mut rows = Vec::new();
    let mut row = |figure: &str, measured: f64, goal: Goal| {
        rows.push(Row::new("", figure, measured, Some(goal)));
    };
    let operator = bench.operator.clone().with("POLL_INTERVAL", POLL);
    let running = operator.start().await?;
    let (accepted, deleted) = bench.accept_and_delete(&running, 0, None).await?;
    row("accepted externally → Ready, without EC2's delay, s", accepted, AtMost(5.0));
    row("deleted externally → reported, s", deleted, AtMost(60.0));
    running.terminate().await?;
    let operator = operator.with("EVENT_QUEUE_URL", &queue.url).with("AWS_REGION", REGIONS[0]);
    let running = operator.with("AWS_ENDPOINT_URL_SQS", &moto.url).start().await?;
    let (accepted, deleted) = bench.accept_and_delete(&running, 1, Some(&queue)).await?;
    row("accepted externally → Ready, with event queue, s", accepted, AtMost(1.0));
    row("deleted externally → reported, with event queue, s", deleted, AtMost(1.0));
    Ok(rows)
}

impl Bench {
    /// Accepts a request and deletes the connection with another client. Returns the time until the resource reports
    /// each.
    async fn accept_and_delete(
        &self,
        running: &RunningOperator,
        number: usize,
        queue: Option<&Queue>,
    ) -> Result<(f64, f64)> {
        self.until_serving(running).await?;
        let (name, ec2) = (format!("peering-{number}"), ec2::client(&self.endpoint, REGIONS[0]));
        self.apply_with(&name, number, json!({"acceptance": "Manual"})).await?;
        let requested = self.until_shown(&name, |object| code(object) == Some("pending-acceptance")).await?;
        let id = requested.status.and_then(|status| status.vpc_peering_connection_id).context("no ID")?;
        tokio::time::sleep(UNTIL_IDLE).await;
        ec2.accept_vpc_peering_connection().vpc_peering_connection_id(id.as_str()).send().await?;
        let start = Instant::now();
        send_event(queue, "AcceptVpcPeeringConnection", &id).await?;
        self.until_shown(&name, is_active).await?;
        let accepted = start.elapsed().as_secs_f64() - EC2_DELAY;
        tokio::time::sleep(UNTIL_IDLE).await;
        ec2.delete_vpc_peering_connection().vpc_peering_connection_id(id.as_str()).send().await?;
        let start = Instant::now();
        send_event(queue, "DeleteVpcPeeringConnection", &id).await?;
        self.until_shown(&name, |object| !is_active(object)).await?;
        Ok((accepted, start.elapsed().as_secs_f64()))
    }

    async fn until_shown(&self, name: &str, is_shown: impl Fn(&VpcPeering) -> bool) -> Result<VpcPeering> {
        eventually(name, LIMIT, async || {
            let object = self.api.get(name).await?;
            ensure!(is_shown(&object), "{:?}", object.status);
            Ok(object)
        })
        .await
    }
}

impl Queue {
    async fn create(moto: &Moto) -> Result<Self> {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(Credentials::from_keys("test", "any", None))
            .endpoint_url(&moto.url)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .region(Region::new(REGIONS[0]));
        let sqs = aws_sdk_sqs::Client::from_conf(config.build());
        let url = sqs.create_queue().queue_name("peerings").send().await?.queue_url.context("no URL")?;
        Ok(Self { sqs, url })
    }
}

/// Sends the CloudTrail event of a call if there is a queue. In AWS, the event takes some seconds to arrive.
async fn send_event(queue: Option<&Queue>, name: &str, id: &str) -> Result<()> {
    let event: Value = json!({
        "source": "aws.ec2", "detail-type": "AWS API Call via CloudTrail",
        "account": OWN_ACCOUNT, "region": REGIONS[0],
        "detail": {"eventName": name, "requestParameters": {"vpcPeeringConnectionId": id}},
    });
    if let Some(Queue { sqs, url }) = queue {
        sqs.send_message().queue_url(url).message_body(event.to_string()).send().await?;
    }
    Ok(())
}

fn code(object: &VpcPeering) -> Option<&str> {
    object.status.as_ref()?.status.as_ref().map(|status| status.code.as_str())
}

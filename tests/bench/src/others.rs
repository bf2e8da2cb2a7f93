//! How soon it is told what others do in AWS: found by polls, and by the event queue.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use environment::operator::RunningOperator;
use environment::{Moto, ec2, eventually};
use serde_json::{Value, json};

use super::resources::VpcPeering;
use super::{AtMost, Bench, Goal, LIMIT, OWN_ACCOUNT, REGIONS, Row, is_active, one_place};

/// How often the operator polls at rest, where nobody says otherwise.
const POLL: &str = "60s";
/// What EC2 takes by itself from acceptance to active, and from deletion on, which it shows at once.
const TO_ACTIVE: f64 = 0.5;
/// Long enough for every poll to have become as seldom as it will be.
const AT_REST: Duration = Duration::from_secs(20);

/// The queue that the operator listens to, and what CloudTrail and EventBridge do.
struct Queue {
    sqs: aws_sdk_sqs::Client,
    url: String,
}

pub async fn measure() -> Result<Vec<Row>> {
    let bench = Bench::start(1, one_place(), json!({})).await?;
    let moto = Moto::start(bench.control_plane.folder()).await?;
    let queue = Queue::make(&moto).await?;
    let mut rows = Vec::new();
    let mut row = |figure: &str, measured: f64, goal: Goal| {
        println!("  {figure}: {measured:.3}");
        rows.push(Row { figure: figure.into(), measured, goal: Some(goal), ack: None });
    };
    let operator = bench.operator.clone().with("POLL_INTERVAL", POLL);
    let running = operator.start().await?;
    let (accepted, deleted) = bench.accept_and_delete(&running, 0, None).await?;
    row("accepted by the other side → Ready, beyond EC2's own time, s", accepted, AtMost(5.0));
    row("deleted by another → told, s", deleted, AtMost(60.0));
    running.terminate().await?;
    let operator = operator.with("EVENT_QUEUE_URL", &queue.url).with("AWS_REGION", REGIONS[0]);
    let running = operator.with("AWS_ENDPOINT_URL_SQS", &moto.url).start().await?;
    let (accepted, deleted) = bench.accept_and_delete(&running, 1, Some(&queue)).await?;
    row("accepted by the other side → Ready, by the event queue, s", accepted, AtMost(1.0));
    row("deleted by another → told, by the event queue, s", deleted, AtMost(1.0));
    Ok(rows)
}

impl Bench {
    /// How long it took until it was told that somebody else has accepted a request, and deleted the connection.
    async fn accept_and_delete(
        &self,
        running: &RunningOperator,
        number: usize,
        queue: Option<&Queue>,
    ) -> Result<(f64, f64)> {
        self.until_serving(running).await?;
        let (name, ec2) = (format!("peering-{number}"), ec2::client(&self.endpoint, REGIONS[0]));
        self.make(&name, number, json!({"acceptance": "Manual"})).await?;
        let requested = self.until_so(&name, |object| code(object) == Some("pending-acceptance")).await?;
        let id = requested.status.and_then(|status| status.vpc_peering_connection_id).context("no ID")?;
        tokio::time::sleep(AT_REST).await;
        ec2.accept_vpc_peering_connection().vpc_peering_connection_id(id.as_str()).send().await?;
        let start = Instant::now();
        tell(queue, "AcceptVpcPeeringConnection", &id).await?;
        self.until_so(&name, is_active).await?;
        let accepted = start.elapsed().as_secs_f64() - TO_ACTIVE;
        tokio::time::sleep(AT_REST).await;
        ec2.delete_vpc_peering_connection().vpc_peering_connection_id(id.as_str()).send().await?;
        let start = Instant::now();
        tell(queue, "DeleteVpcPeeringConnection", &id).await?;
        self.until_so(&name, |object| !is_active(object)).await?;
        Ok((accepted, start.elapsed().as_secs_f64()))
    }

    async fn until_so(&self, name: &str, is_so: impl Fn(&VpcPeering) -> bool) -> Result<VpcPeering> {
        eventually(name, LIMIT, async || {
            let object = self.api.get(name).await?;
            ensure!(is_so(&object), "{:?}", object.status);
            Ok(object)
        })
        .await
    }
}

impl Queue {
    async fn make(moto: &Moto) -> Result<Self> {
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

/// What CloudTrail says of a call, as EventBridge passes it on, where there is a queue. In AWS it takes some seconds.
async fn tell(queue: Option<&Queue>, name: &str, id: &str) -> Result<()> {
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

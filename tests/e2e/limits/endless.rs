//! Answers of EC2 that do not end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::stub::{self, Answer};
use crate::memory_limit::MemoryLimit;
use crate::world::{World, condition};

/// The most pages of a listing, as the operator limits them.
const PAGES: usize = 500;

/// Connections of each page.
const PER_PAGE: usize = 50;

/// EC2 returns a new page token with each page of peering connections. The status says so, and the operator goes on.
pub async fn pages_without_end_are_reported(world: World) -> Result<()> {
    let pages = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&pages);
    let url = stub::start(move |_| {
        let body = page(count.fetch_add(1, Ordering::Relaxed));
        Answer { content_type: "text/xml", body, delay: Duration::ZERO }
    })
    .await?;
    let memory_limit = MemoryLimit::of_chart(&world)?;
    let operator = memory_limit.apply_to(world.operator.clone().with("AWS_ENDPOINT_URL_EC2", &url));
    let operator = operator.with("LOG_LEVEL", "info").start().await?;
    world.apply(&world.manifest()).await?;
    let object = world
        .until("reported", |object| {
            condition(object, "Ready").is_some_and(|ready| ready.message.contains("more than 500 pages"))
        })
        .await?;
    let ready = condition(&object, "Ready").context("no condition Ready")?;
    ensure!(ready.status != "True" && ready.message.contains("peering connections"), "{ready:?}");
    operator.get("/readyz").await?;
    operator.get("/livez").await?;
    // The next attempts have a backoff.
    let asked = pages.load(Ordering::Relaxed);
    ensure!((PAGES..20 * PAGES).contains(&asked), "{asked} pages");
    memory_limit.check(&operator)
}

fn page(number: usize) -> String {
    let items: String = (0..PER_PAGE)
        .map(|item| {
            let id = number * PER_PAGE + item;
            format!(
                "<item><vpcPeeringConnectionId>pcx-{id:017x}</vpcPeeringConnectionId><requesterVpcInfo><ownerId>\
                 111111111111</ownerId><vpcId>vpc-{id:017x}</vpcId></requesterVpcInfo><accepterVpcInfo><ownerId>\
                 222222222222</ownerId><vpcId>vpc-{id:017x}</vpcId></accepterVpcInfo><status><code>active</code>\
                 </status></item>"
            )
        })
        .collect();
    format!(
        "<DescribeVpcPeeringConnectionsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
         <vpcPeeringConnectionSet>{items}</vpcPeeringConnectionSet><nextToken>token-{number}</nextToken>\
         </DescribeVpcPeeringConnectionsResponse>"
    )
}

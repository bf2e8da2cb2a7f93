//! Measures the calls per second of a simulator with 10,000 connections. Run it with `--release`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ec2_simulator::clock::Clock;
use ec2_simulator::{Scene, Server, Settings, Simulator};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use serde_json::json;

const CONNECTIONS: usize = 10_000;
const CALLERS: usize = 8;
const PERIOD: Duration = Duration::from_secs(3);
const AUTHORIZATION: &str =
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=0";

type Http = legacy::Client<HttpConnector, Full<Bytes>>;

fn main() -> Result<()> {
    let (sender, receiver) = std::sync::mpsc::channel();
    // The simulator runs on one thread, so it uses at most one core.
    std::thread::spawn(move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let simulator = Simulator::new(Settings::default(), Clock::new(Timestamp::now(), 1.0), 1);
            simulator.load(scene()?).map_err(|error| anyhow::anyhow!(error.message))?;
            let server = Server::start(([127, 0, 0, 1], 0).into(), simulator).await?;
            sender.send(server.url())?;
            std::future::pending().await
        })
    });
    let url: Arc<str> = receiver.recv()?.into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let one = format!("VpcPeeringConnectionId.1={}", pcx(CONNECTIONS / 2));
    let of_vpc = format!("Filter.1.Name=requester-vpc-info.vpc-id&Filter.1.Value.1={}", vpc(7));
    for (name, form) in [
        ("one connection by its ID", format!("Action=DescribeVpcPeeringConnections&{one}")),
        ("the connections of a VPC", format!("Action=DescribeVpcPeeringConnections&{of_vpc}")),
        ("a page of 1000", "Action=DescribeVpcPeeringConnections&MaxResults=1000".to_owned()),
        (
            "all, filtered by status",
            "Action=DescribeVpcPeeringConnections&Filter.1.Name=status-code&Filter.1.Value.1=failed".to_owned(),
        ),
        ("a tag", format!("Action=CreateTags&ResourceId.1={}&Tag.1.Key=a&Tag.1.Value=b", pcx(1))),
        ("a repeated request", format!("Action=CreateVpcPeeringConnection&VpcId={}&PeerVpcId={}", vpc(2), vpc(3))),
    ] {
        println!("{name:>26}: {:>8.0} calls/s", runtime.block_on(rate(&url, &form))?);
    }
    Ok(())
}

/// Calls per second. Each caller waits for a response before the next call.
async fn rate(url: &Arc<str>, form: &str) -> Result<f64> {
    let before = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let (url, form) = (Arc::clone(url), Bytes::from(form.to_owned()));
        callers.spawn(async move {
            let http: Http = legacy::Client::builder(TokioExecutor::new()).build_http();
            let mut calls = 0_u32;
            while before.elapsed() < PERIOD {
                let request = Request::post(&*url).header("authorization", AUTHORIZATION);
                let answer = http.request(request.body(Full::new(form.clone()))?).await?;
                ensure!(answer.status().is_success(), "{}", answer.status());
                answer.into_body().collect().await?;
                calls += 1;
            }
            Ok(calls)
        });
    }
    let mut calls = 0.0;
    while let Some(caller) = callers.join_next().await {
        calls += f64::from(caller??);
    }
    Ok(calls / before.elapsed().as_secs_f64())
}

/// A chain of VPCs, each peered with the next.
fn scene() -> Result<Scene> {
    let location = |id: String| json!({ "account": "111111111111", "region": "us-east-1", "vpc_id": id });
    let vpcs = (0..=CONNECTIONS).map(|number| {
        let block = format!("10.{}.{}.0/24", number / 256, number % 256);
        json!({ "id": vpc(number), "account": "111111111111", "region": "us-east-1", "cidr_blocks": [block] })
    });
    let peerings = (0..CONNECTIONS).map(|number| {
        let (requester, accepter) = (location(vpc(number)), location(vpc(number + 1)));
        json!({ "id": pcx(number), "requester": requester, "accepter": accepter, "phase": { "code": "active" } })
    });
    let scene = json!({ "vpcs": vpcs.collect::<Vec<_>>(), "peerings": peerings.collect::<Vec<_>>() });
    serde_json::from_value(scene).context("invalid scene")
}

fn vpc(number: usize) -> String {
    format!("vpc-{number:017x}")
}

fn pcx(number: usize) -> String {
    format!("pcx-{number:017x}")
}

//! The HTTP server of a running operator.

use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::finding::{Finding, Subject};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Characters of an answer that are shown.
const ANSWER_LENGTH: usize = 200;

/// Sends a request to `/readyz` at `url`.
pub(super) async fn check(url: Option<&str>) -> Finding {
    let Some(url) = url else {
        let remedy = "set --operator-url, for example http://localhost:8080 after kubectl port-forward to a pod";
        return Finding::skip(Subject::Probes, "the address of the operator is unknown", remedy);
    };
    let url = format!("{}/readyz", url.trim_end_matches('/'));
    match tokio::time::timeout(TIMEOUT, get(&url)).await {
        Ok(Ok((200, _))) => Finding::pass(Subject::Probes, format!("{url} answers 200")),
        Ok(Ok((status, answer))) => {
            let answer: String = answer.chars().take(ANSWER_LENGTH).collect();
            let remedy = "the operator is not ready; its answer and its log say why";
            Finding::fail(Subject::Probes, format!("{url} answers {status}: {answer}"), remedy)
        }
        Ok(Err(error)) => unreachable(&url, &format!("{error:#}")),
        Err(_) => unreachable(&url, &format!("no answer within {} s", TIMEOUT.as_secs())),
    }
}

fn unreachable(url: &str, reason: &str) -> Finding {
    let remedy = "check that the operator runs, the port, and the network policies";
    Finding::fail(Subject::Probes, format!("cannot reach {url}: {reason}"), remedy)
}

async fn get(url: &str) -> anyhow::Result<(u16, String)> {
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(HttpConnector::new());
    let answer = client.get(url.parse()?).await?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

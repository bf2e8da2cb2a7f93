//! The version and the clock of the API server.

use http_body_util::BodyExt;
use hyper::Request;
use k8s_openapi::apimachinery::pkg::version::Info;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::client::Body;

use super::clock::{self, Skew};
use super::finding::{Finding, Subject};

/// The oldest minor version of Kubernetes 1 that this release supports: `kubeVersion` of the chart.
const MIN_MINOR: u32 = 33;

/// Asks for the version, which needs no right.
pub(super) async fn check(client: &Client) -> Vec<Finding> {
    match version(client).await {
        Ok((version, skew)) => vec![judge(&version), clock::judge("the API server", skew)],
        Err(error) => vec![Finding::fail(
            Subject::ApiServer,
            format!("cannot ask the API server for its version: {error:#}"),
            "check the network, and the server and the credentials in the kubeconfig; kubectl version uses the same",
        )],
    }
}

async fn version(client: &Client) -> anyhow::Result<(Info, Option<Skew>)> {
    let response = client.send(Request::get("/version").body(Body::empty())?).await?;
    let now = Timestamp::now();
    let date = response.headers().get(hyper::header::DATE).and_then(|date| date.to_str().ok());
    let skew = date.and_then(|date| Skew::new(date, now));
    let body = response.into_body().collect().await?.to_bytes();
    Ok((serde_json::from_slice(&body)?, skew))
}

fn judge(version: &Info) -> Finding {
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>();
    let number = digits(&version.major).and_then(|major| Ok((major, digits(&version.minor)?)));
    match number {
        Ok(number) if number >= (1, MIN_MINOR) => Finding::pass(Subject::ApiServer, version.git_version.clone()),
        _ => Finding::fail(
            Subject::ApiServer,
            format!("version {} is too old", version.git_version),
            format!("upgrade the cluster to Kubernetes 1.{MIN_MINOR} or newer"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn the_chart_requires_the_same_version() {
        let chart = include_str!("../../../charts/vpc-peering-operator/Chart.yaml");
        assert!(chart.contains(&format!("kubeVersion: \">=1.{MIN_MINOR}.0-0\"")), "{chart}");
    }

    #[test]
    fn an_old_api_server_fails() {
        for (minor, verdict) in
            [("33", Verdict::Pass), ("35+", Verdict::Pass), ("32", Verdict::Fail), ("", Verdict::Fail)]
        {
            let version = Info { major: "1".into(), minor: minor.into(), ..Info::default() };
            assert_eq!(judge(&version).verdict, verdict, "{minor}");
        }
    }
}

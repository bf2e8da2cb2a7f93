//! Metrics over TLS for users whom the API server permits to read them.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use environment::eventually;
use hyper::Request;
use kube::{Client, Config};
use serde_json::{Value, json};

use super::release::{LIMIT, install_operator};
use super::{NAME, Shared};
use environment::helm::find;

pub async fn monitors_read_the_metrics_over_tls(shared: Arc<Shared>) -> Result<()> {
    let monitor = async |secret: &str, tls: Value| -> Result<Value> {
        let values = json!({"metrics": {
            "secure": {"enabled": true, "certificateSecret": secret},
            "serviceMonitor": {"enabled": true, "tlsConfig": tls},
        }});
        let rendered = shared.helm.render(&values).await?;
        let service = find(&rendered, "Service", &format!("{NAME}-metrics"))?;
        ensure!(service["spec"]["ports"][0]["port"] == 8443, "{service}");
        let container = &find(&rendered, "Deployment", NAME)?["spec"]["template"]["spec"]["containers"][0];
        let ports = json!([{"name": "probes", "containerPort": 8080}, {"name": "metrics", "containerPort": 8443}]);
        ensure!(container["ports"] == ports, "{container}");
        ensure!(container["readinessProbe"]["httpGet"]["port"] == "probes", "{container}");
        ensure!(container["volumeMounts"].is_null() == secret.is_empty(), "{container}");
        Ok(find(&rendered, "ServiceMonitor", NAME)?["spec"]["endpoints"][0].clone())
    };
    let ca = json!({"ca": {"secret": {"name": "metrics-tls", "key": "ca.crt"}},
        "serverName": format!("{NAME}-metrics.install.svc")});
    for (secret, configured, expected) in [
        ("", json!({}), json!({"insecureSkipVerify": true})),
        ("metrics-tls", json!({}), ca),
        ("metrics-tls", json!({"serverName": "operator"}), json!({"serverName": "operator"})),
    ] {
        let endpoint = monitor(secret, configured).await?;
        ensure!(endpoint["scheme"] == "https" && endpoint["tlsConfig"] == expected, "{endpoint}");
        ensure!(endpoint["bearerTokenFile"] == "/var/run/secrets/kubernetes.io/serviceaccount/token", "{endpoint}");
    }
    Ok(())
}

/// The status code and the body of `/metrics` for a bearer token.
async fn scrape(address: &str, token: Option<&str>) -> Result<(u16, String)> {
    let mut config = Config::new(format!("https://{address}").parse()?);
    // The certificate is self-signed.
    config.accept_invalid_certs = true;
    let client = Client::try_from(config)?;
    let mut request = Request::get("/metrics");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    match client.request_text(request.body(Vec::new())?).await {
        Ok(text) => Ok((200, text)),
        Err(kube::Error::Api(status)) => Ok((status.code, status.message)),
        Err(error) => Err(error.into()),
    }
}

/// The operator has the rights that the chart grants with `metrics.secure`.
pub async fn only_permitted_users_read_the_metrics(shared: Arc<Shared>) -> Result<()> {
    let values = json!({"metrics": {"secure": {"enabled": true}}});
    let operator = install_operator(&shared, &values).await?.start().await?;
    let address = eventually("the address of the metrics", LIMIT, async || operator.secure_address()).await?;
    let address = address.replace("[::]", "127.0.0.1").replace("0.0.0.0", "127.0.0.1");

    let mut tokens = Vec::new();
    for account in ["prometheus", "stranger"] {
        shared.kubectl(&["create", "serviceaccount", account, "--namespace", "watched"]).await?;
        let token = shared.kubectl(&["create", "token", account, "--namespace", "watched"]).await?;
        tokens.push(token.trim_end().to_owned());
    }
    let reader = format!("--clusterrole={NAME}-metrics-reader");
    let bind = ["create", "clusterrolebinding", "scraper", "--serviceaccount=watched:prometheus", &reader];
    shared.kubectl(&bind).await?;

    let leads = format!(r#"leader_election_master_status{{name="{NAME}"}}"#);
    eventually("the permission is in force", LIMIT, async || {
        let (status, text) = scrape(&address, Some(&tokens[0])).await?;
        ensure!(status == 200 && text.contains(&leads), "{status}: {text}");
        Ok(())
    })
    .await?;
    for (token, expected) in [(Some(tokens[1].as_str()), 403), (Some("invented"), 401), (None, 401)] {
        let (status, text) = scrape(&address, token).await?;
        ensure!(status == expected && !text.contains("leader_election"), "{status}: {text}");
    }
    let refused = operator.get("/metrics").await.err().context("the port of the probes serves the metrics")?;
    ensure!(refused.to_string().contains(": 404: "), "{refused:#}");
    ensure!(operator.get("/healthz").await? == "ok\n");

    // Without the API server nobody gets metrics, except by a recent decision.
    shared.control_plane.stop_kube_apiserver().await?;
    let (unknown, recent) = (scrape(&address, Some("unknown")).await, scrape(&address, Some(&tokens[0])).await);
    shared.control_plane.start_kube_apiserver().await?;
    ensure!(unknown.as_ref().is_ok_and(|(status, _)| *status == 500), "{unknown:?}");
    ensure!(recent.as_ref().is_ok_and(|(status, _)| *status == 200), "{recent:?}");
    operator.terminate().await?;
    shared.kubectl(&["delete", "clusterrolebinding", "scraper"]).await?;
    shared.uninstall().await
}

//! Logs and traces.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ec2_simulator::journal::Query;
use ec2_simulator::{Kind, world::identity::Role};
use environment::eventually;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::Value;
use tokio::net::TcpListener;

use super::world::{REGION, SECRET, World, connection_id};

const LIMIT: Duration = Duration::from_secs(60);

pub async fn each_step_logs_object_connection_region_and_request_id(world: World) -> Result<()> {
    let operator = world.operator.clone().with("LOG_FORMAT", "json").with("LOG_LEVEL", "info");
    let operator = operator.start().await?;
    world.apply(&world.manifest()).await?;
    let object = world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?;
    let log = operator.output();
    let lines: Vec<Value> = log.lines().map(|line| Ok(serde_json::from_str(line)?)).collect::<Result<_>>()?;
    for action in ["CreateVpcPeeringConnection", "AcceptVpcPeeringConnection"] {
        let of_action: Vec<_> = lines.iter().filter(|line| line["fields"]["action"] == action).collect();
        let [line] = of_action[..] else { anyhow::bail!("{} lines of {action}:\n{log}", of_action.len()) };
        let query = Query { action: Some(action.into()), ..Query::default() };
        let call = world.simulator().journal(&query).await?.entries.pop().context("no call")?;
        let fields = &line["fields"];
        ensure!(fields["request_id"] == call.request_id, "not {}: {line}", call.request_id);
        ensure!(fields["region"] == REGION && fields["code"] == "OK", "{line}");
        let span = &line["span"];
        ensure!(span["object"] == "peering" && span["namespace"] == world.namespace.as_str(), "{line}");
        ensure!(action.starts_with("Create") || span["id"] == id, "not of {id}: {line}");
    }
    let created = lines.iter().find(|line| line["fields"]["reason"] == "Created").context("nothing says `Created`")?;
    ensure!(created["fields"]["message"] == format!("created {id}"), "{created}");
    Ok(())
}

/// At log level trace, with each kind of credential: an access key, a session, and the API server's token.
pub async fn no_credential_reaches_the_log(world: World) -> Result<()> {
    let arn = "arn:aws:iam::111111111111:role/peerings";
    let role = Role { arn: arn.into(), trusted: vec!["111111111111".into()], external_id: None };
    world.simulator().put_role(&role).await?;
    let key = world.simulator().create_key("111111111111").await?;
    let profiles = world.shared.control_plane.folder().join("profiles");
    std::fs::write(
        &profiles,
        format!(
            "[default]\nrole_arn = {arn}\nsource_profile = key\n\
             [profile key]\naws_access_key_id = {}\naws_secret_access_key = {SECRET}\n",
            key.access_key_id
        ),
    )?;
    let mut operator = world.operator.clone().with("LOG_FORMAT", "json").with("LOG_LEVEL", "trace");
    operator.environment.retain(|(name, _)| !name.ends_with("_KEY") && !name.ends_with("_KEY_ID"));
    let operator = operator.with("AWS_CONFIG_FILE", &profiles.to_string_lossy());
    world.fault("AcceptVpcPeeringConnection", Some(1), Kind::Throttle).await?;
    let running = operator.start().await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    world.delete().await?;
    world.until_gone().await?;
    let log = running.output();
    running.terminate().await?;
    ensure!(log.contains("AssumeRole"), "the log does not contain AssumeRole");
    ensure!(log.contains("TRACE"), "the log has no lines of level trace");
    ensure!(secrets(&world).await?.len() > 2, "the operator acted without a session");
    ensure_no_credential_is_logged(&world).await
}

/// The secrets: the operator's secret access key, its token for the API server, and the tokens of its sessions.
async fn secrets(world: &World) -> Result<Vec<String>> {
    let kubeconfig =
        world.operator.environment.iter().find(|(name, _)| *name == "KUBECONFIG").context("no kubeconfig")?;
    let kubeconfig: Value = serde_json::from_str(&std::fs::read_to_string(&kubeconfig.1)?)?;
    let token = kubeconfig["users"][0]["user"]["token"].as_str().context("no token")?;
    let mut secrets = vec![SECRET.to_owned(), token.to_owned()];
    if let Some(simulator) = world.simulator_if_used() {
        session_tokens(&serde_json::to_value(simulator.save().await?)?, &mut secrets);
    }
    Ok(secrets)
}

/// Checks every log of a test. Runs after each test.
pub async fn ensure_no_credential_is_logged(world: &World) -> Result<()> {
    let secrets = secrets(world).await?;
    for entry in std::fs::read_dir(world.shared.control_plane.folder())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !(name.starts_with(&world.namespace) && name.ends_with(".log")) {
            continue;
        }
        let log = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
        let told = log.lines().find(|line| secrets.iter().any(|secret| line.contains(secret)));
        if let Some(line) = told {
            anyhow::bail!("the log contains a credential: {}", line.chars().take(2000).collect::<String>());
        }
    }
    Ok(())
}

fn session_tokens(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("session_token").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| session_tokens(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| session_tokens(value, found)),
        _ => {}
    }
}

pub async fn traces_reach_a_collector(world: World) -> Result<()> {
    let collector = Collector::start().await?;
    let operator = world.operator.clone().with("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url).start().await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    // The last traces are sent when the operator stops.
    operator.terminate().await?;
    eventually("the request for the peering is traced", LIMIT, async || {
        let spans = collector.spans();
        let create = spans.iter().find(|span| span.name == "EC2.CreateVpcPeeringConnection");
        let create = create.with_context(|| format!("only {:?}", names(&spans)))?;
        let parent = spans.iter().find(|span| span.span_id == create.parent_span_id);
        let parent = parent.context("the span has no parent")?;
        ensure!(parent.name == "reconcile" && parent.trace_id == create.trace_id, "the parent is {}", parent.name);
        ensure!(attribute(parent, "object").as_deref() == Some("peering"), "{:?}", parent.attributes);
        ensure!(attribute(parent, "namespace").as_deref() == Some(&world.namespace), "{:?}", parent.attributes);
        Ok(())
    })
    .await
}

pub async fn an_unreachable_collector_blocks_nothing(world: World) -> Result<()> {
    let nobody = format!("http://127.0.0.1:{}", environment::free_port()?);
    let operator = world.operator.clone().with("OTEL_EXPORTER_OTLP_ENDPOINT", &nobody).start().await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    let (status, took) = operator.terminate().await?;
    ensure!(status.success() && took < Duration::from_secs(8), "{status} after {took:?}");
    Ok(())
}

fn names(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue;
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

/// A collector of OpenTelemetry traces.
struct Collector {
    url: String,
    received: Arc<Mutex<Vec<Bytes>>>,
}

impl Collector {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let received = Arc::<Mutex<Vec<Bytes>>>::default();
        let kept = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                let service = service_fn(move |request: Request<Incoming>| {
                    let kept = Arc::clone(&kept);
                    async move {
                        let is_traces = request.uri().path() == "/v1/traces"
                            && request.headers()["content-type"] == "application/x-protobuf";
                        let body = request.into_body().collect().await.map(|body| body.to_bytes());
                        kept.lock().unwrap().extend(body.ok().filter(|_| is_traces));
                        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Ok(Self { url, received })
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        let requests = received.iter().map(|body| ExportTraceServiceRequest::decode(body.clone()).unwrap());
        requests
            .flat_map(|request| request.resource_spans)
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans)
            .collect()
    }
}

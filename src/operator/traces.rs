//! OpenTelemetry traces by OTLP over HTTP: a span for each reconciliation, and in it one for each call to EC2.

use std::time::Duration;

use anyhow::{Context, Result};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// How long a collector may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the last spans may take to leave when we end.
const FLUSH: Duration = Duration::from_secs(1);

/// Sends traces to a collector.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends traces to the collector at `endpoint`, below which `/v1/traces` is, by this runtime. The other settings are
    /// the `OTEL_…` variables of <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>.
    ///
    /// # Errors
    /// When the endpoint is no URL, or the certificates of authorities cannot be read.
    pub fn to(endpoint: &str, runtime: Handle) -> Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .context("cannot read the certificates of authorities")?
            .https_or_http()
            .enable_http1()
            .build();
        let client = OnRuntime { client: HyperClient::new(connector, PATIENCE, None), runtime };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .build()
            .with_context(|| format!("cannot send traces to {endpoint}"))?;
        let resource = Resource::builder().with_service_name(env!("CARGO_PKG_NAME")).build();
        Ok(Self(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build()))
    }

    /// What turns spans of `tracing` into spans of OpenTelemetry.
    pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        // A call to EC2 is a debug span of its SDK. What HTTP clients say is left out: the exporter has one itself.
        let targets = Targets::new()
            .with_targets(["vpc_peering_operator", "kube_runtime"].map(|target| (target, Level::INFO)))
            .with_targets(["aws_sdk_ec2", "aws_sdk_sts"].map(|target| (target, Level::DEBUG)));
        let tracer = self.0.tracer(env!("CARGO_PKG_NAME"));
        tracing_opentelemetry::layer().with_tracer(tracer).with_threads(false).with_filter(targets)
    }

    /// Sends what has not been sent yet. The runtime must still run.
    pub fn flush(self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH) {
            tracing::warn!(%error, "the last traces are lost");
        }
    }
}

/// The exporter has a thread of its own, and Hyper asks for a runtime.
#[derive(Debug)]
struct OnRuntime {
    client: HyperClient<HttpsConnector<HttpConnector>>,
    runtime: Handle,
}

#[async_trait::async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        self.runtime.spawn(async move { client.send_bytes(request).await }).await?
    }
}

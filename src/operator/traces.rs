//! OpenTelemetry traces by OTLP over HTTP: a span per reconciliation, with a child span per AWS call.

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

/// Maximum time of a request to the collector.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum time for sending the last spans when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends traces to a collector.
#[derive(Debug)]
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends traces to `<endpoint>/v1/traces` on `runtime`. Other settings come from the `OTEL_…` variables of
    /// <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>.
    ///
    /// # Errors
    /// If the endpoint is not a URL, or the CA certificates cannot be read.
    pub(crate) fn to(endpoint: &str, runtime: Handle) -> Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .context("cannot read the CA certificates of the system")?
            .https_or_http()
            .enable_http1()
            .build();
        let client = OnRuntime { client: HyperClient::new(connector, REQUEST_TIMEOUT, None), runtime };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .build()
            .with_context(|| format!("cannot send traces to {endpoint}"))?;
        let resource = Resource::builder().with_service_name(env!("CARGO_PKG_NAME")).build();
        Ok(Self(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build()))
    }

    /// The layer that turns spans of `tracing` into spans of OpenTelemetry.
    pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        // The SDK's span of an AWS call has the level debug. Spans of HTTP clients are excluded, because the exporter's
        // own requests would create spans too.
        let targets = Targets::new()
            .with_targets(["vpc_peering_operator", "kube_runtime"].map(|target| (target, Level::INFO)))
            .with_targets(["aws_sdk_ec2", "aws_sdk_sts"].map(|target| (target, Level::DEBUG)));
        let tracer = self.0.tracer(env!("CARGO_PKG_NAME"));
        tracing_opentelemetry::layer().with_tracer(tracer).with_threads(false).with_filter(targets)
    }

    /// Sends the spans that are left. The runtime must still be running.
    pub(crate) fn flush(self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH_TIMEOUT) {
            tracing::warn!(%error, "cannot send the last traces; they are lost");
        }
    }
}

/// Runs requests on the runtime: the exporter calls from a thread of its own, and hyper needs a runtime.
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

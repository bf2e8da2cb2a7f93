//! The HTTP server of metrics and probes. It is read-only.

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::monitor::Monitor;

/// The content type of the Prometheus text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Maximum time for a client to send the headers of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Starts the server, which runs until the process ends.
///
/// # Errors
/// If it cannot listen on the address.
pub(crate) async fn start(address: SocketAddr, monitor: Arc<Monitor>) -> Result<()> {
    let listener = match TcpListener::bind(address).await {
        // Falls back to IPv4 on a node without IPv6.
        Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
    tracing::info!("serving metrics and probes on http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Most likely there are no file descriptors left. Other connections will close.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let monitor = Arc::clone(&monitor);
            tokio::spawn(async move {
                let service = service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&monitor, &request))));
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER_TIMEOUT)
                    .serve_connection(TokioIo::new(stream), service);
                // An error means that the client has closed the connection.
                connection.await.ok();
            });
        }
    });
    Ok(())
}

fn answer(monitor: &Monitor, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let probe = |outcome: Result<(), String>| match outcome {
        Ok(()) => (StatusCode::OK, TEXT, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, why + "\n"),
    };
    let (status, content_type, body) = match request.uri().path() {
        "/metrics" => match monitor.metrics() {
            Ok(text) => (StatusCode::OK, METRICS, text),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
        },
        // Proves only that the process answers.
        "/healthz" => probe(Ok(())),
        "/livez" => probe(monitor.live()),
        "/readyz" => probe(monitor.ready()),
        _ => (StatusCode::NOT_FOUND, TEXT, "/metrics, /healthz, /livez or /readyz\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

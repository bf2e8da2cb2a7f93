//! The answer to each request. Its texts are fixed: they show nothing of the cluster, of AWS or of an error. The log
//! has the details.

use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};

use super::super::monitor::Monitor;
use super::access::Access;
use super::decisions::Decision;
use super::scrape::Scrape;

/// The content type of the Prometheus text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// The pages of a server.
pub(super) enum Answers {
    Probes(Arc<Monitor>),
    ProbesAndMetrics(Arc<Monitor>, Arc<Scrape>),
    SecureMetrics(Arc<Scrape>, Access),
}

impl Answers {
    /// The response to a request.
    pub(super) async fn to(&self, request: &Request<impl Body>) -> Response<Full<Bytes>> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are allowed\n");
            return with_header(response, ALLOW, "GET, HEAD");
        }
        // No page reads a body, so that no client can make the server buffer one.
        if !request.body().is_end_stream() {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "a request must not have a body\n");
        }
        let path = request.uri().path();
        match self {
            Self::Probes(monitor) => probe(monitor, path).unwrap_or_else(|| not_found("/healthz, /livez or /readyz\n")),
            Self::ProbesAndMetrics(_, scrape) if path == "/metrics" => metrics(scrape),
            Self::ProbesAndMetrics(monitor, _) => {
                probe(monitor, path).unwrap_or_else(|| not_found("/metrics, /healthz, /livez or /readyz\n"))
            }
            Self::SecureMetrics(scrape, access) if path == "/metrics" => {
                authorized(scrape, access, request.headers()).await
            }
            Self::SecureMetrics(..) => not_found("/metrics\n"),
        }
    }
}

/// The answer of a probe, if the path is that of one.
fn probe(monitor: &Monitor, path: &str) -> Option<Response<Full<Bytes>>> {
    let outcome = match path {
        // Proves only that the process answers.
        "/healthz" => Ok(()),
        "/livez" => monitor.live(),
        "/readyz" => monitor.ready(),
        _ => return None,
    };
    Some(match outcome {
        Ok(()) => text(StatusCode::OK, "ok\n"),
        Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
    })
}

fn metrics(scrape: &Scrape) -> Response<Full<Bytes>> {
    match scrape.text() {
        Ok(metrics) => respond(StatusCode::OK, METRICS, metrics),
        Err(error) => {
            tracing::error!(%error, "cannot encode the metrics");
            text(StatusCode::INTERNAL_SERVER_ERROR, "cannot encode the metrics\n")
        }
    }
}

/// The metrics, if the API server knows the bearer token and permits its user to read them.
async fn authorized(scrape: &Scrape, access: &Access, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let unauthorized = || {
        let response = text(StatusCode::UNAUTHORIZED, "a valid bearer token is required\n");
        with_header(response, WWW_AUTHENTICATE, "Bearer")
    };
    let Some(token) = bearer_token(headers) else { return unauthorized() };
    match access.decide(token).await {
        Ok(Decision::Allowed) => metrics(scrape),
        Ok(Decision::Forbidden) => text(StatusCode::FORBIDDEN, "the user may not get /metrics\n"),
        Ok(Decision::Unauthenticated) => unauthorized(),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the API server did not review the token\n"),
    }
}

/// The token of the header `Authorization: Bearer …`. The scheme is case-insensitive:
/// <https://www.rfc-editor.org/rfc/rfc9110#section-11.1>
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn not_found(pages: &'static str) -> Response<Full<Bytes>> {
    text(StatusCode::NOT_FOUND, pages)
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    respond(status, TEXT, Bytes::from_static(body.as_bytes()))
}

fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    with_header(response, CONTENT_TYPE, content_type)
}

fn with_header(mut response: Response<Full<Bytes>>, name: HeaderName, value: &'static str) -> Response<Full<Bytes>> {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_read_from_its_header_only() {
        for (value, token) in [
            ("Bearer abc.def", Some("abc.def")),
            ("bearer  abc ", Some("abc")),
            ("Bearer ", None),
            ("Bearer", None),
            ("Basic abc", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))]);
            assert_eq!(bearer_token(&headers), token, "{value}");
        }
        assert_eq!(bearer_token(&HeaderMap::new()), None);
    }
}

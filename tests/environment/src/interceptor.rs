//! A proxy between the operator and the API server or EC2. It records mutating requests, and makes one of them fail.

use std::net::Ipv4Addr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use futures::{StreamExt, TryStreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, Uri};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::Client as Kubernetes;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use crate::disturbance::{Disturbance, Disturbances};

/// The point at which a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The request does not reach the server.
    Before,
    /// The request takes effect, and its response is lost.
    After,
}

/// Records mutating requests, and makes one of them fail. Can also delay or end watches.
#[derive(Debug)]
pub struct Tripwire {
    plan: Mutex<Plan>,
    /// Whether requests are recorded. A long run would record too many.
    is_recording: bool,
    tripped: Notify,
    /// The failing request hangs, so that a test can kill its sender. Otherwise its connection closes.
    hangs: bool,
    /// The delay of watch events.
    watch_lag: Duration,
    /// The time after which each watch ends with 410 Gone.
    watch_expiry: Option<Duration>,
    /// The faults of requests to the API server.
    disturbances: Arc<Disturbances>,
}

#[derive(Debug)]
struct Plan {
    seen: Vec<String>,
    trip: Option<(usize, Moment)>,
}

impl Tripwire {
    /// Makes the mutating request with this number fail, counted from zero. With `None`, no request fails.
    #[must_use]
    pub fn new(trip: Option<(usize, Moment)>, hangs: bool) -> Arc<Self> {
        let plan = Mutex::new(Plan { seen: Vec::new(), trip });
        Arc::new(Self { hangs, ..Self::with(plan) })
    }

    /// Delays watch events, so that the operator's cache is always stale.
    #[must_use]
    pub fn lagging(watch_lag: Duration) -> Arc<Self> {
        let plan = Mutex::new(Plan { seen: Vec::new(), trip: None });
        Arc::new(Self { watch_lag, ..Self::with(plan) })
    }

    /// Ends every watch after this time with 410 Gone, as the API server does for an expired resourceVersion.
    #[must_use]
    pub fn expiring(after: Duration) -> Arc<Self> {
        let plan = Mutex::new(Plan { seen: Vec::new(), trip: None });
        Arc::new(Self { watch_expiry: Some(after), ..Self::with(plan) })
    }

    /// Disturbs requests to the API server as long as the test wants.
    #[must_use]
    pub fn disturbing(disturbances: Arc<Disturbances>) -> Arc<Self> {
        let plan = Mutex::new(Plan { seen: Vec::new(), trip: None });
        Arc::new(Self { disturbances, is_recording: false, ..Self::with(plan) })
    }

    fn with(plan: Mutex<Plan>) -> Self {
        Self {
            plan,
            is_recording: true,
            tripped: Notify::new(),
            hangs: false,
            watch_lag: Duration::ZERO,
            watch_expiry: None,
            disturbances: Arc::default(),
        }
    }

    /// The mutating requests so far.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).seen.clone()
    }

    /// Waits until a request has failed.
    pub async fn tripped(&self) {
        self.tripped.notified().await;
    }

    fn record(&self, request: String) -> Option<Moment> {
        if !self.is_recording {
            return None;
        }
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let number = plan.seen.len();
        plan.seen.push(request);
        plan.trip.take_if(|(trip, _)| *trip == number).map(|(_, moment)| moment)
    }

    async fn trip(&self) -> Result<Reply> {
        self.tripped.notify_one();
        if self.hangs {
            std::future::pending::<()>().await;
        }
        Err(anyhow!("the interceptor made this request fail"))
    }
}

/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#410-gone-responses>
const GONE: &[u8] = br#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version","reason":"Expired","code":410}}
"#;

type Reply = Response<UnsyncBoxBody<Bytes, anyhow::Error>>;

/// The server behind the proxy.
#[derive(Clone)]
enum Upstream {
    Kubernetes(Kubernetes),
    Ec2(String, Box<legacy::Client<HttpConnector, Full<Bytes>>>),
}

/// A running proxy. Dropping it closes all its connections.
#[derive(Debug)]
pub struct Interceptor {
    /// The URL of the proxy.
    pub url: String,
    task: AbortHandle,
}

impl Drop for Interceptor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Interceptor {
    /// Starts a proxy to the API server. It forwards requests with the permissions of this client.
    ///
    /// # Errors
    /// If it cannot listen.
    pub async fn of_kubernetes(client: Kubernetes, tripwire: Arc<Tripwire>) -> Result<Self> {
        Self::start(Upstream::Kubernetes(client), tripwire).await
    }

    /// Starts a proxy to an EC2 endpoint.
    ///
    /// # Errors
    /// If it cannot listen.
    pub async fn of_ec2(endpoint: &str, tripwire: Arc<Tripwire>) -> Result<Self> {
        let client = legacy::Client::builder(TokioExecutor::new()).build_http();
        Self::start(Upstream::Ec2(endpoint.to_owned(), Box::new(client)), tripwire).await
    }

    async fn start(upstream: Upstream, tripwire: Arc<Tripwire>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (upstream, tripwire) = (upstream.clone(), Arc::clone(&tripwire));
                let service = service_fn(move |request| forward(upstream.clone(), Arc::clone(&tripwire), request));
                connections.spawn(async move {
                    let connection =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    // A connection that the interceptor closes ends with an error.
                    _ = pin!(connection).await;
                });
            }
        });
        Ok(Self { url, task: task.abort_handle() })
    }
}

async fn forward(upstream: Upstream, tripwire: Arc<Tripwire>, request: Request<Incoming>) -> Result<Reply> {
    let (mut head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let moment = match mutation(&upstream, &head.method, head.uri.path(), &body) {
        Some(mutation) => tripwire.record(mutation),
        None => None,
    };
    if moment == Some(Moment::Before) {
        return tripwire.trip().await;
    }
    let disturbance = match &upstream {
        Upstream::Kubernetes(_) => tripwire.disturbances.next(&head.method),
        Upstream::Ec2(..) => None,
    };
    match disturbance {
        Some(Disturbance::DroppedRequest) => return Err(anyhow!("the interceptor dropped this request")),
        Some(Disturbance::Slow(time)) => tokio::time::sleep(time).await,
        Some(disturbance) => {
            if let Some((code, reason)) = disturbance.status() {
                return failure(code, reason);
            }
        }
        None => {}
    }
    // The upstream server has another host.
    head.headers.remove(hyper::header::HOST);
    let reply: Reply = match upstream {
        Upstream::Kubernetes(client) => {
            head.headers.remove(hyper::header::AUTHORIZATION);
            let is_watch = head.uri.query().is_some_and(|query| query.contains("watch=true"));
            let lag = if is_watch { tripwire.watch_lag } else { Duration::ZERO };
            let expiry = tripwire.watch_expiry.filter(|_| is_watch);
            let reply = client.send(Request::from_parts(head, body.into())).await?;
            reply.map(|body| {
                let late =
                    TryStreamExt::map_err(BodyStream::new(body), anyhow::Error::from).then(move |frame| async move {
                        tokio::time::sleep(lag).await;
                        frame
                    });
                match expiry {
                    None => StreamBody::new(late).boxed_unsync(),
                    Some(after) => {
                        let gone = stream::once(async { Ok(Frame::data(Bytes::from_static(GONE))) });
                        StreamBody::new(late.take_until(tokio::time::sleep(after)).chain(gone)).boxed_unsync()
                    }
                }
            })
        }
        Upstream::Ec2(endpoint, client) => {
            head.uri = format!("{endpoint}{}", head.uri.path()).parse::<Uri>()?;
            let reply = client.request(Request::from_parts(head, Full::new(body))).await?;
            reply.map(|body| body.map_err(anyhow::Error::from).boxed_unsync())
        }
    };
    if moment == Some(Moment::After) {
        return tripwire.trip().await;
    }
    if disturbance == Some(Disturbance::DroppedResponse) {
        return Err(anyhow!("the interceptor dropped this response"));
    }
    Ok(reply)
}

/// A failure as the API server reports it:
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/>.
fn failure(code: u16, reason: &str) -> Result<Reply> {
    let message = "the interceptor made this request fail";
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    let body = Full::new(Bytes::from(status.to_string())).map_err(anyhow::Error::from).boxed_unsync();
    Ok(Response::builder().status(code).header(hyper::header::CONTENT_TYPE, "application/json").body(body)?)
}

/// Describes a mutating request. `None` if the request only reads.
fn mutation(upstream: &Upstream, method: &Method, path: &str, body: &[u8]) -> Option<String> {
    match upstream {
        Upstream::Kubernetes(_) => (*method != Method::GET).then(|| {
            let path: Vec<_> = path.rsplit('/').take(3).collect();
            format!("{method} …/{}", path.into_iter().rev().collect::<Vec<_>>().join("/"))
        }),
        Upstream::Ec2(..) => {
            let body = String::from_utf8_lossy(body);
            let action = body.split('&').find_map(|pair| pair.strip_prefix("Action="))?;
            (!action.starts_with("Describe") && action != "GetCallerIdentity").then(|| action.to_owned())
        }
    }
}

//! The HTTP/1.1 server. One port serves EC2, STS and the control API.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::control;
use crate::faults::Delivery;
use crate::protocol::Params;
use crate::simulator::{HttpRequest, Simulator};

/// A running server. Dropping it stops the server.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<Infallible>,
}

/// Closes the connection without the rest of the response.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fault closes the connection")
    }
}

impl std::error::Error for Closed {}

impl Server {
    /// Starts to listen, on the current tokio runtime.
    ///
    /// # Errors
    /// If it cannot listen on the address.
    pub async fn start(listen: SocketAddr, simulator: Simulator) -> std::io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, Arc::new(simulator)));
        Ok(Self { address, task })
    }

    /// The endpoint URL for EC2 and STS clients and for [`crate::Client`].
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, simulator: Arc<Simulator>) -> Infallible {
    // Dropping the set closes all connections when the server stops.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Most likely out of file descriptors. Wait until other connections close.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        stream.set_nodelay(true).ok();
        let simulator = Arc::clone(&simulator);
        connections.spawn(async move {
            let service = service_fn(|request| serve(&simulator, request));
            // An error means that the caller disconnected, or that a fault closed the connection.
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(simulator: &Simulator, request: Request<Incoming>) -> Result<Response<ResponseBody>, Closed> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
    let query = head.uri.query().unwrap_or_default();
    if let Some(path) = head.uri.path().strip_prefix("/_simulator/") {
        let (status, json) = control::handle(simulator, &head.method, path, query, &body);
        return respond(status, "application/json", ResponseBody::whole(json), None);
    }
    let header = |name: HeaderName| head.headers.get(name)?.to_str().ok().map(str::to_owned);
    let call = HttpRequest {
        params: match header(HeaderName::from_static("x-amz-target")) {
            Some(target) => Params::of_json(&target, &body),
            None => Params::parse(query, &body),
        },
        authorization: header(AUTHORIZATION),
        security_token: header(HeaderName::from_static("x-amz-security-token")),
    };
    let reply = simulator.handle(call).await;
    let body = match reply.delivery {
        Delivery::Nothing => return Err(Closed),
        Delivery::Half => ResponseBody::half(reply.body),
        Delivery::Whole => ResponseBody::whole(reply.body),
    };
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    respond(status, reply.media_type, body, Some(&reply.request_id))
}

fn respond(
    status: StatusCode,
    content_type: &str,
    body: ResponseBody,
    request_id: Option<&str>,
) -> Result<Response<ResponseBody>, Closed> {
    let mut response = Response::builder().status(status).header(CONTENT_TYPE, content_type);
    if let Some(request_id) = request_id {
        response = response.header("x-amzn-requestid", request_id);
    }
    response.body(body).map_err(|_| Closed)
}

/// A response body. A fault can cut it off after the first half.
struct ResponseBody {
    content: Full<Bytes>,
    /// The length that the response header announces, in bytes.
    announced: u64,
    end: End,
}

/// How the body ends after its content.
#[derive(Clone, Copy)]
enum End {
    Complete,
    /// Yields once before the connection closes, so that hyper sends the content first.
    Flush,
    Close,
}

impl ResponseBody {
    fn whole(content: String) -> Self {
        Self { announced: content.len() as u64, content: Full::new(content.into()), end: End::Complete }
    }

    fn half(content: String) -> Self {
        let announced = content.len() as u64;
        let half = Bytes::from(content).slice(..usize::try_from(announced / 2).unwrap_or_default());
        Self { announced, content: Full::new(half), end: End::Flush }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.content).poll_frame(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(frame)) => Poll::Ready(Some(frame.map_err(|never| match never {}))),
            Poll::Ready(None) => match this.end {
                End::Complete => Poll::Ready(None),
                End::Flush => {
                    this.end = End::Close;
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                End::Close => Poll::Ready(Some(Err(Closed))),
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.announced)
    }
}

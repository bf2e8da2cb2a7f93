//! The server: HTTP/1.1 on one port, for EC2's and STS's callers and for the tests that command the simulator.

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
use crate::simulator::{Received, Simulator};

/// A running server. It stops when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    simulator: Arc<Simulator>,
    task: JoinHandle<Infallible>,
}

/// The connection is to close without (more of) an answer.
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
    /// When the address is taken.
    pub async fn start(listen: SocketAddr, simulator: Simulator) -> std::io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let simulator = Arc::new(simulator);
        let task = tokio::spawn(accept(listener, Arc::clone(&simulator)));
        Ok(Self { address, simulator, task })
    }

    /// `http://…`, for EC2's and STS's callers and for [`crate::Client`].
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it serves.
    #[must_use]
    pub fn simulator(&self) -> &Simulator {
        &self.simulator
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, simulator: Arc<Simulator>) -> Infallible {
    // Dropping the set ends the connections with the server.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: others will close theirs.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        stream.set_nodelay(true).ok();
        let simulator = Arc::clone(&simulator);
        connections.spawn(async move {
            let service = service_fn(|request| serve(&simulator, request));
            // An error here is a caller who left, or a fault that made us leave.
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(simulator: &Simulator, request: Request<Incoming>) -> Result<Response<Answer>, Closed> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
    let query = head.uri.query().unwrap_or_default();
    if let Some(path) = head.uri.path().strip_prefix("/_simulator/") {
        let (status, json) = control::answer(simulator, &head.method, path, query, &body);
        return respond(status, "application/json", Answer::whole(json), None);
    }
    let header = |name: HeaderName| head.headers.get(name)?.to_str().ok().map(str::to_owned);
    let received = Received {
        params: Params::parse(query, &body),
        authorization: header(AUTHORIZATION),
        security_token: header(HeaderName::from_static("x-amz-security-token")),
    };
    let reply = simulator.handle(received).await;
    let answer = match reply.delivery {
        Delivery::Nothing => return Err(Closed),
        Delivery::Half => Answer::half(reply.body),
        Delivery::Whole => Answer::whole(reply.body),
    };
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    respond(status, "text/xml;charset=UTF-8", answer, Some(&reply.request_id))
}

fn respond(
    status: StatusCode,
    content_type: &str,
    answer: Answer,
    request_id: Option<&str>,
) -> Result<Response<Answer>, Closed> {
    let mut response = Response::builder().status(status).header(CONTENT_TYPE, content_type);
    if let Some(request_id) = request_id {
        response = response.header("x-amzn-requestid", request_id);
    }
    response.body(answer).map_err(|_| Closed)
}

/// A body, of which only the first half may come.
struct Answer {
    content: Full<Bytes>,
    promised: u64,
    cut: Cut,
}

/// What comes after the content.
#[derive(Clone, Copy)]
enum Cut {
    /// Its end.
    Not,
    /// A pause, so that what was written leaves the machine.
    Pause,
    /// The connection's end.
    Now,
}

impl Answer {
    fn whole(content: String) -> Self {
        Self { promised: content.len() as u64, content: Full::new(content.into()), cut: Cut::Not }
    }

    fn half(content: String) -> Self {
        let promised = content.len() as u64;
        let half = Bytes::from(content).slice(..usize::try_from(promised / 2).unwrap_or_default());
        Self { promised, content: Full::new(half), cut: Cut::Pause }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.content).poll_frame(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(frame)) => Poll::Ready(Some(frame.map_err(|never| match never {}))),
            Poll::Ready(None) => match this.cut {
                Cut::Not => Poll::Ready(None),
                Cut::Pause => {
                    this.cut = Cut::Now;
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                Cut::Now => Poll::Ready(Some(Err(Closed))),
            },
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.promised)
    }
}

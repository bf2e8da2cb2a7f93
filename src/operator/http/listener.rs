//! Accepts connections, and limits what a client may take: time, headers and connections.

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::answers::Answers;
use super::certificate::Certificate;
use super::connections::Connections;

/// Maximum time for a client to send the headers of its request. A connection without a request ends after it.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum duration of a connection: TLS handshake, request and response. It cuts off clients that read slowly. A
/// scrape takes milliseconds, and the review of its token at most [`super::access::REVIEW_TIMEOUT`].
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum bytes of the request line and the headers. The token of a service account has about 1 KiB.
const MAX_HEADER_SIZE: usize = 16 * 1024;

/// Maximum number of headers.
const MAX_HEADERS: usize = 64;

/// Delay after a failed accept.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// A socket that listens.
#[derive(Debug)]
pub(super) struct Listener(TcpListener);

impl Listener {
    /// # Errors
    /// If it cannot listen on the address.
    pub(super) async fn bind(address: SocketAddr) -> Result<Self> {
        let listener = match TcpListener::bind(address).await {
            // Falls back to IPv4 on a node without IPv6.
            Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
            }
            bound => bound,
        };
        Ok(Self(listener.with_context(|| format!("cannot listen on {address}"))?))
    }

    /// # Errors
    /// If the system does not show the address.
    pub(super) fn address(&self) -> Result<SocketAddr> {
        Ok(self.0.local_addr()?)
    }

    /// Serves until the process ends: over TLS if there is a certificate.
    pub(super) async fn serve(self, answers: Arc<Answers>, certificate: Option<Certificate>) {
        let connections = Arc::new(Connections::default());
        loop {
            let Ok((stream, client)) = self.0.accept().await else {
                // Most likely there are no file descriptors left. Other connections will close.
                sleep(ACCEPT_RETRY_DELAY).await;
                continue;
            };
            let acceptor = certificate.as_ref().map(Certificate::acceptor);
            let answers = Arc::clone(&answers);
            connections.run(client.ip(), async move {
                converse(stream, acceptor, &answers).await;
            });
            // Lets the new connection read its request before further connections can displace it.
            tokio::task::yield_now().await;
        }
    }
}

/// Reads one request and answers it. A client that is too slow, or does not keep to the protocol, is cut off.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, acceptor: Option<TlsAcceptor>, answers: &Answers) {
    let conversation = async {
        match acceptor {
            None => answer_once(stream, answers).await,
            Some(acceptor) => {
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer_once(stream, answers).await;
                }
            }
        }
    };
    _ = timeout(CONNECTION_TIMEOUT, conversation).await;
}

async fn answer_once(stream: impl AsyncRead + AsyncWrite + Unpin, answers: &Answers) {
    let service = service_fn(async |request| Ok::<_, Infallible>(answers.to(&request).await));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_SIZE)
        .max_headers(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    _ = connection.await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::super::super::leader::Leadership;
    use super::super::super::monitor::Monitor;
    use super::super::scrape::Scrape;
    use super::*;

    fn answers() -> Answers {
        let monitor = Arc::new(Monitor::new(Leadership::always("test"), Duration::from_secs(60)));
        Answers::ProbesAndMetrics(Arc::clone(&monitor), Arc::new(Scrape::new(monitor)))
    }

    /// Sends a request and reads the whole response.
    async fn answer(request: &str) -> Result<String> {
        let (mut client, server) = duplex(64 * 1024);
        let (answers, mut response) = (answers(), String::new());
        let exchange = async {
            client.write_all(request.as_bytes()).await?;
            client.read_to_string(&mut response).await
        };
        let (_, read) = tokio::join!(converse(server, None, &answers), exchange);
        read?;
        Ok(response)
    }

    /// The time after which the server ends a connection, on which the client only writes these pieces, one a second.
    async fn ends_after(pieces: &[&str]) -> Duration {
        // The server's responses do not fit into the buffer.
        let (mut client, server) = duplex(64);
        let (answers, start) = (answers(), Instant::now());
        let write = async {
            for piece in pieces {
                sleep(Duration::from_secs(1)).await;
                _ = client.write_all(piece.as_bytes()).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = converse(server, None, &answers) => start.elapsed(),
            () = write => Duration::MAX,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slow_clients_are_cut_off() {
        let slow_headers = ["GET / HTTP/1.1\r\n", "a: b\r\n", "a: b\r\n", "a: b\r\n", "a: b\r\n", "a: b\r\n", "\r\n"];
        let slow_reader = ["GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"];
        for (pieces, limit) in
            [(&[][..], HEADER_TIMEOUT), (&slow_headers, HEADER_TIMEOUT), (&slow_reader, CONNECTION_TIMEOUT)]
        {
            let took = ends_after(pieces).await;
            assert!(took >= limit && took < limit + Duration::from_millis(100), "{pieces:?}: {took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_connection_gets_one_answer() -> Result<()> {
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n");
        let long = format!("{}a: {}\r\n\r\n", get("/healthz"), "x".repeat(MAX_HEADER_SIZE));
        let many = format!("{}{}\r\n", get("/healthz"), "a: b\r\n".repeat(MAX_HEADERS + 1));
        let twice = format!("{0}\r\n{0}\r\n", get("/healthz"));
        for (request, status) in [
            (get("/healthz") + "\r\n", "200"),
            (get("/livez") + "\r\n", "200"),
            // The controllers have not started.
            (get("/readyz") + "\r\n", "503"),
            (get("/metrics") + "\r\n", "200"),
            (get("/secrets") + "\r\n", "404"),
            (twice, "200"),
            ("POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".into(), "405"),
            (get("/metrics") + "content-length: 4\r\n\r\nbody", "413"),
            (get("/metrics") + "transfer-encoding: chunked\r\n\r\n", "413"),
            (long, "431"),
            (many, "431"),
            ("nonsense\r\n\r\n".into(), "400"),
        ] {
            let response = answer(&request).await?;
            assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {response}");
            assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{request}: {response}");
        }
        Ok(())
    }
}

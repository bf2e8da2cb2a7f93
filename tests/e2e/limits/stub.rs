//! An HTTP server with one answer for each request.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longest request, in bytes.
const MAX_REQUEST: usize = 64 << 10;

/// An answer of the server.
pub struct Answer {
    pub content_type: &'static str,
    pub body: String,
    /// The time before the answer.
    pub delay: Duration,
}

/// Starts the server, and returns its URL. `answer` gets the whole request.
pub async fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move { serve(stream, &*answer).await });
        }
    });
    Ok(url)
}

async fn serve(mut stream: TcpStream, answer: &(impl Fn(&str) -> Answer + Sync)) -> Result<()> {
    let mut request = Vec::new();
    loop {
        let mut part = [0; 8_192];
        let read = stream.read(&mut part).await?;
        request.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        if !is_complete(&text) {
            if read == 0 || request.len() > MAX_REQUEST {
                return Ok(());
            }
            continue;
        }
        request.clear();
        let Answer { content_type, body, delay } = answer(&text);
        tokio::time::sleep(delay).await;
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
    }
}

fn is_complete(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    body.len() >= length.unwrap_or_default()
}

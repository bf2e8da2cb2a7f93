//! A real API server, an EC2 endpoint and the operator as processes, for the tests and the demo.
//! Every process dies with the one that started it, however that one ends.

pub mod control_plane;
pub mod ec2;
pub mod interceptor;
pub mod moto;
pub mod operator;
pub mod process;

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

pub use control_plane::ControlPlane;
pub use interceptor::{Interceptor, Moment, Tripwire};
pub use moto::Moto;
pub use operator::{Operator, RunningOperator};
pub use process::Process;

/// The checkout.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs a script of the repository that prepares a folder, with arguments after spaces, lets its progress through, and
/// returns the folder.
///
/// # Errors
/// When the script fails.
pub fn prepare(script: &str) -> Result<PathBuf> {
    let mut words = script.split(' ');
    let path = repository().join(words.next().unwrap_or_default());
    let output = Command::new(&path).args(words).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run {script}"))?;
    ensure!(output.status.success(), "{script} failed");
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim_end()))
}

/// Below the ports that systems give to whoever asks for any, and to outgoing connections: until a program listens on
/// its port, nobody else is given it.
const PORTS: Range<u16> = 10_000..30_000;

/// A port that nobody listens on, another one each time.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    static PICKED: AtomicUsize = AtomicUsize::new(0);
    // Another process begins elsewhere.
    let first = std::process::id() as usize % PORTS.len() + PICKED.fetch_add(1, Ordering::Relaxed);
    let mut ports = PORTS.cycle().skip(first).take(PORTS.len());
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    ports.find(is_free).context("no port is free")
}

/// Asks until the answer is there, or fails after `limit` with the last reason why not. What can never come about is
/// an answer, too: `Ok(Err(…))`.
///
/// # Errors
/// When the answer is not there in time.
pub async fn eventually<T>(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let start = tokio::time::Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if start.elapsed() > limit => bail!("{what}: not after {limit:?}: {error:#}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

//! A real API server, an EC2 endpoint and the operator as processes, for the tests and the demo. Every process ends
//! when its parent ends, even if the parent is killed.

pub mod control_plane;
pub mod disturbance;
pub mod ec2;
pub mod helm;
pub mod interceptor;
pub mod moto;
pub mod operator;
pub mod process;
pub mod usage;

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

pub use control_plane::ControlPlane;
pub use disturbance::{Disturbance, Disturbances};
pub use helm::Helm;
pub use interceptor::{Interceptor, Moment, Tripwire};
pub use moto::Moto;
pub use operator::{Operator, RunningOperator};
pub use process::Process;
pub use usage::Usage;

/// The root folder of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs a script that prepares a folder, and returns the path that it prints. `script` is a path in the repository,
/// with arguments after spaces. Standard error is passed through, to show progress.
///
/// # Errors
/// If the script fails.
pub fn prepare(script: &str) -> Result<PathBuf> {
    let mut words = script.split(' ');
    let path = repository().join(words.next().unwrap_or_default());
    let output = Command::new(&path).args(words).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run {script}"))?;
    ensure!(output.status.success(), "{script} failed");
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim_end()))
}

/// Below the ephemeral ports. The system does not assign these ports to other programs before a test listens on them.
const PORTS: Range<u16> = 10_000..30_000;

/// Returns a free port, a different one with each call.
///
/// # Errors
/// If no port is free.
pub fn free_port() -> Result<u16> {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    // Concurrent test processes start at different ports.
    let first = std::process::id() as usize % PORTS.len() + CALLS.fetch_add(1, Ordering::Relaxed);
    let mut ports = PORTS.cycle().skip(first).take(PORTS.len());
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    ports.find(is_free).with_context(|| format!("no port is free in {PORTS:?}"))
}

/// Retries until `attempt` succeeds. After `limit` it fails with the last error. To stop retrying with a permanent
/// error, return it as `Ok(Err(…))`.
///
/// # Errors
/// If no attempt succeeds in time.
pub async fn eventually<T>(what: &str, limit: Duration, mut attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let start = tokio::time::Instant::now();
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() > limit => bail!("{what}: timed out after {limit:?}: {error:#}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

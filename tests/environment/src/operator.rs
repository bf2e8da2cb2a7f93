//! The operator as a process.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{ControlPlane, Process};

/// The configuration of an operator process.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The path of the binary.
    pub program: PathBuf,
    /// The environment variables: flags, credentials, endpoint.
    pub environment: Vec<(&'static str, String)>,
    /// The log file.
    pub log: PathBuf,
}

/// A running operator.
#[derive(Debug)]
pub struct RunningOperator(Process);

impl Operator {
    /// Configures an operator with the permissions that `deploy/` grants, and with EC2 at `endpoint`.
    ///
    /// # Errors
    /// If the API server issues no token for the service account.
    pub async fn new(program: &Path, control_plane: &ControlPlane, endpoint: &str, log: &str) -> Result<Self> {
        let kubeconfig = control_plane.operator_kubeconfig().await?;
        let environment = vec![
            ("KUBECONFIG", kubeconfig.to_string_lossy().into_owned()),
            ("METRICS_ADDRESS", "127.0.0.1:0".to_owned()),
            ("AWS_ENDPOINT_URL", endpoint.to_owned()),
            ("AWS_REGION", "eu-central-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ];
        Ok(Self { program: program.to_owned(), environment, log: control_plane.folder().join(log) })
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.environment.retain(|(other, _)| *other != name);
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Removes an environment variable.
    #[must_use]
    pub fn without(mut self, name: &'static str) -> Self {
        self.environment.retain(|(other, _)| *other != name);
        self
    }

    /// Uses a separate log file, for tests that run several operators.
    #[must_use]
    pub fn with_log(mut self, suffix: &str) -> Self {
        self.log.set_extension(format!("{suffix}.log"));
        self
    }

    /// Starts the operator.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn start(&self) -> Result<RunningOperator> {
        let environment: Vec<_> = self.environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Ok(RunningOperator(Process::start(&self.program, &["run".into()], &environment, &self.log).await?))
    }
}

impl RunningOperator {
    /// Kills the operator with SIGKILL.
    ///
    /// # Errors
    /// If it does not end.
    pub async fn kill(mut self) -> Result<()> {
        self.0.end(Signal::SIGKILL).await.map(drop)
    }

    /// Ends the operator with SIGTERM, as Kubernetes does. Returns its exit status and the time that it took.
    ///
    /// # Errors
    /// If it does not end.
    pub async fn terminate(mut self) -> Result<(ExitStatus, Duration)> {
        self.0.end(Signal::SIGTERM).await
    }

    /// Sends a signal, such as SIGSTOP or SIGCONT.
    ///
    /// # Errors
    /// If the operator has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.0.signal(signal)
    }

    /// Whether the process runs. A stopped process runs, too.
    pub fn is_running(&mut self) -> bool {
        self.0.check().is_ok()
    }

    /// Waits until the operator ends, and returns its exit status.
    ///
    /// # Errors
    /// If it does not end within a minute.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        self.0.ended().await
    }

    /// Sends a GET request to the address for metrics and probes. Returns the body.
    ///
    /// # Errors
    /// If the operator does not respond, or the status is not 200.
    pub async fn get(&self, path: &str) -> Result<String> {
        get(&self.address()?, path).await
    }

    /// The address for metrics and probes, which it takes from the log.
    ///
    /// # Errors
    /// If the log has no address.
    pub fn address(&self) -> Result<String> {
        let log = self.output();
        let line = log.lines().rev().find_map(|line| line.split_once("probes on http://"));
        let (_, address) = line.context("the log has no address for metrics and probes")?;
        Ok(address.split(['"', ' ']).next().unwrap_or_default().to_owned())
    }

    /// The address of the metrics over TLS, which it takes from the log.
    ///
    /// # Errors
    /// If the log has no address.
    pub fn secure_address(&self) -> Result<String> {
        let log = self.output();
        let line = log.lines().rev().find_map(|line| line.split_once("serving metrics on https://"));
        let (_, address) = line.context("the log has no address for metrics over TLS")?;
        Ok(address.split(['"', ' ']).next().unwrap_or_default().to_owned())
    }

    /// The process ID.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.0.id()
    }

    /// The content of the log file.
    #[must_use]
    pub fn output(&self) -> String {
        self.0.output()
    }
}

/// Sends a GET request to an address. Returns the body.
///
/// # Errors
/// If there is no response, or the status is not 200.
pub async fn get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("not an HTTP response")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    ensure!(status == "200", "{path}: {status}: {body}");
    Ok(body.to_owned())
}

//! The operator's own binary, as a process.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{ControlPlane, Process};

/// How to start an operator.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The binary.
    pub program: PathBuf,
    /// What it gets in its environment: flags, credentials, endpoint.
    pub environment: Vec<(&'static str, String)>,
    /// Where its output goes.
    pub log: PathBuf,
}

/// An operator that runs.
#[derive(Debug)]
pub struct RunningOperator(Process);

impl Operator {
    /// An operator with the rights that `deploy/` grants, whose EC2 is at `endpoint`.
    ///
    /// # Errors
    /// When the API server issues no token for it.
    pub async fn new(program: &Path, control_plane: &ControlPlane, endpoint: &str, log: &str) -> Result<Self> {
        let kubeconfig = control_plane.operator_kubeconfig().await?;
        let environment = vec![
            ("KUBECONFIG", kubeconfig.to_string_lossy().into_owned()),
            ("METRICS_ADDRESS", "127.0.0.1:0".to_owned()),
            ("AWS_ENDPOINT_URL", endpoint.to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ];
        Ok(Self { program: program.to_owned(), environment, log: control_plane.folder().join(log) })
    }

    /// The same with another variable of the environment.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.environment.retain(|(other, _)| *other != name);
        self.environment.push((name, value.to_owned()));
        self
    }

    /// The same without a variable of the environment.
    #[must_use]
    pub fn without(mut self, name: &'static str) -> Self {
        self.environment.retain(|(other, _)| *other != name);
        self
    }

    /// The same with a log of its own, where several run at once.
    #[must_use]
    pub fn with_log(mut self, suffix: &str) -> Self {
        self.log.set_extension(format!("{suffix}.log"));
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start(&self) -> Result<RunningOperator> {
        let environment: Vec<_> = self.environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Ok(RunningOperator(Process::start(&self.program, &["run".into()], &environment, &self.log).await?))
    }
}

impl RunningOperator {
    /// Ends it at once, as the kernel does.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn kill(mut self) -> Result<()> {
        self.0.end(Signal::SIGKILL).await.map(drop)
    }

    /// Ends it as Kubernetes does; returns how it ended and how long that took.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn terminate(mut self) -> Result<(ExitStatus, Duration)> {
        self.0.end(Signal::SIGTERM).await
    }

    /// Stops it where it stands, or lets it go on: SIGSTOP, SIGCONT.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.0.signal(signal)
    }

    /// How it ended, once it has.
    ///
    /// # Errors
    /// When it does not end within a minute.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        self.0.ended().await
    }

    /// What it answers to `GET` on the address that its log tells.
    ///
    /// # Errors
    /// When it does not answer, or with another status than 200.
    pub async fn get(&self, path: &str) -> Result<String> {
        let log = self.output();
        let line = log.lines().rev().find_map(|line| line.split_once("serving metrics and probes on http://"));
        let (_, address) = line.context("it does not serve metrics")?;
        let address = address.split(['"', ' ']).next().unwrap_or_default();
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("not an HTTP answer")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        ensure!(status == "200", "{path}: {status}: {body}");
        Ok(body.to_owned())
    }

    /// Its process ID.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.0.id()
    }

    /// Its log.
    #[must_use]
    pub fn output(&self) -> String {
        self.0.output()
    }
}

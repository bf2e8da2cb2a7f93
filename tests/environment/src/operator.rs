//! The operator's own binary, as a process.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

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

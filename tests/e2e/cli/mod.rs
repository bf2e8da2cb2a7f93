//! The subcommands for people: the real binary against the real API server and the simulator.

mod browser;
pub mod check;
pub mod graph;
pub mod import;
pub mod plan;
pub mod trace;

use std::process::Stdio;

use anyhow::{Context, Result};
use environment::Operator;
use tokio::process::Command;

/// The result of a finished command.
#[derive(Debug)]
pub struct Finished {
    /// The exit code.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a subcommand with the environment variables of this operator.
pub async fn run(operator: &Operator, arguments: &[&str]) -> Result<Finished> {
    let environment = operator.environment.iter().map(|(name, value)| (*name, value.as_str()));
    let output = Command::new(&operator.program)
        .args(arguments)
        .env_clear()
        .env("HOME", "/nonexistent")
        .envs(environment)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    Ok(Finished {
        code: output.status.code().context("ended by a signal")?,
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

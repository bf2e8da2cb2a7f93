//! Memory, descriptors and threads of the operator, as `/proc` shows them.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::RunningOperator;

/// One sample of a process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Resident memory in MiB.
    pub memory: f64,
    /// Open file descriptors.
    pub descriptors: f64,
    /// Threads.
    pub threads: f64,
}

impl Usage {
    /// Reads the usage of a process.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn of(running: &RunningOperator) -> Result<Self> {
        let status = read_proc(running, "status")?;
        let number = |name: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
            Ok(line.trim().trim_end_matches(" kB").parse()?)
        };
        let descriptors = std::fs::read_dir(folder(running).join("fd"))?.count() as f64;
        Ok(Self { memory: number("VmRSS:")? / 1024.0, descriptors, threads: number("Threads:")? })
    }
}

/// Reads a file of the process in `/proc`.
///
/// # Errors
/// If the process has ended.
pub fn read_proc(running: &RunningOperator, file: &str) -> Result<String> {
    let path = folder(running).join(file);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

fn folder(running: &RunningOperator) -> PathBuf {
    PathBuf::from(format!("/proc/{}", running.id()))
}

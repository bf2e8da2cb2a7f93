//! A limit of the operator's memory, as in a pod.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use environment::{Operator, RunningOperator};
use serde_json::Value;

use super::world::World;

/// Limits the operator's memory by a cgroup. If no cgroup can be created, it reads the peak from `/proc` instead.
///
/// The operator is a debug build here, so its code takes about 100 MiB more than in a release. Code is mapped from a
/// file, and the kernel drops such pages before it kills a process, so the chart's limit applies without a correction.
pub struct MemoryLimit {
    /// In bytes.
    limit: u64,
    folder: Option<PathBuf>,
    /// The script that starts the operator in the cgroup.
    program: Option<PathBuf>,
}

impl MemoryLimit {
    /// The memory limit of the chart.
    pub fn of_chart(world: &World) -> Result<Self> {
        let limit = chart_limit()?;
        let name = format!("vpc-peering-operator-{}-{}", std::process::id(), world.namespace);
        // The first row is for cgroups version 1, the second for version 2.
        for (parent, file) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
            let folder = Path::new(parent).join(&name);
            if std::fs::create_dir(&folder).is_err() {
                continue;
            }
            let mut memory_limit = Self { limit, folder: Some(folder.clone()), program: None };
            if std::fs::write(folder.join(file), limit.to_string()).is_err() {
                continue;
            }
            let program = world.shared.control_plane.folder().join(format!("{}.sh", world.namespace));
            let (processes, operator) = (folder.join("cgroup.procs"), &world.operator.program);
            let script =
                format!("#!/bin/sh\necho $$ > {} && exec {} \"$@\"\n", processes.display(), operator.display());
            std::fs::write(&program, script)?;
            std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
            memory_limit.program = Some(program);
            return Ok(memory_limit);
        }
        eprintln!("cannot create a memory cgroup; the test reads the operator's peak memory instead");
        Ok(Self { limit, folder: None, program: None })
    }

    /// The operator under the limit.
    pub fn apply_to(&self, operator: Operator) -> Operator {
        Operator { program: self.program.clone().unwrap_or_else(|| operator.program.clone()), ..operator }
    }

    /// Fails if the operator exceeded the limit.
    pub fn check(&self, operator: &RunningOperator) -> Result<()> {
        let Some(folder) = &self.folder else {
            let status =
                std::fs::read_to_string(format!("/proc/{}/status", operator.id())).context("the operator has ended")?;
            let (peak, code) = (kibibytes(&status, "VmHWM")?, kibibytes(&status, "RssFile")?);
            ensure!((peak - code) * 1024 <= self.limit, "the operator took {peak} KiB, {code} KiB of them code");
            return Ok(());
        };
        let kills = ["memory.oom_control", "memory.events"].iter().find_map(|file| {
            let text = std::fs::read_to_string(folder.join(file)).ok()?;
            text.lines().find_map(|line| line.strip_prefix("oom_kill ")).map(str::to_owned)
        });
        ensure!(kills.as_deref() == Some("0"), "the kernel killed the operator: oom_kill {kills:?}");
        Ok(())
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // The cgroup can be removed once the operator has ended, which takes a moment after the kill.
        if let Some(folder) = &self.folder {
            let ended = (0..100).any(|_| {
                std::thread::sleep(Duration::from_millis(20));
                std::fs::remove_dir(folder).is_ok()
            });
            if !ended {
                eprintln!("cannot remove the cgroup {}", folder.display());
            }
        }
    }
}

/// The memory limit of the chart, in bytes.
fn chart_limit() -> Result<u64> {
    let values = std::fs::read_to_string(environment::repository().join("charts/vpc-peering-operator/values.yaml"))?;
    let values: Value = serde_saphyr::from_str(&values)?;
    let limit = values["resources"]["limits"]["memory"].as_str().context("the chart has no memory limit")?;
    let mebibytes: u64 = limit.strip_suffix("Mi").context("the limit is not in MiB")?.parse()?;
    Ok(mebibytes << 20)
}

fn kibibytes(status: &str, field: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let text = line.and_then(|line| line.trim().strip_suffix(" kB")).with_context(|| format!("no {field}"))?;
    Ok(text.trim().parse()?)
}

//! The pods that the kubelet starts: their probes, and the privileges of their processes.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::cluster::{Cluster, NAMESPACE, container_of};
use crate::image::AUTHORITIES;

/// Folders that the container runtime mounts.
const MOUNTED: [&str; 3] = ["dev", "proc", "sys"];

pub async fn two_replicas_become_ready_in_a_restricted_namespace(cluster: Arc<Cluster>) -> Result<()> {
    cluster.install(&cluster.values()).await?;
    let pods = cluster.pods().await?;
    ensure!(pods.len() == 2, "{} pods", pods.len());
    for pod in &pods {
        let status = &pod["status"]["containerStatuses"][0];
        ensure!(status["ready"] == true && status["restartCount"] == 0, "{status}");
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            ensure!(pod["spec"]["containers"][0][probe]["httpGet"].is_object(), "no {probe}");
        }
    }
    // The namespace does enforce the standard: it rejects the same pod with one more privilege.
    let mut lax = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "lax"}, "spec": pods[0]["spec"]});
    let path = cluster.control_plane.folder().join("lax.json");
    for is_lax in [false, true] {
        lax["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(is_lax);
        fs::write(&path, lax.to_string())?;
        let create = ["create", "--dry-run=server", "--namespace", NAMESPACE, "-f", &*path.to_string_lossy()];
        match (is_lax, cluster.kubectl(&create).await) {
            (false, created) => drop(created.context("the pod was rejected")?),
            (true, created) => {
                let error = created.err().context("a pod with more privileges was admitted")?.to_string();
                ensure!(error.contains("violates PodSecurity"), "{error}");
            }
        }
    }
    Ok(())
}

pub async fn a_container_has_no_privileges_and_a_read_only_root(cluster: Arc<Cluster>) -> Result<()> {
    cluster.install(&cluster.values()).await?;
    let pod = cluster.leading_pod().await?;
    let processes = cluster.cgroups.processes(container_of(&pod)?)?;
    let [process] = processes[..] else { anyhow::bail!("the container has the processes {processes:?}") };
    let folder = PathBuf::from(format!("/proc/{process}"));
    let status = fs::read_to_string(folder.join("status"))?;
    // Seccomp 2 is a filter: https://man7.org/linux/man-pages/man5/proc_pid_status.5.html
    for (field, expected) in [
        ("Uid:", "65532 65532 65532 65532"),
        ("Gid:", "65532 65532 65532 65532"),
        ("NoNewPrivs:", "1"),
        ("Seccomp:", "2"),
        ("CapEff:", "0000000000000000"),
        ("CapBnd:", "0000000000000000"),
    ] {
        let value = status.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(value == expected, "{field} {value}");
    }
    let mounts = fs::read_to_string(folder.join("mountinfo"))?;
    // The fields are ID, parent, device, root, mount point and options.
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/"));
    let options = root.and_then(|line| line.split(' ').nth(5)).context("no root mount")?;
    ensure!(options.split(',').any(|option| option == "ro"), "the root is mounted with {options}");
    // This test is root, and still cannot write.
    let error = fs::write(folder.join("root/written"), "").err().context("the root file system was written")?;
    ensure!(error.kind() == ErrorKind::ReadOnlyFilesystem, "{error}");
    the_image_has_no_other_program(&folder.join("root"))?;

    let name = pod["metadata"]["name"].as_str().context("no name")?;
    for shell in ["sh", "/bin/sh", "/bin/bash", "/busybox/sh"] {
        let exec = ["exec", name, "--namespace", NAMESPACE, "--", shell, "-c", "true"];
        let error = cluster.kubectl(&exec).await.err().with_context(|| format!("{shell} runs"))?.to_string();
        ensure!(error.contains("executable file not found") || error.contains("no such file"), "{shell}: {error}");
    }
    let version = ["exec", name, "--namespace", NAMESPACE, "--", "/vpc-peering-operator", "--version"];
    cluster.kubectl(&version).await.context("exec does not work at all")?;
    Ok(())
}

/// The operator is the only executable file, and the CA certificates are there.
fn the_image_has_no_other_program(root: &Path) -> Result<()> {
    let mut folders: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && !MOUNTED.iter().any(|name| entry.file_name() == *name) {
            folders.push(entry.path());
        } else if entry.file_type()?.is_file() {
            ensure!(entry.file_name() == "vpc-peering-operator", "{} is in the image", entry.path().display());
        }
    }
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, entry.path());
            let is_program = kind.is_file() && entry.metadata()?.permissions().mode() & 0o111 != 0;
            ensure!(!is_program, "{} is executable", path.display());
            if kind.is_dir() {
                folders.push(path);
            }
        }
    }
    ensure!(fs::metadata(root.join(AUTHORITIES))?.len() > 0, "the image has no CA certificates");
    Ok(())
}

/// How often the kubelet has started the container of a pod again.
pub fn restarts_of(pod: &Value) -> u64 {
    pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default()
}

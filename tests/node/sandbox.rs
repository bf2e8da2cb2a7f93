//! The namespaces in which everything runs: mounts, network and processes.
//!
//! The first process of a PID namespace takes all others with it when it ends. So nothing survives the test, even if it
//! fails or is killed: no process, no mount, no network device. The outer process then removes the cgroups and the
//! folder; only if it is killed by SIGKILL, an empty cgroup and the folder stay.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use environment::control_plane::KUBERNETES_SERVICE;
use tokio::signal::unix::{SignalKind, signal};

use crate::cgroups::Hierarchies;
use crate::requirements;

/// The prefix of the folder and the cgroup of a run.
const PREFIX: &str = "vpc-peering-node-";

/// The environment variables by which the outer process passes on what it prepared.
const FOLDER: &str = "NODE_TEST_FOLDER";
const OPERATOR: &str = "NODE_TEST_OPERATOR";

/// The time after which the cgroups of killed processes must be empty.
const LIMIT: Duration = Duration::from_secs(30);

/// Kernel parameters, and the values that a kubelet requires. They are parameters of the whole machine. So a file with
/// the value hides each of them from the kubelet, which then changes nothing.
const KERNEL_PARAMETERS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// The paths of a run.
#[derive(Debug)]
pub struct Inside {
    /// The folder, which is deleted after the run.
    pub folder: PathBuf,
    /// The name of the cgroup of all pods.
    pub cgroup: String,
    /// The operator's binary.
    pub operator: PathBuf,
}

/// The preparations of the outer process, or `None` in the outer process.
#[must_use]
pub fn inside() -> Option<Inside> {
    let folder = PathBuf::from(std::env::var_os(FOLDER)?);
    let cgroup = folder.file_name()?.to_string_lossy().into_owned();
    Some(Inside { folder, cgroup, operator: std::env::var_os(OPERATOR)?.into() })
}

/// Checks the requirements, builds the programs, runs this program in namespaces of its own, and cleans up.
///
/// # Errors
/// If a requirement is missing, a program cannot be built, or something is left.
pub fn run() -> Result<ExitCode> {
    requirements::check()?;
    // The programs are built here, because folders are hidden inside.
    for program in [" control-plane", " kube-controller-manager", " helm", " node"] {
        environment::prepare(&format!("tests/control-plane/build.sh{program}"))?;
    }
    let operator = match std::env::var_os("OPERATOR_BINARY").filter(|path| !path.is_empty()) {
        Some(path) => {
            std::fs::canonicalize(&path).with_context(|| format!("OPERATOR_BINARY: no {}", path.display()))?
        }
        None => environment::prepare("tests/image/build.sh")?,
    };
    let hierarchies = Hierarchies::find()?;
    let folder = tempfile::Builder::new().prefix(PREFIX).tempdir()?;
    let cgroup = folder.path().file_name().context("no name")?.to_string_lossy().into_owned();
    let outcome = hierarchies.create(&cgroup).and_then(|()| {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(start(folder.path(), &operator))
    });
    let start = std::time::Instant::now();
    let removed = loop {
        match hierarchies.remove(&cgroup) {
            Err(_) if start.elapsed() < LIMIT => std::thread::sleep(Duration::from_millis(100)),
            removed => break removed,
        }
    };
    let deleted = folder.close().context("cannot delete the folder of the run");
    let code = outcome?;
    removed.and(deleted)?;
    Ok(code)
}

/// Runs this program inside, until it ends or a signal ends it.
async fn start(folder: &Path, operator: &Path) -> Result<ExitCode> {
    // The shell is the first process, and so reaps the orphans.
    let mut child = tokio::process::Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", r#""$@"; exit $?"#])
        .arg("sh")
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(FOLDER, folder)
        .env(OPERATOR, operator)
        // The kernel closes it when this process ends, even if it is killed.
        .stdin(Stdio::piped())
        // A Ctrl-C reaches this process only, which then cleans up.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("cannot run unshare")?;
    let _open = child.stdin.take();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        status = child.wait() => return Ok(if status?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    println!("interrupted; stopping everything");
    child.kill().await?;
    Ok(ExitCode::FAILURE)
}

/// Inside: hides folders of the machine, and sets up the network.
///
/// # Errors
/// If a mount or an address is refused.
pub fn prepare(inside: &Inside) -> Result<()> {
    std::thread::spawn(|| {
        _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
    let folder = |name: &str| -> Result<String> {
        let path = inside.folder.join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path.to_string_lossy().into_owned())
    };
    // The kubelet, containerd and CNI plugins have fixed paths in these folders.
    for (name, hidden) in [("run", "/run"), ("lib", "/var/lib"), ("log", "/var/log")] {
        command("mount", &["--bind", &folder(name)?, hidden])?;
    }
    for (parameter, value) in KERNEL_PARAMETERS {
        let file = inside.folder.join(parameter.replace('/', "."));
        std::fs::write(&file, format!("{value}\n"))?;
        command("mount", &["--bind", &file.to_string_lossy(), &format!("/proc/sys/{parameter}")])?;
    }
    command("ip", &["link", "set", "lo", "up"])?;
    command("ip", &["address", "add", &format!("{KUBERNETES_SERVICE}/32"), "dev", "lo"])
}

fn command(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), error.trim_end());
    Ok(())
}

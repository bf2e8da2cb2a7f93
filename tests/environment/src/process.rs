//! A child process that ends when its parent ends.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A shell script that starts a program with its output in a file ($0) and prints its process ID. It kills the program
/// at the end of standard input, which the kernel closes when the parent ends, even if the parent is killed.
const SUPERVISOR: &str = r#"
exec 3<&0
"$@" </dev/null >>"$0" 2>&1 3<&- &
child=$!
echo $child
{ cat <&3; kill -KILL $child; } >/dev/null 2>&1 &
exec 3<&-
wait $child
"#;

/// A child process that ends when its parent ends. Dropping it kills the process.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    pid: Pid,
    shell: Child,
}

impl Process {
    /// Starts a program. Its environment has only `PATH`, `HOME` and `environment`. Its output is appended to `log`.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub async fn start(program: &Path, arguments: &[String], environment: &[(&str, &str)], log: &Path) -> Result<Self> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let inherited = ["PATH", "HOME"].into_iter().filter_map(|key| Some((key, std::env::var(key).ok()?)));
        let mut shell = Command::new("sh")
            .args(["-c", SUPERVISOR])
            .arg(log)
            .arg(program)
            .args(arguments)
            .env_clear()
            .envs(inherited)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // In a separate process group, Ctrl-C reaches only the parent.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let stdout = shell.stdout.take().context("no standard output")?;
        let line = BufReader::new(stdout).lines().next_line().await?.context("the shell printed no process ID")?;
        let pid = Pid::from_raw(line.parse().with_context(|| format!("not a process ID: {line:?}"))?);
        Ok(Self { name, log: log.to_owned(), pid, shell })
    }

    /// The process ID.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.pid.as_raw()
    }

    /// The content of the log file.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Checks that the process is running.
    ///
    /// # Errors
    /// If the process has ended. The error has its output.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.shell.try_wait()? {
            bail!("{} ended with {status}:\n{}", self.name, self.output());
        }
        Ok(())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(self.pid, signal)?)
    }

    /// Waits until the process ends, and returns its exit status.
    ///
    /// # Errors
    /// If it does not end within a minute.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let status = tokio::time::timeout(Duration::from_secs(60), self.wait()).await;
        status.with_context(|| format!("{} did not end within a minute", self.name))?
    }

    /// Sends a signal and waits until the process ends. Returns its exit status and the time that it took.
    ///
    /// # Errors
    /// If it does not end within a minute.
    pub async fn end(&mut self, signal: Signal) -> Result<(ExitStatus, Duration)> {
        let start = tokio::time::Instant::now();
        self.signal(signal)?;
        Ok((self.ended().await.with_context(|| format!("after {signal}"))?, start.elapsed()))
    }

    /// Polls, because `Child::wait` closes standard input first, which would kill the program.
    async fn wait(&mut self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.shell.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // While the shell runs, the process ID still belongs to its child and cannot have been reused.
        if matches!(self.shell.try_wait(), Ok(None)) {
            _ = kill(self.pid, Signal::SIGKILL);
        }
    }
}

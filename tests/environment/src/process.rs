//! A child process that does not outlive us.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Starts a program with its output in a file ($0), says its process ID, and kills it when standard input ends,
/// which happens when its parent does, for whatever reason.
const LIFELINE: &str = r#"
exec 3<&0
"$@" </dev/null >>"$0" 2>&1 3<&- &
child=$!
echo $child
{ cat <&3; kill -KILL $child; } >/dev/null 2>&1 &
exec 3<&-
wait $child
"#;

/// A child process that does not outlive us. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    pid: Pid,
    shell: Child,
}

impl Process {
    /// Starts a program with no environment but `PATH`, `HOME` and what is given; its output goes to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start(program: &Path, arguments: &[String], environment: &[(&str, &str)], log: &Path) -> Result<Self> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let inherited = ["PATH", "HOME"].into_iter().filter_map(|key| Some((key, std::env::var(key).ok()?)));
        let mut shell = Command::new("sh")
            .args(["-c", LIFELINE])
            .arg(log)
            .arg(program)
            .args(arguments)
            .env_clear()
            .envs(inherited)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C is ours to handle.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let stdout = shell.stdout.take().context("no standard output")?;
        let line = BufReader::new(stdout).lines().next_line().await?.context("the shell said no process ID")?;
        let pid = Pid::from_raw(line.parse().with_context(|| format!("not a process ID: {line:?}"))?);
        Ok(Self { name, log: log.to_owned(), pid, shell })
    }

    /// Its process ID.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.pid.as_raw()
    }

    /// What it has said.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Fails, with what it said, if it has ended.
    ///
    /// # Errors
    /// If it has ended.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.shell.try_wait()? {
            bail!("{} ended with {status}:\n{}", self.name, self.output());
        }
        Ok(())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(self.pid, signal)?)
    }

    /// How it ended, once it has.
    ///
    /// # Errors
    /// When it does not end within a minute.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let status = tokio::time::timeout(Duration::from_secs(60), self.wait()).await;
        status.with_context(|| format!("{} does not end", self.name))?
    }

    /// Sends it a signal and waits for its end; returns how it ended and how long that took.
    ///
    /// # Errors
    /// When it does not end within a minute.
    pub async fn end(&mut self, signal: Signal) -> Result<(ExitStatus, Duration)> {
        let start = tokio::time::Instant::now();
        self.signal(signal)?;
        Ok((self.ended().await.with_context(|| format!("after {signal}"))?, start.elapsed()))
    }

    /// `Child::wait` would close standard input first, and so kill the program.
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
        // While the shell lives, the ID is its child's and nobody else's.
        if matches!(self.shell.try_wait(), Ok(None)) {
            _ = kill(self.pid, Signal::SIGKILL);
        }
    }
}

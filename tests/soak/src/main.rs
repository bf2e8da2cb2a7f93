//! An endurance test of the operator: two replicas on a real API server and a simulated EC2, with random edits, foreign
//! changes and faults. Each phase is a storm and a quiet time. After the quiet time the invariants are checked.
//!
//! | module | responsibility |
//! |---|---|
//! | `plan`, `action`, `model` | the actions of each phase, drawn from the seed alone |
//! | `resources` | the resources, their ends and manifests |
//! | `world`, `replicas` | the environment, and the processes of the operator |
//! | `kubernetes`, `aws`, `faults` | how an action is made |
//! | `run`, `quiet`, `scale` | the phases, and their sizes |
//! | `invariants` | the checks, as pure functions |
//! | `journal`, `ledger`, `snapshot` | the calls of the operator, the record of the test, and the state of EC2 |
//! | `report` | the summary |

mod action;
mod aws;
mod faults;
mod invariants;
mod journal;
mod kubernetes;
mod ledger;
mod model;
mod plan;
mod quiet;
mod replicas;
mod report;
mod resources;
mod run;
mod scale;
mod snapshot;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use environment::repository;

use run::{Failure, Run};

/// Runs the operator for a long time, with random changes and faults, and checks its invariants.
#[derive(Debug, Parser)]
struct Options {
    /// The length of the run in seconds.
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
    /// The seed of the actions.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The operator's binary. Defaults to the one beside this program.
    #[arg(long)]
    operator: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let Options { seconds, seed, operator } = Options::parse();
    let started = Instant::now();
    let beside = || Ok::<_, std::io::Error>(std::env::current_exe()?.with_file_name("vpc-peering-operator"));
    let program = operator.map_or_else(beside, Ok)?;
    ensure!(program.exists(), "{} does not exist: build it, or set --operator", program.display());
    println!("seed {seed}, {seconds} s");
    let mut run = Run::start(&program, seconds, seed).await?;
    println!("{} resources, ready after {:.0} s", run.scale.resources, started.elapsed().as_secs_f64());
    let outcome = run.run(started + Duration::from_secs(seconds)).await;
    let report = run.report(started.elapsed()).await;
    println!("\n{report}");
    let folder = repository().join("target/soak");
    std::fs::create_dir_all(&folder)?;
    let folder = folder.canonicalize()?;
    std::fs::write(folder.join("report.md"), report)?;
    match outcome {
        Ok(None) => Ok(ExitCode::SUCCESS),
        Ok(Some(failure)) => {
            print_failure(&run, &failure, &folder).await?;
            Ok(ExitCode::FAILURE)
        }
        Err(error) => {
            keep_logs(&run, &folder).await?;
            Err(error.context(format!("seed {seed}, phase {}", run.figures.phases)))
        }
    }
}

/// Prints each violation with the lines of the journal that it is about.
async fn print_failure(run: &Run, failure: &Failure, folder: &Path) -> Result<()> {
    let (seed, phase) = (run.seed, failure.phase);
    for violation in &failure.violations {
        println!("seed {seed}, phase {phase}: VIOLATED: {violation}");
        for line in run.evidence(violation).await {
            println!("    {line}");
        }
    }
    let journal: Vec<_> = run.history.iter().map(invariants::Call::line).collect();
    std::fs::write(folder.join("journal.txt"), journal.join("\n"))?;
    keep_logs(run, folder).await?;
    println!("seed {seed}, phase {phase}: {} violations; see {}", failure.violations.len(), folder.display());
    Ok(())
}

async fn keep_logs(run: &Run, folder: &Path) -> Result<()> {
    for log in run.world.replicas.logs().await {
        let name = log.file_name().context("no file name")?;
        std::fs::copy(&log, folder.join(name))?;
    }
    Ok(())
}

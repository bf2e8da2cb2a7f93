//! The command line, with one file or folder per subcommand. `decisions`, `output`, `kubernetes` and `manifests` are
//! what the subcommands share.

mod accounts;
pub mod check;
mod completion;
mod crd;
mod decisions;
mod graph;
mod http;
mod import;
mod kubernetes;
mod man;
mod manifests;
mod output;
mod plan;
mod reference;
mod run;
#[cfg(test)]
mod snapshots;
mod trace;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// The name of the binary.
const NAME: &str = "vpc-peering-operator";

/// The name in usage texts if kubectl runs the binary as a plugin.
/// <https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/>
const PLUGIN: &str = "kubectl pcx";

const EXIT_CODES: &str = "Exit codes:
  0  success
  1  the command failed, or a check found a failure
  2  the command line is not valid, or a plan has changes";

/// A Kubernetes operator that manages AWS VPC peering connections as VpcPeering resources
#[derive(Debug, Parser)]
#[command(name = NAME, version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Run>),
    Check(Box<check::Check>),
    Graph(Box<graph::Draw>),
    Import(Box<import::Import>),
    Plan(Box<plan::Show>),
    Trace(Box<trace::Trace>),
    Crd(crd::Crd),
    Completion(completion::Completion),
    Man(man::Man),
    Reference(reference::Reference),
}

/// The result of a subcommand that could do its work. Its process exits with this code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Success,
    /// The work was done, and the result is negative.
    Failure,
    /// A plan has changes.
    Changes,
}

impl Outcome {
    fn code(self) -> ExitCode {
        match self {
            Self::Success => ExitCode::SUCCESS,
            Self::Failure => ExitCode::FAILURE,
            Self::Changes => ExitCode::from(2),
        }
    }
}

/// Runs the subcommand that the arguments name. The first argument is the name of the program. Ends the process if the
/// command line is not valid, or asks for help.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let name = invoked_as(arguments.first().map(OsString::as_os_str));
    let outcome = match Cli::from_arg_matches(&command(name).get_matches_from(arguments)) {
        Ok(cli) => cli.command.execute(),
        Err(error) => error.exit(),
    };
    outcome.map_or_else(
        |error| {
            anstream::eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        },
        Outcome::code,
    )
}

/// The name of the program in messages: that of the kubectl plugin if the file is called like one.
fn invoked_as(program: Option<&OsStr>) -> &'static str {
    let file = program.and_then(|program| Path::new(program).file_name()).unwrap_or_default().to_string_lossy();
    if file.starts_with("kubectl-pcx") || file.starts_with("kubectl_") { PLUGIN } else { NAME }
}

/// Runs the work of a short-lived subcommand.
fn block_on<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    let result = runtime.block_on(work);
    // Does not wait for tasks that only a long-lived process needs.
    runtime.shutdown_background();
    Ok(result)
}

/// The definition of the command line.
fn command(name: &'static str) -> clap::Command {
    Cli::command().bin_name(name)
}

impl Command {
    fn execute(self) -> anyhow::Result<Outcome> {
        match self {
            Self::Run(run) => (*run).execute()?,
            Self::Check(check) => return (*check).execute(),
            Self::Graph(graph) => return (*graph).execute(),
            Self::Import(import) => return (*import).execute(),
            Self::Plan(plan) => return (*plan).execute(),
            Self::Trace(trace) => return (*trace).execute(),
            Self::Crd(crd) => crd.execute()?,
            Self::Completion(completion) => completion.execute(),
            Self::Man(man) => man.execute()?,
            Self::Reference(reference) => reference.execute()?,
        }
        Ok(Outcome::Success)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_defined() {
        command(NAME).debug_assert();
    }

    #[test]
    fn the_usage_names_the_plugin_that_kubectl_runs() {
        for (program, expected) in [
            ("/usr/bin/vpc-peering-operator", "Usage: vpc-peering-operator <COMMAND>"),
            ("/home/a/.krew/bin/kubectl-pcx", "Usage: kubectl pcx <COMMAND>"),
            ("kubectl-pcx.exe", "Usage: kubectl pcx <COMMAND>"),
            ("kubectl_complete-pcx", "Usage: kubectl pcx <COMMAND>"),
        ] {
            let name = invoked_as(Some(OsStr::new(program)));
            let error = command(name).try_get_matches_from([program, "no-such-command"]);
            assert!(error.is_err_and(|error| error.to_string().contains(expected)), "{program}");
        }
        assert_eq!(invoked_as(None), NAME);
    }
}

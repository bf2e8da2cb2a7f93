//! The command line, with one file per subcommand.

pub(crate) mod crd;
pub(crate) mod reference;
pub(crate) mod run;

use clap::{Parser, Subcommand};

/// A Kubernetes operator that manages AWS VPC peering connections as VpcPeering resources
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Run>),
    Crd(crd::Crd),
    Reference(reference::Reference),
}

impl Cli {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// If the subcommand fails. The error is written for the user at the terminal.
    pub fn execute(self) -> anyhow::Result<()> {
        match self.command {
            Command::Run(run) => (*run).execute(),
            Command::Crd(crd) => crd.execute(),
            Command::Reference(reference) => reference.execute(),
        }
    }
}

//! The command line: one file for each subcommand.

pub mod crd;
pub mod reference;
pub mod run;

use clap::{Parser, Subcommand};

/// Keeps AWS VPC peering connections as their VpcPeering resources say.
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
    /// Does what the command line says.
    ///
    /// # Errors
    /// With what a person at the terminal should know.
    pub fn execute(self) -> anyhow::Result<()> {
        match self.command {
            Command::Run(run) => (*run).execute(),
            Command::Crd(crd) => crd.execute(),
            Command::Reference(reference) => reference.execute(),
        }
    }
}

//! Parse, start, join.

use std::process::ExitCode;

use clap::Parser;
use vpc_peering_operator::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vpc-peering-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

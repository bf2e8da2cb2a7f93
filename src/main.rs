//! The binary: parses the command line and runs the subcommand.

use std::process::ExitCode;

use clap::Parser;
use tikv_jemallocator::Jemalloc;
use vpc_peering_operator::cli::Cli;

/// docs/performance.md compares it with other allocators. Its settings are in .cargo/config.toml.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    match Cli::parse().execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vpc-peering-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

//! Parse, start, join.

use std::process::ExitCode;

use clap::Parser;
use tikv_jemallocator::Jemalloc;
use vpc_peering_operator::cli::Cli;

/// Measured beside others in docs/performance.md. What it is tuned by stands in .cargo/config.toml.
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

//! The binary: parses the command line and runs the subcommand.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// docs/performance.md compares it with other allocators. Its settings are in .cargo/config.toml.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    vpc_peering_operator::cli::run(std::env::args_os())
}

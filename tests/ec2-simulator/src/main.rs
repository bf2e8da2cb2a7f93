//! The simulator as a process.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use ec2_simulator::clock::Clock;
use ec2_simulator::{Scene, Server, Settings, Simulator};
use jiff::Timestamp;

/// Speaks EC2's and STS's query protocol for VPC peering.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Where to listen; port 0 takes any free one, and standard output tells which.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A scene to start from, as GET /_simulator/state gives.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Let anybody assume any role.
    #[arg(long)]
    any_role: bool,
    /// How much faster than the machine's clock the simulator's runs; 0 stops it.
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    clock_factor: f64,
    /// What decides the IDs and the probabilities.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::parse();
    let clock = Clock::new(Timestamp::now(), options.clock_factor.max(0.0));
    let settings = Settings { any_role: options.any_role, ..Settings::default() };
    let simulator = Simulator::new(settings, clock, options.seed);
    let mut scene = match &options.state {
        Some(file) => {
            let json = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            serde_json::from_slice(&json).with_context(|| format!("{} is not a scene", file.display()))?
        }
        None => Scene::default(),
    };
    if let Some(settings) = &mut scene.settings {
        settings.any_role |= options.any_role;
    }
    simulator.load(scene).map_err(|error| anyhow::anyhow!("the scene makes no sense: {}", error.message))?;
    let server = Server::start(options.listen, simulator).await.context("cannot listen")?;
    println!("listening on {}", server.url());
    tokio::signal::ctrl_c().await?;
    Ok(())
}

//! The simulator as a program.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use ec2_simulator::clock::Clock;
use ec2_simulator::{Scene, Server, Settings, Simulator};
use jiff::Timestamp;

/// Simulates EC2 and STS for VPC peering.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// The address to listen on. Port 0 selects a free port. The program prints the address.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A file with the initial scene, in the format of GET /_simulator/state.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Let every caller assume any role.
    #[arg(long)]
    any_role: bool,
    /// The speed of the simulator's clock relative to the machine's clock. 0 stops the simulator's clock.
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    clock_factor: f64,
    /// The seed of the generated IDs and of the probabilities of faults.
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
    simulator.load(scene).map_err(|error| anyhow::anyhow!("invalid scene: {}", error.message))?;
    let server = Server::start(options.listen, simulator)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    println!("listening on {}", server.url());
    tokio::signal::ctrl_c().await?;
    Ok(())
}

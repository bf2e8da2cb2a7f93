//! Many resources at once, an idle operator, one more resource, and a restart.

use std::time::{Duration, Instant};

use anyhow::Result;
use environment::{RunningOperator, Usage};
use serde_json::json;

use super::bench::{Bench, EXTRA, Location, POLL, until_idle};
use super::report::Goal::{self, AtMost};
use super::report::Row;
use super::usage::{IDLE, UNDER_LOAD, median_memory};

/// Time that the simulated EC2 takes from the request to an active connection, in seconds.
const EC2_DELAY: f64 = 0.7;
/// Pause before each extra resource, so that it finds an idle operator.
const PAUSE: Duration = Duration::from_secs(2);

/// The figures of one number of resources.
struct Figures {
    size: usize,
    rows: Vec<Row>,
}

impl Figures {
    fn add(&mut self, figure: &str, measured: f64, goal: Option<Goal>) {
        self.rows.push(Row::new(&format!("{}: ", self.size), figure, measured, goal));
    }

    /// Adds a figure beside ACK's, which was measured with 1,000 resources.
    fn add_beside_ack(&mut self, figure: &str, measured: f64, goal: Option<Goal>, ack: f64) {
        self.add(figure, measured, goal);
        if let Some(row) = self.rows.last_mut().filter(|_| self.size == 1_000) {
            row.ack = Some(ack);
        }
    }

    /// The goal for memory with 10,000 resources, in MiB.
    fn memory_goal(&self) -> Option<Goal> {
        (self.size == 10_000).then_some(AtMost(60.0))
    }
}

pub async fn measure(size: usize) -> Result<Vec<Row>> {
    let bench = Bench::start(size, vec![Location::own()], json!({})).await?;
    let mut figures = Figures { size, rows: Vec::new() };
    let running = start(&bench, &mut figures).await?;
    let settled = apply_all(&bench, &running, &mut figures).await?;
    until_idle(settled).await;
    idle(&bench, &running, &mut figures).await?;
    apply_one_by_one(&bench, &mut figures).await?;
    let running = restart(&bench, running, &mut figures).await?;
    if size == 1_000 {
        running.kill().await?;
        let writes = bench.writes_without_operator(size).await?.as_secs_f64();
        figures.add("same API server writes without the operator, s", writes, None);
        figures.add("apply → all active, relative to these writes", settled.as_secs_f64() / writes, None);
    }
    Ok(figures.rows)
}

/// Starts the operator without resources, then applies the first one.
async fn start(bench: &Bench, figures: &mut Figures) -> Result<RunningOperator> {
    let started = Instant::now();
    let running = bench.operator.start().await?;
    bench.until_serving(&running).await?;
    figures.add("start → ready, s", started.elapsed().as_secs_f64(), Some(AtMost(1.0)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    figures.add("memory without resources, MiB", Usage::of(&running)?.memory, Some(AtMost(15.0)));
    let first = apply_until_ready(bench, 0).await?;
    figures.add_beside_ack("first resource: apply → Ready, without EC2's delay, s", first, Some(AtMost(1.0)), 30.0);
    Ok(running)
}

/// Applies the other resources concurrently. Returns the time until all are active.
async fn apply_all(bench: &Bench, running: &RunningOperator, figures: &mut Figures) -> Result<Duration> {
    let size = figures.size;
    let before = bench.usage(running).await?;
    let (applied, settled) = bench.apply_until_active(1..size + 1).await?;
    let usage = bench.usage(running).await?.since(before);
    let each = |count: u64| count as f64 / size as f64;
    figures.add("apply of all resources, s", applied.as_secs_f64(), None);
    let goal = (size == 1_000).then_some(AtMost(15.0));
    figures.add_beside_ack("apply → all active, s", settled.as_secs_f64(), goal, 100.0);
    let calls = each(usage.mutating + usage.describes);
    figures.add_beside_ack("EC2 calls per resource until active", calls, Some(AtMost(2.1)), 6.0);
    let mutating = each(usage.mutating);
    figures.add_beside_ack("mutating EC2 calls per resource until active", mutating, Some(AtMost(2.0)), 2.0);
    let describes = each(usage.describes);
    figures.add_beside_ack("Describe calls per resource until active", describes, Some(AtMost(0.1)), 4.0);
    figures.add("API server writes per resource until active", each(usage.writes_to_resources), Some(AtMost(4.0)));
    figures.add_beside_ack("CPU time until all active, s", usage.cpu, None, 16.3);
    let memory = median_memory(running, UNDER_LOAD).await?;
    figures.add_beside_ack("memory when all active, MiB", memory, figures.memory_goal(), 79.0);
    Ok(settled)
}

async fn idle(bench: &Bench, running: &RunningOperator, figures: &mut Figures) -> Result<()> {
    let (usage, polls) = bench.measure_idle(running).await?;
    let pages = (figures.size + 1).div_ceil(1_000) as f64;
    let calls = usage.describes as f64 / polls / pages;
    figures.add("idle: EC2 calls per poll and page", calls, Some(AtMost(1.2)));
    figures.add("idle: mutating EC2 calls", usage.mutating as f64, Some(AtMost(0.0)));
    figures.add("idle: API server writes", usage.writes as f64, Some(AtMost(0.0)));
    let cpu = usage.cpu / polls / 60.0 * 100.0;
    figures.add("idle: CPU polling every minute, % of a core", cpu, Some(AtMost(1.0)));
    figures.add("idle: memory, MiB", median_memory(running, IDLE).await?, figures.memory_goal());
    Ok(())
}

/// Applies extra resources one after the other to an idle operator.
async fn apply_one_by_one(bench: &Bench, figures: &mut Figures) -> Result<()> {
    let size = figures.size;
    let mut times = Vec::new();
    for number in size + 1..=size + EXTRA {
        tokio::time::sleep(PAUSE).await;
        times.push(apply_until_ready(bench, number).await?);
    }
    times.sort_by(f64::total_cmp);
    let (figure, median) = ("one more resource: apply → Ready, without EC2's delay, s", times[EXTRA / 2]);
    figures.add_beside_ack(figure, median, Some(AtMost(1.0)), 30.0);
    tokio::time::sleep(POLL).await;
    Ok(())
}

/// The time from applying a resource until it is ready, without EC2's own delay, in seconds.
async fn apply_until_ready(bench: &Bench, number: usize) -> Result<f64> {
    let start = Instant::now();
    bench.apply(number).await?;
    bench.until_ready(number).await?;
    Ok(start.elapsed().as_secs_f64() - EC2_DELAY)
}

async fn restart(bench: &Bench, running: RunningOperator, figures: &mut Figures) -> Result<RunningOperator> {
    let before = bench.usage(&running).await?;
    running.kill().await?;
    let start = Instant::now();
    let running = bench.operator.start().await?;
    bench.until_reconciled(&running, figures.size + 1 + EXTRA).await?;
    figures.add("restart → all resources reconciled, s", start.elapsed().as_secs_f64(), Some(AtMost(10.0)));
    let usage = bench.usage(&running).await?.since(before);
    figures.add("restart: mutating EC2 calls", usage.mutating as f64, Some(AtMost(0.0)));
    figures.add("restart: API server writes", usage.writes as f64, Some(AtMost(0.0)));
    figures.add("restart: memory, MiB", median_memory(&running, IDLE).await?, figures.memory_goal());
    Ok(running)
}

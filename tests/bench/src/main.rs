//! Benchmarks of the operator's release build on a real API server and a simulated EC2. Prints all figures beside their
//! goals, and writes them to `target/bench.json`.
//!
//! | module | benchmark |
//! |---|---|
//! | `load` | many resources at once, an idle operator, one more resource, a restart |
//! | `locations` | an idle operator with many accounts and regions |
//! | `quota` | AWS's default quota of outstanding requests |
//! | `throttling` | EC2's documented request limits |
//! | `external_changes` | changes that others make in AWS |
//! | `deletion` | a deletion with default settings |

mod bench;
mod deletion;
mod external_changes;
mod load;
mod locations;
mod quota;
mod report;
mod resources;
mod throttling;
mod usage;

use std::time::Instant;

use anyhow::Result;
use environment::repository;
use report::Row;

#[tokio::main]
async fn main() -> Result<()> {
    let start = Instant::now();
    let bench = std::env::var("BENCH").unwrap_or_default();
    let (sizes, throttled_size) = match (bench.as_str(), bench.parse()) {
        ("quick", _) => (vec![1_000], 240),
        ("deletion", _) => return finish(&deletion::measure().await?, start),
        ("quota", _) => return finish(&quota::measure(100).await?, start),
        (_, Ok(size)) => (vec![size], size),
        ("", _) => (vec![1_000, 10_000], 500),
        _ => anyhow::bail!(
            "BENCH is {bench:?}; it must be `quick`, `deletion`, `quota`, a number of resources, or unset"
        ),
    };
    let mut rows = Vec::new();
    for size in sizes {
        println!("{size} resources …");
        rows.extend(load::measure(size).await?);
    }
    if bench != "quick" {
        println!("many accounts and regions …");
        rows.extend(locations::measure().await?);
    }
    println!("100 resources with the default quota of outstanding requests …");
    rows.extend(quota::measure(100).await?);
    println!("{throttled_size} resources with EC2's request limits, and external changes …");
    // Both mostly wait, so they run concurrently.
    let (throttled, external) = tokio::try_join!(throttling::measure(throttled_size), async {
        if bench == "quick" { Ok(Vec::new()) } else { external_changes::measure().await }
    })?;
    rows.extend(throttled.into_iter().chain(external));
    rows.extend(deletion::measure().await?);
    finish(&rows, start)
}

/// Prints and writes the report.
fn finish(rows: &[Row], start: Instant) -> Result<()> {
    report::print(rows);
    println!("in {:.0} s", start.elapsed().as_secs_f64());
    report::write(rows, &repository().join("target/bench.json"))
}

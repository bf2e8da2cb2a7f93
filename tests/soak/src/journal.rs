//! The operator's calls, as EC2's journal has them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use ec2_simulator::Client;

use crate::invariants::Call;

/// The prefix of the access keys of the test. All other callers are the operator.
pub const TEST_KEY: &str = "AKIASOAK";

/// The interval between two reads. The simulator keeps 100,000 calls.
const INTERVAL: Duration = Duration::from_secs(1);

/// Collects the operator's calls.
#[derive(Debug)]
pub struct Journal {
    simulator: Client,
    started: Instant,
    calls: Mutex<Vec<Call>>,
    counts: Mutex<BTreeMap<String, u64>>,
    /// Only one reader at a time, so that the calls stay in their order.
    reader: tokio::sync::Mutex<()>,
}

impl Journal {
    pub fn new(simulator: Client, started: Instant) -> Arc<Self> {
        let (calls, counts, reader) = Default::default();
        Arc::new(Self { simulator, started, calls, counts, reader })
    }

    /// Reads the journal for ever.
    pub async fn follow(self: Arc<Self>) {
        loop {
            if let Err(error) = self.read().await {
                eprintln!("cannot read the journal: {error:#}");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Reads the calls since the last time.
    pub async fn read(&self) -> Result<()> {
        let _reader = self.reader.lock().await;
        let time = self.started.elapsed().as_secs_f64();
        for entry in self.simulator.take_journal().await?.entries {
            let is_test = entry.access_key_id.as_ref().is_none_or(|key| key.starts_with(TEST_KEY));
            if !is_test {
                *lock(&self.counts).entry(entry.action.clone()).or_default() += 1;
                lock(&self.calls).push(Call { time, entry });
            }
        }
        Ok(())
    }

    /// Returns the calls since the last time that they were taken.
    pub async fn take(&self) -> Result<Vec<Call>> {
        self.read().await?;
        Ok(std::mem::take(&mut *lock(&self.calls)))
    }

    /// The number of calls of the run by action.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        lock(&self.counts).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

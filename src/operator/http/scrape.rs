//! The metrics as text, shared by scrapes at about the same time.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use tokio::time::Instant;

use super::super::monitor::Monitor;

/// Time for which a text is served again. It bounds the CPU time of many scrapes, and the memory of many clients that
/// read slowly.
const MAX_AGE: Duration = Duration::from_millis(250);

/// The last text of the metrics.
pub(super) struct Scrape {
    monitor: Arc<Monitor>,
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl Scrape {
    pub(super) fn new(monitor: Arc<Monitor>) -> Self {
        Self { monitor, last: Mutex::default() }
    }

    /// The metrics in the Prometheus text format.
    ///
    /// # Errors
    /// If the metrics cannot be encoded.
    pub(super) fn text(&self) -> Result<Bytes, fmt::Error> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, text)) = &*last
            && at.elapsed() < MAX_AGE
        {
            return Ok(text.clone());
        }
        let text = Bytes::from(self.monitor.metrics()?);
        *last = Some((Instant::now(), text.clone()));
        Ok(text)
    }
}

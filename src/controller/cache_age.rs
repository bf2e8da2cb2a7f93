//! The age of a watch cache that permissions are read from.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The end of the last complete listing of a cache.
#[derive(Clone, Debug, Default)]
pub(crate) struct CacheAge(Arc<Mutex<Option<Instant>>>);

impl CacheAge {
    /// Time since the end of the last complete listing. [`Duration::MAX`] before the first one is complete.
    pub(super) fn age(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map_or(Duration::MAX, |listed| listed.elapsed())
    }

    /// Records that a complete listing ends now.
    pub(super) fn listed(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

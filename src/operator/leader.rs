//! Who acts, where several operators run: the holder of a Lease, and only for as long as it is sure to hold it.

use k8s_openapi::jiff::Timestamp;
use tokio::sync::watch;

/// Until when this process may act.
#[derive(Clone, Debug)]
pub struct Hold {
    name: String,
    /// Nothing where that is not known yet.
    until: watch::Receiver<Option<Timestamp>>,
}

impl Hold {
    /// Of a process that acts alone.
    #[must_use]
    pub fn always(name: &str) -> Self {
        Self { name: name.to_owned(), until: watch::channel(Some(Timestamp::MAX)).1 }
    }

    /// The Lease's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is known who holds the Lease.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.until.borrow().is_some()
    }

    /// Whether this process may act now.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.until.borrow().is_some_and(|until| Timestamp::now() < until)
    }
}

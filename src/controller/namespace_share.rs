//! A limit of concurrent work that no namespace can use up alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A limit of concurrent work. Each namespace may do a part of it at once, so that the work of others never waits behind
/// the whole queue of a busy namespace.
#[derive(Debug)]
pub(crate) struct NamespaceShare {
    all: Arc<Semaphore>,
    share: usize,
    namespaces: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// Permission to do one piece of work, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    _all: Option<OwnedSemaphorePermit>,
    _own: Option<OwnedSemaphorePermit>,
}

impl NamespaceShare {
    /// `all` is the limit, and `share` the part of one namespace.
    pub(crate) fn new(all: usize, share: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), share, namespaces: Mutex::default() }
    }

    pub(crate) async fn acquire(&self, namespace: &str) -> Share {
        let own = self.of(namespace).acquire_owned().await;
        let all = Arc::clone(&self.all).acquire_owned().await;
        // The semaphores are never closed.
        Share { _all: all.ok(), _own: own.ok() }
    }

    fn of(&self, namespace: &str) -> Arc<Semaphore> {
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = namespaces.get(namespace) {
            return Arc::clone(semaphore);
        }
        // Permits and waiting work hold a reference.
        namespaces.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        let semaphore = Arc::new(Semaphore::new(self.share));
        namespaces.insert(namespace.to_owned(), Arc::clone(&semaphore));
        semaphore
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_busy_namespace_leaves_room_for_others() {
        let limit = NamespaceShare::new(8, 6);
        let mut crowd: Vec<_> = (0..1_000).map(|_| Box::pin(limit.acquire("crowd"))).collect();
        let held: Vec<_> = crowd.iter_mut().filter_map(|turn| turn.as_mut().now_or_never()).collect();
        assert_eq!(held.len(), 6);
        let single = limit.acquire("single").now_or_never();
        let other = limit.acquire("other").now_or_never();
        assert!(single.is_some() && other.is_some());
        assert!(limit.acquire("late").now_or_never().is_none(), "the limit of all is reached");
        drop((single, held));
        assert!(limit.acquire("late").now_or_never().is_some());
        drop((other, crowd));
        drop(limit.acquire("another").await);
        let namespaces = limit.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(namespaces.keys().eq(["another"]), "idle namespaces take memory: {namespaces:?}");
    }
}

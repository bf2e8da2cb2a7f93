//! The inventory: one task polls each region of an account for all resources and reports what changed.

pub(super) mod filters;
mod interval;
pub(super) mod poller;
#[cfg(test)]
mod tests;
pub(super) mod view;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use self::filters::Filters;
use self::poller::{PollSettings, Poller, Query};
use self::view::{Listing, View};
use super::ec2::Ec2;

/// One region as one account sees it. It is polled until the last reference is dropped.
#[derive(Debug)]
pub struct Inventory<V: View> {
    listing: watch::Receiver<Option<Listing<V>>>,
    queries: mpsc::UnboundedSender<Query<V>>,
    task: AbortHandle,
}

impl<V: View> Inventory<V> {
    fn start(ec2: Arc<Ec2>, region: String, settings: PollSettings) -> Self {
        let (published, listing) = watch::channel(None);
        let (queries, received) = mpsc::unbounded_channel();
        let task = tokio::spawn(Poller::new(ec2, region, settings, published).run(received)).abort_handle();
        Self { listing, queries, task }
    }

    /// Waits for a listing in which the items that match these filters are no older than `since`. After a failed poll,
    /// the error is the answer until the region may be polled again.
    pub async fn query(&self, filters: Filters, since: Instant) -> Listing<V> {
        let (sender, reply) = oneshot::channel();
        // The task ends only at shutdown, because this inventory keeps it alive. There is no answer after that.
        _ = self.queries.send(Query { filters: Some(filters), since, reply: Some(sender) });
        match reply.await {
            Ok(listing) => listing,
            Err(_) => std::future::pending().await,
        }
    }

    /// Polls the items that match these filters as soon as the rate allows; `None` means all items.
    pub fn refresh(&self, filters: Option<Filters>) {
        // The task ends only at shutdown.
        _ = self.queries.send(Query { filters, since: Instant::now(), reply: None });
    }

    /// The latest listing, if there is one yet.
    pub fn latest(&self) -> Option<Listing<V>> {
        self.listing.borrow().clone()
    }

    /// Announces each listing that follows.
    pub fn listings(&self) -> watch::Receiver<Option<Listing<V>>> {
        let mut listings = self.listing.clone();
        listings.mark_unchanged();
        listings
    }

    /// The latest listing, if it contains a newer poll than `listing`. It also answers the query that `listing`
    /// answered.
    pub fn newer_than(&self, listing: &Listing<V>) -> Option<Listing<V>> {
        let newer = self.latest().filter(|latest| latest.last_polled > listing.last_polled)?;
        Some(Listing { as_of: newer.as_of.max(listing.as_of), ..newer })
    }
}

impl<V: View> Drop for Inventory<V> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The inventories of one account, one for each region in use.
#[derive(Debug)]
pub struct Inventories<V: View> {
    ec2: Arc<Ec2>,
    settings: PollSettings,
    regions: Mutex<HashMap<String, Weak<Inventory<V>>>>,
}

impl<V: View> Inventories<V> {
    pub fn new(ec2: Arc<Ec2>, settings: PollSettings) -> Self {
        Self { ec2, settings, regions: Mutex::default() }
    }

    /// The inventory of this region. The first call starts it.
    pub fn of(&self, region: &str) -> Arc<Inventory<V>> {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inventory) = regions.get(region).and_then(Weak::upgrade) {
            return inventory;
        }
        let inventory = Arc::new(Inventory::start(Arc::clone(&self.ec2), region.to_owned(), self.settings.clone()));
        regions.retain(|_, inventory| inventory.strong_count() > 0);
        regions.insert(region.to_owned(), Arc::downgrade(&inventory));
        inventory
    }

    /// Every region in use, with its inventory.
    pub fn all(&self) -> Vec<(String, Arc<Inventory<V>>)> {
        let regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.iter().filter_map(|(region, inventory)| Some((region.clone(), inventory.upgrade()?))).collect()
    }
}
